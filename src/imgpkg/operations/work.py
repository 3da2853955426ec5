"""Several workers on one job: the first failure, or whoever asks to stop, ends what the others wait for."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from contextvars import copy_context
from queue import Empty, SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.events import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from imgpkg.cancellation import Cancellation
    from imgpkg.events import Event, Hook
    from imgpkg.session import Session

T = TypeVar("T")
R = TypeVar("R")

# Sockets, pauses and programs end at once; what cannot be ended is left to its daemon thread after this time.
_GRACE_SECONDS = 1.0


class Work:
    """Does things, `jobs` at a time, in one scope of cancellation; `hook` gets the events of all workers."""

    def __init__(self, scope: Cancellation, jobs: int, hook: Hook) -> None:
        self.jobs = jobs
        self._scope = scope
        self._hook = hook

    def on_event(self, event: Event) -> None:
        """Pass an event on; raise Cancelled when another worker failed or the work was stopped."""
        self._scope.check()
        self._hook(event)

    def map(self, act: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """Act on each thing, several at a time, and return the results in order.

        The first failure is raised within a second, whatever the other workers wait for; the work is then
        over, and so is it after KeyboardInterrupt. One thing alone is done in the calling thread.
        """
        left = deque(enumerate(things))
        if min(self.jobs, len(left)) <= 1:
            return [act(thing) for _, thing in left]
        crew = _Crew(act, left, self._scope)
        try:
            crew.run(min(self.jobs, len(left)))
        except BaseException:
            self._scope.cancel()
            crew.wait(_GRACE_SECONDS)
            raise
        return [crew.results[position] for position in range(len(crew.results))]


class _Crew(Generic[T, R]):
    """Threads that take things from one queue until it is empty or one of them fails."""

    def __init__(self, act: Callable[[T], R], left: deque[tuple[int, T]], scope: Cancellation) -> None:
        self.results: dict[int, R] = {}
        self._act = act
        self._left = left
        self._scope = scope
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._running = 0

    def run(self, count: int) -> None:
        """Start `count` threads and wait for them; raise the first failure."""
        for _ in range(count):
            # A daemon: the interpreter would wait at its end for one that cannot be ended.
            Thread(target=copy_context().run, args=(self._work,), name="imgpkg-worker", daemon=True).start()
            self._running += 1
        while self._running:
            failure = self._ended.get()
            self._running -= 1
            if failure is not None:
                raise failure

    def wait(self, seconds: float) -> None:
        """Wait for the threads that still run, for at most `seconds`."""
        end = time.monotonic() + seconds
        try:
            while self._running:
                self._ended.get(timeout=max(end - time.monotonic(), 0.001))
                self._running -= 1
        except Empty:
            return

    def _work(self) -> None:
        try:
            while not self._scope.is_cancelled:
                try:
                    position, thing = self._left.popleft()
                except IndexError:
                    break
                self.results[position] = self._act(thing)
            self._scope.check()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self._ended.put(error)
        else:
            self._ended.put(None)


@contextmanager
def working(session: Session, jobs: int, hook: Hook = silent) -> Iterator[Work]:
    """Open work for `jobs` at a time within `session`; it is all done, or given up, when the block ends."""
    with session.cancellation.scope() as scope:
        yield Work(scope, max(1, jobs), hook)
