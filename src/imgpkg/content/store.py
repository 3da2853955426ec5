"""The interface of repositories, tar files and layouts: read and write manifests and blobs by descriptor."""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Lock, Thread
from typing import TYPE_CHECKING, Protocol, TypeAlias

from imgpkg.dataclass import dataclass
from imgpkg.errors import local_io
from imgpkg.oci.descriptor import BLOCK, file_position_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Self

    from imgpkg.oci.descriptor import ByteReader, ByteStream, Descriptor, Digest
    from imgpkg.oci.manifest import Manifest

Opener: TypeAlias = "Callable[[], AbstractContextManager[ByteReader]]"

# Bytes. A smaller blob is written before a thread would have begun.
_LARGE = 8 << 20
_BUFFERS = 4


class Source(Protocol):
    """Read manifests and blobs, which are verified. Safe for many threads."""

    def manifest(self, digest: Digest) -> Manifest:
        """Return the manifest; raise NotFound or ArchiveError if it is missing, VerificationError."""
        ...

    def blob(self, blob: Descriptor) -> AbstractContextManager[ByteReader]:
        """Open the blob at its start; the last bytes are returned only after all of it is verified.

        Raise NotFound or ArchiveError if it is missing; reading raises VerificationError.
        """
        ...


class Target(Protocol):
    """Write blobs in any order, then the manifests that list them, children first. Safe for many threads."""

    def has(self, blob: Descriptor) -> bool:
        """Return whether the blob need not be written."""
        ...

    def write(self, blob: Descriptor, open: Opener) -> None:  # noqa: A002 - it is what it does
        """Write the blob; keep nothing of it if it does not verify.

        `open` may be called again for another attempt. Raise VerificationError.
        """
        ...

    def publish(self, manifest: Manifest, tags: Iterable[str]) -> None:
        """Write the manifest, readable by its digest and by `tags`; write its blobs first."""
        ...


class OpenedBlob:
    """The blob of a source in the shape of an open file: entered at once, read once, then closed."""

    def __init__(self, context: AbstractContextManager[ByteReader]) -> None:
        self._context = context
        self._stream = context.__enter__()
        self.file_position = file_position_of(self._stream)

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        return self._stream.read(size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many; 0 at the end."""
        return self._stream.readinto(buffer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # An error of the sender is none of the source: it must not replace that of the sender.
        self._context.__exit__(None, None, None)


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of a file: `size` bytes from `offset` on."""

    offset: int
    size: int


class FileRange:
    """Read a part of an open file; threads can share the descriptor (pread(2)), which stays open."""

    def __init__(self, descriptor: int, path: str, extent: Extent) -> None:
        self._descriptor = descriptor
        self._path = path
        self._at = extent.offset
        self._end = extent.offset + extent.size

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes; b"" at the end of the part or of the file."""
        with local_io("read", self._path):
            data = os.pread(self._descriptor, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many; 0 at the end of the part or file."""
        with memoryview(buffer) as view, local_io("read", self._path):
            count = os.preadv(self._descriptor, [view[: self._end - self._at]], self._at)
        self._at += count
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def file_position(self) -> tuple[int, int]:
        """Return the descriptor, and the offset of the byte that is read next."""
        return self._descriptor, self._at

    def skip(self, count: int) -> int:
        """Skip at most `count` bytes; return how many were skipped."""
        passed = min(count, self._end - self._at)
        self._at += passed
        return passed


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
