"""Cancel scopes and time limits, and the waits that they end, also those for a permit.

Threads block in connects, TLS handshakes, reads, pauses and child processes. Cancelling a scope ends all of
these at once in every thread that works in the scope, and so does its deadline; the threads then raise
Cancelled. Where the scope of a deadline ends, that Cancelled becomes a TimedOut.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
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
# The shortest: a time limit of zero would make a socket one that does not wait at all.
_SHORTEST_SLICE = 0.001
# How often a pause checks the flag. A pause cannot wait on a condition: see `Cancellation`.
_TICK = 0.05
_NEVER_ENDS = float("inf")

# Seconds. A thread that has a permit already gets another one after this time, even if none is free: the
# holders of the others may wait for this thread, for example for the token that it requests.
_PATIENCE_WITHIN = 1.0
_PATIENCE_ELSEWHERE = 30.0

_numbers = count(1)


def ignore(text: str) -> None:
    """Ignore an announcement: the default hook for messages."""


def _nothing() -> str:
    return ""


class Cancellation:
    """A scope of work: a flag that is set once, a deadline, and functions to call when the flag is set.

    It ends when its flag is set or its deadline is over, `seconds` after its creation, and when one of its
    `parents` ends. The functions end blocking calls; a deadline calls none, since every wait knows it.

    No method takes a lock. `cancel` is called by signal handlers, which may interrupt any thread while it
    holds a lock, and would then wait for it forever.
    """

    def __init__(
        self, *parents: Cancellation, seconds: float | None = None, is_operation: bool = False
    ) -> None:
        self.number = next(_numbers)
        self.seconds = seconds
        self.is_operation = is_operation
        self.ends: dict[object, Callable[[], None]] = {}
        self._start = time.monotonic()
        self.deadline = _NEVER_ENDS if seconds is None else self._start + seconds
        self.cancelled_at = _NEVER_ENDS
        above = (each for parent in parents for each in parent.line)
        # This scope and all that it is in. Nothing has to be undone when it is forgotten.
        self.line: tuple[Cancellation, ...] = tuple(dict.fromkeys((self, *above)))
        self._first = min(self.line, key=lambda scope: scope.deadline)

    @property
    def can_end(self) -> bool:
        """False for the scope of what nobody has begun to limit."""
        return self is not _NEVER

    @property
    def is_cancelled(self) -> bool:
        """True when the scope has ended, by a flag or by a deadline."""
        return self.ended_by() is not None

    @property
    def spent(self) -> float:
        """The seconds since the scope was opened."""
        return time.monotonic() - self._start

    @property
    def is_over(self) -> bool:
        """True when the deadline of this scope itself has ended it."""
        return self.ended_by() is self and self.deadline <= self.cancelled_at

    def ended_by(self) -> Cancellation | None:
        """Return the scope whose flag or deadline has ended this one first; None while it goes on."""
        flagged = min(self.line, key=lambda scope: scope.cancelled_at)
        # What a deadline ends is often cancelled in consequence: then the deadline is the reason.
        if self._first.deadline <= min(flagged.cancelled_at, time.monotonic()):
            return self._first
        return flagged if flagged.cancelled_at < _NEVER_ENDS else None

    def remaining(self) -> float | None:
        """Return the seconds to the deadline, negative after it; None without one."""
        deadline = self._first.deadline
        return None if deadline == _NEVER_ENDS else deadline - time.monotonic()

    @property
    def is_within_operation(self) -> bool:
        """True inside of an operation that has limits."""
        return any(scope.is_operation for scope in self.line)

    def cancel(self) -> None:
        """Set the flag and call all registered functions; a second call does so again."""
        self.cancelled_at = min(self.cancelled_at, time.monotonic())
        # A copy, since other threads may register and forget at the same time.
        for end in tuple(self.ends.values()):
            end()

    def check(self, waited_for: Callable[[], str] = _nothing) -> None:
        """Raise Cancelled if the scope has ended; `waited_for` says for what its thread is waiting."""
        if self.is_cancelled:
            raise self.failure(waited_for())

    def failure(self, waited_for: str = "") -> Cancelled:
        """Return the error of a scope that has ended; `waited_for` says for what its thread waits."""
        error = Cancelled(f"{STOPPED}: {waited_for}" if waited_for else STOPPED)
        error.waited_for = waited_for
        error._scope = (self.ended_by() or self).number  # noqa: SLF001 - no part of what programs know of it
        return error

    def sleep(self, seconds: float, waited_for: Callable[[], str] = _nothing) -> None:
        """Pause for `seconds`; raise Cancelled as soon as the scope ends."""
        end = time.monotonic() + seconds
        self.check(waited_for)
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _TICK))
            self.check(waited_for)

    @contextmanager
    def ending(self, end: Callable[[], None]) -> Iterator[None]:
        """Return a context in which `cancel` calls `end`; raise Cancelled if the scope has ended already.

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
        """Make `cancel`, also of a scope around this one, call `end`; return the key for `forget`."""
        key = object()
        for scope in self.line:
            scope.ends[key] = end
        return key

    def forget(self, key: object) -> None:
        """Remove a registration; an unknown key is ignored."""
        for scope in self.line:
            scope.ends.pop(key, None)

    @contextmanager
    def scope(
        self, *others: Cancellation, seconds: float | None = None, is_operation: bool = False
    ) -> Iterator[Cancellation]:
        """Open a scope inside this one, `others` and that of the thread, for it and copies of its context.

        Cancelling one of these ends the inner one; cancelling the inner one does not affect them.
        """
        inner = Cancellation(current(self), *others, seconds=seconds, is_operation=is_operation)
        token = _SCOPE.set(inner)
        try:
            yield inner
        finally:
            _SCOPE.reset(token)


class Wait:
    """A wait of at most `seconds`, or without a limit if that is None; the end of `scope` ends it.

    `announce` is called once, with the seconds spent so far, after `quiet` seconds. `waited_for` says for
    what it is, where the scope ends it.
    """

    def __init__(
        self,
        seconds: float | None,
        scope: Cancellation,
        announce: Callable[[float], None],
        quiet: float = QUIET_SECONDS,
        *,
        waited_for: Callable[[], str] = _nothing,
    ) -> None:
        self._start = time.monotonic()
        self._seconds = seconds
        self._scope = scope
        self._quiet = quiet
        self._announce = announce
        self._waited_for = waited_for
        self._is_announced = False

    def remaining(self) -> float | None:
        """Return the seconds left, None without a limit; raise TimeoutError at the limit, or Cancelled."""
        self._scope.check(self._waited_for)
        spent = time.monotonic() - self._start
        if self._seconds is not None and spent >= self._seconds:
            raise TimeoutError("timed out")
        if spent >= self._quiet and not self._is_announced:
            self._is_announced = True
            self._announce(spent)
        own = None if self._seconds is None else self._seconds - spent
        left = self._scope.remaining()
        return own if left is None else left if own is None else min(own, left)

    def slice(self, longest: float = _SLICE) -> float:
        """Return the time limit of the next system call in seconds; raise what `remaining` raises."""
        remaining = self.remaining()
        # At most the quiet time, since the announcement is made between two calls.
        slice_ = longest if self._is_announced else min(longest, self._quiet)
        return slice_ if remaining is None else max(min(remaining, slice_), _SHORTEST_SLICE)


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

    def enter(self, key: Hashable, scope: Cancellation, waited_for: Callable[[], str] = _nothing) -> Permit:
        """Return a permit as soon as there is one; raise Cancelled if `scope` ends before."""
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
                    scope.check(waited_for)
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
    """Return the innermost scope of the calling thread, which ends with `outermost` too."""
    scope = _SCOPE.get()
    if scope is _NEVER:
        return outermost
    if outermost is _NEVER or outermost in scope.line:
        return scope
    return Cancellation(scope, outermost)


def limit_of(timeout: float | None, usual: float | None) -> float | None:
    """Return the seconds that an operation may take: `timeout`, else the `usual` ones.

    These are not for an operation within another one, which has the limit of that one already.
    """
    return usual if timeout is None and not current().is_within_operation else timeout


def acquire(lock: Lock) -> None:
    """Acquire `lock`; raise Cancelled if the current scope ends before it is free."""
    scope = current()
    while not lock.acquire(timeout=_TICK):
        scope.check(lambda: "what another thread has begun")


@contextmanager
def holding(lock: Lock) -> Iterator[None]:
    """Return a context that holds `lock`, whose holder may wait for a server; raise what `acquire` raises."""
    acquire(lock)
    try:
        yield
    finally:
        lock.release()


def sleep(seconds: float) -> None:
    """Pause for `seconds`; raise Cancelled as soon as the current scope ends."""
    current().sleep(seconds)
