"""Pull a bundle, and with it the bundles it names."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from imgpkg.bundle.graph import check_depth
from imgpkg.bundle.image import fetch_image
from imgpkg.bundle.lock import ImagesLock
from imgpkg.bundle.lookup import fetch_locations
from imgpkg.content.folder import remove_tree
from imgpkg.content.output import replacing
from imgpkg.errors import NotFound, doing
from imgpkg.events import Hook, Message
from imgpkg.operations.extract import extract
from imgpkg.operations.pull_values import ImagesLockStatus, PullResult
from imgpkg.operations.work import working

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.bundle.image import Image
    from imgpkg.bundle.lock import LockedImage
    from imgpkg.bundle.lookup import FoundLocations
    from imgpkg.oci.reference import Reference
    from imgpkg.registry.client import RegistryClient
    from imgpkg.session import Session

IMAGES_LOCK = os.path.join(".imgpkg", "images.yml")
# A result that tells of the same bundles more than once tells of so many at most.
_MOST_TOLD = 10_000
NESTED = os.path.join(".imgpkg", "bundles")


def pull_bundle(
    session: Session,
    asked: Reference,
    root: Image,
    output: str,
    *,
    shown: str,
    recursive: bool,
    on_event: Hook,
) -> PullResult:
    """Replace the folder `output` by the files of the bundle `root`, nested bundles under `.imgpkg/bundles`.

    Each images.yml whose images are all in its bundle's repository is rewritten to point there. Errors and
    results name the folder `shown`.
    """
    with replacing(output, shown) as folder:
        walk = _Walk(session, folder, shown, recursive, on_event)
        result = walk.bundle(root, ".", 0)
    on_event(Message("\nLocating image lock file images...\n"))
    updated = result.images_lock is not None and result.images_lock.is_updated
    on_event(Message(_HOSTED.format(asked.repository) if updated else _NOT_HOSTED))
    return PullResult(
        result.reference,
        is_bundle=True,
        images_lock=result.images_lock,
        nested=result.nested,
        is_cacheable=asked.digest is not None and updated,
    )


_HOSTED = (
    "The bundle repo ({}) is hosting every image specified in the bundle's Images Lock file "
    "(.imgpkg/images.yml)\n"
)
_NOT_HOSTED = "One or more images not found in bundle repo; skipping lock file update\n"


@dataclass
class _Walk:
    """One recursive pull: the folder being filled, and what has been met on the way."""

    session: Session
    folder: str
    output: str
    recursive: bool
    on_event: Hook
    met: dict[Reference, PullResult | None] = field(default_factory=dict)
    hosted: set[Reference] = field(default_factory=set)
    announced: bool = False
    # How many bundles the result of each tells of, and how many all do.
    sizes: dict[Reference, int] = field(default_factory=dict)
    told: int = 0

    @property
    def client(self) -> RegistryClient:
        return self.session.client

    def bundle(self, image: Image, where: str, depth: int) -> PullResult:
        """Pull one bundle into `where`, relative to the root folder, then the bundles it names."""
        check_depth(image.reference, depth)
        indent = "  " * depth
        kind = "nested bundle" if depth else "bundle"
        self.on_event(Message(f"{indent}Pulling {kind} '{image.reference}'\n"))
        folder = os.path.join(self.folder, where) if depth else self.folder
        if depth:
            # The outer bundle may have brought a folder of this name along.
            if os.path.lexists(folder):
                remove_tree(folder)
            os.makedirs(folder)
        with doing("Extracting bundle into directory"):
            extract(self.client, image, folder, self.on_event, f"{indent}  ")
        path = os.path.join(folder, IMAGES_LOCK)
        shown = os.path.normpath(os.path.join(self.output, where, IMAGES_LOCK))
        lock = ImagesLock.from_path(path, shown=shown)
        locations = fetch_locations(self.client, image)
        hosted = locations is not None or self._hosts_all(image.reference, lock)
        nested = self._nested(image, lock, locations, hosted, depth) if self.recursive else ()
        self.sizes[image.reference] = sum(1 + self.sizes[inner.reference] for inner in nested)
        if hosted:
            lock.relocated(image.reference.repository).write(path)
        return PullResult(image.reference, True, ImagesLockStatus(shown, hosted), nested)

    def _hosts_all(self, bundle: Reference, lock: ImagesLock) -> bool:
        return all(self._hosts(bundle, image) for image in lock.images)

    def _hosts(self, bundle: Reference, image: LockedImage) -> bool:
        here = bundle.repository.digest(image.digest)
        if here not in self.hosted and self.client.names(here, image.digest):
            self.hosted.add(here)
        return here in self.hosted

    def _nested(
        self,
        bundle: Image,
        lock: ImagesLock,
        locations: FoundLocations | None,
        hosted: bool,
        depth: int,
    ) -> tuple[PullResult, ...]:
        """Pull the bundles that `lock` names, each once, in the order of the file."""
        pulled = []
        for locked, image in self._candidates(bundle, lock, locations, hosted):
            if image is None or not image.is_bundle:
                done = self.met.setdefault(locked.reference, None)
                if done is not None:
                    self._say_again(locked, depth)
                    pulled.append(self._told_again(done))
                continue
            self._announce()
            where = os.path.join(NESTED, f"{locked.digest.algorithm}-{locked.digest.hex}")
            self.told += 1
            result = self.bundle(image, where, depth + 1)
            self.met[locked.reference] = result
            pulled.append(result)
        return tuple(pulled)

    def _candidates(
        self, bundle: Image, lock: ImagesLock, locations: FoundLocations | None, hosted: bool
    ) -> Iterator[tuple[LockedImage, Image | None]]:
        """Pair each locked image with what was found for it; None when it is known or no bundle."""
        plain = locations.record.plain_images() if locations is not None else frozenset()

        def fetch(locked: LockedImage) -> Image | None:
            if locked.reference in self.met or str(locked.reference) in plain:
                return None
            with doing("Checking if image is bundle"):
                return self._fetch(bundle.reference.repository.digest(locked.digest), locked, hosted)

        with working(self.session, self.session.settings.concurrency) as workers:
            found = list(workers.map(fetch, lock.images))
        for locked, image in zip(lock.images, found, strict=True):
            yield locked, None if locked.reference in self.met else image

    def _fetch(self, here: Reference, locked: LockedImage, hosted: bool) -> Image:
        if not hosted:
            return fetch_image(self.client, locked.reference)
        try:
            return fetch_image(self.client, here)
        except NotFound:
            # The locations record may be older than a deletion: the original place is still worth asking.
            if here == locked.reference:
                raise
            return fetch_image(self.client, locked.reference)

    def _announce(self) -> None:
        if not self.announced:
            self.announced = True
            self.on_event(Message("\nNested bundles\n"))

    def _told_again(self, done: PullResult) -> PullResult:
        """Return the result of a bundle that was pulled before; what is in it is told again up to a limit."""
        size = 1 + self.sizes[done.reference]
        if self.told + size > _MOST_TOLD:
            return replace(done, nested=())
        self.told += size
        return done

    def _say_again(self, locked: LockedImage, depth: int) -> None:
        indent = "  " * (depth + 1)
        self.on_event(Message(f"{indent}Pulling nested bundle '{locked.reference}'\n"))
        self.on_event(Message(f"{indent}Skipped, already downloaded\n"))
