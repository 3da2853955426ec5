"""Several workers on one job: the first failure, or whoever asks to stop, ends what the others do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from imgpkg.errors import Cancelled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor

    from imgpkg.events import Event, Hook

T = TypeVar("T")
R = TypeVar("R")


class Work:
    """Who does the work, `jobs` at a time, and who watches; whatever moves bytes is stopped by `on_event`."""

    def __init__(self, workers: Executor, hook: Hook, jobs: int) -> None:
        self.jobs = jobs
        self._workers = workers
        self._hook = hook
        self._is_over = False

    def on_event(self, event: Event) -> None:
        """Pass an event on; raise Cancelled when another worker failed or the user interrupted."""
        if self._is_over:
            raise Cancelled("stopped because another part of the work ended")
        self._hook(event)

    def each(self, things: Iterable[T], act: Callable[[T], R]) -> list[R]:
        """Act on each thing, several at a time; raise the first failure when the running ones have ended."""
        try:
            return list(self._workers.map(act, things))
        except BaseException:
            self._is_over = True
            raise


@contextmanager
def working(jobs: int, hook: Hook) -> Iterator[Work]:
    """Open work for `jobs` at a time; it is all done, or given up, when the block ends."""
    with ThreadPoolExecutor(jobs) as workers:
        yield Work(workers, hook, jobs)
