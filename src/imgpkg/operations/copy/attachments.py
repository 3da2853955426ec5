"""What is attached to the images of a copy: all of it taken along, or said to be left behind."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image
from imgpkg.oci.derived_tags import DerivedTag, TagKind
from imgpkg.operations.attachments import (
    DENIED,
    AttachmentKind,
    AttachmentSearch,
    FoundAttachment,
    check_chain,
    digest_of,
    listed_tags,
)
from imgpkg.operations.copy.plan import Item, Root, nodes_of
from imgpkg.operations.copy.platforms import attached_text
from imgpkg.operations.copy.values import attached_root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from imgpkg.bundle.image import Workers
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.copy.values import Log
    from imgpkg.registry.client import RegistryClient

_NOUNS = {
    AttachmentKind.SIGNATURE: ("signature", "signatures"),
    AttachmentKind.ATTESTATION: ("attestation", "attestations"),
    AttachmentKind.SBOM: ("SBOM", "SBOMs"),
    AttachmentKind.REFERRER: ("referrer", "referrers"),
}
_SEEN = {
    TagKind.SIGNATURES: "signatures",
    TagKind.ATTESTATIONS: "attestations",
    TagKind.SBOM: "SBOMs",
    TagKind.REFERRERS: "referrers",
}


def with_attachments(
    roots: tuple[Root, ...],
    search: AttachmentSearch,
    read: Callable[[Iterable[Item]], tuple[Root, ...]],
    log: Log,
    notes: AttachmentNotes,
) -> tuple[Root, ...]:
    """Return `roots` and everything that is attached to them, to their children, and to what is attached.

    `read` returns the trees of items. Each image is searched once, so that what is attached in a circle ends.
    Raises InvalidManifest for a chain that is too long, or an error of the registry.
    """
    all_of = {root.item.key: root for root in roots}
    asked: set[Reference] = set()
    problems: list[FoundAttachment] = []
    tops = {root.node.image.reference for root in roots}
    depth = 0
    while new := sorted({node.image.reference for node in nodes_of(all_of.values())} - asked):
        check_chain(new[0], depth)
        asked.update(new)
        # Images are asked for by name, and first: that shows whether the lists of tags can be relied on.
        found = search.find([one for one in new if one in tops], by_name=True) if depth == 0 else []
        found += search.find([one for one in new if depth or one not in tops], by_name=False)
        problems += [one for one in found if one.problem]
        items = {item.key: item for item in map(_item, found) if item is not None}
        _add(all_of, items, read)
        depth += 1
    _report(problems, log, notes)
    return tuple(all_of[key] for key in sorted(all_of))


def with_referrers(
    roots: tuple[Root, ...],
    client: RegistryClient,
    workers: Workers,
    read: Callable[[Iterable[Item]], tuple[Root, ...]],
) -> tuple[Root, ...]:
    """Return `roots` and the referrers of the roots and of all their children, and the referrers of those.

    Raises InvalidManifest for a chain of referrers that is too long, or an error of the registry.
    """
    all_of = {root.item.key: root for root in roots}
    asked: set[Reference] = set()
    depth = 0
    # Each round finds the referrers of what the round before has found.
    while nodes := {node.image.reference for node in nodes_of(all_of.values())} - asked:
        check_chain(min(nodes, key=str), depth)
        # Referrers may refer to each other: each is asked for once.
        asked |= nodes
        attached = workers.map(partial(_referring, client), nodes)
        _add(all_of, {item.key: item for items in attached for item in items}, read)
        depth += 1
    return tuple(all_of[key] for key in sorted(all_of))


def _referring(client: RegistryClient, reference: Reference) -> list[Item]:
    repository = reference.repository
    found = client.referrers(repository, digest_of(reference))
    return [Item(repository.digest(entry.digest)) for entry in found]


def _add(
    all_of: dict[tuple[str, str], Root],
    items: Mapping[tuple[str, str], Item],
    read: Callable[[Iterable[Item]], tuple[Root, ...]],
) -> None:
    for root in read(item for key, item in items.items() if key not in all_of):
        all_of[root.item.key] = root


def _item(found: FoundAttachment) -> Item | None:
    if found.manifest is None:
        return None
    return Item(found.reference, found.tag, image=Image(found.reference, found.manifest))


def _report(problems: list[FoundAttachment], log: Log, notes: AttachmentNotes) -> None:
    """Warn about what was found and cannot be copied."""
    notes.deny(found for found in problems if found.problem == DENIED)
    for found in problems:
        if found.problem != DENIED:
            log.caution(f"{found.reference}, which refers to {found.image}, is left behind: {found.problem}")


def _place(found: FoundAttachment) -> str:
    if found.kind is AttachmentKind.REFERRER:
        return f"what refers to {found.image}"
    return str(found.reference)


def summary(roots: Iterable[Root]) -> str:
    """Return what of `roots` is attached to something: "2 signatures, 1 SBOM"; empty for nothing."""
    counts = Counter(attached.kind for attached in map(attached_root, roots) if attached is not None)
    return ", ".join(
        f"{counts[kind]} {_NOUNS[kind][counts[kind] != 1]}" for kind in AttachmentKind if counts[kind]
    )


class AttachmentNotes:
    """What a copy says once of what is attached to its images, however many batches these are read in.

    `lists` has the tags of each repository, so that each is listed once.
    """

    def __init__(self) -> None:
        self.lists: dict[Repository, frozenset[str] | None] = {}
        self._left: dict[tuple[Repository, str], DerivedTag] = {}
        self._copied: set[tuple[Repository, str]] = set()
        self._denied = 0
        self._example = ""
        self._cut = 0

    def look(self, roots: tuple[Root, ...], client: RegistryClient, workers: Workers) -> None:
        """Know what the tags of registries show to be attached to `roots`, and what of it is copied.

        Referrers that only the API of a registry lists have no tag.
        """
        places = repositories_of(roots)
        new = [place for place in places if place not in self.lists]
        self.lists.update(zip(new, workers.map(partial(listed_tags, client), new), strict=True))
        self._copied.update(
            (root.item.reference.repository, root.item.tag) for root in roots if root.item.tag
        )
        nodes = {node.image.reference for node in nodes_of(roots)}
        for repository in places:
            for tag in self.lists[repository] or ():
                derived = DerivedTag.parse(tag)
                if derived is not None and repository.digest(derived.digest) in nodes:
                    self._left[repository, tag] = derived

    def deny(self, problems: Iterable[FoundAttachment]) -> None:
        """Know of questions that were refused."""
        for found in problems:
            self._denied += 1
            self._example = self._example or _place(found)

    def cut(self, count: int) -> None:
        """Know of so many indexes that are cut, and have something attached to them."""
        self._cut += count

    def report(self, log: Log, *, has_referrers: bool) -> None:
        """Warn about all of that; with `has_referrers` these are in the copy."""
        if line := self._left_behind(has_referrers=has_referrers):
            log.caution(line)
        if self._denied:
            log.caution(
                f"{self._denied} questions for what is attached were refused (403), which counts as nothing "
                f"attached: some registries answer so for what does not exist; one was for {self._example}"
            )
        if self._cut:
            log.caution(attached_text(self._cut))

    def _left_behind(self, *, has_referrers: bool) -> str:
        seen: dict[Reference, set[TagKind]] = {}
        for (repository, tag), derived in self._left.items():
            is_copied = has_referrers and derived.kind is TagKind.REFERRERS
            if derived.kind in _SEEN and not is_copied and (repository, tag) not in self._copied:
                seen.setdefault(repository.digest(derived.digest), set()).add(derived.kind)
        if not seen:
            return ""
        kinds = [noun for kind, noun in _SEEN.items() if any(kind in found for found in seen.values())]
        have = "1 image has" if len(seen) == 1 else f"{len(seen)} images have"
        what = " and ".join(filter(None, [", ".join(kinds[:-1]), kinds[-1]]))
        return f"{have} {what} that are left behind (hint: --attachments takes them along)"


def repositories_of(roots: Iterable[Root]) -> list[Repository]:
    """Return the repositories from which `roots` and all below them are read, sorted."""
    return sorted({node.image.reference.repository for node in nodes_of(roots)})
