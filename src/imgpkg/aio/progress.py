"""Progress of a call as an asynchronous iterator of its events."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, cast

from imgpkg.dataclass import replace
from imgpkg.errors import UsageError
from imgpkg.events import BlobAdvanced, Event, Hook, PackAdvanced, StepsAdvanced

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Hashable
    from typing import Any

    from typing_extensions import Self

P = ParamSpec("P")
R = TypeVar("R")


def progress(verb: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs) -> Running[R]:
    """Begin a verb that takes `on_event`, and return its events as they come.

        async with progress(copy, source, to_repo="...", session=session) as running:
            async for event in running:
                ...
            result = await running

    The iterator ends with the verb; an error of the verb is raised there, and by `await`, which returns its
    result. Leaving the block earlier cancels the verb. Events that nobody has read yet are summed up, where
    they are about the same blob: a slow reader misses no byte. Events also go to an `on_event` of the
    arguments.
    """
    heard = cast("Hook | None", kwargs.get("on_event"))

    def begin(hook: Hook) -> Coroutine[Any, Any, R]:
        def both(event: Event) -> None:
            hook(event)
            if heard is not None:
                heard(event)

        # The parameters of a verb are not known here, but for their names.
        return cast("Callable[..., Coroutine[Any, Any, R]]", verb)(*args, **{**kwargs, "on_event": both})

    return Running(begin)


class Running(Generic[R]):
    """A verb in progress; see `progress`. An async context manager, an iterator of events, an awaitable."""

    def __init__(self, begin: Callable[[Hook], Coroutine[Any, Any, R]]) -> None:
        self._begin = begin
        self._task: asyncio.Task[R] | None = None
        self._unread = _Unread()
        self._is_heard = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._begin(self._unread.put))
        self._task.add_done_callback(lambda _: self._unread.wake())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        task = self._running
        was_done = task.done()
        task.cancel()
        await asyncio.wait((task,))
        if task.cancelled():
            return
        failure = task.exception()
        # An error that nobody has met is one of the block.
        if failure is not None and was_done and kind is None and not self._is_heard:
            raise failure

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        task = self._running
        while True:
            if self._unread:
                return self._unread.take()
            if task.done():
                await self
                raise StopAsyncIteration
            await self._unread.wait()

    def __await__(self) -> Generator[Any, None, R]:
        self._is_heard = True
        # Whoever waits may be cancelled; the end of the block decides about the verb.
        return asyncio.shield(self._running).__await__()

    @property
    def _running(self) -> asyncio.Task[R]:
        if self._task is None:
            raise UsageError("Progress is used as an async context manager: async with progress(...) as it")
        return self._task


class _Unread:
    """Events that nobody has read yet."""

    def __init__(self) -> None:
        self._events: deque[tuple[Hashable, Event]] = deque()
        # What has been summed up of the events of one kind, which are one in the queue.
        self._sums: dict[Hashable, Event] = {}
        self._arrival = asyncio.Event()

    def __bool__(self) -> bool:
        return bool(self._events)

    def put(self, event: Event) -> None:
        """Add an event, or sum it up with one that waits."""
        key = _kind(event)
        if key is None or key not in self._sums:
            self._events.append((key, event))
        if key is not None:
            waiting = self._sums.get(key)
            self._sums[key] = event if waiting is None else _sum(waiting, event)
        self.wake()

    def take(self) -> Event:
        """Return the first event."""
        key, event = self._events.popleft()
        return event if key is None else self._sums.pop(key)

    def wake(self) -> None:
        """Let the reader look."""
        self._arrival.set()

    async def wait(self) -> None:
        """Wait until there may be something new."""
        self._arrival.clear()
        await self._arrival.wait()


def _kind(event: Event) -> Hashable:
    """Return what the events have in common that may be summed up; None for others."""
    match event:
        case BlobAdvanced():
            return event.digest
        case PackAdvanced():
            return PackAdvanced
        case StepsAdvanced():
            return event.activity
        case _:
            return None


def _sum(first: Event, second: Event) -> Event:
    if isinstance(first, BlobAdvanced) and isinstance(second, BlobAdvanced):
        return replace(second, count=first.count + second.count)
    if isinstance(first, PackAdvanced) and isinstance(second, PackAdvanced):
        return replace(second, count=first.count + second.count)
    # Counts of steps include the earlier ones.
    return second
