"""Copy images, bundles and all they name between registries, tar files and layouts."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from imgpkg.bundle.lock_file import Path
from imgpkg.bundle.tagging import internal_tag
from imgpkg.content.archive_index import MANIFEST
from imgpkg.content.archive_manifest import LARGEST_MANIFEST, ArchiveImage, ArchiveIndex, Marks
from imgpkg.content.archive_writer import ArchiveWriter, tar_output
from imgpkg.content.layout import Layout, output_layout
from imgpkg.content.output import output_file
from imgpkg.errors import ArchiveError, UsageError, doing
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy_values import DEFAULT_OPTIONS, CopyOptions, CopyResult, CopySource, Log
from imgpkg.operations.fill import fill, spent_since
from imgpkg.operations.import_layout import marks_of
from imgpkg.operations.lock_output import write_lock
from imgpkg.operations.origin import opened
from imgpkg.operations.plan import nodes_of
from imgpkg.operations.publish import publish, report_left_out, result_of
from imgpkg.session import Session

if TYPE_CHECKING:
    from imgpkg.content.archive_manifest import ArchiveItem
    from imgpkg.oci.manifest import Descriptor
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.plan import Item, Node, TransferPlan

_MOST_REPEATED = 100_000


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
    lock = _lock_place(source, lock_output) if lock_output else ""
    with doing("Building import repository ref"):
        repository = Repository.parse(to_repo)
    log = Log(on_event)
    with opened(session, source, options, log, fallback=repository) as origin:
        result = publish(origin, session, repository, options, log)
    if lock_output:
        write_lock(lock, origin.collected, result, shown=lock_output)
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
    shown = os.fspath(path)
    target = tar_output(shown)
    log = Log(on_event)
    with opened(session, source, options, log, with_configs=True) as origin:
        _check_listable(origin.plan)
        items = [_archived(root.item, root.node) for root in origin.plan.roots]
        log("writing layers...")
        started = time.monotonic()
        with ArchiveWriter(target, items, _layers(origin.plan), shown=shown, resume=resume) as tar:
            if resume and tar.held:
                log(f"Going to reuse {_reused(origin.plan, tar)} layers from the tar already in disk")
            log(f"done: file '{MANIFEST}' ({spent_since(started)})")
            fill(origin.plan, tar, origin.open_blob, session=session, log=log)
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
    target = output_layout(os.fspath(path))
    log = Log(on_event)
    with opened(session, source, options, log, with_configs=True) as origin:
        layout = Layout.create(target, os.fspath(path))
        fill(origin.plan, layout, origin.open_blob, session=session, log=log)
        for node in nodes_of(origin.plan.roots):
            layout.publish(node.manifest, ())
        for root in origin.plan.roots:
            tag = root.item.tag or internal_tag(root.node.manifest.digest)
            layout.publish(root.node.manifest, (tag,), annotations=marks_of(root.item))
    report_left_out(origin.plan, options, log, None)
    return result_of(origin.collected, origin.plan, None)


def _lock_place(source: CopySource, lock_output: Path) -> str:
    """Resolve where the lock file goes; raise LocalIOError, UsageError for the file that is copied."""
    with doing("Writing images config" if source.lock or source.image else "Writing bundle config"):
        place = output_file(lock_output)
    if source.tar and os.path.exists(source.tar) and os.path.realpath(source.tar) == place:
        raise UsageError("Expected --lock-output to be another file than --tar")
    return place


def _check_listable(plan: TransferPlan) -> None:
    """Raise ArchiveError for indexes that list the same without end: manifest.json repeats all of it."""
    counts: dict[Reference, int] = {}
    sizes: dict[Reference, int] = {}
    for node in nodes_of(plan.roots):
        below = [child.image.reference for child in node.children]
        counts[node.image.reference] = 1 + sum(counts[place] for place in below)
        own = len(node.manifest.raw) + len(node.image.config_raw)
        sizes[node.image.reference] = own + sum(sizes[place] for place in below)
    count = size = 0
    for root in plan.roots:
        count += counts[root.node.image.reference]
        size += sizes[root.node.image.reference]
        if count - len(counts) > _MOST_REPEATED:
            raise ArchiveError(f"{root.item.reference} lists more than {_MOST_REPEATED} manifests again")
        if size > LARGEST_MANIFEST:
            raise ArchiveError(f"{root.item.reference} lists more than {MANIFEST} of a tar file can hold")


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
        for layer in node.manifest.parts()
        # Configurations are in manifest.json.
        if layer.digest in plan.blobs and layer is not node.manifest.config
    ]


def _reused(plan: TransferPlan, tar: ArchiveWriter) -> int:
    return sum(1 for layer in _layers(plan) if layer.digest in tar.held)
