"""The items of a copy: an image, a bundle with everything it names, or the images of a lock file."""

from __future__ import annotations

import json
import os
from types import MappingProxyType
from typing import TYPE_CHECKING

from imgpkg.bundle.graph import Bundle, choose_all, expect_nothing, fetch_root, walk
from imgpkg.bundle.image import fetch_image, signature_tag
from imgpkg.bundle.locations import Location
from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage, read_lock
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import Forbidden, IsABundle, NotABundle, doing
from imgpkg.oci.descriptor import EMPTY
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.copy.plan import ROOT_BUNDLE_LABEL, Item
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from imgpkg.bundle.graph import Chooses, Expect, FetchedRoot, Member
    from imgpkg.bundle.image import Image, Starter, Workers
    from imgpkg.oci.descriptor import Digest
    from imgpkg.operations.disclosure import Disclosure
    from imgpkg.registry.client import RegistryClient
    from imgpkg.values import StrPath

# A tar file or layout has no images lock. This label of an image contains its positions and annotations in
# the lock from which the file was made, so that `--lock-output` can write the lock again.
LOCK_LABEL = "dev.carvel.imgpkg.copy.images-lock"
# Images of one lock whose configurations are kept until they are written: some kilobytes each.
_MOST_CONFIGS = 10_000
ROOT_LABELS = MappingProxyType({ROOT_BUNDLE_LABEL: ""})


@dataclass(frozen=True, slots=True)
class Record:
    """The locations of the images of a bundle, to be pushed to the destination as an image of their own.

    It `is_partial` if the bundle is copied without some of its images.
    """

    bundle: Digest
    images: tuple[Location, ...]
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class Unselected:
    """An image that was not selected for a copy; `named_by` is the bundle or file that names it."""

    reference: Reference
    named_by: str


@dataclass(frozen=True, slots=True)
class Collected:
    """What to copy: the items, and a record for each bundle among them.

    `root` is the item of the root bundle, None for other sources and for several of them. `images_lock` is
    set if the source is an images lock, several sources, or a file that was made from one of these.
    `has_other_bundles` is true if there are bundles but the root is unknown, as in tar files of old versions.
    `incomplete` are the bundles whose images are not all in the file, with the number of those that are
    missing. `locked` is what was selected from, `unselected` what is not copied of it.
    """

    items: tuple[Item, ...]
    root: Item | None = None
    records: tuple[Record, ...] = ()
    images_lock: ImagesLock | None = None
    has_other_bundles: bool = False
    incomplete: Mapping[Reference, int] = field(default_factory=FrozenDict)
    locked: tuple[LockedImage, ...] = ()
    unselected: tuple[Unselected, ...] = ()


def collect_image(client: RegistryClient, text: str) -> Collected:
    """Return one image or index; raise InvalidReference, IsABundle, or an error of the registry."""
    asked = parse_any(text)
    found = fetch_image(client, asked)
    # A bundle copied as an image would lack the images that it names.
    if found.is_bundle:
        raise IsABundle(
            "Expected bundle flag when copying a bundle (hint: Use -b instead of -i for bundles)",
            hints=(f"{asked} is a bundle: write -b in place of -i.",),
        )
    return Collected((Item(found.reference, tag=asked.tag or "", image=found),))


def collect_bundle(
    client: RegistryClient,
    text: str,
    workers: Starter,
    disclosure: Disclosure,
    expect: Expect = expect_nothing,
    *,
    chooses: Chooses = choose_all,
) -> Collected:
    """Return a bundle and everything that it names and that is chosen, at any depth.

    `expect` is called with the number of images that are known so far. Raises InvalidReference,
    NotABundle, InvalidLock, or an error of the registry.
    """
    asked = parse_any(text)
    disclosure.name(asked.repository.registry)
    root = _root(client, asked, workers, disclosure, expect, chooses=chooses)
    return of_bundle(root, root_item(root.image, asked.tag or "", has_origin=True), with_origin=True)


def root_item(image: Image, tag: str, *, has_origin: bool) -> Item:
    """Return the item of a bundle that was asked for, which gets `tag`."""
    return Item(image.reference, tag, str(image.reference) if has_origin else "", ROOT_LABELS, image)


def read_source_lock(path: StrPath) -> BundleLock | ImagesLock:
    """Read a lock file of a copy; raise LocalIOError or InvalidLock."""
    with doing("Trying to read bundle or images lock file"):
        return read_lock(path)


def collect_lock(
    client: RegistryClient,
    named: tuple[StrPath, BundleLock | ImagesLock],
    workers: Starter,
    disclosure: Disclosure,
    expect: Expect = expect_nothing,
    *,
    chooses: Chooses = choose_all,
) -> Collected:
    """Return what the lock of a file, which `named` has with its path, names and what is chosen of that.

    `expect` is called with the number of images that are known so far. Raises LocalIOError,
    InvalidLock, NotABundle, IsABundle, or an error of the registry.
    """
    path, lock = named
    if isinstance(lock, ImagesLock):
        chosen, left = choose(lock, chooses, os.fspath(path), disclosure)
        found = _of_images_lock(client, chosen, workers, expect)
        return replace(found, locked=lock.images, unselected=left)
    disclosure.approach_named([lock.reference])
    root = _root(client, lock.reference, workers, disclosure, expect, chooses=chooses)
    return of_bundle(root, root_item(root.image, lock.tag, has_origin=False), with_origin=False)


def merged(parts: Sequence[Collected]) -> Collected:
    """Return what several sources name; its images lock has everything that was asked for, in order."""
    if len(parts) == 1:
        return parts[0]
    lock = ImagesLock(tuple(image for part in parts for image in _asked(part)))
    labels = _labels(lock)
    items: dict[tuple[str, str], Item] = {}
    for item in (item for part in parts for item in part.items):
        own = {key: text for key, text in item.labels.items() if key != LOCK_LABEL}
        position = EMPTY if item.reference.digest is None else labels.get(item.reference.digest, EMPTY)
        marked = replace(item, labels=FrozenDict({**own, **position}))
        items[item.key] = _joined(items[item.key], marked) if item.key in items else marked
    records = {record.bundle: record for part in parts for record in part.records}
    copied = {item.named.digest for item in items.values()}
    left = [one for part in parts for one in part.unselected if one.reference.digest not in copied]
    return Collected(
        tuple(items.values()),
        records=tuple(records.values()),
        images_lock=lock,
        locked=tuple(image for part in parts for image in part.locked),
        unselected=tuple(left),
    )


def _asked(part: Collected) -> tuple[LockedImage, ...]:
    if part.images_lock is not None:
        return part.images_lock.images
    # Without a root it is one image.
    items = part.items if part.root is None else (part.root,)
    return tuple(LockedImage(item.reference) for item in items)


def _joined(one: Item, other: Item) -> Item:
    """Return the item of an image that several sources name, once perhaps as a root bundle."""
    return replace(
        one,
        origin=one.origin or other.origin,
        labels=FrozenDict({**one.labels, **other.labels}),
        image=one.image or other.image,
        elsewhere=one.elsewhere or other.elsewhere,
    )


def choose(
    lock: ImagesLock, chooses: Chooses, shown: str, disclosure: Disclosure
) -> tuple[ImagesLock, tuple[Unselected, ...]]:
    """Return what is chosen of the lock file `shown`, and what is not; warn before a login is sent there."""
    digests = {image.digest for image in lock.images if chooses(image)}
    left = dict.fromkeys(image.reference for image in lock.images if image.digest not in digests)
    kept = tuple(image for image in lock.images if image.digest in digests)
    disclosure.approach_named([image.reference for image in kept])
    return ImagesLock(kept), tuple(Unselected(reference, shown) for reference in left)


def of_bundle(root: Bundle, item: Item, *, with_origin: bool) -> Collected:
    """Return the bundle `root`, with its `item` as the last one, and all that it names."""
    items = (*_members(root, with_origin=with_origin), item)
    copied = {each.named.digest for each in items}
    locked = tuple(member.locked for bundle in root.bundles() for member in bundle.members)
    left = (
        Unselected(member.locked.reference, str(bundle.image.reference))
        for bundle in root.bundles()
        for member in bundle.members
        if member.locked.digest not in copied
    )
    return Collected(items, item, _records(root, copied), locked=locked, unselected=tuple(left))


def signatures(client: RegistryClient, items: Sequence[Item], workers: Workers) -> list[Item]:
    """Return the cosign signatures of `items`, each from the repository of its item.

    Cosign stores the signature of `sha256:…` under the tag `sha256-….sig`. Status 403 counts as not signed.
    """
    distinct = {item.reference: item for item in items}
    return [found for found in workers.map(lambda ref: _signature(client, ref), distinct) if found]


def _signature(client: RegistryClient, reference: Reference) -> Item | None:
    if reference.digest is None:  # pragma: no cover - items are digest references
        return None
    tag = signature_tag(reference.digest)
    try:
        with doing(f"Fetching signature for image '{reference}'"):
            found = client.exists(reference.repository.tag(tag))
    # Some registries answer 403 for a tag that does not exist, and policies may hide signatures.
    except Forbidden:
        return None
    return None if found is None else Item(reference.repository.digest(found.digest), tag=tag)


def _root(
    client: RegistryClient,
    asked: Reference,
    workers: Starter,
    disclosure: Disclosure,
    expect: Expect,
    *,
    chooses: Chooses,
) -> Bundle:
    root = fetch_bundle(client, asked, workers)
    with doing("Reading Images from Bundle"):
        return walk(client, root, workers, approach=disclosure.approach, expect=expect, chooses=chooses)


def fetch_bundle(client: RegistryClient, asked: Reference, workers: Starter) -> FetchedRoot:
    """Fetch the bundle `asked`; raise NotABundle, or an error of the registry."""
    root = fetch_root(client, asked, workers)
    if not root.image.is_bundle:
        raise NotABundle(
            "Expected bundle image but found plain image (hint: Did you use -i instead of -b?)",
            hints=(f"{asked} is no bundle: write -i in place of -b.",),
        )
    return root


def _members(root: Bundle, *, with_origin: bool) -> Iterator[Item]:
    for bundle in root.bundles():
        yield from items_of(bundle.members, with_origin=with_origin)


def items_of(members: Iterable[Member], *, with_origin: bool) -> Iterator[Item]:
    """Yield the items of those `members` of a bundle that are there."""
    for member in members:
        if not member.is_there:
            continue
        origin = str(member.locked.reference) if with_origin else ""
        # An image that was copied with its bundle is read from there, unless it was deleted since.
        is_moved = member.reference != member.locked.reference
        elsewhere = member.locked.reference if is_moved else None
        yield Item(member.reference, origin=origin, image=member.image, elsewhere=elsewhere, cut=member.cut)


def _records(root: Bundle, copied: Collection[Digest | None]) -> tuple[Record, ...]:
    bundles = {bundle.image.manifest.digest for bundle in root.bundles()}
    records = (
        record_of(bundle.image, (member.locked for member in bundle.members), copied, bundles)
        for bundle in root.bundles()
    )
    return tuple(record for record in records if record is not None)


def record_of(
    bundle: Image,
    images: Iterable[LockedImage],
    copied: Collection[Digest | None],
    bundles: Collection[Digest],
) -> Record | None:
    """Return the record of `bundle`, which names `images`; None if it has some and none of them is `copied`.

    `bundles` are the digests of those that are bundles.
    """
    named = list(images)
    there = [image for image in named if image.digest in copied]
    # Nothing could be said of a bundle that came alone.
    if named and not there:
        return None
    places = (Location(str(image.reference), image.digest in bundles) for image in there)
    return Record(bundle.manifest.digest, tuple(places), is_partial=len(there) < len(named))


def _of_images_lock(client: RegistryClient, lock: ImagesLock, workers: Workers, expect: Expect) -> Collected:
    # A lock may name an image several times with different annotations.
    distinct = tuple(dict.fromkeys(image.reference for image in lock.images))
    expect(len(distinct))
    # With a copy they are read once, unless all of them would fill the memory.
    keeps = len(distinct) <= _MOST_CONFIGS
    images = fetch_plain(client, distinct, workers, keeps=keeps)
    # The annotations are not part of the images, and a tar file has no other place for them.
    labels = _lock_labels(lock)
    items = (
        Item(image.reference, "", "", labels.get(image.manifest.digest, EMPTY), image) for image in images
    )
    return Collected(tuple(items), images_lock=lock)


def fetch_plain(
    client: RegistryClient, references: Sequence[Reference], workers: Workers, *, keeps: bool
) -> tuple[Image, ...]:
    """Fetch images that a lock names, without their configurations unless it `keeps` them.

    Raises IsABundle, or an error of the registry.
    """
    found = workers.map(lambda reference: _fetch_plain(client, reference, keeps=keeps), references)
    images = tuple(image for image in found if image is not None)
    if len(images) < len(references):
        raise IsABundle(
            "Unable to copy bundles using an Images Lock file (hint: Create a bundle with these images)"
        )
    return images


def _fetch_plain(client: RegistryClient, reference: Reference, *, keeps: bool) -> Image | None:
    """Return an image, without its configuration unless it `keeps` it; None for a bundle."""
    image = fetch_image(client, reference)
    if image.is_bundle:
        return None
    return image if keeps else replace(image, config_raw=b"")


def _lock_labels(lock: ImagesLock) -> Mapping[Digest, Mapping[str, str]]:
    """Return the label of each image of `lock`; a lock without annotations has none, as in the Go version."""
    return _labels(lock) if any(image.annotations for image in lock.images) else {}


def _labels(lock: ImagesLock) -> Mapping[Digest, Mapping[str, str]]:
    entries: dict[Digest, list[tuple[int, dict[str, str]]]] = {}
    for at, image in enumerate(lock.images):
        entries.setdefault(image.digest, []).append((at, dict(image.annotations)))
    return {
        digest: MappingProxyType({LOCK_LABEL: json.dumps(found, sort_keys=True, separators=(",", ":"))})
        for digest, found in entries.items()
    }
