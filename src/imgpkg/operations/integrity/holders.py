"""What can be verified: a registry, a tar file and a layout, with what is wrong with the file as a whole."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.bundle.inventory import read_bases
from imgpkg.dataclass import dataclass
from imgpkg.errors import ArchiveError, Forbidden, ImgpkgError, NotFound, NotInFile, Unauthorized, printable
from imgpkg.oci.derived_tags import DerivedTag, TagKind
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference
from imgpkg.operations.copy.delta import BASES_LABEL
from imgpkg.operations.copy.plan import Item
from imgpkg.operations.copy.platforms import read_cut
from imgpkg.operations.integrity.report import Defect, DefectKind, defect_of
from imgpkg.operations.integrity.survey import UNNAMED, ContentHolder, Wanted, attachment_tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from imgpkg.content.archive.reader import Archive
    from imgpkg.content.layout import Layout
    from imgpkg.oci.descriptor import ByteReader, Descriptor
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.client import RegistryClient

_ATTACHED = frozenset({TagKind.SIGNATURES, TagKind.ATTESTATIONS, TagKind.SBOM})


@dataclass(frozen=True, slots=True)
class Held:
    """A holder, the images that it lists, and what it has whether or not anything names it.

    `defects` were found when it was opened. `relied_on` are blobs that it does not have by intention, because
    its destination has them. `subjects` are the attachments by tag that it lists, with their images.
    """

    holder: ContentHolder
    roots: tuple[Wanted, ...]
    blobs: tuple[Descriptor, ...] = ()
    defects: tuple[Defect, ...] = ()
    relied_on: frozenset[Digest] = frozenset()
    subjects: tuple[tuple[str, Digest], ...] = ()


@contextmanager
def open_tar(path: str) -> Iterator[Held]:
    """Open a tar file whatever is wrong with it; raise LocalIOError if it cannot be read at all."""
    from imgpkg.content.archive.reader import Archive

    damages: list[ImgpkgError] = []
    with Archive(path, on_damage=damages.append) as archive:
        try:
            archive.check_pieces()
        except ArchiveError as error:
            damages.append(error)
        defects = [_damage(error, path) for error in damages]
        items: list[Item] = []
        for item in archive.items:
            try:
                repository = Reference.parse(item.marks.reference).repository
            except ImgpkgError as error:
                defects.append(defect_of(error, "manifest.json"))
                repository = UNNAMED
            reference = repository.digest(item.manifest.digest)
            found = Item(reference, item.marks.tag, labels=item.marks.labels)
            try:
                items.append(read_cut(found))
            except ArchiveError as error:
                defects.append(_damage(error, "manifest.json"))
                items.append(found)
        yield _held(_FileHolder(archive, path, _cuts(items)), archive.held(), items, defects)


@contextmanager
def open_layout(path: str) -> Iterator[Held]:
    """Open a layout whose index.json may be damaged; raise LocalIOError, ArchiveError for another folder."""
    from imgpkg.content.layout import Layout
    from imgpkg.operations.copy.store import listed_item

    layout = Layout(path)
    defects: list[Defect] = []
    items: list[Item] = []
    try:
        items += [listed_item(descriptor, UNNAMED) for descriptor in layout.roots()]
    except ImgpkgError as error:
        defects.append(_damage(error, "index.json"))
    yield _held(_FileHolder(layout, path, _cuts(items)), layout.held(), items, defects)


def _cuts(items: Iterable[Item]) -> Mapping[Digest, Digest]:
    """Return the digests of indexes that the file has with some of their platforms, by those of the whole."""
    cuts = (item.cut for item in items if item.cut is not None)
    return {cut.whole.digest: cut.result.digest for cut in cuts}


def of_registry(client: RegistryClient, reference: Reference) -> Held:
    """Return the registry that has the image `reference`."""
    return Held(_RegistryHolder(client), (Wanted((reference,)),))


def _held(
    holder: ContentHolder, blobs: Iterable[Descriptor], items: Sequence[Item], defects: list[Defect]
) -> Held:
    derived = [(item.reference, DerivedTag.parse(item.tag)) for item in items]
    cuts = _cuts(items)
    subjects = [
        (str(reference), cuts.get(tag.digest, tag.digest))
        for reference, tag in derived
        if tag and tag.kind in _ATTACHED
    ]
    roots = dict.fromkeys(item.reference for item in items)
    relied_on = frozenset(_relied_on(items, defects))
    return Held(
        holder,
        tuple(Wanted((reference,)) for reference in roots),
        tuple(blobs),
        tuple(defects),
        relied_on,
        tuple(subjects),
    )


def _relied_on(items: Iterable[Item], defects: list[Defect]) -> Iterator[Digest]:
    """Yield the blobs that the file was made without (`copy --since`)."""
    for reference, text in [(item.reference, item.labels.get(BASES_LABEL, "[]")) for item in items]:
        yield from _blobs_of(text, f"label {BASES_LABEL} of {reference}", defects)


def _blobs_of(text: str, subject: str, defects: list[Defect]) -> Iterator[Digest]:
    try:
        for base in read_bases(text):
            yield from map(Digest.parse, base.blobs)
    except ImgpkgError as error:
        defects.append(defect_of(error, subject))


def _damage(error: ImgpkgError, subject: str) -> Defect:
    # What is wrong with the whole is damage, although errors call an absent part not found.
    found = defect_of(error, printable(subject))
    return (
        found if found.kind is DefectKind.DAMAGED else Defect(DefectKind.DAMAGED, found.subject, found.reason)
    )


class _FileHolder:
    """A tar file or layout, which has the same content under every repository."""

    has_repositories = False

    def __init__(self, store: Archive | Layout, path: str, cuts: Mapping[Digest, Digest]) -> None:
        self._store = store
        self._cuts = cuts
        self._shown = printable(os.fspath(path))

    def manifest(self, reference: Reference) -> Manifest:
        if reference.digest is None:
            # A file has no tags but those of its list, and so no record of locations, which are tags.
            raise NotInFile(f"{reference} is not in {self._shown}")
        return self._store.manifest(self._cuts.get(reference.digest, reference.digest))

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[ByteReader]:  # noqa: ARG002 - as a registry is asked
        return self._store.blob(blob)

    def has_blob(self, repository: Repository, digest: Digest) -> bool:  # noqa: ARG002 - as a registry is asked
        return True

    def attached(self, reference: Reference) -> tuple[Reference, ...]:  # noqa: ARG002 - the file lists them itself
        return ()


class _RegistryHolder:
    """The repositories of registries; attachments are looked for at the tags of cosign and as referrers."""

    has_repositories = True

    def __init__(self, client: RegistryClient) -> None:
        self._client = client

    def manifest(self, reference: Reference) -> Manifest:
        return self._client.manifest(reference)

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[ByteReader]:
        return self._client.blob(repository, blob)

    def has_blob(self, repository: Repository, digest: Digest) -> bool:
        return self._client.has_blob(repository, digest)

    def attached(self, reference: Reference) -> tuple[Reference, ...]:
        digest, repository = reference.digest, reference.repository
        if digest is None:  # pragma: no cover - what was found has a digest
            return ()
        try:
            tagged = [self._client.exists(repository.tag(tag)) for tag in attachment_tags(digest)]
            found = [descriptor for descriptor in tagged if descriptor is not None]
            found += self._client.referrers(repository, digest)
        except (Forbidden, Unauthorized, NotFound):
            # Registries that refuse a tag that does not exist, which is then nobody's loss.
            return ()
        return tuple(dict.fromkeys(repository.digest(each.digest) for each in found))
