"""The fields of a tar header block and the records of PAX: pure decoding."""

from __future__ import annotations

import re

from imgpkg.errors import UnpackError

INVALID = "archive/tar: invalid tar header"
NANOSECONDS = 1_000_000_000

_LARGEST = (1 << 63) - 1
# Far beyond any date that a file system keeps, and safely inside what the operating system takes.
_LATEST = 1 << 40
_OCTAL = re.compile(rb"[0-7]{1,24}")
_DECIMAL = re.compile(rb"-?[0-9]{1,19}")
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_CHECKSUM = slice(148, 156)
_SPACES = b" " * 8
_TOP_BIT, _SIGN_BIT = 0x80, 0x40


def text(data: bytes) -> bytes:
    """Cut at the first NUL."""
    return data.partition(b"\0")[0]


def number(data: bytes) -> int:
    """Read octal digits between spaces and NULs, or GNU's base 256; raise UnpackError."""
    if data[0] & _TOP_BIT:
        return _base_256(data)
    digits = data.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits):
        raise UnpackError(INVALID)
    return int(digits, 8)


def _base_256(data: bytes) -> int:
    first = data[0] & ~_TOP_BIT
    value = int.from_bytes(bytes([first]) + data[1:], "big")
    if first & _SIGN_BIT:
        value -= 1 << (8 * len(data) - 1)
    if not -_LARGEST <= value <= _LARGEST:
        raise UnpackError(INVALID)
    return value


def has_good_checksum(block: bytes) -> bool:
    """Compare the checksum with the sum of all bytes, its own field as spaces; old tars summed signed."""
    try:
        want = number(block[_CHECKSUM])
    except UnpackError:
        return False
    rest = block[:148] + _SPACES + block[156:]
    unsigned = sum(rest)
    return want == unsigned or want == unsigned - 256 * sum(1 for byte in rest if byte & _TOP_BIT)


def name(block: bytes) -> bytes:
    """Return the member's name with the prefix that POSIX formats keep apart."""
    last = text(block[:100])
    if block[257:263] != b"ustar\0":
        return last
    is_star = block[508:512] == b"tar\0"
    prefix = text(block[345:476] if is_star else block[345:500])
    return prefix + b"/" + last if prefix else last


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Read records `LENGTH KEY=VALUE`, each with its newline; the last of a key wins; raise UnpackError."""
    records = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 20)
        digits = data[at:space]
        end = at + int(digits) if space > at and digits.isdigit() else 0
        if not space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise UnpackError(INVALID)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not key or not equals or (key == b"path" and b"\0" in value):
            raise UnpackError(INVALID)
        records[key] = value
        at = end
    return records


def pax_number(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    """Return the record as a number, or the header's own `field` when there is none."""
    value = records.get(key)
    if not value:
        return number(field)
    if not _DECIMAL.fullmatch(value) or not -_LARGEST <= int(value) <= _LARGEST:
        raise UnpackError(INVALID)
    return int(value)


def pax_time(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    """Return the record's `seconds.fraction`, or the seconds of the header's `field`, as nanoseconds."""
    value = records.get(key)
    if not value:
        return _bounded(number(field) if field else 0) * NANOSECONDS
    match = _TIME.fullmatch(value)
    if match is None:
        raise UnpackError(INVALID)
    sign, seconds, fraction = match.groups()
    amount = _bounded(int(seconds)) * NANOSECONDS + int(((fraction or b"") + b"0" * 9)[:9])
    return -amount if sign else amount


def _bounded(seconds: int) -> int:
    if not -_LATEST <= seconds <= _LATEST:
        raise UnpackError(INVALID)
    return seconds
