"""Where a copy puts its images: rules for prefixes of names, and names that are kept."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidReference, UsageError, doing
from imgpkg.expression import expression
from imgpkg.oci.reference import DOCKER_HUB, Repository, WholeRegistry, without_login

# As people write it; `index.docker.io` is the name in canonical references.
_HUB = "docker.io"
_OFFICIAL = "library/"
_NOT_IN_A_PATH = expression(r"[^a-z0-9.]+")
# With this below a path, the path is checked as a part of one.
_BELOW = "any/repository"


class KeptNames(Enum):
    """What of the name of an image is kept below the repository that is copied to.

    Of `docker.io/team/app`, PATHS keeps `team/app` and HOSTS `docker.io/team/app`.
    """

    NONE = ""
    PATHS = "paths"
    HOSTS = "hosts"


@dataclass(frozen=True, slots=True)
class MapRule:
    """A rule: a repository whose name begins with `source` goes to `target` with the rest of its name.

    Both are a registry, or a registry and the first components of a path. Raises InvalidReference for a text
    that is neither, and for a registry without dot or port.
    """

    source: str
    target: str

    def __post_init__(self) -> None:
        for text in (self.source, self.target):
            _prefix(text)

    @property
    def prefix(self) -> tuple[str, str]:
        """The registry of the source in its canonical form, and the path, which may be empty."""
        return _prefix(self.source)

    @classmethod
    def parse(cls, text: str) -> MapRule:
        """Parse `FROM=TO`; raise InvalidReference."""
        source, equals, target = text.partition("=")
        if not equals:
            raise InvalidReference(f"Expected a rule in the form FROM=TO, but was {without_login(text)}")
        with doing(f"Rule {without_login(source)}={without_login(target)}"):
            return cls(source.strip(), target.strip())

    def rest(self, name: Repository) -> str | None:
        """Return what of the path of `name` is behind the prefix, None if `name` does not begin with it."""
        registry, path = self.prefix
        if registry != name.registry:
            return None
        if not path:
            return name.path
        for known in _paths(name):
            if known == path:
                return ""
            if known.startswith(f"{path}/"):
                return known[len(path) + 1 :]
        return None

    def apply(self, rest: str) -> Repository:
        """Return the repository below the target; raise InvalidReference for a registry alone."""
        registry, path = _prefix(self.target)
        with doing(f"Rule {self}"):
            if not (path or rest):
                raise InvalidReference(f"a repository needs a name, and {self.target} is a registry alone")
            return Repository(registry, "/".join(filter(None, (path, rest))))

    def __str__(self) -> str:
        return f"{self.source}={self.target}"


@dataclass(frozen=True, slots=True)
class PlacedName:
    """A repository of the destination; `is_kept` is true if the name of the source is a part of its name."""

    repository: Repository
    is_kept: bool = False


@dataclass(frozen=True, slots=True)
class Placement:
    """Where images go: by the rule with the longest matching prefix, or else as `keep` says.

    Raises UsageError for two rules with one prefix.
    """

    rules: tuple[MapRule, ...] = ()
    keep: KeptNames = KeptNames.NONE

    def __post_init__(self) -> None:
        seen: dict[tuple[str, str], MapRule] = {}
        for rule in self.rules:
            other = seen.setdefault(rule.prefix, rule)
            if other.target != rule.target:
                raise UsageError(f"Expected one rule for {rule.source}, but there are {other} and {rule}")

    def overridden_by(self, rules: Iterable[MapRule], keep: KeptNames) -> Placement:
        """Return a placement with `rules` in front of its own, and `keep` unless that is NONE.

        One of its rules with the prefix of one of `rules` is left out.
        """
        first = tuple(rules)
        prefixes = {rule.prefix for rule in first}
        others = (rule for rule in self.rules if rule.prefix not in prefixes)
        return Placement((*first, *others), self.keep if keep is KeptNames.NONE else keep)

    def place(self, names: Iterable[Repository], home: Repository) -> PlacedName:
        """Return where an image with `names` goes in a copy to `home`.

        The first of the names that a rule matches decides; where none does, the first name is kept below
        `home`, or not kept. Raises InvalidReference for a name that cannot be a repository there.
        """
        known = tuple(names)
        for name in known:
            found = [(rule, rest) for rule in self.rules if (rest := rule.rest(name)) is not None]
            if found:
                rule, rest = max(found, key=lambda pair: len(pair[0].prefix[1]))
                return PlacedName(rule.apply(rest), bool(rest))
        if self.keep is KeptNames.NONE:
            return PlacedName(home)
        host = [_host_component(known[0])] if self.keep is KeptNames.HOSTS else []
        return PlacedName(Repository(home.registry, "/".join((home.path, *host, known[0].path))), True)


def _prefix(text: str) -> tuple[str, str]:
    """Return the registry and the path of a prefix in their canonical forms."""
    if without_login(text) != text:
        raise InvalidReference("a rule has no scheme and no login: write HOST or HOST/PATH")
    host, _, path = text.rstrip("/").partition("/")
    if not {".", ":"} & set(host):
        raise InvalidReference(f"expected a registry such as {_HUB} at the beginning of '{text}'")
    registry = WholeRegistry(host).registry
    if path:
        Repository(registry, f"{path}/{_BELOW}")
    return registry, path


def _paths(name: Repository) -> tuple[str, ...]:
    """Return the path of `name`, and the short one that people write for official images of Docker Hub."""
    is_official = name.registry == DOCKER_HUB and name.path.startswith(_OFFICIAL)
    return (name.path, name.path.removeprefix(_OFFICIAL)) if is_official else (name.path,)


def _host_component(name: Repository) -> str:
    """Return the registry of `name` as a component of a path, which has no colon and no capital letters."""
    host = _HUB if name.registry == DOCKER_HUB else name.registry
    return _NOT_IN_A_PATH.sub("-", host.lower()).strip("-.")
