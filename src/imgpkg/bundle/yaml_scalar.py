"""What a plain YAML scalar means to the original, and how its value reads as text."""

from __future__ import annotations

import math
import re
import struct
from enum import Enum


class Kind(Enum):
    """What a value is; the words are those of the original's error texts."""

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
    "<<": (Kind.MERGE, "<<"),
    **dict.fromkeys(_TRUE, (Kind.BOOL, "true")),
    **dict.fromkeys(_FALSE, (Kind.BOOL, "false")),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), (Kind.NULL, "")),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), (Kind.NUMBER, "NaN")),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), (Kind.NUMBER, "+Inf")),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), (Kind.NUMBER, "-Inf")),
}
_NUMBER_STARTS = frozenset("+-.0123456789")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INTEGER = re.compile(
    r"(?P<sign>[-+]?)"
    r"(?:0[xX](?P<x>[0-9a-fA-F]+)|0[bB](?P<b>[01]+)|0[oO]?(?P<o>[0-7]+)|(?P<d>0|[1-9][0-9]*))"
)
_BASES = {"x": 16, "b": 2, "o": 8, "d": 10}
# Python refuses to read much longer decimals, and none fits into 64 bits.
_MAX_DIGITS = 4096
_MAX_SINGLE_DIGITS = 9
# Powers of ten.
_SMALLEST_PLAIN, _SMALLEST_SCIENTIFIC = -4, 6
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?")
_TIMESTAMP = re.compile(
    r"(?P<year>[0-9]{4})-(?P<month>[0-9]{1,2})-(?P<day>[0-9]{1,2})"
    r"(?:[Tt](?P<time>[0-9:]+)(?:[.,][0-9]+)?(?P<zone>Z|[-+][0-9]{2}:[0-9]{2})"
    r"| (?P<clock>[0-9:]+)(?:[.,][0-9]+)?)?"
)
_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FEBRUARY = 2
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})")


def resolve(text: str) -> tuple[Kind, str]:
    """Tell what the plain scalar `text` is, and its value as the original turns it into text.

    Booleans become `true` or `false`, integers decimal, floats the shortest form at 32 bits, null empty.
    Dates and times of day are strings.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in _NUMBER_STARTS and not _is_timestamp(text):
        number = _number(text)
        if number is not None:
            return Kind.NUMBER, number
    return Kind.STRING, text


def reads_as_itself(text: str) -> bool:
    """Tell whether every YAML 1.1 reader takes the plain scalar `text` for a string."""
    return resolve(text)[0] is Kind.STRING and not _is_timestamp(text) and not _BASE_60.fullmatch(text)


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
    # Unsigned 64 bits are tried without a sign only.
    largest = (1 << 63 if match["sign"] else 1 << 64) - 1
    return str(value) if -(1 << 63) <= value <= largest else None


def _float(text: str) -> str | None:
    if not _FLOAT.fullmatch(text) or math.isinf(float(text)):
        return None
    return format_float32(float(text))


def format_float32(value: float) -> str:
    """Print `value` rounded to 32 bits in the fewest digits, as the original's language does with `%g`."""
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


def _is_timestamp(text: str) -> bool:
    match = _TIMESTAMP.fullmatch(text)
    if match is None:
        return False
    return (
        _is_day(int(match["year"]), int(match["month"]), int(match["day"]))
        and _is_clock(match["time"] or match["clock"])
        and _is_zone(match["zone"])
    )


def _is_day(year: int, month: int, day: int) -> bool:
    if not 1 <= month < len(_DAYS) or not 1 <= day <= _DAYS[month]:
        return False
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return is_leap or (month, day) != (_FEBRUARY, _DAYS[_FEBRUARY])


def _is_clock(text: str | None) -> bool:
    if text is None:
        return True
    match = _CLOCK.fullmatch(text)
    return match is not None and all(
        int(value) < limit for value, limit in zip(match.groups(), (24, 60, 60), strict=True)
    )


def _is_zone(text: str | None) -> bool:
    # The original takes offsets of a whole 24 hours and 60 minutes too.
    return text in (None, "Z") or (int(text[1:3]) <= 24 and int(text[4:]) <= 60)  # noqa: PLR2004
