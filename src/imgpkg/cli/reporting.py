"""Events as JSON lines on standard error (`--progress json`), and no events at all (`--quiet`)."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING, TextIO

from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    Event,
    Message,
    PackAdvanced,
    PackStarted,
    Planned,
    StepsAdvanced,
    Warned,
)

if TYPE_CHECKING:
    from imgpkg.cli.output import Output

# Blobs advance many times a second, which no reader needs to know.
_SECONDS = 0.5
_OUTCOMES = {
    BlobOutcome.MOVED: "moved",
    BlobOutcome.MOUNTED: "mounted",
    BlobOutcome.PRESENT: "present",
}


class QuietReporter:
    """An event hook that writes nothing but the lines of `--debug`; safe to call from many threads."""

    def __init__(self, output: Output, err: TextIO) -> None:
        self._output = output
        self._err = err
        self._lock = threading.Lock()

    def __call__(self, event: Event) -> None:
        """Let the output take note of the event."""
        with self._lock:
            self._output.observe(event)

    def trace(self, line: str) -> None:
        """Write a line of `--debug`."""
        with self._lock:
            self._err.write(line if line.endswith("\n") else f"{line}\n")

    def block(self, text: str) -> None:
        """Write a part of the result while the operation goes on."""
        with self._lock:
            self._output.block(text)

    def close(self) -> None:
        """Do nothing: nothing is shown."""

    def end(self, *, is_complete: bool) -> None:
        """Do nothing: nothing is shown."""

    def left(self) -> str:
        """Return no text: only a display has it."""
        return ""


class LineReporter(QuietReporter):
    """An event hook that writes a JSON object a line for each event; safe to call from many threads.

    Bytes are summed up, and written at most twice a second.
    """

    def __init__(self, output: Output, err: TextIO) -> None:
        super().__init__(output, err)
        self._started = time.monotonic()
        self._next = self._started + _SECONDS
        self._packed = self._moved = 0
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Write a line for the event, unless it is one of many."""
        with self._lock:
            self._output.observe(event)
            if isinstance(event, BlobAdvanced | PackAdvanced):
                self._advance(event)
            elif isinstance(event, StepsAdvanced):
                self._count(event)
            else:
                self._tell(event)

    def _advance(self, event: BlobAdvanced | PackAdvanced) -> None:
        if isinstance(event, PackAdvanced):
            self._packed += event.count
        else:
            self._moved += event.count
        if time.monotonic() >= self._next:
            self._write_bytes()

    def _count(self, event: StepsAdvanced) -> None:
        # The last one of each level comes in any case.
        if time.monotonic() >= self._next or event.done == event.total:
            self._next = time.monotonic() + _SECONDS
            self._write("steps", activity=event.activity, done=event.done, total=event.total)

    def _write_bytes(self) -> None:
        self._next = time.monotonic() + _SECONDS
        self._write("advanced", packedBytes=self._packed, movedBytes=self._moved)

    def _tell(self, event: Message | Warned | PackStarted | Planned | BlobStarted | BlobFinished) -> None:
        match event:
            case Message():
                self._write("message", text=event.text.strip("\n"))
            case Warned():
                if event.text not in self._warned:
                    self._warned.add(event.text)
                    self._write("warning", text=event.text)
            case PackStarted():
                self._write("packing", bytes=event.size)
            case Planned():
                self._write(
                    "planned",
                    blobs=event.blobs,
                    bytes=event.size,
                    presentBlobs=event.present,
                    presentBytes=event.present_size,
                    isLast=event.is_last,
                    share=event.share,
                )
            case BlobStarted():
                self._write("blobStarted", digest=str(event.digest), bytes=event.size, verb=event.verb)
            case BlobFinished():
                self._write_bytes()
                outcome = _OUTCOMES[event.outcome]
                self._write("blobFinished", digest=str(event.digest), bytes=event.size, outcome=outcome)

    def _write(self, name: str, **fields: object) -> None:
        seconds = round(time.monotonic() - self._started, 3)
        self._err.write(f"{json.dumps({'event': name, 'seconds': seconds, **fields})}\n")
        self._err.flush()
