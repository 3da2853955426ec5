"""Warnings of failures that are tried again: the first of a kind at once, then how many were like it."""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imgpkg.cancellation import QUIET_SECONDS
from imgpkg.errors import ConnectionTimedOut, RegistryError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from imgpkg.errors import ImgpkgError
    from imgpkg.registry.exchange import Repetition


class RepetitionWarnings:
    """Call `warn` for repetitions, of many requests at once; safe from many threads.

    The first failure of its kind at a registry is told at once, in full; those after it are counted. Five
    seconds after a kind was told the next of it is told again, with their number, and `close` tells what is
    left. `clock` returns seconds.
    """

    def __init__(self, warn: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._warn = warn
        self._clock = clock
        self._lock = Lock()
        self._kinds: dict[Hashable, _Kind] = {}

    def __call__(self, repetition: Repetition) -> None:
        """Tell or count one repetition."""
        error, now = repetition.error, self._clock()
        with self._lock:
            kind = self._kinds.get(_key(error))
            if kind is None:
                self._kinds[_key(error)] = _Kind(_name(error), now)
                count = 0
            elif now - kind.told < QUIET_SECONDS:
                kind.count += 1
                return
            else:
                kind.told = now
                count = kind.taken()
        self._warn(f"{repetition}, and {count} more like it" if count else str(repetition))

    def close(self) -> None:
        """Tell how many were counted and not told."""
        with self._lock:
            left = [(kind.name, count) for kind in self._kinds.values() if (count := kind.taken())]
        for name, count in left:
            self._warn(f"{name}, as above: and {count} more like it, tried again")


class _Kind:
    """Failures of one kind at one registry: when it was told last, and how many there were since."""

    def __init__(self, name: str, told: float) -> None:
        self.name = name
        self.told = told
        self.count = 0

    def taken(self) -> int:
        count, self.count = self.count, 0
        return count


def _key(error: ImgpkgError) -> Hashable:
    status = (error.status, error.codes) if isinstance(error, RegistryError) else None
    return type(error), _host(error), status


def _name(error: ImgpkgError) -> str:
    """Return the host and what failed there, without what differs from request to request."""
    if isinstance(error, RegistryError):
        return f"{_host(error)}: status {error.status}"
    is_late = isinstance(error, ConnectionTimedOut)
    return f"{_host(error)}: {'no answer in time' if is_late else 'connection failed'}"


def _host(error: ImgpkgError) -> str:
    # Errors of requests have a URL, and others are not tried again.
    return urlsplit(getattr(error, "url", "")).netloc.rpartition("@")[2]
