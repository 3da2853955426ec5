"""Values of YAML as Go's yaml.v2 decodes them, and what the text of a plain scalar means.

yaml.v2 accepts other forms than PyYAML, and prints numbers in its own way.
"""

from __future__ import annotations

import math
import struct
from enum import Enum

from imgpkg.dataclass import dataclass
from imgpkg.expression import expression


class ValueKind(Enum):
    """The kinds of values, named as in the errors of Go's JSON decoder."""

    STRING = "string"
    NUMBER = "number"
    BOOL = "bool"
    NULL = "null"
    MERGE = "merge"
    ARRAY = "array"
    OBJECT = "object"


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

    The text of a scalar is what Go's decoder stores in a string. `line` and `column` count from 1. `size` is
    the number of values here and inside; those behind an alias count once for each alias.
    """

    kind: ValueKind
    content: str | tuple[Value, ...] | dict[str, Value]
    line: int
    size: int = 1
    column: int = 0


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
