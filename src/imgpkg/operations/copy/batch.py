"""The plan of a copy in batches: each with what the destination lacks of it and of no batch before it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, replace
from imgpkg.operations.copy.attachments import AttachmentNotes
from imgpkg.operations.copy.collection import Collected
from imgpkg.operations.copy.destination import destinations, survey
from imgpkg.operations.copy.places import records_beside
from imgpkg.operations.copy.plan import Places, RepositoryPlan, digests_of, plan_of
from imgpkg.operations.copy.repository import pack_record
from imgpkg.operations.copy.source import remote_source
from imgpkg.operations.copy.tags import with_tags

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.oci.cut import Cut
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.collection import Record
    from imgpkg.operations.copy.destination import Destination, Survey, TagListing
    from imgpkg.operations.copy.plan import Item, OpenedSource, Root, TransferPlan
    from imgpkg.operations.copy.source import Export
    from imgpkg.operations.copy.values import Log
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.session import Session

_NOTHING = Collected(())


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that are copied together: their one place, and what is to be done there.

    `present` are the number and the bytes of the blobs that are there with their images. `share` is the part
    of all images that are planned with this batch and those before it, from 0.0 to 1.0; it is 0.0 where that
    is unknown, and 1.0 only for the last batch.
    """

    places: Places
    to: Destination
    found: Survey
    opened: OpenedSource
    present: tuple[int, int]
    share: float = 0.0

    @property
    def plan(self) -> TransferPlan:
        """The plan for the one place."""
        return self.places.places[0].plan

    @property
    def is_last(self) -> bool:
        """True for the batch that has the records, and the tags that a user named."""
        return self.share >= 1.0


class BatchPlanner:
    """Makes batches of items, and remembers of those before what must not be done again.

    The `sessions` read and write. Of each image and blob that was planned only its name is kept.
    """

    def __init__(
        self,
        export: Export,
        sessions: tuple[Session, Session],
        repository: Repository,
        *,
        listing: TagListing,
        asking: WorkerPool,
        log: Log,
    ) -> None:
        self._export = export
        self._reading, self._writing = sessions
        self._repository = repository
        self._listing = listing
        self._asking = asking
        self._log = log
        # Bytes take a third of the memory of a Digest.
        self._items: set[bytes] = set()
        self._uploads: set[str] = set()
        self._blobs: set[bytes] = set()
        self._present: set[bytes] = set()
        self._copied: set[Digest] = set()
        self._cuts: dict[Digest, Cut] = {}
        self._is_fresh = True
        self._notes = AttachmentNotes()

    def batch(self, items: Iterable[Item], share: float) -> Batch | None:
        """Return the batch of those `items` that are new, None for none; all of `share` are planned then.

        Raises what reading the manifests raises, or an error of the destination.
        """
        roots = self._roots(items)
        return self._of(roots, (), share) if roots else None

    def last(self, collected: Collected) -> Batch:
        """Return the last batch: what was asked for by name, with its tags, and the records of bundles."""
        roots = self._roots(collected.items)
        self._notes.report(self._log, has_referrers=self._export.options.referrers)
        records = collected.records
        if self._cuts:
            copied = self._copied if self._export.options.platforms else None
            records = records_beside(records, self._repository, self._cuts, copied)
        return self._of(roots, records, 1.0, collected)

    def _roots(self, items: Iterable[Item]) -> tuple[Root, ...]:
        new = {item.key: item for item in items if _name(item) not in self._items}
        if not new:
            return ()
        found = self._export.roots(self._export.signed(tuple(new.values())), self._log, self._notes)
        # What is attached may be an image that came before.
        roots = tuple(root for root in found if _name(root.item) not in self._items)
        self._items.update(_name(root.item) for root in roots)
        self._items.update(map(_name, new.values()))
        self._cuts.update((cut.whole.digest, cut) for root in roots if (cut := root.item.cut) is not None)
        if self._export.options.platforms:
            self._copied |= digests_of(roots)
        return roots

    def _of(
        self,
        roots: tuple[Root, ...],
        records: tuple[Record, ...],
        share: float,
        collected: Collected = _NOTHING,
    ) -> Batch:
        options = self._export.options
        plan = plan_of(roots, include_non_distributable=options.include_non_distributable_layers)
        opened = remote_source(collected, plan, self._reading, options)
        if options.to_tags and collected is not _NOTHING:
            opened = with_tags(opened, options.to_tags)
        plan = opened.plan
        of_roots = {root.item.key: (self._repository,) for root in plan.roots}
        places = Places((RepositoryPlan(self._repository, plan, records),), of_roots)
        (to,) = destinations(replace(opened, places=places), self._writing, places, options)
        found = survey(plan, to, self._asking, tuple(map(pack_record, records)), self._listing)
        present = self._count_present(plan, found)
        return Batch(places, to, self._new(found, to), opened, present, share)

    def _count_present(self, plan: TransferPlan, found: Survey) -> tuple[int, int]:
        lacking = found.digests
        there = {_raw(digest): move for digest, move in plan.blobs.items() if digest not in lacking}
        new = there.keys() - self._blobs - self._present
        self._present |= new
        return len(new), sum(there[digest].descriptor.size for digest in new)

    def _new(self, found: Survey, to: Destination) -> Survey:
        """Return what no batch before has brought, or asked for."""
        roots = tuple(root for root in found.roots if to.tag_of(root) not in self._uploads)
        moves = tuple(move for move in found.moves if _raw(move.descriptor.digest) not in self._blobs)
        self._uploads.update(map(to.tag_of, roots))
        self._blobs.update(_raw(move.descriptor.digest) for move in moves)
        # Where one image was, blobs of others may be: they are asked for from then on.
        self._is_fresh = self._is_fresh and found.is_fresh
        return replace(found, roots=roots, moves=moves, is_fresh=self._is_fresh)


def _raw(digest: Digest) -> bytes:
    return bytes.fromhex(digest.hex)


def _name(item: Item) -> bytes:
    """Return a name of `item` that is short, and that no other item has."""
    return sha256("\0".join(item.key).encode()).digest()
