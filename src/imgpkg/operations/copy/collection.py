"""Turn what a copy was asked for into items: an image, a bundle with all it names, or a lock."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from imgpkg.bundle.graph import Bundle, walk
from imgpkg.bundle.image import fetch_image, signature_tag
from imgpkg.bundle.lock import ImagesLock, LockedImage, read_lock
from imgpkg.errors import ArchiveError, Forbidden, IsABundle, NotABundle, doing
from imgpkg.oci.descriptor import EMPTY
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.copy.plan import ROOT_BUNDLE_LABEL, Item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from imgpkg.bundle.image import Workers
    from imgpkg.oci.descriptor import Digest
    from imgpkg.registry.client import RegistryClient
    from imgpkg.values import StrPath

# What a file remembers of the images lock that it was made from: the places and annotations of each image.
LOCK_LABEL = "dev.carvel.imgpkg.copy.images-lock"
ROOT_LABELS = MappingProxyType({ROOT_BUNDLE_LABEL: ""})


@dataclass(frozen=True, slots=True)
class Record:
    """What the locations record of one copied bundle will say: (reference in its lock, is a bundle)."""

    bundle: Digest
    images: tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """What to copy: the items, the records of the bundles among them, the images lock if that was the source.

    `root` is the item of the root bundle, None when no bundle was asked for; `has_other_bundles` tells that
    there are bundles although nobody knows which is the root, as in tar files of old versions.
    """

    items: tuple[Item, ...]
    root: Item | None = None
    records: tuple[Record, ...] = ()
    images_lock: ImagesLock | None = None
    has_other_bundles: bool = False

    def adding(self, items: Iterable[Item]) -> Collected:
        """Return the same with more items, such as signatures."""
        return replace(self, items=(*self.items, *items))


def collect_image(client: RegistryClient, text: str) -> Collected:
    """Collect one image or index; raise IsABundle for a bundle."""
    asked = parse_any(text)
    found = fetch_image(client, asked)
    if found.is_bundle:
        raise IsABundle("Expected bundle flag when copying a bundle (hint: Use -b instead of -i for bundles)")
    return Collected((Item(found.reference, tag=asked.tag or "", image=found),))


def collect_bundle(client: RegistryClient, text: str, workers: Workers) -> Collected:
    """Collect a bundle and everything it names, at any depth."""
    asked = parse_any(text)
    root = _root(client, asked, workers)
    item = Item(root.image.reference, asked.tag or "", str(root.image.reference), ROOT_LABELS, root.image)
    return Collected((*_members(root, with_origin=True), item), item, _records(root))


def collect_lock(client: RegistryClient, path: StrPath, workers: Workers) -> Collected:
    """Collect what a BundleLock or an ImagesLock names."""
    with doing("Trying to read bundle or images lock file"):
        lock = read_lock(path)
    if isinstance(lock, ImagesLock):
        return _of_images_lock(client, lock, workers)
    root = _root(client, lock.reference, workers)
    item = Item(root.image.reference, lock.tag, "", ROOT_LABELS, root.image)
    return Collected((*_members(root, with_origin=False), item), item, _records(root))


def signatures(client: RegistryClient, items: Sequence[Item], workers: Workers) -> list[Item]:
    """Find the cosign signature of each item in its own repository; a refusal counts as none."""
    distinct = {item.reference: item for item in items}
    return [found for found in workers.map(lambda ref: _signature(client, ref), distinct) if found]


def _signature(client: RegistryClient, reference: Reference) -> Item | None:
    if reference.digest is None:  # pragma: no cover - items are digest references
        return None
    tag = signature_tag(reference.digest)
    try:
        with doing(f"Fetching signature for image '{reference}'"):
            found = client.exists(reference.repository.tag(tag))
    except Forbidden:
        return None
    return None if found is None else Item(reference.repository.digest(found.digest), tag=tag)


def _root(client: RegistryClient, asked: Reference, workers: Workers) -> Bundle:
    image = fetch_image(client, asked)
    if not image.is_bundle:
        raise NotABundle("Expected bundle image but found plain image (hint: Did you use -i instead of -b?)")
    with doing("Reading Images from Bundle"):
        return walk(client, image, workers)


def _members(root: Bundle, *, with_origin: bool) -> Iterator[Item]:
    for bundle in root.bundles():
        for member in bundle.members:
            origin = str(member.locked.reference) if with_origin else ""
            is_moved = member.reference != member.locked.reference
            elsewhere = member.locked.reference if is_moved else None
            yield Item(member.reference, origin=origin, image=member.image, elsewhere=elsewhere)


def _records(root: Bundle) -> tuple[Record, ...]:
    return tuple(
        Record(
            bundle.image.manifest.digest,
            tuple((str(member.locked.reference), member.bundle is not None) for member in bundle.members),
        )
        for bundle in root.bundles()
    )


def _of_images_lock(client: RegistryClient, lock: ImagesLock, workers: Workers) -> Collected:
    distinct = tuple(dict.fromkeys(image.reference for image in lock.images))
    images = tuple(workers.map(lambda reference: fetch_image(client, reference), distinct))
    if any(image.is_bundle for image in images):
        raise IsABundle(
            "Unable to copy bundles using an Images Lock file (hint: Create a bundle with these images)"
        )
    labels = _lock_labels(lock)
    items = (
        Item(image.reference, "", "", labels.get(image.manifest.digest, EMPTY), image) for image in images
    )
    return Collected(tuple(items), images_lock=lock)


def _lock_labels(lock: ImagesLock) -> Mapping[Digest, Mapping[str, str]]:
    """Return the label of each image; there are none for a lock without annotations, as in the original."""
    if not any(image.annotations for image in lock.images):
        return {}
    entries: dict[Digest, list[tuple[int, dict[str, str]]]] = {}
    for at, image in enumerate(lock.images):
        entries.setdefault(image.digest, []).append((at, dict(image.annotations)))
    return {
        digest: MappingProxyType({LOCK_LABEL: json.dumps(found, sort_keys=True, separators=(",", ":"))})
        for digest, found in entries.items()
    }


def remembered_lock(items: Iterable[Item]) -> ImagesLock | None:
    """Make the images lock again of whose entries the `items` of a file remember something.

    Images that were not in it follow its own, but not the signatures of those. None when no item remembers
    anything. Raises ArchiveError for a label that is damaged.
    """
    all_items = sorted(items, key=lambda item: str(item.reference))
    entries: dict[tuple[int, str], LockedImage] = {}
    for item in all_items:
        for at, notes in _lock_entries(item):
            image = LockedImage(item.reference, notes)
            entries.setdefault((at, str(image.digest)), image)
    if not entries:
        return None
    locked = [entries[key] for key in sorted(entries)]
    digests = {image.digest for image in locked}
    signed = {signature_tag(digest) for digest in digests}
    others = (item for item in all_items if item.reference.digest not in digests and item.tag not in signed)
    return ImagesLock((*locked, *(LockedImage(item.reference) for item in others)))


def _lock_entries(item: Item) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        for at, notes in json.loads(item.labels.get(LOCK_LABEL, "[]")):
            yield int(at), MappingProxyType({str(key): str(text) for key, text in notes.items()})
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ArchiveError(f"the label {LOCK_LABEL} of {item.reference} is damaged: {error}") from error
