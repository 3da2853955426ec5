"""Further tags at the destination, for the image or bundle that a copy was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.bundle.derived_tags import DerivedTag, TagKind
from imgpkg.dataclass import replace
from imgpkg.errors import UsageError
from imgpkg.operations.copy.plan import Root, nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.plan import OpenedSource

_ATTACHED = frozenset({TagKind.SIGNATURES, TagKind.ATTESTATIONS, TagKind.SBOM})
# More would hide what the error says.
_MOST_NAMED = 5


def check_tags(tags: Iterable[str], repository: Repository) -> None:
    """Raise InvalidReference for what is no tag, or UsageError for a tag that is made from a digest."""
    for tag in tags:
        repository.tag(tag)
        if DerivedTag.parse(tag) is not None:
            raise UsageError(
                f"Expected --to-tag to be a name of your own, but {tag} has the form of a tag that programs "
                "make from a digest"
            )


def with_tags(opened: OpenedSource, tags: Sequence[str]) -> OpenedSource:
    """Return `opened` with `tags` on the image or bundle that was asked for, besides the tag that it has.

    Raises UsageError where several images were asked for.
    """
    top = _asked_for(opened)
    wanted = list(dict.fromkeys((*((top.item.tag,) if top.item.tag else ()), *tags)))
    tagged = [Root(replace(top.item, tag=tag), top.node) for tag in wanted]
    roots: list[Root] = []
    for root in opened.plan.roots:
        if root.item.key == top.item.key:
            roots += tagged
        elif root.item.tag not in wanted or root.node.manifest.digest != top.node.manifest.digest:
            roots.append(root)
    collected = opened.collected
    if collected.root is not None:
        # A lock file names the first one.
        collected = replace(collected, root=tagged[0].item)
    return replace(opened, collected=collected, plan=replace(opened.plan, roots=tuple(roots)))


def _asked_for(opened: OpenedSource) -> Root:
    roots, root = opened.plan.roots, opened.collected.root
    if root is not None:
        return next(each for each in roots if each.item.key == root.key)
    there = {node.manifest.digest for node in nodes_of(roots)}
    first = {each.node.manifest.digest: each for each in roots if not is_attached(each, there)}
    if len(first) == 1:
        return next(iter(first.values()))
    named = [str(each.item.reference) for each in first.values()][:_MOST_NAMED]
    more = f" and {len(first) - len(named)} more" if len(first) > len(named) else ""
    raise UsageError(
        f"Expected one image or bundle for --to-tag, but there are {len(first)} to copy: "
        f"{', '.join(named)}{more}"
    )


def is_attached(root: Root, there: Iterable[object]) -> bool:
    """Return whether `root` is copied because of another image, whose digest is `there`."""
    derived = DerivedTag.parse(root.item.tag)
    if derived is not None and derived.kind in _ATTACHED and derived.digest in there:
        return True
    subject = root.node.manifest.subject
    return subject is not None and subject.digest in there
