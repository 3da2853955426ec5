"""Whether this machine has a metadata service: found out once for all keychains."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from threading import Lock
from typing import TYPE_CHECKING, TypedDict

from imgpkg.auth.cloud.renewal import PAUSE

if TYPE_CHECKING:
    from collections.abc import Callable

# Every cloud has its service at this address of the link.
HOST, PORT = "169.254.169.254", 80
# To connect, and then to answer: together less than two seconds.
SECONDS = 0.9


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


class MetadataService:
    """What is at the address that the clouds share; safe from many threads.

    Any answer at all shows that something is there. That it is there is remembered for ever, that it is not
    for a minute of `clock`, which says the Unix time in seconds. Never asked through a proxy.
    """

    def __init__(self, clock: Callable[[], float], *, host: str = HOST, port: int = PORT) -> None:
        self.host = host
        self.port = port
        self.absence = Absence(clock)
        self._lock = Lock()
        self._is_there = False

    @property
    def is_absent(self) -> bool:
        """Look, where it is not known; who asks meanwhile waits for the answer."""
        with self._lock:
            if not self._is_there and not self.absence.is_known:
                self._is_there = self._answers()
                if not self._is_there:
                    self.absence.learn()
            return not self._is_there

    def _answers(self) -> bool:
        with closing(HTTPConnection(self.host, self.port, timeout=SECONDS)) as connection:
            try:
                connection.request("GET", "/")
                connection.getresponse()
            except (OSError, HTTPException):
                return False
            return True


class Known(TypedDict):
    """A Machine as one process tells another about it."""

    host: str
    port: int
    is_absent: bool
    has_none: bool


@dataclass(frozen=True, slots=True)
class Machine:
    """What a keychain knows of its machine.

    `absence` is that of its own cloud's service, for all registries; `metadata` knows whether there is any.
    """

    absence: Absence
    metadata: MetadataService

    @classmethod
    def told(cls, known: Known) -> Machine:
        """Know what another process knows."""
        machine = cls(Absence(time.time), MetadataService(time.time, host=known["host"], port=known["port"]))
        machine.hear(known)
        return machine

    def tell(self) -> Known:
        """Say what is known, for another process."""
        service = self.metadata
        return {
            "host": service.host,
            "port": service.port,
            "is_absent": self.absence.is_known,
            "has_none": service.absence.is_known,
        }

    def hear(self, known: Known) -> None:
        """Learn what another process has found out; what was known before is not known for longer."""
        if known["is_absent"] and not self.absence.is_known:
            self.absence.learn()
        if known["has_none"] and not self.metadata.absence.is_known:
            self.metadata.absence.learn()
