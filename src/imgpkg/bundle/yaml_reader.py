"""Read the first document of a YAML file with the values that Go's yaml.v2 decodes, and the line of each.

PyYAML scans and parses the text. Its composer and constructors are not used: they take 2.5 times the memory,
limit neither depth nor aliases, and refuse an anchor that is defined twice. Scalars are resolved here because
yaml.v2 accepts other forms than PyYAML, and prints numbers in its own way.
"""

from __future__ import annotations

import json
import math
import struct
from enum import Enum
from typing import TYPE_CHECKING, Any

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import InvalidLock
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_SIZE = 64 << 20
MAX_DEPTH = 64
# Aliases may make a document this many times larger than it is written, beyond a size that does no harm.
_MAX_EXPANSION = 10
_HARMLESS_SIZE = 100_000


class ValueKind(Enum):
    """The kinds of values, named as in the errors of Go's JSON decoder."""

    STRING = "string"
    NUMBER = "number"
    BOOL = "bool"
    NULL = "null"
    MERGE = "merge"
    ARRAY = "array"
    OBJECT = "object"


# The tags with which a scalar must have one of the forms below; any other tag makes it a string.
_TAG = "tag:yaml.org,2002:"
_TYPED = {
    "int": ValueKind.NUMBER,
    "float": ValueKind.NUMBER,
    "bool": ValueKind.BOOL,
    "null": ValueKind.NULL,
}
_TAG_NAMES = {ValueKind.STRING: "str", ValueKind.NUMBER: "float"}
_TRUE = ("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON")
_FALSE = ("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF")
_WORDS = {
    "<<": (ValueKind.MERGE, "<<"),
    **dict.fromkeys(_TRUE, (ValueKind.BOOL, "true")),
    **dict.fromkeys(_FALSE, (ValueKind.BOOL, "false")),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), (ValueKind.NULL, "")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), (ValueKind.NUMBER, "NaN")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), (ValueKind.NUMBER, "+Inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), (ValueKind.NUMBER, "-Inf")),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_FLOAT = expression(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INTEGER = expression(
    r"(?P<sign>[-+]?)"
    r"(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))"
)
_BASES = {"x": 16, "b": 2, "o": 8, "d": 10}
# Python refuses to read much longer decimals, and none fits into 64 bits.
_MAX_DIGITS = 4096
_MAX_SINGLE_DIGITS = 9
# Powers of ten between which Go's %g prints no exponent.
_SMALLEST_PLAIN, _SMALLEST_SCIENTIFIC = -4, 6
_BASE_60 = expression(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_CLOCK = r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,][0-9]+)?"
# Go accepts offsets of up to 24 hours and 60 minutes.
_ZONE = r"(?:Z|[-+](?:[01][0-9]|2[0-4]):(?:[0-5][0-9]|60))"
_TIMESTAMP = expression(rf"([0-9]{{4}})-([0-9]{{1,2}})-([0-9]{{1,2}})(?: {_CLOCK}|[Tt]{_CLOCK}{_ZONE})?")


@dataclass(frozen=True, slots=True)
class Value:
    """A value: the text of a scalar, the items of a sequence, or the entries of a mapping in file order.

    The text of a scalar is what Go's decoder stores in a string. `line` counts from 1. `size` is the number
    of values here and inside; those behind an alias count once for each alias.
    """

    kind: ValueKind
    content: str | tuple[Value, ...] | dict[str, Value]
    line: int
    size: int = 1


def read_document(data: bytes, name: str, *, strict: bool) -> Value:
    """Return the first document of `data`; an empty file is null.

    With `strict`, a key that is repeated in a mapping is an error; otherwise its last value counts. Raises
    InvalidLock; the hint names the line in the file `name`.
    """
    if len(data) > MAX_SIZE:
        raise InvalidLock(f"{name} has {len(data)} bytes; at most {MAX_SIZE} are read")
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
        raise _invalid(f"yaml: {error}", look_at(name, error.line), error.lines) from error
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
    return _invalid(f"yaml: {where}{error.problem}", look_at(name, mark.line + 1, mark.column + 1))


def _invalid(text: str, hint: str, lines: tuple[str, ...] = ()) -> InvalidLock:
    return InvalidLock(f"error converting YAML to JSON: {text}", hints=(hint,), lines=lines)


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
        value = _scalar(event, line) if name == "ScalarEvent" else self._collection(name, line)
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

    def _collection(self, name: str, line: int) -> Value:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _ComposeError(f"exceeded max depth of {MAX_DEPTH}", line)
        value = self._sequence(line) if name == "SequenceStartEvent" else self._mapping(line)
        self.depth -= 1
        self._check_size(value.size, line)
        return value

    def _check_size(self, size: int, line: int) -> None:
        if size > max(_HARMLESS_SIZE, _MAX_EXPANSION * self.written):
            raise _ComposeError("document contains excessive aliasing", line)

    def _inside(self) -> Iterator[Value]:
        while not type(event := next(self.events)).__name__.endswith("EndEvent"):
            yield self._value(event)

    def _sequence(self, line: int) -> Value:
        items = tuple(self._inside())
        return Value(ValueKind.ARRAY, items, line, 1 + sum(item.size for item in items))

    def _mapping(self, line: int) -> Value:
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
        return Value(ValueKind.OBJECT, {**merged, **written}, line, size)


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


def _scalar(event: Any, line: int) -> Value:
    text, tag = event.value, (event.tag or "").removeprefix(_TAG)
    # PyYAML's own scanner accepts half of a surrogate pair; libyaml does not.
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise _ComposeError("found invalid Unicode character escape code", line)
    if event.tag is None and event.implicit[0]:
        return Value(*resolve(text), line)
    if tag in _TYPED:
        kind, value = resolve(text)
        if kind is not _TYPED[tag]:
            name = _TAG_NAMES.get(kind, kind.value)
            raise _ComposeError(f"cannot decode !!{name} `{text}` as a !!{tag}", line)
        return Value(kind, value, line)
    if tag == "binary":
        return Value(ValueKind.STRING, _from_base64(text, line), line)
    return Value(ValueKind.MERGE if tag == "merge" else ValueKind.STRING, text, line)


def _from_base64(text: str, line: int) -> str:
    import base64

    try:
        data = base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise _ComposeError("!!binary value contains invalid base64 data", line) from error
    return data.decode(errors="replace")


def resolve(text: str) -> tuple[ValueKind, str]:
    """Return the kind of the plain scalar `text`, and its value as Go's decoder stores it in a string.

    Booleans become `true` or `false`, integers decimal, floats the shortest form at 32 bits, null empty.
    Dates and times of day are strings.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_STARTS and not _is_timestamp(text):
        number = _number(text)
        if number is not None:
            return ValueKind.NUMBER, number
    return ValueKind.STRING, text


def reads_as_itself(text: str) -> bool:
    """Return whether every YAML 1.1 reader takes the plain scalar `text` for a string."""
    return resolve(text)[0] is ValueKind.STRING and not _is_timestamp(text) and not _BASE_60.fullmatch(text)


def _is_timestamp(text: str) -> bool:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return False
    from datetime import datetime, timezone

    year, month, day, *clock = (int(number) for number in match.groups() if number is not None)
    hour, minute, second = clock or (0, 0, 0)
    try:
        # The calendar repeats every 400 years, and datetime has no year 0.
        datetime(2000 + year % 400, month, day, hour, minute, second, tzinfo=timezone.utc)
    except ValueError:
        return False
    return True


def _number(text: str) -> str | None:
    if text[0] == ".":
        return _float(text)
    plain = text.replace("_", "")
    return _integer(plain) or _float(plain)


def _integer(text: str) -> str | None:
    match = _INTEGER.fullmatch(text) if len(text) <= _MAX_DIGITS else None
    if match is None:
        return None
    base = next(name for name in _BASES if match[name] is not None)
    value = int(match["sign"] + match[base], _BASES[base])
    # yaml.v2 tries unsigned 64 bits only for a number without a sign.
    largest = (1 << 63 if match["sign"] else 1 << 64) - 1
    return str(value) if -(1 << 63) <= value <= largest else None


def _float(text: str) -> str | None:
    if not _FLOAT.fullmatch(text) or math.isinf(float(text)):
        return None
    return format_float32(float(text))


def format_float32(value: float) -> str:
    """Return `value`, rounded to 32 bits, in the fewest digits, as Go prints it with `%g`."""
    single = _as_single(value)
    if math.isinf(single):
        return "+Inf" if value > 0 else "-Inf"
    mantissa, _, exponent = _shortest(single).partition("e")
    digits = mantissa.lstrip("-").replace(".", "")
    power = int(exponent)
    if _SMALLEST_PLAIN <= power < _SMALLEST_SCIENTIFIC:
        return f"{single:.{max(len(digits) - 1 - power, 0)}f}"
    return f"{mantissa}e{power:+03d}"


def _as_single(value: float) -> float:
    try:
        single: float = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return single


def _shortest(single: float) -> str:
    texts = (f"{single:.{digits}e}" for digits in range(_MAX_SINGLE_DIGITS))
    return next(text for text in texts if _as_single(float(text)) == single)
