"""Preview a copy: what would be transferred, how much, and with which credentials."""

from __future__ import annotations

from typing import TYPE_CHECKING

import imgpkg
from imgpkg.auth.keychain import Decision
from imgpkg.dataclass import dataclass
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Reference
from imgpkg.operations.copy.destination import destination, jobs, survey
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
from imgpkg.session import Session

if TYPE_CHECKING:
    from imgpkg.operations.copy.destination import Destination
    from imgpkg.operations.copy.plan import BlobMove, OpenedSource, Root
    from imgpkg.operations.workers import WorkerPool


@dataclass(frozen=True, slots=True)
class PreviewedImage:
    """An image or index to copy; `size` is that of all its blobs in bytes, also of those shared with others.

    `is_there` is true if the destination is known to have it. Before a small copy the destination is not
    asked. `attached` says what it is attached to; None for an image of its own.
    """

    reference: Reference
    tag: str
    manifests: int
    blobs: int
    size: int
    is_there: bool = False
    attached: imgpkg.Attached | None = None


@dataclass(frozen=True, slots=True)
class CopyPreview:
    """What a copy would transfer: `blobs` is their number and `size` their bytes, each counted once.

    `mountable` of these blobs, of `mountable_size` bytes in total, are in the registry of the destination and
    can be mounted without a transfer. `credentials` are the decisions for all repositories that would be
    contacted, the destination last. `verified` is what was verified by a signature, if there was a policy.
    """

    images: tuple[PreviewedImage, ...]
    blobs: int
    size: int
    mountable: int
    mountable_size: int
    credentials: tuple[Decision, ...]
    left_out: tuple[LeftOut, ...] = ()
    verified: tuple[Verified, ...] = ()


def preview_copy(
    source: CopySource,
    to_repo: str = "",
    *,
    session: Session,
    source_session: Session | None = None,
    options: CopyOptions = DEFAULT_OPTIONS,
    on_event: Hook = silent,
) -> CopyPreview:
    """Return what a copy of `source` to the repository `to_repo`, or to a file without it, would transfer.

    Nothing is written. Manifests are read from the source, and the destination is asked what it has; a file
    at the destination is not read. The sessions are used as in `copy`. Raises what the copy itself would
    raise before it writes.
    """
    source.check()
    repository = parse_destination(to_repo, options) if to_repo else None
    log = Log(on_event)
    reader = source_session or session
    with open_source(reader, source, options, log, to=repository, writer=session) as opened:
        if repository is None:
            return _preview(opened, session, tuple(opened.plan.blobs.values()))
        to = destination(opened, session, repository, options)
        count = jobs(opened, session)
        with open_workers(session, count, on_event, other=opened.session) as workers:
            found = survey(opened.plan, to, workers)
            workers.map(lambda move: to.check_source(move, opened.open_blob), found.missing)
            # At a fresh destination the copy would not ask for blobs, so neither does the preview.
            moves = found.moves if found.is_fresh else _missing(found.moves, to, workers)
        missing = frozenset(to.tag_of(root) for root in found.roots)
        there = frozenset(root.item.key for root in opened.plan.roots if to.tag_of(root) not in missing)
        return _preview(opened, session, moves, to, there)


def _missing(moves: tuple[BlobMove, ...], to: Destination, workers: WorkerPool) -> tuple[BlobMove, ...]:
    """Return the blobs that the destination lacks, and those that may be mounted, which are not asked for."""

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
    # No registry is asked for what is read from a file, whatever repositories its images are named after.
    reads: list[Decision] = []
    if opened.session is not None:
        asked = sorted({root.item.reference.repository for root in roots})
        reads = [opened.session.keychain.resolve(place) for place in asked]
    writes = [] if to is None else [session.keychain.resolve(to.repository)]
    return CopyPreview(
        tuple(_previewed(root, root.item.key in there) for root in roots),
        len(moves),
        sum(move.descriptor.size for move in moves),
        len(mountable),
        sum(move.descriptor.size for move in mountable),
        (*reads, *writes),
        opened.plan.left_out,
        opened.verified,
    )


def _previewed(root: Root, is_there: bool) -> PreviewedImage:
    nodes = list(root.node.walk())
    blobs = {blob.digest: blob.size for node in nodes for blob in node.manifest.parts()}
    size = sum(blobs.values())
    reference, tag = root.item.reference, root.item.tag
    return PreviewedImage(reference, tag, len(nodes), len(blobs), size, is_there, attached_root(root))
