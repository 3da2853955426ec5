"""Copy into a repository: blobs, then manifests, then the records of locations, then the tags of the user."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

from imgpkg.bundle.image import cosign_tags, internal_tag, locations_tag
from imgpkg.bundle.locations import FILE_NAME, ImageLocations
from imgpkg.dataclass import dataclass
from imgpkg.errors import RegistryError, doing
from imgpkg.events import Planned
from imgpkg.operations.copy.destination import destination, jobs, send, survey
from imgpkg.operations.copy.plan import nodes_of
from imgpkg.operations.copy.values import report_left_out, result_of
from imgpkg.operations.tag import confirm_tag
from imgpkg.operations.workers import Task, open_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from imgpkg.content.image import BuiltImage
    from imgpkg.content.pack import PackedLayer
    from imgpkg.content.store import FileRange
    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.collection import Record
    from imgpkg.operations.copy.destination import Destination, OpenBlob, Survey, TagListing
    from imgpkg.operations.copy.plan import BlobMove, Node, OpenedSource, Root, TransferPlan
    from imgpkg.operations.copy.values import CopyOptions, CopyResult, Log
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.session import Session


def publish(
    opened: OpenedSource,
    session: Session,
    repository: Repository,
    options: CopyOptions,
    log: Log,
    *,
    listing: TagListing | None = None,
) -> CopyResult:
    """Write the plan to `repository`, then a record of locations for each bundle, then the tags of the user.

    A tag of the user is written last: until then it names the old content. `listing` may have begun already.
    Raises ArchiveError, VerificationError, or an error of either registry.
    """
    collected, plan = opened.collected, opened.plan
    to = destination(opened, session, repository, options)
    log(f"importing {len(plan.roots)} images...")
    count = jobs(opened, session)
    session.expect(repository.registry, len(plan.blobs))
    with open_workers(session, count, log.on_event, other=opened.session) as workers:
        found = survey(plan, to, workers, tuple(map(pack_record, collected.records)), listing)
        _transfer(found, to, opened.open_blob, workers)
        # After all images: a record promises that they are there.
        tagging = [act for record in found.records for act in record.tagging(to, is_fresh=found.is_fresh)]
        workers.map(lambda act: act(), tagging)
        log("Tagging images")
        with doing("Tagging images"):
            _tag_all(plan, found, to, workers, log)
    report_left_out(plan, options, log, repository)
    return result_of(collected, plan, repository)


def _transfer(found: Survey, to: Destination, open_blob: OpenBlob, workers: WorkerPool) -> None:
    """Write the missing blobs and manifests, those of records without their manifests."""
    workers.on_event(Planned(len(found.moves), sum(move.descriptor.size for move in found.moves)))

    def sending(move: BlobMove) -> Callable[[], None]:
        return lambda: send(move, to, open_blob, workers.on_event, found.is_fresh)

    # First: if one of them can neither be found nor mounted, nothing was sent in vain.
    workers.map(lambda move: sending(move)(), found.missing)
    tasks = [Task(("blob", move.descriptor.digest), sending(move)) for move in found.at_hand]
    for record in found.records:
        tasks.extend(record.sending(to, is_fresh=found.is_fresh))
    workers.take([*tasks, *_writing(found, to, [task.name for task in tasks])])


def _writing(found: Survey, to: Destination, before: Sequence[Hashable]) -> list[Task]:
    """Return the manifests of all trees, each digest once, in the order in which `before` completes them.

    A registry may refuse a manifest whose blobs or children it does not have (distribution-spec, "Pushing
    Manifests"). A root may be listed by another root: some registries do not find a manifest while it is
    being written again.
    """
    tagged: dict[Digest, list[Root]] = {}
    for root in found.roots:
        tagged.setdefault(root.node.manifest.digest, []).append(root)
    places = {name: place for place, name in enumerate(before)}
    tasks: dict[Hashable, Task] = {}
    # Children first.
    for node in nodes_of(found.roots):
        digest = node.manifest.digest
        blobs = (("blob", blob.digest) for blob in node.manifest.parts())
        after = (*blobs, *(("manifest", child.manifest.digest) for child in node.children))
        name = "manifest", digest
        if name not in tasks:
            tasks[name] = Task(name, partial(_publish, node, tagged.get(digest, ()), to), after)
            places[name] = max((places.get(other, 0) for other in after), default=0)
    # A stable order: no manifest comes before its children.
    return sorted(tasks.values(), key=lambda task: places[task.name])


def _publish(node: Node, roots: Sequence[Root], to: Destination) -> None:
    """Write a manifest under the upload tags of its `roots`, or under its digest if it is not a root."""
    for root in roots:
        to.put(to.reference(root), node.manifest, is_fresh=True)
    if not roots:
        to.client.push_manifest(to.repository.digest(node.manifest.digest), node.manifest)


def _tag_all(plan: TransferPlan, found: Survey, to: Destination, workers: WorkerPool, log: Log) -> None:
    """Write the tags of what is attached, then those that the user named.

    When an image is found by its name, its signatures are there.
    """
    # The tag of a signature follows from the digest of its image; the user did not name it.
    unnamed = {tag for node in nodes_of(plan.roots) for tag in cosign_tags(node.manifest.digest)}
    tagged = [root for root in plan.roots if root.item.tag]
    attached = [root for root in tagged if root.item.tag in unnamed]
    workers.map(lambda root: _tag(root, to, is_fresh=found.is_fresh, is_named=False), attached)
    if any(node.manifest.subject is not None for node in nodes_of(plan.roots)):
        from imgpkg.operations.copy.referrers import confirm_referrers

        confirm_referrers(plan, found.roots, to, workers, log)
    named = [root for root in tagged if root.item.tag not in unnamed]
    workers.map(lambda root: _tag(root, to, is_fresh=found.is_fresh, is_named=True), named)


def _tag(root: Root, to: Destination, *, is_fresh: bool, is_named: bool) -> None:
    """Write the tag of `root`; check a tag that the user named afterwards."""
    reference, manifest = to.repository.tag(root.item.tag), root.node.manifest
    with doing(f"Tagging image {root.item.reference}", "Tagging image"):
        if to.put(reference, manifest, is_fresh=is_fresh) and is_named:
            confirm_tag(to.client, reference, manifest.digest)


@dataclass(frozen=True, slots=True)
class RecordImage:
    """The image of a record; the bytes are always the same, so that an equal record has the same digest."""

    bundle: Digest
    layer: PackedLayer
    image: BuiltImage

    @property
    def tag(self) -> str:
        """The tag by which the record of the bundle is found."""
        return locations_tag(self.bundle)

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
            except RegistryError as error:
                # There is no code for it in the distribution-spec; registries put the word into the message.
                is_replaced = tag == self.tag and "immutable" in str(error)
                if not is_replaced or not to.has(to.repository.tag(tag)):
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

    layer = pack_file(FILE_NAME, ImageLocations(record.images).to_bytes())
    return RecordImage(record.bundle, layer, build_image(layer, {}))
