"""The process's own streams and signals.

Every stream is there, in UTF-8, and quiet once nobody takes what it says. Ctrl-C and SIGTERM end a command
alike, so that nothing half made is left lying about.
"""

from __future__ import annotations

import codecs
import io
import os
import signal
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    _Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_BYTE_BY_BYTE = "imgpkg-bytes"


def prepare_streams() -> None:
    """Stand in for streams that were closed, and print file names byte by byte whatever the locale."""
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    codecs.register_error(_BYTE_BY_BYTE, _as_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=_BYTE_BY_BYTE)


def _as_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """Give a file name its own bytes back; what was never bytes, as JSON may hold it, is shown as no text."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - nothing else is registered
    byte = ord(error.object[error.start]) - 0xDC00
    known = 0x80 <= byte <= 0xFF  # noqa: PLR2004 - Python's stand-ins for bytes that are no UTF-8
    return (bytes([byte]) if known else "\ufffd".encode()), error.start + 1


def _nowhere(mode: str) -> io.TextIOWrapper:
    stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - as long as the process
    assert isinstance(stream, io.TextIOWrapper)  # noqa: S101 - what open makes for text
    return stream


def silence_stdout() -> None:
    """Lose what standard output still holds, or the interpreter would complain of it at its end."""
    with suppress(OSError, ValueError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, sys.stdout.fileno())
        os.close(number)


class Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


@contextmanager
def terminable(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` and raise KeyboardInterrupt in the block when SIGINT comes, Terminated for SIGTERM.

    A signal that somebody handles or ignores already is left alone. Workers are waited for when the block is
    left; `stop` ends what they wait for themselves.
    """

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            # A second one, while the first is being obeyed, would leave what is being removed.
            signal.signal(number, signal.SIG_IGN)
        stop()
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    usual: dict[signal.Signals, _Handler] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    ours = {number: handler for number, handler in usual.items() if signal.getsignal(number) is handler}
    try:
        for number in ours:
            _handle(number, end)
        yield
    finally:
        for number, handler in ours.items():
            _handle(number, handler)


def _handle(number: signal.Signals, handler: _Handler) -> None:
    # Only the main thread may; a command run by another thread is left to whoever runs it.
    with suppress(ValueError):
        signal.signal(number, handler)
