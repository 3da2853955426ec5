"""Tags that are versions: Semantic Versioning 2.0.0, and the looser forms that tags have."""

from __future__ import annotations

from functools import total_ordering

from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidReference
from imgpkg.expression import expression

# A tag has no `+`: Helm writes `_` in its place.
_VERSION = expression(r"[vV]?([0-9]{1,18}(?:\.[0-9]{1,18})*)(?:-([0-9A-Za-z.-]+))?(?:_([0-9A-Za-z._-]*))?")
# int() takes quadratic time for many digits.
_LONGEST_NUMBER = len(str(1 << 63))
_RELEASE = ((2, 0, ""),)


@total_ordering
@dataclass(frozen=True, slots=True)
class TagVersion:
    """A tag that is a version: `v1.2.3`, `1.2`, `2024.05`, `1.2.3-rc.1`, `1.2.3_build5`, `7`.

    That is an optional `v`, any count of numbers with dots between them, then a pre-release behind `-`, and a
    build behind `_`, where Semantic Versioning has `+`. Raises InvalidReference for another tag.

    The order is that of Semantic Versioning 2.0.0, section 11. Numbers are compared as numbers, from the
    left; missing ones are zero, so that `v1`, `1.0` and `1.0.0` are one version. A version comes after its
    pre-releases. These are compared word by word: numbers as numbers, before words, which are compared as
    ASCII texts (`rc.9` comes before `rc.10`, and `rc9` after `rc10`); the longer one comes later if all
    before is equal. Builds do not count. Tags of one version are ordered by how many numbers are written
    out, and then as texts, so that the last one is the most exact.
    """

    tag: str

    def __post_init__(self) -> None:
        if not _VERSION.fullmatch(self.tag):
            raise InvalidReference(f"{self.tag} is no version")

    @classmethod
    def parse(cls, tag: str) -> TagVersion | None:
        """Return the version; None for any other tag, such as `latest` or `release-1.2`."""
        return cls(tag) if _VERSION.fullmatch(tag) else None

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers as they are written: `(1, 0)` of `v1.0-rc.1`."""
        return tuple(map(int, self._part(1).split(".")))

    @property
    def prerelease(self) -> str:
        """What is behind `-`, such as `rc.1` or `alpine`; empty for a version that is released."""
        return self._part(2)

    @property
    def build(self) -> str:
        """What is behind `_`; empty for none."""
        return self._part(3)

    @property
    def precedence(self) -> tuple[tuple[int, ...], tuple[tuple[int, int, str], ...]]:
        """What versions are compared by; it is equal for two tags of one version."""
        numbers = list(self.numbers)
        while len(numbers) > 1 and not numbers[-1]:
            numbers.pop()
        words = self.prerelease.split(".") if self.prerelease else None
        return tuple(numbers), _RELEASE if words is None else tuple(map(_rank, words))

    def __lt__(self, other: object) -> bool:
        return self.sort_key < other.sort_key if isinstance(other, TagVersion) else NotImplemented

    @property
    def sort_key(self) -> tuple[object, int, str]:
        """A key for `sorted`, which is faster than comparing the versions and gives the same order."""
        return self.precedence, len(self.numbers), self.tag

    def _part(self, number: int) -> str:
        match = _VERSION.fullmatch(self.tag)
        return (match[number] or "") if match else ""

    def __str__(self) -> str:
        return self.tag


def _rank(word: str) -> tuple[int, int, str]:
    is_number = word.isascii() and word.isdecimal() and len(word) <= _LONGEST_NUMBER
    return (0, int(word), "") if is_number else (1, 0, word)
