"""The deflate encoder where nothing was compiled: about three times as fast as the readable one, per core."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from imgpkg.content.deflate.chunk import HISTORY, Chunk, encode_chunk
from imgpkg.content.deflate.processes import Processes, usable_cores
from imgpkg.content.deflate.reference import BLOCK, Bits
from imgpkg.content.deflate.search import EMPTY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from types import TracebackType

    from typing_extensions import Self

    from imgpkg.content.deflate.chunk import Encoded

# Four blocks are searched twice, and states are compared: a small part of the work for so many.
CHUNK = 24 * BLOCK


class PortableEncoder:
    """Compress a stream; the bytes do not depend on the sizes of the pieces that it comes in.

    A stream of more than 1.5 MiB is encoded by as many processes as there are `cores`, if those are several.
    They end with `finish`, with the context of the encoder, or with this process.
    """

    def __init__(self, cores: int | None = None) -> None:
        self._cores = usable_cores() if cores is None else cores
        self._processes: Processes | None = None
        self._bits = Bits()
        self._waiting = bytearray()
        self._history = b""
        # The chunks between those that are written and the waiting bytes, and the search where they begin.
        self._begun: deque[tuple[Chunk, Future[list[Encoded] | None]]] = deque()
        self._state = EMPTY
        self._is_finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_finished = True
        if self._processes is not None:
            self._processes.end()

    def compress(self, data: bytes | memoryview) -> bytes:
        """Add `data`; return the compressed bytes that are ready; raise ValueError after `finish`."""
        self._check_open()
        self._waiting += data
        # More than a chunk: no process is started for a stream that ends with its first one.
        while len(self._waiting) > CHUNK:
            if self._processes is None and self._cores > 1:
                self._processes = Processes(self._cores)
            self._put(bytes(self._waiting[:CHUNK]))
            del self._waiting[:CHUNK]
        return self._bits.taken()

    def finish(self) -> bytes:
        """Return the last data blocks and an empty final block; raise ValueError if called again."""
        self._check_open()
        with self:
            if self._waiting:
                self._put(bytes(self._waiting))
                self._waiting.clear()
            while self._begun:
                self._write_first()
        self._bits.put_end()
        return self._bits.taken()

    def _check_open(self) -> None:
        if self._is_finished:
            raise ValueError("the encoder is finished")

    def _put(self, blocks: bytes) -> None:
        chunk = Chunk(self._history + blocks, len(self._history))
        self._history = chunk.data[-HISTORY:]
        if self._processes is None:
            self._write(chunk, None)
            return
        # One more than there are processes, so that none of them waits while the first chunk is written.
        if len(self._begun) > self._cores:
            self._write_first()
        self._begun.append((chunk, self._processes.submit(chunk)))

    def _write_first(self) -> None:
        chunk, encoded = self._begun.popleft()
        self._write(chunk, encoded.result())

    def _write(self, chunk: Chunk, encoded: Sequence[Encoded] | None) -> None:
        for number, start in enumerate(chunk.starts):
            if encoded is None or encoded[number].before != self._state:
                self._write_stretch(next(encode_chunk(chunk.stretch(start, self._state))))
            else:
                self._write_stretch(encoded[number])

    def _write_stretch(self, encoded: Encoded) -> None:
        self._state = encoded.after
        for block in encoded.blocks:
            if isinstance(block, bytes):
                self._bits.put_stored(block)
            else:
                self._bits.put(int.from_bytes(block.data, "little"), block.bits)
