"""Sources in registries, read in batches of images: what was handed over is not kept."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.graph_batches import walk_in_batches
from imgpkg.bundle.lock import ImagesLock
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import doing
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.copy.collection import (
    Collected,
    choose,
    fetch_bundle,
    fetch_plain,
    items_of,
    merged,
    of_bundle,
    root_item,
)
from imgpkg.operations.copy.plan import Item, check_named
from imgpkg.operations.copy.source import chooser

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.source import Export
    from imgpkg.operations.copy.values import CopySource
    from imgpkg.values import StrPath

# Takes items as they are found.
Take: TypeAlias = Callable[[Sequence[Item]], None]


@dataclass(frozen=True, slots=True)
class BatchSource:
    """Reads what `export` is of; `take` is called with at most `size` items at a time.

    `to` is the repository that is copied to. An item may come several times, for each bundle that names it.
    """

    export: Export
    take: Take
    size: int
    to: Repository

    def read(self, source: CopySource) -> Collected:
        """Return what `source` names, with only those items that `take` was not called with.

        These are the images and bundles that were asked for by their names: they come last. Raises
        UsageError, IsABundle, NotABundle, InvalidLock, or an error of the registry.
        """
        images = self.export.images(source.parts)
        self._check_tags(source)
        parts = [images.get(part.image) or self._part(part) for part in source.parts]
        found = merged(parts)
        if not found.unselected:
            return found
        copied = set(_copied(parts))
        left = (one for one in found.unselected if one.reference.digest not in copied)
        return replace(found, unselected=tuple(left))

    def _check_tags(self, source: CopySource) -> None:
        """Raise UsageError for two images with one tag, before anything is written."""
        named = [parse_any(text) for part in source.parts if (text := part.image or part.bundle)]
        locks = [lock for lock in self.export.locks.values() if not isinstance(lock, ImagesLock)]
        tags = Counter((*(reference.tag for reference in named), *(lock.tag for lock in locks)))
        # Few are the same, and only those are asked for.
        twice = [reference for reference in named if reference.tag and tags[reference.tag] > 1]
        found = self.export.workers.map(self.export.client.resolve, twice)
        images: list[tuple[str, Reference, Digest | None]] = [
            (one.tag or "", one, image.digest) for one, image in zip(twice, found, strict=True)
        ]
        images += [(lock.tag, lock.reference, lock.reference.digest) for lock in locks]
        check_named(images, str(self.to))

    def _part(self, part: CopySource) -> Collected:
        if not part.lock:
            asked = parse_any(part.bundle)
            self.export.disclosure.name(asked.repository.registry)
            return self._bundle(asked, asked.tag or "", has_origin=True)
        lock = self.export.locks[part.lock]
        if isinstance(lock, ImagesLock):
            return self._images(part.lock, lock)
        self.export.disclosure.approach_named([lock.reference])
        return self._bundle(lock.reference, lock.tag, has_origin=False)

    def _bundle(self, asked: Reference, tag: str, *, has_origin: bool) -> Collected:
        export = self.export
        root = fetch_bundle(export.client, asked, export.workers)
        with doing("Reading Images from Bundle"):
            bundle = walk_in_batches(
                export.client,
                root,
                export.workers,
                lambda members: self.take(tuple(items_of(members, with_origin=has_origin))),
                approach=export.disclosure.approach,
                expect=export.expect,
                chooses=chooser(export.options),
                size=self.size,
            )
        item = root_item(bundle.image, tag, has_origin=has_origin)
        return replace(of_bundle(bundle, item, with_origin=has_origin), items=(item,))

    def _images(self, path: StrPath, whole: ImagesLock) -> Collected:
        export = self.export
        lock, left = choose(whole, chooser(export.options), os.fspath(path), export.disclosure)
        # In the order of a copy without batches: which of two signatures gets a tag depends on it.
        references = sorted({image.reference for image in lock.images}, key=str)
        export.expect(len(references))
        for start in range(0, len(references), self.size):
            batch = references[start : start + self.size]
            images = fetch_plain(export.client, batch, export.workers, keeps=True)
            self.take([Item(image.reference, image=image) for image in images])
        return Collected((), images_lock=lock, locked=whole.images, unselected=left)


def _copied(parts: Sequence[Collected]) -> Iterator[Digest | None]:
    """Yield the digests of all that `parts` name and that was handed over, some of them several times."""
    for part in parts:
        if part.images_lock is not None:
            yield from (image.digest for image in part.images_lock.images)
        for record in part.records:
            yield from (Reference.parse_digest(one.image).digest for one in record.images)
