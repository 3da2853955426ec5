"""Preview a copy: what would be transferred, how much, and with which credentials."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.auth.keychain import Decision
from imgpkg.dataclass import dataclass, replace
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Reference
from imgpkg.operations.copy.collection import Unselected
from imgpkg.operations.copy.copy import check_destination
from imgpkg.operations.copy.destination import destinations, jobs, located, planned_places, survey
from imgpkg.operations.copy.plan import LeftOut
from imgpkg.operations.copy.source import open_source
from imgpkg.operations.copy.values import (
    DEFAULT_OPTIONS,
    CopyOptions,
    CopySource,
    Log,
    Verified,
    attached_root,
    parse_destination,
)
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.destination import Destination
    from imgpkg.operations.copy.plan import BlobMove, OpenedSource, Places, RepositoryPlan, Root
    from imgpkg.operations.plans.writer import PlanFile
    from imgpkg.operations.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class PreviewedImage:
    """An image or index to copy; `size` is that of all its blobs in bytes, also of those shared with others.

    `is_there` is true if the destination is known to have it. Before a small copy the destination is not
    asked. `attached` says what it is attached to; None for an image of its own. `destination` is where it
    goes, None for a file. `cut` is set for an index of which some platforms are copied.
    """

    reference: Reference
    tag: str
    manifests: int
    blobs: int
    size: int
    is_there: bool = False
    attached: imgpkg.Attached | None = None
    destination: Reference | None = None
    cut: imgpkg.Cut | None = None


@dataclass(frozen=True, slots=True)
class CopyPreview:
    """What a copy would transfer: `blobs` is their number and `size` their bytes, each counted once.

    With several repositories, a blob counts in each of them. `mountable` of these blobs, of `mountable_size`
    bytes in total, can be mounted from another repository of a destination's registry without a transfer.
    `credentials` are the decisions for all repositories that would be contacted, those of the destination
    last. `verified` is what was verified by a signature, if there was a policy. `bases` have what a file
    would be made without, `unselected` are the images that bundles and locks name and that were not
    selected.
    """

    images: tuple[PreviewedImage, ...]
    blobs: int
    size: int
    mountable: int
    mountable_size: int
    credentials: tuple[Decision, ...]
    left_out: tuple[LeftOut, ...] = ()
    verified: tuple[Verified, ...] = ()
    bases: tuple[imgpkg.Base, ...] = ()
    unselected: tuple[Unselected, ...] = ()


@operation
def preview_copy(
    source: CopySource,
    to_repo: str = "",
    *,
    session: Session,
    source_session: Session | None = None,
    options: CopyOptions = DEFAULT_OPTIONS,
    since: Iterable[StrPath | imgpkg.Inventory] = (),
    plan_output: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyPreview:
    """Return what a copy of `source` to the repository `to_repo`, or to a file without it, would transfer.

    Nothing is written. Manifests are read from the source, and the destination is asked what it has; a file
    at the destination is not read. The sessions and `since` are used as in `copy`. The file `plan_output`
    gets the plan of a copy to a repository, which `run_plan` copies by. Raises what the copy itself would
    raise before it writes, and LocalIOError.
    """
    bases = tuple(since)
    # A tar file is not copied to a tar file, but to a layout.
    file = "" if to_repo else "-"
    to_tar, to_layout = ("", file) if source.is_local else (file, "")
    check_destination(
        source, to_repo=to_repo, to_tar=to_tar, to_layout=to_layout, options=options, is_delta=bool(bases)
    )
    repository = parse_destination(to_repo, options) if to_repo else None
    log, plan = Log(on_event), _plan_file(plan_output, source, to_repo)
    reader = source_session or session
    with open_source(reader, source, options, log, to=repository, writer=session) as opened:
        if repository is None:
            return _preview_of_file(opened, session, bases, log)
        places = planned_places(opened, repository, options.placement)
        targets = destinations(opened, session, places, options)
        with open_workers(session, jobs(opened, session), on_event, other=opened.session) as workers:
            pairs = zip(places.places, targets, strict=True)
            lacking = workers.map(lambda pair: _lacking(*pair, opened, workers, options), pairs)
        there = {(to.repository, key) for to, _, held in lacking for key in held}
        moves = [(move, to) for to, found, _ in lacking for move in found]
        if plan is not None:
            plan.write(opened, places, source, repository, options)
        return _preview(opened, session, moves, places, there)


def _plan_file(path: StrPath, source: CopySource, to_repo: str) -> PlanFile | None:
    """Return the file to write the plan to, None for an empty path; raise UsageError or LocalIOError."""
    if not path:
        return None
    from imgpkg.operations.plans.writer import PlanFile

    return PlanFile.checked(path, source, to_repo)


def _lacking(
    place: RepositoryPlan,
    to: Destination,
    opened: OpenedSource,
    workers: WorkerPool,
    options: CopyOptions,
) -> tuple[Destination, tuple[BlobMove, ...], frozenset[tuple[str, str]]]:
    """Return which blobs a place lacks, and the keys of the roots that it has."""
    ((_, found),), open_blob = located(opened, [(to, survey(place.plan, to, workers))], workers, options)
    workers.map(lambda move: to.check_source(move, open_blob), found.missing)
    # At a fresh destination the copy would not ask for blobs, so neither does the preview.
    moves = found.moves if found.is_fresh else _missing(found.moves, to, workers)
    missing = frozenset(to.tag_of(root) for root in found.roots)
    held = (root.item.key for root in place.plan.roots if to.tag_of(root) not in missing)
    return to, moves, frozenset(held)


def _preview_of_file(
    opened: OpenedSource, session: Session, since: tuple[StrPath | imgpkg.Inventory, ...], log: Log
) -> CopyPreview:
    if not since:
        return _preview(opened, session, [(move, None) for move in opened.plan.blobs.values()])
    from imgpkg.operations.copy.delta import leave_out, left_at_bases
    from imgpkg.operations.inventory import read_since

    new = leave_out(opened, read_since(since), log)
    preview = _preview(new, session, [(move, None) for move in new.plan.blobs.values()])
    return replace(preview, bases=left_at_bases(new))


def _missing(moves: tuple[BlobMove, ...], to: Destination, workers: WorkerPool) -> tuple[BlobMove, ...]:
    """Return the blobs that the destination lacks, and those that may be mounted, which are not asked for."""

    def is_missing(move: BlobMove) -> bool:
        return to.may_mount(move) or not to.client.has_blob(to.repository, move.descriptor.digest)

    answers = workers.map(is_missing, moves)
    return tuple(move for move, is_needed in zip(moves, answers, strict=True) if is_needed)


def _preview(
    opened: OpenedSource,
    session: Session,
    moves: Sequence[tuple[BlobMove, Destination | None]],
    places: Places | None = None,
    there: AbstractSet[tuple[Repository, tuple[str, str]]] = frozenset(),
) -> CopyPreview:
    roots = opened.plan.roots
    mountable = [move for move, to in moves if to is not None and to.may_mount(move)]
    # No registry is asked for what is read from a file, whatever repositories its images are named after.
    reads: list[Decision] = []
    if opened.session is not None:
        asked = sorted({root.item.reference.repository for root in roots})
        reads = [opened.session.keychain.resolve(place) for place in asked]
    written = () if places is None else places.repositories
    return CopyPreview(
        tuple(image for root in roots for image in _previewed(root, places, there)),
        len(moves),
        sum(move.descriptor.size for move, _ in moves),
        len(mountable),
        sum(move.descriptor.size for move in mountable),
        (*reads, *map(session.keychain.resolve, written)),
        opened.plan.left_out,
        opened.verified,
        unselected=opened.collected.unselected,
    )


def _previewed(
    root: Root, places: Places | None, there: AbstractSet[tuple[Repository, tuple[str, str]]]
) -> Iterator[PreviewedImage]:
    nodes = list(root.node.walk())
    blobs = {blob.digest: blob.size for node in nodes for blob in node.manifest.parts()}
    item, size, attached = root.item, sum(blobs.values()), attached_root(root)
    image = PreviewedImage(
        item.named, item.tag, len(nodes), len(blobs), size, attached=attached, cut=item.cut
    )
    if places is None:
        yield image
        return
    for repository in places.of(root):
        to = repository.digest(root.node.manifest.digest)
        yield replace(image, is_there=(repository, root.item.key) in there, destination=to)
