"""That a machine has no metadata service is found out once, for every registry of a cloud (auth-spec 3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.cloud.renewal import PAUSE

if TYPE_CHECKING:
    from collections.abc import Callable


class Absence:
    """Remembers for a minute that something was not there; `clock` says the Unix time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._again_at = float("-inf")

    @property
    def is_known(self) -> bool:
        """True while it is too early to look again."""
        return self._clock() < self._again_at

    def learn(self) -> None:
        """Remember from now on."""
        self._again_at = self._clock() + PAUSE
