"""Cancel scopes, and waits that a scope or a time limit ends, also those for a permit.

Threads block in connects, TLS handshakes, reads, pauses and child processes. Cancelling a scope ends all of
these at once in every thread that works in the scope; the threads then raise Cancelled.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Condition, Lock, get_ident
from typing import TYPE_CHECKING

from imgpkg.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

STOPPED = "the work was stopped"

# A wait is announced after this time.
QUIET_SECONDS = 5.0
# The longest single system call of a wait. The time limit and the scope are checked between two calls.
_SLICE = 1.0
# How often a pause checks the flag. A pause cannot wait on a condition: see `Cancellation`.
_TICK = 0.05

# Seconds. A thread that has a permit already gets another one after this time, even if none is free: the
# holders of the others may wait for this thread, for example for the token that it requests.
_PATIENCE_WITHIN = 1.0
_PATIENCE_ELSEWHERE = 30.0


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


class Permit:
    """The right to one of the things that `Permits` counts, until it is given back."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def leave(self) -> None:
        """Give the permit back; a second call does nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


NO_PERMIT = Permit(lambda: None)


class Permits:
    """At most `most` permits for each key at once, such as the connections to each host.

    Threads get them in the order in which they asked. A thread that has one and needs another to go on cannot
    wait for ever: it gets one more in the end, at once if all others wait like itself.
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._lock = Lock()
        self._held: dict[Hashable, list[int]] = {}
        # Each thread that waits, and its own condition: the others need not wake up with it.
        self._queues: dict[Hashable, dict[int, Condition]] = {}
        self._nested: dict[int, Condition] = {}

    def enter(self, key: Hashable, scope: Cancellation) -> Permit:
        """Return a permit as soon as there is one; raise Cancelled if `scope` is cancelled before."""
        thread, since, called = get_ident(), time.monotonic(), Condition(self._lock)
        with self._lock:
            # Threads that wait with a permit may have waited for this one only.
            for other in self._nested.values():
                other.notify()
            queue = self._queues.setdefault(key, {})
            queue[thread] = called
            if any(thread in threads for threads in self._held.values()):
                self._nested[thread] = called
            try:
                while not self._may_enter(key, thread, since):
                    scope.check()
                    called.wait(_TICK)
                self._held.setdefault(key, []).append(thread)
            finally:
                del queue[thread]
                if not queue:
                    del self._queues[key]
                self._nested.pop(thread, None)
                self._call_next(key)
        return Permit(lambda: self._leave(key, thread))

    def try_enter(self, key: Hashable) -> Permit | None:
        """Return a permit that nobody waits for, None without one."""
        thread = get_ident()
        with self._lock:
            if key in self._queues or len(self._held.get(key, ())) >= self._most:
                return None
            self._held.setdefault(key, []).append(thread)
        return Permit(lambda: self._leave(key, thread))

    def _may_enter(self, key: Hashable, thread: int, since: float) -> bool:
        holders = self._held.get(key, [])
        if len(holders) < self._most:
            return next(iter(self._queues[key])) == thread
        if thread not in self._nested:
            return False
        patience = _PATIENCE_WITHIN if thread in holders else _PATIENCE_ELSEWHERE
        waiting = {thread for queue in self._queues.values() for thread in queue}
        return waiting.issuperset(holders) or time.monotonic() - since > patience

    def _leave(self, key: Hashable, thread: int) -> None:
        with self._lock:
            holders = self._held[key]
            holders.remove(thread)
            if not holders:
                del self._held[key]
            self._call_next(key)

    def _call_next(self, key: Hashable) -> None:
        for called in self._queues.get(key, {}).values():
            called.notify()
            return


_NEVER = Cancellation()
_SCOPE: ContextVar[Cancellation] = ContextVar("imgpkg-cancellation", default=_NEVER)


def current(outermost: Cancellation = _NEVER) -> Cancellation:
    """Return the innermost scope of the calling thread, or `outermost` outside of all scopes."""
    scope = _SCOPE.get()
    return outermost if scope is _NEVER else scope


def sleep(seconds: float) -> None:
    """Pause for `seconds`; raise Cancelled as soon as the current scope is cancelled."""
    current().sleep(seconds)
