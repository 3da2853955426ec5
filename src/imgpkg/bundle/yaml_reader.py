"""Read the first document of a YAML file into values that remember their lines."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from imgpkg.bundle.yaml_scalar import Kind, resolve
from imgpkg.errors import InvalidLock

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

MAX_SIZE = 64 << 20
MAX_DEPTH = 64
# Aliases may make a document this many times larger than it is written, beyond a size that hurts nobody.
_MAX_EXPANSION = 10
_HARMLESS_SIZE = 100_000
_TAG = "tag:yaml.org,2002:"
# libyaml looks ahead, and since 0.2.6 meets its own bound of depth before ours.
_SAID_OTHERWISE = {
    "are not allowed here": "are not allowed in this context",
    "exceeded maximum nesting depth": f"exceeded max depth of {MAX_DEPTH}",
}
_KINDS = {"int": Kind.NUMBER, "float": Kind.NUMBER, "bool": Kind.BOOL, "null": Kind.NULL}


@dataclass(frozen=True, slots=True)
class Scalar:
    """A scalar as text, converted as the original converts it; `line` counts from 1."""

    kind: Kind
    text: str
    line: int
    size: int = 1


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence; `size` counts all values in it, those behind aliases each time."""

    items: tuple[Value, ...]
    line: int
    size: int
    kind = Kind.ARRAY


@dataclass(frozen=True, slots=True)
class Entries:
    """A mapping with its keys as text, in the order of the file."""

    entries: Mapping[str, Value]
    line: int
    size: int
    kind = Kind.OBJECT


Value: TypeAlias = Scalar | Items | Entries


def read_document(data: bytes, name: str, *, strict: bool) -> Value:
    """Read the first document of `data`; an empty file is null.

    `strict` refuses a key that stands twice in a mapping, else the last one wins. Raises InvalidLock with
    the original's text; the hint says where to look in `name`.
    """
    if len(data) > MAX_SIZE:
        raise InvalidLock(f"{name} has {len(data)} bytes; at most {MAX_SIZE} are read")
    import yaml  # noqa: PLC0415 - nothing else needs it

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = iter(yaml.parse(data, Loader=loader))
    try:
        return _Document(events, strict=strict).read()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, name) from error
    except yaml.reader.ReaderError as error:
        hint = f"{name} must be text in UTF-8 or UTF-16; look at byte {error.position}."
        raise _invalid(f"yaml: {error.reason}", hint) from error
    except _Refused as error:
        raise _invalid(f"yaml: {error}", look_at(name, error.line), error.lines) from error


def look_at(name: str, line: int, column: int = 0) -> str:
    """Say where in the file `name` a problem is, as a hint."""
    place = f"line {line}, column {column}" if column else f"line {line}"
    return f"Look at {place} of {name}."


def _invalid(text: str, hint: str, lines: tuple[str, ...] = ()) -> InvalidLock:
    return InvalidLock(f"error converting YAML to JSON: {text}", hints=(hint,), lines=lines)


def _syntax_error(error: Any, name: str) -> InvalidLock:
    mark = error.problem_mark or error.context_mark
    # The original does not name a line when it is the first one.
    where = f"line {mark.line + 1}: " if mark.line else ""
    problem = str(error.problem)
    for libyaml, original in _SAID_OTHERWISE.items():
        problem = problem.replace(libyaml, original)
    return _invalid(f"yaml: {where}{problem}", look_at(name, mark.line + 1, mark.column + 1))


class _Refused(Exception):
    """Something that is YAML and still no document that is read."""

    def __init__(self, text: str, line: int, lines: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.line = line
        self.lines = lines


@dataclass
class _Document:
    """One document being built out of parser events; iterators, so that a long one is never held twice."""

    events: Iterator[Any]
    strict: bool
    anchors: dict[str, Value | None] = field(default_factory=dict)
    repeated: list[tuple[int, str]] = field(default_factory=list)
    written: int = 0
    depth: int = 0

    def read(self) -> Value:
        for event in self.events:
            if type(event).__name__ == "DocumentStartEvent":
                value = self._value(next(self.events))
                # What follows the document is not looked at, but the end of it is: it may be an error.
                next(self.events)
                return self._checked(value)
        return Scalar(Kind.NULL, "", 1)

    def _checked(self, value: Value) -> Value:
        if self.repeated:
            lines = tuple(f"  line {line}: key {key} already set in map" for line, key in self.repeated)
            raise _Refused("unmarshal errors:", self.repeated[0][0], lines)
        return value

    def _value(self, event: Any) -> Value:
        name = type(event).__name__
        if name == "AliasEvent":
            return self._alias(event)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.written += 1
        value = self._scalar(event) if name == "ScalarEvent" else self._collection(name, event)
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _alias(self, event: Any) -> Value:
        line = event.start_mark.line + 1
        if event.anchor not in self.anchors:
            raise _Refused(f"unknown anchor '{event.anchor}' referenced", line)
        value = self.anchors[event.anchor]
        if value is None:
            raise _Refused(f"anchor '{event.anchor}' value contains itself", line)
        return value

    def _collection(self, name: str, event: Any) -> Value:
        line = event.start_mark.line + 1
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(f"exceeded max depth of {MAX_DEPTH}", line)
        value = self._sequence(line) if name == "SequenceStartEvent" else self._mapping(line)
        self.depth -= 1
        self._bound(value.size, line)
        return value

    def _bound(self, size: int, line: int) -> None:
        if size > max(_HARMLESS_SIZE, _MAX_EXPANSION * self.written):
            raise _Refused("document contains excessive aliasing", line)

    def _inside(self) -> Generator[Value, None, None]:
        while not type(event := next(self.events)).__name__.endswith("EndEvent"):
            yield self._value(event)

    def _sequence(self, line: int) -> Items:
        items = tuple(self._inside())
        return Items(items, line, 1 + sum(item.size for item in items))

    def _mapping(self, line: int) -> Entries:
        written: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        size = 1
        inside = self._inside()
        for key in inside:
            value = next(inside)
            size += key.size + value.size
            if key.kind is Kind.MERGE:
                self._bound(size, value.line)
                merged.update(_merged(value))
                continue
            text, shown = _key(key)
            if text in written and self.strict:
                self.repeated.append((value.line, shown))
            written[text] = value
        return Entries({**merged, **written}, line, size)

    def _scalar(self, event: Any) -> Scalar:
        line = event.start_mark.line + 1
        text = event.value
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise _Refused("found invalid Unicode character escape code", line)
        if event.tag is None and event.implicit[0]:
            return Scalar(*resolve(text), line)
        tag = (event.tag or "").removeprefix(_TAG)
        if tag == "binary":
            return Scalar(Kind.STRING, _from_base64(text, line), line)
        return Scalar(*_tagged(text, tag, line), line)


def _tagged(text: str, tag: str, line: int) -> tuple[Kind, str]:
    wanted = _KINDS.get(tag)
    if wanted is None:
        return (Kind.MERGE if tag == "merge" else Kind.STRING), text
    kind, value = resolve(text)
    if kind is not wanted:
        raise _Refused(f"cannot decode !!{_tag_of(kind)} `{text}` as a !!{tag}", line)
    return kind, value


def _tag_of(kind: Kind) -> str:
    tags = {Kind.STRING: "str", Kind.NUMBER: "float", Kind.BOOL: "bool", Kind.NULL: "null"}
    return tags.get(kind, kind.value)


def _from_base64(text: str, line: int) -> str:
    import base64  # noqa: PLC0415 - rare

    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise _Refused("!!binary value contains invalid base64 data", line) from error
    return data.decode(errors="replace")


def _key(key: Value) -> tuple[str, str]:
    """Return the key as text, and as the original's errors show it."""
    if not isinstance(key, Scalar):
        raise _Refused(f"invalid map key: {key.kind.value}", key.line)
    if key.kind is Kind.NULL:
        raise _Refused("unsupported map key: null", key.line)
    return key.text, json.dumps(key.text, ensure_ascii=False) if key.kind is Kind.STRING else key.text


def _merged(value: Value) -> dict[str, Value]:
    """Return what `<<` brings: of several mappings the first that has a key wins."""
    sources = value.items if isinstance(value, Items) else (value,)
    found: dict[str, Value] = {}
    for source in reversed(sources):
        if not isinstance(source, Entries):
            raise _Refused("map merge requires map or sequence of maps as the value", value.line)
        found.update(source.entries)
    return found
