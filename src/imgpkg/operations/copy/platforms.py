"""Indexes that are copied with some of their platforms: the cut, what goes with it, and its mark in files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image
from imgpkg.dataclass import replace
from imgpkg.errors import ArchiveError, ImgpkgError, UsageError
from imgpkg.oci.cut import Cut
from imgpkg.oci.platform import Platform, entries_for, platform_of
from imgpkg.operations.copy.plan import CUT_LABEL, Node, Root, digests_of
from imgpkg.operations.copy.tags import subjects_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.operations.copy.attachments import AttachmentNotes
    from imgpkg.operations.copy.plan import Item
    from imgpkg.operations.copy.values import Log

# More would hide what the message says.
_MOST_NAMED = 20


def restricted(
    roots: Sequence[Root],
    platforms: Sequence[Platform],
    log: Log,
    notes: AttachmentNotes | None = None,
) -> tuple[Root, ...]:
    """Return `roots` with all indexes cut to `platforms`, without what is attached to images left out.

    Images that are no index, and indexes without any platform, stay as they are, and so does what is attached
    to something. A warning about what is attached to an index waits in `notes`, if there are some. Raises
    UsageError for indexes that have none of the platforms.
    """
    there = digests_of(roots)
    choices = {root.item.key: _Cutting(platforms) for root in roots if there.isdisjoint(subjects_of(root))}
    done = tuple(_cut(root, choices[root.item.key]) if root.item.key in choices else root for root in roots)
    _check(done, choices, platforms, log)
    kept = _with_subjects(done, {entry for choice in choices.values() for entry in choice.dropped})
    _report(kept, platforms, log, notes)
    return kept


class _Cutting:
    """What is kept of the tree of one root, found while it is visited."""

    def __init__(self, platforms: Sequence[Platform]) -> None:
        self.platforms = platforms
        self.kept: set[Digest] = set()
        self.dropped: set[Digest] = set()
        self.indexes: dict[Digest, Manifest] = {}
        self.listed: dict[Platform, None] = {}
        self.found: set[Platform] = set()

    def visit(self, node: Node) -> bool:
        """Choose from the entries of an index, and of all nested in it; return whether any is left."""
        manifest = node.manifest
        if not manifest.is_index:
            return True
        below = {child.manifest.digest: child for child in node.children}
        wanted = {entry.digest for entry in entries_for(manifest, self.platforms)}
        kept = {digest for digest in wanted if digest not in below or self.visit(below[digest])}
        for platform in filter(None, map(platform_of, manifest.manifests)):
            self.listed.setdefault(platform)
        self.found |= {
            found.canonical
            for entry in manifest.manifests
            if entry.digest in kept and (found := platform_of(entry)) is not None
        }
        self.kept |= kept
        dropped = {entry.digest for entry in manifest.manifests} - kept
        self.dropped |= dropped
        if kept and (dropped or not kept.isdisjoint(self.indexes)):
            self.indexes[manifest.digest] = manifest
        return bool(kept)

    @property
    def lacking(self) -> list[Platform]:
        """The platforms that were asked for and are not listed; none for an index that lists none."""
        return [
            platform for platform in self.platforms if self.listed and platform.canonical not in self.found
        ]


def _cut(root: Root, choice: _Cutting) -> Root:
    """Return `root` with its cut, if anything of it is left out."""
    choice.visit(root.node)
    if root.node.manifest.digest not in choice.indexes or len(choice.lacking) == len(choice.platforms):
        return root
    before = {} if root.item.cut is None else root.item.cut.results
    # An index that was cut before is cut further, and is still known by the digest of the whole one.
    wholes = {result.digest: whole for whole, result in before.items()}
    first = () if root.item.cut is None else root.item.cut.indexes
    others = reversed([index for digest, index in choice.indexes.items() if digest not in wholes])
    cut = Cut.make((*first, *others), (wholes.get(digest, digest) for digest in choice.kept))
    results = {before[whole].digest if whole in before else whole: new for whole, new in cut.results.items()}
    return Root(replace(root.item, cut=cut), _rebuilt(root.node, results, choice.kept))


def _rebuilt(node: Node, results: Mapping[Digest, Manifest], kept: Collection[Digest]) -> Node:
    """Return the tree with the manifests of `results` in place of those with these digests."""
    manifest = results.get(node.manifest.digest)
    if manifest is None:
        return node
    children = (child for child in node.children if child.manifest.digest in kept)
    reference = node.image.reference.repository.digest(manifest.digest)
    return Node(Image(reference, manifest), tuple(_rebuilt(child, results, kept) for child in children))


def _check(
    roots: Iterable[Root],
    choices: Mapping[tuple[str, str], _Cutting],
    platforms: Sequence[Platform],
    log: Log,
) -> None:
    """Raise UsageError where nothing would be left, and warn where a platform is missing."""
    lacking = {root.named: choices[root.item.key] for root in roots if root.item.key in choices}
    lacking = {named: choice for named, choice in lacking.items() if choice.lacking}
    none = [named for named, choice in lacking.items() if len(choice.lacking) == len(platforms)]
    if none:
        lines = [f"  {named} has {_shown(lacking[named].listed)}" for named in none[:_MOST_NAMED]]
        more = [f"  and {len(none) - _MOST_NAMED} more"] if len(none) > _MOST_NAMED else []
        what = "1 image is" if len(none) == 1 else f"{len(none)} images are"
        raise UsageError(
            f"{what} not there for {_shown(platforms)}",
            hints=("Add a platform that each of them has to --platform, or leave them out with --exclude.",),
            lines=(*lines, *more),
        )
    for named, choice in lacking.items():
        log.caution(f"{named} is not there for {_shown(choice.lacking)}; it has {_shown(choice.listed)}")


def _shown(platforms: Iterable[Platform]) -> str:
    return ", ".join(map(str, platforms))


def _with_subjects(roots: tuple[Root, ...], dropped: Collection[Digest]) -> tuple[Root, ...]:
    """Return `roots` without what is attached only to images that were `dropped`, at any depth."""
    left = list(roots)
    gone = frozenset(dropped) - digests_of(left)
    while orphans := [root for root in left if _is_orphan(root, gone)]:
        left = [root for root in left if not _is_orphan(root, gone)]
        # An SBOM that is left out may have a signature.
        gone |= digests_of(orphans) - digests_of(left)
    return tuple(left)


def _is_orphan(root: Root, gone: Collection[Digest]) -> bool:
    subjects = subjects_of(root)
    return bool(subjects) and all(subject in gone for subject in subjects)


def _report(
    roots: Sequence[Root], platforms: Sequence[Platform], log: Log, notes: AttachmentNotes | None
) -> None:
    wholes = {root.item.cut.whole.digest for root in roots if root.item.cut is not None}
    log(f"cut {_indexes(len(wholes))} to {_shown(platforms)}")
    signed = wholes.intersection(subject for root in roots for subject in subjects_of(root))
    if signed and notes is None:
        log.caution(attached_text(len(signed)))
    elif notes is not None:
        notes.cut(len(signed))


def attached_text(count: int) -> str:
    """Return what is said of so many indexes that are cut, and have something attached to them."""
    return (
        f"{_indexes(count)} with signatures or other attachments: what is left has another digest, "
        "for which other programs do not find these; imgpkg does"
    )


def _indexes(count: int) -> str:
    return "1 index" if count == 1 else f"{count} indexes"


def read_cut(item: Item) -> Item:
    """Return `item` with the cut that its labels have; raise ArchiveError for a label that proves nothing."""
    text = item.labels.get(CUT_LABEL)
    if text is None:
        return item
    try:
        found = json.loads(text)
        cut = Cut.parse(list(map(str, found["keptDigests"])), list(map(str, found["wholeIndexes"])))
    except (ImgpkgError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise ArchiveError(f"the label {CUT_LABEL} of {item.reference} is damaged: {error}") from error
    if cut.result.digest != item.reference.digest:
        raise ArchiveError(f"the label {CUT_LABEL} of {item.reference} is that of {cut.result.digest}")
    labels = {key: value for key, value in item.labels.items() if key != CUT_LABEL}
    return replace(item, labels=labels, cut=cut)
