"""The process's own streams: every one there, in UTF-8, and quiet once nobody takes what they say."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys

_BYTE_BY_BYTE = "imgpkg-bytes"


def prepare() -> None:
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
    with contextlib.suppress(OSError, ValueError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, sys.stdout.fileno())
        os.close(number)
