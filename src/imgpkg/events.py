"""Events that operations report while they run, and the hook that receives them.

A hook is called from worker threads, possibly from several at once: it must be thread-safe, and fast, since
the worker waits for it. A hook that raises `imgpkg.errors.Cancelled` stops the operation, and no incomplete
image, file or folder becomes visible.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from imgpkg.dataclass import dataclass
from imgpkg.oci.descriptor import Descriptor, Digest, Readable


@dataclass(frozen=True, slots=True)
class Message:
    """A line of the log that the Go implementation writes, with its newlines, such as `dir: config`.

    With `is_block`, the text is several lines. Otherwise a newline inside it is part of a name, and has to be
    escaped before it is printed.
    """

    text: str
    is_block: bool = False


@dataclass(frozen=True, slots=True)
class Warned:
    """A warning, without prefix and newline; the operation continues.

    With `is_logged`, a Message with the same text was reported before: a hook that prints messages should
    not print the warning again.
    """

    text: str
    # Command lines that print the log would otherwise print it twice.
    is_logged: bool = False


class BlobOutcome(Enum):
    """How the transfer of a blob ended: it was sent or received, was already there, or was mounted.

    A registry mounts a blob from another of its repositories (distribution-spec, "Mounting a blob from
    another repository").
    """

    MOVED = "moved"
    PRESENT = "already there"
    MOUNTED = "mounted"


@dataclass(frozen=True, slots=True)
class PackStarted:
    """Packing files of `size` bytes in total into a layer has begun; Planned follows when it is complete."""

    size: int


@dataclass(frozen=True, slots=True)
class PackAdvanced:
    """`count` more bytes of the files have been packed."""

    count: int


@dataclass(frozen=True, slots=True)
class Planned:
    """The totals of a transfer, reported before it begins: the number of blobs and their `size` in bytes."""

    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class BlobStarted:
    """The transfer of a blob of `size` bytes has begun; `verb` is push, pull, save or verify."""

    digest: Digest
    size: int
    verb: str


@dataclass(frozen=True, slots=True)
class BlobAdvanced:
    """`count` more bytes of the blob were transferred; negative when a retry starts from the beginning."""

    digest: Digest
    count: int


@dataclass(frozen=True, slots=True)
class BlobFinished:
    """The transfer of a blob is complete."""

    digest: Digest
    outcome: BlobOutcome


Event: TypeAlias = (
    Message | Warned | PackStarted | PackAdvanced | Planned | BlobStarted | BlobAdvanced | BlobFinished
)
Hook: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore the event: the default hook."""


class CountingReader:
    """A stream that reports a BlobAdvanced event for everything read from another one.

    It `verifies` what that stream does.
    """

    def __init__(self, stream: Readable, blob: Descriptor, on_event: Hook) -> None:
        self.verifies = getattr(stream, "verifies", None)
        self._stream = stream
        self._blob = blob
        self._on_event = on_event

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        data = self._stream.read(size)
        self._report(len(data))
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many; 0 at the end."""
        count = self._stream.readinto(buffer)
        self._report(count)
        return count

    def _report(self, count: int) -> None:
        # The end of the stream is no progress.
        if count:
            self._on_event(BlobAdvanced(self._blob.digest, count))
