"""Write gzip members (RFC 1952) with the bytes of the original, by the C encoder if it was built."""

from __future__ import annotations

import zlib
from contextlib import AbstractContextManager
from threading import Lock
from typing import TYPE_CHECKING, Protocol

try:
    from imgpkg.content.deflate._deflate import FastEncoder
except ImportError:  # pragma: no cover - installed without a compiler
    FastEncoder = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

# What is packed in less than about a second needs no warning.
_QUICK = 4 << 20
_SLOW = (
    "layers are compressed by the encoder in pure Python, many times slower than the one in C, with the same "
    "bytes: install imgpkg-py from a wheel for this platform, or again where there are a C compiler and the "
    "headers of Python (Debian: gcc, libc6-dev, python3-dev)"
)
# Taken by the first that says so, and never released: one warning for each process.
_said = Lock()
# Method deflate, no name, no time, XFL "fastest", OS "unknown": the header of the original.
_HEADER = bytes.fromhex("1f8b08000000000004ff")


class Encoder(Protocol):
    """A deflate encoder; all encoders return the same bytes."""

    def compress(self, data: bytes | memoryview, /) -> bytes:
        """Add `data`; return the compressed bytes that are ready."""

    def finish(self) -> bytes:
        """Return the remaining compressed bytes."""


class Sink(Protocol):
    """A file for the compressed bytes."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""


class GzipWriter:
    """Compress the written bytes into a sink, which stays open.

    Leaving the context before `close` gives the member up, and ends what the encoder has started for it.
    """

    def __init__(self, sink: Sink, encoder: Encoder) -> None:
        self._sink = sink
        self._encoder = encoder
        self._checksum = 0
        self._size = 0
        sink.write(_HEADER)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(self._encoder, AbstractContextManager):
            self._encoder.__exit__(kind, error, trace)

    def write(self, data: bytes | memoryview) -> None:
        """Compress `data`; the encoder keeps a part until more is written, the one in C a block of 64 KiB."""
        self._checksum = zlib.crc32(data, self._checksum)
        self._size += len(data)
        self._sink.write(self._encoder.compress(data))

    def close(self) -> None:
        """Write the last block and the trailer; the sink stays open."""
        # RFC 1952 section 2.3.1: the size is modulo 2**32.
        trailer = self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        self._sink.write(self._encoder.finish() + trailer)


def open_writer(sink: Sink, encoder: Callable[[], Encoder] | None = None) -> GzipWriter:
    """Begin a gzip member in `sink`; `encoder` is a factory, by default of the fastest encoder."""
    return GzipWriter(sink, (encoder or _fastest())())


def slowness(size: int) -> str | None:
    """Return a warning before the first time that `size` bytes take long for want of the encoder in C."""
    if FastEncoder is None and size > _QUICK and _said.acquire(blocking=False):
        return _SLOW
    return None


def encoder_name() -> str:
    """Return the name of the encoder that packs layers, for `version --verbose`."""
    return "pure Python" if FastEncoder is None else "C"


def _fastest() -> Callable[[], Encoder]:
    if FastEncoder is not None:
        return FastEncoder
    from imgpkg.content.deflate.portable import PortableEncoder

    return PortableEncoder
