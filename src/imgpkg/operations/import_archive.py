"""What a tar file holds, as the roots and records of a copy; no registry is asked."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image
from imgpkg.bundle.layer import check_single_layer, read_images_lock
from imgpkg.content.archive_manifest import ArchiveImage
from imgpkg.errors import ArchiveError, doing
from imgpkg.oci.reference import Reference
from imgpkg.operations.collect import Collected, Record, remembered_lock
from imgpkg.operations.plan import ROOT_BUNDLE_LABEL, Item, Node, Root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.bundle.lock import ImagesLock, LockedImage
    from imgpkg.content.archive import Archive
    from imgpkg.content.archive_manifest import ArchiveItem
    from imgpkg.content.store import Source
    from imgpkg.oci.digest import Digest


def read_archive(archive: Archive) -> tuple[Collected, tuple[Root, ...]]:
    """Return the roots of `archive` and the records of the bundles below its root bundle.

    A file of an old version names no root bundle: it has no records then. Raises InvalidLock, ArchiveError or
    VerificationError for a bundle whose lock cannot be read.
    """
    roots = tuple(_root(item) for item in archive.items)
    bundles = {root.node.manifest.digest: root.node.image for root in roots if root.node.image.is_bundle}
    top = next((root.item for root in roots if ROOT_BUNDLE_LABEL in root.item.labels), None)
    tops = () if top is None or top.image is None else (top.image,)
    records = tuple(records_below(archive, tops, bundles))
    has_other = top is None and bool(bundles)
    items = tuple(root.item for root in roots)
    return Collected(items, top, records, remembered_lock(items), has_other), roots


def _root(item: ArchiveItem) -> Root:
    node = _node(item)
    marks = item.marks
    return Root(Item(node.image.reference, marks.tag, marks.origin, marks.labels, node.image), node)


def _node(item: ArchiveItem) -> Node:
    with doing("file manifest.json in tar"):
        repository = Reference.parse(item.marks.reference).repository
    reference = repository.digest(item.manifest.digest)
    if isinstance(item, ArchiveImage):
        return Node(Image(reference, item.manifest, item.config_raw))
    below: tuple[ArchiveItem, ...] = (*item.images, *item.indexes)
    children = {child.manifest.digest: _node(child) for child in below}
    for child in item.manifest.children:
        if child.digest not in children:
            raise ArchiveError(f"manifest {child.digest}, which {reference} lists, not found in tar")
    listed = [children[child.digest] for child in item.manifest.children]
    return Node(Image(reference, item.manifest), tuple(listed))


def records_below(store: Source, tops: Iterable[Image], bundles: Mapping[Digest, Image]) -> Iterator[Record]:
    """Yield the record of each bundle that can be reached from `tops` by what `store` holds, each once."""
    queue = deque({top.manifest.digest: top for top in tops}.values())
    seen = {top.manifest.digest for top in queue}
    while queue:
        bundle = queue.popleft()
        lock = _lock(store, bundle)
        first: dict[Digest, LockedImage] = {}
        for image in lock.images:
            first.setdefault(image.digest, image)
        yield Record(
            bundle.manifest.digest,
            tuple((str(image.reference), digest in bundles) for digest, image in first.items()),
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
