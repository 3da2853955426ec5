"""Copy images and bundles, with everything they name, between registries, tar files and layouts."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage
from imgpkg.content.output import output_file
from imgpkg.dataclass import replace
from imgpkg.errors import UsageError, doing
from imgpkg.events import Hook, silent
from imgpkg.operations.copy.destination import TagListing
from imgpkg.operations.copy.repository import publish
from imgpkg.operations.copy.source import open_source
from imgpkg.operations.copy.values import (
    DEFAULT_OPTIONS,
    Copied,
    CopyOptions,
    CopyResult,
    CopySource,
    Log,
    parse_destination,
    report_left_out,
    result_of,
)
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.operations.copy.collection import Collected
    from imgpkg.operations.copy.plan import OpenedSource


def copy(
    source: CopySource,
    *,
    session: Session,
    source_session: Session | None = None,
    to_repo: str = "",
    to_tar: StrPath = "",
    to_layout: StrPath = "",
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    resume: bool = False,
    on_event: Hook = silent,
) -> CopyResult:
    """Copy `source` to one of three destinations, exactly one of which is given.

    See `copy_to_repository`, which alone accepts `lock_output`, `copy_to_tar`, which alone accepts `resume`,
    and `copy_to_layout`. `source_session` reads the source if that is in a registry; without it `session`
    does. Raises UsageError, and what these raise.
    """
    reader = source_session or session
    check_destination(
        source,
        to_repo=to_repo,
        to_tar=to_tar,
        to_layout=to_layout,
        options=options,
        lock_output=lock_output,
        resume=resume,
    )
    if to_tar:
        return copy_to_tar(source, to_tar, session=reader, options=options, resume=resume, on_event=on_event)
    if to_layout:
        return copy_to_layout(source, to_layout, session=reader, options=options, on_event=on_event)
    return copy_to_repository(
        source,
        to_repo,
        session=session,
        source_session=source_session,
        options=options,
        lock_output=lock_output,
        on_event=on_event,
    )


def check_destination(
    source: CopySource,
    *,
    to_repo: str,
    to_tar: StrPath,
    to_layout: StrPath,
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    resume: bool = False,
) -> None:
    """Raise UsageError unless exactly one source and one destination are given, and all options fit them."""
    source.check()
    if sum(1 for text in (to_repo, to_tar, to_layout) if text) != 1:
        raise UsageError("Expected either --to-tar or --to-repo")
    if to_tar and source.is_local:
        raise UsageError("Cannot use tar source (--tar) with tar destination (--to-tar)")
    if not to_repo and lock_output:
        raise UsageError("Cannot output lock file with tar destination")
    if not to_tar and resume:
        raise UsageError("Flag --resume can only be used when copying to tar")
    if not to_tar and options.split:
        raise UsageError("Flag --split can only be used when copying to tar")
    if not to_repo and options.to_tags:
        raise UsageError("Flag --to-tag can only be used when copying to a repository")
    if not to_repo and options.placement is not None:
        raise UsageError("Flags --map, --map-file and --keep-names are for copies to a repository only")


def copy_to_repository(
    source: CopySource,
    to_repo: str,
    *,
    session: Session,
    source_session: Session | None = None,
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    on_event: Hook = silent,
) -> CopyResult:
    """Copy `source` to the repository `to_repo`, and return the references of all copied images.

    A bundle is copied with everything that it names, to any depth. Blobs are streamed from the source to the
    destination, or mounted if both are in one registry; blobs and manifests that are there are skipped. From
    a tar file or layout, only the destination is contacted. `lock_output` is a file to write, a BundleLock if
    a bundle was copied and an ImagesLock otherwise; for several sources an ImagesLock of them all.

    `source_session` is the session that reads, if it is not `session`, which then only writes: each side has
    settings and credentials of its own. Stopping either of them ends the copy.

    Raises UsageError, InvalidReference, IsABundle, NotABundle, InvalidLock, InvalidManifest, ArchiveError,
    VerificationError, Untrusted, LocalIOError, TransportError or RegistryError.
    """
    source.check()
    lock = _lock_place(source, lock_output) if lock_output else ""
    repository = parse_destination(to_repo, options)
    # Configurations are not needed beforehand: they are transferred like layers.
    log = Log(on_event)
    reader = source_session or session
    with open_workers(session, 2, other=reader) as workers:
        listing = TagListing(session.client.primary, repository, workers)

        def expect(images: int) -> None:
            session.expect(repository.registry, images)
            listing.expect(images if options.placement is None else 0)

        with open_source(
            reader, source, options, log, to=repository, writer=session, expect=expect
        ) as opened:
            _check_pieces(opened)
            result = publish(opened, session, repository, options, log, listing=listing)
    if lock_output:
        _write_lock(lock, opened.collected, result, shown=lock_output)
    return replace(result, verified=opened.verified)


def copy_to_tar(
    source: CopySource,
    path: StrPath,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    resume: bool = False,
    on_event: Hook = silent,
) -> CopyResult:
    """Copy `source`, which must be in a registry, to the tar file `path`.

    The file is replaced only when it is complete. The same content always produces the same bytes. `resume`
    keeps all blobs of an existing file, or of an interrupted copy to it, whose digests verify. With
    `options.split` it is written as `path` + `.001` and so on, and `path` + `.sha256sums`. Raises what
    `copy_to_repository` raises.
    """
    from imgpkg.content.archive.writer import tar_output
    from imgpkg.operations.copy.file import write_archive

    check_destination(source, to_repo="", to_tar=path, to_layout="", options=options)
    shown = os.fspath(path)
    target = tar_output(shown)
    log = Log(on_event)
    with open_source(session, source, options, log, with_configs=True) as opened:
        write_archive(
            opened, target, shown=shown, resume=resume, split=options.split, session=session, log=log
        )
    report_left_out(opened.plan, options, log, None)
    return replace(result_of(opened.collected, opened.plan, None), verified=opened.verified)


def copy_to_layout(
    source: CopySource,
    path: StrPath,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    on_event: Hook = silent,
) -> CopyResult:
    """Copy `source` to the OCI image layout folder `path` (image-spec, image-layout.md).

    The folder may contain other images, which stay. Blobs that it contains are not fetched again. Raises what
    `copy_to_repository` raises.
    """
    from imgpkg.content.layout import output_layout
    from imgpkg.operations.copy.file import write_layout

    check_destination(source, to_repo="", to_tar="", to_layout=path, options=options)
    shown = os.fspath(path)
    target = output_layout(shown)
    log = Log(on_event)
    with open_source(session, source, options, log, with_configs=True) as opened:
        _check_pieces(opened)
        write_layout(opened, target, shown=shown, session=session, log=log)
    report_left_out(opened.plan, options, log, None)
    return replace(result_of(opened.collected, opened.plan, None), verified=opened.verified)


def _check_pieces(opened: OpenedSource) -> None:
    """Raise ArchiveError for a damaged piece of a tar file, before anything is written."""
    if opened.store is not None:
        opened.store.check_pieces()


def _lock_place(source: CopySource, lock_output: StrPath) -> str:
    """Return the absolute path of the lock file; raise LocalIOError, or UsageError if it is the source."""
    first = source.parts[0]
    names_images = bool(first.lock or first.image) or len(source.parts) > 1
    with doing("Writing images config" if names_images else "Writing bundle config"):
        place = output_file(lock_output)
    if source.tar and os.path.exists(source.tar) and os.path.realpath(source.tar) == place:
        raise UsageError("Expected --lock-output to be another file than --tar")
    return place


def _write_lock(path: str, collected: Collected, result: CopyResult, *, shown: StrPath) -> None:
    """Write a BundleLock for the root bundle, or else an ImagesLock; errors name the file `shown`.

    Raises UsageError if there are bundles and it is unknown which of them is the root.
    """
    if result.bundle is not None:
        BundleLock(result.bundle.destination, result.bundle.tag).write(path, shown)
    elif collected.has_other_bundles:
        raise UsageError(
            "Unable to determine correct root bundle to use for lock-output. "
            "hint: if copying from a tarball, try re-generating the tarball"
        )
    elif collected.images_lock is not None:
        _relocated(collected.images_lock, result).write(path, shown)
    else:
        # An image with several tags is there once.
        places = dict.fromkeys(copied.destination for copied in result.images if _is_locked(copied))
        ImagesLock(tuple(map(LockedImage, places))).write(path, shown)


def _is_locked(copied: Copied) -> bool:
    # The Go version lists signatures, too, and knows nothing else that is attached.
    return copied.attached is None or copied.tag.endswith(".sig")


def _relocated(lock: ImagesLock, result: CopyResult) -> ImagesLock:
    # In the order of the lock, with its annotations.
    by_digest = {copied.destination.digest: copied.destination for copied in result.images}
    by_source = {copied.source: copied.destination for copied in result.images}
    return ImagesLock(
        tuple(
            replace(image, reference=by_source.get(image.reference) or by_digest[image.digest])
            for image in lock.images
        )
    )
