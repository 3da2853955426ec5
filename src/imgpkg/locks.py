"""Work that several threads need at once: one of them does it, the others wait and use the result."""

from __future__ import annotations

from contextlib import contextmanager
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.cancellation import holding
from imgpkg.errors import CredentialError, ImgpkgError
from imgpkg.transport.retry import is_temporary

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

T = TypeVar("T")


class Once(Generic[T]):
    """Call `make` at first use and keep its value, or its CredentialError, for all later calls.

    Threads that call it meanwhile wait for the first one. Anything else that `make` raises, such as
    KeyboardInterrupt, is not kept: the next call tries again.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: tuple[T] | None = None
        self._failure: tuple[str, tuple[str, ...]] | None = None

    @property
    def failed(self) -> bool:
        """True when `make` raised a CredentialError."""
        return self._failure is not None

    def peek(self) -> T | None:
        """Return the value if it is there already, without waiting."""
        return self._made[0] if self._made else None

    def __call__(self) -> T:
        """Return the value, or raise the CredentialError, of the one call of `make`; raise Cancelled."""
        if self._made is not None:
            return self._made[0]
        with holding(self._lock):
            if self._made is not None:
                return self._made[0]
            if self._failure is not None:
                # A new error for each caller: `errors.doing` adds context to the error on its way up.
                raise CredentialError(self._failure[0], hints=self._failure[1])
            # Under the lock: waiting threads then find the value.
            return self._first()

    def _first(self) -> T:
        try:
            value = self._make()
        # Only this kind is kept: it comes from the configuration, which does not change by itself.
        except CredentialError as error:
            self._failure = (str(error), error.hints)
            raise
        self._made = (value,)
        return value


class KeyedLocks:
    """Keep a lock for each key while somebody holds it or waits for it; `with locks.of(key):`."""

    def __init__(self) -> None:
        # Two threads could otherwise create two locks for one key.
        self._guard = Lock()
        # How many have asked for each of them: locks of a million keys would fill the memory.
        self._locks: dict[Hashable, tuple[Lock, int]] = {}

    @contextmanager
    def of(self, key: Hashable) -> Iterator[None]:
        """Return a context that holds the one lock of `key`; it raises Cancelled if its scope ends before."""
        with self._guard:
            lock, users = self._locks.get(key) or (Lock(), 0)
            self._locks[key] = lock, users + 1
        try:
            with holding(lock):
                yield
        finally:
            with self._guard:
                _, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = lock, users - 1


class Turn:
    """A lock whose waiters share a temporary failure of the holder that they waited for.

    Otherwise each of them would wait for the same silent host, one after the other.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._ended = 0
        self._failure: ImgpkgError | None = None

    @contextmanager
    def taken(self, retell: Callable[[ImgpkgError], ImgpkgError]) -> Iterator[None]:
        """Hold the lock; raise `retell(failure)` when the holder that was waited for failed temporarily.

        Raises Cancelled if the scope ends before the lock is free.
        """
        # Counted before waiting: a failure of an earlier holder is not shared.
        before = self._ended
        with holding(self._lock):
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
        """Record the failure of the holder, who calls this, for its waiters, if the failure is temporary."""
        if is_temporary(error):
            # A copy: `errors.doing` changes the error on its way up.
            self._failure = copy(error)
