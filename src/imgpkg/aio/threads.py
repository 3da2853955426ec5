"""The thread below a call: it blocks, so that the event loop does not, and ends with the call."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Generic, TypeVar
from weakref import finalize

from imgpkg.cancellation import STOPPED, Cancellation, current
from imgpkg.dataclass import dataclass
from imgpkg.errors import Cancelled, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

R = TypeVar("R")

# Seconds. Cancelling ends sockets, pauses and programs at once. What the operating system does not end, such
# as a read from a disk that hangs, is left to its daemon thread after this time.
GRACE_SECONDS = 1.0
# Seconds between two looks whether threads have ended.
_TICK = 0.001
_NEVER = float("inf")
_ENDED = "the call has ended: nothing can be read through it any more"


class _BlockingCall(Generic[R]):
    """A blocking function, and the future of what it returns or raises."""

    def __init__(self, act: Callable[[], R], loop: asyncio.AbstractEventLoop) -> None:
        self._act = act
        self._loop = loop
        self.outcome: asyncio.Future[R] = loop.create_future()
        # A failure after a cancellation is heard by nobody, which asyncio would report.
        self.outcome.add_done_callback(lambda outcome: outcome.cancelled() or outcome.exception())

    def run(self) -> None:
        """Call the function; its outcome arrives in the loop."""
        try:
            result = self._act()
        except StopIteration as error:
            # A future takes none: the task would wait for ever.
            failure = RuntimeError("what was called raised StopIteration")
            failure.__cause__ = error
            post(self._loop, self._fail, failure)
        except BaseException as error:  # noqa: BLE001 - raised by the task that waits
            post(self._loop, self._fail, error)
        else:
            post(self._loop, self._succeed, result)

    def _succeed(self, result: R) -> None:
        if not self.outcome.done():
            self.outcome.set_result(result)

    def _fail(self, error: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


class CallThreads:
    """Threads that have ended their work and wait for more: starting one blocks until it runs."""

    def __init__(self) -> None:
        self._idle = _Idle()
        self._all: set[Thread] = set()
        # A session that is not closed must not leave them behind.
        finalize(self, self._idle.end)

    def run(self, act: Callable[[], None], end: Callable[[], None]) -> None:
        """Call `act`, and then `end`, in a thread, a new one where none is idle."""
        work = _Work(act, end)
        if self._idle.take(work):
            return
        # The interpreter waits at exit for threads that are not daemons, also for blocked ones.
        thread = Thread(target=self._idle.serve, args=(work,), name="imgpkg-aio", daemon=True)
        self._all = {each for each in self._all if each.is_alive()} | {thread}
        thread.start()

    async def close(self, end: float) -> None:
        """End the threads, and wait until they have ended, or until `end`, of the monotonic clock."""
        self._idle.end()
        # A thread cannot say that it has ended.
        while time.monotonic() < end and any(map(Thread.is_alive, self._all)):  # noqa: ASYNC110
            await asyncio.sleep(_TICK)


@dataclass(frozen=True, slots=True)
class _Work:
    """A function to call in a thread, and one that says that the thread is idle again."""

    act: Callable[[], None]
    end: Callable[[], None]


class _Idle:
    """The queues of the threads that wait for work."""

    def __init__(self) -> None:
        self._works: deque[SimpleQueue[_Work | None]] = deque()
        self._is_over = False

    def take(self, work: _Work) -> bool:
        """Give `work` to a thread; return False if none is idle."""
        try:
            self._works.pop().put(work)
        except IndexError:
            return False
        return True

    def end(self) -> None:
        """End all threads, those that work after their work."""
        self._is_over = True
        while self._works:
            self._works.pop().put(None)

    def serve(self, work: _Work | None) -> None:
        """Do `work`, and then what is given to this thread."""
        own: SimpleQueue[_Work | None] = SimpleQueue()
        while work is not None:
            work.act()
            self._works.append(own)
            if self._is_over:
                # After it was added: whoever ends all may have missed it.
                self.end()
            # Last: what begins then finds this thread.
            work.end()
            # What it holds must not live until the next one comes.
            del work
            work = own.get()


class CallThread:
    """A thread that calls blocking functions one after the other, all of them in one cancel scope.

    The scope is inside those of the task that starts it, and inside `outer`, that of a session. A task that
    is cancelled while it waits for one of the functions cancels the scope, waits until the function has
    ended, and is then cancelled.
    """

    def __init__(self, outer: Cancellation | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        # That of the task: hooks run in it, so that what they begin does not end with this call.
        self.context: Context = copy_context()
        self.cancellation = Cancellation()
        self._outer = outer
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.ended: asyncio.Future[None] = self.loop.create_future()
        self._is_closing = False
        # When the thread is left alone, after a cancellation.
        self._give_up_at = _NEVER

    def start(self, threads: CallThreads | None) -> None:
        """Begin in one of `threads`, or in one of its own, in the context of the task."""
        (threads or CallThreads()).run(
            partial(copy_context().run, self._work), partial(post, self.loop, self._end)
        )

    async def call(self, act: Callable[[], R]) -> R:
        """Return what `act` returns in the thread, or raise what it raises."""
        if self._is_closing:
            raise UsageError(_ENDED)
        job = _BlockingCall(act, self.loop)
        self._jobs.put(job.run)
        await self._wait(job.outcome)
        if not job.outcome.done():
            raise Cancelled(STOPPED)
        return job.outcome.result()

    def cancel(self) -> None:
        """End what blocks in the thread: it raises Cancelled."""
        self._give_up_at = min(self._give_up_at, time.monotonic() + GRACE_SECONDS)
        self.cancellation.cancel()

    async def close(self, last: Callable[[], object] | None = None) -> None:
        """Call `last` in the thread, and wait for its end; raise what `last` raises.

        After a cancellation the thread is waited for no longer than GRACE_SECONDS, and no error is raised.
        """
        if self._is_closing:
            return
        self._is_closing = True
        job = None if last is None else _BlockingCall(last, self.loop)
        if job is not None:
            self._jobs.put(job.run)
        self._jobs.put(None)
        await self._wait(self.ended)
        if job is not None and job.outcome.done() and not self.cancellation.is_cancelled:
            job.outcome.result()

    async def _wait(self, future: asyncio.Future[R]) -> None:
        """Wait until `future` is done; a cancelled task for GRACE_SECONDS, one cancelled twice no longer."""
        cancelled: asyncio.CancelledError | None = None
        while not future.done() and (left := self._give_up_at - time.monotonic()) > 0:
            try:
                # Not the future itself: cancelling the task would cancel it, and its end would be unknown.
                await asyncio.wait((future,), timeout=None if left == _NEVER else left)
            except asyncio.CancelledError as error:  # noqa: PERF203 - once, or twice
                if cancelled is not None:
                    self._give_up_at = 0
                    raise
                cancelled = error
                self.cancel()
        if cancelled is not None:
            raise cancelled

    def _work(self) -> None:
        outer = () if self._outer is None else (self._outer,)
        with self.cancellation.scope(*outer, current(self.cancellation)):
            while (job := self._jobs.get()) is not None:
                job()
                # What it holds, such as a stream, must not live until the next one comes.
                del job

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def post(
    loop: asyncio.AbstractEventLoop,
    act: Callable[..., object],
    *values: object,
    context: Context | None = None,
) -> None:
    """Call `act` in the loop, soon; do nothing if the loop is closed, where nobody waits any more."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(act, *values, context=context)
