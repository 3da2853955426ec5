"""Pull a bundle and the bundles that it names: the files, the images locks, and the results."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, TypeAlias

from imgpkg.bundle.image import fetch_image
from imgpkg.content.output import remove_tree
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import NotFound, NotInFile, doing
from imgpkg.events import Message, Planned, Warned
from imgpkg.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgpkg.bundle.image import Image
    from imgpkg.bundle.layer import FoundLocations
    from imgpkg.bundle.locations import ImageLocations
    from imgpkg.bundle.lock import ImagesLock, LockedImage
    from imgpkg.events import Hook
    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.operations.disclosure import Disclosure
    from imgpkg.operations.image_store import ImageReader
    from imgpkg.operations.workers import WorkerPool

_IMAGES_LOCK = os.path.join(".imgpkg", "images.yml")
_NESTED = os.path.join(".imgpkg", "bundles")
# A bundle may be named by many others: with the content of each repeated, results could grow exponentially.
_MOST_RESULTS = 10_000
# More would hide what the warning says.
_MOST_NAMED = 20


class Extract(Protocol):
    """Unpacks an image into an empty folder."""

    def __call__(self, image: Image, directory: str, /, *, indent: str) -> None:
        """Write the files of the layers; the lines of the log begin with `indent`."""
        ...


Verify: TypeAlias = "Callable[[Image, Reference], None]"


@dataclass(frozen=True, slots=True)
class ImagesLockStatus:
    """The path of a pulled bundle's images.yml, and whether it now refers to where the images were copied.

    That is the bundle's repository. `is_spread` is true if a copy has put some of them into others.
    `left_out` are the images that are not there, because the bundle was copied without them; images.yml has
    them at their old places.
    """

    path: str
    is_updated: bool
    is_spread: bool = False
    left_out: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class _Hosting:
    """Which images of a bundle are `here`, where a copy has put them, and its record.

    It `is_partial` if the bundle was copied without some of them.
    """

    here: frozenset[Digest] = frozenset()
    record: ImageLocations | None = None
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class PullResult:
    """The result of a pull; `reference` is the digest reference of the image or bundle.

    `nested` are the results of the bundles that it names. A bundle that several others name is in the result
    of each of them; after ten thousand results in total, its own `nested` is empty from the second time on.
    `is_cacheable` is true if pulling the same reference again must produce the same files.
    """

    reference: Reference
    is_bundle: bool = False
    images_lock: ImagesLockStatus | None = None
    nested: tuple[PullResult, ...] = ()
    is_cacheable: bool = False


def begin_locations(
    client: ImageReader, bundle: Image, workers: WorkerPool
) -> Callable[[], FoundLocations | None]:
    """Begin to fetch the record of locations of a bundle; return how to wait for it."""
    from imgpkg.bundle.layer import fetch_locations

    return workers.start(lambda: fetch_locations(client, bundle))


def _places(record: ImageLocations | None) -> Mapping[Digest, Reference]:
    return {} if record is None else record.places()


@dataclass
class BundlePull:
    """A pull of a bundle: the new folder, and the bundles and images found so far.

    `extract` unpacks an image into an empty folder. `folder` is the new folder, and `output` its name in
    results. `met` has every reference of an images.yml that was looked at, with its result if it is a bundle.
    `hosted` are the images known to be in the repository of their bundle, which nested bundles share.
    """

    client: ImageReader
    workers: WorkerPool
    folder: str
    output: str
    recursive: bool
    on_event: Hook
    extract: Extract
    # None where nothing in the bundle has to be signed.
    verify: Verify | None = None
    # None for a pull that requests nothing outside of the bundle's repository.
    disclosure: Disclosure | None = None
    met: dict[Reference, PullResult | None] = field(default_factory=dict)
    hosted: set[Reference] = field(default_factory=set)
    # The bundles whose totals were reported.
    planned: set[Reference] = field(default_factory=set)
    announced: bool = False
    # The number of results below each bundle, and in total.
    sizes: dict[Reference, int] = field(default_factory=dict)
    results: int = 0

    def bundle(
        self,
        image: Image,
        where: str,
        depth: int,
        begun: Callable[[], FoundLocations | None] | None = None,
    ) -> PullResult:
        """Pull one bundle into `where`, relative to the new folder, and then the bundles it names."""
        from imgpkg.bundle.graph import check_depth
        from imgpkg.bundle.lock import ImagesLock

        # A bundle cannot contain itself, since its digest would have to be known before it exists; a hostile
        # registry can still make up a chain of any length.
        check_depth(image.reference, depth)
        indent = "  " * depth
        kind = "nested bundle" if depth else "bundle"
        self.on_event(Message(f"{indent}Pulling {kind} '{image.reference}'\n"))
        folder = self._nested_folder(where) if depth else self.folder
        find_locations = begun or begin_locations(self.client, image, self.workers)
        if not depth:
            self.on_event(Planned.of(image.manifest.layers, is_last=not self.recursive))
        with doing("Extracting bundle into directory"):
            self.extract(image, folder, indent=f"{indent}  ")
        path = os.path.join(folder, _IMAGES_LOCK)
        # The path that the user knows, not that of the temporary folder.
        shown = os.path.normpath(os.path.join(self.output, where, _IMAGES_LOCK))
        lock = ImagesLock.from_path(path, shown=shown)
        locations = find_locations()
        hosting = self._hosting(image, lock, locations)
        nested = self._nested(image, lock, hosting, depth) if self.recursive else ()
        if self.recursive and not depth:
            # Only now it is known that there are no more bundles.
            self.on_event(Planned(0, 0))
        self.sizes[image.reference] = sum(1 + self.sizes[inner.reference] for inner in nested)
        # After the nested bundles, which are known by the references of the original lock.
        places = _places(hosting.record)
        is_updated = bool(hosting.here) or not lock.images
        if is_updated:
            lock.relocated(image.reference.repository, places, hosting.here).write(path)
        left = self._left_out(image.reference, lock, hosting)
        status = ImagesLockStatus(shown, is_updated, bool(places), left)
        return PullResult(image.reference, True, status, nested)

    def _hosting(self, image: Image, lock: ImagesLock, locations: FoundLocations | None) -> _Hosting:
        everything = frozenset(locked.digest for locked in lock.images)
        if locations is None:
            return _Hosting(everything if self._hosts_all(image.reference, lock) else frozenset())
        # A copy pushes the record of locations after all images: with it, no image has to be looked up.
        if not locations.record.is_partial:
            return _Hosting(everything, locations.record)
        recorded = locations.record.digests()
        # They may have been copied there since.
        others = [locked for locked in lock.images if str(locked.digest) not in recorded]
        are_there = self.workers.map(lambda locked: self._hosts(image.reference, locked), others)
        left = {locked.digest for locked, is_there in zip(others, are_there, strict=True) if not is_there}
        return _Hosting(everything - left, locations.record, is_partial=bool(left))

    def _left_out(self, bundle: Reference, lock: ImagesLock, hosting: _Hosting) -> tuple[Reference, ...]:
        """Report what a copy has left out."""
        if not hosting.is_partial:
            return ()
        left = [image.reference for image in lock.images if image.digest not in hosting.here]
        names = list(dict.fromkeys(left))
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        self.on_event(
            Warned(
                f"{bundle} was copied without {len(names)} of its images, which images.yml names at their "
                f"old places: {', '.join(map(str, names[:_MOST_NAMED]))}{more}"
            )
        )
        return tuple(names)

    def _nested_folder(self, where: str) -> str:
        folder = os.path.join(self.folder, where)
        # The layer of the outer bundle may contain a folder of this name.
        if os.path.lexists(folder):
            remove_tree(folder)
        os.makedirs(folder)
        return folder

    def _hosts_all(self, bundle: Reference, lock: ImagesLock) -> bool:
        missing: list[LockedImage] = []

        def look(image: LockedImage) -> None:
            # One that is missing is enough.
            if not missing and not self._hosts(bundle, image):
                missing.append(image)

        # Mostly none is there, which the first one shows.
        for images in (lock.images[:1], lock.images[1:]):
            self.workers.map(look, images)
        return not missing

    def _hosts(self, bundle: Reference, image: LockedImage) -> bool:
        here = bundle.repository.digest(image.digest)
        # Asked once per digest: nested bundles often name the same images.
        if here not in self.hosted and self.client.names(here, image.digest):
            self.hosted.add(here)
        return here in self.hosted

    def _nested(
        self,
        bundle: Image,
        lock: ImagesLock,
        hosting: _Hosting,
        depth: int,
    ) -> tuple[PullResult, ...]:
        """Pull the bundles that `lock` names, each once, in the order of the file."""
        # One after the other, so that the log is the same in every run.
        pulled = []
        for locked, image in self._candidates(bundle, lock, hosting):
            # Another bundle may have it.
            if hosting.is_partial and locked.digest not in hosting.here:
                continue
            if image is None or not image.is_bundle:
                done = self.met.setdefault(locked.reference, None)
                if done is not None:
                    self._report_again(locked, depth)
                    pulled.append(self._repeated(done))
                continue
            self._announce()
            if self.verify is not None:
                self.verify(image, locked.reference)
            where = os.path.join(_NESTED, f"{locked.digest.algorithm}-{locked.digest.hex}")
            self.results += 1
            result = self.bundle(image, where, depth + 1)
            self.met[locked.reference] = result
            pulled.append(result)
        return tuple(pulled)

    def _candidates(
        self, bundle: Image, lock: ImagesLock, hosting: _Hosting
    ) -> Iterator[tuple[LockedImage, Image | None]]:
        """Pair each locked image with its manifest; None if it was met before or is known to be no bundle."""
        plain = hosting.record.plain_images() if hosting.record is not None else frozenset()
        places = _places(hosting.record)

        # Workers only fetch; the results are used in the order of the lock.
        def fetch(locked: LockedImage) -> Image | None:
            if locked.reference in self.met or str(locked.reference) in plain:
                return None
            is_here = locked.digest in hosting.here
            # What a copy has left out need not be within reach.
            if hosting.is_partial and not is_here:
                return None
            with doing("Checking if image is bundle"):
                here = places.get(locked.digest) or bundle.reference.repository.digest(locked.digest)
                if self.disclosure is not None and locked.digest in places:
                    self.disclosure.approach(here)
                return self._fetch(here, locked, is_here)

        # Only the manifest shows whether an image is a bundle: in parallel, a request per image.
        found = self.workers.map(fetch, lock.images)
        self._plan(zip(lock.images, found, strict=True))
        for locked, image in zip(lock.images, found, strict=True):
            # The lock may name an image twice, or one that a bundle before it has brought in the meantime.
            yield locked, None if locked.reference in self.met else image

    def _plan(self, found: Iterable[tuple[LockedImage, Image | None]]) -> None:
        """Report the totals of all bundles of one level: a bar that learned of each by itself would stall."""
        layers: list[Descriptor] = []
        for locked, image in found:
            if image is not None and image.is_bundle and locked.reference not in self.planned:
                self.planned.add(locked.reference)
                layers.extend(image.manifest.layers)
        if layers:
            self.on_event(Planned.of(layers, is_last=False))

    def _fetch(self, here: Reference, locked: LockedImage, hosted: bool) -> Image:
        if not hosted:
            return self._fetch_elsewhere(locked)
        try:
            return fetch_image(self.client, here)
        except (NotFound, NotInFile):
            # The image may have been deleted since its location was recorded: try where the lock names it.
            if here == locked.reference:
                raise
            return self._fetch_elsewhere(locked)

    def _fetch_elsewhere(self, locked: LockedImage) -> Image:
        if self.disclosure is not None:
            self.disclosure.approach(locked.reference)
        return fetch_image(self.client, locked.reference)

    def _announce(self) -> None:
        if not self.announced:
            self.announced = True
            self.on_event(Message("\nNested bundles\n"))

    def _repeated(self, done: PullResult) -> PullResult:
        """Return the result of a bundle that was pulled before, without its nested ones above the limit."""
        size = 1 + self.sizes[done.reference]
        if self.results + size > _MOST_RESULTS:
            return replace(done, nested=())
        self.results += size
        return done

    def _report_again(self, locked: LockedImage, depth: int) -> None:
        indent = "  " * (depth + 1)
        self.on_event(Message(f"{indent}Pulling nested bundle '{locked.reference}'\n"))
        self.on_event(Message(f"{indent}Skipped, already downloaded\n"))
