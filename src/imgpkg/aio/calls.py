"""The forms of calls: one result, an iterator, and something that is open for a while."""

from __future__ import annotations

import time
from contextlib import ExitStack, asynccontextmanager
from contextvars import ContextVar
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Generic, TypeVar

import imgpkg
from imgpkg.aio.hooks import LoopHook, unheard
from imgpkg.aio.streams import ThreadReader, ThreadWriter
from imgpkg.aio.threads import CallThread
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError
from imgpkg.events import silent

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
    from contextlib import AbstractContextManager

    from typing_extensions import Self

    from imgpkg.aio.session import Session
    from imgpkg.aio.streams import AsyncReadable, AsyncWritable
    from imgpkg.operations.copy.stream import ReadableStream, WritableStream

T = TypeVar("T")
P = TypeVar("P")
R = TypeVar("R")

# How many things an iterator fetches at a time, once it is known that many are wanted, and in how many
# seconds: those that are there do not wait for others.
_MOST_AT_ONCE = 64
_SHORT_WHILE = 0.01
# Hooks that do nothing need no loop.
_UNHEARD: tuple[object, ...] = (silent, unheard)
# Set in the threads of calls, and so in what they make the loop do.
_IS_WITHIN_CALL: ContextVar[bool] = ContextVar("imgpkg-aio-call", default=False)


class Call:
    """A thread with what its functions need of the task: the session, hooks and streams.

    An async context manager, which ends the thread. `last` is called in the thread at the end.
    """

    def __init__(self, session: Session | None) -> None:
        self.thread = CallThread(None if session is None else _checked(session).blocking.cancellation)
        self.last: Callable[[], object] | None = None
        self._session = session
        self._hooks: list[LoopHook[object]] = []

    async def __aenter__(self) -> Self:
        if self._session is None:
            self.thread.start(None)
        else:
            self._session.begin(self.thread)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        for hook in self._hooks:
            hook.stop()
        # Whoever is cancelled, or leaves an iterator early, waits for nothing but the end of the thread.
        if kind is not None and not issubclass(kind, Exception):
            self.thread.cancel()
        await self.thread.close(self.last)

    async def run(self, act: Callable[[], R]) -> R:
        """Return what `act` returns in the thread; raise what it raises, or what a hook has raised."""
        try:
            result = await self.thread.call(act)
        except Exception:
            await self._settle()
            raise
        await self._settle()
        return result

    @property
    def session(self) -> imgpkg.Session:
        """The blocking session."""
        if self._session is None:
            raise UsageError("Expected a session")
        return self._session.blocking

    def other(self, session: Session | None) -> imgpkg.Session | None:
        """Return the blocking session of the other side, if there is one."""
        return None if session is None else _checked(session).blocking

    def hook(self, hook: Callable[[T], None]) -> Callable[[T], None]:
        """Return a hook for threads that calls `hook` in the loop."""
        if hook in _UNHEARD:
            return hook
        if iscoroutinefunction(hook):
            raise UsageError("A hook is no coroutine: imgpkg.aio.progress has an iterator of events")
        made = LoopHook(hook, self.thread)
        self._hooks.append(made)  # type: ignore[arg-type]
        return made

    def reader(self, stream: AsyncReadable | ReadableStream) -> ThreadReader:
        """Return a stream for threads that reads `stream`."""
        return ThreadReader(self.thread, stream)

    def writer(self, stream: AsyncWritable | WritableStream) -> ThreadWriter:
        """Return a stream for threads that writes to `stream`."""
        return ThreadWriter(self.thread, stream)

    async def _settle(self) -> None:
        """Wait until the hooks have been called with everything; raise what one of them has raised."""
        for hook in self._hooks:
            await hook.flush()
            if hook.failure is not None:
                raise hook.failure


def _checked(session: Session) -> Session:
    """Raise TypeError for what is no session of coroutines, such as one for threads."""
    if isinstance(getattr(session, "blocking", None), imgpkg.Session):
        return session
    kind = type(session)
    raise TypeError(f"Expected an imgpkg.aio.Session, but got {kind.__module__}.{kind.__qualname__}")


async def call(session: Session | None, act: Callable[[Call], R]) -> R:
    """Return what `act` returns in a thread of its own; see `Session` for what a cancellation does."""
    # The streams of a call are read by the loop, perhaps by way of other calls: it would wait for these.
    if session is None or _IS_WITHIN_CALL.get():
        return await _called(session, act)
    async with _checked(session).turn():
        return await _called(session, act)


async def _called(session: Session | None, act: Callable[[Call], R]) -> R:
    async with Call(session) as at:
        return await at.run(partial(_within_call, act, at))


def _within_call(act: Callable[[Call], R], at: Call) -> R:
    _IS_WITHIN_CALL.set(True)
    return act(at)


async def iterate(
    session: Session | None, act: Callable[[Call], Iterator[T]], *, at_once: int = _MOST_AT_ONCE
) -> AsyncGenerator[T, None]:
    """Yield what the iterator of `act` yields in a thread of its own, which ends with this generator.

    At most `at_once` are fetched at a time, one at first, and more while more are asked for.
    """
    async with Call(session) as at:
        items = await at.run(partial(_within_call, lambda at: iter(act(at)), at))
        at.last = partial(_close, items)
        async for item in _following(at, items, at_once):
            yield item


async def iterate_within(call: Call, act: Callable[[], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Yield what the iterator of `act` yields in the thread of `call`, which goes on after it."""
    items = await call.run(act)
    try:
        async for item in _following(call, items, _MOST_AT_ONCE):
            yield item
    finally:
        await call.run(partial(_close, items))


async def _following(call: Call, items: Iterator[T], at_once: int) -> AsyncGenerator[T, None]:
    count, some = 1, _Some[T]([], is_all=False)
    while not some.is_all:
        some = await call.run(partial(_take, items, count))
        count = min(2 * count, at_once)
        while some.items:
            yield some.items.pop(0)
        if some.failure is not None:
            raise some.failure


@dataclass(slots=True)
class _Some(Generic[T]):
    """What an iterator has yielded, and how it ended after that, if it did."""

    items: list[T]
    is_all: bool
    failure: Exception | None = None


def _take(items: Iterator[T], count: int) -> _Some[T]:
    found: list[T] = []
    end = time.monotonic() + _SHORT_WHILE
    try:
        for item in items:
            found.append(item)
            if len(found) >= count or time.monotonic() >= end:
                return _Some(found, is_all=False)
    except Exception as error:  # noqa: BLE001 - raised after the things that came before it
        return _Some(found, is_all=True, failure=error)
    return _Some(found, is_all=True)


def _close(items: Iterator[T]) -> None:
    close = getattr(items, "close", None)
    if close is not None:
        close()


@asynccontextmanager
async def opened(
    session: Session | None,
    act: Callable[[Call], AbstractContextManager[T]],
    shown: Callable[[Call, T], P],
) -> AsyncIterator[P]:
    """Return an async context of what `act` opens, as `shown`; it is closed in the thread of the call."""
    async with Call(session) as at:
        stack = ExitStack()
        at.last = stack.close
        value = await at.run(partial(_within_call, lambda at: stack.enter_context(act(at)), at))
        try:
            yield shown(at, value)
        except BaseException as error:
            at.last = partial(stack.__exit__, type(error), error, error.__traceback__)
            raise
