"""Streams on both sides of a call: blocking ones that a task reads, and those of a task that threads use."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError as StreamCancelled
from concurrent.futures import TimeoutError as NotYet
from contextlib import closing
from inspect import isawaitable, iscoroutinefunction
from typing import TYPE_CHECKING, Protocol, TypeVar

from imgpkg.cancellation import current
from imgpkg.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator

    from imgpkg.aio.calls import Call
    from imgpkg.aio.threads import CallThread
    from imgpkg.oci.descriptor import Readable as BlockingReadable
    from imgpkg.operations.copy.stream import ReadableStream as BlockingReader
    from imgpkg.operations.copy.stream import WritableStream as BlockingWriter

T = TypeVar("T")
R = TypeVar("R")

# Bytes that are passed from a thread at a time.
BLOCK = 1 << 20
# Seconds between two looks of a thread that waits for a task.
_TICK = 0.05


class AsyncReadable(Protocol):
    """Where bytes are read from by a coroutine, such as an `asyncio.StreamReader`."""

    async def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        ...


class AsyncWritable(Protocol):
    """Where bytes are written to: by a coroutine, or as into an `asyncio.StreamWriter`.

    If it has a coroutine method `drain`, that is called after each write.
    """

    def write(self, data: bytes, /) -> Awaitable[object] | None:
        """Write all of `data`."""
        ...


class Readable:
    """A stream whose bytes a task reads; verified as those of the blocking stream below it.

    Asynchronous iteration yields blocks of at most 1 MiB. It may be used by one task at a time. A task that
    is cancelled while it reads ends the stream: later reads raise Cancelled.
    """

    def __init__(self, call: Call, stream: BlockingReadable) -> None:
        self._call = call
        self._stream = stream

    async def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes, all that is left if it is negative, and b"" at the end."""
        if size >= 0:
            return await self._call.run(lambda: self._stream.read(size))
        return b"".join([block async for block in self])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        block = await self._call.run(lambda: self._stream.read(BLOCK))
        if not block:
            raise StopAsyncIteration
        return block

    def __repr__(self) -> str:
        return f"<imgpkg.aio.Readable of {self._stream!r}>"


class ThreadReader:
    """A stream of the program as a thread reads it: coroutines run in the loop, and nothing else does."""

    def __init__(self, thread: CallThread, stream: AsyncReadable | BlockingReader) -> None:
        self._thread = thread
        self._stream = stream
        self._is_async = iscoroutinefunction(stream.read)

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end; raise Cancelled when the call is cancelled."""
        if self._is_async:
            return in_loop(self._thread, self._read, size)
        # A coroutine function that looks like none: what it returns is waited for all the same.
        found = self._stream.read(size)
        return found if isinstance(found, bytes) else in_loop(self._thread, self._finished, found)

    async def _read(self, size: int) -> bytes:
        return await self._finished(self._stream.read(size))

    async def _finished(self, found: bytes | Awaitable[bytes]) -> bytes:
        return found if isinstance(found, bytes) else await found


class ThreadWriter:
    """A stream of the program as a thread writes to it; see `ThreadReader`."""

    def __init__(self, thread: CallThread, stream: AsyncWritable | BlockingWriter) -> None:
        self._thread = thread
        self._stream = stream
        self._drain = getattr(stream, "drain", None)
        self._is_async = iscoroutinefunction(stream.write) or iscoroutinefunction(self._drain)

    def write(self, data: bytes, /) -> None:
        """Write all of `data`; raise Cancelled when the call is cancelled."""
        if self._is_async:
            in_loop(self._thread, self._write, data)
        else:
            self._stream.write(data)

    async def _write(self, data: bytes) -> None:
        written = self._stream.write(data)
        if isawaitable(written):
            await written
        if self._drain is not None:
            await self._drain()


def in_loop(thread: CallThread, act: Callable[[T], Coroutine[object, object, R]], value: T) -> R:
    """Return what a coroutine function returns, for a thread; raise Cancelled when its scope is cancelled."""
    future = asyncio.run_coroutine_threadsafe(act(value), thread.loop)
    scope = current(thread.cancellation)
    while True:
        try:
            return future.result(_TICK)
        except NotYet:
            # The coroutine may have raised it, too, or have ended at this moment.
            if future.done():
                return future.result()
        except StreamCancelled as error:
            raise Cancelled("the stream was cancelled") from error
        try:
            scope.check()
        except Cancelled:
            future.cancel()
            raise


def with_streams(
    call: Call, found: Generator[tuple[T, BlockingReadable], None, None]
) -> Generator[tuple[T, Readable], None, None]:
    """Yield things with their contents, which the task reads; closing it closes `found`."""
    with closing(found):
        for thing, content in found:
            yield thing, Readable(call, content)
