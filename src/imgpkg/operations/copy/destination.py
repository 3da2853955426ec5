"""The repository that is copied to: what it lacks, the tags of what is uploaded, and how blobs get there."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.image import internal_tag, repository_based_tag
from imgpkg.content.store import OpenedBlob
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ArchiveError, NotFound, RegistryError, doing
from imgpkg.operations.copy.plan import Places, RepositoryPlan, check_tags, nodes_of
from imgpkg.registry.uploads import WORTH_ASKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from imgpkg.bundle.placement import Placement
    from imgpkg.events import Hook
    from imgpkg.oci.descriptor import ByteReader, Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.copy.plan import BlobMove, OpenedSource, Root, TransferPlan
    from imgpkg.operations.copy.repository import RecordImage
    from imgpkg.operations.copy.values import CopyOptions
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient
    from imgpkg.session import Session

_FLAG = "--include-non-distributable-layers"
# A smaller copy, in manifests and blobs, writes without asking first: the list of tags is one more request.
_WORTH_LISTING = 10
# With more tags each one is requested, in parallel: a list comes in pages, one after the other.
_MOST_TAGS = 1000

OpenBlob: TypeAlias = "Callable[[BlobMove], AbstractContextManager[ByteReader]]"


def planned_places(opened: OpenedSource, home: Repository, placement: Placement | None) -> Places:
    """Return where the images of `opened` go in a copy to `home`; see `places_of` for errors."""
    if opened.places is not None:
        return opened.places
    if placement is not None:
        from imgpkg.operations.copy.places import places_of

        return places_of(opened, home, placement)
    records = opened.collected.records
    if any(root.item.cut is not None for root in opened.plan.roots):
        from imgpkg.operations.copy.places import located_records

        of_roots = {root.item.key: (home,) for root in opened.plan.roots}
        records = tuple(located_records(opened.collected, opened.plan.roots, of_roots).get(home, ()))
    return Places((RepositoryPlan(home, opened.plan, records),))


@dataclass(frozen=True, slots=True)
class Destination:
    """The repository to write to; `tag_of` returns the tag under which a root is uploaded.

    `mounts` is false if the source is a file: its blobs are read from the file and not from a registry.
    `is_unproven` is true if blobs may be mounted with a credential that nothing has been read with before.
    `asks_each` is true if its tags are requested also where there are few images.
    """

    client: RegistryClient
    repository: Repository
    tag_of: Callable[[Root], str]
    mounts: bool = True
    is_unproven: bool = False
    asks_each: bool = False

    def reference(self, root: Root) -> Reference:
        """Return the reference under which `root` is uploaded."""
        return self.repository.tag(self.tag_of(root))

    def holds(self, reference: Reference, digest: Digest) -> bool:
        """Return whether `reference` names `digest` already."""
        return self.client.names(reference, digest)

    def has(self, reference: Reference) -> bool:
        """Return whether `reference` exists; an error of the registry counts as no."""
        try:
            return self.client.exists(reference) is not None
        except RegistryError:
            return False

    def may_mount(self, move: BlobMove) -> bool:
        """Return whether the registry may mount the blob from another of its repositories."""
        is_near = (self.mounts or move.is_missing) and move.origin.registry == self.repository.registry
        return is_near or move.nearer is not None

    def is_asked(self, move: BlobMove, *, is_fresh: bool) -> bool:
        """Return whether the destination is asked for the blob before it is sent."""
        blob = move.descriptor
        # A blob to be mounted is asked for only if the mount fails. A non-distributable layer may be at the
        # destination even if the source no longer has it.
        is_worth = not is_fresh or not blob.is_distributable
        return is_worth or (self.may_mount(move) and blob.size >= WORTH_ASKING)

    def check_source(self, move: BlobMove, open_blob: OpenBlob) -> None:
        """Raise ArchiveError for a blob that is neither in the file to copy from nor at the destination.

        A blob that may be mounted is not checked.
        """
        if move.is_missing and not self.may_mount(move):
            if self.client.has_blob(self.repository, move.descriptor.digest):
                return
            with _explained(move, self), open_blob(move):
                pass

    def put(self, reference: Reference, manifest: Manifest, *, is_fresh: bool) -> bool:
        """Write `manifest` under `reference` unless it is there; return whether it was written.

        With `is_fresh`, the manifest is written without asking. A registry with immutable tags refuses even
        an equal manifest: what it has under the tag is then compared.
        """
        # A HEAD request is cheaper than a write, and leaves the time stamp of the tag unchanged.
        if not is_fresh and self.holds(reference, manifest.digest):
            return False
        try:
            self.client.push_manifest(reference, manifest)
        except RegistryError:
            # Only the content counts: an immutable tag that names the same manifest is no failure.
            if not (is_fresh and self.holds(reference, manifest.digest)):
                raise
            return False
        return True


def destinations(
    opened: OpenedSource, session: Session, places: Places, options: CopyOptions
) -> tuple[Destination, ...]:
    """Return how to write the images of `opened` to each of `places`."""
    tag_of = upload_tags(repo_based=options.repo_based_tags)
    found = []
    for place in places.places:
        to = Destination(
            session.client.primary,
            place.repository,
            tag_of,
            mounts=not opened.is_local,
            asks_each=options.placement is not None or bool(options.to_tags) or opened.places is not None,
        )
        found.append(replace(to, is_unproven=_is_unproven(opened, place.plan, session, to)))
    return tuple(found)


def _is_unproven(opened: OpenedSource, plan: TransferPlan, session: Session, to: Destination) -> bool:
    origins = {move.nearer or move.origin for move in plan.blobs.values() if to.may_mount(move)}
    # The writing session has read nothing yet.
    if opened.session is not session:
        return bool(origins)
    credential = to.client.decision(to.repository).credential
    return any(to.client.decision(origin).credential != credential for origin in origins)


def upload_tags(*, repo_based: bool) -> Callable[[Root], str]:
    """Return what says under which tag a root is uploaded, by which no registry removes it."""
    return _repository_based if repo_based else _by_digest


def _by_digest(root: Root) -> str:
    return internal_tag(root.node.manifest.digest)


def _repository_based(root: Root) -> str:
    return repository_based_tag(root.item.origin or str(root.item.reference), root.node.manifest.digest)


def jobs(opened: OpenedSource, session: Session) -> int:
    """Return the number of workers: twice as many as connections to one host if a registry is the source.

    Most of the time, a worker waits for one of the two registries only.
    """
    return session.settings.concurrency * (1 if opened.is_local else 2)


def send(
    move: BlobMove,
    to: Destination,
    open_blob: OpenBlob,
    on_event: Hook,
    is_fresh: bool,
) -> None:
    """Put a blob there: mount it from another repository, or send the bytes that `open_blob` reads.

    Without `is_fresh`, it is asked for before. Raises ArchiveError, or an error of either registry.
    """
    blob = move.descriptor
    to.check_source(move, open_blob)
    mounts = to.may_mount(move)
    with _explained(move, to):
        to.client.push_blob(
            to.repository,
            blob,
            BlobOpener(move, open_blob),
            mount_from=(move.nearer or move.origin) if mounts else None,
            check=to.is_asked(move, is_fresh=is_fresh) or move.is_missing,
            on_event=on_event,
        )


@dataclass(frozen=True, slots=True)
class BlobOpener:
    """Opens the bytes of a blob each time that it is called; small, since clients may keep a million."""

    move: BlobMove
    open_blob: OpenBlob

    def __call__(self) -> OpenedBlob | io.BytesIO:
        """Return the bytes from their start."""
        data = self.move.data
        return io.BytesIO(data) if data is not None else OpenedBlob(self.open_blob(self.move))


@contextmanager
def _explained(move: BlobMove, to: Destination) -> Iterator[None]:
    """Return a context that adds a hint to the ArchiveError of a blob that the file does not contain."""
    try:
        yield
    except ArchiveError as error:
        if move.is_missing:
            error.hints = (*error.hints, _nowhere(move, to))
        raise


def _nowhere(move: BlobMove, to: Destination) -> str:
    mounted = f", and could not be mounted from {move.origin}" if to.may_mount(move) else ""
    advice = "" if move.descriptor.is_distributable else f" with {_FLAG}, or copy it without that flag"
    return f"{move.descriptor.digest} is not in {to.repository} either{mounted}: make the file again{advice}."


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

    `moves` are in the order in which to send them. `is_fresh` is true if nothing was found at the
    destination. The blobs are then written without asking.
    """

    roots: tuple[Root, ...]
    moves: tuple[BlobMove, ...]
    records: tuple[RecordImage, ...]
    is_fresh: bool

    @property
    def digests(self) -> AbstractSet[Digest]:
        """The digests of all blobs that the destination may lack."""
        return {move.descriptor.digest for move in self.moves}

    @property
    def missing(self) -> tuple[BlobMove, ...]:
        """The blobs that the file to copy from does not contain."""
        return tuple(move for move in self.moves if move.is_missing)

    @property
    def at_hand(self) -> tuple[BlobMove, ...]:
        """The blobs that can be read from the source."""
        return tuple(move for move in self.moves if not move.is_missing)


def located(
    opened: OpenedSource,
    lacking: Sequence[tuple[Destination, Survey]],
    workers: WorkerPool,
    options: CopyOptions,
) -> tuple[Sequence[tuple[Destination, Survey]], OpenBlob]:
    """Look for the blobs that the source was made without, as `locate` does; raise MissingBase.

    Returns what is left to do at each destination, and how to open a blob.
    """
    others = options.mount_places(to.repository.registry for to, _ in lacking)
    if not opened.bases:
        return lacking, opened.open_blob
    from imgpkg.operations.copy.delta import locate

    return locate(opened, lacking, workers, others)


def survey(
    plan: TransferPlan,
    to: Destination,
    workers: WorkerPool,
    records: Sequence[RecordImage] = (),
    listing: TagListing | None = None,
) -> Survey:
    """Return what of `plan` and `records` the destination lacks; nothing is written.

    Raises UsageError for two images with one tag, or an error of the registry.
    """
    check_tags(plan.roots, str(to.repository))
    # An image may be a root twice, with two tags of the user: it is uploaded once.
    distinct = {to.tag_of(root): root for root in plan.roots}
    wanted = {tag: root.node.manifest.digest for tag, root in distinct.items()}
    recorded = {record.tag: record.digest for record in records}
    # If the first requests with a credential were mounts, a token service that denies access to the source
    # repositories would seem to refuse the credential itself.
    is_listed = len(plan.blobs) + len(plan.roots) >= _WORTH_LISTING or to.is_unproven
    # A small copy does not ask and assumes that there are none.
    named: AbstractSet[str] | None = frozenset()
    if to.asks_each and len(plan.roots) < _WORTH_LISTING:
        named, is_listed = None, True
    elif is_listed:
        named = (listing or TagListing(to.client, to.repository, workers)).names()
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
    """Return the blobs of `roots` in the plan, the largest first, and the small ones spread among the large.

    No long transfer starts last then. A small blob takes one wait for the registry after the other; meanwhile
    the link carries large ones.
    """
    moves = [*plan.blobs.values()]
    if len(roots) < len(plan.roots):
        digests = {blob.digest for node in nodes_of(roots) for blob in node.manifest.parts()}
        # An image may have been copied without the layers that are now to be taken along.
        moves = [m for m in moves if m.descriptor.digest in digests or not m.descriptor.is_distributable]
    moves.sort(key=lambda move: move.descriptor.size, reverse=True)
    large = sum(move.descriptor.size >= WORTH_ASKING for move in moves)
    return tuple(_interleaved(moves[:large], moves[large:]))


def _interleaved(large: Sequence[BlobMove], small: Sequence[BlobMove]) -> Iterator[BlobMove]:
    """Yield all of both in their orders; a large one comes before the small one at its place."""
    sent = 0
    for place, move in enumerate(large):
        while sent * len(large) < place * len(small):
            yield small[sent]
            sent += 1
        yield move
    yield from small[sent:]


def _has_any(moves: Sequence[BlobMove], to: Destination, workers: WorkerPool) -> bool:
    """Return whether an interrupted copy left blobs: it began with the same ones, one in each worker."""
    # Blobs that may be mounted or are small are not asked for anyway.
    large = [move for move in moves if move.descriptor.size >= WORTH_ASKING and not to.may_mount(move)]
    # Only the first of each worker: an interrupted copy began with these.
    first = large[: workers.jobs]
    return any(workers.map(lambda move: to.client.has_blob(to.repository, move.descriptor.digest), first))
