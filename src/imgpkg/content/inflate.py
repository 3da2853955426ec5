"""Decompress a layer: gzip, zstd or plain, detected by its first bytes, because media types can be wrong."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Protocol

from imgpkg.errors import UnpackError

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.content.tar.reader import TarStream

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
# A skippable frame begins with 0x184D2A50 to 0x184D2A5F in little endian (RFC 8878, 3.1.2).
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_LONGEST_MAGIC = 4
_PIECE = 1 << 20
# Of compressed bytes: what a verified stream returns without joining blocks.
_INPUT = 1 << 18
# isal's ISAL_INCORRECT_CHECKSUM; the exception has no code of its own.
_BAD_CHECKSUM = "Error -6"


class _Decompressor(Protocol):
    """Decompress one gzip member or zstd frame; the interface is that of bz2.BZ2Decompressor."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decompressed(stream: TarStream) -> TarStream:
    """Return the content of `stream`: of any number of gzip members or zstd frames, else unchanged.

    The use of memory is bounded for any compression ratio. Reading raises UnpackError: `unexpected EOF` for
    data that ends too early, `gzip: …`, `flate: …` or `zstd: …` for damaged data.
    """
    start = _start(stream)
    whole = _Prefixed(start, stream)
    if start.startswith(_GZIP):
        # After a member, only another member or zeros may follow.
        return _Decompressed(whole, _gzip_member, _GZIP, "gzip: invalid header")
    if start.startswith(_ZSTD) or start[1:] == _ZSTD_SKIPPABLE:
        # The decoder checks the magic number of each frame itself: there are two kinds.
        return _Decompressed(whole, _ZstdFrame, b"", "zstd: invalid frame")
    return whole


def _start(stream: TarStream) -> bytes:
    start = b""
    # A stream may return fewer bytes than requested.
    while len(start) < _LONGEST_MAGIC:
        data = stream.read(_LONGEST_MAGIC - len(start))
        if not data:
            break
        start += data
    return start


class _Prefixed:
    """Return bytes that were read for the detection, then the rest of their stream."""

    def __init__(self, prefix: bytes, stream: TarStream) -> None:
        self._prefix = prefix
        # What is there, at once: an error at the end of a stream comes after the bytes before it.
        self._read: Callable[[int], bytes] = getattr(stream, "read1", stream.read)

    def read(self, size: int = _PIECE, /) -> bytes:
        if self._prefix:
            data, self._prefix = self._prefix[:size], self._prefix[size:]
            return data
        return self._read(size)


class _Decompressed:
    """Decompress members one after the other; zero bytes after a member are padding and skipped."""

    def __init__(
        self, stream: TarStream, open_member: Callable[[], _Decompressor], magic: bytes, alien: str
    ) -> None:
        self._stream = stream
        self._open_member = open_member
        self._magic = magic
        self._alien = alien
        self._member: _Decompressor | None = open_member()
        self._input = b""

    def read(self, size: int = _PIECE, /) -> bytes:
        while self._member is not None:
            if self._member.eof:
                self._next_member(self._member.unused_data)
                continue
            if self._member.needs_input and not self._input:
                self._input = self._stream.read(_INPUT)
                if not self._input:
                    raise UnpackError("unexpected EOF")
            # Empty input asks for more of the buffered output.
            given, self._input = self._input, b""
            data = self._member.decompress(given, size)
            if data:
                return data
        return b""

    def _next_member(self, rest: bytes) -> None:
        """Begin the member that `rest` starts with, or end the stream."""
        rest = rest.lstrip(b"\0")
        while len(rest) < _LONGEST_MAGIC:
            more = self._stream.read(_PIECE)
            if not more:
                break
            rest = (rest + more).lstrip(b"\0")
        if not rest:
            self._member = None
            return
        if not rest.startswith(self._magic):
            raise UnpackError(self._alien)
        self._member, self._input = self._open_member(), rest


def _gzip_member() -> _Decompressor:
    return _GzipMember()


class _GzipMember:
    """Decompress a gzip member (RFC 1952) with isal; errors have the texts of Go's gzip and flate."""

    def __init__(self) -> None:
        from isal import igzip_lib

        self._inner = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        self._error: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment] # a fault of its stub

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def needs_input(self) -> bool:
        return bool(self._inner.needs_input)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        try:
            return bytes(self._inner.decompress(data, max_length))
        except self._error as error:
            if str(error).startswith(_BAD_CHECKSUM):
                raise UnpackError("gzip: invalid checksum") from error
            raise UnpackError(f"flate: corrupt input: {error}") from error


class _ZstdFrame:
    """Decompress a zstd frame (RFC 8878)."""

    def __init__(self) -> None:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd

        self._inner = zstd.ZstdDecompressor()
        self._error = zstd.ZstdError

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._inner.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        try:
            return self._inner.decompress(data, max_length)
        except self._error as error:
            raise UnpackError(f"zstd: {error}") from error
