"""What is attached to images, and the search for it: cosign's tags, and referrers by the API or their tag."""

from __future__ import annotations

from enum import Enum
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from imgpkg.bundle.image import attestation_tag, sbom_tag, signature_tag
from imgpkg.dataclass import dataclass
from imgpkg.errors import Forbidden, InvalidManifest, NotFound, NotInFile, RegistryError, doing
from imgpkg.oci import media
from imgpkg.oci.derived_tags import DerivedTag, TagKind, attached_to
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference, Repository

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imgpkg.bundle.image import Workers
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.registry.client import RegistryClient

# Pages of a list come one after the other: in a larger repository each tag is asked for, in parallel.
_MOST_TAGS = 5000
# A signature of an SBOM of an image is a chain of two; a hostile registry could make it endless.
_LONGEST_CHAIN = 32
DENIED = "access denied"
_GONE = "it is listed, but does not exist"


class AttachmentKind(Enum):
    """How something is attached: by one of cosign's tags, or by its field `subject`."""

    SIGNATURE = "signature"
    ATTESTATION = "attestation"
    SBOM = "sbom"
    REFERRER = "referrer"


_TAGS = {
    AttachmentKind.SIGNATURE: signature_tag,
    AttachmentKind.ATTESTATION: attestation_tag,
    AttachmentKind.SBOM: sbom_tag,
}
_KINDS = {
    TagKind.SIGNATURES: AttachmentKind.SIGNATURE,
    TagKind.ATTESTATIONS: AttachmentKind.ATTESTATION,
    TagKind.SBOM: AttachmentKind.SBOM,
}


@dataclass(frozen=True, slots=True)
class Attached:
    """What an image is attached to: the digest `subject`.

    `artifact_type` is that of a referrer, for which the media type of its configuration stands in
    (distribution-spec, "Listing Referrers"). It is empty for what has one of cosign's tags.
    """

    kind: AttachmentKind
    subject: Digest
    artifact_type: str = ""


def attached_by(tag: str, manifest: Manifest) -> Attached | None:
    """Return what an image with this tag at the destination is attached to; None for an image of its own.

    A tag that a person chose makes an image of its own of what has a subject.
    """
    subject = attached_to(tag, manifest)
    if subject is None:
        return None
    derived = DerivedTag.parse(tag)
    if derived is None:
        return Attached(AttachmentKind.REFERRER, subject, _artifact_type(manifest))
    return Attached(_KINDS[derived.kind], subject)


def _artifact_type(manifest: Manifest) -> str:
    return manifest.artifact_type or (manifest.config.media_type if manifest.config is not None else "")


@dataclass(frozen=True, slots=True)
class FoundAttachment:
    """Something that is attached to `image`: its reference by digest, its tag if it has one of cosign's.

    `problem` says why there is no `manifest`; `reference` is then that of the tag if the digest is unknown.
    """

    kind: AttachmentKind
    image: Reference
    reference: Reference
    tag: str = ""
    manifest: Manifest | None = None
    artifact_type: str = ""
    problem: str = ""


class AttachmentReader(Protocol):
    """The part of a registry client that finds attachments."""

    def manifest(self, reference: Reference, /) -> Manifest:
        """Return the manifest."""
        ...

    def referrers(
        self, repository: Repository, digest: Digest, /, *, tag_scheme: bool = True
    ) -> tuple[Descriptor, ...]:
        """Return the descriptors of what refers to the manifest."""
        ...


def listed_tags(client: RegistryClient, repository: Repository) -> frozenset[str] | None:
    """Return all tags of `repository`; None where the registry refuses, or they are too many to list."""
    # A list is not read from mirrors, which are what is copied from.
    if client.primary is not client:
        return None
    try:
        with doing(f"Listing the tags of {repository}"):
            names = frozenset(islice(client.tags(repository), _MOST_TAGS))
    except RegistryError:
        return None
    return names if len(names) < _MOST_TAGS else None


class AttachmentSearch:
    """Finds what is attached to images, with one list of the tags of each repository of `registry`.

    Without `registry`, as in a file, each tag is asked for. `lists` are those that were read before, and gets
    the new ones.

    Caches in front of registries list only the tags that they have fetched before. What a list lacks is
    therefore asked for where it counts most, and a list that turns out to lack a tag is not used any more.
    """

    def __init__(
        self,
        client: AttachmentReader,
        workers: Workers,
        registry: RegistryClient | None = None,
        lists: dict[Repository, frozenset[str] | None] | None = None,
    ) -> None:
        self._client = client
        self._workers = workers
        self._registry = registry
        self._tags = {} if lists is None else lists

    def find(self, images: Iterable[Reference], *, by_name: bool) -> list[FoundAttachment]:
        """Return what is attached to `images`, digest references, in their repositories.

        `by_name` asks for each tag, whatever the list says. Status 403 counts as nothing attached, with a
        `problem`. Raises an error of the registry.
        """
        asked = list(dict.fromkeys(images))
        self._list(dict.fromkeys(image.repository for image in asked))
        listings = self._workers.map(partial(self._referrers, by_name=by_name), asked)
        referrers = list(dict.fromkeys(found for listing in listings for found in listing))
        named = [
            (image, kind, tag)
            for image in asked
            for kind, tag in _tags_of(image)
            if by_name or self._may_have(image.repository, tag)
        ]
        tagged = [found for found in self._workers.map(lambda each: self._tagged(*each), named) if found]
        self._distrust(tagged)
        return [*tagged, *self._workers.map(self._with_manifest, referrers)]

    def _list(self, repositories: Iterable[Repository]) -> None:
        new = [repository for repository in repositories if repository not in self._tags]
        self._tags.update(zip(new, self._workers.map(self._listed, new), strict=True))

    def _listed(self, repository: Repository) -> frozenset[str] | None:
        return None if self._registry is None else listed_tags(self._registry, repository)

    def _may_have(self, repository: Repository, tag: str) -> bool:
        names = self._tags[repository]
        return names is None or tag in names

    def _distrust(self, tagged: Sequence[FoundAttachment]) -> None:
        for found in tagged:
            repository = found.image.repository
            if found.manifest is not None and not self._may_have(repository, found.tag):
                self._tags[repository] = None

    def _tagged(self, image: Reference, kind: AttachmentKind, tag: str) -> FoundAttachment | None:
        place = image.repository.tag(tag)
        try:
            with doing(f"Fetching {kind.value} for image '{image}'"):
                manifest = self._client.manifest(place)
        except (NotFound, NotInFile):
            return None
        # Some registries answer 403 for a tag that does not exist, and policies may hide what is attached.
        except Forbidden:
            return FoundAttachment(kind, image, place, tag, problem=DENIED)
        return FoundAttachment(kind, image, image.repository.digest(manifest.digest), tag, manifest)

    def _referrers(self, image: Reference, *, by_name: bool) -> tuple[FoundAttachment, ...]:
        kind, repository, digest = AttachmentKind.REFERRER, image.repository, digest_of(image)
        tag_scheme = by_name or self._may_have(repository, f"{digest.algorithm}-{digest.hex}")
        try:
            with doing(f"Listing what refers to image '{image}'"):
                listed = self._client.referrers(repository, digest, tag_scheme=tag_scheme)
        except Forbidden:
            return (FoundAttachment(kind, image, image, problem=DENIED),)
        return tuple(
            FoundAttachment(
                kind,
                image,
                repository.digest(entry.digest),
                artifact_type=entry.artifact_type,
                problem="" if _is_copied(entry) else f"its type {entry.media_type} is not supported",
            )
            for entry in listed
        )

    def _with_manifest(self, found: FoundAttachment) -> FoundAttachment:
        if found.problem:
            return found
        kind, image, reference = found.kind, found.image, found.reference
        try:
            with doing(f"Fetching what refers to image '{image}'"):
                manifest = self._client.manifest(reference)
        except (NotFound, NotInFile):
            return FoundAttachment(kind, image, reference, problem=_GONE)
        artifact_type = found.artifact_type or _artifact_type(manifest)
        return FoundAttachment(kind, image, reference, "", manifest, artifact_type)


def _is_copied(entry: Descriptor) -> bool:
    # Artifact manifests from before OCI 1.1 are neither.
    return not entry.media_type or entry.media_type in media.IMAGES | media.INDEXES


def _tags_of(image: Reference) -> Iterator[tuple[AttachmentKind, str]]:
    yield from ((kind, name(digest_of(image))) for kind, name in _TAGS.items())


def digest_of(reference: Reference) -> Digest:
    """Return the digest of a digest reference."""
    assert reference.digest is not None  # noqa: S101 - what is searched has been read, and has a digest
    return reference.digest


def check_chain(reference: Reference, length: int) -> None:
    """Raise InvalidManifest where `reference` is attached by too many manifests, one to the other."""
    if length >= _LONGEST_CHAIN:
        raise InvalidManifest(
            f"{reference}: more than {_LONGEST_CHAIN} manifests are attached one to the other"
        )
