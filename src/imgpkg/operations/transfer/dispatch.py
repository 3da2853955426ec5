"""Give units to an executor, a window of them at a time, and take the results as they come."""

from __future__ import annotations

from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.errors import Cancelled, ExecutorError, ImgpkgError
from imgpkg.events import BlobAdvanced, BlobFinished, BlobOutcome, BlobStarted, Warned
from imgpkg.operations.transfer.worker import transfer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from concurrent.futures import Future

    from imgpkg.cancellation import Cancellation
    from imgpkg.events import Hook
    from imgpkg.operations.transfer.unit import Transferred, TransferUnit

# The public name of the type, which a program may look up.
BlobExecutor: TypeAlias = Executor

# Seconds between two looks at the scope while nothing is done.
_TICK = 0.05


def dispatch(
    units: Iterable[TransferUnit],
    executor: Executor,
    *,
    scope: Cancellation,
    hook: Hook,
    in_flight: int,
) -> Iterator[Transferred]:
    """Yield the results of `units` in the order in which they end; at most `in_flight` are begun at once.

    `units` are made as they are needed. The events and warnings of those that ran in other processes are
    given to `hook`. The first failure is raised, and so is Cancelled for a cancelled `scope`: units that have
    not begun are then cancelled. Others end by themselves; it does no harm to do them again.
    """
    window = _InFlight(executor, in_flight)
    told = _Told(hook)
    with window.open():
        for unit in units:
            while window.is_full:
                yield told(window.next(scope))
            scope.check()
            window.submit(unit)
        while window.pending:
            yield told(window.next(scope))


class _InFlight:
    """The units that an executor has."""

    def __init__(self, executor: Executor, size: int) -> None:
        self.pending: dict[Future[Transferred], TransferUnit] = {}
        self._executor = executor
        self._size = size
        self._done: SimpleQueue[Future[Transferred]] = SimpleQueue()

    @property
    def is_full(self) -> bool:
        return len(self.pending) >= self._size

    @contextmanager
    def open(self) -> Iterator[None]:
        """Return a context at whose end nothing that has not begun will begin."""
        try:
            yield
        finally:
            for future in tuple(self.pending):
                future.cancel()

    def submit(self, unit: TransferUnit) -> None:
        try:
            future = self._executor.submit(transfer, unit)
        except RuntimeError as error:
            # The executor of a cluster or of processes that have gone, or one that was shut down.
            raise _lost(error) from error
        self.pending[future] = unit
        future.add_done_callback(self._done.put)

    def next(self, scope: Cancellation) -> Transferred:
        """Wait for the next result; raise what its unit raised, or Cancelled."""
        while True:
            scope.check()
            try:
                future = self._done.get(timeout=_TICK)
            except Empty:
                continue
            unit = self.pending.pop(future)
            try:
                return future.result()
            except ImgpkgError:
                raise
            except CancelledError as error:
                raise Cancelled(f"the executor dropped {unit.descriptor.digest}") from error
            except Exception as error:
                raise _lost(error) from error


def _lost(error: Exception) -> ExecutorError:
    return ExecutorError(
        f"the executor failed: {type(error).__name__}: {error}",
        hints=("Begin the same copy again: what has arrived is not sent again.",),
    )


class _Told:
    """Gives a hook what it has not been told: the events of other processes, and their warnings once."""

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._warned: set[tuple[str, str]] = set()

    def __call__(self, done: Transferred) -> Transferred:
        for text in done.warnings:
            if (text, done.worker) not in self._warned:
                self._warned.add((text, done.worker))
                self._hook(Warned(f"{done.worker}: {text}"))
        if not done.is_reported:
            for event in _events(done):
                self._hook(event)
        return done


def _events(done: Transferred) -> Iterator[BlobStarted | BlobAdvanced | BlobFinished]:
    yield BlobStarted(done.digest, done.size, "push")
    if done.outcome is BlobOutcome.MOVED:
        yield BlobAdvanced(done.digest, done.size)
    yield BlobFinished(done.digest, done.outcome, done.size)
