"""Pull an image or a bundle into a folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.bundle.image import fetch_image
from imgpkg.bundle.lock_file import Path
from imgpkg.content.output import output_folder, replacing
from imgpkg.errors import IsABundle, NotABundle, UsageError, doing
from imgpkg.events import Hook, Message, silent
from imgpkg.oci import media
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.extract import extract
from imgpkg.operations.pull_values import PullResult
from imgpkg.session import Session

if TYPE_CHECKING:
    from imgpkg.bundle.image import Image
    from imgpkg.errors import ImgpkgError

_SCHEMA_1 = frozenset({media.DOCKER_SCHEMA_1, media.DOCKER_SCHEMA_1_SIGNED})


def pull(
    output: Path,
    *,
    session: Session,
    image: str = "",
    bundle: str = "",
    lock: Path = "",
    recursive: bool = False,
    image_is_bundle_check: bool = True,
    on_event: Hook = silent,
) -> PullResult:
    """Replace the folder `output` by the files of `image`, of `bundle`, or of the bundle that `lock` names.

    The folder appears when everything in it has verified; a failed pull leaves what was there as it was.
    `recursive` pulls nested bundles too. Raises UsageError, IsABundle, NotABundle, UnpackError,
    VerificationError, LocalIOError, or an error of the registry.
    """
    shown = os.fspath(output)
    folder = output_folder(shown)
    _check_source(image, bundle, lock)
    if recursive and image:
        raise UsageError("Cannot use --recursive (-r) flag when pulling a bundle")
    if not image_is_bundle_check and bundle:
        raise UsageError("Cannot set --image-is-bundle-check while using -b flag")
    reference = _from_lock(lock) if lock else parse_any(image or bundle)
    found = fetch_image(session.client, reference)
    if image or not image_is_bundle_check:
        _refuse_all_but_images(found, refuse_bundles=image_is_bundle_check)
        on_event(Message(f"Pulling image '{found.reference}'\n"))
        with doing("Extracting image into directory"), replacing(folder, shown) as fresh:
            extract(session.client, found, fresh, on_event)
        return PullResult(found.reference, found.is_bundle, is_cacheable=reference.digest is not None)
    _refuse_schema_1(found, NotABundle)
    if not found.is_bundle:
        raise NotABundle("Expected bundle image but found plain image (hint: Did you use -i instead of -b?)")
    from imgpkg.operations.pull_bundle import pull_bundle  # noqa: PLC0415 - YAML only for bundles

    return pull_bundle(session, reference, found, folder, shown=shown, recursive=recursive, on_event=on_event)


def _check_source(image: str, bundle: str, lock: Path) -> None:
    given = sum(1 for source in (image, bundle, lock) if source)
    if given > 1:
        raise UsageError("Expected only one of image, bundle, or lock")
    if not given:
        raise UsageError("Expected either image or bundle reference")


def _from_lock(path: Path) -> Reference:
    from imgpkg.bundle.lock import BundleLock  # noqa: PLC0415 - YAML only where a lock is read

    return BundleLock.from_path(path).reference


def _refuse_schema_1(found: Image, kind: type[ImgpkgError]) -> None:
    """Tell of an image of the oldest format that it is one: `no image` and `no bundle` explain nothing."""
    if found.manifest.media_type in _SCHEMA_1:
        raise kind(
            f"Unable to pull '{found.reference}': it is an image of Docker's manifest schema 1 "
            f"({found.manifest.media_type}), which has been given up and is not supported "
            "(hint: build or push the image again with a current tool, which writes schema 2 or OCI)"
        )


def _refuse_all_but_images(found: Image, *, refuse_bundles: bool) -> None:
    _refuse_schema_1(found, UsageError)
    if not found.manifest.is_image:
        raise UsageError(
            "Unable to pull non-images, such as image indexes. "
            "(hint: provide a specific digest to the image instead)"
        )
    if found.is_bundle and refuse_bundles:
        raise IsABundle("Expected bundle flag when pulling a bundle (hint: Use -b instead of -i for bundles)")
