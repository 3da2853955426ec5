"""Pull an image or a bundle, with its nested bundles if asked, into a folder."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.image import (
    Image,
    artifact_type,
    fetch_image,
    refuse_all_but_images,
    refuse_schema_1,
    with_config,
)
from imgpkg.content.output import output_folder, replacing
from imgpkg.content.unpack import unpack_layers
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ImgpkgError, InvalidLock, NotABundle, UnpackError, UsageError, doing
from imgpkg.events import BlobOutcome, BlobTransfer, Hook, Message, Planned, Warned, silent
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.bundle_pull import BundlePull, PullResult, begin_locations
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.bundle.layer import FoundLocations
    from imgpkg.oci.descriptor import ByteReader, Descriptor
    from imgpkg.operations.bundle_pull import Verify
    from imgpkg.operations.disclosure import Disclosure
    from imgpkg.operations.image_store import ImageReader
    from imgpkg.operations.workers import WorkerPool

# The configuration of a bundle, or its layer, and its record.
_AT_ONCE = 2
_HOSTED = (
    "The bundle repo ({}) is hosting every image specified in the bundle's Images Lock file "
    "(.imgpkg/images.yml)\n"
)
_SPREAD = "The images of the bundle ({}) are in the repositories that a copy has recorded\n"
_HOSTED_IN_PART = (
    "The bundle repo ({}) is hosting some of the images specified in the bundle's Images Lock file "
    "(.imgpkg/images.yml), which refers to it for these\n"
)
_ARTIFACT = (
    "{} is no image but an artifact of type {}: imgpkg.pull_artifact of the Python library writes its files, "
    "and so does oras pull."
)
_NO_BUNDLE = "Expected bundle image but found plain image (hint: Did you use -i instead of -b?)"
_ONE_OF = "Name what to pull: -i IMAGE, -b BUNDLE, or --lock FILE; a tar file or layout may be named alone."
_NOT_HOSTED = "One or more images not found in bundle repo; skipping lock file update\n"


@operation
def pull(
    output: StrPath,
    *,
    session: Session,
    image: str = "",
    bundle: str = "",
    lock: StrPath = "",
    recursive: bool = False,
    image_is_bundle_check: bool = True,
    policy: imgpkg.Policy | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> PullResult:
    """Replace the folder `output` by the content of `image`, `bundle`, or the bundle in the file `lock`.

    Exactly one of the three is given. With `tar` or `layout` the content comes from that tar file or layout
    folder; it may then be named by its tag or digest, or not at all if the file was made of it. The folder is
    replaced at once after everything was verified. `recursive` pulls nested bundles, to `.imgpkg/bundles`.
    `image_is_bundle_check=False` accepts a bundle as `image`. If the repository of a bundle has all of its
    images, the references in its images.yml are rewritten to that repository. `policy` says which signatures
    are required of the image or bundle; a signed bundle covers what it names.

    Raises UsageError, InvalidReference, InvalidLock, IsABundle, NotABundle, UnpackError, VerificationError,
    Untrusted, LocalIOError, TransportError or RegistryError, and ArchiveError for files.
    """
    # Checked first: an output that cannot be written should not cost a download.
    folder = output_folder(os.fspath(output))
    _check_source(image, bundle, lock, is_optional=bool(tar or layout))
    _check_kind(image, bundle, is_recursive=recursive, is_checked=image_is_bundle_check)
    asked = _from_lock(lock) if lock else None
    shown, checks = os.fspath(output), image_is_bundle_check
    options = _PullOptions(folder, shown, bool(image), recursive, checks, policy, on_event)
    if tar or layout:
        from imgpkg.operations.image_store import open_images

        with open_images(tar=tar, layout=layout) as store:
            found = store.find(str(asked or "") or image or bundle)
            # Where none is named, the file decides.
            is_image = bool(image) or not (bundle or lock or found.is_bundle)
            return _pull(session, store, found.reference, replace(options, is_image=is_image))
    return _pull(session, session.client, asked or parse_any(image or bundle), options)


@dataclass(frozen=True, slots=True)
class _PullOptions:
    """The folder to replace, which errors and results call `shown`, and how; see `pull`."""

    folder: str
    shown: str
    is_image: bool
    recursive: bool
    refuses_bundles: bool
    policy: imgpkg.Policy | None
    on_event: Hook


def _pull(session: Session, images: ImageReader, asked: Reference, options: _PullOptions) -> PullResult:
    # Without the check a bundle is unpacked like any image, and its images.yml stays as it is.
    if not options.is_image and options.refuses_bundles:
        return _pull_bundle(session, images, asked, options)
    found = fetch_image(images, asked)
    refuse_all_but_images(found, refuse_bundles=options.refuses_bundles)
    _verify(options.policy, found, asked, images, is_proven=images is session.client)
    options.on_event(Message(f"Pulling image '{found.reference}'\n"))
    extracting = doing("Extracting image into directory")
    with _told_from_artifacts(found), extracting, replacing(options.folder, options.shown) as fresh:
        # Before the first byte, so that a progress bar has its total.
        options.on_event(Planned.of(found.manifest.layers))
        _extract(images, found, fresh, options.on_event)
        _announce_removal(options, fresh)
    # A tag may name another image the next time.
    return PullResult(found.reference, found.is_bundle, is_cacheable=asked.digest is not None)


@contextmanager
def _told_from_artifacts(found: Image) -> Iterator[None]:
    """Return a context in which an artifact that cannot be unpacked is said to be one."""
    try:
        yield
    except UnpackError as error:
        # Tried before: the content of many artifacts is a tar file, such as that of Helm.
        if kind := artifact_type(found.manifest):
            error.hints = (_ARTIFACT.format(found.reference, kind), *error.hints)
        raise


def _announce_removal(options: _PullOptions, fresh: str) -> None:
    """Say which files of the old folder are not in the new one, and so will be gone."""
    if not os.path.lexists(options.folder):
        return
    from imgpkg.content.removal import removed_by

    text = removed_by(options.folder, fresh)
    if text:
        options.on_event(Warned(f"pulling into {options.shown} removes {text}"))


def _verify(
    policy: imgpkg.Policy | None, found: Image, named: Reference, images: ImageReader, *, is_proven: bool
) -> None:
    if policy is not None:
        from imgpkg.operations.verification import verify_reference

        verify_reference(found.reference, policy, images, named=named.repository, is_proven=is_proven)


def _check_kind(image: str, bundle: str, *, is_recursive: bool, is_checked: bool) -> None:
    if is_recursive and image:
        raise UsageError("Cannot use --recursive (-r) flag when pulling a bundle")
    if not is_checked and bundle:
        raise UsageError("Cannot set --image-is-bundle-check while using -b flag")


def _check_source(image: str, bundle: str, lock: StrPath, *, is_optional: bool) -> None:
    given = sum(1 for source in (image, bundle, lock) if source)
    # The texts are those of the Go version.
    if given > 1:
        raise UsageError("Expected only one of image, bundle, or lock", hints=(_ONE_OF,))
    if not given and not is_optional:
        raise UsageError("Expected either image or bundle reference", hints=(_ONE_OF,))


def _from_lock(path: StrPath) -> Reference:
    from imgpkg.bundle.lock import BundleLock

    try:
        return BundleLock.from_path(path).reference
    except InvalidLock as error:
        error.hints = (*_of_other_kind(path), *error.hints)
        raise


def _of_other_kind(path: StrPath) -> tuple[str, ...]:
    from imgpkg.bundle.lock import ImagesLock

    try:
        ImagesLock.from_path(path)
    except ImgpkgError:
        return ()
    return (
        f"{os.fspath(path)} is an ImagesLock, and a BundleLock is needed, as push --lock-output writes it.",
    )


def _extract(client: ImageReader, image: Image, directory: str, on_event: Hook, *, indent: str = "") -> None:
    """Unpack the layers of `image`, base to top, into the empty folder `directory`.

    Raises UnpackError, VerificationError, LocalIOError or an error of the registry. The caller then removes
    the folder, whatever it contains.
    """
    unpack_layers(_opened(client, image, on_event, indent), directory)


def _opened(
    client: ImageReader, image: Image, on_event: Hook, indent: str
) -> Iterator[tuple[Descriptor, ByteReader]]:
    layers = image.manifest.layers
    for number, layer in enumerate(layers, 1):
        on_event(Message(f"{indent}Extracting layer '{layer.digest}' ({number}/{len(layers)})\n"))
        transfer = BlobTransfer(layer, "pull", on_event)
        # Opened only when the layer below it is unpacked: an idle download would time out.
        with client.blob(image.reference.repository, layer) as stream:
            yield layer, transfer.counted(stream)
        transfer.finish(BlobOutcome.MOVED)


def _pull_bundle(
    session: Session, images: ImageReader, asked: Reference, options: _PullOptions
) -> PullResult:
    with open_workers(session, session.settings.concurrency) as workers:
        if is_remote := images is session.client:
            session.expect(asked.repository.registry, _AT_ONCE)
        root, locations = _fetch_root(images, asked, workers)
        refuse_schema_1(root, NotABundle)
        if not root.is_bundle:
            raise NotABundle(_NO_BUNDLE, hints=(f"{asked} is no bundle: write -i in place of -b.",))
        _verify(options.policy, root, asked, images, is_proven=is_remote)
        with replacing(options.folder, options.shown) as folder:
            pulled = BundlePull(
                images,
                workers,
                folder,
                options.shown,
                options.recursive,
                options.on_event,
                extract=partial(_extract, images, on_event=options.on_event),
                verify=_verify_nested(options.policy, images),
                # From a file no image is requested, and so no login is sent.
                disclosure=_disclosure(session, root) if options.recursive and is_remote else None,
            )
            result = pulled.bundle(root, ".", 0, locations)
            _announce_removal(options, folder)
    return _pulled(asked, result, options.on_event)


def _fetch_root(
    client: ImageReader, reference: Reference, workers: WorkerPool
) -> tuple[Image, Callable[[], FoundLocations | None]]:
    """Fetch a bundle, and begin to fetch its record of locations, whose tag follows from the digest."""
    with doing("Fetching image"):
        repository, manifest = reference.repository, client.manifest(reference)
        locations = begin_locations(client, Image(repository.digest(manifest.digest), manifest), workers)
        return with_config(client, repository, manifest), locations


def _pulled(asked: Reference, result: PullResult, on_event: Hook) -> PullResult:
    """Report whether the images are beside the bundle; return `result` for what the user asked for."""
    on_event(Message("\nLocating image lock file images...\n"))
    status = result.images_lock
    updated = status is not None and status.is_updated
    in_part = status is not None and bool(status.left_out)
    hosted = _SPREAD if status is not None and status.is_spread else _HOSTED
    hosted = _HOSTED_IN_PART if in_part else hosted
    on_event(Message(hosted.format(asked.repository) if updated else _NOT_HOSTED))
    # A later pull rewrites images.yml if the missing images have been copied to the repository by then.
    return replace(result, is_cacheable=asked.digest is not None and updated and not in_part)


def _verify_nested(policy: imgpkg.Policy | None, images: ImageReader) -> Verify | None:
    if policy is None or not policy.checks_members:
        return None
    # The names are those of the lock, which the signature of the outermost bundle covers.
    return lambda image, named: _verify(policy, image, named, images, is_proven=True)


def _disclosure(session: Session, root: Image) -> Disclosure:
    from imgpkg.operations.disclosure import Disclosure

    disclosure = Disclosure(session, str(root.reference))
    disclosure.name(root.reference.repository.registry)
    return disclosure
