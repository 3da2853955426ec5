"""Read a bundle and the bundles nested in it, each of them once, level by level."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import imgpkg
from imgpkg.bundle.image import Image, with_config
from imgpkg.bundle.layer import FoundLocations, fetch_images_lock, fetch_locations, has_bundle_layer
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import ImgpkgError, InvalidLock, NotABundle, doing
from imgpkg.oci.reference import Reference

if TYPE_CHECKING:
    from imgpkg.bundle.image import Reader, Starter
    from imgpkg.bundle.locations import ImageLocations
    from imgpkg.oci.cut import Cut
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest

# Is called with the number of images that are known so far.
Expect: TypeAlias = Callable[[int], None]
# Returns whether an image of a lock is read.
Chooses: TypeAlias = Callable[[LockedImage], bool]

# Real bundles are nested a few levels deep. A hostile registry could make a chain of any length.
_MAX_DEPTH = 64
# Manifest, configuration, lock and record: a bundle needs them all.
FIRST_REQUESTS = 4
# A smaller layer takes about as long as the answer that says whether it is that of a bundle.
_READ_UNSEEN = 256 << 10


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a bundle: its entry in the lock, the reference where it was found, and the fetched image.

    `image` is None where the locations record says that the image is not a bundle: it was not fetched. It is
    also None, and `is_there` false, where a tar file or layout has the bundle without this image, or a
    registry, and where it was not chosen.
    `cut` is set where a copy has put a part of an index.
    `bundle` is set when the image is a bundle. All members with the same digest share one object; it is left
    out of `repr` and `==`, because the number of paths through nested bundles can grow exponentially.
    """

    locked: LockedImage
    reference: Reference
    image: Image | None = None
    bundle: Bundle | None = field(default=None, repr=False, compare=False)
    is_there: bool = True
    cut: imgpkg.Cut | None = None


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle, its lock, its locations record if there is one, and its members in the order of the lock.

    Where several references have the same digest, only the first is a member.
    """

    image: Image
    lock: ImagesLock
    locations: FoundLocations | None
    members: tuple[Member, ...]

    def bundles(self) -> Iterable[Bundle]:
        """Yield this bundle and all nested bundles, each digest once, outer bundles first."""
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
class Documents:
    """The documents of one bundle, which are read before its members are fetched."""

    image: Image
    lock: ImagesLock
    locations: FoundLocations | None


@dataclass(frozen=True, slots=True)
class FetchedRoot:
    """An image that may be a bundle; `documents` returns those of the bundle, whose requests have begun."""

    image: Image
    documents: Callable[[], Documents] | None = field(default=None, repr=False, compare=False)


def expect_nothing(images: int) -> None:
    """Prepare nothing."""


def approach_freely(reference: Reference) -> None:
    """Let any image be requested."""


def is_anywhere(reference: Reference) -> bool:
    """Return True: whether a registry has an image is found out by requesting it."""
    return bool(reference)


def choose_all(image: LockedImage) -> bool:
    """Return True: every image of a lock is read."""
    return bool(image.reference)


def check_depth(reference: Reference, depth: int) -> None:
    """Raise InvalidLock when the bundle at `reference` is nested too deeply."""
    if depth > _MAX_DEPTH:
        raise InvalidLock(f"{reference}: bundles are nested more than {_MAX_DEPTH} deep")


def fetch_root(client: Reader, reference: Reference, workers: Starter) -> FetchedRoot:
    """Fetch an image that should be a bundle, its documents at the same time as its configuration.

    Raises what `fetch_image` raises.
    """
    with doing("Fetching image"):
        repository, manifest = reference.repository, client.manifest(reference)
        documents = None
        if has_bundle_layer(manifest, _READ_UNSEEN):
            documents = _start(client, Image(repository.digest(manifest.digest), manifest), workers)
        return FetchedRoot(with_config(client, repository, manifest), documents)


def _start(client: Reader, image: Image, workers: Starter) -> Callable[[], Documents]:
    """Begin to fetch both documents of a bundle; return how to wait for them."""
    locations = workers.start(partial(fetch_locations, client, image))
    lock = workers.start(partial(fetch_images_lock, client, image))

    def documents() -> Documents:
        with doing("Reading ImagesLock file"):
            read = lock()
        return Documents(image, read, locations())

    return documents


def walk(
    client: Reader,
    root: FetchedRoot,
    workers: Starter,
    *,
    approach: Callable[[Reference], None] = approach_freely,
    expect: Expect = expect_nothing,
    has: Callable[[Reference], bool] = is_anywhere,
    chooses: Chooses = choose_all,
    may_lack: bool = False,
    elsewhere: ImageLocations | None = None,
) -> Bundle:
    """Read the bundle `root` and everything that it names, at any depth; each manifest is requested once.

    `approach` is called, by any worker, before an image is requested that is not in its bundle's repository,
    `expect` before the images of each level, with the number of images that are known by then. What `has`
    returns False for is not requested, and its member is not there; likewise what is not one of those that
    `chooses` accepts, and with `may_lack` what cannot be read and was left out when its bundle was copied.
    `elsewhere` is the record for bundles that have none. Raises NotABundle, InvalidLock, or an error of the
    registry, with the path to the failing bundle in front.
    """
    if not root.image.is_bundle:
        raise NotABundle("Not a Bundle")
    choice = Choice(has, chooses, may_lack, elsewhere)
    return Traversal(client, workers, approach, expect, choice).bundle(root)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which images are read; see `walk`."""

    has: Callable[[Reference], bool]
    chooses: Chooses
    may_lack: bool
    elsewhere: ImageLocations | None


# The entry of a lock, the bundle that has it, and what stands in front of errors.
Wanted: TypeAlias = tuple[LockedImage, Image, tuple[str, ...]]


class Traversal:
    """The state of one walk: documents and images, by the reference that was tried first."""

    def __init__(
        self,
        client: Reader,
        workers: Starter,
        approach: Callable[[Reference], None],
        expect: Expect,
        choice: Choice,
    ) -> None:
        self._client = client
        self._workers = workers
        self._approach = approach
        self._expect = expect
        self._digests: set[Digest] = set()
        self._choice = choice
        self._absent: set[Reference] = set()
        self._read: dict[Reference, Documents] = {}
        # In place of an image that is no bundle there may be its reference.
        self._found: dict[Reference, Image | Reference | None] = {}

    def bundle(self, top: FetchedRoot) -> Bundle:
        """Read one level after the other, so that no worker waits for another."""
        root = top.image
        level = [root]
        begun = {} if top.documents is None else {root.reference: top.documents}
        # For each bundle, what stands in front of its errors: the bundles that lead to it.
        trails: dict[Reference, tuple[str, ...]] = {root.reference: ()}
        depth = 0
        while level:
            depth += 1
            check_depth(level[0].reference, depth)
            for read in self._workers.map(lambda image: self._fetch_documents(image, trails, begun), level):
                self._read[read.image.reference] = read
                self._digests.update(locked.digest for locked in read.lock.images)
            self._expect(len(self._digests))
            wanted: dict[Reference, Wanted] = {}
            for image in level:
                self._approach_places(self._read[image.reference])
                for here, locked in self._not_fetched(self._read[image.reference]):
                    # Two bundles of a level may name one image; it is fetched for the first of them.
                    wanted.setdefault(here, (locked, image, trails[image.reference]))
            self._fetch_members(level, wanted)
            level = self._next_level(level, trails)
        return self._assemble(root, {}, 1)[0]

    def _fetch_members(
        self,
        level: Iterable[Image],  # noqa: ARG002 - a walk in batches needs it
        wanted: dict[Reference, Wanted],
    ) -> None:
        """Fetch what is `wanted` of the bundles of a level."""
        self._found.update(self._fetch(wanted))

    def _fetch(self, wanted: Mapping[Reference, Wanted]) -> dict[Reference, Image | None]:
        found = self._workers.map(lambda item: self._fetch_member(item[0], *item[1]), wanted.items())
        return dict(zip(wanted, found, strict=True))

    def _next_level(self, level: list[Image], trails: dict[Reference, tuple[str, ...]]) -> list[Image]:
        deeper: dict[Reference, Image] = {}
        for image in level:
            trail = (*trails[image.reference], f"Retrieving images for bundle '{image.reference}'")
            for here, locked in self._places(self._read[image.reference]):
                found = self._found.get(here) if self._choice.chooses(locked) else None
                # A bundle that is named at a higher level too has been read there.
                if isinstance(found, Image) and found.is_bundle and found.reference not in self._read:
                    deeper.setdefault(found.reference, found)
                    trails.setdefault(found.reference, trail)
        return list(deeper.values())

    def _fetch_documents(
        self,
        image: Image,
        trails: dict[Reference, tuple[str, ...]],
        begun: dict[Reference, Callable[[], Documents]],
    ) -> Documents:
        with doing(*trails[image.reference]):
            documents = begun.get(image.reference) or _start(self._client, image, self._workers)
            return documents()

    def _approach_places(self, read: Documents) -> None:
        if read.locations is not None:
            for place in read.locations.record.places().values():
                self._approach(place)

    def _not_fetched(self, read: Documents) -> Iterable[tuple[Reference, LockedImage]]:
        plain = read.locations.record.plain_images() if read.locations is not None else frozenset()
        for here, locked in self._places(read):
            # The record lists plain images so that they need no request: a copy has put all of them here.
            if not self._choice.chooses(locked) or str(locked.reference) in plain:
                self._found.setdefault(here, None)
            elif not self._choice.has(here) and not self._choice.has(locked.reference):
                self._absent.add(here)
                self._found.setdefault(here, None)
            elif self._found.get(here) is None:
                # Also where another record calls it a plain image: this bundle's own record decides.
                yield here, locked

    def _fetch_member(
        self, here: Reference, locked: LockedImage, bundle: Image, trail: tuple[str, ...]
    ) -> Image | None:
        with doing(*trail):
            try:
                with doing("Checking image existence"):
                    place, manifest = self._fetch_manifest(here, locked.reference)
            except ImgpkgError as error:
                if not self._is_left_out(bundle, locked.digest):
                    raise
                if self._choice.may_lack:
                    self._absent.add(here)
                    return None
                error.hints = (*error.hints, f"it was left out when {bundle.reference} was copied there")
                raise
            with doing(f"Checking if '{place}' is a bundle"), doing("Fetching image"):
                return with_config(self._client, place.repository, manifest)

    def _fetch_manifest(self, here: Reference, origin: Reference) -> tuple[Reference, Manifest]:
        """Try where a copy puts the images of the bundle, then the reference of the lock."""
        if here == origin:
            return here, self._client.manifest(here)
        try:
            return here, self._client.manifest(here)
        except ImgpkgError as first:
            # Any error counts, since some registries answer 401 or 403 for a repository that does not exist.
            try:
                self._approach(origin)
                return origin, self._client.manifest(origin)
            except ImgpkgError as last:
                last.hints = (*last.hints, f"it was looked for before at {here}: {first}")
                raise

    def _is_left_out(self, bundle: Image, digest: Digest) -> bool:
        """Return whether `bundle` was copied in part, and without this image."""
        found = self._read[bundle.reference].locations
        return found is not None and found.record.is_partial and str(digest) not in found.record.digests()

    def _assemble(
        self, image: Image, done: dict[Reference, tuple[Bundle, int]], depth: int
    ) -> tuple[Bundle, int]:
        """Return the bundle `image`, the same object for all that name it, and the number of levels below it.

        The depth is checked again, because a bundle is read at the first level that names it, and may be
        nested deeper in another bundle.
        """
        check_depth(image.reference, depth)
        if image.reference not in done:
            read = self._read[image.reference]
            record = self._record(read)
            cuts = record.cuts() if record is not None else {}
            members, height = [], 0
            for here, locked in self._places(read):
                found, inner = self._found[here], None
                if isinstance(found, Image) and found.is_bundle and self._choice.chooses(locked):
                    inner, below = self._assemble(found, done, depth + 1)
                    height = max(height, below + 1)
                members.append(self._member(here, locked, inner, cuts.get(locked.digest)))
            # The height is stored, so that the check of depth does not visit a shared bundle again.
            done[image.reference] = Bundle(image, read.lock, read.locations, tuple(members)), height
        bundle, height = done[image.reference]
        check_depth(image.reference, depth + height)
        return bundle, height

    def _member(self, here: Reference, locked: LockedImage, inner: Bundle | None, cut: Cut | None) -> Member:
        if here in self._absent or not self._choice.chooses(locked):
            return Member(locked, locked.reference, is_there=False)
        found = self._found[here]
        image, reference = (found, found.reference) if isinstance(found, Image) else (None, found or here)
        # It may have been found as a whole where the lock names it.
        is_cut = cut is not None and reference.digest == cut.result.digest
        return Member(locked, reference, image, inner, cut=cut if is_cut else None)

    def _record(self, read: Documents) -> ImageLocations | None:
        return self._choice.elsewhere if read.locations is None else read.locations.record

    def _places(self, read: Documents) -> list[tuple[Reference, LockedImage]]:
        """Return the images of the lock, one per digest, with the references where a copy has put them.

        That is the bundle's repository, unless its record says otherwise.
        """
        repository = read.image.reference.repository
        record = self._record(read)
        places = record.places() if record is not None else {}
        images = distinct(read.lock, self._choice.chooses)
        return [(places.get(image.digest) or repository.digest(image.digest), image) for image in images]


def distinct(lock: ImagesLock, chooses: Chooses = choose_all) -> tuple[LockedImage, ...]:
    """Return one entry of `lock` for each digest: the first that is chosen, or else the first."""
    first: dict[Digest, LockedImage] = {}
    for locked in lock.images:
        kept = first.setdefault(locked.digest, locked)
        if kept is not locked and not chooses(kept) and chooses(locked):
            first[locked.digest] = locked
    return tuple(first.values())
