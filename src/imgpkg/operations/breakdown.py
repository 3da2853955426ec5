"""What a bundle is made of, with sizes: images and bundles, platforms and layers, and what is attached."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import NotFound, NotInFile
from imgpkg.events import Hook, silent
from imgpkg.oci.derived_tags import DerivedTag
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.attachments import check_chain
from imgpkg.operations.describe import Aspects, described
from imgpkg.operations.description import Description, ImageInfo, ImageType
from imgpkg.session import Session, operation
from imgpkg.values import FrozenDict, StrPath

if TYPE_CHECKING:
    from imgpkg.operations.describe import Described

_GONE = "it is listed, but does not exist"


class PartKind(Enum):
    """What a part of a bundle is; the value is the word for it.

    A PLATFORM is an image that an index lists, LOCATIONS the record that a copy writes. The other kinds
    below IMAGE are attached to an image, a bundle or to one another.
    """

    BUNDLE = "bundle"
    IMAGE = "image"
    PLATFORM = "platform"
    SIGNATURE = "signature"
    ATTESTATION = "attestation"
    SBOM = "SBOM"
    REFERRER = "referrer"
    LOCATIONS = "locations"


_KINDS = {
    ImageType.IMAGE: PartKind.IMAGE,
    ImageType.SIGNATURE: PartKind.SIGNATURE,
    ImageType.ATTESTATION: PartKind.ATTESTATION,
    ImageType.SBOM: PartKind.SBOM,
    ImageType.REFERRER: PartKind.REFERRER,
    ImageType.INTERNAL: PartKind.LOCATIONS,
}


@dataclass(frozen=True, slots=True)
class BundlePart:
    """A manifest of a bundle, and the parts below it: what it names, and what is attached to it.

    `reference` is where it is, `origin` the reference in the images lock. Where the manifest could not be
    read, `manifest` and `config` are None, `digest` too if only a tag is known, and `problem` says why. A
    bundle that is named several times is broken down once; elsewhere `is_repeated` is set, and nothing is
    below it. Bundles are in front of images, and both are sorted by their origin.
    """

    kind: PartKind
    reference: str
    origin: str = ""
    digest: Digest | None = None
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)
    platform: str = ""
    artifact_type: str = ""
    manifest: Descriptor | None = None
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    parts: tuple[BundlePart, ...] = ()
    problem: str = ""
    is_repeated: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))

    def blobs(self) -> tuple[Descriptor, ...]:
        """Return the manifest, the configuration and the layers of this part alone."""
        documents = (found for found in (self.manifest, self.config) if found is not None)
        return (*documents, *self.layers)

    def walk(self) -> Iterator[tuple[BundlePart, int]]:
        """Yield this part and all below it with their depths, each in front of what is below it."""
        stack = [(self, 0)]
        while stack:
            part, depth = stack.pop()
            yield part, depth
            stack.extend((below, depth + 1) for below in reversed(part.parts))


@operation
def break_down(
    bundle: str = "",
    *,
    session: Session,
    cosign_artifacts: bool = True,
    referrers: bool = False,
    attachments: bool = True,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> BundlePart:
    """Return what `bundle` is made of, with the sizes of all manifests and layers in bytes.

    The parameters and errors are those of `describe`. Besides what it fetches, the manifests that indexes
    list are fetched, and those of referrers. No layer of an image is.
    """
    aspects = Aspects(bundle, True, cosign_artifacts, referrers, attachments)
    with described(aspects, session=session, tar=tar, layout=layout, on_event=on_event) as found:
        return _Breakdown(found.description, _read(found)).part(found.description)


def _read(found: Described) -> Mapping[Reference, Manifest | None]:
    """Return the manifests of all that is described, and of what indexes list; None where there is none."""
    manifests: dict[Reference, Manifest | None] = dict(found.manifests)

    def read(reference: Reference) -> Manifest | None:
        try:
            return found.images.manifest(reference)
        # A list may name images that were never pushed, or that were left out of a file.
        except (NotFound, NotInFile):
            return None

    level, depth = list(dict.fromkeys(_references(found.description))), 0
    seen = set(level)
    while level:
        check_chain(level[0], depth)
        unknown = [reference for reference in level if reference not in manifests]
        manifests.update(zip(unknown, found.workers.map(read, unknown), strict=True))
        below = [child for reference in level for child in _children(reference, manifests[reference])]
        level = [child for child in dict.fromkeys(below) if child not in seen]
        seen.update(level)
        depth += 1
    return manifests


def _children(reference: Reference, manifest: Manifest | None) -> list[Reference]:
    children = () if manifest is None else manifest.children
    return [reference.repository.digest(child.digest) for child in children]


def _references(description: Description) -> Iterator[Reference]:
    for bundle in _bundles(description):
        yield parse_any(bundle.image)
        yield from (parse_any(info.image) for info in bundle.images if info.image and not info.error)


def _bundles(description: Description) -> Iterator[Description]:
    """Yield a description and those of all nested bundles, each digest once, with its content."""
    seen: set[Digest] = set()
    queue = deque([description])
    while queue:
        bundle = queue.popleft()
        # Of many entries, a description may have been left out that is elsewhere.
        if bundle.digest not in seen and not bundle.is_repeated:
            seen.add(bundle.digest)
            yield bundle
            queue.extend(bundle.bundles)


class _Breakdown:
    """The parts of a description, whose manifests have been read."""

    def __init__(self, root: Description, manifests: Mapping[Reference, Manifest | None]) -> None:
        self._manifests = manifests
        self._done: set[Digest] = set()
        self._whole = {bundle.digest: bundle for bundle in _bundles(root)}
        nested = (bundle for bundle in self._whole.values() if bundle.digest != root.digest)
        self._nested = {info.key for bundle in nested for info in bundle.images}

    def part(self, bundle: Description) -> BundlePart:
        """Return the part of a bundle and all below it."""
        reference = parse_any(bundle.image)
        made = self._made(PartKind.BUNDLE, reference, bundle.origin, bundle.annotations)
        if bundle.digest in self._done:
            return replace(made, is_repeated=True)
        self._done.add(bundle.digest)
        whole = self._whole[bundle.digest]
        named = _BundleImages(self._made, self._manifests, whole.images)
        own = named.below(reference)
        images = [named.part(info) for info in whole.images if info.image_type is ImageType.IMAGE]
        images.sort(key=lambda image: image.origin)
        # What is attached to a nested bundle is described in those around it, too.
        left = [named.part(info) for info in named.left() if info.key not in self._nested]
        inner = [self.part(nested) for nested in sorted(whole.bundles, key=lambda nested: nested.origin)]
        return replace(made, parts=(*inner, *images, *own, *left))

    def _made(
        self, kind: PartKind, reference: Reference, origin: str, annotations: Mapping[str, str]
    ) -> BundlePart:
        manifest = self._manifests[reference]
        named = BundlePart(kind, str(reference), origin, reference.digest, annotations)
        if manifest is None:
            return replace(named, problem=_GONE)
        return replace(
            named,
            artifact_type=manifest.referrer_type if kind is PartKind.REFERRER else "",
            manifest=manifest.descriptor,
            config=manifest.config,
            layers=(*manifest.layers, *(entry for entry in manifest.manifests if not entry.is_manifest)),
        )


class _BundleImages:
    """The images of one bundle, and below each of them what an index lists and what is attached to it."""

    def __init__(
        self,
        made: Callable[[PartKind, Reference, str, Mapping[str, str]], BundlePart],
        manifests: Mapping[Reference, Manifest | None],
        images: Iterable[ImageInfo],
    ) -> None:
        self._made = made
        self._manifests = manifests
        self._waiting: dict[str, list[ImageInfo]] = {}
        for info in images:
            if info.image_type is not ImageType.IMAGE:
                self._waiting.setdefault(_subject(info), []).append(info)

    def part(self, info: ImageInfo) -> BundlePart:
        """Return the part of an image, or of something attached, and all below it."""
        kind = _KINDS[info.image_type]
        if info.error:
            place = info.image or info.key
            return BundlePart(kind, place, info.origin, annotations=info.annotations, problem=info.error)
        reference = parse_any(info.image)
        made = self._made(kind, reference, info.origin, info.annotations)
        return replace(made, parts=self.below(reference))

    def below(self, reference: Reference) -> tuple[BundlePart, ...]:
        """Return what is below an image: its platforms, and what is attached to it."""
        manifest = self._manifests[reference]
        listed = [] if manifest is None else [self._platform(reference, child) for child in manifest.children]
        # Taken out of the list, so that what is attached in a circle is found once.
        attached = self._waiting.pop(str(reference.digest), [])
        return (*listed, *map(self.part, attached))

    def left(self) -> Iterator[ImageInfo]:
        """Yield what has no place yet: the record of locations, and what is attached to other images."""
        while self._waiting:
            yield from self._waiting.pop(next(iter(self._waiting)))

    def _platform(self, index: Reference, child: Descriptor) -> BundlePart:
        reference = index.repository.digest(child.digest)
        made = self._made(PartKind.PLATFORM, reference, "", child.annotations)
        return replace(made, platform=child.platform, parts=self.below(reference))


def _subject(info: ImageInfo) -> str:
    """Return the digest that something is attached to; empty for the record of locations."""
    if info.image_type is ImageType.INTERNAL:
        return ""
    # Where access was denied, the key is the reference of the tag.
    derived = DerivedTag.parse(info.annotations.get("tag") or info.key.rpartition(":")[2])
    return str(derived.digest) if derived is not None else info.annotations.get("subject", "")
