"""A stream read in pieces of exact length, without copying more than it must."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import UnpackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.oci.descriptor import Readable

PIECE = 1 << 20


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
