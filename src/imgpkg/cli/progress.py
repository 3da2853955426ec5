"""Watches the core work: its lines go to the output, its warnings and progress to standard error."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, TextIO

from imgpkg.cli.output import is_terminal
from imgpkg.errors import printable
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobStarted,
    Event,
    Message,
    PackAdvanced,
    PackStarted,
    Planned,
    Warned,
)

if TYPE_CHECKING:
    from rich.progress import TaskID

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.output import Output

_SPARSE_SECONDS = 10.0
# While files are packed each has a line, and many lines are progress enough: only a long one gets a bar.
_REST_SECONDS = 0.3


def make_reporter(flags: Parsed, output: Output) -> Reporter:
    """Choose how to follow work: a bar only where standard error is a terminal."""
    draws = sys.stderr.isatty() and not flags.is_on("json") and not flags.is_on("debug")
    shows_log = is_terminal(flags) and not flags.is_on("json")
    return Reporter(output, sys.stderr, shows_log=shows_log, draws=draws, color=flags.is_on("color"))


class Reporter:
    """The event hook of the command line; safe from many threads.

    On a terminal a progress display follows the bytes; elsewhere a line every ten seconds tells that the work
    goes on.
    """

    def __init__(
        self, output: Output, err: TextIO, *, shows_log: bool, draws: bool, color: bool = True
    ) -> None:
        self._output = output
        self._err = err
        self._shows_log = shows_log
        self._lock = threading.Lock()
        self._tracker: Tracker = BarTracker(err, color=color) if draws else LineTracker(err)
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Take one event."""
        with self._lock:
            if isinstance(event, Message):
                self._tracker.pause()
                self._output.text(event.text, is_block=event.is_block)
            elif isinstance(event, Warned):
                self._warn(event)
            else:
                self._tracker.take(event)

    def trace(self, line: str) -> None:
        """Write a line of `--debug`."""
        with self._lock:
            self._err.write(line if line.endswith("\n") else f"{line}\n")

    def close(self) -> None:
        """Remove the display."""
        self._tracker.close()

    def _warn(self, event: Warned) -> None:
        if event.text in self._warned or (event.is_logged and self._shows_log):
            return
        self._warned.add(event.text)
        self._tracker.pause()
        # What is in the log as well has lines of its own.
        lines = event.text.split("\n") if event.is_logged else [event.text]
        self._err.write("imgpkg: warning: " + "".join(f"{printable(line)}\n" for line in lines))


class Tracker:
    """Counts bytes and blobs, first those that are packed; what it shows is its children's business."""

    def __init__(self, err: TextIO) -> None:
        self.err = err
        self.blobs = self.size = self.done = self.moved = 0
        self._is_planned = self._is_packing = False

    @property
    def what(self) -> str:
        """Say what is being counted."""
        return "packing" if self._is_packing else f"{self.done} of {self.blobs} blobs"

    def take(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, PackStarted):
            self._is_packing, self.size, self.moved = True, event.size, 0
        elif isinstance(event, Planned):
            if self._is_packing:
                self._is_packing, self.size, self.moved = False, 0, 0
            self._is_planned = True
            self.blobs += event.blobs
            self.size += event.size
        elif isinstance(event, BlobStarted) and not self._is_planned:
            self.blobs += 1
            self.size += event.size
        elif isinstance(event, BlobAdvanced | PackAdvanced):
            self.moved += event.count
        elif isinstance(event, BlobFinished):
            self.done += 1
        self.show(event)

    def show(self, event: Event) -> None:
        """Show the counts."""

    def pause(self) -> None:
        """Make room for a line of text."""

    def close(self) -> None:
        """Remove what is shown."""


class LineTracker(Tracker):
    """A line every ten seconds, for logs."""

    def __init__(self, err: TextIO) -> None:
        super().__init__(err)
        self._next = time.monotonic() + _SPARSE_SECONDS

    def show(self, event: Event) -> None:  # noqa: ARG002 - any event may be the one
        """Write a line when it is time for one."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _SPARSE_SECONDS
            share = f" of {self.size >> 20}" if self.size else ""
            self.err.write(f"imgpkg: {self.what}, {self.moved >> 20}{share} MiB\n")
            self.err.flush()


class BarTracker(Tracker):
    """A bar on a terminal, drawn by rich once there is something to wait for."""

    def __init__(self, err: TextIO, *, color: bool) -> None:
        super().__init__(err)
        self._color = color
        self._bar: Bar | None = None
        self._rests_until = 0.0

    def show(self, event: Event) -> None:
        """Draw the bar anew."""
        if isinstance(event, Planned):
            self._rests_until = 0
        if self._bar is None:
            if not isinstance(event, BlobStarted | BlobAdvanced | PackAdvanced) or not self.size:
                return
            if time.monotonic() < self._rests_until:
                return
            self._bar = Bar(self.err, color=self._color)
        self._bar.update(self.what, self.moved, self.size)

    def pause(self) -> None:
        """Remove the bar; what comes next, or among packed files after a while, draws it anew."""
        if self._is_packing:
            self._rests_until = time.monotonic() + _REST_SECONDS
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Bar:
    """One line for bytes and blobs; gone when it is closed."""

    def __init__(self, err: TextIO, *, color: bool) -> None:
        from rich import console, progress  # noqa: PLC0415 - rich is slow to load and seldom needed

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=console.Console(file=err, no_color=None if color else True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID = self._progress.add_task("", total=None)
        self._moved = 0
        self._progress.start()

    def update(self, what: str, moved: int, size: int) -> None:
        """Show that `moved` of `size` bytes of `what` are through."""
        if moved < self._moved:
            # Another count begins: its speed is not that of the one before.
            self._progress.reset(self._task)
        self._moved = moved
        self._progress.update(self._task, description=what, completed=moved, total=size)

    def close(self) -> None:
        """Stop drawing and leave nothing behind."""
        self._progress.stop()
