"""The source of a copy: registries, a tar file or a layout, each read as a plan and a way to open blobs."""

from __future__ import annotations

import os
from collections import deque
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.bundle.graph import FIRST_REQUESTS, expect_nothing
from imgpkg.bundle.image import Image
from imgpkg.bundle.layer import check_single_layer, read_images_lock
from imgpkg.bundle.locations import Location
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ArchiveError, InvalidManifest, UsageError, doing
from imgpkg.oci.descriptor import file_position_of
from imgpkg.oci.reference import DOCKER_HUB, Reference, Repository, parse_any
from imgpkg.operations.copy.collection import (
    LOCK_LABEL,
    Collected,
    Record,
    collect_bundle,
    collect_image,
    collect_lock,
    remembered_lock,
    signatures,
)
from imgpkg.operations.copy.plan import (
    ROOT_BUNDLE_LABEL,
    Item,
    Node,
    Root,
    TransferPlan,
    nodes_of,
    plan_of,
    read_roots,
)
from imgpkg.operations.disclosure import Disclosure
from imgpkg.operations.tag import INTERNAL_SUFFIX
from imgpkg.operations.workers import METADATA_JOBS, open_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from imgpkg.bundle.graph import Expect
    from imgpkg.bundle.image import Starter
    from imgpkg.bundle.lock import ImagesLock, LockedImage
    from imgpkg.content.archive.manifest import ArchiveItem
    from imgpkg.content.archive.reader import Archive
    from imgpkg.content.layout import Layout
    from imgpkg.content.store import Source
    from imgpkg.oci.descriptor import Descriptor, Digest, Readable
    from imgpkg.oci.manifest import Manifest
    from imgpkg.operations.copy.plan import BlobMove
    from imgpkg.operations.copy.values import CopyOptions, CopySource, Log, Verified
    from imgpkg.registry.client import RegistryClient
    from imgpkg.session import Session

# A signature of an SBOM of an image is a chain of two; a hostile registry could make it endless.
_LONGEST_CHAIN = 32
# Annotations in the index.json of a layout; the first one is that of the OCI image-spec, annotations.md.
_TAG = "org.opencontainers.image.ref.name"
_SOURCE = "dev.carvel.imgpkg.copy.source"
_ORIGIN = "dev.carvel.imgpkg.copy.origin"
# Manifests are read from a disk, where calls cannot hang: plain threads do.
_LAYOUT_JOBS = 4


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """The items to copy, the plan, and `open_blob`, which opens a blob of the plan and is thread-safe.

    `session` is the one that registries are read with, None if the source is a tar file or layout. `verified`
    is what was verified by a signature, as the policy requires.
    """

    collected: Collected
    plan: TransferPlan
    open_blob: Callable[[BlobMove], AbstractContextManager[Readable]]
    session: Session | None = None
    verified: tuple[Verified, ...] = ()

    @property
    def is_local(self) -> bool:
        """True if the source is a tar file or layout."""
        return self.session is None


@contextmanager
def open_source(
    session: Session,
    source: CopySource,
    options: CopyOptions,
    log: Log,
    *,
    with_configs: bool = False,
    to: Repository | None = None,
    writer: Session | None = None,
    expect: Expect = expect_nothing,
) -> Iterator[OpenedSource]:
    """Return a context with the opened `source`, which is closed at its end.

    `with_configs` reads the configurations too. `to` is the repository to copy to, if the destination is one;
    it names the images of a layout that another tool made. `writer` is the session of the destination if it
    is not `session`; stopping it ends the reading too. `expect` is called while the source is read, with the
    number of images that are known by then. What the policy of `options` requires is verified at the end.
    Raises UsageError for a concurrency below 1, Untrusted, and what reading the source raises.
    """
    _check_concurrency(session, writer or session)
    if source.tar:
        from imgpkg.content.archive.reader import Archive

        with Archive(path := os.fspath(source.tar)) as archive:
            yield _verified(_local(*_read_archive(archive), archive, path, options), options, log)
    elif source.layout:
        from imgpkg.content.layout import Layout

        layout = Layout(path := os.fspath(source.layout))
        yield _verified(_local(*_read_layout(layout, to), layout, path, options), options, log)
    else:
        disclosure = Disclosure(session, source.shown, has_sides=to is not None)
        # With a login for each side, the destination has no bearing on the registries to read from.
        if to is not None and writer in (None, session):
            disclosure.name(to.registry)
        if source.bundle:
            session.expect(parse_any(source.bundle).repository.registry, FIRST_REQUESTS)
        # Manifests are small, so that more requests at once shorten the wait.
        jobs = max(session.settings.concurrency, METADATA_JOBS)
        with open_workers(session, jobs, other=writer) as workers:
            export = _Export(session.client, options, workers, disclosure, with_configs, expect)
            collected, plan = export.run(source, log)
        yield _verified(_remote(collected, plan, session, options), options, log)


def _check_concurrency(*sessions: Session) -> None:
    for session in sessions:
        if session.settings.concurrency < 1:
            raise UsageError(f"Expected --concurrency to be >= 1, but was {session.settings.concurrency}")


def _verified(opened: OpenedSource, options: CopyOptions, log: Log) -> OpenedSource:
    if options.policy is None:
        return opened
    from imgpkg.operations.verification import verify_copy

    return replace(opened, verified=verify_copy(opened, options.policy, options, log))


def _remote(collected: Collected, plan: TransferPlan, session: Session, options: CopyOptions) -> OpenedSource:
    # Registries often lack such layers, and their descriptors list other addresses (image-spec,
    # descriptor.md, "urls").
    use_urls = options.include_non_distributable_layers

    def open_blob(move: BlobMove) -> AbstractContextManager[Readable]:
        stream = session.client.blob(move.origin, move.descriptor, use_urls=use_urls)
        return _named(stream, move, str(move.origin))

    return OpenedSource(collected, plan, open_blob, session)


def _local(
    collected: Collected, roots: tuple[Root, ...], store: Archive | Layout, path: str, options: CopyOptions
) -> OpenedSource:
    plan = plan_of(roots, include_non_distributable=options.include_non_distributable_layers)
    moves = plan.blobs.values()
    # Non-distributable layers, if they were left out when the file was made. The destination may have them.
    missing = [move for move in moves if move.data is None and not store.has(move.descriptor)]
    blobs = {move.descriptor.digest: replace(move, is_missing=True) for move in missing}
    plan = replace(plan, blobs={**plan.blobs, **blobs})
    return OpenedSource(collected, plan, lambda move: _named(store.blob(move.descriptor), move, path))


@contextmanager
def _named(context: AbstractContextManager[Readable], move: BlobMove, place: str) -> Iterator[Readable]:
    with context as stream:
        yield _NamedStream(stream, f"Reading blob {move.descriptor.digest} of {place}")


class _NamedStream:
    """A blob whose errors name the place from which it is read, which its reader does not have."""

    def __init__(self, stream: Readable, what: str) -> None:
        self.verifies = getattr(stream, "verifies", None)
        self._stream = stream
        self._what = what
        self.file_position = file_position_of(stream)

    def read(self, size: int = 1 << 20, /) -> bytes:
        with doing(self._what):
            return self._stream.read(size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        with doing(self._what):
            return self._stream.readinto(buffer)


@dataclass(frozen=True, slots=True)
class _Export:
    """Reads the items and the plan of a source in a registry: manifests, and the layers of bundles."""

    client: RegistryClient
    options: CopyOptions
    workers: Starter
    disclosure: Disclosure
    with_configs: bool
    expect: Expect

    def run(self, source: CopySource, log: Log) -> tuple[Collected, TransferPlan]:
        """Return both; raise UsageError, IsABundle, NotABundle, InvalidLock, or an error of the registry."""
        collected = self._collect(source)
        distinct = sorted({item.key for item in collected.items})
        log(f"exporting {len(distinct)} images...")
        for reference, _ in distinct:
            log(f"will export {reference}")
        roots = self._roots(collected.items)
        if self.options.referrers:
            roots = self._with_referrers(roots)
        log(f"exported {len(distinct)} images")
        include = self.options.include_non_distributable_layers
        return collected, plan_of(roots, include_non_distributable=include)

    def _collect(self, source: CopySource) -> Collected:
        client, workers = self.client, self.workers
        if source.lock:
            collected = collect_lock(client, source.lock, workers, self.disclosure, self.expect)
        elif source.image:
            collected = collect_image(client, source.image)
        else:
            collected = collect_bundle(client, source.bundle, workers, self.disclosure, self.expect)
        if self.options.cosign_signatures:
            collected = collected.adding(signatures(client, collected.items, workers))
        return collected

    def _roots(self, items: Iterable[Item]) -> tuple[Root, ...]:
        return read_roots(
            self.client,
            items,
            self.workers,
            with_configs=self.with_configs,
            approach=self.disclosure.approach,
        )

    def _with_referrers(self, roots: tuple[Root, ...]) -> tuple[Root, ...]:
        """Add the referrers of the roots and of all their children, and the referrers of those.

        Raises InvalidManifest for a chain of referrers that is too long.
        """
        all_of = {root.item.key: root for root in roots}
        asked: set[Reference] = set()
        # Each round finds the referrers of what the round before has found.
        for _ in range(_LONGEST_CHAIN):
            nodes = {node.image.reference for node in nodes_of(all_of.values())} - asked
            if not nodes:
                return tuple(all_of[key] for key in sorted(all_of))
            # Referrers may refer to each other: each is asked for once.
            asked |= nodes
            attached = self.workers.map(partial(_attached, self.client), nodes)
            found = {item.key: item for items in attached for item in items}
            for root in self._roots(item for key, item in found.items() if key not in all_of):
                all_of[root.item.key] = root
        raise InvalidManifest(
            f"{min(nodes, key=str)}: more than {_LONGEST_CHAIN} manifests are attached one to the other"
        )


def _attached(client: RegistryClient, reference: Reference) -> list[Item]:
    repository = reference.repository
    if reference.digest is None:  # pragma: no cover - nodes are digest references
        return []
    return [Item(repository.digest(found.digest)) for found in client.referrers(repository, reference.digest)]


def _read_archive(archive: Archive) -> tuple[Collected, tuple[Root, ...]]:
    """Return the roots of `archive`, and the records of its root bundle and the bundles below that.

    A file of an old version names no root bundle, and there are no records. Raises InvalidLock, ArchiveError
    or VerificationError for a bundle whose lock cannot be read.
    """
    roots = tuple(_archived_root(item) for item in archive.items)
    bundles = {root.node.manifest.digest: root.node.image for root in roots if root.node.image.is_bundle}
    # Bundles may be nested: only the label shows which one was asked for.
    top = next((root.item for root in roots if ROOT_BUNDLE_LABEL in root.item.labels), None)
    tops = () if top is None or top.image is None else (top.image,)
    records = tuple(_records_below(archive, tops, bundles))
    has_other = top is None and bool(bundles)
    items = tuple(root.item for root in roots)
    return Collected(items, top, records, remembered_lock(items), has_other), roots


def _archived_root(item: ArchiveItem) -> Root:
    node = _archived_node(item)
    marks = item.marks
    return Root(Item(node.image.reference, marks.tag, marks.origin, marks.labels, node.image), node)


def _archived_node(item: ArchiveItem) -> Node:
    from imgpkg.content.archive.manifest import ArchiveImage

    with doing("file manifest.json in tar"):
        repository = Reference.parse(item.marks.reference).repository
    reference = repository.digest(item.manifest.digest)
    if isinstance(item, ArchiveImage):
        return Node(Image(reference, item.manifest, item.config_raw))
    below: tuple[ArchiveItem, ...] = (*item.images, *item.indexes)
    children = {child.manifest.digest: _archived_node(child) for child in below}
    for child in item.manifest.children:
        if child.digest not in children:
            raise ArchiveError(f"manifest {child.digest}, which {reference} lists, not found in tar")
    # In the order of the index: manifest.json lists images and indexes apart.
    listed = [children[child.digest] for child in item.manifest.children]
    return Node(Image(reference, item.manifest), tuple(listed))


def _read_layout(layout: Layout, fallback: Repository | None) -> tuple[Collected, tuple[Root, ...]]:
    """Return the roots of `layout`, and the records of its root bundles and the bundles below those.

    After several copies into one folder there may be several root bundles; the copy then has no root.
    """
    from concurrent.futures import ThreadPoolExecutor

    merged: dict[tuple[Digest, str], Item] = {}
    for descriptor in layout.roots():
        item = _listed(descriptor, fallback or Repository(DOCKER_HUB, "library/layout"))
        merged.setdefault((descriptor.digest, item.tag), item)
    # One image may be listed without a tag and with several: the entry without a tag then adds nothing.
    tagged = {digest for digest, tag in merged if tag}
    items = tuple(item for (digest, tag), item in merged.items() if tag or digest not in tagged)
    with ThreadPoolExecutor(_LAYOUT_JOBS) as workers:
        roots = read_roots(_LayoutReader(layout), items, workers, with_configs=True)
    tops = [root for root in roots if ROOT_BUNDLE_LABEL in root.item.labels]
    bundles = {root.node.manifest.digest: root.node.image for root in roots if root.node.image.is_bundle}
    records = tuple(_records_below(layout, (top.node.image for top in tops), bundles))
    # With several root bundles none is the one that a lock file could name.
    root = tops[0].item if len({top.node.manifest.digest for top in tops}) == 1 else None
    has_other = root is None and bool(bundles)
    return Collected(items, root, records, remembered_lock(items), has_other), roots


def _listed(descriptor: Descriptor, fallback: Repository) -> Item:
    notes = descriptor.annotations
    source = Reference.parse(notes[_SOURCE]).repository if _SOURCE in notes else fallback
    # Some tools write the whole reference, `host/repository:tag`, instead of the tag.
    name = notes.get(_TAG, "").rpartition(":")[2]
    # Internal tags are written again at the destination.
    tag = "" if name.endswith(INTERNAL_SUFFIX) else name
    labels = {name: notes[name] for name in (ROOT_BUNDLE_LABEL, LOCK_LABEL) if name in notes}
    return Item(source.digest(descriptor.digest), tag, notes.get(_ORIGIN, ""), labels)


class _LayoutReader:
    """Reads a layout with the methods of a registry client; every repository has the same content."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def manifest(self, reference: Reference) -> Manifest:
        assert reference.digest is not None  # noqa: S101 - items and children are digest references
        return self._layout.manifest(reference.digest)

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[Readable]:  # noqa: ARG002 - as a registry is asked
        return self._layout.blob(blob)


def marks_of(item: Item) -> dict[str, str]:
    """Return the annotations with which the index.json of a layout describes `item`, without its tag."""
    origin = {_ORIGIN: item.origin} if item.origin else {}
    return {_SOURCE: str(item.reference), **origin, **item.labels}


def _records_below(store: Source, tops: Iterable[Image], bundles: Mapping[Digest, Image]) -> Iterator[Record]:
    """Yield the record of each bundle in `store` that can be reached from `tops`, each once."""
    # Breadth first and without recursion: a file may nest bundles without end.
    queue = deque({top.manifest.digest: top for top in tops}.values())
    seen = {top.manifest.digest for top in queue}
    while queue:
        bundle = queue.popleft()
        lock = _lock(store, bundle)
        # A lock may name one digest under several references; a record has one location per digest.
        first: dict[Digest, LockedImage] = {}
        for image in lock.images:
            first.setdefault(image.digest, image)
        yield Record(
            bundle.manifest.digest,
            tuple(Location(str(image.reference), digest in bundles) for digest, image in first.items()),
        )
        inner = [bundles[digest] for digest in first if digest in bundles and digest not in seen]
        seen.update(image.manifest.digest for image in inner)
        queue.extend(inner)


def _lock(store: Source, bundle: Image) -> ImagesLock:
    with (
        doing("Reading ImagesLock file"),
        store.blob(check_single_layer(bundle.manifest)) as stream,
    ):
        return read_images_lock(stream, bundle.manifest.digest)
