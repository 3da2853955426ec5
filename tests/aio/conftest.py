"""What is left when coroutines have ended: threads and sockets."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest

import imgpkg.aio


def run(work):
    """Run a coroutine function with a session."""

    async def with_session():
        async with imgpkg.aio.Session() as session:
            return await work(session)

    return asyncio.run(with_session())


def own_threads():
    """Return the threads of the library that live."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("imgpkg")]


def lasting_threads():
    """Return those that still live after a second: one that has been told to end may need a moment."""
    end = time.monotonic() + 1
    while (found := [name for name in own_threads() if name != "imgpkg-aio"]) and time.monotonic() < end:
        time.sleep(0.01)
    return found


def open_sockets():
    """Return how many sockets of this process are open."""
    return sum(_target(name).startswith("socket:") for name in os.listdir("/proc/self/fd"))


def _target(name):
    try:
        return os.readlink(f"/proc/self/fd/{name}")
    # That of the folder itself.
    except OSError:
        return ""


@pytest.fixture(autouse=True)
def nothing_left():
    """Fail a test that leaves a thread, at most a moment after its end."""
    yield
    end = time.monotonic() + 1
    while own_threads() and time.monotonic() < end:
        time.sleep(0.01)
    assert own_threads() == []
