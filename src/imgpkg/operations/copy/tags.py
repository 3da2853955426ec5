"""Further tags at the destination, for the image or bundle that a copy was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import replace
from imgpkg.errors import UsageError
from imgpkg.oci.derived_tags import DerivedTag, TagKind
from imgpkg.operations.copy.plan import Root, digests_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.plan import OpenedSource

_ATTACHED = frozenset({TagKind.SIGNATURES, TagKind.ATTESTATIONS, TagKind.SBOM})
# More would hide what the error says.
_MOST_NAMED = 5


def check_names(tags: Iterable[str], repository: Repository) -> None:
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
    there = digests_of(roots)
    alone = [each for each in roots if there.isdisjoint(subjects_of(each))]
    first = {each.node.manifest.digest: each for each in alone}
    if len(first) == 1:
        return next(iter(first.values()))
    named = [str(each.item.reference) for each in first.values()][:_MOST_NAMED]
    more = f" and {len(first) - len(named)} more" if len(first) > len(named) else ""
    raise UsageError(
        f"Expected one image or bundle for --to-tag, but there are {len(first)} to copy: "
        f"{', '.join(named)}{more}"
    )


def subjects_of(root: Root) -> tuple[Digest, ...]:
    """Return the digests of what `root` is attached to, by its tag or by its field `subject`.

    A tag that a person chose makes an image of its own of what has a subject.
    """
    derived = DerivedTag.parse(root.item.tag)
    by_tag = () if derived is None or derived.kind not in _ATTACHED else (derived.digest,)
    subject = root.node.manifest.subject
    is_referrer = subject is not None and (by_tag or not root.item.tag)
    return (*by_tag, subject.digest) if subject is not None and is_referrer else by_tag
