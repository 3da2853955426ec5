"""Events that operations report while they run, and the hook that receives them.

A hook is called from worker threads, possibly from several at once: it must be thread-safe, and fast, since
the worker waits for it. A hook that raises `imgpkg.errors.Cancelled` stops the operation, and no incomplete
image, file or folder becomes visible.

A bar is drawn from these alone. Its length is the sum of `Planned.size`, which is reported before the first
byte. What is done is the sum of `BlobAdvanced.count`, and of `BlobFinished.size` for what was mounted or
present. Neither falls, and at the end they are equal. Bytes are reported at most ten times a second for each
blob, and steps ten times a second for each activity.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from enum import Enum
from typing import TypeAlias

from imgpkg.dataclass import dataclass, replace
from imgpkg.oci.descriptor import ByteReader, Descriptor, Digest

# Seconds between two reports of one kind. What people see does not get better with more of them, and every
# hook, each in its own way, would have to drop them.
SHORTEST_PAUSE = 0.1


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
    """`count` more bytes of the files have been packed; all counts add up to the size of PackStarted."""

    count: int


@dataclass(frozen=True, slots=True)
class StepsAdvanced:
    """`done` of `total` steps of the same kind are done: manifests read, tags resolved, images deleted.

    `activity` says which, in words such as `planning` and `resolving`. This is reported while an operation
    finds out what to do, before the totals in bytes are known, and by operations that transfer no blobs.
    `total` is 0 at first, and grows while more becomes known, for example with each level of nested bundles.
    The last step of all that are known is always reported.
    """

    activity: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Planned:
    """The totals of a transfer, reported before it begins: the number of blobs and their `size` in bytes.

    `present` more blobs, of `present_size` bytes, are known to be at the destination, with the images that
    they belong to: no other event is about them. A recursive pull has a plan for each level of bundles, which
    are found in the files of those above: plans add up, and all but one have `is_last` False. `share` is the
    part of everything that is planned with this one, from 0.0 to 1.0; 0.0 where it is unknown.
    """

    blobs: int
    size: int
    present: int = 0
    present_size: int = 0
    is_last: bool = True
    share: float = 0.0

    @classmethod
    def of(cls, blobs: Collection[Descriptor], *, is_last: bool = True) -> Planned:
        """Return the totals of `blobs`, all of which are to be transferred."""
        return cls(len(blobs), sum(blob.size for blob in blobs), is_last=is_last)


@dataclass(frozen=True, slots=True)
class BlobStarted:
    """The transfer of a blob of `size` bytes has begun; `verb` is push, pull, save or verify."""

    digest: Digest
    size: int
    verb: str


@dataclass(frozen=True, slots=True)
class BlobAdvanced:
    """`count` more bytes of the blob were transferred.

    The counts of a blob that was MOVED add up to its size. Bytes that are sent again after a failure do not
    count again: meanwhile `count` is 0, which shows that the transfer goes on.
    """

    digest: Digest
    count: int


@dataclass(frozen=True, slots=True)
class BlobFinished:
    """The transfer of a blob of `size` bytes is complete; no byte was reported unless it was MOVED.

    A damaged or missing blob that `verify` reports ends like any other.
    """

    digest: Digest
    outcome: BlobOutcome
    size: int


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
class Observation:
    """What an operation tells those who watch it, while it lasts: events, and each part of its work.

    What the program does between these parts is not its work.
    """

    hook: Hook
    part: Callable[[], AbstractContextManager[object]] = nullcontext


def has_logging(name: str) -> bool:
    """Return whether the program has a handler of `logging` for the logger `imgpkg.NAME`."""
    # Who has not imported it has no handler, and importing it would take a good part of the start-up.
    logging = sys.modules.get("logging")
    return logging is not None and bool(logging.getLogger(f"imgpkg.{name}").hasHandlers())


def has_tracing() -> bool:
    """Return whether the program uses the API of OpenTelemetry: otherwise nobody would see a span."""
    return "opentelemetry.trace" in sys.modules


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
        self.total: Transfer = Transfer()

    def __call__(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, BlobFinished | Planned):
            with self._lock:
                self.total = _counted(self.total, event)
        self._on_event(event)


def _counted(total: Transfer, event: BlobFinished | Planned) -> Transfer:
    if isinstance(event, Planned):
        present, size = total.present + event.present, total.present_size + event.present_size
        return replace(total, present=present, present_size=size)
    match event.outcome:
        case BlobOutcome.MOVED:
            return replace(total, moved=total.moved + 1, moved_size=total.moved_size + event.size)
        case BlobOutcome.MOUNTED:
            return replace(total, mounted=total.mounted + 1, mounted_size=total.mounted_size + event.size)
        case BlobOutcome.PRESENT:
            return replace(total, present=total.present + 1, present_size=total.present_size + event.size)


class Advance:
    """Reports in a few calls how far something of `size` bytes is; `report` receives counts.

    One thread at a time uses it.
    """

    def __init__(
        self, size: int, report: Callable[[int], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._size = size
        self._report = report
        self._clock = clock
        self._next = clock() + SHORTEST_PAUSE
        self._position = 0
        self._is_over = False
        # How many bytes were reported.
        self.reported = 0

    def add(self, count: int) -> None:
        """Note that `count` more bytes are done."""
        self._position += count
        # The last of them at once: the answer to them may take long.
        if self._position == self._size or self._clock() >= self._next:
            self._tell(min(self._position, self._size))

    def restart(self) -> None:
        """Begin at the first byte again; nothing is taken back."""
        self._position = 0

    def end(self) -> None:
        """Report all that is left."""
        if self.reported < self._size:
            self._tell(self._size)

    def close(self) -> None:
        """Report nothing any more, whatever is added."""
        self._is_over = True

    def _tell(self, position: int) -> None:
        if self._is_over:
            return
        self._next = self._clock() + SHORTEST_PAUSE
        count = max(0, position - self.reported)
        self.reported += count
        self._report(count)


def begin_packing(size: int, on_event: Hook) -> Advance:
    """Report that packing `size` bytes of files begins, and return what reports how far it is."""
    on_event(PackStarted(size))
    return Advance(size, lambda count: on_event(PackAdvanced(count)))


class BlobTransfer:
    """Reports the transfer of one blob, which begins now, so that a bar can be drawn of the events.

    One thread at a time uses it. `verb` is that of BlobStarted.
    """

    def __init__(self, blob: Descriptor, verb: str, on_event: Hook) -> None:
        self._blob = blob
        self._on_event = on_event
        self.advance = Advance(blob.size, lambda count: on_event(BlobAdvanced(blob.digest, count)))
        on_event(BlobStarted(blob.digest, blob.size, verb))

    def counted(self, stream: ByteReader) -> CountingReader:
        """Return a stream of the whole blob that reports what is read of it."""
        self.advance.restart()
        return CountingReader(stream, self.advance.add)

    def finish(self, outcome: BlobOutcome) -> BlobOutcome:
        """Report the end and return its outcome, which is MOVED as soon as a byte was reported."""
        if self.advance.reported:
            # An upload that broke off, and whose blob was found there when it was tried again.
            outcome = BlobOutcome.MOVED
        if outcome is BlobOutcome.MOVED:
            self.advance.end()
        # A registry that only claimed to have the blob may get it later.
        self.advance.close()
        self._on_event(BlobFinished(self._blob.digest, outcome, self._blob.size))
        return outcome


class CountingReader:
    """A stream that passes on how many bytes are read from another one, each time.

    It `verifies` what that stream does.
    """

    def __init__(self, stream: ByteReader, add: Callable[[int], None]) -> None:
        self.verifies = getattr(stream, "verifies", None)
        self._stream = stream
        self._add = add

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        data = self._stream.read(size)
        self._count(len(data))
        return data

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many; 0 at the end."""
        count = self._stream.readinto(buffer)
        self._count(count)
        return count

    def _count(self, count: int) -> None:
        # The end of the stream is no progress.
        if count:
            self._add(count)
