"""Reports the events of an operation: log lines to the output, warnings and progress to standard error."""

from __future__ import annotations

import os
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from imgpkg.cli.output import has_color, is_terminal
from imgpkg.dataclass import dataclass
from imgpkg.errors import printable
from imgpkg.events import Event, Hook, Message, StepsAdvanced, Warned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.display import Display
    from imgpkg.cli.output import Output

# Events that are kept for a display; a command with more of them has something to show.
_MOST_KEPT = 2000


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often progress is shown, in seconds.

    `line` is between two lines of a log: often enough to show that a job of CI is alive, and seldom enough
    for its log. `frame` is between two pictures of the bar, and `delay` before the first one: what is over by
    then needs none.
    """

    line: float = 10.0
    frame: float = 0.1
    delay: float = 0.5


_USUAL = Intervals()


def make_reporter(flags: Parsed, output: Output) -> Reporter:
    """Return a reporter for these flags, with a bar only where standard error is a terminal."""
    # `--debug` writes lines to the same stream, and a terminal without control sequences cannot erase any.
    is_plain = flags.is_on("json") or flags.is_on("debug") or os.environ.get("TERM", "") in ("", "dumb")
    return Reporter(
        output,
        sys.stderr,
        shows_log=is_terminal(flags) and not flags.is_on("json"),
        draws=sys.stderr.isatty() and not is_plain,
        color=flags.is_on("color") and has_color(sys.stderr),
    )


class Reporter:
    """The event hook of the command line; safe to call from many threads.

    If it `draws`, which is for terminals only, a bar shows the progress, perhaps in `color`. Otherwise there
    is a line every ten seconds.
    """

    def __init__(
        self,
        output: Output,
        err: TextIO,
        *,
        shows_log: bool,
        draws: bool = False,
        color: bool = False,
        intervals: Intervals = _USUAL,
    ) -> None:
        self._output = output
        self._err = err
        self._shows_log = shows_log
        self._draws = draws
        self._has_color = color
        self._intervals = intervals
        self._lock = threading.Lock()
        self._ticker: _Ticker | None = None
        self._display: Display | None = None
        # Until there is a display: most commands are over before they need one.
        self._kept: list[Event] = []
        self._since = 0.0
        self._warned: set[str] = set()
        self._is_ended = False

    def __call__(self, event: Event) -> None:
        """Report one event."""
        if isinstance(event, Message):
            with self._above():
                self._output.observe(event)
                self._output.text(event.text, is_block=event.is_block)
        elif isinstance(event, Warned):
            self._warn(event)
        else:
            with self._lock:
                self._output.observe(event)
                self._count(event)

    def left(self) -> str:
        """Return what is left of the transfer, empty if nothing is or nothing was planned."""
        with self._lock:
            left = self._opened().tally.left
        return str(left) if left.blobs > 0 else ""

    def block(self, text: str) -> None:
        """Write a part of the result while the operation goes on."""
        with self._above():
            self._output.block(text)

    def trace(self, line: str) -> None:
        """Write a line of `--debug`."""
        with self._lock:
            self._err.write(line if line.endswith("\n") else f"{line}\n")

    def close(self, *, is_complete: bool = True) -> None:
        """Remove the bar, and write the closing line of a transfer that `is_complete`, once."""
        with self._lock:
            if self._ticker is not None:
                self._ticker.stop()
                self._ticker = None
            # Without a terminal, a command that was over before its first line says nothing.
            if self._display is None and not (self._draws and self._kept):
                return
            display = self._opened()
            display.erase()
            line = display.closing_line() if is_complete else ""
            if line:
                self._output.flush()
                self._err.write(line)
                self._err.flush()

    def end(self, *, is_complete: bool) -> None:
        """Close it for good: a thread that was left behind may go on for a moment."""
        self._is_ended = True
        self.close(is_complete=is_complete)

    def _count(self, event: Event) -> None:
        if self._ticker is None and not self._is_ended:
            self._since = self._since or time.monotonic()
            times = self._intervals
            first, pause = (times.delay, times.frame) if self._draws else (times.line, times.line)
            self._ticker = _Ticker(self._tick, self._lock, first, pause)
        if self._display is None and len(self._kept) < _MOST_KEPT:
            self._kept.append(event)
        else:
            self._opened().tally.count(event)

    def _tick(self) -> None:
        self._opened().show()

    def _opened(self) -> Display:
        if self._display is None:
            from imgpkg.cli.display import BarDisplay, LineDisplay, Signs
            from imgpkg.cli.tally import Tally

            tally = Tally(self._since)
            for event in self._kept:
                tally.count(event)
            self._kept.clear()
            if self._draws:
                signs = Signs.of(os.environ, color=self._has_color)
                self._display = BarDisplay(tally, self._err, signs)
            else:
                self._display = LineDisplay(tally, self._err)
        return self._display

    def _warn(self, event: Warned) -> None:
        with self._lock:
            self._output.observe(event)
            # Each worker may report the same problem; a warning that is in the log is not repeated.
            if event.text in self._warned or (event.is_logged and self._shows_log):
                return
            self._warned.add(event.text)
        # Line breaks of log text are our own. In any other text they are escaped, as foreign ones.
        lines = event.text.split("\n") if event.is_logged else [event.text]
        with self._above():
            self._err.write("imgpkg: warning: " + "".join(f"{printable(line)}\n" for line in lines))

    @contextmanager
    def _above(self) -> Iterator[None]:
        """Return a context in which text is written, above the bar if there is one."""
        with self._lock:
            is_erased = self._display is not None and self._display.erase()
            try:
                yield
            finally:
                if self._display is not None and is_erased:
                    # Both streams may be one terminal: the text must not come after the bar.
                    self._output.flush()
                    self._display.restore()


class _Ticker:
    """Calls `act` with `lock` held after `first` seconds and then every `pause`, in a thread of its own."""

    def __init__(self, act: Callable[[], None], lock: threading.Lock, first: float, pause: float) -> None:
        self._act = act
        self._lock = lock
        self._first = first
        self._pause = pause
        self._stopped = threading.Event()
        # By the clock, and not with the events: where nothing comes, that is shown, too.
        threading.Thread(target=self._run, name="imgpkg-progress", daemon=True).start()

    def stop(self) -> None:
        """Call `act` no more. The caller holds the lock, so that no call is under way."""
        self._stopped.set()

    def _run(self) -> None:
        pause = self._first
        while not self._stopped.wait(pause):
            pause = self._pause
            # Where standard error is closed, or nobody reads it, the command itself goes on.
            with self._lock, suppress(OSError, ValueError):
                # It may have been stopped while this thread waited for the lock.
                if not self._stopped.is_set():
                    self._act()


def warnings_for(reporter: Hook) -> Hook:
    """Return a hook that passes warnings and counts to `reporter`, without the log that the former are in."""

    def on_event(event: Event) -> None:
        if isinstance(event, Warned):
            reporter(Warned(event.text))
        elif isinstance(event, StepsAdvanced):
            reporter(event)

    return on_event
