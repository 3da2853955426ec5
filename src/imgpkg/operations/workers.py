"""Worker threads for an operation; the first failure, or a cancelled scope, ends all of them at once.

`concurrent.futures` would wait for running threads after a failure, and the interpreter for them at exit.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack, contextmanager
from contextvars import copy_context
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.events import silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from queue import SimpleQueue

    from imgpkg.cancellation import Cancellation
    from imgpkg.events import Event, Hook
    from imgpkg.session import Session

T = TypeVar("T")
R = TypeVar("R")

# How many manifests to request at the same time: they are small, so that latency decides.
METADATA_JOBS = 10
# Cancelling ends sockets, pauses and programs at once. Other calls, such as name look-ups, cannot be ended:
# their daemon threads are abandoned after this time.
_GRACE_SECONDS = 1.0
# How often to check that the threads are alive.
_CHECK_SECONDS = 0.5


class WorkerPool:
    """Up to `jobs` threads in one cancel scope; `hook` receives the events of all of them."""

    def __init__(self, scope: Cancellation, jobs: int, hook: Hook) -> None:
        self.jobs = jobs
        self._scope = scope
        self._hook = hook

    def on_event(self, event: Event) -> None:
        """Call the hook with `event`; raise Cancelled if another worker failed or the scope is cancelled."""
        self._scope.check()
        self._hook(event)

    def map(self, act: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """Return `act(thing)` for each of `things`, in their order, computed in several threads.

        The first failure is raised within a second, even if other threads are blocked. After a failure or
        KeyboardInterrupt the scope is cancelled. A single thing is processed in the calling thread.
        """
        left = deque(enumerate(things))
        # Without a second thread, there is none to cancel, and the traceback is that of the caller.
        if min(self.jobs, len(left)) <= 1:
            return [act(thing) for _, thing in left]
        threads = _Threads(act, left, self._scope, min(self.jobs, len(left)))
        try:
            threads.run()
        except BaseException:
            # Ends the sockets, pauses and programs of the other threads.
            self._scope.cancel()
            threads.wait(_GRACE_SECONDS)
            raise
        return [threads.results[position] for position in range(len(threads.results))]


class _Threads(Generic[T, R]):
    """Threads that take things from one queue until it is empty or one of them fails.

    Each thread starts the next one while there are fewer than `size` and the queue is not empty.
    """

    def __init__(
        self, act: Callable[[T], R], left: deque[tuple[int, T]], scope: Cancellation, size: int
    ) -> None:
        from queue import SimpleQueue

        self.results: dict[int, R] = {}
        self._act = act
        self._left = left
        self._scope = scope
        self._size = size
        self._threads: list[Thread] = []
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()
        self._count = 0

    def run(self) -> None:
        """Process all things; raise the first failure."""
        from queue import Empty

        self._grow()
        while self._count < len(self._threads):
            try:
                failure = self._ended.get(timeout=_CHECK_SECONDS)
            except Empty:
                # A thread that runs out of memory ends without a report.
                if any(thread.is_alive() for thread in self._threads):
                    continue
                break
            self._count += 1
            if failure is not None:
                raise failure
        # What threads without memory left in the queue.
        self._take()

    def wait(self, seconds: float) -> None:
        """Wait until all threads have ended, for at most `seconds`."""
        end = time.monotonic() + seconds
        for thread in tuple(self._threads):
            thread.join(max(end - time.monotonic(), 0))

    def _grow(self) -> None:
        # Started one by one: a short queue needs fewer threads than are allowed.
        if len(self._threads) < self._size and self._left:
            # The interpreter waits at exit for threads that are not daemons, also for blocked ones.
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
            # Another thread may take the last thing between the check and here.
            try:
                position, thing = self._left.popleft()
            except IndexError:
                return
            # A dict, because several threads add results in any order.
            self.results[position] = self._act(thing)


@contextmanager
def open_workers(
    session: Session, jobs: int, hook: Hook = silent, *, other: Session | None = None
) -> Iterator[WorkerPool]:
    """Return a context with a WorkerPool of `jobs` threads, at least one, in a scope of `session`.

    Cancelling `other`, a session that the workers use too, cancels the scope as well.
    """
    with session.cancellation.scope() as scope, ExitStack() as linked:
        if other is not None and other is not session:
            # Stopping either side ends the copy: half of it cannot go on alone.
            linked.enter_context(other.cancellation.ending(scope.cancel))
        yield WorkerPool(scope, max(1, jobs), hook)
