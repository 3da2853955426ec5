"""A command on a terminal, and what is to be seen there from moment to moment."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
import time
from dataclasses import dataclass, field

import pyte
from tests.cli.running import start

_SECONDS = 60
_ROWS = 40


@dataclass
class Recording:
    """The bytes that a command wrote to its terminal, with the seconds since its start, and its exit code."""

    columns: int
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    code: int | None = None

    @property
    def data(self):
        """All bytes."""
        return b"".join(piece for _, piece in self.pieces)

    def screens(self):
        """The lines of the screen after each write, without empty ones at the end."""
        screen, found = Screen(self.columns), []
        for _, piece in self.pieces:
            screen.feed(piece)
            found.append(screen.lines)
        return found

    @property
    def end(self):
        """The lines of the screen at the end."""
        screen = Screen(self.columns)
        screen.feed(self.data)
        return screen.lines


class Screen:
    """A terminal that interprets what it is fed with."""

    def __init__(self, columns, rows=_ROWS):
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)

    def feed(self, data):
        self._stream.feed(data)

    @property
    def lines(self):
        lines = [line.rstrip() for line in self._screen.display]
        while lines and not lines[-1]:
            lines.pop()
        return lines


class Running:
    """A command with all its streams on one terminal; `recording` grows while it runs."""

    def __init__(self, *words, columns=80, environ=()):
        self.recording = Recording(columns)
        self._reader, end = pty.openpty()
        resize(end, columns)
        usual = {"TERM": "xterm-256color", "LANG": "C.UTF-8"}
        self._start = time.monotonic()
        self.process = start(
            *words, environ={**usual, **dict(environ)}, stdin=subprocess.DEVNULL, stdout=end, stderr=end
        )
        os.close(end)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def resize(self, columns):
        """Make the window narrower or wider."""
        resize(self._reader, columns)

    def wait_for(self, text):
        """Wait until `text` was written."""
        deadline = time.monotonic() + _SECONDS
        while text.encode() not in self.recording.data:
            assert time.monotonic() < deadline, self.recording.data
            assert self.process.poll() is None or text.encode() in self._all(), self.recording.data
            time.sleep(0.01)

    def finish(self):
        """Wait for the end; return the recording."""
        self.recording.code = self.process.wait(_SECONDS)
        self._all()
        return self.recording

    def _all(self):
        self._thread.join(_SECONDS)
        return self.recording.data

    def _read(self):
        # Reading a terminal whose other side is gone is an error on Linux.
        with contextlib.suppress(OSError):
            while piece := os.read(self._reader, 65536):
                self.recording.pieces.append((time.monotonic() - self._start, piece))
        os.close(self._reader)


def resize(terminal, columns):
    """Give a pseudo terminal a width."""
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))


def record(*words, **options):
    """Run a command to its end and return the recording."""
    return Running(*words, **options).finish()
