"""Write gzip whose bytes are the original's, with the C encoder where it was built."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

try:
    from imgpkg.content.deflate._deflate import FastEncoder
except ImportError:  # pragma: no cover - installed without a compiler
    FastEncoder = None  # type: ignore[assignment,misc]

if TYPE_CHECKING:
    from collections.abc import Callable

# No name, no time, "fastest", "unknown system".
_HEADER = bytes.fromhex("1f8b08000000000004ff")


class Encoder(Protocol):
    """Compresses pieces; both encoders do it to the same bytes."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what is certain by now."""

    def finish(self) -> bytes:
        """Return the rest."""


class Sink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


class GzipWriter:
    """Compresses what is written into a sink, which stays open."""

    def __init__(self, sink: Sink, encoder: Encoder) -> None:
        self._sink = sink
        self._encoder = encoder
        self._checksum = 0
        self._size = 0
        sink.write(_HEADER)

    def write(self, data: bytes) -> None:
        """Compress `data`; memory stays below a few blocks of 64 KiB beside it."""
        self._checksum = zlib.crc32(data, self._checksum)
        self._size += len(data)
        self._sink.write(self._encoder.compress(data))

    def close(self) -> None:
        """Write the end of the stream."""
        trailer = self._checksum.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little")
        self._sink.write(self._encoder.finish() + trailer)


def open_writer(sink: Sink, encoder: Callable[[], Encoder] | None = None) -> GzipWriter:
    """Begin a gzip stream in `sink`; `encoder` makes the encoder, otherwise the fastest that there is."""
    return GzipWriter(sink, (encoder or _fastest())())


def encoder_name() -> str:
    """Return which encoder packs layers here, for `version --verbose`."""
    return "pure Python" if FastEncoder is None else "C"


def _fastest() -> Callable[[], Encoder]:
    if FastEncoder is not None:
        return FastEncoder
    from imgpkg.content.deflate.reference import ReferenceEncoder  # noqa: PLC0415 - seldom needed

    return ReferenceEncoder
