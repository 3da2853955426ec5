"""Worker threads for an operation; the first failure, or a cancelled scope, ends all of them at once.

`concurrent.futures` would wait for running threads after a failure, and the interpreter for them at exit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable
from contextlib import contextmanager
from contextvars import copy_context
from itertools import chain, islice
from threading import Condition, Lock, Semaphore, Thread
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.dataclass import dataclass
from imgpkg.events import SHORTEST_PAUSE, StepsAdvanced, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

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
# How often a task that waits for another one looks whether the scope is cancelled.
_TICK = 0.05


@dataclass(frozen=True, slots=True)
class Task:
    """A piece of work with a name, and the names of those that have to be done before it."""

    name: Hashable
    act: Callable[[], object]
    after: tuple[Hashable, ...] = ()


class WorkerPool:
    """Up to `jobs` threads in one cancel scope; `hook` receives the events of all of them.

    With an `activity`, that is also a StepsAdvanced for each thing that `map` is done with.
    """

    def __init__(self, scope: Cancellation, jobs: int, hook: Hook, *, activity: str = "") -> None:
        self.jobs = jobs
        self.scope = scope
        self._hook = hook
        self._count = _Count(activity, self.on_event) if activity else None

    def counting(self, activity: str) -> WorkerPool:
        """Return a pool in the same scope that counts what it maps."""
        return WorkerPool(self.scope, self.jobs, self._hook, activity=activity)

    def on_event(self, event: Event) -> None:
        """Call the hook with `event`; raise Cancelled if another worker failed or the scope is cancelled."""
        self.scope.check()
        self._hook(event)

    def map(self, act: Callable[[T], R], things: Iterable[T]) -> list[R]:
        """Return `act(thing)` for each of `things`, in their order, computed in several threads.

        The first failure is raised within a second, even if other threads are blocked. After a failure or
        KeyboardInterrupt the scope is cancelled. A single thing is processed in the calling thread.
        """
        left = deque(enumerate(things))
        if self._count is not None:
            act = self._count.counted(act, len(left))
        # Without a second thread, there is none to cancel, and the traceback is that of the caller.
        if min(self.jobs, len(left)) <= 1:
            return [act(thing) for _, thing in left]
        threads = _Threads(act, left, self.scope, min(self.jobs, len(left)))
        try:
            threads.run()
        except BaseException:
            # Ends the sockets, pauses and programs of the other threads.
            self.scope.cancel()
            threads.wait(_GRACE_SECONDS)
            raise
        return [threads.results[position] for position in range(len(threads.results))]

    def start(self, act: Callable[[], R]) -> Callable[[], R]:
        """Call `act` in a thread of its own, beside everything else; return how to wait for its result.

        What it raises is raised there. A pool of one job has no other thread: `act` is then called there.
        """
        if self.jobs <= 1:
            return act
        threads = _Threads(lambda _: act(), deque([(0, None)]), self.scope, 1)
        threads.grow()

        def result() -> R:
            threads.run()
            return threads.results[0]

        return result

    def take(self, tasks: Iterable[Task]) -> None:
        """Do all `tasks` in several threads, each as soon as those are done that it names.

        A task names tasks that stand before it, or what is not among `tasks` at all. They may be made while
        they are taken: none is kept. Raises as `map` does.
        """
        ended, source = Condition(), iter(tasks)
        first = list(islice(source, self.jobs))
        left, running = chain(first, source), set[Hashable]()

        def following() -> Task | None:
            with ended:
                task = next(left, None)
                if task is not None:
                    running.add(task.name)
                return task

        def do(task: Task) -> None:
            # They are begun in their order: what is waited for is done, or being done.
            with ended:
                while not running.isdisjoint(task.after):
                    ended.wait(_TICK)
                    self.scope.check()
            task.act()
            with ended:
                running.discard(task.name)
                ended.notify_all()

        def work(_: int) -> None:
            while (task := following()) is not None:
                self.scope.check()
                do(task)

        self.map(work, range(len(first)))


class _Count:
    """Reports how many things are done, of all that have been begun in the pool."""

    def __init__(self, activity: str, hook: Hook) -> None:
        self._activity = activity
        self._hook = hook
        self._lock = Lock()
        self._done = self._total = 0
        self._next = 0.0

    def counted(self, act: Callable[[T], R], count: int) -> Callable[[T], R]:
        """Return `act`, which is going to be called `count` times."""
        self._add(0, count)

        def do(thing: T) -> R:
            result = act(thing)
            self._add(1, 0)
            return result

        return do

    def _add(self, done: int, total: int) -> None:
        if not (done or total):
            return
        # The hook is called with the lock: otherwise a count could overtake a later one.
        with self._lock:
            self._done += done
            self._total += total
            now = time.monotonic()
            # The last step always: until more becomes known, nothing else would show that all is done.
            if now < self._next and self._done < self._total:
                return
            self._next = now + SHORTEST_PAUSE
            self._hook(StepsAdvanced(self._activity, self._done, self._total))


class _Threads(Generic[T, R]):
    """Threads that take things from one queue until it is empty or one of them fails.

    Each thread starts the next one while there are fewer than `size` and the queue is not empty.
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
        # `queue` would be one more module to load for every command.
        self._ended: deque[BaseException | None] = deque()
        self._ends = Semaphore(0)
        self._count = 0

    def run(self) -> None:
        """Process all things; raise the first failure."""
        self.grow()
        while self._count < len(self._threads):
            if not self._ends.acquire(timeout=_CHECK_SECONDS):
                self._scope.check()
                # A thread that runs out of memory ends without a report.
                if any(thread.is_alive() for thread in self._threads):
                    continue
                break
            self._count += 1
            if (failure := self._ended.popleft()) is not None:
                raise failure
        # What threads without memory left in the queue.
        self._take()

    def wait(self, seconds: float) -> None:
        """Wait until all threads have ended, for at most `seconds`."""
        end = time.monotonic() + seconds
        for thread in tuple(self._threads):
            # One that the system did not start cannot be waited for.
            if thread.ident is not None:
                thread.join(max(end - time.monotonic(), 0))

    def grow(self) -> None:
        """Start a thread, if one is of use."""
        # Started one by one: a short queue needs fewer threads than are allowed.
        if len(self._threads) < self._size and self._left:
            # The interpreter waits at exit for threads that are not daemons, also for blocked ones.
            thread = Thread(target=copy_context().run, args=(self._work,), name="imgpkg-worker", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        try:
            self.grow()
            self._take()
        except BaseException as error:  # noqa: BLE001 - raised by the thread that waits
            self._report(error)
        else:
            self._report(None)

    def _report(self, failure: BaseException | None) -> None:
        self._ended.append(failure)
        self._ends.release()

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
    session: Session,
    jobs: int,
    hook: Hook = silent,
    *,
    other: Session | None = None,
    activity: str = "",
) -> Iterator[WorkerPool]:
    """Return a context with a WorkerPool of `jobs` threads, at least one, in a scope of `session`.

    With an `activity`, `hook` receives a StepsAdvanced for each thing that the pool maps.

    Cancelling `other`, a session that the workers use too, cancels the scope as well. So does a failure in
    the context: it ends what was started there.
    """
    # Stopping either side ends the copy: half of it cannot go on alone.
    others = () if other is None else (other.cancellation,)
    with session.cancellation.scope(*others) as scope:
        try:
            if activity:
                # The first answers may take long, and are not counted.
                hook(StepsAdvanced(activity, 0, 0))
            yield WorkerPool(scope, max(1, jobs), hook, activity=activity)
        except BaseException:
            scope.cancel()
            raise
