"""Whether this machine has a metadata service: found out once for all keychains (auth-spec 3.2)."""

from __future__ import annotations

from contextlib import closing
from http.client import HTTPConnection, HTTPException
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.auth.cloud.absence import Absence

if TYPE_CHECKING:
    from collections.abc import Callable

# Every cloud has its service at this address of the link.
HOST, PORT = "169.254.169.254", 80
# To connect, and then to answer: together less than two seconds.
SECONDS = 0.9


class MetadataService:
    """What is at the address that the clouds share; safe from many threads.

    Any answer at all shows that something is there. That it is there is remembered for ever, that it is not
    for a minute of `clock`, which says the Unix time in seconds. Never asked through a proxy.
    """

    def __init__(self, clock: Callable[[], float], *, host: str = HOST, port: int = PORT) -> None:
        self._host = host
        self._port = port
        self._lock = Lock()
        self._absence = Absence(clock)
        self._is_there = False

    @property
    def is_absent(self) -> bool:
        """Look, where it is not known; who asks meanwhile waits for the answer."""
        with self._lock:
            if not self._is_there and not self._absence.is_known:
                self._is_there = self._answers()
                if not self._is_there:
                    self._absence.learn()
            return not self._is_there

    def _answers(self) -> bool:
        with closing(HTTPConnection(self._host, self._port, timeout=SECONDS)) as connection:
            try:
                connection.request("GET", "/")
                connection.getresponse()
            except (OSError, HTTPException):
                return False
            return True
