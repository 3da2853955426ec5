"""Give units to an executor, a window of them at a time, and take the results as they come."""

from __future__ import annotations

from abc import abstractmethod
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager, nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, TypeAlias, TypeVar

from imgpkg.errors import ExecutorError, ImgpkgError
from imgpkg.operations.transfer.reports import BlobReports
from imgpkg.operations.transfer.worker import transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from imgpkg.cancellation import Cancellation
    from imgpkg.events import Hook
    from imgpkg.operations.transfer.reports import Report
    from imgpkg.operations.transfer.unit import Transferred, TransferUnit

P = ParamSpec("P")
R = TypeVar("R")

# The public name of the type, which a program may look up.
BlobExecutor: TypeAlias = Executor

# Seconds between two looks at the scope while nothing is done.
_TICK = 0.05


class ClusterExecutor(Executor):
    """An executor of other processes that tells how far its units are, and that can end them.

    `is_encrypted` is true if nobody else can read what is sent to its workers.
    """

    is_encrypted = False

    @property
    @abstractmethod
    def room(self) -> int:
        """How many units keep all workers busy at the moment."""

    @abstractmethod
    def ask(self, act: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Mapping[str, R]:
        """Return what `act` returns at each worker, by its name, without those where it fails."""

    @abstractmethod
    def serving(self, run: str, tell: Callable[[Report], None]) -> AbstractContextManager[None]:
        """Return a context for the units of `run`, at whose end no worker goes on with one of them.

        `tell` is called from any thread.
        """


def dispatch(
    units: Iterable[TransferUnit | None],
    executor: Executor,
    *,
    run: str,
    scope: Cancellation,
    hook: Hook,
    in_flight: int,
) -> Iterator[Transferred]:
    """Yield the results of `units` in the order in which they end; at most `in_flight` are begun at once.

    A ClusterExecutor says itself how many. `units` are made as they are needed, and are those of `run`; None
    among them says that the next one is not known yet. The events and warnings of those that ran in other
    processes are given to `hook`, in this thread. The first failure is raised, and so is Cancelled for a
    cancelled `scope`: units that have not begun are then cancelled. Others end by themselves, unless the
    executor can end them; it does no harm to do them again.
    """
    window = _InFlight(executor, in_flight, BlobReports(hook))
    with window.open(run):
        for unit in units:
            while window.is_full:
                yield window.next(scope)
            scope.check()
            if unit is not None:
                window.submit(unit)
            elif (done := window.poll(scope)) is not None:
                yield done
        while window.pending:
            yield window.next(scope)


class _InFlight:
    """The units that an executor has."""

    def __init__(self, executor: Executor, size: int, reports: BlobReports) -> None:
        self.pending: dict[Future[Transferred], TransferUnit] = {}
        self._executor = executor
        self._size = size
        self._reports = reports
        # One queue for both, so that events of a blob come in order, and before its end.
        self._news: SimpleQueue[Future[Transferred] | Report] = SimpleQueue()

    @property
    def is_full(self) -> bool:
        executor = self._executor
        size = executor.room if isinstance(executor, ClusterExecutor) else self._size
        return len(self.pending) >= max(size, 1)

    @contextmanager
    def open(self, run: str) -> Iterator[None]:
        """Return a context at whose end nothing that has not begun will begin."""
        executor = self._executor
        serving: AbstractContextManager[None] = nullcontext()
        if isinstance(executor, ClusterExecutor):
            serving = executor.serving(run, self._news.put)
        with serving:
            try:
                yield
            finally:
                for future in tuple(self.pending):
                    # Those of Parsl know no cancellation.
                    with suppress(NotImplementedError):
                        future.cancel()

    def submit(self, unit: TransferUnit) -> None:
        self._reports.begin(unit)
        try:
            future = self._executor.submit(transfer, unit)
        except RuntimeError as error:
            # The executor of a cluster or of processes that have gone, or one that was shut down.
            raise _lost(_text(error)) from error
        self.pending[future] = unit
        future.add_done_callback(self._news.put)

    def next(self, scope: Cancellation) -> Transferred:
        """Wait for the next result; raise what its unit raised, or Cancelled."""
        while True:
            if (done := self.poll(scope)) is not None:
                return done

    def poll(self, scope: Cancellation) -> Transferred | None:
        """Wait a moment for news; return a result if that is what came, and raise as `next` does."""
        scope.check()
        try:
            news = self._news.get(timeout=_TICK)
        except Empty:
            return None
        if isinstance(news, Future):
            return self._reports.finish(self._result(news))
        self._reports.tell(news)
        return None

    def _result(self, future: Future[Transferred]) -> Transferred:
        unit = self.pending.pop(future)
        try:
            return future.result()
        except ImgpkgError:
            raise
        except CancelledError as error:
            # A copy cancels only when it has ended.
            raise _lost(f"it has dropped blob {unit.descriptor.digest}") from error
        except Exception as error:
            # Ray has the error of a task in its own.
            cause = getattr(error, "cause", None)
            raise (cause if isinstance(cause, ImgpkgError) else _lost(_text(error))) from error


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _lost(reason: str) -> ExecutorError:
    return ExecutorError(
        f"the executor failed: {reason}",
        hints=("Begin the same copy again: what has arrived is not sent again.",),
    )
