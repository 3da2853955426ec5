"""A connection to a Dask cluster, after whose opening its workers can move blobs."""

from __future__ import annotations

import os
import pkgutil
import signal
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from threading import Event, Thread
from typing import TYPE_CHECKING, TypeVar

import dask
from distributed import Client, LocalCluster, Security

from imgpkg.errors import ExecutorError, UsageError, printable
from imgpkg.operations.cluster.address import ClusterAddress
from imgpkg.operations.cluster.executor import (
    AGAIN,
    VERSION_NAME,
    DaskExecutor,
    awaited,
    begun,
    within,
)
from imgpkg.operations.cluster.roster import Roster, unfitness, worker_names
from imgpkg.operations.transfer.logins import named
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future
    from typing import Any

R = TypeVar("R")

# Seconds between two looks for the first worker, and until what is closed has to be closed.
_TICK = 0.1
_CLOSING = 5.0
# What Dask needs to give up by itself, and to open what is to be closed at once.
_GRACE = 1.0
_OPENING = 10.0
_TLS = "distributed.comm.tls"
# The authority of the cluster, and the certificate of the client; its key may be in the same file.
_NEEDED = {f"{_TLS}.ca-file": "CA_FILE", f"{_TLS}.client.cert": "CLIENT__CERT"}
_OPTIONAL = {f"{_TLS}.client.key": "CLIENT__KEY"}
_VARIABLE = "DASK_DISTRIBUTED__COMM__TLS__"
# Nobody looks at the profile, and some releases of CPython stop a process for ever in which the frames of
# threads are listed while one begins.
_NO_PROFILE = {"distributed.worker.profile.enabled": False}
_LIMITS = "Ask for fewer, or look at the limits of memory, processes and open files (ulimit -a), and TMPDIR."
_GUARD = 'A program that starts them needs `if __name__ == "__main__":` around what it does.'


class _Client(Client):  # type: ignore[misc]  # Dask has no types
    """A client that is closed when it cannot be opened.

    Dask would close it when it is collected, in whatever thread that happens, and has it wait there for a
    lock that this thread may have.
    """

    def start(self, **kwargs: Any) -> None:
        """Connect to the scheduler; see `Client.start`."""
        try:
            super().start(**kwargs)
        except BaseException:
            _close(self)
            self.status = "closed"
            # Dask forgets the loop of one that it has closed by itself.
            self._loop_runner.stop()
            raise


@contextmanager
def connected(place: object, *, timeout: float, threads: int) -> Iterator[DaskExecutor]:
    """Return a context with the executor of the cluster at an address, or of a client of Dask.

    Raises UsageError and ExecutorError; see `dask_executor`.
    """
    with ExitStack() as opened:
        if isinstance(place, ClusterAddress):
            client = opened.enter_context(_client(place, timeout=timeout, threads=threads))
        elif not isinstance(client := place, Client) or client.asynchronous:
            raise UsageError("Expected the address of a Dask cluster, or a client that is not asynchronous")
        if client.status != "running":
            raise ExecutorError(f"the client of Dask is {client.status}, and has no scheduler any more")
        address = str(client.scheduler.address)
        _wait_for_workers(client, address, timeout)
        roster = Roster(_fitting(client, address, timeout))
        yield opened.enter_context(DaskExecutor(client, roster, address=address, timeout=timeout))


@contextmanager
def _client(address: ClusterAddress, *, timeout: float, threads: int) -> Iterator[Client]:
    with ExitStack() as opened:
        security, place = None, address.url
        if address.processes:
            place = opened.enter_context(_local_cluster(address.processes, threads))
        elif address.is_encrypted:
            security = _security()
        client = _begun(address, place, security, timeout)
        opened.callback(to_its_end, partial(_close, client))
        yield client


def _begun(address: ClusterAddress, place: Any, security: Security | None, timeout: float) -> Client:
    options = {} if security is None else {"security": security}
    opening = begun(partial(_Client, place, timeout=timeout, set_as_default=False, name="imgpkg", **options))
    try:
        return awaited(opening, timeout + _GRACE)
    # Dask raises whatever its parsers do for the bytes of another server.
    except BaseException as error:
        # Nobody would close one that is opened after all.
        opening.add_done_callback(_close_late)
        if not isinstance(error, Exception):
            raise
        raise ExecutorError(
            f"the Dask scheduler at {address} does not answer: {_reason(error)}",
            hints=(
                "Check the address, that a Dask scheduler runs there, and the certificates of both.",
                "--dask-timeout waits longer.",
            ),
        ) from error


def _close_late(opening: Future[Client]) -> None:
    if opening.exception() is None:
        _close(opening.result())


def _close(client: Client) -> None:
    with suppress(Exception):
        client.close(timeout=_CLOSING)


@contextmanager
def _local_cluster(processes: int, threads: int) -> Iterator[LocalCluster]:
    """Start processes of this machine, between which TLS is spoken with certificates made for them."""
    with ExitStack() as opened:
        with _explained(processes):
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="imgpkg-"))
            # It is started by every process that is, and would have the next ones begin without the mask.
            resource_tracker.ensure_running()
            opening = begun(partial(_started, processes, threads, folder))
            opened.callback(to_its_end, partial(_end, opening))
            cluster = opening.result()
        yield cluster


def to_its_end(act: Callable[[], object]) -> None:
    """Call `act`, and raise the KeyboardInterrupt that comes meanwhile only when it is done.

    Dask would close what is half closed once more when the process ends, and wait in vain.
    """
    done = Event()

    def acting() -> None:
        act()
        done.set()

    thread = Thread(target=acting, name="imgpkg-cluster", daemon=True)
    try:
        thread.start()
        thread.join()
    except KeyboardInterrupt:
        done.wait(_CLOSING)
        raise


@contextmanager
def _explained(processes: int) -> Iterator[None]:
    try:
        yield
    # Dask raises whatever the start of a process, a thread or a server does.
    except Exception as error:
        raise ExecutorError(
            f"the processes of {ClusterAddress(processes=processes)} cannot be started: {_reason(error)}",
            hints=(_LIMITS, _GUARD),
        ) from error


def _end(opening: Future[LocalCluster]) -> None:
    with suppress(Exception):
        # Dask cannot close what is being opened.
        opening.result(_OPENING).close(timeout=_CLOSING)


def _started(processes: int, threads: int, folder: str) -> LocalCluster:
    """Start the cluster in a thread of its own, from which its processes inherit that SIGINT is blocked.

    A terminal sends Ctrl-C to all processes; this one ends the others.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    with dask.config.set(_NO_PROFILE):
        return LocalCluster(
            n_workers=processes,
            threads_per_worker=threads,
            processes=True,
            security=Security.temporary(),
            host="127.0.0.1",
            # No other process needs to look at them, and the usual port may be taken.
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},
            # They hold a few pieces of blobs, and need no share of the memory.
            memory_limit=0,
            local_directory=folder,
            silence_logs=50,
        )


def _security() -> Security:
    """Return what Dask is configured with for TLS; raise UsageError for what is missing."""
    files = {name: dask.config.get(key, None) for key, name in (_NEEDED | _OPTIONAL).items()}
    missing = [f"{_VARIABLE}{name}" for name in _NEEDED.values() if not files[name]]
    if missing:
        raise UsageError(
            f"tls:// needs the certificates of the cluster; not set: {', '.join(missing)}",
            hints=(
                f"{_VARIABLE}CLIENT__KEY is needed as well, if the key is in a file of its own.",
                "The configuration of Dask may have them, too, at distributed.comm.tls.",
            ),
        )
    for name, path in files.items():
        # Text with line ends is a certificate itself.
        if path and "\n" not in path and not os.path.isfile(path):
            raise UsageError(f"{_VARIABLE}{name}: there is no file {printable(str(path))}")
    try:
        security = Security(require_encryption=True)
        security.get_connection_args("client")
    except (OSError, ValueError) as error:
        raise UsageError(f"the certificates of the cluster cannot be read: {_reason(error)}") from error
    return security


def _wait_for_workers(client: Client, address: str, timeout: float) -> None:
    """Return as soon as there is a worker; raise ExecutorError after `timeout` seconds."""
    end, probe = time.monotonic() + timeout, None
    while not _answered(client.nthreads, address, timeout):
        if probe is None:
            # A cluster that grows when there is work begins to.
            probe = client.submit(os.getpid, pure=False)
        if time.monotonic() > end:
            raise ExecutorError(
                f"the Dask cluster at {address} has no workers, and got none within {timeout:g} s",
                hints=("Start some, or wait longer with --dask-timeout.",),
            )
        time.sleep(_TICK)


def _answered(ask: Callable[[], R], address: str, timeout: float) -> R:
    """Return what the scheduler answers, which Dask itself would await without an end."""
    try:
        return within(timeout, ask)
    except Exception as error:
        raise _silent(address, error) from error


def _silent(address: str, error: Exception) -> ExecutorError:
    return ExecutorError(
        f"the Dask scheduler at {address} does not answer any more: {_reason(error)}", hints=(AGAIN,)
    )


def _fitting(client: Client, address: str, timeout: float) -> Mapping[str, int]:
    """Return the threads of the workers; raise ExecutorError unless all say in time that they fit."""
    asking = partial(client.run, pkgutil.resolve_name, VERSION_NAME, on_error="return")
    try:
        found = within(timeout, asking)
    except TimeoutError:
        raise ExecutorError(
            f"the Dask cluster at {address} has a worker that does not answer within {timeout:g} s",
            hints=("Look for it in the dashboard of the scheduler, or wait longer with --dask-timeout.",),
        ) from None
    # Of a scheduler that was lost meanwhile.
    except Exception as error:
        raise _silent(address, error) from error
    wrong: dict[str, list[str]] = defaultdict(list)
    counting: Callable[[], Mapping[str, int]] = client.nthreads
    names = _answered(partial(worker_names, client), address, timeout)
    threads = _answered(counting, address, timeout)
    # One that has gone meanwhile has answered that it cannot be reached.
    for worker in found.keys() & threads.keys():
        if text := unfitness(found[worker]):
            wrong[text].append(names.get(worker, worker))
    if wrong:
        several = "; ".join(f"{text} at {named(workers)}" for text, workers in wrong.items())
        raise ExecutorError(
            f"the workers of the Dask cluster at {address} need imgpkg {VERSION}, and have: {several}",
            hints=(f"Install imgpkg-py {VERSION} where the workers run, in their image for example.",),
        )
    if fitting := {worker: threads[worker] for worker in threads if worker in found}:
        return fitting
    raise ExecutorError(f"the Dask cluster at {address} has lost its workers while they were asked")


def _reason(error: BaseException) -> str:
    """Return what a socket or TLS said; the texts around it name times and objects."""
    said, cause = str(error), error.__cause__
    while cause is not None:
        # A wait that was ended says nothing.
        said, cause = str(cause) or said, cause.__cause__
    return printable(said.partition("\n")[0] or type(error).__name__)
