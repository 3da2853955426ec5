"""What a worker does with a unit: move the blob, with the sessions that the process keeps for the copy."""

from __future__ import annotations

import io
import os
import socket
import time
from collections import deque
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.cancellation import STOPPED, Cancellation
from imgpkg.content.store import OpenedBlob
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import Cancelled, Forbidden, ImgpkgError, Unauthorized, UsageError, doing
from imgpkg.events import Warned, silent
from imgpkg.operations.copy.plan import BlobMove, named
from imgpkg.operations.transfer.logins import OWN_CHAIN
from imgpkg.operations.transfer.unit import Transferred
from imgpkg.session import Session
from imgpkg.settings import Settings
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.auth.keychain import Credential
    from imgpkg.events import Event, Hook
    from imgpkg.oci.descriptor import ByteReader
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.transfer.unit import TransferUnit

# Copies of which a process keeps the sessions: one ends while the next one begins.
_MOST_RUNS = 4
_MOST_STOPPED = 100
# The first words of what was done when reading failed, here and in `named`.
_READING = "Reading blob"


@dataclass(frozen=True, slots=True)
class Sides:
    """The two sessions of a copy in one process, the scope of its units, and the hook of their events.

    `pid` is the process that they belong to: a child that was forked must not use the sockets of its parent.
    """

    reading: Session
    writing: Session
    scope: Cancellation
    hook: Hook | None
    pid: int


_OWN: dict[str, Sides] = {}


@contextmanager
def offered(run: str, sides: Sides) -> Iterator[None]:
    """Return a context in which units of `run` in this process, in any thread, use `sides`.

    Those that begin later, since some executors take nothing back, raise Cancelled.
    """
    _OWN[run] = sides
    try:
        yield
    finally:
        stop(run)
        del _OWN[run]


def transfer(unit: TransferUnit, on_event: Hook | None = None, worker: str = "") -> Transferred:
    """Move the blob of `unit`; return what became of it.

    This is the function that an executor calls; by its name, since the package is installed where workers
    run. `on_event` gets the events of the blob, if the worker can pass them on; `worker` is its name, by
    default that of the process. Raises UsageError for a unit of another version of the package, ArchiveError,
    VerificationError, CredentialError, TransportError, RegistryError or Cancelled.
    """
    if unit.version != VERSION:
        raise UsageError(
            f"This worker has imgpkg {VERSION}, and the copy was begun with {unit.version}: install the same "
            "version on all machines"
        )
    own = _OWN.get(unit.run)
    if own is not None and own.pid == os.getpid():
        with own.scope.scope():
            return _moved(unit, own.reading, own.writing, on_event or own.hook)
    return _SESSIONS.transfer(unit, on_event, worker or _name())


def stop(run: str) -> None:
    """End the units of `run` in this process, also those to come: they raise Cancelled."""
    _SESSIONS.stop(run)


def end(run: str) -> None:
    """Forget `run` in this process, and the credentials that were sent with it, when its last unit has ended.

    More units of it begin anew, unless it was stopped.
    """
    _SESSIONS.end(run)


def _moved(unit: TransferUnit, reading: Session, writing: Session, hook: Hook | None) -> Transferred:
    started = time.monotonic()

    def opened() -> OpenedBlob:
        return OpenedBlob(_source(unit, reading))

    with doing(f"Copying blob {unit.descriptor.digest} to {unit.destination}"):
        outcome = writing.client.primary.push_blob(
            unit.destination,
            unit.descriptor,
            opened if unit.descriptor.data is None else lambda: io.BytesIO(unit.descriptor.data or b""),
            mount_from=unit.mount_from,
            check=unit.is_asked,
            on_event=hook or silent,
        )
    seconds = time.monotonic() - started
    return Transferred(
        unit.destination,
        unit.descriptor.digest,
        outcome,
        unit.descriptor.size,
        seconds,
        is_reported=hook is not None,
    )


@contextmanager
def _source(unit: TransferUnit, reading: Session) -> Iterator[ByteReader]:
    opened = reading.client.blob(unit.source, unit.descriptor, use_urls=unit.use_urls)
    with (
        doing(f"{_READING} from {unit.source}"),
        named(opened, BlobMove(unit.descriptor, unit.source), str(unit.source)) as stream,
    ):
        yield stream


def is_of_source(error: ImgpkgError) -> bool:
    """Return whether a unit failed where its blob is read, and not where it is written."""
    return any(part.startswith(_READING) for part in error.context)


class _SentCredentials:
    """A credential source: what the copy has sent along with its units, the newest for each repository."""

    name = "sent with the copy"

    def __init__(self) -> None:
        self._credentials: dict[Repository, Credential] = {}

    def learn(self, repository: Repository, credential: Credential | None) -> None:
        if credential is not None:
            self._credentials[repository] = credential

    def lookup(self, repository: Repository) -> Finding:
        """Return the finding for `repository`; see `CredentialSource.lookup`."""
        found = self._credentials.get(repository)
        if found is None:
            return Finding(self.name, Outcome.NOT_APPLICABLE, "nothing was sent for it")
        detail = f"gives the {found.kind} of the process that copies"
        return Finding(self.name, Outcome.MATCHED, detail, self.name, found)


class _Run:
    """The sessions of one copy in a process of its workers, and the warnings that nobody has taken yet."""

    def __init__(self, unit: TransferUnit) -> None:
        self.busy = 0
        self.is_over = False
        self._warnings: SimpleQueue[str] = SimpleQueue()
        self._sent = _SentCredentials(), _SentCredentials()
        environ = Settings.from_environment().environ
        # The environment is that of the worker: it finds credentials and proxies by itself.
        self.writing = self._open(replace(unit.settings, environ=environ), self._sent[0])
        self.reading = self.writing
        if unit.source_settings != unit.settings:
            self.reading = self._open(replace(unit.source_settings, environ=environ), self._sent[1])

    def _open(self, settings: Settings, sent: _SentCredentials) -> Session:
        return Session(settings, sources=[sent], on_event=self._on_event)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, Warned):
            self._warnings.put(event.text)

    def learn(self, unit: TransferUnit) -> None:
        """Take the credentials of `unit`: those of a cloud are new ones every hour."""
        to, source = self._sent[0], self._sent[0 if self.reading is self.writing else 1]
        to.learn(unit.destination, unit.credential)
        source.learn(unit.source, unit.source_credential)

    def taken(self) -> tuple[str, ...]:
        """Return the new warnings, and forget them."""
        taken = []
        with suppress(Empty):
            # Another thread may take the last one at the same moment.
            while True:
                taken.append(self._warnings.get_nowait())
        return tuple(taken)

    def close(self) -> None:
        self.writing.close()
        self.reading.close()


class _Sessions:
    """The runs of this process, of which the oldest are closed."""

    def __init__(self) -> None:
        self._runs: dict[str, _Run] = {}
        # A unit may be on its way while its copy is ended.
        self._stopped: deque[str] = deque(maxlen=_MOST_STOPPED)
        self._lock = Lock()

    def transfer(self, unit: TransferUnit, on_event: Hook | None, worker: str) -> Transferred:
        run = self._enter(unit)
        try:
            done = _moved(unit, run.reading, run.writing, on_event)
        except ImgpkgError as error:
            error.add_context(worker if worker.startswith("worker ") else f"worker {worker}")
            if isinstance(error, (Unauthorized, Forbidden)) and unit.credential is None:
                error.hints = (*error.hints, OWN_CHAIN)
            raise
        finally:
            self._leave(unit.run, run)
        return replace(done, worker=worker, warnings=run.taken())

    def stop(self, run: str) -> None:
        with self._lock:
            self._stopped.append(run)
            found = self._runs.get(run)
        if found is not None:
            found.writing.stop()
            found.reading.stop()

    def _enter(self, unit: TransferUnit) -> _Run:
        with self._lock:
            if unit.run in self._stopped:
                raise Cancelled(STOPPED)
            run = self._runs.get(unit.run)
            if run is None:
                self._close_old()
                run = self._runs[unit.run] = _Run(unit)
            run.busy += 1
            run.is_over = False
            run.learn(unit)
            return run

    def end(self, run: str) -> None:
        with self._lock:
            found = self._runs.get(run)
            if found is None:
                return
            found.is_over = True
        self._close_if_idle(run, found)

    def _leave(self, name: str, run: _Run) -> None:
        with self._lock:
            run.busy -= 1
        self._close_if_idle(name, run)

    def _close_if_idle(self, name: str, run: _Run) -> None:
        with self._lock:
            if run.busy or not run.is_over or self._runs.get(name) is not run:
                return
            del self._runs[name]
        run.close()

    def _close_old(self) -> None:
        idle = [name for name, run in self._runs.items() if not run.busy]
        for name in idle[: max(len(self._runs) - _MOST_RUNS + 1, 0)]:
            self._runs.pop(name).close()


def _name() -> str:
    return f"process {os.getpid()} of {socket.gethostname()}"


_SESSIONS = _Sessions()
