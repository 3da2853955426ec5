"""Waiting: with a limit, announced when it is long, and ended at once in all threads of one piece of work."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from imgpkg.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOPPED = "the work was stopped"

# A wait that is longer is announced.
QUIET_SECONDS = 5.0
# The longest single call of the system in a wait: its limit and its scope are looked at in between.
_SLICE = 1.0
# How long a pause lasts at most before the flag is looked at again.
_TICK = 0.05


def unheard(text: str) -> None:
    """Announce nothing: the default of whatever takes a hook for sentences."""


class Cancellation:
    """A flag that is set once, and the calls that end what is being waited for when it is set.

    No method takes a lock: `cancel` is called by signal handlers, which interrupt a thread anywhere.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self._ends: dict[object, Callable[[], None]] = {}

    def cancel(self) -> None:
        """Set the flag and call everything that was registered; again when called again."""
        self.is_cancelled = True
        for end in tuple(self._ends.values()):
            end()

    def check(self) -> None:
        """Raise Cancelled when the flag is set."""
        if self.is_cancelled:
            raise Cancelled(STOPPED)

    def sleep(self, seconds: float) -> None:
        """Pause for `seconds`; raise Cancelled when the flag is set before they are over."""
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            self.check()

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Have `cancel` call `end` while the block runs; raise Cancelled when it is too late for that.

        `end` must neither wait nor take a lock.
        """
        key = self.register(end)
        try:
            self.check()
            yield
        finally:
            self.forget(key)

    def register(self, end: Callable[[], None]) -> object:
        """Have `cancel` call `end` until `forget` gets the key that is returned."""
        key = object()
        self._ends[key] = end
        return key

    def forget(self, key: object) -> None:
        """Take a registration back; one that is unknown is no error."""
        self._ends.pop(key, None)

    @contextmanager
    def scope(self) -> Iterator[Cancellation]:
        """Open a scope inside this one for the current thread, and for threads that copy its context.

        The scope is cancelled with this one; cancelling it leaves this one alone.
        """
        inner = Cancellation()
        key = self.register(inner.cancel)
        inner.is_cancelled = self.is_cancelled
        token = _SCOPE.set(inner)
        try:
            yield inner
        finally:
            _SCOPE.reset(token)
            self.forget(key)


class Wait:
    """A wait of at most `seconds`, None for ever; cancelling `scope` ends it.

    `announce` is called once when it has lasted `quiet` seconds.
    """

    def __init__(
        self,
        seconds: float | None,
        scope: Cancellation,
        announce: Callable[[float], None],
        quiet: float = QUIET_SECONDS,
    ) -> None:
        self._start = time.monotonic()
        self._seconds = seconds
        self._scope = scope
        self._quiet = quiet
        self._announce = announce
        self._is_announced = False

    def remaining(self) -> float | None:
        """Return the seconds that are left, None without a limit; raise TimeoutError and Cancelled."""
        self._scope.check()
        spent = time.monotonic() - self._start
        if self._seconds is not None and spent >= self._seconds:
            raise TimeoutError("timed out")
        if spent >= self._quiet and not self._is_announced:
            self._is_announced = True
            self._announce(spent)
        return None if self._seconds is None else self._seconds - spent

    def slice(self, longest: float = _SLICE) -> float:
        """Return how long the next call of the system may take, in seconds; raise as `remaining` does."""
        remaining = self.remaining()
        # Never more than the whole quiet time: the announcement comes between two calls.
        slice_ = longest if self._is_announced else min(longest, self._quiet)
        return slice_ if remaining is None else min(remaining, slice_)


_NEVER = Cancellation()
_SCOPE: ContextVar[Cancellation] = ContextVar("imgpkg-cancellation", default=_NEVER)


def current(outermost: Cancellation = _NEVER) -> Cancellation:
    """Return the scope that the calling thread works in, `outermost` where none was opened."""
    scope = _SCOPE.get()
    return outermost if scope is _NEVER else scope


def sleep(seconds: float) -> None:
    """Pause for `seconds`; raise Cancelled when the current scope is cancelled before they are over."""
    current().sleep(seconds)
