"""One client's connection: requests in, responses out, one after the other."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.embedded.message import Disconnected, FilePart, Refused
from imgpkg.embedded.parse import RequestBody, read_request

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    from imgpkg.embedded.message import Request, Response

_SILENCE = 60.0
_LINGER = 2.0
_BUFFER = 256 << 10
_SMALL_FILE = 64 << 10
_DISCARDED = 1 << 20
_LINGERED = 256 << 20
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and after how many bytes of its body the connection breaks; None for a whole one."""

    response: Response
    cut_after: int | None = None


Respond: TypeAlias = "Callable[[Request, RequestBody], Answer]"


class Connection:
    """Serves one accepted socket until the client leaves, fails, or the server stops.

    `respond` raises Disconnected when there is nobody, or nothing, to answer.
    """

    def __init__(self, sock: socket.socket, respond: Respond, *, scheme: str) -> None:
        self._socket = sock
        self._respond = respond
        self._scheme = scheme
        self._file: BufferedReader = sock.makefile("rb", _BUFFER)  # type: ignore[assignment]

    def run(self) -> None:
        """Serve requests; returns when the connection has ended."""
        self._socket.settimeout(_SILENCE)
        try:
            with contextlib.suppress(OSError, Disconnected):
                while self._serve_one():
                    pass
        finally:
            with contextlib.suppress(OSError):
                self._file.close()
            self._socket.close()

    def _serve_one(self) -> bool:
        try:
            received = read_request(self._file, self._scheme, self._send_continue)
        except Refused as refused:
            self._send(refused.response(), has_body=True, keeps=False)
            self._linger()
            return False
        if received is None:
            return False
        request, body, keeps = received
        answer = self._respond(request, body)
        keeps = keeps and answer.cut_after is None and body.discard(_DISCARDED)
        self._send(answer.response, has_body=request.method != "HEAD", keeps=keeps, cut=answer.cut_after)
        if not keeps:
            self._linger()
        return keeps

    def _send(self, response: Response, *, has_body: bool, keeps: bool, cut: int | None = None) -> None:
        head = _head(response, keeps=keeps)
        if not has_body:
            self._socket.sendall(head)
            return
        count = response.length if cut is None else min(cut, response.length)
        if not isinstance(response.body, FilePart):
            self._socket.sendall(head + response.body[:count])
            return
        self._send_file(head, FilePart(response.body.path, response.body.offset, count))

    def _send_file(self, head: bytes, part: FilePart) -> None:
        with open(part.path, "rb") as file:
            if part.count > _SMALL_FILE:
                self._socket.sendall(head)
                self._socket.sendfile(file, part.offset, part.count)
                return
            file.seek(part.offset)
            self._socket.sendall(head + file.read(part.count))

    def _send_continue(self) -> None:
        self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _linger(self) -> None:
        # Closing with unread bytes resets the connection, which can destroy the response on its way.
        socket.socket.shutdown(self._socket, socket.SHUT_WR)
        self._socket.settimeout(_LINGER)
        left = _LINGERED
        while left > 0 and (data := socket.socket.recv(self._socket, _BUFFER)):
            left -= len(data)


def _head(response: Response, *, keeps: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {_PHRASES.get(response.status, 'Unknown')}",
        f"Date: {formatdate(usegmt=True)}",
        "Docker-Distribution-Api-Version: registry/2.0",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    if response.status not in _BODILESS:
        lines.append(f"Content-Length: {response.length}")
    if not keeps:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")
