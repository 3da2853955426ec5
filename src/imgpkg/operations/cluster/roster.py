"""The workers of a cluster: their threads, their names, and the registries that some of them cannot reach."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.operations.transfer.logins import named

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.errors import TransportError
    from imgpkg.operations.cluster.task import Unreachable
    from imgpkg.operations.transfer.unit import TransferUnit


class Roster:
    """What is known of the workers of a cluster; safe to use from many threads."""

    def __init__(self, threads: Mapping[str, int]) -> None:
        self._threads = dict(threads)
        self._unreachable: dict[tuple[str, str], dict[str, Unreachable]] = {}
        self._lock = Lock()

    @property
    def threads(self) -> int:
        """The number of threads of all workers."""
        return sum(self._threads.values())

    def update(self, threads: Mapping[str, int]) -> None:
        """Take the workers of the moment, each with the number of its threads."""
        self._threads = dict(threads)

    def bar(self, run: str, found: Unreachable) -> bool:
        """Give a worker no more units of `run` with the registry; return whether that is new."""
        with self._lock:
            barred = self._unreachable.setdefault((run, found.registry), {})
            is_new = found.address not in barred
            barred[found.address] = found
            return is_new

    def workers_for(self, unit: TransferUnit) -> tuple[str, ...] | None:
        """Return the addresses of those that may have `unit`; None for all, also those to come.

        Raises TransportError if none of them can reach one of its registries.
        """
        barred: dict[str, Unreachable] = {}
        for registry in registries_of(unit):
            with self._lock:
                barred |= self._unreachable.get((unit.run, registry), {})
        if not barred:
            return None
        left = tuple(address for address in self._threads if address not in barred)
        if not left:
            raise _nobody(barred)
        return left

    def has_any(self, addresses: tuple[str, ...] | None) -> bool:
        """Return whether one of the workers is still there."""
        return addresses is None or any(address in self._threads for address in addresses)

    def forget(self, run: str) -> None:
        """Forget what was found out in `run`."""
        with self._lock:
            for key in [key for key in self._unreachable if key[0] == run]:
                del self._unreachable[key]


def registries_of(unit: TransferUnit) -> tuple[str, ...]:
    """Return the registries that a worker has to reach for `unit`."""
    # A blob that is in its descriptor is not read from anywhere.
    read = () if unit.descriptor.data is not None else (unit.source.registry,)
    return tuple(dict.fromkeys((*read, unit.destination.registry)))


def _nobody(barred: Mapping[str, Unreachable]) -> TransportError:
    found = list(barred.values())
    registries = " or ".join(dict.fromkeys(each.registry for each in found))
    error = found[-1].error
    error.add_context(f"No worker can reach {registries} ({named([each.worker for each in found])})")
    return error
