"""What is in a repository, and what needs what: manifests, and the ties between them."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.oci import media
from imgpkg.oci.derived_tags import DerivedTag, TagKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.oci.descriptor import Digest


class Tie(Enum):
    """How a manifest belongs to another one; the value stands between their names."""

    CHILD = "is part of"
    NAMED = "is named by the bundle"
    ATTACHED = "is attached to"
    REFERRER = "refers to"
    SUBJECT = "is the subject of"


# The other manifest contains the digest of this one, and cannot be used without it.
_WHOLES = frozenset({Tie.CHILD, Tie.NAMED})


@dataclass(frozen=True, slots=True)
class GraphNode:
    """A manifest of the repository; sizes are in bytes.

    `children` is all that an index lists, also what looks like a blob and may be of a later kind of manifest.
    `images` are those of the lock of a bundle, `referrers` what the API of the registry lists, `blobs` the
    configuration and layers with their sizes. `problem` says why it is not known what the manifest needs.
    `cuts` are the indexes of a bundle that are here with some of their platforms: the digest here, and the
    one in the lock.
    """

    digest: Digest
    media_type: str = media.OCI_MANIFEST
    size: int = 0
    children: tuple[Digest, ...] = ()
    images: tuple[Digest, ...] = ()
    subject: Digest | None = None
    referrers: tuple[Digest, ...] = ()
    blobs: tuple[tuple[Digest, int], ...] = ()
    problem: str = ""
    cuts: tuple[tuple[Digest, Digest], ...] = ()

    @property
    def whole_size(self) -> int:
        """The size of the manifest with its configuration and layers."""
        return self.size + sum(size for _, size in self.blobs)

    def links(self) -> tuple[Digest, ...]:
        """Return the digests of all manifests that this one, or the registry for it, names."""
        subject = () if self.subject is None else (self.subject,)
        blobs = {digest for digest, _ in self.blobs}
        children = (child for child in self.children if child not in blobs)
        return (*children, *self.images, *self.referrers, *subject)


class Graph:
    """The manifests of a repository and its tags; digests that are not in the repository lead nowhere."""

    def __init__(
        self, nodes: Iterable[GraphNode], tags: Mapping[str, Digest], dangling: Iterable[str] = ()
    ) -> None:
        self.nodes = {node.digest: node for node in nodes}
        self.tags = dict(sorted(tags.items()))
        # Tags that name no manifest.
        self.dangling = tuple(sorted(dangling))
        self._tags_of: dict[Digest, list[str]] = {}
        self._attached: dict[Digest, list[Digest]] = {}
        self._referrers: dict[Digest, list[Digest]] = {}
        for tag, digest in self.tags.items():
            self._tags_of.setdefault(digest, []).append(tag)
            derived = self.derived(tag)
            if derived is not None:
                self._attached.setdefault(derived.digest, []).append(digest)
        for node in self.nodes.values():
            if node.subject is not None:
                self._referrers.setdefault(node.subject, []).append(node.digest)
        cuts = {pair for node in self.nodes.values() for pair in node.cuts if pair[0] in self.nodes}
        self._wholes = {whole for _, whole in cuts}
        # What is attached to a whole index belongs to what was copied of it.
        for here, whole in sorted(cuts):
            self._attached.setdefault(here, []).extend(self._attached.get(whole, ()))
            self._referrers.setdefault(here, []).extend(self._referrers.get(whole, ()))

    def knows(self, digest: Digest) -> bool:
        """Return whether the manifest is in the repository, or a part of it if it is an index."""
        return digest in self.nodes or digest in self._wholes

    def tags_of(self, digest: Digest) -> tuple[str, ...]:
        """Return all tags of a manifest, sorted."""
        return tuple(self._tags_of.get(digest, ()))

    def derived(self, tag: str) -> DerivedTag | None:
        """Return what `tag` was made from; None for a tag that people chose.

        A tag with the form of that of referrers names an index of them: other programs, too, name images by a
        hash.
        """
        derived = DerivedTag.parse(tag)
        if derived is None or derived.kind is not TagKind.REFERRERS:
            return derived
        node = self.nodes[self.tags[tag]]
        listed = [self.nodes[child] for child in node.children if child in self.nodes]
        is_list = not listed or any(child.subject == derived.digest for child in listed)
        return derived if node.media_type in media.INDEXES and is_list else None

    def ties(self, digest: Digest) -> Iterator[tuple[Tie, Digest]]:
        """Yield what belongs to the manifest `digest` and is in the repository; it stays while this stays."""
        node = self.nodes[digest]
        subject = () if node.subject is None else (node.subject,)
        for tie, found in (
            (Tie.CHILD, node.children),
            (Tie.NAMED, node.images),
            (Tie.ATTACHED, self._attached.get(digest, ())),
            (Tie.REFERRER, (*node.referrers, *self._referrers.get(digest, ()))),
            (Tie.SUBJECT, subject),
        ):
            yield from ((tie, other) for other in found if other in self.nodes and other != digest)

    def reach(self, roots: Iterable[Digest]) -> dict[Digest, tuple[Tie, Digest] | None]:
        """Return `roots` and all that belongs to them, each with the tie by which it was reached first."""
        found: dict[Digest, tuple[Tie, Digest] | None] = dict.fromkeys(roots)
        queue = deque(found)
        while queue:
            digest = queue.popleft()
            for tie, other in self.ties(digest):
                if other not in found:
                    found[other] = (tie, digest)
                    queue.append(other)
        return found

    def order(self, digests: Iterable[Digest]) -> Iterator[tuple[Digest, tuple[Digest, ...]]]:
        """Yield `digests` in the order in which they may be deleted, each with what must be gone before.

        An index comes before its children, a bundle before its images, and an image before what is attached
        to it, so that nothing is visible without its parts. What has become free follows at once, so that an
        interruption leaves few manifests that no tag leads to.
        """
        wanted = dict.fromkeys(digests)
        followers = {digest: self._followers(digest, wanted) for digest in wanted}
        before: dict[Digest, list[Digest]] = {digest: [] for digest in wanted}
        # How many must be gone before, and how many of them contain it.
        missing, whole = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0)
        for digest, others in followers.items():
            for other, is_part in others.items():
                before[other].append(digest)
                missing[other] += 1
                whole[other] += is_part
        done: set[Digest] = set()
        # What is attached can go round in circles, but no content contains its own digest: where nothing is
        # ready, there is something that is no part of what is left.
        free = deque(
            sorted((digest for digest in wanted if not whole[digest]), key=lambda each: missing[each] > 0)
        )
        ready: list[Digest] = []
        while ready or free:
            digest = ready.pop() if ready else free.popleft()
            if digest in done:
                continue
            yield digest, tuple(other for other in before[digest] if other in done)
            done.add(digest)
            for other, is_part in reversed(followers[digest].items()):
                missing[other] -= 1
                whole[other] -= is_part
                if not missing[other]:
                    ready.append(other)
                elif is_part and not whole[other]:
                    free.append(other)

    def _followers(self, digest: Digest, wanted: Mapping[Digest, None]) -> dict[Digest, bool]:
        """Return what may only go after `digest`; True for what is a part of it."""
        found: dict[Digest, bool] = {}
        for tie, other in self.ties(digest):
            if tie is not Tie.SUBJECT and other in wanted:
                found[other] = found.get(other, False) or tie in _WHOLES
        return found
