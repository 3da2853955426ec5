"""What a repository has already of what is to be written to it, for as few questions as that takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from imgpkg.errors import NotFound, RegistryError, doing
from imgpkg.operations.plan import nodes_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet

    from imgpkg.operations.plan import BlobMove, Root, TransferPlan
    from imgpkg.operations.transfer import Destination
    from imgpkg.operations.work import Work

# Below this many bytes asking whether a blob is there costs as much as sending it.
WORTH_ASKING = 1 << 20
# From this many parts on, one question for all tags of the destination pays for itself.
_WORTH_LISTING = 10
# A repository with more tags is asked for each tag instead: lists come in pages, one after another.
_MOST_TAGS = 1000


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
