"""List the tags of a repository, resolve a tag to its digest, and confirm a tag that was written."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import imgpkg
from imgpkg import cancellation
from imgpkg.dataclass import dataclass
from imgpkg.errors import Forbidden, Unauthorized, VerificationError
from imgpkg.events import Hook, silent
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository, parse_any
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from imgpkg.operations.image_store import ImageStore
    from imgpkg.operations.tag_filter import TagFilter
    from imgpkg.registry.client import RegistryClient

INTERNAL_SUFFIX = ".imgpkg"
# In seconds. A registry of several machines may take a moment to replicate a tag to all of them.
_PAUSE = 1.0
_KEPT_NOTHING = (
    "The registry, or a proxy in front of it, answered that the manifest was stored: its log may contain the "
    "reason."
)
_NAMES_ANOTHER = (
    "Another client may have written the tag at the same time, or the registry returned an old copy: check "
    "the tag, and write it again if it is wrong."
)


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag, and the digest that it names if `list_tags` was called with `digests`."""

    name: str
    digest: Digest | None = None

    @property
    def is_internal(self) -> bool:
        """True for tags with the suffix `.imgpkg`, which imgpkg writes besides those of the user."""
        return self.name.endswith(INTERNAL_SUFFIX)


@dataclass(frozen=True, slots=True)
class TagList:
    """The tags of a repository, in the order in which the registry lists them, or the newest ones first."""

    repository: Repository
    tags: tuple[Tag, ...]


@operation
def list_tags(
    image: str = "",
    *,
    session: Session,
    digests: bool = False,
    imgpkg_internal_tags: bool = False,
    match: str | Iterable[str] = (),
    where: Callable[[str], bool] | None = None,
    newest: int = 0,
    prereleases: bool = False,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> TagList:
    """Return the tags of the repository of `image`; a tag or digest in `image` is ignored.

    `digests` resolves each of them, which takes a request per tag; `on_event` receives how many have been.
    `imgpkg_internal_tags` includes the tags that imgpkg writes besides those of the user.

    `match` is a pattern of names or several of them, one of which has to match: `*`, `?`, `[a-z]`, `[!a-z]`,
    as in `fnmatch.fnmatchcase`. `where` gets a name and returns whether it is wanted. With `newest` the tags
    are those of that many versions, the highest first, each version by its most exact tag: `2.0.0`, and not
    also `2.0`. What a version is, and their order, is that of `TagVersion`; all other tags are left out, and
    so are hashes of commits, and without `prereleases` all pre-releases, `1.9-alpine` among them.

    With `tar` or `layout` the tags are those that the tar file or layout folder records, and `image` may be
    empty: the tags of several repositories then have those in front. Raises InvalidReference, UsageError,
    TransportError or RegistryError, and for files ArchiveError or LocalIOError.
    """
    wanted = _filter(match, where, newest, prereleases=prereleases)
    if tar or layout:
        from imgpkg.operations.image_store import open_images

        with open_images(tar=tar, layout=layout) as store:
            return _tags_of_store(store, image, wanted, imgpkg_internal_tags=imgpkg_internal_tags)
    repository = parse_any(image).repository
    names = _names(session, repository, imgpkg_internal_tags=imgpkg_internal_tags)
    tags = tuple(map(Tag, names if wanted is None else wanted.apply(names)))
    # Without digests, the list itself is the only request.
    return TagList(repository, _resolved(session, repository, tags, on_event) if digests else tags)


def _resolved(
    session: Session, repository: Repository, tags: tuple[Tag, ...], on_event: Hook
) -> tuple[Tag, ...]:
    def resolve_one(tag: Tag) -> Tag:
        return Tag(tag.name, session.client.resolve(repository.tag(tag.name)).digest)

    with open_workers(session, session.settings.concurrency, on_event, activity="resolving") as workers:
        return tuple(workers.map(resolve_one, tags))


def _filter(
    match: str | Iterable[str], where: Callable[[str], bool] | None, newest: int, *, prereleases: bool
) -> TagFilter | None:
    """Return the filter; None where all tags are wanted, as by every command."""
    if not (match or where or newest or prereleases):
        return None
    from imgpkg.operations.tag_filter import TagFilter

    return TagFilter.make(match, where, newest, prereleases=prereleases)


def _tags_of_store(
    store: ImageStore, image: str, wanted: TagFilter | None, *, imgpkg_internal_tags: bool
) -> TagList:
    """Return the tags of one repository, or those of all with their repositories in front."""
    named = {parse_any(image).repository} if image else {place.repository for place in store.tags}
    tags = tuple(
        (place.tag or "", Tag(str(place) if len(named) > 1 else place.tag or "", digest))
        for place, digest in store.tags.items()
        if place.repository in named
    )
    shown = [(name, tag) for name, tag in tags if imgpkg_internal_tags or not tag.is_internal]
    if wanted is not None:
        rank = {name: at for at, name in enumerate(wanted.apply(name for name, _ in shown))}
        shown = [(name, tag) for name, tag in shown if name in rank]
        if wanted.newest:
            shown.sort(key=lambda each: rank[each[0]])
    found = tuple(tag for _, tag in shown)
    return TagList(min(named, key=str) if named else store.repository, found)


def _names(session: Session, repository: Repository, *, imgpkg_internal_tags: bool) -> Iterator[str]:
    for tag in map(Tag, session.client.tags(repository)):
        # Hidden by default: a repository of a bundle has one internal tag for each image.
        if imgpkg_internal_tags or not tag.is_internal:
            yield tag.name


@operation
def resolve(
    image: str,
    *,
    session: Session,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Reference:
    """Return the digest reference that `image` names at present; a digest reference is checked to exist.

    Raises InvalidReference, TransportError or RegistryError: NotFound if there is no such image.
    """
    reference = parse_any(image)
    return reference.repository.digest(session.client.resolve(reference).digest)


def confirm_tag(client: RegistryClient, reference: Reference, digest: Digest) -> None:
    """Check that the tag `reference`, which was just written, names `digest`; repeat once after a pause.

    Some registries answer 201 to a manifest and do not store it. A credential that may write but not read
    cannot check: the tag is then assumed to exist. Raises VerificationError, or an error of the registry.
    """
    try:
        found = client.exists(reference)
        # Asked a second time, since replicas and caches may lag behind.
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
