"""Read a tar stream once, front to back: V7, USTAR, PAX and GNU headers (POSIX pax, GNU tar manual).

Names are bytes as they were stored. Errors have the texts of the original's reader, whatever is damaged:
`unexpected EOF` when the stream ends too early, else `archive/tar: invalid tar header`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from imgpkg.errors import UnpackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.oci.descriptor import Readable

REGULAR, HARD_LINK, SYMBOLIC_LINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"0",
    b"1",
    b"2",
    b"3",
    b"4",
    b"5",
    b"6",
)
SPARSE = b"S"
_HEADER_ONLY = frozenset({HARD_LINK, SYMBOLIC_LINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_OLD_REGULAR = b"\0"
_BLOCK = 512
_ZEROS = bytes(_BLOCK)
# What Go allows for a record that describes the next entry.
_LONGEST_RECORD = 1 << 20
_INVALID = "archive/tar: invalid tar header"
_NANOSECONDS = 1_000_000_000

_LARGEST = (1 << 63) - 1
# Far beyond any date that a file system keeps, and safely inside what the operating system takes.
_LATEST = 1 << 40
_OCTAL = re.compile(rb"[0-7]{1,24}")
_DECIMAL = re.compile(rb"-?[0-9]{1,19}")
_TIME = re.compile(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_CHECKSUM = slice(148, 156)
_SPACES = b" " * 8
_TOP_BIT, _SIGN_BIT = 0x80, 0x40
PIECE = 1 << 20


class TarEntry(NamedTuple):
    """One member: `kind` is the type byte, `mode` what the header says, `size` the bytes of content.

    Times are nanoseconds since 1970; `atime` is 0 when nobody wrote one.
    """

    name: bytes
    kind: bytes
    mode: int
    size: int
    uid: int
    gid: int
    mtime: int
    atime: int


def read_entries(stream: Pieces) -> Iterator[TarEntry]:
    """Yield the members in order; whatever of a member's content was not read is skipped.

    While an entry is in hand, `stream` stands at its content: read at most `entry.size` bytes of it. After
    the last entry nothing beyond the end of the archive has been asked for. Raises UnpackError.
    """
    pax: dict[bytes, bytes] = {}
    long_name = None
    while (header := _next_header(stream)) is not None:
        kind = header[156:157]
        if kind in (_PAX, _LONG_NAME, _LONG_LINK, _PAX_GLOBAL):
            record = _record(stream, header)
            if kind == _PAX:
                pax = pax_records(record)
            elif kind == _LONG_NAME:
                long_name = _text(record)
            continue
        entry = _entry(header, pax, long_name)
        end = stream.position + entry.size
        padding = -entry.size % _BLOCK
        yield entry
        stream.skip(end - stream.position)
        # An archive may end without the last padding.
        stream.skip(padding, at_most=True)
        pax, long_name = {}, None


def _next_header(stream: Pieces) -> bytes | None:
    block = stream.exactly(_BLOCK, or_end=True)
    if not block:
        return None
    if block == _ZEROS:
        if stream.exactly(_BLOCK, or_end=True) in (b"", _ZEROS):
            return None
        raise UnpackError(_INVALID)
    if not has_good_checksum(block):
        raise UnpackError(_INVALID)
    return block


def _record(stream: Pieces, header: bytes) -> bytes:
    size = _number(header[124:136])
    if not 0 <= size <= _LONGEST_RECORD:
        raise UnpackError(_INVALID)
    record = stream.exactly(size)
    stream.skip(-size % _BLOCK)
    return record


def _entry(header: bytes, pax: dict[bytes, bytes], long_name: bytes | None) -> TarEntry:
    kind = header[156:157]
    name = long_name or pax.get(b"path") or _name(header)
    if kind == _OLD_REGULAR:
        kind = DIRECTORY if name.endswith(b"/") else REGULAR
    if any(key.startswith(b"GNU.sparse.") for key in pax):
        kind = SPARSE
    size = pax_number(pax, b"size", header[124:136])
    if size < 0:
        raise UnpackError(_INVALID)
    return TarEntry(
        name=name,
        kind=kind,
        mode=_number(header[100:108]),
        size=0 if kind in _HEADER_ONLY else size,
        uid=pax_number(pax, b"uid", header[108:116]),
        gid=pax_number(pax, b"gid", header[116:124]),
        mtime=pax_time(pax, b"mtime", header[136:148]),
        atime=pax_time(pax, b"atime", b""),
    )


def _text(data: bytes) -> bytes:
    """Cut at the first NUL."""
    return data.partition(b"\0")[0]


def _number(data: bytes) -> int:
    """Read octal digits between spaces and NULs, or GNU's base 256; raise UnpackError."""
    if data[0] & _TOP_BIT:
        return _base_256(data)
    digits = data.strip(b" \0").partition(b"\0")[0]
    if not digits:
        return 0
    if not _OCTAL.fullmatch(digits):
        raise UnpackError(_INVALID)
    return int(digits, 8)


def _base_256(data: bytes) -> int:
    first = data[0] & ~_TOP_BIT
    value = int.from_bytes(bytes([first]) + data[1:], "big")
    if first & _SIGN_BIT:
        value -= 1 << (8 * len(data) - 1)
    if not -_LARGEST <= value <= _LARGEST:
        raise UnpackError(_INVALID)
    return value


def has_good_checksum(block: bytes) -> bool:
    """Compare the checksum with the sum of all bytes, its own field as spaces; old tars summed signed."""
    try:
        want = _number(block[_CHECKSUM])
    except UnpackError:
        return False
    rest = block[:148] + _SPACES + block[156:]
    unsigned = sum(rest)
    return want == unsigned or want == unsigned - 256 * sum(1 for byte in rest if byte & _TOP_BIT)


def _name(block: bytes) -> bytes:
    """Return the member's name with the prefix that POSIX formats keep apart."""
    last = _text(block[:100])
    if block[257:263] != b"ustar\0":
        return last
    is_star = block[508:512] == b"tar\0"
    prefix = _text(block[345:476] if is_star else block[345:500])
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
            raise UnpackError(_INVALID)
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not key or not equals or (key == b"path" and b"\0" in value):
            raise UnpackError(_INVALID)
        records[key] = value
        at = end
    return records


def pax_number(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    """Return the record as a number, or the header's own `field` when there is none."""
    value = records.get(key)
    if not value:
        return _number(field)
    if not _DECIMAL.fullmatch(value) or not -_LARGEST <= int(value) <= _LARGEST:
        raise UnpackError(_INVALID)
    return int(value)


def pax_time(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    """Return the record's `seconds.fraction`, or the seconds of the header's `field`, as nanoseconds."""
    value = records.get(key)
    if not value:
        return _bounded(_number(field) if field else 0) * _NANOSECONDS
    match = _TIME.fullmatch(value)
    if match is None:
        raise UnpackError(_INVALID)
    sign, seconds, fraction = match.groups()
    amount = _bounded(int(seconds)) * _NANOSECONDS + int(((fraction or b"") + b"0" * 9)[:9])
    return -amount if sign else amount


def _bounded(seconds: int) -> int:
    if not -_LATEST <= seconds <= _LATEST:
        raise UnpackError(_INVALID)
    return seconds


class Pieces:
    """Reads `stream` ahead by at most one piece of `piece` bytes; `position` counts the bytes given out.

    `pass_over`, where the stream can do it, moves on by at most so many bytes without reading them, and
    returns by how many.
    """

    def __init__(
        self, stream: Readable, piece: int = PIECE, pass_over: Callable[[int], int] | None = None
    ) -> None:
        self._stream = stream
        self._piece = piece
        self._pass_over = pass_over
        self._data = b""
        self._at = 0
        self.position = 0

    def exactly(self, count: int, *, or_end: bool = False) -> bytes:
        """Return `count` bytes, with `or_end` b"" when nothing is left; raise UnpackError for fewer."""
        end = self._at + count
        if end <= len(self._data):
            data = self._data[self._at : end]
            self._at = end
            self.position += count
            return data
        parts = [bytes(part) for part in self.upto(count)]
        data = b"".join(parts)
        if len(data) < count and not (or_end and not data):
            raise UnpackError("unexpected EOF")
        return data

    def content(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes in pieces; raise UnpackError when the stream ends before."""
        seen = 0
        for part in self.upto(count):
            seen += len(part)
            yield part
        if seen < count:
            raise UnpackError("unexpected EOF")

    def upto(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes in pieces, fewer when the stream ends."""
        while count:
            if self._at == len(self._data):
                self._data, self._at = self._stream.read(self._piece), 0
                if not self._data:
                    return
            end = min(self._at + count, len(self._data))
            part = memoryview(self._data)[self._at : end]
            self._at = end
            self.position += len(part)
            count -= len(part)
            yield part

    def skip(self, count: int, *, at_most: bool = False) -> None:
        """Pass over `count` bytes; raise UnpackError when the stream ends before, unless `at_most`."""
        if self._pass_over is not None and count > len(self._data) - self._at:
            count -= self._jump(count, self._pass_over)
        for _ in self.upto(count) if at_most else self.content(count):
            pass

    def _jump(self, count: int, pass_over: Callable[[int], int]) -> int:
        ready = len(self._data) - self._at
        passed = ready + pass_over(count - ready)
        self._data, self._at = b"", 0
        self.position += passed
        return passed
