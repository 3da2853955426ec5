"""What the bundles of a tar file or layout name: what of it is there, and what is selected from it."""

from __future__ import annotations

import json
from collections import deque
from types import MappingProxyType
from typing import TYPE_CHECKING

from imgpkg.bundle.graph import choose_all, distinct
from imgpkg.bundle.image import is_cosign_tag
from imgpkg.bundle.layer import check_single_layer, read_images_lock
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ArchiveError, doing
from imgpkg.operations.copy.collection import (
    LOCK_LABEL,
    Collected,
    Record,
    Unselected,
    record_of,
)
from imgpkg.operations.copy.plan import ROOT_BUNDLE_LABEL, Root, digests_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from imgpkg.bundle.graph import Chooses
    from imgpkg.bundle.image import Image
    from imgpkg.content.store import Source
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.copy.plan import Item
    from imgpkg.operations.copy.values import CopyOptions


@dataclass(frozen=True, slots=True)
class _ReachedBundle:
    """A bundle and the entries of its lock, one for each digest."""

    image: Image
    entries: tuple[LockedImage, ...]


def contents_of(
    store: Source, roots: tuple[Root, ...], options: CopyOptions, shown: str
) -> tuple[Collected, tuple[Root, ...]]:
    """Return what the file `shown` has and `options` select, and the records of the bundles in it.

    Raises InvalidLock, ArchiveError or VerificationError for a bundle whose lock cannot be read.
    """
    chooses = choose_all if options.selection is None else options.selection.chooses
    # Bundles may be nested: only the label shows which ones were asked for.
    tops = {
        root.node.manifest.digest: root.node.image for root in roots if ROOT_BUNDLE_LABEL in root.item.labels
    }
    plain = (root.node for root in roots if root.node.image.is_bundle)
    bundles = {**tops, **{node.manifest.digest: node.image for node in plain}}
    locks = _locks(store, tops, bundles)
    reached = list(_reached(locks, tops, bundles, chooses))
    kept, locked, left = roots, list[LockedImage](), list[Unselected]()
    if options.selection is not None:
        named = {image.digest for lock in locks.values() for image in lock.images}
        kept, locked, left = _selected(roots, reached, named, chooses, shown)
    there = digests_of(kept)
    records, incomplete = _records(reached, there, bundles, {one.reference.digest for one in left})
    items = tuple(root.item for root in kept)
    top = _single(items, tops)
    has_other = top is None and any(digest in there for digest in bundles) and not _is_of_several(items)
    lock = _remembered_lock(replace(root.item, image=root.node.image) for root in kept)
    collected = Collected(items, top, records, lock, has_other, incomplete, tuple(locked), tuple(left))
    return collected, kept


def _single(items: Iterable[Item], tops: Collection[Digest]) -> Item | None:
    """Return the root bundle, None where there is none or where no lock file could name the one."""
    marked = [item for item in items if ROOT_BUNDLE_LABEL in item.labels]
    return marked[0] if len(tops) == 1 and not _is_of_several(marked) else None


def _locks(
    store: Source, tops: Iterable[Digest], bundles: Mapping[Digest, Image]
) -> dict[Digest, ImagesLock]:
    """Return the locks of the bundles that can be reached from `tops`, whatever is selected."""
    read: dict[Digest, ImagesLock] = {}
    # Breadth first and without recursion: a file may nest bundles without end.
    queue = deque(tops)
    while queue:
        digest = queue.popleft()
        if digest not in read:
            read[digest] = _lock(store, bundles[digest])
            queue.extend(image.digest for image in read[digest].images if image.digest in bundles)
    return read


def _lock(store: Source, bundle: Image) -> ImagesLock:
    with (
        doing("Reading ImagesLock file"),
        store.blob(check_single_layer(bundle.manifest)) as stream,
    ):
        return read_images_lock(stream, bundle.manifest.digest)


def _reached(
    locks: Mapping[Digest, ImagesLock],
    tops: Iterable[Digest],
    bundles: Mapping[Digest, Image],
    chooses: Chooses,
) -> Iterator[_ReachedBundle]:
    """Yield the bundles that are copied: `tops`, and what is chosen below them, each once."""
    queue = deque(tops)
    seen = set(queue)
    while queue:
        digest = queue.popleft()
        # A lock may name one digest under several references; a record has one location per digest.
        entries = distinct(locks[digest], chooses)
        yield _ReachedBundle(bundles[digest], entries)
        inner = [each.digest for each in entries if each.digest in locks and chooses(each)]
        queue.extend(found for found in dict.fromkeys(inner) if found not in seen)
        seen.update(inner)


def _selected(
    roots: tuple[Root, ...],
    reached: Iterable[_ReachedBundle],
    named: Collection[Digest],
    chooses: Chooses,
    shown: str,
) -> tuple[tuple[Root, ...], list[LockedImage], list[Unselected]]:
    """Return the roots that are chosen, what they were chosen from, and the rest.

    What was asked for by a bundle is always chosen. What is attached to an image goes with it.
    """
    from imgpkg.operations.copy.tags import subjects_of

    below = [(entry, str(bundle.image.reference)) for bundle in reached for entry in bundle.entries]
    chosen = {entry.digest for entry, _ in below if chooses(entry)}
    all_digests = digests_of(roots)
    attached = {root.item.key: root for root in roots if not all_digests.isdisjoint(subjects_of(root))}
    loose = [(root, _own(root, named)) for root in roots if root.item.key not in attached]
    kept = [
        root
        for root, own in loose
        if ROOT_BUNDLE_LABEL in root.item.labels or root.named.digest in chosen or any(map(chooses, own))
    ]
    while True:
        there = digests_of(kept)
        found = [root for root in attached.values() if not there.isdisjoint(subjects_of(root))]
        if not found:
            break
        # A signature of an SBOM is attached to what is attached.
        kept += found
        for root in found:
            del attached[root.item.key]
    asked_for = [(image, shown) for _, own in loose for image in own]
    left = {
        image.reference: Unselected(image.reference, name)
        for image, name in (*below, *asked_for)
        if image.digest not in there and not chooses(image)
    }
    keys = {root.item.key for root in kept}
    locked = [image for image, _ in (*below, *asked_for)]
    return tuple(root for root in roots if root.item.key in keys), locked, list(left.values())


def _own(root: Root, named: Collection[Digest]) -> list[LockedImage]:
    """Return what `root` is chosen by, besides the locks of bundles: its entries in a lock, or its name."""
    if ROOT_BUNDLE_LABEL in root.item.labels:
        return []
    entries = [LockedImage(root.named, notes) for _, notes in _lock_notes(root.item)]
    if not entries and root.named.digest not in named:
        entries = [LockedImage(root.named)]
    return entries


def _records(
    reached: Iterable[_ReachedBundle],
    there: Collection[Digest],
    bundles: Collection[Digest],
    left: Collection[Digest | None],
) -> tuple[tuple[Record, ...], Mapping[Reference, int]]:
    """Return the records of the bundles, and for those that the file lacks images of, how many."""
    records: list[Record] = []
    incomplete: dict[Reference, int] = {}
    for bundle in reached:
        record = record_of(bundle.image, bundle.entries, there, bundles)
        if record is not None:
            records.append(record)
        digests = {entry.digest for entry in bundle.entries}
        absent = sum(1 for digest in digests if digest not in there and digest not in left)
        if absent:
            incomplete[bundle.image.reference] = absent
    return tuple(records), incomplete


def _remembered_lock(items: Iterable[Item]) -> ImagesLock | None:
    """Return the images lock that the labels of `items` describe, None if no item has such a label.

    Images that were not in the lock come after those that were; what is attached to something is left
    out. Of several sources with a bundle among them, the lock has what was asked for and nothing else. Raises
    ArchiveError for a damaged label.
    """
    all_items = sorted(items, key=lambda item: str(item.reference))
    entries: dict[tuple[int, str], LockedImage] = {}
    for item in all_items:
        for at, notes in _lock_notes(item):
            image = LockedImage(item.named, notes)
            # The position first: the lock is written in its old order.
            entries.setdefault((at, str(image.digest)), image)
    if not entries:
        return None
    locked = [entries[key] for key in sorted(entries)]
    if _is_of_several(all_items):
        return ImagesLock(tuple(locked))
    digests = {image.digest for image in locked}
    others = (item for item in all_items if item.named.digest not in digests and not _is_attached(item))
    return ImagesLock((*locked, *(LockedImage(item.named) for item in others)))


def _is_of_several(items: Iterable[Item]) -> bool:
    """Return whether `items` were asked for by several sources, with a bundle among them."""
    return any(ROOT_BUNDLE_LABEL in item.labels and LOCK_LABEL in item.labels for item in items)


def _is_attached(item: Item) -> bool:
    return is_cosign_tag(item.tag) or (item.image is not None and item.image.manifest.subject is not None)


def _lock_notes(item: Item) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield the positions and annotations of `item` in the lock that its label describes."""
    try:
        for at, notes in json.loads(item.labels.get(LOCK_LABEL, "[]")):
            yield int(at), MappingProxyType({str(key): str(text) for key, text in notes.items()})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(f"the label {LOCK_LABEL} of {item.reference} is damaged: {error}") from error
