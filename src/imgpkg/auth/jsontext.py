"""JSON text in which one member is replaced, added or removed, and every other byte stays as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from imgpkg.auth.authfile import decode
from imgpkg.dataclass import dataclass
from imgpkg.errors import CredentialError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SPACE = expression(r"[ \t\r\n]*")
_BYTE_ORDER_MARK = "\ufeff"
# What docker and podman write.
_INDENT = "\t"
# No number is used here; `int` refuses long ones, `float` takes any.
_DECODER = json.JSONDecoder(parse_int=float)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A member of an object: its name, and where its name and its value are in the text."""

    name: str
    start: int
    value: int
    end: int


@dataclass(frozen=True, slots=True)
class _Object:
    """An object in the text: where its brackets are, and its members."""

    start: int
    end: int
    members: tuple[_Pair, ...]

    def find(self, is_wanted: Callable[[str], bool]) -> _Pair | None:
        """Return the last member with such a name: parsers of JSON use the last of equal names."""
        return next((member for member in reversed(self.members) if is_wanted(member.name)), None)


def put(data: bytes, section: str, name: str, value: Mapping[str, str]) -> bytes:
    """Return `data` with `value` under `name` in the object `section` of the top level.

    The section is found in any case, and added if it is missing; text without a value counts as `{}`. Raises
    CredentialError, with line and column, for anything but strict JSON, and for sections of another kind.
    """
    text = _checked(data)
    top = _top(text)
    style = _TextStyle.of(text, top)
    found = top.find(lambda member: member.lower() == section.lower())
    # `null` is an empty map in Go, and so for docker.
    if found is None or text.startswith("null", found.value):
        where, depth, name, new = top, 1, section, style.value({name: value}, 1)
    else:
        where, depth, new = _section(text, found), 2, style.value(value, 2)
        found = where.find(name.__eq__)
    if found is not None:
        # Replaced in place: the order of a file that is under version control does not change.
        return f"{text[: found.value]}{new}{text[found.end :]}".encode()
    return style.added(text, where, f"{json.dumps(name)}: {new}", depth).encode()


def drop(data: bytes, section: str, is_unwanted: Callable[[str], bool]) -> bytes:
    """Return `data` without the members of the object `section` for whose names `is_unwanted` is true.

    Raises CredentialError as `put` does.
    """
    text, is_changed = _checked(data), False
    while True:
        found = _top(text).find(lambda member: member.lower() == section.lower())
        where = None if found is None or text.startswith("null", found.value) else _section(text, found)
        unwanted = where.find(is_unwanted) if where else None
        if where is None or unwanted is None:
            # Unchanged bytes are returned as they came, so that the caller need not write.
            return text.encode() if is_changed else data
        text, is_changed = _without(text, where, unwanted), True


def _checked(data: bytes) -> str:
    """Return the text of strict JSON with an object; raise CredentialError, never with a part of the text."""
    document = decode(data)
    if document.comma:
        raise CredentialError(f"{document.comma}: a comma before a closing bracket is not JSON")
    if not isinstance(document.value, dict | None):
        raise CredentialError("the top level must be an object")
    # With its byte order mark, which is part of the bytes that stay.
    text = data.decode()
    return text if document.value is not None else "{}"


def _top(text: str) -> _Object:
    return _object(text, _after_space(text, len(_BYTE_ORDER_MARK) if text[:1] == _BYTE_ORDER_MARK else 0))


def _section(text: str, member: _Pair) -> _Object:
    # A value of another kind is a mistake that must be corrected by hand: replacing it could lose logins.
    if text[member.value] != "{":
        raise CredentialError(f"{member.name} must be an object")
    return _object(text, member.value)


def _object(text: str, start: int) -> _Object:
    """Find the members of the object at `start`; the text has been checked before."""
    members: list[_Pair] = []
    at = _after_space(text, start + 1)
    while text[at] != "}":
        if text[at] == ",":
            at = _after_space(text, at + 1)
        # The decoder of the standard library finds the ends of strings and values, escapes included.
        name, name_end = _DECODER.raw_decode(text, at)
        value = _after_space(text, _after_space(text, name_end) + 1)
        end = _DECODER.raw_decode(text, value)[1]
        members.append(_Pair(name, at, value, end))
        at = _after_space(text, end)
    return _Object(start, at, tuple(members))


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _without(text: str, where: _Object, member: _Pair) -> str:
    """Remove a member with the comma that separates it from its neighbour."""
    at = where.members.index(member)
    if len(where.members) == 1:
        return f"{text[: where.start + 1]}{text[where.end :]}"
    if at + 1 < len(where.members):
        return f"{text[: member.start]}{text[where.members[at + 1].start :]}"
    return f"{text[: where.members[at - 1].end]}{text[member.end :]}"


@dataclass(frozen=True, slots=True)
class _TextStyle:
    """How a text is laid out: the end of its lines, empty in a text of one line, and one step of indent."""

    newline: str = "\n"
    indent: str = _INDENT

    @classmethod
    def of(cls, text: str, top: _Object) -> _TextStyle:
        """Take the style of the first member."""
        if not top.members:
            return cls()
        lead = text[top.start + 1 : top.members[0].start]
        before, newline, indent = lead.rpartition("\n")
        if not newline:
            return cls("", "")
        return cls("\r\n" if before.endswith("\r") else "\n", indent)

    def margin(self, depth: int) -> str:
        """Return what stands before a member of an object at this depth."""
        return self.newline + self.indent * depth

    def value(self, value: Mapping[str, str] | Mapping[str, Mapping[str, str]], depth: int) -> str:
        """Return the text of an object, which is the value of a member at this depth."""
        if not value:
            return "{}"
        pairs = (
            f"{json.dumps(name)}: {json.dumps(one) if isinstance(one, str) else self.value(one, depth + 1)}"
            for name, one in value.items()
        )
        inside = f",{self.margin(depth + 1) or ' '}".join(pairs)
        return f"{{{self.margin(depth + 1)}{inside}{self.margin(depth)}}}"

    def added(self, text: str, where: _Object, member: str, depth: int) -> str:
        """Return `text` with one more member at the end of an object."""
        if where.members:
            end = where.members[-1].end
            return f"{text[:end]},{self.margin(depth) or ' '}{member}{text[end:]}"
        lines = f"{self.margin(depth)}{member}{self.margin(depth - 1)}"
        return f"{text[: where.start + 1]}{lines}{text[where.end :]}"
