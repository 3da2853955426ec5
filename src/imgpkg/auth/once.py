"""Work that is done at first use, by one thread, and remembered with its failure."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Once(Generic[T]):
    """Calls `make` when first called; who comes meanwhile waits and shares the value or the CredentialError.

    Anything else that `make` raises, such as KeyboardInterrupt, is not remembered.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: tuple[T] | None = None
        self._failure: tuple[str, tuple[str, ...]] | None = None

    @property
    def failed(self) -> bool:
        """True when the work ended in a CredentialError."""
        return self._failure is not None

    def peek(self) -> T | None:
        """Give the value if it is there already."""
        return self._made[0] if self._made else None

    def __call__(self) -> T:
        """Give the value, or raise the CredentialError, of the one time that the work was done."""
        with self._lock:
            if self._made is not None:
                return self._made[0]
            if self._failure is not None:
                # A fresh error each time: whoever lets it pass adds context to it.
                raise CredentialError(self._failure[0], hints=self._failure[1])
            return self._first()

    def _first(self) -> T:
        try:
            value = self._make()
        except CredentialError as error:
            self._failure = (str(error), error.hints)
            raise
        self._made = (value,)
        return value
