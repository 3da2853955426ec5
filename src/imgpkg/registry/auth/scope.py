"""Scopes: what a token allows on which resource (distribution token specification)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.oci.reference import Repository

_ANY = "*"


@dataclass(frozen=True, slots=True)
class Scope:
    """`type:name:action,action`; `str()` has the actions sorted and parses to the same value again.

    Text of another form is kept whole in `type`, without a name or actions.
    """

    type: str
    name: str = ""
    actions: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read one scope without blanks in it; the name may hold colons."""
        kind, _, rest = text.partition(":")
        name, _, listed = rest.rpartition(":")
        actions = frozenset(action for action in listed.split(",") if action)
        return cls(kind, name, actions) if ":" in rest and (name or actions) else cls(text)

    @property
    def resource(self) -> tuple[str, str]:
        """What it is about: two scopes for one resource can be merged."""
        return (self.type, self.name)

    def covers(self, other: Scope) -> bool:
        """Tell whether this one allows all that `other` does; `*` allows everything on its resource."""
        return self.resource == other.resource and (_ANY in self.actions or other.actions <= self.actions)

    def __str__(self) -> str:
        if not self.name and not self.actions:
            return self.type
        return f"{self.type}:{self.name}:{','.join(sorted(self.actions))}"


def parse_scopes(text: str) -> tuple[Scope, ...]:
    """Read scopes separated by blanks, merged and in canonical order."""
    return merge(Scope.parse(word) for word in text.split())


def merge(scopes: Iterable[Scope]) -> tuple[Scope, ...]:
    """Join the scopes of each resource into one; sorted, so that equal sets are equal tuples."""
    actions: dict[tuple[str, str], set[str]] = {}
    for scope in scopes:
        actions.setdefault(scope.resource, set()).update(scope.actions)
    return tuple(Scope(*resource, frozenset(actions[resource])) for resource in sorted(actions))


def covers(held: Iterable[Scope], wanted: Iterable[Scope]) -> bool:
    """Tell whether `held`, merged, allows all that is wanted."""
    by_resource = {scope.resource: scope for scope in held}
    return all(
        scope.resource in by_resource and by_resource[scope.resource].covers(scope) for scope in wanted
    )


def pull(repository: Repository) -> Scope:
    """Return the scope for reading manifests, blobs and tags."""
    return Scope("repository", repository.path, frozenset({"pull"}))


def push(repository: Repository) -> Scope:
    """Return the scope for writing, which includes reading."""
    return Scope("repository", repository.path, frozenset({"pull", "push"}))


@dataclass(frozen=True, slots=True)
class Access:
    """What a request does to which repository: it decides the credential and the scopes asked for."""

    repository: Repository
    scopes: tuple[Scope, ...]

    @classmethod
    def read(cls, repository: Repository) -> Access:
        """Read manifests, blobs or tags."""
        return cls(repository, (pull(repository),))

    @classmethod
    def write(cls, repository: Repository, *sources: Repository) -> Access:
        """Write; `sources` are repositories of the same registry that blobs are mounted from."""
        return cls(repository, merge((push(repository), *map(pull, sources))))
