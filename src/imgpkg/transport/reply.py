"""Reading one response off a socket, against servers that drip, and that lie about sizes."""

from __future__ import annotations

import io
import time
from http.client import HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import socket

    from typing_extensions import Buffer

_SWITCHING_PROTOCOLS, _FIRST_FINAL = 101, 200


class Reply(HTTPResponse):
    """A response whose whole head comes within the time-out that its socket has at first, if it has one.

    Interim responses are passed over, all of 1xx. Raises TimeoutError, and HTTPException for what is no HTTP.
    """

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        # Each receive has the time-out for itself: a byte now and then would keep a client for ever.
        self._source = _Punctual(self.fp.detach(), sock)
        self.fp = io.BufferedReader(self._source)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        while self.status < _FIRST_FINAL and self.status != _SWITCHING_PROTOCOLS:
            self.headers = self.msg = cast("Any", None)
            super().begin()
        self._source.deadline = None

    def _read_next_chunk_size(self) -> int:
        # Taken as it is, a negative size would mean everything that the server has to say, in one piece.
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            raise IncompleteRead(b"")
        return size


class _Punctual(io.RawIOBase):
    """The bytes of a socket; raises TimeoutError at `deadline`, a monotonic time, None for no end."""

    def __init__(self, source: io.RawIOBase, sock: socket.socket) -> None:
        self._raw = source
        self._sock = sock
        patience = sock.gettimeout()
        self.deadline = None if patience is None else time.monotonic() + patience

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int | None:
        if self.deadline is None:
            return self._raw.readinto(buffer)
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        patience = self._sock.gettimeout()
        self._sock.settimeout(left)
        try:
            return self._raw.readinto(buffer)
        finally:
            self._sock.settimeout(patience)

    def close(self) -> None:
        self._raw.close()
        super().close()
