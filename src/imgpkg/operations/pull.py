"""Pull an image or a bundle, with its nested bundles if asked, into a folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.image import Image, fetch_image, refuse_all_but_images, refuse_schema_1, with_config
from imgpkg.content.output import output_folder, remove_tree, replacing
from imgpkg.content.unpack import unpack_layers
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import NotABundle, NotFound, UsageError, doing
from imgpkg.events import (
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    CountingReader,
    Hook,
    Message,
    Planned,
    silent,
)
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.bundle.layer import FoundLocations
    from imgpkg.bundle.lock import ImagesLock, LockedImage
    from imgpkg.oci.descriptor import Descriptor, Readable
    from imgpkg.operations.disclosure import Disclosure
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient

_IMAGES_LOCK = os.path.join(".imgpkg", "images.yml")
_NESTED = os.path.join(".imgpkg", "bundles")
# The configuration of a bundle, or its layer, and its record.
_AT_ONCE = 2
# A bundle may be named by many others: with the content of each repeated, results could grow exponentially.
_MOST_RESULTS = 10_000
_HOSTED = (
    "The bundle repo ({}) is hosting every image specified in the bundle's Images Lock file "
    "(.imgpkg/images.yml)\n"
)
_NO_BUNDLE = "Expected bundle image but found plain image (hint: Did you use -i instead of -b?)"
_NOT_HOSTED = "One or more images not found in bundle repo; skipping lock file update\n"


@dataclass(frozen=True, slots=True)
class ImagesLockStatus:
    """The path of a pulled bundle's images.yml, and whether it now refers to the bundle's repository."""

    path: str
    is_updated: bool


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


def pull(
    output: StrPath,
    *,
    session: Session,
    image: str = "",
    bundle: str = "",
    lock: StrPath = "",
    recursive: bool = False,
    image_is_bundle_check: bool = True,
    policy: imgpkg.Policy | None = None,
    on_event: Hook = silent,
) -> PullResult:
    """Replace the folder `output` by the content of `image`, `bundle`, or the bundle in the file `lock`.

    Exactly one of the three is given. The folder is replaced at once after everything has been verified; a
    failed pull leaves the old one unchanged. `recursive` pulls nested bundles too, into `.imgpkg/bundles`.
    `image_is_bundle_check=False` accepts a bundle as `image`. If the repository of a bundle has all of its
    images, the references in its images.yml are rewritten to that repository. `policy` says which signatures
    are required of the image or bundle; a signed bundle covers what it names.

    Raises UsageError, InvalidReference, InvalidLock, IsABundle, NotABundle, UnpackError, VerificationError,
    Untrusted, LocalIOError, TransportError or RegistryError.
    """
    # Checked first: an output that cannot be written should not cost a download.
    shown = os.fspath(output)
    folder = output_folder(shown)
    _check_source(image, bundle, lock)
    if recursive and image:
        raise UsageError("Cannot use --recursive (-r) flag when pulling a bundle")
    if not image_is_bundle_check and bundle:
        raise UsageError("Cannot set --image-is-bundle-check while using -b flag")
    reference = _from_lock(lock) if lock else parse_any(image or bundle)
    # Without the check a bundle is unpacked like any image, and its images.yml stays as it is.
    if image or not image_is_bundle_check:
        found = fetch_image(session.client, reference)
        refuse_all_but_images(found, refuse_bundles=image_is_bundle_check)
        _verify(policy, found, reference, session)
        on_event(Message(f"Pulling image '{found.reference}'\n"))
        with doing("Extracting image into directory"), replacing(folder, shown) as fresh:
            _extract(session.client, found, fresh, on_event)
        # A tag may name another image the next time.
        return PullResult(found.reference, found.is_bundle, is_cacheable=reference.digest is not None)
    return _pull_bundle(
        session, reference, folder, shown=shown, recursive=recursive, on_event=on_event, policy=policy
    )


def _verify(policy: imgpkg.Policy | None, found: Image, named: Reference, session: Session) -> None:
    if policy is not None:
        from imgpkg.operations.verification import verify_reference

        verify_reference(found.reference, policy, session.client, named=named.repository)


def _check_source(image: str, bundle: str, lock: StrPath) -> None:
    given = sum(1 for source in (image, bundle, lock) if source)
    # The texts are those of the Go version.
    if given > 1:
        raise UsageError("Expected only one of image, bundle, or lock")
    if not given:
        raise UsageError("Expected either image or bundle reference")


def _from_lock(path: StrPath) -> Reference:
    from imgpkg.bundle.lock import BundleLock

    return BundleLock.from_path(path).reference


def _extract(client: RegistryClient, image: Image, directory: str, on_event: Hook, indent: str = "") -> None:
    """Unpack the layers of `image`, base to top, into the empty folder `directory`.

    Raises UnpackError, VerificationError, LocalIOError or an error of the registry. The caller then removes
    the folder, whatever it contains.
    """
    layers = image.manifest.layers
    # Before the first byte, so that a progress bar has its total.
    on_event(Planned(len(layers), sum(layer.size for layer in layers)))
    unpack_layers(_opened(client, image, on_event, indent), directory)


def _opened(
    client: RegistryClient, image: Image, on_event: Hook, indent: str
) -> Iterator[tuple[Descriptor, Readable]]:
    layers = image.manifest.layers
    for number, layer in enumerate(layers, 1):
        on_event(Message(f"{indent}Extracting layer '{layer.digest}' ({number}/{len(layers)})\n"))
        on_event(BlobStarted(layer.digest, layer.size, "pull"))
        # Opened only when the layer below it is unpacked: an idle download would time out.
        with client.blob(image.reference.repository, layer) as stream:
            yield layer, CountingReader(stream, layer, on_event)
        on_event(BlobFinished(layer.digest, BlobOutcome.MOVED))


def _pull_bundle(
    session: Session,
    asked: Reference,
    output: str,
    *,
    shown: str,
    recursive: bool,
    on_event: Hook,
    policy: imgpkg.Policy | None,
) -> PullResult:
    """Replace the folder `output` by the content of a bundle; errors and results name it `shown`."""
    with open_workers(session, session.settings.concurrency) as workers:
        root, locations = _fetch_root(session, asked, workers)
        refuse_schema_1(root, NotABundle)
        if not root.is_bundle:
            raise NotABundle(_NO_BUNDLE)
        _verify(policy, root, asked, session)
        disclosure = _disclosure(session, root) if recursive else None
        with replacing(output, shown) as folder:
            pulled = _BundlePull(session, workers, folder, shown, recursive, on_event, disclosure, policy)
            result = pulled.bundle(root, ".", 0, locations)
    return _pulled(asked, result, on_event)


def _fetch_root(
    session: Session, reference: Reference, workers: WorkerPool
) -> tuple[Image, Callable[[], FoundLocations | None]]:
    """Fetch a bundle, and begin to fetch its record of locations, whose tag follows from the digest."""
    session.expect(reference.repository.registry, _AT_ONCE)
    client = session.client
    with doing("Fetching image"):
        repository, manifest = reference.repository, client.manifest(reference)
        locations = _begin(client, Image(repository.digest(manifest.digest), manifest), workers)
        return with_config(client, repository, manifest), locations


def _begin(client: RegistryClient, bundle: Image, workers: WorkerPool) -> Callable[[], FoundLocations | None]:
    from imgpkg.bundle.layer import fetch_locations

    return workers.start(lambda: fetch_locations(client, bundle))


def _pulled(asked: Reference, result: PullResult, on_event: Hook) -> PullResult:
    """Report whether the images are beside the bundle; return `result` for what the user asked for."""
    on_event(Message("\nLocating image lock file images...\n"))
    updated = result.images_lock is not None and result.images_lock.is_updated
    on_event(Message(_HOSTED.format(asked.repository) if updated else _NOT_HOSTED))
    # A later pull rewrites images.yml if the missing images have been copied to the repository by then.
    return replace(result, is_cacheable=asked.digest is not None and updated)


def _disclosure(session: Session, root: Image) -> Disclosure:
    from imgpkg.operations.disclosure import Disclosure

    disclosure = Disclosure(session, str(root.reference))
    disclosure.name(root.reference.repository.registry)
    return disclosure


@dataclass
class _BundlePull:
    """A pull of a bundle: the new folder, and the bundles and images found so far.

    `met` has every reference of an images.yml that was looked at, with its result if it is a bundle. `hosted`
    are the images known to be in the repository of their bundle, which nested bundles share.
    """

    session: Session
    workers: WorkerPool
    folder: str
    output: str
    recursive: bool
    on_event: Hook
    # None for a pull that requests nothing outside of the bundle's repository.
    disclosure: Disclosure | None = None
    policy: imgpkg.Policy | None = None
    met: dict[Reference, PullResult | None] = field(default_factory=dict)
    hosted: set[Reference] = field(default_factory=set)
    announced: bool = False
    # The number of results below each bundle, and in total.
    sizes: dict[Reference, int] = field(default_factory=dict)
    results: int = 0

    @property
    def client(self) -> RegistryClient:
        return self.session.client

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
        find_locations = begun or _begin(self.client, image, self.workers)
        with doing("Extracting bundle into directory"):
            _extract(self.client, image, folder, self.on_event, f"{indent}  ")
        path = os.path.join(folder, _IMAGES_LOCK)
        # The path that the user knows, not that of the temporary folder.
        shown = os.path.normpath(os.path.join(self.output, where, _IMAGES_LOCK))
        lock = ImagesLock.from_path(path, shown=shown)
        locations = find_locations()
        # A copy pushes the record of locations after all images: with it, no image has to be looked up.
        hosted = locations is not None or self._hosts_all(image.reference, lock)
        nested = self._nested(image, lock, locations, hosted, depth) if self.recursive else ()
        self.sizes[image.reference] = sum(1 + self.sizes[inner.reference] for inner in nested)
        # After the nested bundles, which are known by the references of the original lock.
        if hosted:
            lock.relocated(image.reference.repository).write(path)
        return PullResult(image.reference, True, ImagesLockStatus(shown, hosted), nested)

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
        locations: FoundLocations | None,
        hosted: bool,
        depth: int,
    ) -> tuple[PullResult, ...]:
        """Pull the bundles that `lock` names, each once, in the order of the file."""
        # One after the other, so that the log is the same in every run.
        pulled = []
        for locked, image in self._candidates(bundle, lock, locations, hosted):
            if image is None or not image.is_bundle:
                done = self.met.setdefault(locked.reference, None)
                if done is not None:
                    self._report_again(locked, depth)
                    pulled.append(self._repeated(done))
                continue
            self._announce()
            if self.policy is not None and self.policy.checks_members:
                _verify(self.policy, image, locked.reference, self.session)
            where = os.path.join(_NESTED, f"{locked.digest.algorithm}-{locked.digest.hex}")
            self.results += 1
            result = self.bundle(image, where, depth + 1)
            self.met[locked.reference] = result
            pulled.append(result)
        return tuple(pulled)

    def _candidates(
        self, bundle: Image, lock: ImagesLock, locations: FoundLocations | None, hosted: bool
    ) -> Iterator[tuple[LockedImage, Image | None]]:
        """Pair each locked image with its manifest; None if it was met before or is known to be no bundle."""
        plain = locations.record.plain_images() if locations is not None else frozenset()

        # Workers only fetch; the results are used in the order of the lock.
        def fetch(locked: LockedImage) -> Image | None:
            if locked.reference in self.met or str(locked.reference) in plain:
                return None
            with doing("Checking if image is bundle"):
                return self._fetch(bundle.reference.repository.digest(locked.digest), locked, hosted)

        # Only the manifest shows whether an image is a bundle: in parallel, a request per image.
        found = self.workers.map(fetch, lock.images)
        for locked, image in zip(lock.images, found, strict=True):
            # The lock may name an image twice, or one that a bundle before it has brought in the meantime.
            yield locked, None if locked.reference in self.met else image

    def _fetch(self, here: Reference, locked: LockedImage, hosted: bool) -> Image:
        if not hosted:
            return self._fetch_elsewhere(locked)
        try:
            return fetch_image(self.client, here)
        except NotFound:
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
