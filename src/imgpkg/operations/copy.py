"""Copy images, bundles and all they name between registries, tar files and layouts (imgpkg-spec 5)."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from imgpkg.bundle.lock_file import Path
from imgpkg.bundle.tagging import internal_tag
from imgpkg.content.archive_index import MANIFEST
from imgpkg.content.archive_manifest import ArchiveImage, ArchiveIndex, Marks
from imgpkg.content.archive_writer import ArchiveWriter
from imgpkg.content.layout import Layout
from imgpkg.errors import ArchiveError, UsageError, doing
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy_values import DEFAULT_OPTIONS, CopyOptions, CopyResult, CopySource, Log
from imgpkg.operations.fill import fill, spent_since
from imgpkg.operations.import_layout import marks_of
from imgpkg.operations.lock_output import write_lock
from imgpkg.operations.origin import opened
from imgpkg.operations.publish import publish, report_left_out, result_of
from imgpkg.session import Session

if TYPE_CHECKING:
    from imgpkg.content.archive_manifest import ArchiveItem
    from imgpkg.oci.digest import Digest
    from imgpkg.oci.manifest import Descriptor
    from imgpkg.operations.plan import Item, Node, TransferPlan

_MOST_LISTED = 100_000


def copy(
    source: CopySource,
    *,
    session: Session,
    to_repo: str = "",
    to_tar: Path = "",
    to_layout: Path = "",
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: Path = "",
    resume: bool = False,
    on_event: Hook = silent,
) -> CopyResult:
    """Copy to the one destination that is set; see `copy_to_repository`, `copy_to_tar`, `copy_to_layout`.

    `lock_output` goes with a repository and `resume` with a tar file. Raises UsageError for what does not go
    together, and whatever the copy raises.
    """
    check_destination(
        source, to_repo=to_repo, to_tar=to_tar, to_layout=to_layout, lock_output=lock_output, resume=resume
    )
    if to_tar:
        return copy_to_tar(source, to_tar, session=session, options=options, resume=resume, on_event=on_event)
    if to_layout:
        return copy_to_layout(source, to_layout, session=session, options=options, on_event=on_event)
    return copy_to_repository(
        source, to_repo, session=session, options=options, lock_output=lock_output, on_event=on_event
    )


def check_destination(
    source: CopySource,
    *,
    to_repo: str,
    to_tar: Path,
    to_layout: Path,
    lock_output: Path = "",
    resume: bool = False,
) -> None:
    """Raise UsageError unless `source` is one source and exactly one destination is set that it may go to.

    `lock_output` goes with a repository, `resume` with a tar file.
    """
    source.check()
    if sum(1 for text in (to_repo, to_tar, to_layout) if text) != 1:
        raise UsageError("Expected either --to-tar or --to-repo")
    if to_tar and source.is_local:
        raise UsageError("Cannot use tar source (--tar) with tar destination (--to-tar)")
    if not to_repo and lock_output:
        raise UsageError("Cannot output lock file with tar destination")
    if not to_tar and resume:
        raise UsageError("Flag --resume can only be used when copying to tar")


def copy_to_repository(
    source: CopySource,
    to_repo: str,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: Path = "",
    on_event: Hook = silent,
) -> CopyResult:
    """Copy an image, a bundle with all it names, or what a lock or file holds into the repository `to_repo`.

    Blobs go straight from source to destination, or are mounted within one registry; from a tar file or
    layout the destination alone is contacted. `lock_output` names a lock file to write. Raises UsageError,
    IsABundle, NotABundle, InvalidLock, VerificationError, ArchiveError, or an error of either registry.
    """
    source.check()
    with doing("Building import repository ref"):
        repository = Repository.parse(to_repo)
    log = Log(on_event)
    with opened(session, source, options, log, fallback=repository) as origin:
        result = publish(origin, session, repository, options, log)
    if lock_output:
        write_lock(lock_output, origin.collected, result)
    return result


def copy_to_tar(
    source: CopySource,
    path: Path,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    resume: bool = False,
    on_event: Hook = silent,
) -> CopyResult:
    """Copy an image, a bundle with all it names, or what a lock names into the tar file `path`.

    The file appears when it is whole; its bytes depend on what is copied alone. `resume` uses every blob that
    an earlier file, whole or not, has and that verifies. Raises what `copy_to_repository` raises, and
    LocalIOError.
    """
    check_destination(source, to_repo="", to_tar=path, to_layout="")
    log = Log(on_event)
    with opened(session, source, options, log, with_configs=True) as origin:
        _check_listable(origin.plan)
        items = [_archived(root.item, root.node) for root in origin.plan.roots]
        log("writing layers...")
        started = time.monotonic()
        with ArchiveWriter(os.fspath(path), items, _layers(origin.plan), resume=resume) as tar:
            if resume and tar.held:
                log(f"Going to reuse {_reused(origin.plan, tar)} layers from the tar already in disk")
            log(f"done: file '{MANIFEST}' ({spent_since(started)})")
            fill(origin.plan, tar, origin.open_blob, jobs=session.settings.concurrency, log=log)
    report_left_out(origin.plan, options, log, None)
    return result_of(origin.collected, origin.plan, None)


def copy_to_layout(
    source: CopySource,
    path: Path,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    on_event: Hook = silent,
) -> CopyResult:
    """Copy into the OCI image layout folder `path`, which may hold other images already.

    Blobs that are there are not fetched again. Raises what `copy_to_repository` raises, and LocalIOError.
    """
    source.check()
    log = Log(on_event)
    with opened(session, source, options, log, with_configs=True) as origin:
        layout = Layout.create(os.fspath(path))
        fill(origin.plan, layout, origin.open_blob, jobs=session.settings.concurrency, log=log)
        for root in origin.plan.roots:
            *below, _ = root.node.walk()
            for node in below:
                layout.publish(node.manifest, ())
            tag = root.item.tag or internal_tag(root.node.manifest.digest)
            layout.publish(root.node.manifest, (tag,), annotations=marks_of(root.item))
    report_left_out(origin.plan, options, log, None)
    return result_of(origin.collected, origin.plan, None)


def _check_listable(plan: TransferPlan) -> None:
    """Raise ArchiveError for indexes that list the same without end: manifest.json repeats all of it."""
    for root in plan.roots:
        sizes: dict[Digest, int] = {}
        for node in root.node.walk():
            sizes[node.manifest.digest] = 1 + sum(sizes[child.manifest.digest] for child in node.children)
        if sizes[root.node.manifest.digest] > _MOST_LISTED:
            raise ArchiveError(f"{root.item.reference} lists more than {_MOST_LISTED} manifests")


def _archived(item: Item, node: Node) -> ArchiveItem:
    """Describe a tree of manifests for manifest.json; what is known of its root is repeated below."""
    marks = Marks(str(node.image.reference), item.tag, item.origin, item.labels)
    if not node.manifest.is_index:
        return ArchiveImage(node.manifest, node.image.config_raw, marks)
    children = [_archived(item, child) for child in node.children]
    images = tuple(child for child in children if isinstance(child, ArchiveImage))
    indexes = tuple(child for child in children if isinstance(child, ArchiveIndex))
    return ArchiveIndex(node.manifest, images, indexes, marks)


def _layers(plan: TransferPlan) -> list[Descriptor]:
    return [
        plan.blobs[layer.digest].descriptor
        for root in plan.roots
        for node in root.node.walk()
        for layer in node.manifest.layers
        if layer.digest in plan.blobs
    ]


def _reused(plan: TransferPlan, tar: ArchiveWriter) -> int:
    return sum(1 for layer in _layers(plan) if layer.digest in tar.held)
