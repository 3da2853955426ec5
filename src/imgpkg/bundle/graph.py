"""Walk a bundle and the bundles inside it, each read once, level by level."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image, with_config
from imgpkg.bundle.layer import FoundLocations, fetch_images_lock, fetch_locations
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.errors import ImgpkgError, InvalidLock, NotABundle, doing
from imgpkg.oci.reference import Reference

if TYPE_CHECKING:
    from imgpkg.bundle.image import Reader, Workers
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest

# Nobody nests bundles further than a few deep, but a hostile registry.
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Member:
    """One image that a bundle names: as its lock has it, where it is, and what was fetched there.

    `image` is None for an image that the locations record says is no bundle: it was not asked for.
    `bundle` is set when the image is a bundle itself. It is shared by all that name it, and neither shown nor
    compared: the ways that lead to a bundle may be too many to follow each.
    """

    locked: LockedImage
    reference: Reference
    image: Image | None = None
    bundle: Bundle | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, its lock, its locations record if there is one, and its members in the order of the lock.

    Of several references with one digest the first in the file is the member.
    """

    image: Image
    lock: ImagesLock
    locations: FoundLocations | None
    members: tuple[Member, ...]

    def bundles(self) -> Iterable[Bundle]:
        """Yield this bundle and every one inside it, each digest once, outermost first."""
        seen = set()
        queue = deque([self])
        while queue:
            bundle = queue.popleft()
            if bundle.image.manifest.digest in seen:
                continue
            seen.add(bundle.image.manifest.digest)
            yield bundle
            queue.extend(member.bundle for member in bundle.members if member.bundle is not None)


@dataclass(frozen=True, slots=True)
class _Read:
    """What one bundle itself says, before its members are looked for."""

    image: Image
    lock: ImagesLock
    locations: FoundLocations | None


def check_depth(reference: Reference, depth: int) -> None:
    """Raise InvalidLock where the bundle at `reference` is nested too deep."""
    if depth > _MAX_DEPTH:
        raise InvalidLock(f"{reference}: bundles are nested more than {_MAX_DEPTH} deep")


def walk(client: Reader, root: Image, workers: Workers) -> Bundle:
    """Read the bundle `root` and all that it names, at any depth; nothing is asked for twice.

    Raises NotABundle, InvalidLock, or an error of the registry, with the way to the failing bundle in front.
    """
    if not root.is_bundle:
        raise NotABundle("Not a Bundle")
    return _Walk(client, workers).bundle(root)


class _Walk:
    """One walk: what was read and found, by the reference where it was looked for first."""

    def __init__(self, client: Reader, workers: Workers) -> None:
        self._client = client
        self._workers = workers
        self._read: dict[Reference, _Read] = {}
        self._found: dict[Reference, Image | None] = {}

    def bundle(self, root: Image) -> Bundle:
        """Read level after level, so that no worker ever waits for another."""
        level = [root]
        trails: dict[Reference, tuple[str, ...]] = {root.reference: ()}
        depth = 0
        while level:
            depth += 1
            check_depth(level[0].reference, depth)
            for read in self._workers.map(lambda image: self._documents(image, trails), level):
                self._read[read.image.reference] = read
            wanted: dict[Reference, tuple[LockedImage, tuple[str, ...]]] = {}
            for image in level:
                for here, locked in self._unknown(self._read[image.reference]):
                    wanted.setdefault(here, (locked, trails[image.reference]))
            found = self._workers.map(lambda item: self._search(item[0], *item[1]), wanted.items())
            self._found.update(zip(wanted, found, strict=True))
            level = self._next_level(level, trails)
        return self._assemble(root, {}, 1)[0]

    def _next_level(self, level: list[Image], trails: dict[Reference, tuple[str, ...]]) -> list[Image]:
        deeper: dict[Reference, Image] = {}
        for image in level:
            trail = (*trails[image.reference], f"Retrieving images for bundle '{image.reference}'")
            for here, _ in _places(self._read[image.reference]):
                found = self._found.get(here)
                if found is not None and found.is_bundle and found.reference not in self._read:
                    deeper.setdefault(found.reference, found)
                    trails.setdefault(found.reference, trail)
        return list(deeper.values())

    def _documents(self, image: Image, trails: dict[Reference, tuple[str, ...]]) -> _Read:
        trail = trails[image.reference]
        with doing(*trail):
            with doing("Reading ImagesLock file"):
                lock = fetch_images_lock(self._client, image)
            return _Read(image, lock, fetch_locations(self._client, image))

    def _unknown(self, read: _Read) -> Iterable[tuple[Reference, LockedImage]]:
        plain = read.locations.record.plain_images() if read.locations is not None else frozenset()
        for here, locked in _places(read):
            if str(locked.reference) in plain:
                self._found.setdefault(here, None)
            elif self._found.get(here) is None:
                yield here, locked

    def _search(self, here: Reference, locked: LockedImage, trail: tuple[str, ...]) -> Image:
        with doing(*trail):
            with doing("Checking image existence"):
                place, manifest = self._first(here, locked.reference)
            with doing(f"Checking if '{place}' is a bundle"), doing("Fetching image"):
                return with_config(self._client, place.repository, manifest)

    def _first(self, here: Reference, origin: Reference) -> tuple[Reference, Manifest]:
        """Try the bundle's own repository, then the place that the lock names."""
        if here == origin:
            return here, self._client.manifest(here)
        try:
            return here, self._client.manifest(here)
        except ImgpkgError as first:
            try:
                return origin, self._client.manifest(origin)
            except ImgpkgError as last:
                last.hints = (*last.hints, f"it was looked for before at {here}: {first}")
                raise

    def _assemble(
        self, image: Image, done: dict[Reference, tuple[Bundle, int]], depth: int
    ) -> tuple[Bundle, int]:
        """Return the bundle `image`, made once for all that name it, and how many levels are below it.

        What is named near the top may be named again further down: the levels of reading do not tell how deep
        bundles are nested.
        """
        check_depth(image.reference, depth)
        if image.reference not in done:
            read = self._read[image.reference]
            members, height = [], 0
            for here, locked in _places(read):
                found, inner = self._found[here], None
                if found is not None and found.is_bundle:
                    inner, below = self._assemble(found, done, depth + 1)
                    height = max(height, below + 1)
                members.append(Member(locked, found.reference if found is not None else here, found, inner))
            done[image.reference] = Bundle(image, read.lock, read.locations, tuple(members)), height
        bundle, height = done[image.reference]
        check_depth(image.reference, depth + height)
        return bundle, height


def _places(read: _Read) -> list[tuple[Reference, LockedImage]]:
    """Pair each distinct digest of the lock with its place in the bundle's own repository."""
    repository = read.image.reference.repository
    first: dict[Digest, LockedImage] = {}
    for locked in read.lock.images:
        first.setdefault(locked.digest, locked)
    return [(repository.digest(digest), locked) for digest, locked in first.items()]
