"""The source of a copy in a tar file or layout: its items and plan, which are read without a network."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image, internal_tag
from imgpkg.content.archive.manifest import ArchiveImage
from imgpkg.content.archive.reader import Archive
from imgpkg.content.layout import Layout
from imgpkg.dataclass import replace
from imgpkg.errors import ArchiveError, doing
from imgpkg.oci.reference import DOCKER_HUB, Reference, Repository
from imgpkg.operations.copy.collection import LOCK_LABEL
from imgpkg.operations.copy.contents import contents_of
from imgpkg.operations.copy.delta import BASES_LABEL, absent_blob, bases_of
from imgpkg.operations.copy.plan import (
    CUT_LABEL,
    ROOT_BUNDLE_LABEL,
    Item,
    Node,
    OpenedSource,
    Root,
    labels_of,
    named,
    plan_of,
)
from imgpkg.operations.copy.trees import read_roots
from imgpkg.operations.copy.values import QUIET
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from imgpkg.content.archive.manifest import ArchiveItem
    from imgpkg.oci.descriptor import ByteReader, Descriptor, Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.operations.copy.plan import BlobMove
    from imgpkg.operations.copy.values import CopyOptions, CopySource, Log

# Annotations in the index.json of a layout; the first one is that of the OCI image-spec, annotations.md.
_TAG = "org.opencontainers.image.ref.name"
_SOURCE = "dev.carvel.imgpkg.copy.source"
_ORIGIN = "dev.carvel.imgpkg.copy.origin"
_LABELS = (ROOT_BUNDLE_LABEL, LOCK_LABEL, BASES_LABEL, CUT_LABEL)
# Manifests are read from a disk, where calls cannot hang: plain threads do.
_LAYOUT_JOBS = 4


@contextmanager
def open_file(
    source: CopySource, options: CopyOptions, log: Log = QUIET, *, to: Repository | None = None
) -> Iterator[OpenedSource]:
    """Return a context with the opened tar file or layout `source`, which is closed at its end.

    `to` names the images of a layout that another tool made. Raises LocalIOError, ArchiveError, InvalidLock
    or VerificationError.
    """
    if source.tar:
        path = os.fspath(source.tar)
        with Archive(path) as archive:
            roots = tuple(archived_root(item) for item in archive.items)
            yield _local(archive, roots, path, options, log)
        return
    path = os.fspath(source.layout)
    layout = Layout(path)
    yield _local(layout, _read_layout(layout, to), path, options, log)


def _local(
    store: Archive | Layout, all_roots: tuple[Root, ...], path: str, options: CopyOptions, log: Log
) -> OpenedSource:
    collected, roots = contents_of(store, all_roots, options, path)
    if options.platforms:
        from imgpkg.operations.copy.platforms import restricted

        roots = restricted(roots, options.platforms, log)
    plan = plan_of(roots, include_non_distributable=options.include_non_distributable_layers)
    moves = plan.blobs.values()
    # Those that were left out when the file was made: the destination should have them, or may.
    missing = [move for move in moves if move.data is None and not store.has(move.descriptor)]
    blobs = {move.descriptor.digest: replace(move, is_missing=True) for move in missing}
    plan = replace(plan, blobs={**plan.blobs, **blobs})
    bases = {digest: base for digest, base in bases_of(all_roots).items() if digest in blobs}

    def open_blob(move: BlobMove) -> AbstractContextManager[ByteReader]:
        base = bases.get(move.descriptor.digest)
        if base is not None:
            raise absent_blob(move.descriptor, base, path)
        return named(store.blob(move.descriptor), move, path)

    return OpenedSource(collected, plan, open_blob, store=store, shown=path, bases=FrozenDict(bases))


def archived_root(item: ArchiveItem) -> Root:
    """Return the tree of an entry of manifest.json; raise ArchiveError for an index without its parts."""
    node = _archived_node(item)
    marks = item.marks
    return Root(_item(node.image.reference, marks.tag, marks.origin, marks.labels, node.image), node)


def _archived_node(item: ArchiveItem) -> Node:
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


def _read_layout(layout: Layout, fallback: Repository | None) -> tuple[Root, ...]:
    from concurrent.futures import ThreadPoolExecutor

    merged: dict[tuple[Digest, str], Item] = {}
    for descriptor in layout.roots():
        item = listed_item(descriptor, fallback or Repository(DOCKER_HUB, "library/layout"))
        merged.setdefault((descriptor.digest, item.tag), item)
    # One image may be listed without a tag and with several: the entry without a tag then adds nothing.
    tagged = {digest for digest, tag in merged if tag}
    items = tuple(item for (digest, tag), item in merged.items() if tag or digest not in tagged)
    with ThreadPoolExecutor(_LAYOUT_JOBS) as workers:
        return read_roots(_LayoutReader(layout), items, workers, with_configs=True)


def listed_item(descriptor: Descriptor, fallback: Repository) -> Item:
    """Return the item of an entry in the index.json of a layout; `fallback` is for other tools' entries."""
    notes = descriptor.annotations
    source = Reference.parse(notes[_SOURCE]).repository if _SOURCE in notes else fallback
    # Some tools write the whole reference, `host/repository:tag`, instead of the tag.
    name = notes.get(_TAG, "").rpartition(":")[2]
    # Internal tags are written again at the destination.
    tag = "" if name == internal_tag(descriptor.digest) else name
    labels = {name: notes[name] for name in _LABELS if name in notes}
    return _item(source.digest(descriptor.digest), tag, notes.get(_ORIGIN, ""), labels)


def _item(
    reference: Reference, tag: str, origin: str, labels: Mapping[str, str], image: Image | None = None
) -> Item:
    item = Item(reference, tag, origin, labels, image)
    if CUT_LABEL not in labels:
        return item
    from imgpkg.operations.copy.platforms import read_cut

    return read_cut(item)


class _LayoutReader:
    """Reads a layout with the methods of a registry client; every repository has the same content."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def manifest(self, reference: Reference) -> Manifest:
        assert reference.digest is not None  # noqa: S101 - items and children are digest references
        return self._layout.manifest(reference.digest)

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[ByteReader]:  # noqa: ARG002 - as a registry is asked
        return self._layout.blob(blob)


def marks_of(item: Item) -> dict[str, str]:
    """Return the annotations with which the index.json of a layout describes `item`, without its tag."""
    origin = {_ORIGIN: item.origin} if item.origin else {}
    return {_SOURCE: str(item.reference), **origin, **labels_of(item)}
