"""Cancel scopes, and waits that a scope or a time limit ends.

Threads block in connects, TLS handshakes, reads, pauses and child processes. Cancelling a scope ends all of
these at once in every thread that works in the scope; the threads then raise Cancelled.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from imgpkg.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STOPPED = "the work was stopped"

# A wait is announced after this time.
QUIET_SECONDS = 5.0
# The longest single system call of a wait. The time limit and the scope are checked between two calls.
_SLICE = 1.0
# How often a pause checks the flag. A pause cannot wait on a condition: see `Cancellation`.
_TICK = 0.05


def ignore(text: str) -> None:
    """Ignore an announcement: the default hook for messages."""


class Cancellation:
    """A flag that is set once, and the functions to call when it is set, which end blocking calls.

    No method takes a lock. `cancel` is called by signal handlers, which may interrupt any thread while it
    holds a lock, and would then wait for it forever.
    """

    def __init__(self) -> None:
        self.is_cancelled = False
        self._ends: dict[object, Callable[[], None]] = {}

    def cancel(self) -> None:
        """Set the flag and call all registered functions; a second call does so again."""
        self.is_cancelled = True
        # A copy, since other threads may register and forget at the same time.
        for end in tuple(self._ends.values()):
            end()

    def check(self) -> None:
        """Raise Cancelled if the flag is set."""
        if self.is_cancelled:
            raise Cancelled(STOPPED)

    def sleep(self, seconds: float) -> None:
        """Pause for `seconds`; raise Cancelled as soon as the flag is set."""
        end = time.monotonic() + seconds
        self.check()
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            self.check()

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Return a context in which `cancel` calls `end`; entering it raises Cancelled if the flag is set.

        `end` must neither block nor take a lock.
        """
        key = self.register(end)
        try:
            # After registering: a flag set between the two would otherwise be missed.
            self.check()
            yield
        finally:
            self.forget(key)

    def register(self, end: Callable[[], None]) -> object:
        """Make `cancel` call `end`; return the key with which `forget` ends that."""
        key = object()
        self._ends[key] = end
        return key

    def forget(self, key: object) -> None:
        """Remove a registration; an unknown key is ignored."""
        self._ends.pop(key, None)

    @contextmanager
    def scope(self) -> Iterator[Cancellation]:
        """Open a scope inside this one, for the current thread and for threads that copy its context.

        Cancelling this scope cancels the inner one; cancelling the inner one does not affect this one.
        """
        inner = Cancellation()
        key = self.register(inner.cancel)
        # After registering, as in `ending`.
        inner.is_cancelled = self.is_cancelled
        token = _SCOPE.set(inner)
        try:
            yield inner
        finally:
            _SCOPE.reset(token)
            self.forget(key)


class Wait:
    """A wait of at most `seconds`, or without a limit if that is None; cancelling `scope` ends it.

    `announce` is called once, with the seconds spent so far, after `quiet` seconds.
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
        """Return the seconds left, None without a limit; raise TimeoutError at the limit, or Cancelled."""
        self._scope.check()
        spent = time.monotonic() - self._start
        if self._seconds is not None and spent >= self._seconds:
            raise TimeoutError("timed out")
        if spent >= self._quiet and not self._is_announced:
            self._is_announced = True
            self._announce(spent)
        return None if self._seconds is None else self._seconds - spent

    def slice(self, longest: float = _SLICE) -> float:
        """Return the time limit of the next system call in seconds; raise what `remaining` raises."""
        remaining = self.remaining()
        # At most the quiet time, since the announcement is made between two calls.
        slice_ = longest if self._is_announced else min(longest, self._quiet)
        return slice_ if remaining is None else min(remaining, slice_)


_NEVER = Cancellation()
_SCOPE: ContextVar[Cancellation] = ContextVar("imgpkg-cancellation", default=_NEVER)


def current(outermost: Cancellation = _NEVER) -> Cancellation:
    """Return the innermost scope of the calling thread, or `outermost` outside of all scopes."""
    scope = _SCOPE.get()
    return outermost if scope is _NEVER else scope


def sleep(seconds: float) -> None:
    """Pause for `seconds`; raise Cancelled as soon as the current scope is cancelled."""
    current().sleep(seconds)
