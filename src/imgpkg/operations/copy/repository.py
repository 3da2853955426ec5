"""Copy into a repository: blobs, then manifests, then the records of locations, then the tags of the user."""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from itertools import chain
from operator import itemgetter
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.image import cosign_tags, internal_tag, is_cosign_tag, locations_tag, places_tag
from imgpkg.bundle.locations import FILE_NAME, ImageLocations
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ImmutableTag, doing
from imgpkg.events import Planned
from imgpkg.operations.copy.destination import destinations, jobs, located, planned_places, send, survey
from imgpkg.operations.copy.plan import digests_of, nodes_of
from imgpkg.operations.copy.values import disputed_tags, report_left_out, result_of
from imgpkg.operations.tag import confirm_tag
from imgpkg.operations.workers import Task, open_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from imgpkg.content.image import BuiltImage
    from imgpkg.content.pack import PackedLayer
    from imgpkg.content.store import FileRange
    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.copy.collection import Record
    from imgpkg.operations.copy.destination import Destination, OpenBlob, Survey, TagListing
    from imgpkg.operations.copy.plan import BlobMove, Node, OpenedSource, Places, RepositoryPlan, Root
    from imgpkg.operations.copy.units import BlobExecution
    from imgpkg.operations.copy.values import CopyOptions, CopyResult, Log
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.session import Session

# Blobs whose manifests are written last, because they are perhaps being sent until then.
_LATEST = 1000
# The images that have tags of cosign, by these, in each repository.
TaggedImages: TypeAlias = "dict[Repository, dict[str, Reference]]"

_OLD_RECORD = (
    "an earlier copy has put the bundle with all its images into one repository, and pulls go on taking them "
    "from there; delete the tag {} to have them taken from their new places"
)


def publish(
    opened: OpenedSource,
    session: Session,
    repository: Repository,
    options: CopyOptions,
    log: Log,
    *,
    listing: TagListing | None = None,
    execution: BlobExecution | None = None,
) -> CopyResult:
    """Write the plan to `repository`, then a record of locations for each bundle, then the tags of the user.

    With a placement in `options`, the images go to several repositories. A tag of the user is written last:
    until then it names the old content. `listing` may have begun already. With an `execution`, its
    executor moves the blobs. Raises UsageError and
    InvalidReference for a placement, ArchiveError, VerificationError, or an error of one of the registries.
    """
    collected, plan = opened.collected, opened.plan
    places = planned_places(opened, repository, options.placement)
    targets = destinations(opened, session, places, options)
    log(f"importing {len(plan.roots)} images...")
    for registry in dict.fromkeys(repository.registry for repository in places.repositories):
        session.expect(registry, len(plan.blobs))
    with open_workers(session, jobs(opened, session), log.on_event, other=opened.session) as workers:
        # It is of `repository`, and was not begun for several.
        listed = listing if options.placement is None else None
        asking = workers.counting("asking the destination")

        def look(pair: tuple[RepositoryPlan, Destination]) -> Survey:
            place, to = pair
            found = survey(place.plan, to, asking, tuple(map(pack_record, place.records)), listed)
            # What others have begun is not looked for as what a copy has left: each blob is asked for.
            return found if opened.places is None else replace(found, is_fresh=False)

        found = workers.map(look, zip(places.places, targets, strict=True))
        surveys = list(zip(targets, found, strict=True))
        lacking, open_blob = located(opened, surveys, workers, options)
        _transfer(lacking, open_blob, workers, present=_present(places, found), execution=execution)
        finish(places, lacking, workers, log, {})
    report_left_out(plan, options, log, places)
    return result_of(collected, plan, places)


def finish(
    places: Places,
    lacking: Sequence[tuple[Destination, Survey]],
    workers: WorkerPool,
    log: Log,
    tagged: TaggedImages,
    *,
    is_last: bool = True,
) -> None:
    """Write the records, and then the tags; `tagged` is what was tagged before, and is added to.

    It `is_last` unless more images follow.
    """
    # After all images: a record promises that they are there.
    tagging = [
        act
        for to, found in lacking
        for record in found.records
        for act in record.tagging(to, is_fresh=found.is_fresh)
    ]
    workers.map(lambda act: act(), tagging)
    _warn_of_old_records(places, [to for to, _ in lacking], workers, log)
    if is_last:
        log("Tagging images")
    with doing("Tagging images"):
        _tag_all(places, lacking, workers, log, tagged)


def _tag_all(
    places: Places,
    lacking: Sequence[tuple[Destination, Survey]],
    workers: WorkerPool,
    log: Log,
    before: TaggedImages,
) -> None:
    """Write the tags of what is attached, then those that the user named.

    When an image is found by its name, its signatures are there.
    """
    plans = [(place.plan, to, found) for place, (to, found) in zip(places.places, lacking, strict=True)]
    # The tag of a signature follows from the digest of its image; the user did not name it.
    derived = {root.item.tag for plan, _, _ in plans for root in plan.roots if is_cosign_tag(root.item.tag)}
    unnamed: set[str] = set()
    if derived:
        digests = {digest for plan, _, _ in plans for digest in digests_of(plan.roots)}
        unnamed = {tag for digest in digests for tag in cosign_tags(digest) if tag in derived}
    disputed = [disputed_tags(plan.roots, log, before.setdefault(to.repository, {})) for plan, to, _ in plans]
    tagged = [
        (root, to, found.is_fresh)
        for (plan, to, found), keys in zip(plans, disputed, strict=True)
        for root in plan.roots
        if root.item.tag and root.item.key not in keys
    ]
    attached = [partial(_tag, *each, is_named=False) for each in tagged if each[0].item.tag in unnamed]
    workers.map(lambda act: act(), attached)
    for plan, to, found in plans:
        if any(node.manifest.subject is not None for node in nodes_of(plan.roots)):
            from imgpkg.operations.copy.referrers import confirm_referrers

            confirm_referrers(plan, found.roots, to, workers, log)
    named = [partial(_tag, *each, is_named=True) for each in tagged if each[0].item.tag not in unnamed]
    workers.map(lambda act: act(), named)


def _warn_of_old_records(
    places: Places, targets: Sequence[Destination], workers: WorkerPool, log: Log
) -> None:
    """Warn where a copy before this one has put all images into the repository of their bundle.

    Readers take the record of that copy first, as the original does; what it says stays true.
    """
    spread = [
        (to, to.repository.tag(locations_tag(record.bundle)))
        for place, to in zip(places.places, targets, strict=True)
        for record in place.records
        if ImageLocations(record.images).is_spread
    ]
    answers = workers.map(lambda pair: pair[0].has(pair[1]), spread)
    for (_, tag), is_there in zip(spread, answers, strict=True):
        if is_there:
            log.caution(_OLD_RECORD.format(tag))


def _present(places: Places, found: Sequence[Survey]) -> tuple[int, int]:
    """Return how many blobs belong to images that are at their destinations, and their bytes."""
    count = size = 0
    for place, survey_of in zip(places.places, found, strict=True):
        lacking = survey_of.digests
        for digest, move in place.plan.blobs.items():
            if digest not in lacking:
                count, size = count + 1, size + move.descriptor.size
    return count, size


def _transfer(
    lacking: Sequence[tuple[Destination, Survey]],
    open_blob: OpenBlob,
    workers: WorkerPool,
    *,
    present: tuple[int, int],
    execution: BlobExecution | None = None,
) -> None:
    """Write the missing blobs and manifests, those of records without their manifests."""
    sizes = (move.descriptor.size for _, found in lacking for move in found.moves)
    workers.on_event(Planned(sum(len(found.moves) for _, found in lacking), sum(sizes), *present))

    # First: if one of them can neither be found nor mounted, nothing was sent in vain.
    absent = [(move, to, found) for to, found in lacking for move in found.missing]
    workers.map(lambda each: _send(*each, open_blob, workers), absent)
    if execution is not None:
        from imgpkg.operations.copy.units import execute

        execute(execution, lacking, open_blob, workers)
    blobs = _BlobTasks(() if execution is not None else lacking, open_blob, workers)
    records = _sending(lacking)
    manifests = _writing(lacking, chain(blobs.names(), (task.name for task in records)))
    workers.take(chain(blobs, records, manifests))


def write_manifests(to: Destination, found: Survey, workers: WorkerPool) -> None:
    """Write what `found` lacks beside its blobs, which are there: the blobs of records, and manifests."""
    lacking = ((to, found),)
    workers.take([*_sending(lacking), *_writing(lacking, ())])


def _sending(lacking: Sequence[tuple[Destination, Survey]]) -> list[Task]:
    """Return what sends the blobs of records."""
    return [
        task
        for to, found in lacking
        for record in found.records
        for task in record.sending(to, is_fresh=found.is_fresh)
    ]


@dataclass(frozen=True, slots=True)
class _BlobTasks:
    """The tasks of all blobs that are at hand, made when they are needed: there may be a million."""

    lacking: Sequence[tuple[Destination, Survey]]
    open_blob: OpenBlob
    workers: WorkerPool

    def __iter__(self) -> Iterator[Task]:
        for move, to, found in self._moves():
            digest = move.descriptor.digest
            after = () if move.nearer is None else (("blob", move.nearer, digest),)
            act = partial(_send, move, to, found, self.open_blob, self.workers)
            yield Task(("blob", to.repository, digest), act, after)

    def names(self) -> Iterator[Hashable]:
        """Yield the names of the tasks, in their order."""
        for move, to, _ in self._moves():
            yield "blob", to.repository, move.descriptor.digest

    def _moves(self) -> Iterator[tuple[BlobMove, Destination, Survey]]:
        # What is mounted from another place waits for it.
        for is_nearer in (False, True):
            for to, found in self.lacking:
                for move in found.moves:
                    if not move.is_missing and (move.nearer is not None) is is_nearer:
                        yield move, to, found


def _send(move: BlobMove, to: Destination, found: Survey, open_blob: OpenBlob, workers: WorkerPool) -> None:
    send(move, to, open_blob, workers.on_event, found.is_fresh)


def _writing(lacking: Sequence[tuple[Destination, Survey]], before: Iterable[Hashable]) -> Iterator[Task]:
    """Yield the manifests of all trees, each once a repository, in the order in which `before` allows them.

    A registry may refuse a manifest whose blobs or children it does not have (distribution-spec, "Pushing
    Manifests"). A root may be listed by another root: some registries do not find a manifest while it is
    being written again.
    """
    # What began long before is done when the first manifest is written.
    order = {name: place for place, name in enumerate(deque(before, _LATEST), 1)}
    found = [
        (place, node, roots, to)
        for to, survey_of in lacking
        for place, node, roots in _placed(survey_of, to, order)
    ]
    # A stable order: no manifest comes before its children.
    found.sort(key=itemgetter(0))
    for _, node, roots, to in found:
        blobs = (("blob", to.repository, blob.digest) for blob in node.manifest.parts())
        below = (("manifest", to.repository, child.manifest.digest) for child in node.children)
        name = "manifest", to.repository, node.manifest.digest
        yield Task(name, partial(_publish, node, roots, to), (*blobs, *below))


def _placed(
    found: Survey, to: Destination, order: Mapping[Hashable, int]
) -> Iterator[tuple[int, Node, Sequence[Root]]]:
    """Yield each manifest with its place among those that wait for something, and the roots that it is."""
    tagged: dict[Digest, list[Root]] = {}
    for root in found.roots:
        tagged.setdefault(root.node.manifest.digest, []).append(root)
    places: dict[Digest, int] = {}
    # Children first.
    for node in nodes_of(found.roots):
        digest = node.manifest.digest
        if digest not in places:
            blobs = (order.get(("blob", to.repository, blob.digest), 0) for blob in node.manifest.parts())
            below = (places[child.manifest.digest] for child in node.children)
            places[digest] = max((*blobs, *below), default=0)
            yield places[digest], node, tagged.get(digest, ())


def _publish(node: Node, roots: Sequence[Root], to: Destination) -> None:
    """Write a manifest under the upload tags of its `roots`, or under its digest if it is not a root."""
    for root in roots:
        to.put(to.reference(root), node.manifest, is_fresh=True)
    if not roots:
        to.client.push_manifest(to.repository.digest(node.manifest.digest), node.manifest)


def _tag(root: Root, to: Destination, is_fresh: bool, *, is_named: bool) -> None:
    """Write the tag of `root`; check a tag that the user named afterwards."""
    reference, manifest = to.repository.tag(root.item.tag), root.node.manifest
    with doing(f"Tagging image {root.item.reference}", "Tagging image"):
        if to.put(reference, manifest, is_fresh=is_fresh) and is_named:
            confirm_tag(to.client, reference, manifest.digest)


@dataclass(frozen=True, slots=True)
class RecordImage:
    """The image of a record; the bytes are always the same, so that an equal record has the same digest.

    `is_spread` is true if not all images are in the repository of the bundle.
    """

    bundle: Digest
    layer: PackedLayer
    image: BuiltImage
    is_spread: bool = False

    @property
    def tag(self) -> str:
        """The tag by which the record of the bundle is found."""
        return places_tag(self.bundle) if self.is_spread else locations_tag(self.bundle)

    @property
    def digest(self) -> Digest:
        """The digest of the image."""
        return self.image.manifest.digest

    def sending(self, to: Destination, *, is_fresh: bool) -> Iterator[Task]:
        """Yield a task for each blob, which may be there before the images: nothing refers to it yet."""
        opened = self.layer.open
        config = self.image.config_descriptor
        for blob, open_ in ((self.layer.descriptor, opened), (config, lambda: BytesIO(self.image.config))):
            name = "record", self.bundle, blob.digest
            yield Task(name, partial(self._send, blob, open_, to, check=not is_fresh))

    def tagging(self, to: Destination, *, is_fresh: bool) -> Iterator[Callable[[], None]]:
        """Yield what writes the image, whose blobs are there: under its internal tag, and the bundle's.

        A registry with immutable tags may refuse to replace a record; the old one then stays.
        """
        yield partial(self._tag, internal_tag(self.digest), to, is_fresh=is_fresh)
        # It was found before that the bundle has another record, or none.
        yield partial(self._tag, self.tag, to, is_fresh=True)

    def _send(
        self, blob: Descriptor, open_: Callable[[], FileRange | BytesIO], to: Destination, *, check: bool
    ) -> None:
        with self._pushing(to):
            to.client.push_blob(to.repository, blob, open_, check=check)

    def _tag(self, tag: str, to: Destination, *, is_fresh: bool) -> None:
        with self._pushing(to):
            try:
                to.put(to.repository.tag(tag), self.image.manifest, is_fresh=is_fresh)
            except ImmutableTag:
                if tag != self.tag or not to.has(to.repository.tag(tag)):
                    raise

    @contextmanager
    def _pushing(self, to: Destination) -> Iterator[None]:
        with (
            doing(f"Creating copy information for bundle {to.repository.digest(self.bundle)}"),
            doing(f"Pushing locations image to '{to.repository.tag(self.tag)}'"),
        ):
            yield


def pack_record(record: Record) -> RecordImage:
    """Return the image of `record`; nothing is written."""
    from imgpkg.content.image import build_image
    from imgpkg.content.pack import pack_file

    locations = ImageLocations(record.images, record.is_partial)
    layer = pack_file(FILE_NAME, locations.to_bytes())
    return RecordImage(
        record.bundle, layer, build_image(layer, {}), locations.is_spread or locations.is_partial
    )
