"""The images of a tar file or OCI layout, read without a network by the methods of a registry client."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from imgpkg.bundle.image import Reader
from imgpkg.bundle.locations import ImageLocations, Location
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import ArchiveError, InvalidReference, NotInFile, UsageError, printable
from imgpkg.oci.derived_tags import attached_to
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, parse_any
from imgpkg.operations.copy.delta import grouped
from imgpkg.operations.copy.plan import digests_of, nodes_of
from imgpkg.operations.copy.store import open_file
from imgpkg.operations.copy.values import CopyOptions, CopySource

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from imgpkg.bundle.image import Image
    from imgpkg.bundle.inventory import Base
    from imgpkg.content.store import Extent
    from imgpkg.oci.descriptor import ByteReader, Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.plan import BlobMove, OpenedSource, Root
    from imgpkg.values import StrPath

# A file may have thousands of images; the error that lists them is read by a person.
_MOST_LISTED = 20
# What was left out when the file was made is missing when it is read, which is the error to show.
_ALL = CopyOptions(include_non_distributable_layers=True)


class ImageReader(Reader, Protocol):
    """The part of a registry client that `pull`, `describe` and `tag list` use."""

    def exists(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of the manifest, or None."""
        ...

    def names(self, reference: Reference, digest: Digest) -> bool:
        """Return True when `reference` names `digest`."""
        ...

    def referrers(
        self, repository: Repository, digest: Digest, *, tag_scheme: bool = True
    ) -> tuple[Descriptor, ...]:
        """Return the descriptors of the manifests whose subject is `digest`."""
        ...


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A blob, and where its bytes are: in parts of files, in order, or in memory. They are not verified."""

    descriptor: Descriptor
    parts: tuple[tuple[str, Extent], ...] = ()
    data: bytes | None = field(default=None, repr=False)


class ImageStore:
    """The images of one tar file or layout, by the references that it records. Safe for many threads."""

    def __init__(self, opened: OpenedSource, shown: str) -> None:
        self._opened = opened
        self._shown = shown
        self.roots = opened.plan.roots
        self._images = {node.image.reference: node.image for node in nodes_of(self.roots)}
        self._referrers: dict[Reference, list[Manifest]] = {}
        for reference, image in self._images.items():
            if (subject := image.manifest.subject) is not None:
                place = reference.repository.digest(subject.digest)
                self._referrers.setdefault(place, []).append(image.manifest)
        self._tags = {
            root.node.image.reference.repository.tag(root.item.tag): root.node.manifest
            for root in self.roots
            if root.item.tag
        }

    def find(self, text: str = "") -> Image:
        """Return the image that `text` names: a reference, a tag or a digest of the file, or an origin.

        Without a text it is the bundle that the file was made of, or else the only image. Raises UsageError,
        which lists the images, if there is not exactly one.
        """
        found = self._named(text) if text else self._main()
        if len({root.node.manifest.digest for root in found}) != 1:
            what = f"'{printable(text)}' names" if text else f"{self._shown} has"
            count = "no image" if not found else "several images"
            where = f" of {self._shown}" if text else ""
            raise UsageError(f"{what} {count}{where}", hints=_listed(found or self.roots))
        return found[0].node.image

    def manifest(self, reference: Reference) -> Manifest:
        """Return the manifest; raise NotInFile if the file has none at `reference`."""
        found = self._manifest(reference)
        if found is None:
            raise NotInFile(f"{reference} is not in {self._shown}")
        return found

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[ByteReader]:
        """Open the blob, which is verified while it is read; raise ArchiveError if it is missing."""
        move = self._opened.plan.blobs.get(blob.digest)
        if move is None:
            raise ArchiveError(f"blob {blob.digest} of {repository} is not in {self._shown}")
        return self._opened.open_blob(move)

    def exists(self, reference: Reference) -> Descriptor | None:
        """Return the descriptor of the manifest, or None."""
        found = self._manifest(reference)
        return None if found is None else found.descriptor

    def names(self, reference: Reference, digest: Digest) -> bool:
        """Return True when `reference` names `digest`."""
        found = self._manifest(reference)
        return found is not None and found.digest == digest

    @property
    def cuts(self) -> ImageLocations:
        """Where the indexes are that the file has with some of their platforms."""
        return ImageLocations(
            tuple(
                Location(str(root.named), is_bundle=False, place=str(root.node.image.reference), cut=cut)
                for root in self.roots
                if (cut := root.item.cut) is not None
            )
        )

    def has(self, reference: Reference) -> bool:
        """Return True when the file has an image at `reference`."""
        return self._manifest(reference) is not None

    def referrers(
        self,
        repository: Repository,
        digest: Digest,
        *,
        tag_scheme: bool = True,  # noqa: ARG002 - as a registry is asked
    ) -> tuple[Descriptor, ...]:
        """Return the descriptors of the manifests of `repository` whose subject is `digest`."""
        return tuple(map(_referrer, self._referrers.get(repository.digest(digest), ())))

    @property
    def repository(self) -> Repository:
        """The repository of the bundle that the file was made of, or else of its first image."""
        main = self._main()
        if not main:
            raise ArchiveError(f"{self._shown} has no images")
        return main[0].node.image.reference.repository

    @property
    def tags(self) -> dict[Reference, Digest]:
        """The tags of the file, as references, with the digests that they name."""
        return {reference: manifest.digest for reference, manifest in self._tags.items()}

    @property
    def bases(self) -> tuple[Base, ...]:
        """Without which blobs the file was made, and where they should be."""
        return grouped(self._opened.bases)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """All manifests, each of them for every repository that has it."""
        return tuple(image.manifest for image in self._images.values())

    @property
    def blobs(self) -> tuple[StoredBlob, ...]:
        """All blobs that the file has; layers that were left out when it was made are missing."""
        moves = [move for move in self._opened.plan.blobs.values() if not move.is_missing]
        return tuple(self._stored(move) for move in moves)

    def _stored(self, move: BlobMove) -> StoredBlob:
        store = self._opened.store
        if move.data is not None or store is None:
            return StoredBlob(move.descriptor, data=move.data)
        return StoredBlob(move.descriptor, store.extents(move.descriptor))

    def _manifest(self, reference: Reference) -> Manifest | None:
        if reference.digest is None:
            return self._tags.get(reference)
        image = self._images.get(reference)
        return None if image is None else image.manifest

    def _main(self) -> list[Root]:
        root = self._opened.collected.root
        # The bundle that was asked for is marked; all others came with it.
        marked = [found for found in self.roots if root is not None and found.item.key == root.key]
        if marked:
            return marked
        digests = digests_of(self.roots)
        # A signature is in the file because of the image that it is attached to.
        own = (r for r in self.roots if attached_to(r.item.tag, r.node.manifest) not in digests)
        return list(own) or list(self.roots)

    def _named(self, text: str) -> list[Root]:
        plain = [
            root
            for root in self.roots
            if text in (root.item.tag, str(root.node.manifest.digest), str(root.named.digest))
        ]
        if plain:
            return plain
        try:
            asked = parse_any(text)
        except InvalidReference:
            return []
        by_origin = [root for root in self.roots if root.item.origin and parse_any(root.item.origin) == asked]
        return [root for root in self.roots if asked in _names(root)] or by_origin


@contextmanager
def open_images(*, tar: StrPath = "", layout: StrPath = "") -> Iterator[ImageStore]:
    """Open the images of the tar file `tar`, or of the layout folder `layout`.

    Raises UsageError for both, LocalIOError, ArchiveError, or VerificationError for a damaged manifest.
    """
    if tar and layout:
        raise UsageError("Expected only one of --tar and --from-oci-layout")
    with open_file(CopySource(tar=tar, layout=layout), _ALL) as opened:
        yield ImageStore(opened, printable(os.fspath(tar or layout)))


def _referrer(manifest: Manifest) -> Descriptor:
    return replace(
        manifest.descriptor, artifact_type=manifest.referrer_type, annotations=manifest.annotations
    )


def _names(root: Root) -> tuple[Reference, ...]:
    """Return the references by which an image of the file can be named."""
    here = root.node.image.reference
    tagged = (here.repository.tag(root.item.tag),) if root.item.tag else ()
    return tuple(dict.fromkeys((here, root.named, *tagged)))


def _listed(roots: Iterable[Root]) -> tuple[str, ...]:
    names = list(dict.fromkeys(str(_names(root)[-1]) for root in roots))
    more = len(names) - _MOST_LISTED
    shown = (*names[:_MOST_LISTED], *((f"… and {more} more",) if more > 0 else ()))
    return (f"Name one of these with -b or -i: {', '.join(shown)}.",) if names else ()
