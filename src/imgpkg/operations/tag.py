"""List the tags of a repository; resolve a tag to its digest (imgpkg-spec 6.5, 6.6)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from imgpkg.oci.digest import Digest
from imgpkg.oci.reference import Reference, Repository, parse_any
from imgpkg.session import Session

INTERNAL_SUFFIX = ".imgpkg"


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
    """The tags of a repository in the registry's order, internal ones included."""

    repository: Repository
    tags: tuple[Tag, ...]


def list_tags(image: str, *, session: Session, digests: bool = False) -> TagList:
    """List every tag of the repository of `image`; with `digests` resolve each, several at a time.

    A tag or digest in `image` is ignored. Raises InvalidReference, or an error of the registry.
    """
    repository = parse_any(image).repository
    names = tuple(session.client.tags(repository))
    if not digests:
        return TagList(repository, tuple(Tag(name) for name in names))

    def resolved(name: str) -> Tag:
        return Tag(name, session.client.resolve(repository.tag(name)).digest)

    with ThreadPoolExecutor(max(1, session.settings.concurrency)) as workers:
        return TagList(repository, tuple(workers.map(resolved, names)))


def resolve(image: str, *, session: Session) -> Reference:
    """Return the digest reference that `image` names now; a digest reference is checked for existence.

    Raises InvalidReference, or an error of the registry: NotFound when there is no such image.
    """
    reference = parse_any(image)
    return reference.repository.digest(session.client.resolve(reference).digest)
