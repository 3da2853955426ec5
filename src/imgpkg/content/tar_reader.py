"""Read a tar stream once, front to back: V7, USTAR, PAX and GNU headers (POSIX pax, GNU tar manual).

Names are bytes as they were stored. Errors have the texts of the original's reader, whatever is damaged:
`unexpected EOF` when the stream ends too early, else `archive/tar: invalid tar header`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from imgpkg.content import tar_fields as fields
from imgpkg.errors import UnpackError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.content.pieces import Pieces

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
                pax = fields.pax_records(record)
            elif kind == _LONG_NAME:
                long_name = fields.text(record)
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
        raise UnpackError(fields.INVALID)
    if not fields.has_good_checksum(block):
        raise UnpackError(fields.INVALID)
    return block


def _record(stream: Pieces, header: bytes) -> bytes:
    size = fields.number(header[124:136])
    if not 0 <= size <= _LONGEST_RECORD:
        raise UnpackError(fields.INVALID)
    record = stream.exactly(size)
    stream.skip(-size % _BLOCK)
    return record


def _entry(header: bytes, pax: dict[bytes, bytes], long_name: bytes | None) -> TarEntry:
    kind = header[156:157]
    name = long_name or pax.get(b"path") or fields.name(header)
    if kind == _OLD_REGULAR:
        kind = DIRECTORY if name.endswith(b"/") else REGULAR
    if any(key.startswith(b"GNU.sparse.") for key in pax):
        kind = SPARSE
    size = fields.pax_number(pax, b"size", header[124:136])
    if size < 0:
        raise UnpackError(fields.INVALID)
    return TarEntry(
        name=name,
        kind=kind,
        mode=fields.number(header[100:108]),
        size=0 if kind in _HEADER_ONLY else size,
        uid=fields.pax_number(pax, b"uid", header[108:116]),
        gid=fields.pax_number(pax, b"gid", header[116:124]),
        mtime=fields.pax_time(pax, b"mtime", header[136:148]),
        atime=fields.pax_time(pax, b"atime", b""),
    )
