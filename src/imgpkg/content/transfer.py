"""Write blobs where they belong: block by block, in a thread of its own where a processor would be idle."""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING

from imgpkg.oci.descriptor import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.oci.descriptor import ByteStream

# Bytes. A smaller blob is written before a thread would have begun.
_LARGE = 8 << 20
_BUFFERS = 4


class Transfers:
    """The blobs that are written to one target; for many threads, each with a blob of its own.

    Receiving and digesting a block takes about twice as long as writing it. As long as fewer blobs come than
    there are processors, one is received while the block before it is written.
    """

    def __init__(self, processors: int | None = None) -> None:
        self._processors = processors or os.cpu_count() or 1
        self._count = 0
        self._lock = Lock()

    def write(self, source: ByteStream, write: Callable[[memoryview], object]) -> None:
        """Read `source` to its end and call `write` with each block, in order; raise what either raises.

        A block is overwritten when `write` has returned.
        """
        block, size = memoryview(bytearray(BLOCK)), 0
        with self._counted():
            while count := source.readinto(block):
                write(block[:count])
                size += count
                # Looked at again and again, since a long blob may be the last one that is left.
                if size >= _LARGE and self._count < self._processors:
                    _write_behind(source, write)
                    return

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._lock:
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1


def _write_behind(source: ByteStream, write: Callable[[memoryview], object]) -> None:
    from queue import SimpleQueue

    # Views of whole buffers, and how much of each is to be written; 0 ends the thread.
    free: SimpleQueue[memoryview] = SimpleQueue()
    full: SimpleQueue[tuple[memoryview, int]] = SimpleQueue()
    failures: list[BaseException] = []

    def follow() -> None:
        block, count = full.get()
        while count:
            try:
                write(block[:count])
            except BaseException as error:  # noqa: BLE001 - raised by the thread that reads
                failures.append(error)
            free.put(block)
            block, count = full.get()

    for _ in range(_BUFFERS):
        free.put(memoryview(bytearray(BLOCK)))
    # The interpreter waits at exit for threads that are not daemons, also for blocked ones.
    thread = Thread(target=follow, name="imgpkg-write", daemon=True)
    thread.start()
    try:
        while not failures and (count := source.readinto(block := free.get())):
            full.put((block, count))
    finally:
        full.put((memoryview(b""), 0))
        thread.join()
    if failures:
        raise failures[0]
