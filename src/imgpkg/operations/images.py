"""Read one image: its manifest and configuration, of an index that for one platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.image import Image, fetch_image, refuse_schema_1, with_config
from imgpkg.errors import UsageError
from imgpkg.oci.platform import Platform, as_platform, entries_for, platform_of, platforms_of
from imgpkg.oci.reference import parse_any
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.operations.image_store import ImageReader

# Where nothing is asked for: one result for a reference, on every machine.
_DEFAULT = Platform("linux", "amd64")
# Indexes in indexes; none that is met in practice has more than one other around it.
_DEEPEST = 8


@operation
def read_image(
    image: str,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Image:
    """Return the image that `image` names now, with its manifest and its configuration, which are verified.

    Of an index it is the image for `platform`, such as `linux/arm64`. Without one it is the only image that
    the index lists, or else the one for linux/amd64, on every machine. An image that is not in an index is
    returned as it is, if its configuration names no other platform. With `tar` or `layout` it is read from
    that tar file or layout folder; `image` may then be its tag or digest, or empty for the main image.

    Raises UsageError if it is not there for the platform, or is no image; InvalidReference, InvalidManifest,
    VerificationError, TransportError or RegistryError, and ArchiveError or LocalIOError for files.
    """
    wanted = as_platform(platform)
    if tar or layout:
        from imgpkg.operations.image_store import open_images

        with open_images(tar=tar, layout=layout) as store:
            return choose_image(store, store.find(image), wanted)
    return choose_image(session.client, fetch_image(session.client, parse_any(image)), wanted)


def choose_image(images: ImageReader, found: Image, wanted: Platform | None) -> Image:
    """Return the image for a platform of an index, or an image as it is; see `read_image`."""
    refuse_schema_1(found, UsageError)
    if found.manifest.is_image:
        _check_platform(found, wanted)
        return found
    if not found.manifest.is_index:
        raise UsageError(f"'{found.reference}' is not an image: it is of type {found.manifest.media_type}")
    choice = _PlatformSearch(images, found, wanted)
    chosen = choice.find(found.manifest)
    if chosen is None:
        raise UsageError(
            f"'{found.reference}' is not there for {wanted or _DEFAULT}",
            hints=(f"It is there for {', '.join(map(str, choice.listed))}.",) if choice.listed else (),
        )
    return chosen


def _check_platform(found: Image, wanted: Platform | None) -> None:
    own = found.config.platform
    if wanted is not None and own is not None and own.canonical != wanted.canonical:
        raise UsageError(f"'{found.reference}' is not there for {wanted}: it is an image for {own}")


class _PlatformSearch:
    """The search for the image of a platform; `listed` has the platforms that were met on the way.

    Where none is `wanted`, an index with a single image has the one that is found.
    """

    def __init__(self, images: ImageReader, found: Image, wanted: Platform | None) -> None:
        self._images = images
        self._repository = found.reference.repository
        self._wanted = wanted
        self.listed: dict[Platform, None] = {}

    def find(self, index: Manifest, depth: int = 1) -> Image | None:
        """Return the first image for the platform; of those without a platform, what they contain counts."""
        self.listed.update(dict.fromkeys(platforms_of(index)))
        entries = [entry for entry in index.children if _may_be_image(entry)]
        is_sole = self._wanted is None and len(entries) == 1
        for entry in entries if is_sole else _candidates(index, self._wanted or _DEFAULT):
            manifest = self._images.manifest(self._repository.digest(entry.digest))
            if manifest.is_index and depth < _DEEPEST:
                found = self.find(manifest, depth + 1)
            else:
                found = self._image(manifest, is_chosen=is_sole or platform_of(entry) is not None)
            if found is not None:
                return found
        return None

    def _image(self, manifest: Manifest, *, is_chosen: bool) -> Image | None:
        if not manifest.is_image:
            return None
        found = with_config(self._images, self._repository, manifest)
        own = found.config.platform
        # Where the index does not say for what it is, the image does.
        if is_chosen or own is None or own.canonical == (self._wanted or _DEFAULT).canonical:
            return found
        self.listed.setdefault(own)
        return None


def _candidates(index: Manifest, wanted: Platform) -> Iterator[Descriptor]:
    """Yield the manifests that may be for the platform, first those of which the index says so."""
    entries = [entry for entry in entries_for(index, (wanted,)) if entry.is_manifest and _may_be_image(entry)]
    yield from (entry for entry in entries if platform_of(entry) is not None)
    yield from (entry for entry in entries if platform_of(entry) is None)


def _may_be_image(entry: Descriptor) -> bool:
    """Return False for an attestation of BuildKit, whose platform is `unknown/unknown`."""
    return not entry.platform or platform_of(entry) is not None
