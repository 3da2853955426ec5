"""The repository that a copy writes to, and what it has already, for as few questions as that takes."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.image import internal_tag, repository_based_tag
from imgpkg.errors import ArchiveError, NotFound, RegistryError, doing
from imgpkg.operations.copy.plan import nodes_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from imgpkg.oci.descriptor import Digest, Readable
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.copy.plan import BlobMove, Root, TransferPlan
    from imgpkg.operations.copy.source import Origin
    from imgpkg.operations.copy.values import CopyOptions
    from imgpkg.operations.work import Work
    from imgpkg.registry.client import RegistryClient
    from imgpkg.session import Session

# Below this many bytes asking whether a blob is there costs as much as sending it.
WORTH_ASKING = 1 << 20
# From this many parts on, one question for all tags of the destination pays for itself.
_WORTH_LISTING = 10
# A repository with more tags is asked for each tag instead: lists come in pages, one after another.
_MOST_TAGS = 1000
_FLAG = "--include-non-distributable-layers"

OpenBlob: TypeAlias = "Callable[[BlobMove], AbstractContextManager[Readable]]"


@dataclass(frozen=True, slots=True)
class Destination:
    """The repository to write to; `tag_of` names the tag under which a root is uploaded."""

    client: RegistryClient
    repository: Repository
    tag_of: Callable[[Root], str]
    mounts: bool = True

    def reference(self, root: Root) -> Reference:
        """Where `root` is uploaded."""
        return self.repository.tag(self.tag_of(root))

    def holds(self, reference: Reference, digest: Digest) -> bool:
        """Ask whether `reference` names `digest` already."""
        return self.client.names(reference, digest)

    def has(self, reference: Reference) -> bool:
        """Tell whether `reference` names anything; a registry that refuses the question counts as a no."""
        try:
            return self.client.exists(reference) is not None
        except RegistryError:
            return False

    def may_mount(self, move: BlobMove) -> bool:
        """Tell whether the registry may have the blob without its being sent."""
        return (self.mounts or move.is_missing) and move.origin.registry == self.repository.registry

    def check_source(self, move: BlobMove, open_blob: OpenBlob) -> None:
        """Raise ArchiveError for a blob that the copied file does not hold, nor the destination.

        One that may be mounted is not asked for.
        """
        if move.is_missing and not self.may_mount(move):
            if self.client.has_blob(self.repository, move.descriptor.digest):
                return
            with explained(move, self), open_blob(move):
                pass

    def put(self, reference: Reference, manifest: Manifest, *, is_fresh: bool) -> bool:
        """Make `reference` name `manifest`; a tag that names it already is not written again.

        Registries with immutable tags refuse even an equal manifest: what they have is then compared.
        Returns whether the registry took the manifest, and was not asked whether it has it.
        """
        if not is_fresh and self.holds(reference, manifest.digest):
            return False
        try:
            self.client.push_manifest(reference, manifest)
        except RegistryError:
            if not (is_fresh and self.holds(reference, manifest.digest)):
                raise
            return False
        return True


def destination(
    origin: Origin, session: Session, repository: Repository, options: CopyOptions
) -> Destination:
    """Say how the images of `origin` are to be written to `repository`."""
    tag_of = _repository_based if options.repo_based_tags else _by_digest
    return Destination(session.client, repository, tag_of, mounts=not origin.is_local)


def jobs(origin: Origin, session: Session, repository: Repository) -> int:
    """Return how many requests to have under way; where nothing but names moves there may be more of them."""
    registries = {move.origin.registry for move in origin.plan.blobs.values()}
    is_mounting = not origin.is_local and registries == {repository.registry}
    return session.settings.concurrency * (2 if is_mounting else 1)


def _by_digest(root: Root) -> str:
    return internal_tag(root.node.manifest.digest)


def _repository_based(root: Root) -> str:
    return repository_based_tag(root.item.origin or str(root.item.reference), root.node.manifest.digest)


@contextmanager
def explained(move: BlobMove, to: Destination) -> Iterator[None]:
    """Say of a blob that the copied file does not hold where else it was looked for, and what to do."""
    try:
        yield
    except ArchiveError as error:
        if move.is_missing:
            error.hints = (*error.hints, _nowhere(move, to))
        raise


def _nowhere(move: BlobMove, to: Destination) -> str:
    mounted = f", and could not be mounted from {move.origin}" if to.may_mount(move) else ""
    advice = "" if move.descriptor.is_distributable else f" with {_FLAG}, or copy it without that flag"
    return f"{move.descriptor.digest} is not in {to.repository} either{mounted}: make the file again{advice}."


@dataclass(frozen=True, slots=True)
class Survey:
    """What is missing: the roots, one for each upload tag, and their blobs, the largest first.

    The destination is fresh when nothing was found in it: then asking for each of the blobs is no use.
    """

    roots: tuple[Root, ...]
    moves: tuple[BlobMove, ...]
    is_fresh: bool

    @property
    def missing(self) -> tuple[BlobMove, ...]:
        """The blobs that the file which is copied from does not hold."""
        return tuple(move for move in self.moves if move.is_missing)

    @property
    def at_hand(self) -> tuple[BlobMove, ...]:
        """All others."""
        return tuple(move for move in self.moves if not move.is_missing)


def survey(plan: TransferPlan, to: Destination, work: Work) -> Survey:
    """Find out what of `plan` is missing at the destination; nothing is written.

    Raises an error of the registry.
    """
    distinct = {to.tag_of(root): root for root in plan.roots}
    with doing("Checking what is there"):
        named = _tags(plan, to)
        suspects = [root for tag, root in distinct.items() if named is None or tag in named]
        held = _held(suspects, to, work)
        roots = tuple(root for tag, root in distinct.items() if tag not in held)
        moves = _needed(plan, roots)
        is_fresh = not held and not _has_any(moves, to, work)
    return Survey(roots, moves, is_fresh)


def _tags(plan: TransferPlan, to: Destination) -> AbstractSet[str] | None:
    """List the tags of the destination; None when they are too many, or nobody may list them.

    A small copy does without and takes them all for missing.
    """
    if len(plan.blobs) + len(plan.roots) < _WORTH_LISTING:
        return frozenset()
    try:
        tags = frozenset(islice(to.client.tags(to.repository), _MOST_TAGS))
    except NotFound:
        return frozenset()
    except RegistryError:
        return None
    return tags if len(tags) < _MOST_TAGS else None


def _held(suspects: Sequence[Root], to: Destination, work: Work) -> AbstractSet[str]:
    """Return the upload tags that name what they should."""
    answers = work.map(lambda root: to.holds(to.reference(root), root.node.manifest.digest), suspects)
    return {to.tag_of(root) for root, is_held in zip(suspects, answers, strict=True) if is_held}


def _needed(plan: TransferPlan, roots: Sequence[Root]) -> tuple[BlobMove, ...]:
    """List the blobs of `roots` that the plan moves, largest first so that no long one starts last."""
    digests = {blob.digest for node in nodes_of(roots) for blob in node.manifest.parts()}
    moves = [move for digest, move in plan.blobs.items() if digest in digests]
    return tuple(sorted(moves, key=lambda move: -move.descriptor.size))


def _has_any(moves: Sequence[BlobMove], to: Destination, work: Work) -> bool:
    """Tell whether an interrupted copy left blobs: it began with the same ones, as many as it had workers."""
    large = [
        move for move in moves[: work.jobs] if move.descriptor.size >= WORTH_ASKING and not to.may_mount(move)
    ]
    return any(work.map(lambda move: to.client.has_blob(to.repository, move.descriptor.digest), large))
