"""Hooks that are called in the event loop with what threads report."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from threading import get_ident
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.aio.threads import post
from imgpkg.cancellation import current
from imgpkg.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.aio.threads import CallThread

T = TypeVar("T")

# Seconds that hooks take at a time; then it is the turn of other tasks.
_SLICE = 0.005
# Reports that wait for the loop, and the seconds between two looks of a thread that has to wait for it.
_MOST_WAITING = 1000
_TICK = 0.005


def unheard(report: object) -> None:
    """Ignore a report: the default hook."""


class LoopHook(Generic[T]):
    """Calls `hook` in the loop, and in the context of the task, with what threads report, in its order.

    A hook that raises ends the call, which then raises the same; see `failure`.
    """

    def __init__(self, hook: Callable[[T], None], thread: CallThread) -> None:
        self.failure: BaseException | None = None
        self._hook = hook
        self._thread = thread
        self._reports: deque[T] = deque()
        self._is_expected = False
        self._is_over = False

    def __call__(self, report: T) -> None:
        """Report from any thread, which waits if the loop is far behind; raise Cancelled after a failure."""
        while len(self._reports) >= _MOST_WAITING and not self._is_over:
            current(self._thread.cancellation).check()
            time.sleep(_TICK)
        if self.failure is not None or self._is_over:
            raise Cancelled("the call has ended")
        self._reports.append(report)
        if not self._is_expected:
            self._is_expected = True
            post(self._thread.loop, self._deliver, context=self._thread.context)

    async def flush(self) -> None:
        """Wait until the hook has been called with everything that was reported."""
        while self._reports and not self._is_over:
            await asyncio.sleep(0)
            self._thread.context.run(self._deliver)

    def stop(self) -> None:
        """Drop what was reported, and call the hook no more."""
        self._is_over = True
        self._reports.clear()

    def _deliver(self) -> None:
        # First: what is reported meanwhile makes another call, or is seen by this one.
        self._is_expected = False
        end = time.monotonic() + _SLICE
        while self._reports and time.monotonic() < end:
            self._call_with(self._reports.popleft())
        if self._reports and not self._is_expected:
            self._is_expected = True
            post(self._thread.loop, self._deliver, context=self._thread.context)

    def _call_with(self, report: T) -> None:
        try:
            self._hook(report)
        except BaseException as error:  # noqa: BLE001 - raised by the call
            self.failure = error
            self.stop()
            self._thread.cancel()


class SessionHook(Generic[T]):
    """Calls `hook` in the loop of its session, whichever thread reports; before there is one, at once."""

    def __init__(self, hook: Callable[[T], None]) -> None:
        self._hook = hook
        self._loop: asyncio.AbstractEventLoop | None = None
        self._home = 0

    def settle(self) -> None:
        """Make the running loop that of the hook."""
        if self._loop is None:
            self._loop, self._home = asyncio.get_running_loop(), get_ident()

    def __call__(self, report: T) -> None:
        """Report from any thread."""
        if self._loop is None or get_ident() == self._home:
            self._hook(report)
        else:
            post(self._loop, self._hook, report)
