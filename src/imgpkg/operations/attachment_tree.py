"""Images with all that is attached to them, to the images of an index, and to what is attached, as a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.oci import media
from imgpkg.operations.attachments import check_chain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgpkg.bundle.image import Workers
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.attachments import AttachmentReader, AttachmentSearch, FoundAttachment


class AttachmentTree:
    """What is attached to `images`, whose manifests are known, at any depth; it is read when it is made.

    Raises InvalidManifest for a tree that is too deep, or an error of the registry.
    """

    def __init__(
        self,
        images: Mapping[Reference, Manifest],
        client: AttachmentReader,
        search: AttachmentSearch,
        workers: Workers,
    ) -> None:
        self._client = client
        self._workers = workers
        self._children: dict[Reference, tuple[Reference, ...]] = {}
        self._attached: dict[Reference, list[FoundAttachment]] = {}
        level: dict[Reference, Manifest | None] = dict(images)
        depth = 0
        while level:
            check_chain(min(level, key=str), depth)
            self._attached.update((image, []) for image in level)
            found = search.find(level, by_name=depth == 0)
            for one in found:
                self._attached[one.image].append(one)
            deeper = self._children_of(level)
            deeper.update((one.reference, one.manifest) for one in found if one.manifest is not None)
            level = {place: manifest for place, manifest in deeper.items() if place not in self._attached}
            depth += 1

    def below(self, image: Reference) -> Iterator[FoundAttachment]:
        """Yield what is attached to `image` and to all that belongs to it, each once."""
        seen, stack = {image}, [image]
        given: set[tuple[Reference, str]] = set()
        while stack:
            place = stack.pop()
            attached = self._attached.get(place, ())
            for one in attached:
                if (one.reference, one.tag) not in given:
                    given.add((one.reference, one.tag))
                    yield one
            # What was attached in a circle has been seen.
            more = (*self._children.get(place, ()), *(one.reference for one in attached))
            new = [other for other in dict.fromkeys(more) if other not in seen]
            seen.update(new)
            stack.extend(reversed(new))

    def manifests(self) -> Iterator[tuple[Reference, Manifest]]:
        """Yield the reference and the manifest of everything that is attached."""
        for attached in self._attached.values():
            yield from ((one.reference, one.manifest) for one in attached if one.manifest is not None)

    def _children_of(self, level: Mapping[Reference, Manifest | None]) -> dict[Reference, Manifest | None]:
        """Return the images that the indexes of `level` list; only indexes among them are read."""
        children: dict[Reference, Manifest | None] = {}
        indexes: list[Reference] = []
        for image, manifest in level.items():
            listed = () if manifest is None else manifest.children
            self._children[image] = tuple(image.repository.digest(child.digest) for child in listed)
            children.update(dict.fromkeys(self._children[image]))
            nested = (child for child in listed if child.media_type in media.INDEXES)
            indexes += [image.repository.digest(child.digest) for child in nested]
        children.update(zip(indexes, self._workers.map(self._client.manifest, indexes), strict=True))
        return children
