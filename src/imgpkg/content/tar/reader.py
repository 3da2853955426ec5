"""Read a tar stream from start to end: V7, USTAR, PAX and GNU headers (POSIX pax, GNU tar manual).

Names are bytes, as in the stream. There are two errors, with the texts of Go's archive/tar: `unexpected EOF`
if the stream ends too early, `archive/tar: invalid tar header` for any damage.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from imgpkg import cancellation
from imgpkg.errors import UnpackError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
LINKS = frozenset({HARD_LINK, SYMBOLIC_LINK})
# Entries without content, whatever size their header has, as in Go's reader.
_HEADER_ONLY = frozenset({HARD_LINK, SYMBOLIC_LINK, CHARACTER, BLOCK_DEVICE, DIRECTORY, FIFO})
# GNU's records L and K; PAX records x for one member, g for the archive.
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"L", b"K", b"x", b"g"
_OLD_REGULAR = b"\0"
_BLOCK = 512
_ZEROS = bytes(_BLOCK)
# Go's limit for a record that describes the next entry.
_LONGEST_RECORD = 1 << 20
_INVALID = "archive/tar: invalid tar header"
_NANOSECONDS = 1_000_000_000

_LARGEST = (1 << 63) - 1
# In seconds: later than any date of a file system, and inside the range of utime(2).
_LATEST = 1 << 40
_OCTAL = expression(rb"[0-7]{1,24}")
_DECIMAL = expression(rb"-?[0-9]{1,19}")
_TIME = expression(rb"(-?)([0-9]{1,19})(?:\.([0-9]*))?")
_CHECKSUM = slice(148, 156)
_SPACES = b" " * 8
_TOP_BIT, _SIGN_BIT = 0x80, 0x40
PIECE = 1 << 20


class TarStream(Protocol):
    """The bytes of a tar file in their order."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        ...


class TarEntry(NamedTuple):
    """One member: `kind` is the type byte, `size` the number of bytes of its content.

    Times are nanoseconds since 1970; `atime` is 0 if the header has none. `link` is the target of a link.
    """

    name: bytes
    kind: bytes
    mode: int
    size: int
    uid: int
    gid: int
    mtime: int
    atime: int
    link: bytes = b""


def read_entries(stream: Pieces) -> Iterator[TarEntry]:
    """Yield the members in order; skip content that the caller does not read.

    After an entry is yielded, `stream` is at its content: read at most `entry.size` bytes of it. The stream
    is not read beyond the end of the archive. Raise UnpackError.
    """
    pax: dict[bytes, bytes] = {}
    long_name = long_link = None
    while (header := _next_header(stream)) is not None:
        kind = header[156:157]
        if kind in (_PAX, _LONG_NAME, _LONG_LINK, _PAX_GLOBAL):
            record = _record(stream, header)
            # Records of the whole archive are not needed for files.
            if kind == _PAX:
                pax = pax_records(record)
            elif kind == _LONG_NAME:
                long_name = _text(record)
            elif kind == _LONG_LINK:
                long_link = _text(record)
            continue
        entry = _entry(header, pax, long_name, long_link)
        end = stream.position + entry.size
        padding = -entry.size % _BLOCK
        yield entry
        stream.skip(end - stream.position)
        # Some writers end the archive without the padding of the last member.
        stream.skip(padding, at_most=True)
        pax, long_name, long_link = {}, None, None


def _next_header(stream: Pieces) -> bytes | None:
    block = stream.exactly(_BLOCK, or_end=True)
    if not block:
        return None
    # Two blocks of zeros end the archive; Go accepts one at the end of the stream.
    if block == _ZEROS:
        if stream.exactly(_BLOCK, or_end=True) in (b"", _ZEROS):
            return None
        raise UnpackError(_INVALID)
    if not _has_valid_checksum(block):
        raise UnpackError(_INVALID)
    return block


def _record(stream: Pieces, header: bytes) -> bytes:
    size = _number(header[124:136])
    if not 0 <= size <= _LONGEST_RECORD:
        raise UnpackError(_INVALID)
    record = stream.exactly(size)
    stream.skip(-size % _BLOCK)
    return record


def _entry(
    header: bytes, pax: dict[bytes, bytes], long_name: bytes | None, long_link: bytes | None
) -> TarEntry:
    kind = header[156:157]
    name = long_name or pax.get(b"path") or _name(header)
    # V7 has no type for folders: only the slash at the end of the name shows one.
    if kind == _OLD_REGULAR:
        kind = DIRECTORY if name.endswith(b"/") else REGULAR
    # GNU stores a sparse file as a regular one, but its content is not that of the file.
    if any(key.startswith(b"GNU.sparse.") for key in pax):
        kind = SPARSE
    size = _pax_number(pax, b"size", header[124:136])
    if size < 0:
        raise UnpackError(_INVALID)
    return TarEntry(
        name=name,
        kind=kind,
        mode=_number(header[100:108]),
        size=0 if kind in _HEADER_ONLY else size,
        uid=_pax_number(pax, b"uid", header[108:116]),
        gid=_pax_number(pax, b"gid", header[116:124]),
        mtime=pax_time(pax, b"mtime", header[136:148]),
        atime=pax_time(pax, b"atime", b""),
        link=long_link or pax.get(b"linkpath") or _text(header[157:257]) if kind in LINKS else b"",
    )


def _text(data: bytes) -> bytes:
    """Return the bytes before the first NUL."""
    return data.partition(b"\0")[0]


def _number(data: bytes) -> int:
    """Read octal digits between spaces and NULs, or a GNU base-256 number; raise UnpackError."""
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


def _has_valid_checksum(block: bytes) -> bool:
    """Return whether the sum of all bytes is right, with the checksum field as spaces.

    Old implementations of tar sum signed bytes; Go accepts both.
    """
    try:
        want = _number(block[_CHECKSUM])
    except UnpackError:
        return False
    rest = block[:148] + _SPACES + block[156:]
    unsigned = sum(rest)
    return want == unsigned or want == unsigned - 256 * sum(1 for byte in rest if byte & _TOP_BIT)


def _name(block: bytes) -> bytes:
    """Return the member's name, joined to the prefix field of the POSIX formats."""
    last = _text(block[:100])
    if block[257:263] != b"ustar\0":
        return last
    # In the star format, times are in the last bytes of the prefix field.
    is_star = block[508:512] == b"tar\0"
    prefix = _text(block[345:476] if is_star else block[345:500])
    return prefix + b"/" + last if prefix else last


def pax_records(data: bytes) -> dict[bytes, bytes]:
    """Read records `LENGTH KEY=VALUE`, each with a newline; the last of a key wins; raise UnpackError."""
    records = {}
    at = 0
    while at < len(data):
        # A length of more than 20 digits is invalid; the limit keeps the search short.
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


def _pax_number(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    """Return the record as a number; without a record, the number in the header's `field`."""
    value = records.get(key)
    if not value:
        return _number(field)
    if not _DECIMAL.fullmatch(value) or not -_LARGEST <= int(value) <= _LARGEST:
        raise UnpackError(_INVALID)
    return int(value)


def pax_time(records: dict[bytes, bytes], key: bytes, field: bytes) -> int:
    """Return the record's `seconds.fraction`, or else the seconds in the header's `field`, in nanoseconds."""
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


def _waited_for() -> str:
    return "reading a tar file"


class Pieces:
    """Read a stream in parts of exact length, with at most one copy of the data.

    At most `piece` bytes are read ahead; `position` counts the bytes returned so far. `seek`, for
    streams that can seek, skips at most so many bytes and returns how many it skipped.
    """

    def __init__(
        self, stream: TarStream, piece: int = PIECE, seek: Callable[[int], int] | None = None
    ) -> None:
        self._stream = stream
        self._piece = piece
        self._seek = seek
        self._data = b""
        self._at = 0
        self.position = 0

    def exactly(self, count: int, *, or_end: bool = False) -> bytes:
        """Return `count` bytes, or with `or_end` b"" at the end; raise UnpackError if there are fewer."""
        end = self._at + count
        if end <= len(self._data):
            data = self._data[self._at : end]
            self._at = end
            self.position += count
            return data
        # The rare case: the bytes are in more than one piece.
        parts = [bytes(part) for part in self.upto(count)]
        data = b"".join(parts)
        if len(data) < count and not (or_end and not data):
            raise UnpackError("unexpected EOF")
        return data

    def content(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes in pieces; raise UnpackError if the stream ends before."""
        seen = 0
        for part in self.upto(count):
            seen += len(part)
            yield part
        if seen < count:
            raise UnpackError("unexpected EOF")

    def upto(self, count: int) -> Iterator[memoryview]:
        """Yield the next `count` bytes in pieces; fewer if the stream ends."""
        while count:
            if self._at == len(self._data):
                # Here, and not where bytes arrive: a few of them may be decompressed to gigabytes.
                cancellation.current().check(_waited_for)
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
        """Skip `count` bytes; raise UnpackError if the stream ends before, unless `at_most`."""
        # Within the bytes already read there is no need to seek.
        if self._seek is not None and count > len(self._data) - self._at:
            count -= self._jump(count, self._seek)
        for _ in self.upto(count) if at_most else self.content(count):
            pass

    def _jump(self, count: int, seek: Callable[[int], int]) -> int:
        ready = len(self._data) - self._at
        passed = ready + seek(count - ready)
        self._data, self._at = b"", 0
        self.position += passed
        return passed
