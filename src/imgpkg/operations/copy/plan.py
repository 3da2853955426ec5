"""The plan of a copy: which manifests and blobs to transfer, and from where. It transfers nothing itself."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import UsageError, doing
from imgpkg.oci.descriptor import Descriptor, file_position_of
from imgpkg.oci.reference import Reference
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from imgpkg.bundle.image import Image
    from imgpkg.bundle.inventory import Base
    from imgpkg.content.archive.reader import Archive
    from imgpkg.content.layout import Layout
    from imgpkg.oci.cut import Cut
    from imgpkg.oci.descriptor import ByteReader, Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.collection import Collected, Record
    from imgpkg.operations.copy.values import Verified
    from imgpkg.session import Session

T = TypeVar("T")

ROOT_BUNDLE_LABEL = "dev.carvel.imgpkg.copy.root-bundle"
# The proof of a cut, for which a tar file or layout has no other place.
CUT_LABEL = "dev.carvel.imgpkg.copy.cut-index"
# The tags of signatures and the like are made from a digest.
_ATTACHED = ("sha256-", "sha512-")


@dataclass(frozen=True, slots=True)
class Item:
    """An image or index to copy, before its manifests are known.

    `origin` is the reference in the images lock of a bundle, empty for other items. `tag` is the tag to write
    at the destination besides imgpkg's own, empty for none. `image` is set if the manifest was fetched
    before. `elsewhere` is where to read the item if it does not exist at `reference`. `cut` is set for an
    index with some of its platforms: its digest is then not the one that locks and signatures name.
    """

    reference: Reference
    tag: str = ""
    origin: str = ""
    labels: Mapping[str, str] = field(default_factory=FrozenDict)
    image: Image | None = None
    elsewhere: Reference | None = None
    cut: Cut | None = None

    @property
    def named(self) -> Reference:
        """The reference by whose digest locks and signatures name the item."""
        return self.reference if self.cut is None else self.reference.repository.digest(self.cut.whole.digest)

    @property
    def key(self) -> tuple[str, str]:
        """The reference and the tag; two items with the same key are the same."""
        return str(self.reference), self.tag


def labels_of(item: Item) -> Mapping[str, str]:
    """Return the labels of `item` in a file, with that of its cut."""
    if item.cut is None:
        return item.labels
    kept, indexes = item.cut.texts()
    text = json.dumps({"keptDigests": kept, "wholeIndexes": indexes}, separators=(",", ":"))
    return {**item.labels, CUT_LABEL: text}


@dataclass(frozen=True, slots=True)
class Node:
    """An image, or an index and the nodes that it lists."""

    image: Image
    children: tuple[Node, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """The manifest of this node."""
        return self.image.manifest

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, each digest once, children before their parents."""
        seen: dict[Digest, Node] = {}
        _gather(self, seen, lambda node: node.manifest.digest)
        # In the order of insertion, which is post-order.
        yield from seen.values()


def _gather(node: Node, seen: dict[T, Node], key: Callable[[Node], T]) -> None:
    if key(node) not in seen:
        for child in node.children:
            _gather(child, seen, key)
        seen[key(node)] = node


@dataclass(frozen=True, slots=True)
class Root:
    """An item and the tree of its manifests."""

    item: Item
    node: Node

    @property
    def named(self) -> Reference:
        """The reference by whose digest locks and signatures name the root of the tree."""
        return self.node.image.reference if self.item.cut is None else self.item.named


def nodes_of(roots: Iterable[Root]) -> Iterable[Node]:
    """Return the nodes of all trees, once per repository from which they were read, children first."""
    seen: dict[Reference, Node] = {}
    for root in roots:
        _gather(root.node, seen, lambda node: node.image.reference)
    return seen.values()


def digests_of(roots: Iterable[Root]) -> frozenset[Digest]:
    """Return the digests of all manifests of `roots`, and those by which locks and signatures name these."""
    known = tuple(roots)
    named = (root.item.cut.whole.digest for root in known if root.item.cut is not None)
    return frozenset((*(node.manifest.digest for node in nodes_of(known)), *named))


def check_tags(roots: Iterable[Root], place: str) -> None:
    """Raise UsageError for two images that a user has given one tag, which names one image in `place`."""
    named = ((root.item.tag, root.item.reference, root.node.manifest.digest) for root in roots)
    # Signatures of one image may differ from repository to repository, and have its tag.
    check_named((one for one in named if not one[0].startswith(_ATTACHED)), place)


def check_named(images: Iterable[tuple[str, Reference, Digest | None]], place: str) -> None:
    """Raise UsageError for two digests with one tag; `images` have tags, places and digests."""
    first: dict[str, tuple[Reference, Digest | None]] = {}
    for tag, reference, digest in images:
        other, known = first.setdefault(tag, (reference, digest)) if tag else (reference, digest)
        if known != digest:
            raise UsageError(
                f"Expected one image for the tag '{tag}' in {place}, and not two: {other} and {reference} "
                "(hint: name one of them by its digest, or give it a copy of its own)"
            )


@dataclass(frozen=True, slots=True)
class BlobMove:
    """A blob to transfer, and the repository to read it from; `data` is its content if it was fetched before.

    `is_missing` is true for a blob that the tar file or layout to copy from does not contain:
    non-distributable layers are left out when a file is made, and blobs that the destination has. `nearer` is
    a repository of the destination that gets the blob first, and from which it can be mounted.
    """

    descriptor: Descriptor
    origin: Repository
    data: bytes | None = field(default=None, repr=False)
    is_missing: bool = False
    nearer: Repository | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A non-distributable layer that is not copied, and the image that lists it."""

    reference: Reference
    layer: Descriptor


@dataclass(frozen=True, slots=True)
class TransferPlan:
    """Everything that a copy will transfer: the roots in order of their references, and each blob once."""

    roots: tuple[Root, ...]
    blobs: Mapping[Digest, BlobMove]
    left_out: tuple[LeftOut, ...] = ()
    has_non_distributable: bool = False


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """The items to copy, the plan, and `open_blob`, which opens a blob of the plan and is thread-safe.

    `session` is the one that registries are read with, None if the source is a tar file or layout. That is
    then the `store`, which errors name `shown`. `verified` is what was verified by a signature, as the policy
    requires. `bases` says of blobs that the store was made without where they should be. `places` are set if
    it is known where everything goes: others may then have brought blobs there, each of which is asked for.
    """

    collected: Collected
    plan: TransferPlan
    open_blob: Callable[[BlobMove], AbstractContextManager[ByteReader]]
    session: Session | None = None
    store: Archive | Layout | None = None
    verified: tuple[Verified, ...] = ()
    shown: str = ""
    bases: Mapping[Digest, Base] = field(default_factory=FrozenDict)
    places: Places | None = None

    @property
    def is_local(self) -> bool:
        """True if the source is a tar file or layout."""
        return self.session is None


@dataclass(frozen=True, slots=True)
class RepositoryPlan:
    """A repository of the destination, and what a copy puts there.

    `plan` has the roots for this repository and their blobs, `records` those of its bundles.
    """

    repository: Repository
    plan: TransferPlan
    records: tuple[Record, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """All repositories of the destination, those of the first roots first.

    `of_roots` has the repositories of each root, by the key of its item; None if all go to all places. What
    is attached to an image that goes to several repositories is in each of them.
    """

    places: tuple[RepositoryPlan, ...]
    of_roots: Mapping[tuple[str, str], tuple[Repository, ...]] | None = None

    @property
    def repositories(self) -> tuple[Repository, ...]:
        """The repositories that are written to."""
        return tuple(place.repository for place in self.places)

    def of(self, root: Root) -> tuple[Repository, ...]:
        """Return where `root` goes."""
        return self.repositories if self.of_roots is None else self.of_roots[root.item.key]

    def relocations(self) -> Mapping[Reference, Reference]:
        """Return the first place of each image and index, by the reference that it is read from."""
        found: dict[Reference, Reference] = {}
        for place in self.places:
            for node in nodes_of(place.plan.roots):
                found.setdefault(node.image.reference, place.repository.digest(node.manifest.digest))
        return found


@contextmanager
def named(context: AbstractContextManager[ByteReader], move: BlobMove, place: str) -> Iterator[ByteReader]:
    """Return a context with the opened blob, whose errors name `place`."""
    with context as stream:
        yield _NamedStream(stream, f"Reading blob {move.descriptor.digest} of {place}")


class _NamedStream:
    """A blob whose errors name the place from which it is read, which its reader does not have."""

    def __init__(self, stream: ByteReader, what: str) -> None:
        self.verifies = getattr(stream, "verifies", None)
        self._stream = stream
        self._what = what
        self.file_position = file_position_of(stream)

    def read(self, size: int = 1 << 20, /) -> bytes:
        with doing(self._what):
            return self._stream.read(size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        with doing(self._what):
            return self._stream.readinto(buffer)


def plan_of(roots: tuple[Root, ...], *, include_non_distributable: bool) -> TransferPlan:
    """Return the plan for `roots`: all their blobs, without the non-distributable ones if so asked."""
    blobs: dict[Digest, BlobMove] = {}
    left_out: dict[tuple[str, Digest], LeftOut] = {}
    has_any = False
    for node in nodes_of(roots):
        for move in _moves(node):
            has_any = has_any or not move.descriptor.is_distributable
            if include_non_distributable or move.descriptor.is_distributable:
                # One digest may be in several repositories: the first one that lists it is as good as any.
                blobs.setdefault(move.descriptor.digest, move)
            else:
                reference = node.image.reference
                skipped = LeftOut(reference, move.descriptor)
                left_out.setdefault((str(reference), move.descriptor.digest), skipped)
    return TransferPlan(roots, blobs, tuple(left_out.values()), has_any)


def _moves(node: Node) -> Iterator[BlobMove]:
    repository = node.image.reference.repository
    config = node.manifest.config
    for blob in node.manifest.parts():
        # A descriptor may embed its content (image-spec, descriptor.md, "data").
        data = node.image.config_raw if blob is config else b""
        yield BlobMove(blob, repository, data or blob.data)
