"""Read the trees of manifests of what is copied: images, and indexes with all that they list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.bundle.graph import approach_freely
from imgpkg.bundle.image import Image, with_config
from imgpkg.dataclass import replace
from imgpkg.errors import InvalidManifest, NotFound, RegistryError, doing
from imgpkg.operations.copy.plan import Item, Node, Root

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from imgpkg.bundle.image import Reader, Workers
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.platform import Platform
    from imgpkg.oci.reference import Reference

# Real indexes are nested two or three deep; a hostile registry could nest them without end.
_MAX_DEPTH = 32


def read_roots(
    client: Reader,
    items: Iterable[Item],
    workers: Workers,
    *,
    with_configs: bool,
    approach: Callable[[Reference], None] = approach_freely,
    platforms: Collection[Platform] = (),
) -> tuple[Root, ...]:
    """Return the trees of `items` in the order of their references; fetch each unknown manifest once.

    `with_configs` fetches the configurations too, for tar files, which list them beside the manifests.
    `approach` is called, by any worker, before an image is requested that is not where its item says. If
    there are `platforms`, the trees of indexes have nothing that is for others: they are to be cut. Raises an
    error of the registry, or InvalidManifest for indexes that are nested too deep and for manifests that are
    neither image nor index.
    """
    distinct = {item.key: item for item in items}
    # A fixed order, so that tar files are the same on every machine.
    ordered = [distinct[key] for key in sorted(distinct)]
    # One reader for all items, so that an image below several of them is fetched once.
    reader = _MetadataReader(client, workers, with_configs, approach, platforms)
    nodes = reader.nodes(ordered)
    return tuple(_root(item, node) for item, node in zip(ordered, nodes, strict=True))


def _root(item: Item, node: Node) -> Root:
    # It may have been found where it is as a whole.
    is_whole = item.cut is not None and node.manifest.digest != item.cut.result.digest
    return Root(replace(item, cut=None) if is_whole else item, node)


class _MetadataReader:
    """Reads trees of manifests level by level, so that no worker waits for another one."""

    def __init__(
        self,
        client: Reader,
        workers: Workers,
        with_configs: bool,
        approach: Callable[[Reference], None],
        platforms: Collection[Platform],
    ) -> None:
        self._client = client
        self._approach = approach
        self._platforms = platforms
        self._workers = workers
        self._with_configs = with_configs
        self._images: dict[Reference, Image] = {}
        self._nodes: dict[Reference, tuple[Node, int]] = {}

    def nodes(self, items: list[Item]) -> list[Node]:
        roots = list(self._workers.map(self._root, items))
        level, depth = roots, 0
        while level:
            depth += 1
            check_depth(level[0].reference, depth)
            for image in level:
                self._images[image.reference] = image
            # Sorted below, so that the requests come in the same order in every run.
            missing = {child for image in level for child in self._children(image)} - self._images.keys()
            level = list(self._workers.map(lambda child: self._complete(child, None), sorted(missing)))
        return [self._assemble(image, 1)[0] for image in roots]

    def _root(self, item: Item) -> Image:
        try:
            return self._complete(item.reference, item.image)
        except NotFound as first:
            if item.elsewhere is None:
                raise
            # The image may have been deleted since its location was recorded: try where the lock names it.
            try:
                self._approach(item.elsewhere)
                return self._complete(item.elsewhere, None)
            except RegistryError as last:
                last.hints = (*last.hints, f"it was looked for before at {item.reference}: {first}")
                raise

    def _complete(self, reference: Reference, image: Image | None) -> Image:
        try:
            with doing("Collecting packaging metadata", f"Working with {reference}"):
                manifest = image.manifest if image is not None else self._client.manifest(reference)
                check_kind(manifest)
                if image is not None and (image.config_raw or not self._with_configs):
                    return image
                if not self._with_configs:
                    return Image(reference, manifest)
                return with_config(self._client, reference.repository, manifest)
        except RegistryError as error:
            _explain_unknown(error)
            raise

    def _assemble(self, image: Image, depth: int) -> tuple[Node, int]:
        """Return the tree of `image`, and the number of levels below it.

        An index may be listed at several depths, but is read at the first: the number of levels read is not
        the depth of the tree.
        """
        check_depth(image.reference, depth)
        if image.reference not in self._nodes:
            below = [self._assemble(self._images[child], depth + 1) for child in self._children(image)]
            height = max((height + 1 for _, height in below), default=0)
            self._nodes[image.reference] = Node(image, tuple(node for node, _ in below)), height
        node, height = self._nodes[image.reference]
        check_depth(image.reference, depth + height)
        return node, height

    def _children(self, image: Image) -> list[Reference]:
        repository = image.reference.repository
        return [repository.digest(child.digest) for child in self._wanted(image.manifest)]

    def _wanted(self, manifest: Manifest) -> tuple[Descriptor, ...]:
        if not self._platforms:
            return manifest.children
        from imgpkg.oci.platform import entries_for

        return tuple(entry for entry in entries_for(manifest, self._platforms) if entry.is_manifest)


def check_depth(reference: Reference, depth: int) -> None:
    """Raise InvalidManifest for a tree with more levels than can be walked."""
    # Below the limit of recursion of Python.
    if depth > _MAX_DEPTH:
        raise InvalidManifest(f"{reference}: indexes are nested more than {_MAX_DEPTH} deep")


def check_kind(manifest: Manifest) -> None:
    """Refuse manifests of unknown types: their blobs are unknown and would be left out of the copy."""
    if manifest.config is None and not manifest.is_index:
        raise InvalidManifest(
            f'unsupported MediaType: "{manifest.media_type}", '
            "see https://github.com/google/go-containerregistry/issues/377"
        )


def _explain_unknown(error: RegistryError) -> None:
    if "MANIFEST_UNKNOWN" in error.codes:
        error.message = (
            "Encountered an error most likely because this image is in Docker Registry v1 format; only v2 or "
            f"OCI image format is supported (underlying error: {error.message})"
        )
