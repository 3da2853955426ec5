"""Decide everything about a copy and move nothing: which manifests, which blobs, from where."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from imgpkg.bundle.image import Image, with_config
from imgpkg.errors import InvalidManifest, NotFound, RegistryError, doing
from imgpkg.oci.descriptor import EMPTY, Descriptor
from imgpkg.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgpkg.bundle.image import Reader, Workers
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository

T = TypeVar("T")

ROOT_BUNDLE_LABEL = "dev.carvel.imgpkg.copy.root-bundle"
# Nobody nests indexes further than two or three deep, but a hostile registry.
_MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Item:
    """One thing asked to be copied, before its manifests are known.

    `opened` is the reference as the bundle's lock wrote it, empty when nobody wrote one. `image` holds what
    was fetched already. `tag` is the tag to set at the destination besides imgpkg's own, empty for none.
    `elsewhere` is another place to read it from, should it be gone from the first.
    """

    reference: Reference
    tag: str = ""
    origin: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    image: Image | None = None
    elsewhere: Reference | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What makes two items the same: where it is read, and the tag."""
        return str(self.reference), self.tag


@dataclass(frozen=True, slots=True)
class Node:
    """An image, or an index with the nodes it lists; what it lists besides manifests is among its blobs."""

    image: Image
    children: tuple[Node, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """The manifest of this node alone."""
        return self.image.manifest

    def walk(self) -> Iterator[Node]:
        """Yield every node below, each digest once, children first, then this one."""
        seen: dict[Digest, Node] = {}
        _gather(self, seen, lambda node: node.manifest.digest)
        yield from seen.values()


def _gather(node: Node, seen: dict[T, Node], key: Callable[[Node], T]) -> None:
    if key(node) not in seen:
        for child in node.children:
            _gather(child, seen, key)
        seen[key(node)] = node


@dataclass(frozen=True, slots=True)
class Root:
    """An item and the whole tree of its manifests."""

    item: Item
    node: Node


def nodes_of(roots: Iterable[Root]) -> Iterable[Node]:
    """Return the nodes of all trees, each once for each repository that it was read from, children first."""
    seen: dict[Reference, Node] = {}
    for root in roots:
        _gather(root.node, seen, lambda node: node.image.reference)
    return seen.values()


@dataclass(frozen=True, slots=True)
class BlobMove:
    """One blob to move, once: where it can be read, and its bytes when they are at hand.

    `is_missing` tells that the file which is copied from does not hold it, as files do not hold the layers
    that were left behind when they were made.
    """

    descriptor: Descriptor
    origin: Repository
    data: bytes | None = field(default=None, repr=False)
    is_missing: bool = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A non-distributable layer that stays behind, and the image that lists it."""

    reference: Reference
    layer: Descriptor


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """Everything a copy will do: the roots in the order of their references, each blob once."""

    roots: tuple[Root, ...]
    blobs: Mapping[Digest, BlobMove]
    left_out: tuple[LeftOut, ...] = ()
    has_non_distributable: bool = False


def read_roots(
    client: Reader, items: Iterable[Item], workers: Workers, *, with_configs: bool
) -> tuple[Root, ...]:
    """Fetch the manifests that are still unknown, each once; the roots come in the order of their references.

    `with_configs` fetches every configuration too, for a destination that keeps them beside the manifests.
    Raises an error of the registry with `Collecting packaging metadata: Working with REF` in front, and
    InvalidManifest for indexes inside indexes without end, and for what is neither image nor index.
    """
    distinct = {item.key: item for item in items}
    ordered = [distinct[key] for key in sorted(distinct)]
    reader = _MetadataReader(client, workers, with_configs)
    nodes = reader.nodes(ordered)
    return tuple(Root(item, node) for item, node in zip(ordered, nodes, strict=True))


def plan_of(roots: tuple[Root, ...], *, include_non_distributable: bool) -> TransferPlan:
    """List the blobs of `roots`, each digest once, and the layers that stay behind."""
    blobs: dict[Digest, BlobMove] = {}
    left_out: dict[tuple[str, Digest], LeftOut] = {}
    has_any = False
    for node in nodes_of(roots):
        for move in _moves(node):
            has_any = has_any or not move.descriptor.is_distributable
            if include_non_distributable or move.descriptor.is_distributable:
                blobs.setdefault(move.descriptor.digest, move)
            else:
                reference = node.image.reference
                skipped = LeftOut(reference, move.descriptor)
                left_out.setdefault((str(reference), move.descriptor.digest), skipped)
    return TransferPlan(roots, blobs, tuple(left_out.values()), has_any)


def _moves(node: Node) -> Iterator[BlobMove]:
    repository = node.image.reference.repository
    config = node.manifest.config
    for blob in node.manifest.parts():
        data = node.image.config_raw if blob is config else b""
        yield BlobMove(blob, repository, data or blob.data)


class _MetadataReader:
    """Reads trees of manifests level by level, so that no worker waits for another."""

    def __init__(self, client: Reader, workers: Workers, with_configs: bool) -> None:
        self._client = client
        self._workers = workers
        self._with_configs = with_configs
        self._images: dict[Reference, Image] = {}
        self._nodes: dict[Reference, tuple[Node, int]] = {}

    def nodes(self, items: list[Item]) -> list[Node]:
        roots = list(self._workers.map(self._root, items))
        level, depth = roots, 0
        while level:
            depth += 1
            _check_depth(level[0].reference, depth)
            for image in level:
                self._images[image.reference] = image
            missing = {child for image in level for child in _children(image)} - self._images.keys()
            level = list(self._workers.map(lambda child: self._complete(child, None), sorted(missing)))
        return [self._assemble(image, 1)[0] for image in roots]

    def _root(self, item: Item) -> Image:
        try:
            return self._complete(item.reference, item.image)
        except NotFound as first:
            if item.elsewhere is None:
                raise
            # The locations record may be older than a deletion: the original place is still worth asking.
            try:
                return self._complete(item.elsewhere, None)
            except RegistryError as last:
                last.hints = (*last.hints, f"it was looked for before at {item.reference}: {first}")
                raise

    def _complete(self, reference: Reference, image: Image | None) -> Image:
        try:
            with doing("Collecting packaging metadata", f"Working with {reference}"):
                manifest = image.manifest if image is not None else self._client.manifest(reference)
                _check_kind(manifest)
                if image is not None and (image.config_raw or not self._with_configs):
                    return image
                if not self._with_configs:
                    return Image(reference, manifest)
                return with_config(self._client, reference.repository, manifest)
        except RegistryError as error:
            _explain_unknown(error)
            raise

    def _assemble(self, image: Image, depth: int) -> tuple[Node, int]:
        """Return the tree of `image`, and how many levels are below it.

        What is listed near the top may be listed again further down: the levels of reading do not tell how
        deep a tree is.
        """
        _check_depth(image.reference, depth)
        if image.reference not in self._nodes:
            below = [self._assemble(self._images[child], depth + 1) for child in _children(image)]
            height = max((height + 1 for _, height in below), default=0)
            self._nodes[image.reference] = Node(image, tuple(node for node, _ in below)), height
        node, height = self._nodes[image.reference]
        _check_depth(image.reference, depth + height)
        return node, height


def _check_depth(reference: Reference, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise InvalidManifest(f"{reference}: indexes are nested more than {_MAX_DEPTH} deep")


def _check_kind(manifest: Manifest) -> None:
    """Refuse what lists its parts in a way of its own: they would be left behind."""
    if manifest.config is None and not manifest.is_index:
        raise InvalidManifest(
            f'unsupported MediaType: "{manifest.media_type}", '
            "see https://github.com/google/go-containerregistry/issues/377"
        )


def _children(image: Image) -> list[Reference]:
    repository = image.reference.repository
    return [repository.digest(child.digest) for child in image.manifest.children]


def _explain_unknown(error: RegistryError) -> None:
    if "MANIFEST_UNKNOWN" in error.codes:
        error.message = (
            "Encountered an error most likely because this image is in Docker Registry v1 format; only v2 or "
            f"OCI image format is supported (underlying error: {error.message})"
        )
