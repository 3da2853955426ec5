"""Describe a bundle: the images and bundles it names, where they are, and their signatures and referrers."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.graph import FIRST_REQUESTS, Bundle, FetchedRoot, fetch_root, walk
from imgpkg.bundle.image import signature_tag
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import Forbidden, ImgpkgError, NotABundle, doing
from imgpkg.events import Hook, silent
from imgpkg.oci.descriptor import EMPTY, Digest
from imgpkg.oci.reference import parse_any, without_login
from imgpkg.operations.description import Description, ImageInfo, ImageType
from imgpkg.operations.disclosure import Disclosure
from imgpkg.operations.workers import METADATA_JOBS, open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgpkg.bundle.graph import Member
    from imgpkg.bundle.image import Image, Workers
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.attachment_tree import AttachmentTree
    from imgpkg.operations.attachments import FoundAttachment
    from imgpkg.operations.image_store import ImageReader
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient

# A bundle may be inside many others: listed in each of them, descriptions could grow exponentially.
_MOST_ENTRIES = 10_000
_NOT_IN_FILE = "not in the file that the bundle is read from"
_LEFT_OUT = "left out when the bundle was copied"


@operation
def describe(
    bundle: str = "",
    *,
    session: Session,
    layers: bool = True,
    cosign_artifacts: bool = True,
    referrers: bool = False,
    attachments: bool = False,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Description:
    """Return a description of `bundle` and its nested bundles, to any depth.

    With `tar` or `layout` the bundle is read from that tar file or layout folder without any request;
    `bundle` may then be a tag, a digest, or empty. An image that is not there is described with an error.

    `layers` includes the layers of each image, `cosign_artifacts` the cosign signatures, `referrers` the
    manifests whose `subject` is one of the images (distribution-spec, "Listing Referrers"). `attachments`
    includes both, and cosign's attestations and SBOMs, also of images of an index and of what is attached.
    Only manifests, configurations and the layers of bundles are fetched; `on_event` receives how many.

    Raises InvalidReference, NotABundle, InvalidLock, TransportError or RegistryError, and for files
    UsageError, ArchiveError or LocalIOError.
    """
    aspects = Aspects(bundle, layers, cosign_artifacts, referrers, attachments)
    with described(aspects, session=session, tar=tar, layout=layout, on_event=on_event) as found:
        return found.description


_NO_BUNDLE = (
    "It is an image alone: imgpkg copy -i IMAGE --to-repo REPOSITORY --dry-run lists its blobs and sizes."
)


@dataclass(frozen=True, slots=True)
class Aspects:
    """What to describe of each image of the bundle `named`; see `describe`."""

    named: str
    layers: bool
    cosign_artifacts: bool
    referrers: bool
    attachments: bool


@dataclass(frozen=True, slots=True)
class Described:
    """A description, the manifests that were read for it, and from where further ones can be read."""

    description: Description
    manifests: Mapping[Reference, Manifest]
    images: ImageReader
    workers: Workers


@contextmanager
def described(
    aspects: Aspects,
    *,
    session: Session,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: Hook = silent,
) -> Iterator[Described]:
    """Describe a bundle, and keep what it is read from open; see `describe`, whose errors are raised."""
    jobs = max(session.settings.concurrency, METADATA_JOBS)
    with open_workers(session, jobs, on_event, activity="reading") as workers:
        if tar or layout:
            from imgpkg.operations.image_store import open_images

            with open_images(tar=tar, layout=layout) as store:
                root = FetchedRoot(store.find(aspects.named))
                walked = partial(walk, has=store.has, elsewhere=store.cuts)
                found = _describe(root, aspects, store, walked, workers)
                yield replace(found, description=replace(found.description, bases=store.bases))
            return
        # The text of the Go version, which scripts compare.
        with doing(f"Unable to check if {without_login(aspects.named)} is a bundle"):
            root = _root(session, aspects.named, workers)
        disclosure = _disclosure(session, aspects.named, root.image)
        walked = partial(walk, approach=disclosure.approach, may_lack=True)
        yield _describe(root, aspects, session.client, walked, workers, registry=session.client)


def _describe(
    root: FetchedRoot,
    aspects: Aspects,
    images: ImageReader,
    walked: Callable[[ImageReader, FetchedRoot, WorkerPool], Bundle],
    workers: WorkerPool,
    *,
    registry: RegistryClient | None = None,
) -> Described:
    if not root.image.is_bundle:
        name = aspects.named or root.image.reference
        raise NotABundle(f"Only bundles can be described, and {name} is not a bundle", hints=(_NO_BUNDLE,))
    with doing("Retrieving Images from bundle"):
        graph = walked(images, root, workers)
    facts = _Facts(images, workers, _LEFT_OUT if registry is not None else _NOT_IN_FILE)
    # Nested bundles often name the same images: each is asked for once.
    places = list(dict.fromkeys(_places(graph)))
    if aspects.attachments:
        facts.find_attachments(graph, registry)
    elif aspects.cosign_artifacts:
        facts.find_signatures(places)
    if aspects.referrers and not aspects.attachments:
        facts.find_referrers(places)
    if aspects.layers:
        facts.find_layers(graph)
    description = _Describing(facts).bundle(graph, str(graph.image.reference), EMPTY)
    return Described(description, {**facts.attachments, **facts.manifests}, images, workers)


@operation
def read_bundle(
    bundle: str = "",
    *,
    session: Session,
    tar: StrPath = "",
    layout: StrPath = "",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Bundle:
    """Return the images lock, the record of locations and the members of `bundle`, to any depth.

    Only manifests, configurations and the layers of bundles are fetched. `tar`, `layout` and the errors are
    those of `describe`.
    """
    with open_workers(session, session.settings.concurrency) as workers:
        if tar or layout:
            from imgpkg.operations.image_store import open_images

            with open_images(tar=tar, layout=layout) as store:
                top = FetchedRoot(store.find(bundle))
                return walk(store, top, workers, has=store.has, elsewhere=store.cuts)
        root = _root(session, bundle, workers)
        disclosure = _disclosure(session, bundle, root.image)
        return walk(session.client, root, workers, approach=disclosure.approach)


def _root(session: Session, bundle: str, workers: WorkerPool) -> FetchedRoot:
    asked = parse_any(bundle)
    session.expect(asked.repository.registry, FIRST_REQUESTS)
    return fetch_root(session.client, asked, workers)


def _disclosure(session: Session, bundle: str, root: Image) -> Disclosure:
    disclosure = Disclosure(session, without_login(bundle))
    disclosure.name(root.reference.repository.registry)
    return disclosure


def _places(graph: Bundle) -> Iterable[Reference]:
    for bundle in graph.bundles():
        yield bundle.image.reference
        for member in bundle.members:
            if member.is_there:
                yield member.reference


@dataclass
class _Facts:
    """The signature, the referrers and the layers of each reference."""

    client: ImageReader
    workers: Workers
    absence: str
    signatures: dict[Reference, ImageInfo | None] = field(default_factory=dict)
    attached: dict[Reference, tuple[Descriptor, ...]] = field(default_factory=dict)
    layers: dict[Reference, tuple[Digest, ...]] = field(default_factory=dict)
    tree: AttachmentTree | None = None
    manifests: dict[Reference, Manifest] = field(default_factory=dict)
    attachments: dict[Reference, Manifest] = field(default_factory=dict)

    def find_attachments(self, graph: Bundle, registry: RegistryClient | None) -> None:
        from imgpkg.operations.attachment_tree import AttachmentTree
        from imgpkg.operations.attachments import AttachmentSearch

        self._read(_known_manifests(graph))
        search = AttachmentSearch(self.client, self.workers, registry)
        self.tree = AttachmentTree(self.manifests, self.client, search, self.workers)
        self.attachments.update(self.tree.manifests())

    def find_signatures(self, places: list[Reference]) -> None:
        found = self.workers.map(self._signature, places)
        self.signatures.update(zip(places, found, strict=True))

    def find_referrers(self, places: list[Reference]) -> None:
        found = self.workers.map(
            lambda place: self.client.referrers(place.repository, _digest(place)), places
        )
        self.attached.update(zip(places, found, strict=True))

    def find_layers(self, graph: Bundle) -> None:
        """Find the layers of all images and signatures; fetch the manifests that were not needed before."""
        # The walk has fetched most of the manifests before.
        known = _known_manifests(graph)
        for info in self.signatures.values():
            if info is not None and not info.error:
                known.setdefault(parse_any(info.image), None)
        self._read(known)
        read = self.workers.map(self._layers, self.manifests.items())
        self.layers.update(zip(self.manifests, read, strict=True))

    def _read(self, known: Mapping[Reference, Manifest | None]) -> None:
        """Fetch the manifests that are not known."""
        self.manifests.update((place, found) for place, found in known.items() if found is not None)
        unknown = [reference for reference in known if reference not in self.manifests]
        self.manifests.update(zip(unknown, self.workers.map(self._manifest, unknown), strict=True))

    def _layers(self, found: tuple[Reference, Manifest]) -> tuple[Digest, ...]:
        """Return the layers of an image, or of the linux/amd64 image of an index, as the Go version does."""
        reference, manifest = found
        if manifest.is_index:
            # An index has no layers of its own, and the Go version resolves this platform on every machine.
            child = next((c for c in manifest.children if f"{c.platform}/".startswith("linux/amd64/")), None)
            if child is None:
                return ()
            manifest = self._manifest(reference.repository.digest(child.digest))
        return tuple(layer.digest for layer in manifest.layers)

    def _manifest(self, reference: Reference) -> Manifest:
        try:
            with doing("Error"):
                return self.client.manifest(reference)
        except ImgpkgError as error:
            error.message = f"{error.message} in getting remote access of image {reference}"
            raise

    def _signature(self, place: Reference) -> ImageInfo | None:
        tag = place.repository.tag(signature_tag(_digest(place)))
        try:
            with doing(f"Fetching signature for image '{place}'"):
                found = self.client.exists(tag)
        except Forbidden:
            # A registry may refuse the tag of a signature and still serve the image: the description goes on.
            return ImageInfo(str(tag), "", ImageType.SIGNATURE, error="access denied")
        if found is None:
            return None
        image = str(place.repository.digest(found.digest))
        annotations = {"tag": str(tag.tag)}
        return ImageInfo(str(found.digest), image, ImageType.SIGNATURE, image, annotations)


def _known_manifests(graph: Bundle) -> dict[Reference, Manifest | None]:
    known: dict[Reference, Manifest | None] = {}
    for bundle in graph.bundles():
        known[bundle.image.reference] = bundle.image.manifest
        for member in bundle.members:
            if member.is_there:
                known[member.reference] = None if member.image is None else member.image.manifest
        if bundle.locations is not None:
            known[bundle.locations.reference] = bundle.locations.manifest
    return known


def _digest(reference: Reference) -> Digest:
    assert reference.digest is not None  # noqa: S101 - places are digest references
    return reference.digest


class _Describing:
    """Builds a description; each bundle is described once, and the result shared by all that contain it."""

    def __init__(self, facts: _Facts) -> None:
        self._facts = facts
        self._done: dict[Reference, Description] = {}
        # The number of entries below each bundle, with all repetitions.
        self._sizes: dict[Reference, int] = {}
        self._count = 0

    def bundle(self, bundle: Bundle, origin: str, annotations: Mapping[str, str]) -> Description:
        reference = bundle.image.reference
        if reference in self._done:
            found = replace(self._done[reference], origin=origin, annotations=annotations)
            if self._count + self._sizes[reference] > _MOST_ENTRIES:
                return replace(found, bundles=(), images=(), is_repeated=True)
            # Below the limit now, so nothing was left out when it was described first.
            self._count += self._sizes[reference]
            return found
        inner = self._inner(bundle)
        images = sorted(self._images(bundle), key=lambda info: info.key)
        self._count += len(images)
        layers = self._facts.layers.get(reference, ())
        found = Description(
            _digest(reference), str(reference), origin, annotations, layers, inner, tuple(images)
        )
        self._done[reference] = found
        below = (member.bundle.image.reference for member in bundle.members if member.bundle is not None)
        self._sizes[reference] = len(images) + sum(1 + self._sizes[place] for place in below)
        return found

    def _inner(self, bundle: Bundle) -> tuple[Description, ...]:
        """Describe the nested bundles in ascending order of their digests."""
        found = []
        for member in sorted(bundle.members, key=lambda member: str(member.locked.digest)):
            if member.bundle is not None:
                self._count += 1
                lock = member.locked
                found.append(self.bundle(member.bundle, str(lock.reference), lock.annotations))
        return tuple(found)

    def _images(self, bundle: Bundle) -> Iterator[ImageInfo]:
        for member in bundle.members:
            if member.bundle is None:
                yield _image(member, self._facts)
        places = [bundle.image.reference, *(member.reference for member in bundle.members)]
        yield from _artifacts(bundle, places, self._facts)


def _image(member: Member, facts: _Facts) -> ImageInfo:
    return ImageInfo(
        str(_digest(member.reference)),
        str(member.reference),
        ImageType.IMAGE,
        str(member.locked.reference),
        member.locked.annotations,
        facts.layers.get(member.reference, ()),
        error="" if member.is_there else facts.absence,
        cut_from=str(member.cut.whole.digest) if member.cut is not None else "",
        platforms=tuple(map(str, member.cut.platforms)) if member.cut is not None else (),
    )


def _artifacts(bundle: Bundle, places: list[Reference], facts: _Facts) -> Iterable[ImageInfo]:
    """Yield what the images lock does not name: signatures, referrers, and the record of locations."""
    for place in places:
        info = facts.signatures.get(place)
        if info is not None:
            signature = parse_any(info.image) if info.image else place
            yield replace(info, layers=() if info.error else facts.layers.get(signature, ()))
        for descriptor in facts.attached.get(place, ()):
            image = str(place.repository.digest(descriptor.digest))
            kind = {"artifactType": descriptor.artifact_type, "subject": str(_digest(place))}
            yield ImageInfo(str(descriptor.digest), image, ImageType.REFERRER, image, kind)
        for found in () if facts.tree is None else facts.tree.below(place):
            yield _attachment(found, with_layers=bool(facts.layers))
    if bundle.locations is not None:
        record = bundle.locations.reference
        layers = facts.layers.get(record, ())
        yield ImageInfo(str(_digest(record)), str(record), ImageType.INTERNAL, str(record), layers=layers)


def _attachment(found: FoundAttachment, *, with_layers: bool) -> ImageInfo:
    kind = ImageType[found.kind.name]
    if found.manifest is None:
        # The digest is unknown where access to a tag was denied.
        return ImageInfo(str(found.reference), "", kind, error=found.problem)
    image = str(found.reference)
    referring = {"artifactType": found.artifact_type, "subject": str(_digest(found.image))}
    layers = tuple(layer.digest for layer in found.manifest.layers) if with_layers else ()
    notes = {"tag": found.tag} if found.tag else referring
    return ImageInfo(str(found.manifest.digest), image, kind, image, notes, layers)
