"""The process's own streams: every one there, in UTF-8, and quiet once nobody takes what they say."""

from __future__ import annotations

import contextlib
import io
import os
import sys


def prepare() -> None:
    """Stand in for streams that were closed, and print file names byte by byte whatever the locale."""
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding="utf-8", errors="backslashreplace")


def _nowhere(mode: str) -> io.TextIOWrapper:
    stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - as long as the process
    assert isinstance(stream, io.TextIOWrapper)  # noqa: S101 - what open makes for text
    return stream


def silence_stdout() -> None:
    """Lose what standard output still holds, or the interpreter would complain of it at its end."""
    with contextlib.suppress(OSError, ValueError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, sys.stdout.fileno())
        os.close(number)
