"""Reports the events of an operation: log lines to the output, warnings and progress to standard error."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING, Protocol, TextIO

from imgpkg.cli.output import is_terminal
from imgpkg.errors import printable
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobStarted,
    Event,
    Hook,
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

# Often enough to show that a job of CI is alive, and few enough lines for its log.
_LINE_SECONDS = 10.0
# Each packed file has a log line, which is progress enough: only after a longer pause the bar returns.
_REST_SECONDS = 0.3


def make_reporter(flags: Parsed, output: Output) -> Reporter:
    """Return a reporter for these flags, with a bar only where standard error is a terminal."""
    # `--debug` writes lines to the same stream, which would break up the bar.
    draws = sys.stderr.isatty() and not flags.is_on("json") and not flags.is_on("debug")
    shows_log = is_terminal(flags) and not flags.is_on("json")
    return Reporter(output, sys.stderr, shows_log=shows_log, draws=draws, color=flags.is_on("color"))


class Reporter:
    """The event hook of the command line; safe to call from many threads.

    On a terminal a bar shows the progress. Elsewhere a line is written every ten seconds.
    """

    def __init__(
        self, output: Output, err: TextIO, *, shows_log: bool, draws: bool, color: bool = True
    ) -> None:
        self._output = output
        self._err = err
        self._shows_log = shows_log
        self._lock = threading.Lock()
        self._tracker = Tracker()
        self._display: Display = (
            BarDisplay(self._tracker, err, color=color) if draws else LineDisplay(self._tracker, err)
        )
        self._warned: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Report one event."""
        with self._lock:
            self._output.observe(event)
            if isinstance(event, Message):
                self._display.pause()
                self._output.text(event.text, is_block=event.is_block)
            elif isinstance(event, Warned):
                self._warn(event)
            else:
                # Counted even when nothing is drawn: the line after ten seconds has the total.
                self._tracker.count(event)
                self._display.show(event)

    def trace(self, line: str) -> None:
        """Write a line of `--debug`."""
        with self._lock:
            self._err.write(line if line.endswith("\n") else f"{line}\n")

    def close(self) -> None:
        """Remove the bar."""
        self._display.close()

    def _warn(self, event: Warned) -> None:
        # Each worker may report the same problem; a warning that is in the log already is not repeated.
        if event.text in self._warned or (event.is_logged and self._shows_log):
            return
        self._warned.add(event.text)
        self._display.pause()
        # Line breaks of log text are our own. In any other text they are escaped, as foreign ones.
        lines = event.text.split("\n") if event.is_logged else [event.text]
        self._err.write("imgpkg: warning: " + "".join(f"{printable(line)}\n" for line in lines))


def warnings_for(reporter: Hook) -> Hook:
    """Return a hook that passes warnings to `reporter`, without the log that they are in."""

    def on_event(event: Event) -> None:
        if isinstance(event, Warned):
            reporter(Warned(event.text))

    return on_event


class Tracker:
    """Counts bytes and blobs: first those that are packed, then those that are transferred."""

    def __init__(self) -> None:
        self.blobs = self.size = self.done = self.moved = 0
        self.is_packing = False
        self._is_planned = False

    @property
    def label(self) -> str:
        """What is counted, such as `2 of 5 blobs`."""
        return "packing" if self.is_packing else f"{self.done} of {self.blobs} blobs"

    def count(self, event: Event) -> None:
        """Count one event."""
        if isinstance(event, PackStarted):
            self.is_packing, self.size, self.moved = True, event.size, 0
        elif isinstance(event, Planned):
            if self.is_packing:
                self.is_packing, self.size, self.moved = False, 0, 0
            self._is_planned = True
            # Plans add up: each nested bundle of a pull has one.
            self.blobs += event.blobs
            self.size += event.size
        elif isinstance(event, BlobStarted) and not self._is_planned:
            # Without a plan, the total is what has begun so far.
            self.blobs += 1
            self.size += event.size
        elif isinstance(event, BlobAdvanced | PackAdvanced):
            # Negative when a transfer starts again.
            self.moved += event.count
        elif isinstance(event, BlobFinished):
            self.done += 1


class Display(Protocol):
    """Shows the counts of a tracker on standard error."""

    def show(self, event: Event) -> None:
        """Show the counts after `event`."""
        ...

    def pause(self) -> None:
        """Make room for a line of text."""
        ...

    def close(self) -> None:
        """Remove what is shown."""
        ...


class LineDisplay:
    """Writes a line every ten seconds, for logs."""

    def __init__(self, tracker: Tracker, err: TextIO) -> None:
        self._tracker = tracker
        self._err = err
        self._next = time.monotonic() + _LINE_SECONDS

    def show(self, event: Event) -> None:  # noqa: ARG002 - a line follows any event
        """Write a line when ten seconds have passed since the last one."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _LINE_SECONDS
            moved, size = self._tracker.moved >> 20, self._tracker.size >> 20
            # The total is unknown until the plan, for example while a bundle is read.
            total = f" of {size}" if self._tracker.size else ""
            self._err.write(f"imgpkg: {self._tracker.label}, {moved}{total} MiB\n")
            self._err.flush()

    def pause(self) -> None:
        """Do nothing: lines need no room."""

    def close(self) -> None:
        """Do nothing: lines stay."""


class BarDisplay:
    """Draws a bar on a terminal once bytes move."""

    def __init__(self, tracker: Tracker, err: TextIO, *, color: bool) -> None:
        self._tracker = tracker
        self._err = err
        self._color = color
        self._bar: Bar | None = None
        self._rests_until = 0.0

    def show(self, event: Event) -> None:
        """Draw the bar again."""
        if isinstance(event, Planned):
            self._rests_until = 0
        if self._bar is None:
            # A command that transfers nothing draws no bar.
            if not isinstance(event, BlobStarted | BlobAdvanced | PackAdvanced) or not self._tracker.size:
                return
            if time.monotonic() < self._rests_until:
                return
            self._bar = Bar(self._err, color=self._color)
        self._bar.update(self._tracker.label, self._tracker.moved, self._tracker.size)

    def pause(self) -> None:
        """Remove the bar until the next event; while files are packed, for a short time at least."""
        if self._tracker.is_packing:
            self._rests_until = time.monotonic() + _REST_SECONDS
        self.close()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Bar:
    """The bar that rich draws; nothing of it stays after `close`."""

    def __init__(self, err: TextIO, *, color: bool) -> None:
        # Loaded with the first bar: most commands end before they draw one.
        from rich import console, progress

        self._progress = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(),
            progress.DownloadColumn(binary_units=True),
            progress.TransferSpeedColumn(),
            progress.TimeRemainingColumn(),
            console=console.Console(file=err, no_color=None if color else True),
            # Only results stay on the terminal.
            transient=True,
            # Standard output may be a pipe, whose bytes rich must not change.
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID = self._progress.add_task("", total=None)
        self._moved = 0
        self._progress.start()

    def update(self, label: str, moved: int, size: int) -> None:
        """Draw `moved` of `size` bytes under `label`."""
        if moved < self._moved:
            # A new count has begun. Without a reset rich computes its speed from the old one as well.
            self._progress.reset(self._task)
        self._moved = moved
        self._progress.update(self._task, description=label, completed=moved, total=size)

    def close(self) -> None:
        """Stop drawing and remove the bar."""
        self._progress.stop()
