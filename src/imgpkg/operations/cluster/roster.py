"""The workers of a cluster: which have the right version, and which registries some of them cannot reach."""

from __future__ import annotations

from copy import copy
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.errors import printable
from imgpkg.operations.transfer.logins import named
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from imgpkg.errors import TransportError
    from imgpkg.operations.cluster.task import Unreachable
    from imgpkg.operations.transfer.unit import TransferUnit

# A scheduler keeps the addresses with each unit, of which a large cluster has thousands at a time.
_MOST_ADDRESSES = 50
_OWN_WAYS = (
    "Workers have the names, routes and proxies (HTTPS_PROXY) of their own machines: they may not reach what "
    "this one does."
)


class Roster:
    """What is known of the workers of a cluster; safe to use from many threads.

    It begins with the `threads` of workers that have this version of the package. Others are strangers until
    `learn` says which version they have.
    """

    def __init__(self, threads: Mapping[str, int]) -> None:
        self._threads = dict(threads)
        self._fitting = set(threads)
        self._unfit: dict[str, str] = {}
        self._last = tuple(threads)
        self._turns = count()
        self._unreachable: dict[tuple[str, str], dict[str, Unreachable]] = {}
        self._lock = Lock()

    @property
    def threads(self) -> int:
        """The number of threads of all workers that may have units."""
        return sum(number for address, number in self._threads.items() if address in self._fitting)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The workers that may have units."""
        return tuple(address for address in self._threads if address in self._fitting)

    @property
    def unfit(self) -> Mapping[str, str]:
        """What is known of those that have something else, by their addresses."""
        return self._unfit

    def update(self, threads: Mapping[str, int]) -> tuple[str, ...]:
        """Take the workers of the moment, each with the number of its threads; return new strangers."""
        with self._lock:
            new = tuple(
                address
                for address in threads
                if address not in self._threads and address not in self._fitting
            )
            # At the same address there may be another one later.
            self._fitting &= set(threads)
            self._unfit = {address: text for address, text in self._unfit.items() if address in threads}
            self._threads = dict(threads)
            self._last = self.addresses or self._last
            return new

    def learn(self, address: str, name: str, found: object) -> None:
        """Take the version of a stranger with this name, or the error that it answered."""
        with self._lock:
            if address not in self._threads:
                return
            if wrong := unfitness(found):
                self._unfit[address] = f"{name} has {wrong}"
            else:
                self._fitting.add(address)

    def bar(self, run: str, found: Unreachable) -> bool:
        """Give a worker no more units of `run` with the registry; return whether that is new."""
        with self._lock:
            barred = self._unreachable.setdefault((run, found.registry), {})
            is_new = found.address not in barred
            barred[found.address] = found
            return is_new

    def workers_for(self, unit: TransferUnit) -> tuple[str, ...]:
        """Return the addresses of workers that may have `unit`, some of them if there are many.

        If there are none at the moment they are those of the last ones. Raises TransportError if none of
        those that are there can reach one of its registries.
        """
        barred: dict[str, Unreachable] = {}
        for registry in registries_of(unit):
            with self._lock:
                barred |= self._unreachable.get((unit.run, registry), {})
        present = self.addresses
        left = tuple(address for address in present if address not in barred)
        if present and not left:
            raise _nobody(barred)
        return self._some(left or self._last)

    def _some(self, addresses: tuple[str, ...]) -> tuple[str, ...]:
        if len(addresses) <= _MOST_ADDRESSES:
            return addresses
        first = next(self._turns) * _MOST_ADDRESSES % len(addresses)
        return (*addresses[first:], *addresses[:first])[:_MOST_ADDRESSES]

    def has_any(self, addresses: tuple[str, ...]) -> bool:
        """Return whether one of the workers is still there."""
        return not set(self.addresses).isdisjoint(addresses)

    def forget(self, run: str) -> None:
        """Forget what was found out in `run`."""
        with self._lock:
            for key in [key for key in self._unreachable if key[0] == run]:
                del self._unreachable[key]


def worker_names(client: Any) -> dict[str, str]:
    """Return the names of the workers by their addresses, with them where they differ."""
    # Some versions of `Client.scheduler_info` tell of five workers only.
    workers = client.sync(client.scheduler.identity)["workers"]
    named = {address: str(about.get("name", address)) for address, about in workers.items()}
    return {address: address if name == address else f"{name} ({address})" for address, name in named.items()}


def unfitness(found: object) -> str:
    """Return what a worker has instead of this version of the package; nothing if it has it."""
    if found == VERSION:
        return ""
    if isinstance(found, BaseException):
        return f"no imgpkg ({printable(str(found))})"
    return f"imgpkg {printable(str(found))}"


def registries_of(unit: TransferUnit) -> tuple[str, ...]:
    """Return the registries that a worker has to reach for `unit`."""
    # A blob that is in its descriptor is not read from anywhere.
    read = () if unit.descriptor.data is not None else (unit.source.registry,)
    return tuple(dict.fromkeys((*read, unit.destination.registry)))


def _nobody(barred: Mapping[str, Unreachable]) -> TransportError:
    found = list(barred.values())
    registries = " or ".join(dict.fromkeys(each.registry for each in found))
    # Each unit has one of its own: more is added to it on its way, and other units fail meanwhile.
    error = copy(found[-1].error)
    error.add_context(f"No worker can reach {registries} ({named([each.worker for each in found])})")
    error.hints = (*error.hints, _OWN_WAYS)
    return error
