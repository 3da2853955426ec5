"""What long work tells whoever watches: values handed to one hook.

A hook is called from worker threads, one call at a time per thread; it must be quick and thread-safe.
Raising `imgpkg.errors.Cancelled` in it stops the work: nothing half-done becomes visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from imgpkg.oci.descriptor import Descriptor, Digest, Readable


@dataclass(frozen=True, slots=True)
class Message:
    """A line of the original's own log, with its newlines, such as `dir: config`.

    Newlines inside of the text belong to a name, unless it `is_block`: several lines in one.
    """

    text: str
    is_block: bool = False


@dataclass(frozen=True, slots=True)
class Warned:
    """Something the user should know although the work goes on; no prefix, no newline.

    `is_logged` tells that a Message with the same text came before, which not everybody sees.
    """

    text: str
    is_logged: bool = False


class BlobOutcome(Enum):
    """How the work on one blob ended."""

    MOVED = "moved"
    PRESENT = "already there"
    MOUNTED = "mounted"


@dataclass(frozen=True, slots=True)
class PackStarted:
    """Files of `size` bytes in all are being packed into a layer; the upload is planned after that."""

    size: int


@dataclass(frozen=True, slots=True)
class PackAdvanced:
    """`count` more bytes of the files are packed."""

    count: int


@dataclass(frozen=True, slots=True)
class Planned:
    """The totals, known before the first byte moves: blobs and bytes."""

    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class BlobStarted:
    """Work on a blob begins; `size` in bytes, `verb` what is done with it, such as `push`."""

    digest: Digest
    size: int
    verb: str


@dataclass(frozen=True, slots=True)
class BlobAdvanced:
    """`count` more bytes of the blob have moved; negative when a retry starts again."""

    digest: Digest
    count: int


@dataclass(frozen=True, slots=True)
class BlobFinished:
    """The blob is where it should be."""

    digest: Digest
    outcome: BlobOutcome


Event: TypeAlias = (
    Message | Warned | PackStarted | PackAdvanced | Planned | BlobStarted | BlobAdvanced | BlobFinished
)
Hook: TypeAlias = Callable[[Event], None]


def silent(event: Event) -> None:
    """Watch nothing: the default hook."""


class CountingReader:
    """A stream that reports every piece that passes."""

    def __init__(self, stream: Readable, blob: Descriptor, on_event: Hook) -> None:
        self._stream = stream
        self._blob = blob
        self._on_event = on_event

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        data = self._stream.read(size)
        if data:
            self._on_event(BlobAdvanced(self._blob.digest, len(data)))
        return data
