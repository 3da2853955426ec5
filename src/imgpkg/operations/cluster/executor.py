"""The executor of a Dask cluster: units become its tasks, and what its workers tell becomes reports."""

from __future__ import annotations

import os
import pickle
import pkgutil
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from functools import partial
from io import BytesIO
from itertools import count
from queue import Empty, SimpleQueue
from secrets import token_hex
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from distributed import Future as TaskFuture
from distributed import KilledWorker
from distributed.comm.core import CommClosedError

from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ExecutorError, ImgpkgError
from imgpkg.events import Warned
from imgpkg.operations.cluster.address import is_encrypted
from imgpkg.operations.cluster.roster import worker_names
from imgpkg.operations.cluster.task import TransferCall, Unreachable
from imgpkg.operations.transfer.dispatch import ClusterExecutor
from imgpkg.operations.transfer.logins import named
from imgpkg.operations.transfer.reports import BlobPosition
from imgpkg.operations.transfer.worker import end, stop, transfer
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any, ParamSpec

    from imgpkg.operations.cluster.roster import Roster
    from imgpkg.operations.transfer.reports import Report
    from imgpkg.operations.transfer.unit import Transferred, TransferUnit

    P = ParamSpec("P")

R = TypeVar("R")

# Seconds between two looks at the workers.
_PAUSE = 1.0
# Units for each thread: one that it moves, and one that it has already when that is done.
_UNITS_PER_THREAD = 2
# As many as Dask allows by default, and one more.
_MOST_DEATHS = 4
# Seconds to wait until all workers have been told to end their units.
_STOPPING = 3.0
_LOST = "the scheduler was lost, and with it what it had to do"
# The scheduler, which need not have the package, knows the function that finds it.
VERSION_NAME = "imgpkg.version:VERSION"
AGAIN = "Begin the same copy again: what has arrived is not sent again."


@dataclass(frozen=True, slots=True)
class _GivenUnit:
    """A unit that the cluster has with a `key`, and the workers that may have it.

    `deaths` counts how often all those that might have had it before have died.
    """

    unit: TransferUnit
    outcome: Future[Transferred]
    workers: tuple[str, ...]
    key: tuple[str, int]
    deaths: int
    is_waiting: bool


class DaskExecutor(ClusterExecutor):
    """Gives units to the cluster of a Dask `client`, and any other work too.

    Work that its `roster` knows no worker for any more fails after `timeout` seconds. It is a context
    manager; the client is left open.
    """

    def __init__(self, client: Any, roster: Roster, *, address: str, timeout: float) -> None:
        self.is_encrypted = is_encrypted(address)
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._roster = roster
        self._address = address
        self._timeout = timeout
        self._topic = f"imgpkg-{token_hex(8)}"
        self._numbers = count()
        self._sent: dict[Future[Any], _GivenUnit] = {}
        self._tell: dict[str, Callable[[Report], None]] = {}
        # Loops of Dask call what must not block: it is done by a thread of its own.
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()
        # When the scheduler last said that there are workers.
        self._seen = monotonic()
        self._is_over = Event()
        self._pid = os.getpid()
        self._warned: set[tuple[str, str]] = set()

    def __enter__(self) -> DaskExecutor:  # noqa: PYI034 - as that of `Executor`
        self._client.subscribe_topic(self._topic, self._on_event)
        # A scheduler that does not answer holds up the second.
        for act in (self._attend, self._watch):
            Thread(target=act, name="imgpkg-cluster", daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._is_over.set()
        self._cancel(list(self._sent))
        with suppress(Exception):
            # A scheduler that was lost knows of no topic.
            self._client.unsubscribe_topic(self._topic)

    @property
    def room(self) -> int:
        """How many units keep all workers busy; it follows a cluster that grows."""
        return _UNITS_PER_THREAD * self._roster.threads

    def submit(self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Begin `fn` at a worker; see `concurrent.futures.Executor.submit`."""
        if fn is not transfer:
            submitted: Future[R] = self._executor.submit(fn, *args, **kwargs)
            return submitted
        outcome: Future[Any] = Future()
        self._send(args[0], outcome)  # type: ignore[arg-type]
        return outcome

    def ask(self, act: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Mapping[str, R]:
        """Return what `act` returns at each worker; see `ClusterExecutor.ask`."""
        self._check_open()
        running = self._at_all(act, *args, **kwargs)
        try:
            names = within(self._timeout, partial(worker_names, self._client))
            found: dict[str, R] = within(self._timeout, running)
        except TimeoutError:
            raise self._lost(f"a worker did not answer within {self._timeout:g} s") from None
        except Exception as error:
            raise self._lost(f"{type(error).__name__}: {error}") from error
        return {names.get(address, address): answer for address, answer in found.items()}

    @contextmanager
    def serving(self, run: str, tell: Callable[[Report], None]) -> Iterator[None]:
        """Return a context for the units of `run`; see `ClusterExecutor.serving`."""
        self._tell[run] = tell
        self._warn()
        try:
            yield
        finally:
            left = [inner for inner, sent in tuple(self._sent.items()) if sent.unit.run == run]
            self._cancel(left)
            # What runs is ended, and what was sent is forgotten.
            for act in (stop, end) if left else (end,):
                self._briefly(self._at_all(act, run))
            del self._tell[run]
            self._roster.forget(run)

    def _at_all(
        self, act: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Callable[[], dict[str, R]]:
        """Return what calls `act` at each worker that may have units."""
        addresses = list(self._roster.addresses)
        return partial(self._client.run, act, *args, **kwargs, workers=addresses, on_error="ignore")

    def _briefly(self, act: Callable[[], object]) -> None:
        """Call `act`: neither a worker that says nothing nor a lost scheduler keeps a copy from its end."""
        if self._client.status == "running":
            with suppress(Exception):
                within(_STOPPING, act)

    def _send(self, unit: TransferUnit, outcome: Future[Transferred], deaths: int = 0) -> None:
        self._check_open()
        workers = self._roster.workers_for(unit)
        key = f"imgpkg-blob-{unit.run}", next(self._numbers)
        try:
            inner = self._executor.submit(
                pickle.load,
                # Workers write the arguments of what fails to their logs: those of a file are not shown.
                BytesIO(pickle.dumps(TransferCall(unit, self._topic))),
                key=key,
                # Also where these are all: another one that joins may have another version.
                workers=list(workers),
            )
        except Exception as error:
            # Of a client that was closed meanwhile, for example.
            raise self._lost(f"{type(error).__name__}: {error}") from error
        is_waiting = not self._roster.has_any(workers)
        self._sent[inner] = _GivenUnit(unit, outcome, workers, key, deaths, is_waiting)
        if self._is_over.is_set():
            # Whoever has ended it may not have seen this one.
            self._cancel([inner])
        inner.add_done_callback(lambda done: self._work.put(partial(self._settle, done)))

        def cancel(done: Future[Transferred]) -> None:
            # All units of a copy are taken back together, at its end.
            if done.cancelled() and unit.run not in self._tell:
                self._work.put(partial(self._cancel, [inner]))

        outcome.add_done_callback(cancel)

    def _check_open(self) -> None:
        """Raise ExecutorError where nobody would take an outcome."""
        if self._is_over.is_set():
            raise self._lost("its context has ended")
        if os.getpid() != self._pid:
            raise self._lost("it was opened by another process, from which this one was forked")
        if self._client.status != "running":
            raise self._lost(_LOST)

    def _cancel(self, tasks: list[Future[Any]]) -> None:
        """Take tasks back, as far as they are still given; what runs goes on."""
        given = [sent for inner in tasks if (sent := self._sent.pop(inner, None)) is not None]
        for sent in given:
            sent.outcome.cancel()
        if given:
            # By their keys: Dask logs an error for the result of a cancelled future of `concurrent.futures`.
            futures = [TaskFuture(sent.key, client=self._client) for sent in given]
            self._briefly(partial(self._client.cancel, futures))

    def _settle(self, inner: Future[Any]) -> None:
        """Give the outcome of a task to whoever waits for the unit, or send the unit to another worker."""
        sent = self._sent.pop(inner, None)
        if sent is None or sent.outcome.done():
            return
        if inner.cancelled():
            # Nobody has asked for it: the client drops everything when it loses the scheduler.
            _fail(sent, self._lost(_LOST))
        elif (error := inner.exception()) is not None:
            _fail(sent, self._explained(error, sent.unit))
        elif isinstance(found := inner.result(), Unreachable):
            self._send_elsewhere(sent, found)
        else:
            # Whoever waits may cancel it at the same moment.
            with suppress(InvalidStateError):
                sent.outcome.set_result(found)

    def _send_elsewhere(self, sent: _GivenUnit, found: Unreachable) -> None:
        tell = self._tell.get(sent.unit.run)
        if self._roster.bar(sent.unit.run, found) and tell is not None:
            text = f"{found.worker} cannot reach {found.registry}, and gets no more blobs for it"
            tell(Warned(f"{text}: {found.error}"))
        self._send_again(sent)

    def _send_again(self, sent: _GivenUnit) -> None:
        try:
            self._send(sent.unit, sent.outcome, sent.deaths)
        except ImgpkgError as error:
            _fail(sent, error)

    def _explained(self, error: BaseException, unit: TransferUnit) -> BaseException:
        blob = _text(unit)
        if isinstance(error, KilledWorker):
            return _deadly(blob, error.allowed_failures + 1, error.last_worker.address)
        if isinstance(error, (ImportError, AttributeError)):
            return ExecutorError(
                f"Copying blob {blob}: A worker cannot load imgpkg: {type(error).__name__}: {error}",
                hints=("Install it there anew, with all that it needs.", AGAIN),
            )
        if isinstance(error, (CommClosedError, OSError)) and not isinstance(error, ImgpkgError):
            return self._lost(f"{type(error).__name__}: {error}")
        return error

    def _lost(self, reason: str) -> ExecutorError:
        return ExecutorError(f"the Dask cluster at {self._address} failed: {reason}", hints=(AGAIN,))

    def _on_event(self, event: tuple[float, dict[str, Any]]) -> None:
        """Take what a worker has logged; called by the loop of the client."""
        _, message = event
        tell = self._tell.get(message["run"])
        if tell is not None:
            tell(BlobPosition(message["destination"], message["digest"], message["position"]))

    def _attend(self) -> None:
        """Settle tasks that are done; fail all if nobody is there who could do them."""
        while not self._is_over.is_set():
            try:
                self._work.get(timeout=_PAUSE)()
            except Empty:
                pass
            except Exception as error:  # noqa: BLE001 - nobody else would tell those who wait
                self._fail_all(f"{type(error).__name__}: {error}")
            if monotonic() - self._seen > self._timeout:
                self._fail_all(self._nobody())

    def _watch(self) -> None:
        """Look at the workers now and then."""
        while not self._is_over.wait(_PAUSE):
            # What it does is tried again, or of no more use.
            with suppress(Exception):
                self._look()

    def _look(self) -> None:
        strangers = self._roster.update(self._client.nthreads())
        names = worker_names(self._client) if strangers else {}
        for address in strangers:
            self._ask_version(address, names.get(address, address))
        if not self._roster.threads:
            return
        self._seen = monotonic()
        for inner, sent in tuple(self._sent.items()):
            # All that could reach its registries have gone; others may have come.
            if not self._roster.has_any(sent.workers):
                self._work.put(partial(self._move_on, inner))

    def _ask_version(self, address: str, name: str) -> None:
        """Ask a worker that has joined, by a task: it has time for that when it has time for a unit."""
        key = f"imgpkg-version-{self._topic}", next(self._numbers)
        asking = self._executor.submit(pkgutil.resolve_name, VERSION_NAME, workers=[address], key=key)
        asking.add_done_callback(lambda done: self._work.put(partial(self._learn, address, name, done)))

    def _learn(self, address: str, name: str, asking: Future[object]) -> None:
        if not asking.cancelled():
            self._roster.learn(address, name, asking.exception() or asking.result())
            self._warn()

    def _warn(self) -> None:
        """Tell each copy once of each worker that gets none of its units."""
        for run, tell in tuple(self._tell.items()):
            for address, text in tuple(self._roster.unfit.items()):
                if (run, address) not in self._warned:
                    self._warned.add((run, address))
                    tell(Warned(f"{text}, and not imgpkg {VERSION}: it gets no blobs"))

    def _nobody(self) -> str:
        """Return what is known when no worker that fits has been seen for long."""
        unfit = list(self._roster.unfit.values())
        if not unfit:
            return f"it has had no worker, or did not answer, for {self._timeout:g} s"
        return f"it has had no worker with imgpkg {VERSION} for {self._timeout:g} s: {named(unfit)}"

    def _move_on(self, inner: Future[Any]) -> None:
        sent = self._sent.get(inner)
        if sent is not None and not sent.outcome.done():
            # Another outcome takes the place of the one that is cancelled.
            outcome: Future[Transferred] = Future()
            self._sent[inner] = replace(sent, outcome=outcome)
            self._cancel([inner])
            # Dask counts the deaths of a task, and this will be another one.
            deaths = sent.deaths + (not sent.is_waiting)
            if deaths >= _MOST_DEATHS:
                _fail(sent, _deadly(_text(sent.unit), deaths, sent.workers[-1]))
            else:
                self._send_again(replace(sent, deaths=deaths))

    def _fail_all(self, reason: str) -> None:
        given = list(self._sent.items())
        for _, sent in given:
            _fail(sent, self._lost(reason))
        self._cancel([inner for inner, _ in given])


def within(seconds: float, act: Callable[[], R]) -> R:
    """Return what `act` returns; raise TimeoutError where Dask itself would wait without an end."""
    return awaited(begun(act), seconds)


def awaited(begun: Future[R], seconds: float) -> R:
    """Return the result of what was begun; raise TimeoutError if there is none in time."""
    try:
        return begun.result(seconds)
    except FutureTimeout as error:
        # Python 3.10 has two of this name.
        raise error if str(error) else TimeoutError(f"no answer within {seconds:g} s") from None


def begun(act: Callable[[], R]) -> Future[R]:
    """Begin `act` in a thread that may never end, and does not keep the process from its end."""
    future: Future[R] = Future()

    def work() -> None:
        try:
            found = act()
        except BaseException as error:  # noqa: BLE001 - raised by whoever waits
            future.set_exception(error)
        else:
            future.set_result(found)

    Thread(target=work, name="imgpkg-cluster", daemon=True).start()
    return future


def _text(unit: TransferUnit) -> str:
    return f"{unit.descriptor.digest} from {unit.source} to {unit.destination}"


def _deadly(blob: str, deaths: int, last: str) -> ExecutorError:
    workers = "1 worker" if deaths == 1 else f"{deaths} workers"
    return ExecutorError(
        f"Copying blob {blob}: {workers} died while they had it, the last at {last}",
        hints=("Their logs, and their limits of memory, may say why.", AGAIN),
    )


def _fail(sent: _GivenUnit, error: BaseException) -> None:
    with suppress(InvalidStateError):
        sent.outcome.set_exception(error)
