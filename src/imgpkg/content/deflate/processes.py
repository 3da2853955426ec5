"""Processes that encode chunks: the interpreter uses one core, whatever the number of threads.

They are no processes of `multiprocessing`, which runs the main module of the program again in each of them,
or copies a program with threads. Each runs `serve`, and ends when the pipe that it reads from is closed.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from struct import Struct
from threading import Lock
from typing import IO, TYPE_CHECKING, cast

from imgpkg.content.deflate.chunk import Chunk, Encoded, encode_chunk
from imgpkg.content.deflate.coding import Coded

if TYPE_CHECKING:
    import subprocess
    from concurrent.futures import Future

PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from imgpkg.content.deflate.processes import serve
serve(sys.stdin.buffer, sys.stdout.buffer)
"""
# Each needs some 30 MiB.
_MOST = 8
_NUMBER = Struct("<Q")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # pragma: no cover - macOS


class Processes:
    """Up to eight processes, each started when there is a chunk for it."""

    def __init__(self, count: int, interpreter: str = sys.executable) -> None:
        from concurrent.futures import ThreadPoolExecutor
        from queue import SimpleQueue

        self._all = [_Process(interpreter) for _ in range(min(count, _MOST))]
        self._threads = ThreadPoolExecutor(len(self._all))
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._all:
            self._idle.put(process)

    def submit(self, chunk: Chunk) -> Future[list[Encoded] | None]:
        """Begin to encode `chunk`; the result is None if no process can do that."""
        return self._threads.submit(self._encode, chunk)

    def end(self) -> None:
        """End all processes, whatever they are doing."""
        for process in self._all:
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._all:
            process.close()

    def _encode(self, chunk: Chunk) -> list[Encoded] | None:
        process = self._idle.get()
        try:
            return process.encode(chunk)
        finally:
            self._idle.put(process)


class _Process:
    """A process that is started for its first chunk; when it has ended, `encode` returns None."""

    def __init__(self, interpreter: str) -> None:
        self._interpreter = interpreter
        self._lock = Lock()
        self._is_over = False
        self._started: subprocess.Popen[bytes] | None = None

    def encode(self, chunk: Chunk) -> list[Encoded] | None:
        try:
            given, printed = self._pipes()
            send(given, chunk.data, _NUMBER.pack(chunk.start), chunk.state)
            return [_stretch(*receive(printed)) for _ in chunk.starts]
        except (OSError, EOFError):
            self.kill()
            return None

    def kill(self) -> None:
        with self._lock:
            self._is_over = True
            if self._started is not None:
                self._started.kill()

    def close(self) -> None:
        """Wait for the end of the process, which was killed, and close its pipes."""
        if self._started is not None:
            # `communicate` accepts that nobody has read what was sent.
            self._started.communicate()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        with self._lock:
            if self._started is None:
                self._started = self._start()
            given, printed = self._started.stdin, self._started.stdout
        return cast("IO[bytes]", given), cast("IO[bytes]", printed)

    def _start(self) -> subprocess.Popen[bytes]:
        import subprocess

        # In a program that embeds Python, sys.executable is that program.
        if self._is_over or not os.path.basename(self._interpreter).startswith(("python", "pypy")):
            raise ProcessLookupError
        return subprocess.Popen(  # noqa: S603 - the interpreter that runs this
            # With -I, neither the current folder nor PYTHON* variables add modules to import.
            (self._interpreter, "-I", "-c", PROGRAM, json.dumps(sys.path)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            # Ctrl-C is for the program that started this, which ends it.
            start_new_session=True,
        )


def serve(given: IO[bytes], printed: IO[bytes]) -> None:
    """Encode the chunks that are read from `given` until it ends, each when the one before was written."""
    with suppress(EOFError, BrokenPipeError):
        while True:
            data, start, state = receive(given)
            for encoded in encode_chunk(Chunk(data, _NUMBER.unpack(start)[0], state)):
                send(printed, encoded.before, encoded.after, *map(_field, encoded.blocks))


def _field(block: Coded | bytes) -> bytes:
    """Return the number of bits, 0 for a block that is stored, and its bytes."""
    return _NUMBER.pack(0) + block if isinstance(block, bytes) else _NUMBER.pack(block.bits) + block.data


def _stretch(before: bytes, after: bytes, *blocks: bytes) -> Encoded:
    return Encoded(before, after, tuple(map(_block, blocks)))


def _block(field: bytes) -> Coded | bytes:
    (bits,), data = _NUMBER.unpack_from(field), field[_NUMBER.size :]
    return Coded(bits, data) if bits else data


def send(pipe: IO[bytes], *fields: bytes) -> None:
    """Write fields of any size, for `receive`."""
    sizes = (len(fields), *map(len, fields))
    pipe.write(b"".join([*map(_NUMBER.pack, sizes), *fields]))
    pipe.flush()


def receive(pipe: IO[bytes]) -> list[bytes]:
    """Return the fields that were sent together; raise EOFError if there are no more."""
    (count,) = _NUMBER.unpack(_read(pipe, _NUMBER.size))
    sizes = [size for (size,) in _NUMBER.iter_unpack(_read(pipe, count * _NUMBER.size))]
    return [_read(pipe, size) for size in sizes]


def _read(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError
    return data
