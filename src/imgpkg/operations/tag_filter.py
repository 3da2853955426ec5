"""Which names of a list are wanted: those of a pattern, those of a predicate, the newest versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError
from imgpkg.expression import expression
from imgpkg.oci.tag_version import TagVersion

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Of a commit: abbreviated to seven digits or more, as git does.
_HASH = expression(r"[0-9a-f]{7,40}")
# Days, also with hours, minutes and seconds behind them.
_DAY = expression(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[0-9]{2}){0,3}")


@dataclass(frozen=True, slots=True)
class TagFilter:
    """The wanted names: those that match one of `patterns`, if there are any, and for which `where` is true.

    With `newest` these are that many versions, the highest first, each by its most exact tag; pre-releases
    only with `prereleases`. Raises UsageError for a negative number, and for `prereleases` without one.
    """

    patterns: tuple[str, ...] = ()
    where: Callable[[str], bool] | None = None
    newest: int = 0
    prereleases: bool = False

    def __post_init__(self) -> None:
        if self.newest < 0:
            raise UsageError(f"Expected newest to be >= 0, but was {self.newest}")
        if self.prereleases and not self.newest:
            raise UsageError("Expected prereleases with newest only: other lists leave out no version")

    @classmethod
    def make(
        cls,
        match: str | Iterable[str] = (),
        where: Callable[[str], bool] | None = None,
        newest: int = 0,
        *,
        prereleases: bool = False,
    ) -> TagFilter:
        """Return the filter of these options; a single pattern is as good as a list of one."""
        return cls(_patterns(match), where, newest, prereleases)

    def apply(self, names: Iterable[str]) -> list[str]:
        """Return the wanted names, in the order of `names` if `newest` is 0."""
        wanted = list(wanted_names(names, self.patterns, self.where))
        return _newest(wanted, self.newest, prereleases=self.prereleases) if self.newest else wanted


def wanted_names(
    names: Iterable[str], match: str | Iterable[str], where: Callable[[str], bool] | None
) -> Iterator[str]:
    """Yield the names that match one of the patterns, if there are any, and for which `where` is true."""
    patterns = _patterns(match)
    for name in names:
        matches = not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)
        if matches and (where is None or where(name)):
            yield name


def _patterns(match: str | Iterable[str]) -> tuple[str, ...]:
    # An empty text is a setting that was left empty, and no pattern that nothing matches.
    return tuple(filter(None, (match,) if isinstance(match, str) else match))


def _newest(names: Collection[str], count: int, *, prereleases: bool) -> list[str]:
    lengths = {len(name) for name in names if _HASH.fullmatch(name) and not name.isdecimal()}
    versions = (TagVersion.parse(name) for name in names if not _is_hash(name, lengths))
    found = [each for each in versions if each is not None and (prereleases or not each.prerelease)]
    found.sort(key=lambda each: each.sort_key, reverse=True)
    # Builds of one version are different images.
    exact: dict[object, TagVersion] = {}
    for each in found:
        exact.setdefault((each.precedence, each.build), each)
    return [each.tag for each in exact.values()][:count]


def _is_hash(name: str, lengths: Collection[int]) -> bool:
    """Return True for the hash of a commit that has no letter, where other tags are hashes of its length.

    One in thirty hashes of seven digits is a number, which would be higher than every other version.
    """
    return len(name) in lengths and bool(_HASH.fullmatch(name)) and not _DAY.fullmatch(name)
