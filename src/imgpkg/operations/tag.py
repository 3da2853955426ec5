"""List the tags of a repository, resolve a tag to its digest, and make sure of a tag that was written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg import cancellation
from imgpkg.errors import Forbidden, Unauthorized, VerificationError
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository, parse_any
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session

if TYPE_CHECKING:
    from imgpkg.registry.client import RegistryClient

INTERNAL_SUFFIX = ".imgpkg"
# Registries of several machines may need a moment until each of them knows a tag.
_PAUSE = 1.0
_KEPT_NOTHING = (
    "The registry, or a proxy in front of it, answered that the manifest was stored: its log may tell what "
    "became of it."
)
_NAMES_ANOTHER = (
    "Somebody else may have written the tag at the same time, or the registry answers with an old copy: look "
    "at the tag, and write it again if it is wrong."
)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, and the digest it names when that was asked for."""

    name: str
    digest: Digest | None = None

    @property
    def is_internal(self) -> bool:
        """True for the tags that imgpkg writes for itself."""
        return self.name.endswith(INTERNAL_SUFFIX)


@dataclass(frozen=True, slots=True)
class TagList:
    """The tags of a repository in the registry's order."""

    repository: Repository
    tags: tuple[Tag, ...]


def list_tags(
    image: str, *, session: Session, digests: bool = False, imgpkg_internal_tags: bool = False
) -> TagList:
    """List the tags of the repository of `image`; with `digests` resolve each, several at a time.

    The tags that imgpkg writes for itself are left out, and not resolved, unless `imgpkg_internal_tags` is
    set. A tag or digest in `image` is ignored. Raises InvalidReference, or an error of the registry.
    """
    repository = parse_any(image).repository
    tags = tuple(
        tag
        for tag in map(Tag, session.client.tags(repository))
        if imgpkg_internal_tags or not tag.is_internal
    )
    if not digests:
        return TagList(repository, tags)

    def resolved(tag: Tag) -> Tag:
        return Tag(tag.name, session.client.resolve(repository.tag(tag.name)).digest)

    with open_workers(session, session.settings.concurrency) as workers:
        return TagList(repository, tuple(workers.map(resolved, tags)))


def resolve(image: str, *, session: Session) -> Reference:
    """Return the digest reference that `image` names now; a digest reference is checked for existence.

    Raises InvalidReference, or an error of the registry: NotFound when there is no such image.
    """
    reference = parse_any(image)
    return reference.repository.digest(session.client.resolve(reference).digest)


def confirm_tag(client: RegistryClient, reference: Reference, digest: Digest) -> None:
    """Ask whether the tag `reference` names `digest`, which was just written, and once more after a pause.

    There are registries that answer a manifest with 201 and keep nothing. Raises VerificationError, or an
    error of the registry. A login that may write and not read proves nothing: then the 201 is believed.
    """
    try:
        found = client.exists(reference)
        if found is None or found.digest != digest:
            cancellation.sleep(_PAUSE)
            found = client.exists(reference)
    except (Unauthorized, Forbidden):
        return
    if found is None:
        raise VerificationError(
            f"the registry accepted the manifest {digest} for {reference} and does not have it",
            hints=(_KEPT_NOTHING,),
        )
    if found.digest != digest:
        raise VerificationError(
            f"the registry accepted the manifest {digest} for {reference}, but the tag names {found.digest}",
            hints=(_NAMES_ANOTHER,),
        )
