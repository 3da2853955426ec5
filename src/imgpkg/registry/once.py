"""Locks by key: of those who want the same thing one works, the others wait and find it done."""

from __future__ import annotations

from collections import defaultdict
from threading import Lock
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable


class KeyedLocks:
    """A lock for each key, made when first asked for; `with locks.of(key):`."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._locks: defaultdict[Hashable, Lock] = defaultdict(Lock)

    def of(self, key: Hashable) -> Lock:
        """Return the one lock of `key`."""
        with self._guard:
            return self._locks[key]
