"""Say what a copy would do, and do nothing: what moves, from where, how much, with which credential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import Decision
from imgpkg.errors import doing
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Reference, Repository
from imgpkg.operations.copy.plan import LeftOut
from imgpkg.operations.copy.repository import destination, jobs, survey
from imgpkg.operations.copy.source import open_source
from imgpkg.operations.copy.values import DEFAULT_OPTIONS, CopyOptions, CopySource, Log
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session

if TYPE_CHECKING:
    from imgpkg.operations.copy.plan import BlobMove, Root
    from imgpkg.operations.copy.repository import Destination
    from imgpkg.operations.copy.source import OpenedSource
    from imgpkg.operations.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class PreviewedImage:
    """One thing to copy; `size` is the bytes of its blobs, shared ones included.

    `is_there` tells that the destination is known to have it: a copy of a few images writes without asking.
    """

    reference: Reference
    tag: str
    manifests: int
    blobs: int
    size: int
    is_there: bool = False


@dataclass(frozen=True, slots=True)
class CopyPreview:
    """What a copy would move: each blob that the destination may lack is counted once, `size` in bytes.

    `mountable` blobs are in the destination's registry, perhaps there already, and need not move.
    `credentials` has a decision for each repository that would be asked, the destination last.
    """

    images: tuple[PreviewedImage, ...]
    blobs: int
    size: int
    mountable: int
    mountable_size: int
    credentials: tuple[Decision, ...]
    left_out: tuple[LeftOut, ...] = ()


def preview_copy(
    source: CopySource,
    to_repo: str = "",
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    on_event: Hook = silent,
) -> CopyPreview:
    """Read the manifests that a copy would read and tell what it would move; nothing is written anywhere.

    The destination is asked what it has. Without `to_repo` the copy would go to a file, of which nothing is
    looked at. Raises what the copy itself would raise while reading.
    """
    source.check()
    repository = None
    if to_repo:
        with doing("Building import repository ref"):
            repository = Repository.parse(to_repo)
    log = Log(on_event)
    with open_source(session, source, options, log, fallback=repository) as opened:
        if repository is None:
            return _preview(opened, session, tuple(opened.plan.blobs.values()))
        to = destination(opened, session, repository, options)
        with open_workers(session, jobs(opened, session, repository), on_event) as workers:
            found = survey(opened.plan, to, workers)
            workers.map(lambda move: to.check_source(move, opened.open_blob), found.missing)
            moves = found.moves if found.is_fresh else _missing(found.moves, to, workers)
        missing = frozenset(to.tag_of(root) for root in found.roots)
        there = frozenset(root.item.key for root in opened.plan.roots if to.tag_of(root) not in missing)
        return _preview(opened, session, moves, to, there)


def _missing(moves: tuple[BlobMove, ...], to: Destination, workers: WorkerPool) -> tuple[BlobMove, ...]:
    """Leave out what the copy will find at the destination; what it can mount it will not ask for."""

    def is_missing(move: BlobMove) -> bool:
        return to.may_mount(move) or not to.client.has_blob(to.repository, move.descriptor.digest)

    answers = workers.map(is_missing, moves)
    return tuple(move for move, is_needed in zip(moves, answers, strict=True) if is_needed)


def _preview(
    opened: OpenedSource,
    session: Session,
    moves: tuple[BlobMove, ...],
    to: Destination | None = None,
    there: frozenset[tuple[str, str]] = frozenset(),
) -> CopyPreview:
    roots = opened.plan.roots
    mountable = [move for move in moves if to is not None and to.may_mount(move)]
    asked = set() if opened.is_local else {root.item.reference.repository for root in roots}
    places = [*sorted(asked), *([to.repository] if to is not None else [])]
    return CopyPreview(
        tuple(_previewed(root, root.item.key in there) for root in roots),
        len(moves),
        sum(move.descriptor.size for move in moves),
        len(mountable),
        sum(move.descriptor.size for move in mountable),
        tuple(session.keychain.resolve(place) for place in places),
        opened.plan.left_out,
    )


def _previewed(root: Root, is_there: bool) -> PreviewedImage:
    nodes = list(root.node.walk())
    blobs = {blob.digest: blob.size for node in nodes for blob in node.manifest.parts()}
    size = sum(blobs.values())
    return PreviewedImage(root.item.reference, root.item.tag, len(nodes), len(blobs), size, is_there)
