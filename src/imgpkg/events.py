"""Events that operations report while they run, and the hook that receives them.

A hook is called from worker threads, possibly from several at once: it must be thread-safe, and fast, since
the worker waits for it. A hook that raises `imgpkg.errors.Cancelled` stops the operation, and no incomplete
image, file or folder becomes visible.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum
from typing import TypeAlias

from imgpkg.dataclass import dataclass, replace
from imgpkg.oci.descriptor import ByteReader, Descriptor, Digest


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
class StepsAdvanced:
    """`done` of `total` steps of the same kind are done: manifests read, tags resolved, images deleted.

    `activity` says which, in words such as `planning` and `resolving`. This is reported while an operation
    finds out what to do, before the totals in bytes are known, and by operations that transfer no blobs.
    `total` is 0 at first, and grows while more becomes known, for example with each level of nested bundles.
    """

    activity: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Planned:
    """The totals of a transfer, reported before it begins: the number of blobs and their `size` in bytes.

    `present` more blobs, of `present_size` bytes, are known to be at the destination, with the images that
    they belong to: no other event is about them. A recursive pull has a plan for each level of bundles: they
    add up.
    """

    blobs: int
    size: int
    present: int = 0
    present_size: int = 0


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
    Message
    | Warned
    | PackStarted
    | PackAdvanced
    | StepsAdvanced
    | Planned
    | BlobStarted
    | BlobAdvanced
    | BlobFinished
)
Hook: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore the event: the default hook."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """What became of the blobs of an operation: how many they are, and their sizes in bytes.

    They were `moved` (sent, received or read), `mounted` from another repository of the registry, or were
    `present` at the destination. A blob that goes to several repositories counts in each of them.
    """

    moved: int = 0
    moved_size: int = 0
    mounted: int = 0
    mounted_size: int = 0
    present: int = 0
    present_size: int = 0


class TransferCounter:
    """A hook that counts what becomes of blobs, and passes all events on; safe to call from many threads.

    `total` is the Transfer so far.
    """

    def __init__(self, on_event: Hook = silent) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._sizes: dict[Digest, int] = {}
        self.total: Transfer = Transfer()

    def __call__(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, BlobStarted | BlobFinished | Planned):
            with self._lock:
                self._count(event)
        self._on_event(event)

    def _count(self, event: BlobStarted | BlobFinished | Planned) -> None:
        total = self.total
        if isinstance(event, BlobStarted):
            self._sizes[event.digest] = event.size
            return
        if isinstance(event, Planned):
            self.total = replace(
                total,
                present=total.present + event.present,
                present_size=total.present_size + event.present_size,
            )
            return
        size = self._sizes.get(event.digest, 0)
        match event.outcome:
            case BlobOutcome.MOVED:
                changed = replace(total, moved=total.moved + 1, moved_size=total.moved_size + size)
            case BlobOutcome.MOUNTED:
                changed = replace(total, mounted=total.mounted + 1, mounted_size=total.mounted_size + size)
            case BlobOutcome.PRESENT:
                changed = replace(total, present=total.present + 1, present_size=total.present_size + size)
        self.total = changed


class CountingReader:
    """A stream that reports a BlobAdvanced event for everything read from another one.

    It `verifies` what that stream does.
    """

    def __init__(self, stream: ByteReader, blob: Descriptor, on_event: Hook) -> None:
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
