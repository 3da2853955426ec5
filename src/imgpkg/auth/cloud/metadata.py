"""The metadata service of a cloud's machine: probed once for all keychains."""

from __future__ import annotations

import time
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, TypedDict

from imgpkg.auth.cloud.renewal import PAUSE
from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Callable

# The link-local address (RFC 3927) that AWS, Azure and Google all use.
HOST, PORT = "169.254.169.254", 80
# To connect, and again to respond: less than two seconds together.
SECONDS = 0.9


class Absence:
    """Hold for a minute that something is absent; `clock` returns the Unix time in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._again_at = float("-inf")

    @property
    def is_known(self) -> bool:
        """True while it is too early to probe again."""
        return self._clock() < self._again_at

    def learn(self) -> None:
        """Record the absence from now on."""
        self._again_at = self._clock() + PAUSE


class MetadataService:
    """The service at the address that the clouds share; safe from many threads.

    Any response proves that a service is there. A present service is recorded for ever, an absent one for a
    minute of `clock`, which returns the Unix time in seconds. Requests never go through a proxy.
    """

    def __init__(self, clock: Callable[[], float], *, host: str = HOST, port: int = PORT) -> None:
        self.host = host
        self.port = port
        self.absence = Absence(clock)
        self._lock = Lock()
        self._is_there = False

    @property
    def is_absent(self) -> bool:
        """Probe if it is not known; threads that ask meanwhile wait for the result."""
        with self._lock:
            if not self._is_there and not self.absence.is_known:
                self._is_there = self._answers()
                if not self._is_there:
                    self.absence.learn()
            return not self._is_there

    def _answers(self) -> bool:
        from http.client import HTTPConnection, HTTPException

        with closing(HTTPConnection(self.host, self.port, timeout=SECONDS)) as connection:
            try:
                # Any status counts: AWS requires a token and Google a header, but each responds.
                connection.request("GET", "/")
                connection.getresponse()
            except (OSError, HTTPException):
                return False
            return True


class Known(TypedDict):
    """The state of a Machine, as JSON between two processes."""

    host: str
    port: int
    is_absent: bool
    has_none: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """The state of this machine for one keychain.

    `absence` is about the service of the keychain's own cloud, `metadata` about any service.
    """

    absence: Absence
    metadata: MetadataService

    @classmethod
    def of(cls, known: Known) -> Machine:
        """Return the machine in the state of another process."""
        machine = cls(Absence(time.time), MetadataService(time.time, host=known["host"], port=known["port"]))
        machine.learn(known)
        return machine

    def known(self) -> Known:
        """Return the state, for another process."""
        service = self.metadata
        return {
            "host": service.host,
            "port": service.port,
            "is_absent": self.absence.is_known,
            "has_none": service.absence.is_known,
        }

    def learn(self, known: Known) -> None:
        """Record what another process has found; an absence that is known already is not prolonged."""
        # Prolonging it at each exchange between processes would keep it for ever.
        if known["is_absent"] and not self.absence.is_known:
            self.absence.learn()
        if known["has_none"] and not self.metadata.absence.is_known:
            self.metadata.absence.learn()
