"""Patterns of places in a document: `spec.sidecars.image`, `**.env[name=RELATED_IMAGE_*].value`."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from imgpkg.bundle.yaml_text import MappingNode, ScalarNode
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.bundle.yaml_text import TextNode

_COMPONENT = expression(r'(?:"([^"]+)"|([^."\[\]]+))(?:\[([^."\[\]=]+)=([^\[\]]*)\])?(\.|\Z)')
_ANY_DEPTH = "**"
_HELP = (
    "A path is keys with dots between them, such as spec.sidecar.image: * is for any characters of a key, ** "
    'for any number of keys, "a.b" for a key with a dot in it, and env[name=IMAGE_*] for the items of a list '
    "with such a name. Lists themselves are not written."
)


@dataclass(frozen=True, slots=True)
class Component:
    """One key of a path; `where` and `glob` are a condition on the mapping, or the items, behind it."""

    key: str
    is_literal: bool = False
    where: str = ""
    glob: str = ""

    def matches(self, key: str) -> bool:
        """Return whether a key is the one that is named."""
        return key == self.key if self.is_literal else fnmatchcase(key, self.key)

    def admits(self, node: TextNode) -> bool:
        """Return whether what is behind the key meets the condition."""
        if not self.where:
            return True
        found = node.scalar(self.where) if isinstance(node, MappingNode) else None
        return isinstance(found, ScalarNode) and fnmatchcase(found.text, self.glob)


@dataclass(frozen=True, slots=True)
class NodePath:
    """A path from the top of a document to the nodes that it selects."""

    components: tuple[Component, ...]

    @classmethod
    def parse(cls, text: str) -> NodePath:
        """Parse a path, which may begin with a dot or `$.` as in JSONPath; raise UsageError."""
        rest = text.removeprefix("$").removeprefix(".")
        components, at, is_open = [], 0, bool(rest)
        while is_open:
            found = _COMPONENT.match(rest, at)
            if found is None:
                break
            literal, key, where, glob, separator = found.groups()
            components.append(Component(literal or key, literal is not None, where or "", glob or ""))
            at, is_open = found.end(), separator == "."
        if is_open or at < len(rest) or not components or components[-1].key == _ANY_DEPTH:
            raise UsageError(f"{text!r} is no path of a document", hints=(_HELP,))
        return cls(tuple(components))


class PathState:
    """How far a set of paths has been followed; immutable, and equal where the same components are left."""

    __slots__ = ("_positions",)

    def __init__(self, positions: frozenset[tuple[NodePath, int]]) -> None:
        self._positions = positions

    @classmethod
    def start(cls, paths: Iterable[NodePath]) -> PathState:
        """Return the state at the top of a document."""
        return cls(frozenset((path, 0) for path in paths))

    def at(self, node: TextNode) -> PathState:
        """Return the state without the paths whose last condition `node` does not meet."""
        return PathState(
            frozenset((path, at) for path, at in self._positions if not at or _before(path, at).admits(node))
        )

    def into(self, key: str) -> PathState:
        """Return the state behind a key."""
        found: set[tuple[NodePath, int]] = set()
        for path, at in self._positions:
            while at < len(path.components) and path.components[at].key == _ANY_DEPTH:
                # It stays for deeper keys, and it may also stand for none.
                found.add((path, at))
                at += 1  # noqa: PLW2901 - the same path, one component on
            if at < len(path.components) and path.components[at].matches(key):
                found.add((path, at + 1))
        return PathState(frozenset(found))

    @property
    def is_selected(self) -> bool:
        """Whether a path ends here."""
        return any(at == len(path.components) for path, at in self._positions)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PathState) and self._positions == other._positions

    def __hash__(self) -> int:
        return hash(self._positions)


def _before(path: NodePath, at: int) -> Component:
    return path.components[at - 1]
