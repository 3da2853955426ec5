"""What stays in a repository, by rules: tags, patterns, digests, numbers of versions, lock files."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from imgpkg.bundle.lock import BundleLock, ImagesLock, read_lock
from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidReference, UsageError
from imgpkg.expression import expression
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference, Repository, listed
from imgpkg.oci.tag_version import TagVersion

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgpkg.operations.prune.graph import Graph
    from imgpkg.values import StrPath

_WILDCARDS = frozenset("*?[")
_PATTERN = expression(r"[A-Za-z0-9_.*?\[\]!-]+")
_INTERNAL = ".imgpkg"


class ReasonKind(Enum):
    """Why a manifest stays or goes; the value is a sentence, or comes before the name of something."""

    PATTERN = "matches"
    NEWEST = "is one of the newest versions"
    LOCK = "is in the lock file"
    NAMED = "is kept by name:"
    UNLISTED = "is not in the list of what may go"
    UNKNOWN = "has an internal tag of an unknown form:"
    NOT_KEPT = "matches no rule"
    ORPHAN = "belongs to what is not there:"
    CHILD = "is part of"
    BUNDLE = "is named by the bundle"
    ATTACHED = "is attached to"
    REFERRER = "refers to"
    SUBJECT = "is the subject of"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a manifest stays or goes, and the pattern, file or manifest that the reason is about."""

    kind: ReasonKind
    about: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.about}".rstrip()


@dataclass(frozen=True, slots=True)
class Keep:
    """The rules: tags written out, patterns for tags, digests, a number of versions, and lock files.

    A file is its name and the digests in it.
    """

    tags: tuple[str, ...] = ()
    patterns: tuple[str, ...] = ()
    digests: tuple[Digest, ...] = ()
    newest: int = 0
    locks: tuple[tuple[str, tuple[Digest, ...]], ...] = ()

    @classmethod
    def parse(
        cls,
        repository: Repository,
        keep: Iterable[str] = (),
        newest: int = 0,
        locks: Iterable[StrPath | ImagesLock | BundleLock] = (),
    ) -> Keep:
        """Parse rules for `repository`; raise UsageError, also for no rule, and the errors of lock files."""
        if newest < 0:
            raise UsageError(f"Expected --keep-newest to be >= 0, but was {newest}")
        tags: list[str] = []
        patterns: list[str] = []
        digests: list[Digest] = []
        for text in listed("tags, patterns and digests to keep", keep):
            found = _parse(repository, text)
            if isinstance(found, Digest):
                digests.append(found)
            else:
                (patterns if _WILDCARDS & set(found) else tags).append(found)
        read = tuple(map(_lock, listed("locks to keep", locks)))
        if not (tags or patterns or digests or newest or read):
            raise UsageError(
                "nothing says what to keep, and everything would be deleted: expected --keep, --keep-newest "
                "or --keep-lock"
            )
        return cls(tuple(tags), tuple(patterns), tuple(digests), newest, read)

    def all_digests(self) -> Iterator[Digest]:
        """Yield the digests that must be looked for, whether a tag leads to them or not."""
        yield from self.digests
        for _, digests in self.locks:
            yield from digests


def _parse(repository: Repository, text: str) -> str | Digest:
    """Return a digest, a tag or a pattern for tags; a whole reference must be one in `repository`."""
    try:
        if "/" in text and "@" not in text:
            reference = Reference.parse_tag(text)
        elif "@" in text:
            name, _, digest = text.partition("@")
            reference = Reference.parse_digest(text if name else f"{repository}@{digest}")
        elif ":" in text:
            return Digest.parse(text)
        elif _PATTERN.fullmatch(text):
            return text
        else:
            raise UsageError(f"--keep {text}: this is neither a pattern for tags nor a digest")
    except InvalidReference as error:
        raise UsageError(f"--keep {text}: {error}") from error
    if reference.repository != repository:
        raise UsageError(f"--keep {text}: this is not in the repository {repository}")
    return reference.digest if reference.digest is not None else str(reference.tag)


def _lock(lock: StrPath | ImagesLock | BundleLock) -> tuple[str, tuple[Digest, ...]]:
    name = "" if isinstance(lock, (ImagesLock, BundleLock)) else str(lock)
    read = lock if isinstance(lock, (ImagesLock, BundleLock)) else read_lock(lock)
    if isinstance(read, ImagesLock):
        return name, tuple(dict.fromkeys(image.digest for image in read.images))
    return name, () if read.reference.digest is None else (read.reference.digest,)


class Roots:
    """What the rules name: each digest with the first rule that does; `notes` say what is not there.

    Raises UsageError for a tag or digest that is not there.
    """

    def __init__(self, repository: Repository, graph: Graph, keep: Keep) -> None:
        self._repository = repository
        self._graph = graph
        self.notes: list[str] = []
        # Every pattern would match the internal tags of images that are not kept.
        self._chosen = {tag: digest for tag, digest in graph.tags.items() if graph.derived(tag) is None}
        self.reasons: dict[Digest, Reason] = {}
        for digest, reason in self._all(keep):
            self.reasons.setdefault(digest, reason)

    def _all(self, keep: Keep) -> Iterator[tuple[Digest, Reason]]:
        yield from map(self._tag, keep.tags)
        yield from map(self._digest, keep.digests)
        for pattern in keep.patterns:
            yield from self._pattern(pattern)
        yield from ((digest, Reason(ReasonKind.NEWEST)) for digest in newest(self._chosen, keep.newest))
        for name, digests in keep.locks:
            yield from self._lock(name, digests)
        for tag, digest in self._chosen.items():
            # A later version may have written it.
            if tag.endswith(_INTERNAL):
                yield digest, Reason(ReasonKind.UNKNOWN, tag)

    def _tag(self, tag: str) -> tuple[Digest, Reason]:
        if tag not in self._graph.tags:
            raise UsageError(f"--keep {tag}: there is no such tag in {self._repository}")
        return self._graph.tags[tag], Reason(ReasonKind.NAMED, tag)

    def _digest(self, digest: Digest) -> tuple[Digest, Reason]:
        if digest not in self._graph.nodes:
            raise UsageError(f"--keep {digest}: there is no such image in {self._repository}")
        return digest, Reason(ReasonKind.NAMED, str(digest))

    def _pattern(self, pattern: str) -> Iterator[tuple[Digest, Reason]]:
        matched = [digest for tag, digest in self._chosen.items() if fnmatchcase(tag, pattern)]
        if not matched:
            self.notes.append(f"--keep {pattern} matches no tag")
        yield from ((digest, Reason(ReasonKind.PATTERN, pattern)) for digest in matched)

    def _lock(self, name: str, digests: tuple[Digest, ...]) -> Iterator[tuple[Digest, Reason]]:
        here = [digest for digest in digests if digest in self._graph.nodes]
        if len(here) < len(digests):
            missing = len(digests) - len(here)
            self.notes.append(f"{missing} of {len(digests)} images of {name or 'a lock'} are not in here")
        yield from ((digest, Reason(ReasonKind.LOCK, name)) for digest in here)


def newest(tags: Mapping[str, Digest], count: int) -> list[Digest]:
    """Return the images of the `count` highest versions; tags of one image count once."""
    versions = [version for version in map(TagVersion.parse, tags) if version is not None]
    versions.sort(key=lambda version: version.sort_key, reverse=True)
    return list(dict.fromkeys(tags[version.tag] for version in versions))[:count]
