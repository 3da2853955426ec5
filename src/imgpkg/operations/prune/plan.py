"""The plan of a prune: what stays, what goes, in which order, and why."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidManifest, UsageError
from imgpkg.oci.derived_tags import TagKind
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.prune.rules import Keep, Reason, ReasonKind, Roots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.derived_tags import DerivedTag
    from imgpkg.operations.prune.graph import Graph, GraphNode, Tie


@dataclass(frozen=True, slots=True)
class PlannedManifest:
    """A manifest that stays or goes, with all of its tags; `size` is that of the image, in bytes.

    `after` are the manifests that must be gone before this one may go.
    """

    digest: Digest
    tags: tuple[str, ...]
    reason: Reason
    size: int = 0
    media_type: str = ""
    after: tuple[Digest, ...] = ()


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What stays in a repository, and what goes, in the order in which it is deleted.

    `size` is what is stored for the latter alone, in bytes; other repositories may share it. `dangling` are
    tags that name nothing. `notes` are sentences about what could not be found or read.
    """

    repository: Repository
    kept: tuple[PlannedManifest, ...]
    removed: tuple[PlannedManifest, ...]
    size: int = 0
    dangling: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def make_plan(
    repository: Repository, graph: Graph, keep: Keep, only: frozenset[Digest] | None = None
) -> PrunePlan:
    """Return the plan: what `keep` does not lead to is removed, and nothing that is not in `only`, if given.

    Raises UsageError for a tag or digest that is not there and if nothing would be kept, InvalidManifest for
    a manifest that is kept and whose needs are not known.
    """
    roots = Roots(repository, graph, keep)
    if not roots.reasons:
        raise UsageError(f"nothing in {repository} is kept by these rules, and everything would be deleted")
    kept = _with_reasons(graph, roots.reasons)
    if only is not None:
        # They and all that belongs to them.
        others = sorted(graph.nodes.keys() - kept.keys() - only)
        unlisted = dict.fromkeys(others, Reason(ReasonKind.UNLISTED))
        kept = _with_reasons(graph, {**roots.reasons, **unlisted})
    removed = _with_reasons(graph, _starts(graph, kept), without=kept)
    _check_known(repository, graph, kept)
    notes = (
        f"what {_name(graph, digest)} leads to stays, as it could not be read: {graph.nodes[digest].problem}"
        for digest in removed
        if graph.nodes[digest].problem
    )
    return PrunePlan(
        repository,
        tuple(_planned(graph, digest, reason) for digest, reason in kept.items()),
        tuple(_planned(graph, digest, removed[digest], after) for digest, after in graph.order(removed)),
        _size(graph, removed, kept),
        graph.dangling,
        (*roots.notes, *notes),
    )


def _check_known(repository: Repository, graph: Graph, kept: Iterable[Digest]) -> None:
    for digest in kept:
        problem = graph.nodes[digest].problem
        if problem:
            raise InvalidManifest(
                f"{_name(graph, digest)} in {repository} stays, and it is not known what it needs: {problem}",
                hints=("Nothing can be deleted before this image is repaired, or is no longer kept.",),
            )


def _starts(graph: Graph, kept: Mapping[Digest, Reason]) -> dict[Digest, Reason]:
    """Return what goes by itself: what people have tagged, then what only tags of programs lead to."""
    starts: dict[Digest, Reason] = {}
    left = {tag: digest for tag, digest in graph.tags.items() if digest not in kept}

    def add(is_wanted: Callable[[DerivedTag | None], bool]) -> None:
        reached = graph.reach(starts)
        for tag, digest in left.items():
            derived = graph.derived(tag)
            if digest not in reached and is_wanted(derived):
                is_orphan = derived is not None and not graph.knows(derived.digest)
                orphan = Reason(ReasonKind.ORPHAN, str(derived.digest) if derived is not None else "")
                starts.setdefault(digest, orphan if is_orphan else Reason(ReasonKind.NOT_KEPT))

    # In this order, so that the reason of what belongs to something names it.
    add(lambda derived: derived is None)
    add(lambda derived: derived is not None and derived.kind is TagKind.IMAGE)
    add(lambda derived: derived is not None)
    # What only a rule has led to, or something that is kept.
    others = graph.nodes.keys() - kept.keys() - graph.reach(starts).keys()
    starts.update((digest, Reason(ReasonKind.NOT_KEPT)) for digest in sorted(others))
    return starts


def _with_reasons(
    graph: Graph, starts: Mapping[Digest, Reason], without: Iterable[Digest] = ()
) -> dict[Digest, Reason]:
    left_out = frozenset(without)
    return {
        digest: starts[digest] if tie is None else _reason(graph, *tie)
        for digest, tie in graph.reach(starts).items()
        if digest not in left_out
    }


def _reason(graph: Graph, tie: Tie, digest: Digest) -> Reason:
    return Reason(ReasonKind(tie.value), _name(graph, digest))


def _name(graph: Graph, digest: Digest) -> str:
    """Return the first tag that people gave the manifest, else its digest."""
    return next((tag for tag in graph.tags_of(digest) if graph.derived(tag) is None), str(digest))


def _planned(graph: Graph, digest: Digest, reason: Reason, after: tuple[Digest, ...] = ()) -> PlannedManifest:
    node = graph.nodes[digest]
    return PlannedManifest(digest, graph.tags_of(digest), reason, node.whole_size, node.media_type, after)


def _size(graph: Graph, removed: Iterable[Digest], kept: Iterable[Digest]) -> int:
    shared = {blob for digest in kept for blob, _ in graph.nodes[digest].blobs}
    nodes: list[GraphNode] = [graph.nodes[digest] for digest in removed]
    blobs = {blob: size for node in nodes for blob, size in node.blobs if blob not in shared}
    return sum(node.size for node in nodes) + sum(blobs.values())
