"""What an OCI layout folder holds, as the roots and records of a copy; no registry is asked."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from imgpkg.oci.reference import DOCKER_HUB, Reference, Repository
from imgpkg.operations.collect import LOCK_LABEL, Collected, remembered_lock
from imgpkg.operations.import_archive import records_below
from imgpkg.operations.plan import ROOT_BUNDLE_LABEL, Item, Root, read_roots

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from imgpkg.content.layout import Layout
    from imgpkg.oci.digest import Digest, Readable
    from imgpkg.oci.manifest import Descriptor, Manifest

TAG = "org.opencontainers.image.ref.name"
SOURCE = "dev.carvel.imgpkg.copy.source"
ORIGIN = "dev.carvel.imgpkg.copy.origin"
INTERNAL_SUFFIX = ".imgpkg"
_JOBS = 4


def marks_of(item: Item) -> dict[str, str]:
    """Return the annotations that remember an item beside its tags in a layout's index.json."""
    origin = {ORIGIN: item.origin} if item.origin else {}
    return {SOURCE: str(item.reference), **origin, **item.labels}


def read_layout(layout: Layout, fallback: Repository | None) -> tuple[Collected, tuple[Root, ...]]:
    """Return the roots of `layout`, and the records of its root bundles and the bundles below them.

    With several root bundles, as after several copies into one folder, none is the root of the whole.
    Images of a layout that another tool made are named as if they came from `fallback`.
    """
    merged: dict[tuple[Digest, str], Item] = {}
    for descriptor in layout.roots():
        item = _item(descriptor, fallback or Repository(DOCKER_HUB, "library/layout"))
        merged.setdefault((descriptor.digest, item.tag), item)
    tagged = {digest for digest, tag in merged if tag}
    items = tuple(item for (digest, tag), item in merged.items() if tag or digest not in tagged)
    with ThreadPoolExecutor(_JOBS) as workers:
        roots = read_roots(_LayoutReader(layout), items, workers, with_configs=True)
    tops = [root for root in roots if ROOT_BUNDLE_LABEL in root.item.labels]
    bundles = {root.node.manifest.digest: root.node.image for root in roots if root.node.image.is_bundle}
    records = tuple(records_below(layout, (top.node.image for top in tops), bundles))
    root = tops[0].item if len({top.node.manifest.digest for top in tops}) == 1 else None
    has_other = root is None and bool(bundles)
    return Collected(items, root, records, remembered_lock(items), has_other), roots


def _item(descriptor: Descriptor, fallback: Repository) -> Item:
    notes = descriptor.annotations
    source = Reference.parse(notes[SOURCE]).repository if SOURCE in notes else fallback
    name = notes.get(TAG, "").rpartition(":")[2]
    tag = "" if name.endswith(INTERNAL_SUFFIX) else name
    labels = {name: notes[name] for name in (ROOT_BUNDLE_LABEL, LOCK_LABEL) if name in notes}
    return Item(source.digest(descriptor.digest), tag, notes.get(ORIGIN, ""), labels)


class _LayoutReader:
    """Reads a layout as a registry is read: it is in every repository."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def manifest(self, reference: Reference) -> Manifest:
        assert reference.digest is not None  # noqa: S101 - items and children are digest references
        return self._layout.manifest(reference.digest)

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[Readable]:  # noqa: ARG002 - as a registry is asked
        return self._layout.blob(blob)
