"""Start the command as users do, and collect the output of each stream."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
import threading
from dataclasses import dataclass

_SECONDS = 60


@dataclass(frozen=True)
class Done:
    """How a run ended."""

    code: int
    out: str
    err: str


def start(*words, environ=(), **options):
    """Start `python -m imgpkg` with these words; streams are pipes unless `options` have others."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(
        [sys.executable, "-m", "imgpkg", *map(str, words)],
        env={**os.environ, **dict(environ)},
        **{**pipes, **options},
    )


def command_line(*words, stdin=b"", **options):
    """Run to the end; the texts are what was written, byte by byte in UTF-8."""
    with start(*words, **options) as process:
        out, err = process.communicate(stdin, timeout=_SECONDS)
    return Done(process.returncode, (out or b"").decode(), (err or b"").decode())


def on_terminal(*words, environ=(), stdout=True, stderr=True):
    """Run to the end with the named streams on pseudo terminals, the others on pipes; line ends are \\n."""
    readers, ends = {}, {}
    for name, wanted in {"stdout": stdout, "stderr": stderr}.items():
        reader, ends[name] = pty.openpty() if wanted else os.pipe()
        readers[name] = _Reader(reader)
    with start(
        *words, environ={"TERM": "xterm", **dict(environ)}, stdin=subprocess.DEVNULL, **ends
    ) as process:
        for end in ends.values():
            os.close(end)
        process.wait(_SECONDS)
    return Done(process.returncode, readers["stdout"].text(), readers["stderr"].text())


class _Reader(threading.Thread):
    """Empties a stream while its writer lives."""

    def __init__(self, number):
        super().__init__(daemon=True)
        self._number = number
        self._pieces = []
        self.start()

    def run(self):
        # Reading a terminal whose other side is gone is an error on Linux.
        with contextlib.suppress(OSError):
            while piece := os.read(self._number, 65536):
                self._pieces.append(piece)
        os.close(self._number)

    def text(self):
        self.join(_SECONDS)
        return b"".join(self._pieces).decode().replace("\r\n", "\n")
