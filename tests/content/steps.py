"""Do something just before the operating system is asked for something: what another process may do then."""

from __future__ import annotations

import sys
from contextlib import contextmanager

CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.listdir", "os.scandir", "os.chmod")
_watching = []


def _hook(event, arguments):
    for watch in _watching:
        watch(event, arguments)


@contextmanager
def before(number, act, events=CHANGES):
    """Call `act` with the arguments of the `number`th of `events` that comes in the block, counted from 1."""
    left = number

    def watch(event, arguments):
        nonlocal left
        if event in events:
            left -= 1
            if left == 0:
                act(*arguments)

    # A hook cannot be taken away again, so there is one.
    if _hook not in _installed:
        sys.addaudithook(_hook)
        _installed.append(_hook)
    _watching.append(watch)
    try:
        yield
    finally:
        _watching.remove(watch)


_installed = []
