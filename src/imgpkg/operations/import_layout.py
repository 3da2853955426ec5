"""What an OCI layout folder holds, as the roots and records of a copy; no registry is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image, read_stream
from imgpkg.errors import ArchiveError
from imgpkg.oci.reference import DOCKER_HUB, Reference, Repository
from imgpkg.operations.collect import Collected
from imgpkg.operations.import_archive import records_below
from imgpkg.operations.plan import ROOT_BUNDLE_LABEL, Item, Node, Root

if TYPE_CHECKING:
    from imgpkg.content.layout import Layout
    from imgpkg.oci.digest import Digest
    from imgpkg.oci.manifest import Descriptor

TAG = "org.opencontainers.image.ref.name"
SOURCE = "dev.carvel.imgpkg.copy.source"
ORIGIN = "dev.carvel.imgpkg.copy.origin"
INTERNAL_SUFFIX = ".imgpkg"


def marks_of(item: Item) -> dict[str, str]:
    """Return the annotations that remember an item beside its tags in a layout's index.json."""
    origin = {ORIGIN: item.origin} if item.origin else {}
    return {SOURCE: str(item.reference), **origin, **item.labels}


def read_layout(layout: Layout, fallback: Repository | None) -> tuple[Collected, tuple[Root, ...]]:
    """Return the roots of `layout`, and the records of the bundles below its root bundle.

    Images of a layout that another tool made are named as if they came from `fallback`.
    """
    merged: dict[tuple[Digest, str], Root] = {}
    for descriptor in layout.roots():
        root = _root(layout, descriptor, fallback or Repository(DOCKER_HUB, "library/layout"))
        merged.setdefault((descriptor.digest, root.item.tag), root)
    tagged = {digest for digest, tag in merged if tag}
    roots = tuple(root for (digest, tag), root in merged.items() if tag or digest not in tagged)
    top = next((root.item for root in roots if ROOT_BUNDLE_LABEL in root.item.labels), None)
    bundles = {root.node.manifest.digest: root.node.image for root in roots if root.node.image.is_bundle}
    records = () if top is None or top.image is None else tuple(records_below(layout, top.image, bundles))
    has_other = top is None and bool(bundles)
    return Collected(tuple(r.item for r in roots), top, records, has_other_bundles=has_other), roots


def _root(layout: Layout, descriptor: Descriptor, fallback: Repository) -> Root:
    notes = descriptor.annotations
    source = Reference.parse(notes[SOURCE]).repository if SOURCE in notes else fallback
    node = _node(layout, descriptor.digest, source)
    name = notes.get(TAG, "").rpartition(":")[2]
    tag = "" if name.endswith(INTERNAL_SUFFIX) else name
    labels = {ROOT_BUNDLE_LABEL: ""} if ROOT_BUNDLE_LABEL in notes else {}
    return Root(Item(node.image.reference, tag, notes.get(ORIGIN, ""), labels, node.image), node)


def _node(layout: Layout, digest: Digest, source: Repository) -> Node:
    manifest = layout.manifest(digest)
    reference = source.digest(digest)
    if manifest.config is not None:
        with layout.blob(manifest.config) as stream:
            return Node(Image(reference, manifest, read_stream(stream, manifest.config)))
    if not manifest.is_index:
        raise ArchiveError(f'unsupported MediaType: "{manifest.media_type}" of {digest}')
    return Node(
        Image(reference, manifest),
        tuple(_node(layout, child.digest, source) for child in manifest.manifests),
    )
