"""What a Dask worker does: it moves the blob of a unit, and tells the client how far it is."""

from __future__ import annotations

import time
from collections import OrderedDict
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from distributed import get_worker

from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import TransportError
from imgpkg.events import BlobAdvanced
from imgpkg.operations.cluster.roster import registries_of
from imgpkg.operations.transfer.worker import is_of_source, transfer

if TYPE_CHECKING:
    from typing import Any

    from imgpkg.events import Event
    from imgpkg.operations.transfer.unit import Transferred, TransferUnit

# Seconds between two reports of one blob: they pass through the scheduler, from all workers.
_PAUSE = 0.3
_MOST_RUNS = 4


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The result of a unit whose worker, at `address`, cannot reach a registry; others may."""

    address: str
    worker: str
    registry: str
    error: TransportError


class TransferCall:
    """A unit in a form that calls `move` when it is unpickled.

    Function and argument of the task are of the standard library, `pickle.load` and a file in memory: a
    scheduler need not have the package, and a worker without it says so itself.
    """

    def __init__(self, unit: TransferUnit, topic: str) -> None:
        self._arguments = unit, topic

    def __reduce__(self) -> tuple[object, ...]:
        return move, self._arguments


def move(unit: TransferUnit, topic: str) -> Transferred | Unreachable:
    """Move the blob of `unit`, and log events with the `topic`; raise what `transfer` raises."""
    worker = get_worker()
    for registry in registries_of(unit):
        known = _KNOWN.find(unit.run, registry)
        if known is not None:
            # What was given to this worker before the client knew.
            return known
    try:
        done = transfer(unit, _Positions(worker, unit, topic), _name(worker))
    except TransportError as error:
        found = _unreachable(error, unit, worker)
        _KNOWN.add(unit.run, found)
        return found
    # A report may be lost, and the client counts what has arrived.
    return replace(done, is_reported=False)


class _Positions:
    """A hook that tells the client, a few times a second, how many bytes of the blob are done."""

    def __init__(self, worker: Any, unit: TransferUnit, topic: str) -> None:
        self._worker = worker
        self._topic = topic
        self._about = {
            "run": unit.run,
            "destination": str(unit.destination),
            "digest": str(unit.descriptor.digest),
        }
        self._position = 0
        self._next = time.monotonic() + _PAUSE

    def __call__(self, event: Event) -> None:
        """Take an event of the blob."""
        if isinstance(event, BlobAdvanced):
            self._position += event.count
            now = time.monotonic()
            if now >= self._next:
                self._next = now + _PAUSE
                self._worker.log_event(self._topic, {**self._about, "position": self._position})


class _Failures:
    """Which registries this process cannot reach, for the newest runs."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, dict[str, Unreachable]] = OrderedDict()
        self._lock = Lock()

    def find(self, run: str, registry: str) -> Unreachable | None:
        return self._runs.get(run, {}).get(registry)

    def add(self, run: str, found: Unreachable) -> None:
        with self._lock:
            self._runs.setdefault(run, {})[found.registry] = found
            while len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)


_KNOWN = _Failures()


def _unreachable(error: TransportError, unit: TransferUnit, worker: Any) -> Unreachable:
    kept = copy(error)
    # With Dask a copy has tracebacks, and these the unit with its credentials: it is kept after the run.
    kept.__traceback__ = kept.__cause__ = kept.__context__ = None
    return Unreachable(worker.address, _name(worker), _registry(error, unit), kept)


def _registry(error: TransportError, unit: TransferUnit) -> str:
    """Return the registry that could not be reached; it may have sent its client elsewhere."""
    source, destination = unit.source.registry, unit.destination.registry
    host = urlsplit(error.url).netloc
    if host in (source, destination):
        return host
    return source if is_of_source(error) else destination


def _name(worker: Any) -> str:
    # Workers of one machine have numbers for names.
    return f"worker {worker.name}" if isinstance(worker.name, int) else str(worker.name)
