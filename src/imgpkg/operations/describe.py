"""Describe a bundle: what it names, where each image is, what signs it; or read it as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.bundle.graph import Bundle, walk
from imgpkg.bundle.image import fetch_image, signature_tag
from imgpkg.errors import Forbidden, ImgpkgError, NotABundle, doing
from imgpkg.oci.descriptor import EMPTY, Digest
from imgpkg.oci.reference import parse_any, without_login
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from imgpkg.bundle.graph import Member
    from imgpkg.bundle.image import Workers
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference
    from imgpkg.registry.client import RegistryClient

# Reading metadata is all round trips: more of them at once than blobs.
_METADATA_JOBS = 10
# What is listed more than once is listed so often at most.
_MOST_ENTRIES = 10_000


class ImageType(Enum):
    """What an image is to the bundle that lists it."""

    IMAGE = "Image"
    SIGNATURE = "Signature"
    INTERNAL = "Internal"
    REFERRER = "Referrer"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image of a bundle: `image` is where it was found, `origin` what the lock says.

    `key` is its digest. For a signature that the registry refused to show it is the tag asked for, `image` is
    empty, and `error` is set.
    """

    key: str
    image: str
    image_type: ImageType
    origin: str = ""
    annotations: Mapping[str, str] = EMPTY
    layers: tuple[Digest, ...] = ()
    error: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))


@dataclass(frozen=True, slots=True)
class Description:
    """A bundle and its content, each entry once, in ascending order of digest.

    A bundle that is inside several others is described in each of them, up to ten thousand entries in all;
    beyond that `is_repeated` tells of a bundle that it is described elsewhere, and its content is left out.
    """

    digest: Digest
    image: str
    origin: str
    annotations: Mapping[str, str] = EMPTY
    layers: tuple[Digest, ...] = ()
    bundles: tuple[Description, ...] = ()
    images: tuple[ImageInfo, ...] = ()
    is_repeated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))


def describe(
    bundle: str,
    *,
    session: Session,
    layers: bool = True,
    cosign_artifacts: bool = True,
    referrers: bool = False,
) -> Description:
    """Describe `bundle` and the bundles inside it, to any depth.

    `layers` lists the layers of each image; `cosign_artifacts` looks for signatures; `referrers` asks for
    whatever is attached to each image. Raises NotABundle, InvalidReference, InvalidLock, or an error of the
    registry.
    """
    with doing(f"Unable to check if {without_login(bundle)} is a bundle"):
        root = fetch_image(session.client, parse_any(bundle))
    if not root.is_bundle:
        raise NotABundle(f"Only bundles can be described, and {bundle} is not a bundle")
    jobs = max(session.settings.concurrency, _METADATA_JOBS)
    with open_workers(session, jobs) as workers:
        with doing("Retrieving Images from bundle"):
            graph = walk(session.client, root, workers)
        facts = _Facts(session.client, workers)
        places = list(dict.fromkeys(_places(graph)))
        if cosign_artifacts:
            facts.find_signatures(places)
        if referrers:
            facts.find_referrers(places)
        if layers:
            facts.find_layers(graph)
    return _Describing(facts).bundle(graph, str(graph.image.reference), EMPTY)


def read_bundle(bundle: str, *, session: Session) -> Bundle:
    """Read the images lock, the locations record and the members of `bundle`, to any depth; pull no content.

    Raises NotABundle, InvalidReference, InvalidLock, or an error of the registry.
    """
    root = fetch_image(session.client, parse_any(bundle))
    with open_workers(session, session.settings.concurrency) as workers:
        return walk(session.client, root, workers)


def _places(graph: Bundle) -> Iterable[Reference]:
    for bundle in graph.bundles():
        yield bundle.image.reference
        for member in bundle.members:
            yield member.reference


@dataclass
class _Facts:
    """What was found out about each reference besides its manifest."""

    client: RegistryClient
    workers: Workers
    signatures: dict[Reference, ImageInfo | None] = field(default_factory=dict)
    attached: dict[Reference, tuple[Descriptor, ...]] = field(default_factory=dict)
    layers: dict[Reference, tuple[Digest, ...]] = field(default_factory=dict)

    def find_signatures(self, places: list[Reference]) -> None:
        found = self.workers.map(self._signature, places)
        self.signatures.update(zip(places, found, strict=True))

    def find_referrers(self, places: list[Reference]) -> None:
        found = self.workers.map(
            lambda place: self.client.referrers(place.repository, _digest(place)), places
        )
        self.attached.update(zip(places, found, strict=True))

    def find_layers(self, graph: Bundle) -> None:
        """Take the layers from manifests at hand; fetch the manifests that were not needed before."""
        known = _known_manifests(graph)
        for info in self.signatures.values():
            if info is not None and not info.error:
                known.setdefault(parse_any(info.image), None)
        unknown = [reference for reference, manifest in known.items() if manifest is None]
        known.update(zip(unknown, self.workers.map(self._manifest, unknown), strict=True))
        read = self.workers.map(self._layers, known.items())
        self.layers.update(zip(known, read, strict=True))

    def _layers(self, found: tuple[Reference, Manifest | None]) -> tuple[Digest, ...]:
        """List the layers of an image, or of the image for linux/amd64 that an index lists."""
        reference, manifest = found
        if manifest is not None and manifest.is_index:
            child = next((c for c in manifest.children if f"{c.platform}/".startswith("linux/amd64/")), None)
            if child is None:
                return ()
            manifest = self._manifest(reference.repository.digest(child.digest))
        return () if manifest is None else tuple(layer.digest for layer in manifest.layers)

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
            known[member.reference] = None if member.image is None else member.image.manifest
        if bundle.locations is not None:
            known[bundle.locations.reference] = bundle.locations.manifest
    return known


def _digest(reference: Reference) -> Digest:
    assert reference.digest is not None  # noqa: S101 - places are digest references
    return reference.digest


class _Describing:
    """One description in the making: what each bundle holds is worked out once, and shared."""

    def __init__(self, facts: _Facts) -> None:
        self._facts = facts
        self._done: dict[Reference, Description] = {}
        # How many entries there are below a bundle when every one is listed wherever it is met.
        self._sizes: dict[Reference, int] = {}
        self._count = 0

    def bundle(self, bundle: Bundle, origin: str, annotations: Mapping[str, str]) -> Description:
        reference = bundle.image.reference
        if reference in self._done:
            found = replace(self._done[reference], origin=origin, annotations=annotations)
            if self._count + self._sizes[reference] > _MOST_ENTRIES:
                return replace(found, bundles=(), images=(), is_repeated=True)
            # What fits now has fitted when it was worked out: it is whole.
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
        """Describe the bundles that `bundle` names in the order in which they are listed."""
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
    )


def _artifacts(bundle: Bundle, places: list[Reference], facts: _Facts) -> Iterable[ImageInfo]:
    """Yield what belongs to the bundle without being named by it: signatures, referrers, the locations."""
    for place in places:
        info = facts.signatures.get(place)
        if info is not None:
            signature = parse_any(info.image) if info.image else place
            yield replace(info, layers=() if info.error else facts.layers.get(signature, ()))
        for descriptor in facts.attached.get(place, ()):
            image = str(place.repository.digest(descriptor.digest))
            kind = {"artifactType": descriptor.artifact_type, "subject": str(_digest(place))}
            yield ImageInfo(str(descriptor.digest), image, ImageType.REFERRER, image, kind)
    if bundle.locations is not None:
        found = bundle.locations.reference
        layers = facts.layers.get(found, ())
        yield ImageInfo(str(_digest(found)), str(found), ImageType.INTERNAL, str(found), layers=layers)
