"""Read the first document of a YAML file with the values that Go's yaml.v2 decodes, and the line of each.

PyYAML scans and parses the text. Its composer and constructors are not used: they take 2.5 times the memory,
limit neither depth nor aliases, and refuse an anchor that is defined twice.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from imgpkg.bundle.yaml_block import read_block
from imgpkg.bundle.yaml_value import Value, ValueKind, resolve
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidLock

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE = 64 << 20
MAX_DEPTH = 64
# Aliases may make a document this many times larger than it is written, beyond a size that does no harm.
_MAX_EXPANSION = 10
_HARMLESS_SIZE = 100_000
# The tags with which a scalar must have one of the forms below; any other tag makes it a string.
_TAG = "tag:yaml.org,2002:"
_TYPED = {
    "int": ValueKind.NUMBER,
    "float": ValueKind.NUMBER,
    "bool": ValueKind.BOOL,
    "null": ValueKind.NULL,
}
_TAG_NAMES = {ValueKind.STRING: "str", ValueKind.NUMBER: "float"}


def read_document(data: bytes, name: str, *, strict: bool) -> Value:
    """Return the first document of `data`; an empty file is null.

    With `strict`, a key that is repeated in a mapping is an error; otherwise its last value counts. Raises
    InvalidLock; the hint names the line in the file `name`.
    """
    if len(data) > MAX_SIZE:
        raise InvalidLock(f"{name} has {len(data)} bytes; at most {MAX_SIZE} are read")
    # Loading PyYAML takes longer than all requests for a small bundle.
    if (value := read_block(data)) is not None:
        return value
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    events = iter(yaml.parse(data, Loader=loader))
    try:
        return _Composer(events, strict=strict).document()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, name) from error
    except yaml.reader.ReaderError as error:
        hint = f"{name} must be text in UTF-8 or UTF-16; look at byte {error.position}."
        raise _invalid(f"yaml: {error.reason}", hint) from error
    except _ComposeError as error:
        raise _invalid(
            f"yaml: {error}", look_at(name, error.line), error.lines, place=(error.line, 0)
        ) from error
    except (ValueError, OverflowError) as error:
        # PyYAML's own scanner does not check the range of numbers; libyaml reports them with their line.
        hint = f"Look at the escape codes and the %YAML directive of {name}."
        raise _invalid("yaml: found a number that is out of range", hint) from error


def look_at(name: str, line: int, column: int = 0) -> str:
    """Return a hint that names the place of a problem in the file `name`."""
    place = f"line {line}, column {column}" if column else f"line {line}"
    return f"Look at {place} of {name}."


def _syntax_error(error: Any, name: str) -> InvalidLock:
    mark = error.problem_mark or error.context_mark
    # yaml.v2 omits the number of the first line.
    where = f"line {mark.line + 1}: " if mark.line else ""
    line, column = mark.line + 1, mark.column + 1
    return _invalid(f"yaml: {where}{error.problem}", look_at(name, line, column), place=(line, column))


def _invalid(
    text: str, hint: str, lines: tuple[str, ...] = (), *, place: tuple[int, int] = (0, 0)
) -> InvalidLock:
    text = f"error converting YAML to JSON: {text}"
    return InvalidLock(text, hints=(hint,), lines=lines, place=place)


class _ComposeError(Exception):
    """Valid YAML that yaml.v2 does not decode."""

    def __init__(self, text: str, line: int, lines: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.line = line
        self.lines = lines


@dataclass
class _Composer:
    """Build the value of one document from the events of PyYAML's parser.

    Events are taken one by one, so that a long document is not held twice.
    """

    events: Iterator[Any]
    strict: bool
    # None while the value of an anchor is being read: an alias inside would make it contain itself.
    anchors: dict[str, Value | None] = field(default_factory=dict)
    repeated: list[tuple[int, str]] = field(default_factory=list)
    written: int = 0
    depth: int = 0

    def document(self) -> Value:
        for event in self.events:
            # Classes of events are compared by name, because yaml is imported only to read a document.
            if type(event).__name__ == "DocumentStartEvent":
                value = self._value(next(self.events))
                # The end of the document may be a syntax error; what follows it is not read.
                next(self.events)
                self._check_repeated()
                return value
        return Value(ValueKind.NULL, "", 1)

    def _check_repeated(self) -> None:
        if self.repeated:
            lines = tuple(f"  line {line}: key {key} already set in map" for line, key in self.repeated)
            raise _ComposeError("unmarshal errors:", self.repeated[0][0], lines)

    def _value(self, event: Any) -> Value:
        name, line = type(event).__name__, event.start_mark.line + 1
        if name == "AliasEvent":
            return self._alias(event.anchor, line)
        if event.anchor:
            self.anchors[event.anchor] = None
        self.written += 1
        column = event.start_mark.column + 1
        value = (
            _scalar(event, line, column) if name == "ScalarEvent" else self._collection(name, line, column)
        )
        if event.anchor:
            self.anchors[event.anchor] = value
        return value

    def _alias(self, anchor: str, line: int) -> Value:
        if anchor not in self.anchors:
            raise _ComposeError(f"unknown anchor '{anchor}' referenced", line)
        value = self.anchors[anchor]
        if value is None:
            raise _ComposeError(f"anchor '{anchor}' value contains itself", line)
        return value

    def _collection(self, name: str, line: int, column: int) -> Value:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _ComposeError(f"exceeded max depth of {MAX_DEPTH}", line)
        value = (self._sequence if name == "SequenceStartEvent" else self._mapping)(line, column)
        self.depth -= 1
        self._check_size(value.size, line)
        return value

    def _check_size(self, size: int, line: int) -> None:
        if size > max(_HARMLESS_SIZE, _MAX_EXPANSION * self.written):
            raise _ComposeError("document contains excessive aliasing", line)

    def _inside(self) -> Iterator[Value]:
        while not type(event := next(self.events)).__name__.endswith("EndEvent"):
            yield self._value(event)

    def _sequence(self, line: int, column: int) -> Value:
        items = tuple(self._inside())
        return Value(ValueKind.ARRAY, items, line, 1 + sum(item.size for item in items), column)

    def _mapping(self, line: int, column: int) -> Value:
        written: dict[str, Value] = {}
        merged: dict[str, Value] = {}
        size = 1
        inside = self._inside()
        for key in inside:
            value = next(inside)
            size += key.size + value.size
            if key.kind is ValueKind.MERGE:
                # Merging copies entries, so the size is checked before and not at the end of the mapping.
                self._check_size(size, value.line)
                merged.update(_merged(value))
                continue
            text, shown = _key(key)
            if text in written and self.strict:
                self.repeated.append((value.line, shown))
            written[text] = value
        return Value(ValueKind.OBJECT, {**merged, **written}, line, size, column)


def _key(key: Value) -> tuple[str, str]:
    """Return the key as text, and as yaml.v2 prints it in errors."""
    if not isinstance(key.content, str):
        raise _ComposeError(f"invalid map key: {key.kind.value}", key.line)
    if key.kind is ValueKind.NULL:
        raise _ComposeError("unsupported map key: null", key.line)
    quoted = key.kind is ValueKind.STRING
    return key.content, json.dumps(key.content, ensure_ascii=False) if quoted else key.content


def _merged(value: Value) -> dict[str, Value]:
    """Return the entries that the value of `<<` adds: of several mappings the first that has a key wins."""
    sources = value.content if isinstance(value.content, tuple) else (value,)
    found: dict[str, Value] = {}
    for source in reversed(sources):
        if not isinstance(source.content, dict):
            raise _ComposeError("map merge requires map or sequence of maps as the value", value.line)
        found.update(source.content)
    return found


def _scalar(event: Any, line: int, column: int) -> Value:
    text, tag = event.value, (event.tag or "").removeprefix(_TAG)
    # PyYAML's own scanner accepts half of a surrogate pair; libyaml does not.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _ComposeError("found invalid Unicode character escape code", line)
    if event.tag is None and event.implicit[0]:
        return Value(*resolve(text), line, column=column)
    if tag in _TYPED:
        kind, value = resolve(text)
        if kind is not _TYPED[tag]:
            name = _TAG_NAMES.get(kind, kind.value)
            raise _ComposeError(f"cannot decode !!{name} `{text}` as a !!{tag}", line)
        return Value(kind, value, line, column=column)
    if tag == "binary":
        return Value(ValueKind.STRING, _from_base64(text, line), line, column=column)
    return Value(ValueKind.MERGE if tag == "merge" else ValueKind.STRING, text, line, column=column)


def _from_base64(text: str, line: int) -> str:
    import base64

    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise _ComposeError("!!binary value contains invalid base64 data", line) from error
    return data.decode(errors="replace")
