"""What the destination of a copy lacks: images, blobs and records of locations."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.errors import NotFound, RegistryError, doing
from imgpkg.operations.copy.plan import nodes_of
from imgpkg.registry.uploads import WORTH_ASKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.destination import Destination
    from imgpkg.operations.copy.plan import BlobMove, Root, TransferPlan
    from imgpkg.operations.copy.record import RecordImage
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient

# A smaller copy, in manifests and blobs, writes without asking first: the list of tags is one more request.
_WORTH_LISTING = 10
# With more tags each one is requested, in parallel: a list comes in pages, one after the other.
_MOST_TAGS = 1000


class TagListing:
    """The tags of a destination, which are requested once.

    That may be before the plan is known, beside the requests of the source: each wait counts on a long link.
    """

    def __init__(self, client: RegistryClient, repository: Repository, workers: WorkerPool) -> None:
        self._client = client
        self._repository = repository
        self._workers = workers
        self._started: Callable[[], AbstractSet[str] | None] | None = None

    def expect(self, images: int) -> None:
        """Begin to list if a copy of this many images is large enough for it."""
        if self._started is None and images >= _WORTH_LISTING:
            self._started = self._workers.start(self._list)

    def names(self) -> AbstractSet[str] | None:
        """Return all tags, None if there are too many or the registry refuses to list them."""
        return self._started() if self._started is not None else self._list()

    def _list(self) -> AbstractSet[str] | None:
        try:
            with doing("Checking what is there"):
                tags = frozenset(islice(self._client.tags(self._repository), _MOST_TAGS))
        except NotFound:
            return frozenset()
        except RegistryError:
            return None
        return tags if len(tags) < _MOST_TAGS else None


@dataclass(frozen=True, slots=True)
class Survey:
    """What the destination lacks: the roots, one for each upload tag, their blobs, and records of locations.

    The largest blobs come first. `is_fresh` is true if nothing was found at the destination. The blobs are
    then written without asking.
    """

    roots: tuple[Root, ...]
    moves: tuple[BlobMove, ...]
    records: tuple[RecordImage, ...]
    is_fresh: bool

    @property
    def missing(self) -> tuple[BlobMove, ...]:
        """The blobs that the file to copy from does not contain."""
        return tuple(move for move in self.moves if move.is_missing)

    @property
    def at_hand(self) -> tuple[BlobMove, ...]:
        """The blobs that can be read from the source."""
        return tuple(move for move in self.moves if not move.is_missing)


def survey(
    plan: TransferPlan,
    to: Destination,
    workers: WorkerPool,
    records: Sequence[RecordImage] = (),
    listing: TagListing | None = None,
) -> Survey:
    """Return what of `plan` and `records` the destination lacks; nothing is written.

    Raises an error of the registry.
    """
    # An image may be a root twice, with two tags of the user: it is uploaded once.
    distinct = {to.tag_of(root): root for root in plan.roots}
    wanted = {tag: root.node.manifest.digest for tag, root in distinct.items()}
    recorded = {record.tag: record.digest for record in records}
    # If the first requests with a credential were mounts, a token service that denies access to the source
    # repositories would seem to refuse the credential itself.
    is_listed = len(plan.blobs) + len(plan.roots) >= _WORTH_LISTING or to.is_unproven
    # A small copy does not ask and assumes that there are none.
    named = (listing or TagListing(to.client, to.repository, workers)).names() if is_listed else frozenset()
    with doing("Checking what is there"):
        asked = {tag: d for tag, d in {**wanted, **recorded}.items() if named is None or tag in named}
        held = _held(asked, to, workers)
        roots = tuple(root for tag, root in distinct.items() if tag not in held)
        moves = _needed(plan, roots)
        is_fresh = not held and not _has_any(moves, to, workers)
        if not is_fresh and not is_listed:
            held = held | _held(recorded, to, workers)
    return Survey(roots, moves, tuple(record for record in records if record.tag not in held), is_fresh)


def _held(wanted: Mapping[str, Digest], to: Destination, workers: WorkerPool) -> AbstractSet[str]:
    """Return those tags that the destination has, with these digests."""
    answers = workers.map(lambda tag: to.holds(to.repository.tag(tag), wanted[tag]), wanted)
    return {tag for tag, is_held in zip(wanted, answers, strict=True) if is_held}


def _needed(plan: TransferPlan, roots: Sequence[Root]) -> tuple[BlobMove, ...]:
    """Return the blobs of `roots` in the plan, the largest first, so that no long transfer starts last."""
    digests = {blob.digest for node in nodes_of(roots) for blob in node.manifest.parts()}
    moves = [move for digest, move in plan.blobs.items() if digest in digests]
    return tuple(sorted(moves, key=lambda move: -move.descriptor.size))


def _has_any(moves: Sequence[BlobMove], to: Destination, workers: WorkerPool) -> bool:
    """Return whether an interrupted copy left blobs: it began with the same ones, one in each worker."""
    # Blobs that may be mounted or are small are not asked for anyway.
    # Only the first of each worker: an interrupted copy began with these.
    large = [
        move
        for move in moves[: workers.jobs]
        if move.descriptor.size >= WORTH_ASKING and not to.may_mount(move)
    ]
    return any(workers.map(lambda move: to.client.has_blob(to.repository, move.descriptor.digest), large))
