"""Locks by key: of those who want the same thing one works, the others wait and find it done."""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.errors import ImgpkgError
from imgpkg.transport.retry import is_temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator


class KeyedLocks:
    """A lock for each key, made when first asked for; `with locks.of(key):`."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: defaultdict[Hashable, Lock] = defaultdict(Lock)

    def of(self, key: Hashable) -> Lock:
        """Return the one lock of `key`."""
        with self._guard:
            return self._locks[key]


class Turn:
    """A lock whose waiters share a temporary failure of the one that they waited for.

    Otherwise each of them would wait for the same silent host, one after the other.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ended = 0
        self._failure: ImgpkgError | None = None

    @contextmanager
    def taken(self, retell: Callable[[ImgpkgError], ImgpkgError]) -> Iterator[None]:
        """Hold the lock; raise what `retell` makes of the failure of a holder that was waited for."""
        before = self._ended
        with self._lock:
            if self._failure is not None and self._ended != before:
                raise retell(self._failure)
            self._failure = None
            try:
                yield
            except ImgpkgError as error:
                self.fail(error)
                raise
            finally:
                self._ended += 1

    def fail(self, error: ImgpkgError) -> None:
        """Let those who wait for the holder, who calls this, know of its failure, if that is temporary."""
        if is_temporary(error):
            # A copy: `doing` changes the error on its way up.
            self._failure = copy(error)
