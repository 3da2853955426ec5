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
# How often the threads are looked at while nothing is heard of them.
_GLANCE_SECONDS = 0.5


class WorkerPool:
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
        crew = _Crew(act, left, self._scope, min(self.jobs, len(left)))
        try:
            crew.run()
        except BaseException:
            self._scope.cancel()
            crew.wait(_GRACE_SECONDS)
            raise
        return [crew.results[position] for position in range(len(crew.results))]


class _Crew(Generic[T, R]):
    """Threads that take things from one queue until it is empty or one of them fails.

    Each thread starts the next one, as long as there are fewer than `size` and there is something to do.
    """

    def __init__(
        self, act: Callable[[T], R], left: deque[tuple[int, T]], scope: Cancellation, size: int
    ) -> None:
        self.results: dict[int, R] = {}
        self._act = act
        self._left = left
        self._scope = scope
        self._size = size
        self._threads: list[Thread] = []
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._count = 0

    def run(self) -> None:
        """Do all the things; raise the first failure."""
        self._grow()
        while self._count < len(self._threads):
            try:
                failure = self._ended.get(timeout=_GLANCE_SECONDS)
            except Empty:
                # A thread may end before its first line, for want of memory.
                if any(thread.is_alive() for thread in self._threads):
                    continue
                break
            self._count += 1
            if failure is not None:
                raise failure
        self._take()

    def wait(self, seconds: float) -> None:
        """Wait for the threads that still run, for at most `seconds`."""
        end = time.monotonic() + seconds
        for thread in tuple(self._threads):
            thread.join(max(end - time.monotonic(), 0))

    def _grow(self) -> None:
        if len(self._threads) < self._size and self._left:
            # A daemon: the interpreter would wait at its end for one that cannot be ended.
            thread = Thread(target=copy_context().run, args=(self._work,), name="imgpkg-worker", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        try:
            self._grow()
            self._take()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self._ended.put(error)
        else:
            self._ended.put(None)

    def _take(self) -> None:
        while self._left:
            self._scope.check()
            try:
                position, thing = self._left.popleft()
            except IndexError:
                return
            self.results[position] = self._act(thing)


@contextmanager
def open_workers(session: Session, jobs: int, hook: Hook = silent) -> Iterator[WorkerPool]:
    """Open work for `jobs` at a time within `session`; it is all done, or given up, when the block ends."""
    with session.cancellation.scope() as scope:
        yield WorkerPool(scope, max(1, jobs), hook)
