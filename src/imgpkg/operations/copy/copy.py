"""Copy images and bundles, with everything they name, between registries, tar files and layouts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.dataclass import replace
from imgpkg.errors import UsageError
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import listed
from imgpkg.operations.copy.collection import read_source_lock
from imgpkg.operations.copy.destination import TagListing
from imgpkg.operations.copy.repository import publish
from imgpkg.operations.copy.source import IsLarge, SizeWatch, open_source, streams
from imgpkg.operations.copy.values import (
    DEFAULT_OPTIONS,
    CopyOptions,
    CopyResult,
    CopySource,
    Log,
    parse_destination,
    report_left_out,
    result_of,
)
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

    from imgpkg.bundle.inventory import Base
    from imgpkg.bundle.lock import BundleLock, ImagesLock
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.collection import Collected
    from imgpkg.operations.copy.lockfile import LockOutput
    from imgpkg.operations.copy.plan import OpenedSource
    from imgpkg.operations.copy.units import BlobExecution

_DESTINATION = (
    "Say where to copy to: --to-repo REPOSITORY, --to-tar FILE or --to-oci-layout FOLDER, one of them."
)


@operation
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
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    executor: imgpkg.BlobExecutor | None = None,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyResult:
    """Do what `copy_to_repository`, `copy_to_tar` or `copy_to_layout` does: the one destination decides."""
    check_destination(
        source,
        to_repo=to_repo,
        to_tar=to_tar,
        to_layout=to_layout,
        options=options,
        lock_output=lock_output,
        resume=resume,
        is_delta=bool(since),
    )
    _check_executor(executor, source, to_repo, options)
    if not to_repo:
        own, place = source_session or session, (to_tar, to_layout)
        return _to_file(
            source, place, session=own, options=options, resume=resume, since=since, on_event=on_event
        )
    return copy_to_repository(
        source,
        to_repo,
        session=session,
        source_session=source_session,
        options=options,
        lock_output=lock_output,
        executor=executor,
        on_event=on_event,
    )


def _to_file(
    source: CopySource,
    place: tuple[StrPath, StrPath],
    *,
    session: Session,
    options: CopyOptions,
    resume: bool,
    since: Iterable[StrPath | imgpkg.Inventory],
    on_event: Hook,
) -> CopyResult:
    """Copy to the tar file or to the layout, of which one is named."""
    tar, layout = place
    if layout:
        return copy_to_layout(
            source, layout, session=session, options=options, since=since, on_event=on_event
        )
    return copy_to_tar(
        source, tar, session=session, options=options, resume=resume, since=since, on_event=on_event
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
    is_delta: bool = False,
) -> None:
    """Raise UsageError unless exactly one source and one destination are given, and all options fit them."""
    source.check()
    if sum(1 for text in (to_repo, to_tar, to_layout) if text) != 1:
        raise UsageError("Expected either --to-tar or --to-repo", hints=(_DESTINATION,))
    if to_tar and source.is_local:
        raise UsageError("Cannot use tar source (--tar) with tar destination (--to-tar)")
    if not to_repo and lock_output:
        raise UsageError("Cannot output lock file with tar destination")
    if not to_tar and resume:
        raise UsageError("Flag --resume can only be used when copying to tar")
    if not to_tar and options.split:
        raise UsageError("Flag --split can only be used when copying to tar")
    if to_repo and is_delta:
        raise UsageError(
            "Flags --since and --since-inventory can only be used when copying to a tar file or layout",
            hints=("A copy to a repository sends only what is not there.",),
        )
    _check_sides(options, is_of_repository=bool(to_repo), is_local=source.is_local)


def _check_sides(options: CopyOptions, *, is_of_repository: bool, is_local: bool) -> None:
    """Raise UsageError for options of another destination, or of another source."""
    if not is_of_repository and options.to_tags:
        raise UsageError("Flag --to-tag can only be used when copying to a repository")
    if not is_of_repository and options.placement is not None:
        raise UsageError("Flags --map, --map-file and --keep-names are for copies to a repository only")
    if options.mount_from and not (is_of_repository and is_local):
        raise UsageError(
            "Flag --mount-from can only be used when copying a tar file or layout to a repository"
        )
    if options.stream_plan and not (is_of_repository and not is_local):
        raise UsageError(
            "Flag --stream-plan can only be used when copying from registries to a repository",
            hints=("The first bytes of a tar file or layout depend on everything that is in it.",),
        )


@operation
def copy_to_repository(
    source: CopySource,
    to_repo: str,
    *,
    session: Session,
    source_session: Session | None = None,
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    executor: imgpkg.BlobExecutor | None = None,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyResult:
    """Copy `source` to the repository `to_repo`, and return the references of all copied images.

    A bundle is copied with everything that it names, to any depth. Blobs are streamed from the source to the
    destination, or mounted if both are in one registry; blobs and manifests that are there are skipped. From
    a tar file or layout, only the destination is contacted. `lock_output` is a file to write, a BundleLock if
    a bundle was copied and an ImagesLock otherwise; for several sources an ImagesLock of them all.

    `source_session` is the session that reads, if it is not `session`, which then only writes: each side has
    settings and credentials of its own. Stopping either of them ends the copy.

    `executor` moves the blobs of a copy between registries; manifests and tags are written here, at last.
    Executors of threads use the sessions themselves. In other processes, and on other machines, workers find
    credentials with their own environment and files; with `options.send_credentials` they get those of the
    sessions first, as a part of each TransferUnit.

    Raises UsageError, InvalidReference, IsABundle, NotABundle, InvalidLock, InvalidManifest, ArchiveError,
    VerificationError, Untrusted, LocalIOError, TransportError, RegistryError or ExecutorError.
    """
    source.check()
    _check_executor(executor, source, to_repo, options)
    lock = _lock_file(source, lock_output) if lock_output else None
    repository = parse_destination(to_repo, options)
    log, reader = Log(on_event), source_session or session
    collected, result = _copied(source, repository, (reader, session), options, log=log, executor=executor)
    if lock is not None:
        lock.write(collected, result)
    return result


def _lock_file(source: CopySource, path: StrPath) -> LockOutput:
    from imgpkg.operations.copy.lockfile import LockOutput

    return LockOutput.checked(source, path)


def _copied(
    source: CopySource,
    repository: Repository,
    sessions: tuple[Session, Session],
    options: CopyOptions,
    *,
    log: Log,
    executor: imgpkg.BlobExecutor | None,
) -> tuple[Collected, CopyResult]:
    """Copy to `repository` with the `sessions` that read and write; return what was read, and the result."""
    locks = {part.lock: read_source_lock(part.lock) for part in source.parts if part.lock}
    if source.is_local or not streams(source, locks, options):
        # Only reading a bundle tells how many images it has.
        with suppress(IsLarge):
            return _copied_at_once(source, repository, sessions, options, locks, log=log, executor=executor)
    from imgpkg.operations.copy.batch_run import BatchedCopy

    return BatchedCopy(source, repository, *sessions, options, log, locks).run(executor)


def _copied_at_once(
    source: CopySource,
    repository: Repository,
    sessions: tuple[Session, Session],
    options: CopyOptions,
    locks: Mapping[StrPath, BundleLock | ImagesLock],
    *,
    log: Log,
    executor: imgpkg.BlobExecutor | None,
) -> tuple[Collected, CopyResult]:
    """Plan everything, then copy it; raise IsLarge, before anything is written, where batches are better."""
    reader, session = sessions
    size = SizeWatch(source, locks, options)
    with open_workers(session, 2, other=reader) as workers:
        listing = TagListing(session.client.primary, repository, workers)

        def expect(images: int) -> None:
            size.expect(images)
            session.expect(repository.registry, images)
            listing.expect(images if options.placement is None else 0)

        # Configurations are not needed beforehand: they are transferred like layers.
        with open_source(
            reader, source, options, log, to=repository, writer=session, expect=expect, locks=locks
        ) as opened:
            _check_pieces(opened)
            with _execution(executor, sessions, options) as execution:
                result = publish(
                    opened, session, repository, options, log, listing=listing, execution=execution
                )
            if execution is not None:
                result = replace(result, workers=execution.shares.shares())
    return opened.collected, replace(result, verified=opened.verified)


def _execution(
    executor: imgpkg.BlobExecutor | None, sessions: tuple[Session, Session], options: CopyOptions
) -> AbstractContextManager[BlobExecution | None]:
    if executor is None:
        return nullcontext()
    from imgpkg.operations.copy.units import BlobExecution

    return BlobExecution.opened(executor, *sessions, options)


def _check_executor(
    executor: imgpkg.BlobExecutor | None, source: CopySource, to_repo: str, options: CopyOptions
) -> None:
    if executor is not None:
        from imgpkg.operations.copy.units import check_executor

        check_executor(executor, is_of_files=not to_repo or source.is_local, options=options)


@operation
def copy_to_tar(
    source: CopySource,
    path: StrPath,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    resume: bool = False,
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyResult:
    """Copy `source`, which must be in a registry, to the tar file `path`.

    The file is replaced only when it is complete. The same content always produces the same bytes. `resume`
    keeps all blobs of an existing file, or of an interrupted copy to it, whose digests verify. With
    `options.split` it is written as `path` + `.001` and so on, and `path` + `.sha256sums`. The blobs that
    `since` has are left out: tar files, layout folders, and inventories as values. The file records on which
    of them it relies; `MissingBase` is raised when it is copied to where they are not. Raises what
    `copy_to_repository` raises.
    """
    from imgpkg.content.archive.writer import tar_output
    from imgpkg.operations.copy.file import write_archive

    check_destination(source, to_repo="", to_tar=path, to_layout="", options=options)
    shown = os.fspath(path)
    target = tar_output(shown)
    bases = _bases(since, target)
    log = Log(on_event)
    with open_source(session, source, options, log, with_configs=True) as opened:
        new = _without(opened, bases, log)
        write_archive(new, target, shown=shown, resume=resume, split=options.split, session=session, log=log)
    return _written(new, options, log)


@operation
def copy_to_layout(
    source: CopySource,
    path: StrPath,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyResult:
    """Copy `source` to the OCI image layout folder `path` (image-spec, image-layout.md).

    The folder may contain other images, which stay. Blobs that it contains are not fetched again. `since` is
    as in `copy_to_tar`. Raises what `copy_to_repository` raises.
    """
    from imgpkg.content.layout import output_layout
    from imgpkg.operations.copy.file import write_layout

    check_destination(source, to_repo="", to_tar="", to_layout=path, options=options)
    shown = os.fspath(path)
    target = output_layout(shown)
    bases = _bases(since, target)
    log = Log(on_event)
    with open_source(session, source, options, log, with_configs=True) as opened:
        _check_pieces(opened)
        new = _without(opened, bases, log, layout=target)
        write_layout(new, target, shown=shown, session=session, log=log)
    return _written(new, options, log)


def _bases(since: Iterable[StrPath | imgpkg.Inventory], output: str) -> tuple[Base, ...]:
    given = listed("files and inventories", since)
    if not given:
        return ()
    from imgpkg.operations.inventory import read_since

    return read_since(given, output)


def _without(opened: OpenedSource, bases: tuple[Base, ...], log: Log, *, layout: str = "") -> OpenedSource:
    """Return the source without what `bases` have; raise MissingBase for what it lacks and `layout` too."""
    if not bases and not opened.bases:
        return opened
    from imgpkg.operations.copy.delta import check_target, leave_out

    new = leave_out(opened, bases, log)
    check_target(new, layout)
    return new


def _written(opened: OpenedSource, options: CopyOptions, log: Log) -> CopyResult:
    """Return the result of a copy to a file, and warn about what it lacks."""
    report_left_out(opened.plan, options, log, None)
    result = replace(result_of(opened.collected, opened.plan, None), verified=opened.verified)
    if not opened.bases:
        return result
    from imgpkg.operations.copy.delta import left_at_bases

    return replace(result, bases=left_at_bases(opened))


def _check_pieces(opened: OpenedSource) -> None:
    """Raise ArchiveError for a damaged piece of a tar file, before anything is written."""
    if opened.store is not None:
        opened.store.check_pieces()
