"""HTTP/1.1 on one connection: requests in, responses out, one after the other (RFC 9112)."""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, unquote

from imgpkg.embedded.message import Disconnected, FilePart, RequestRefused, ServerRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import BufferedReader

    from imgpkg.embedded.message import ServerResponse

_MAX_HEAD = 64 << 10
_MAX_PARAMETERS = 100
_FIRST_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/1\.([01])")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")
_SILENCE = 60.0
_LINGER = 2.0
_BUFFER = 256 << 10
_SMALL_FILE = 64 << 10
_DISCARDED = 1 << 20
_LINGERED = 256 << 20
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = frozenset({204, 304})


class RequestBody:
    """The body of one request on a kept connection; `length` is None for one sent in chunks."""

    def __init__(self, file: BufferedReader, length: int | None, begin: Callable[[], None] | None) -> None:
        self._file = file
        self._is_chunked = length is None
        self._left = length or 0
        self._begin = begin
        self._limit: int | None = None
        self.is_finished = length == 0

    def cut_after(self, count: int) -> None:
        """Behave as if the client left after `count` bytes."""
        self._limit = count

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end; raise Disconnected when the client left before it."""
        if self.is_finished:
            return b""
        try:
            return self._read(size)
        except OSError as error:
            raise Disconnected(f"reading the body: {error}") from error

    def discard(self, limit: int) -> bool:
        """Read the rest if that is at most `limit` bytes; tell whether the next request can follow."""
        if self.is_finished:
            return True
        if self._begin is not None or self._left > limit:
            return False
        while limit > 0 and (piece := self.read(limit)):
            limit -= len(piece)
        return self.is_finished

    def _read(self, size: int) -> bytes:
        if self._begin is not None:
            self._begin()
            self._begin = None
        if self._is_chunked and not self._left and not self._next_chunk():
            return b""
        data = self._file.read1(self._allowed(min(size, self._left)))
        if not data:
            raise Disconnected("the client left before the end of the body")
        self._left -= len(data)
        if not self._left:
            self._end()
        return data

    def _allowed(self, size: int) -> int:
        if self._limit is None:
            return size
        if not self._limit:
            raise Disconnected("cut by the test")
        size = min(size, self._limit)
        self._limit -= size
        return size

    def _end(self) -> None:
        if not self._is_chunked:
            self.is_finished = True
        elif self._file.readline(3).rstrip(b"\r\n"):
            raise Disconnected("a chunk is longer than it said")

    def _next_chunk(self) -> bool:
        head = _CHUNK.fullmatch(self._file.readline(_MAX_HEAD))
        if head is None:
            raise Disconnected("a chunk without its size")
        self._left = int(head[1], 16)
        if not self._left:
            _fields(self._file)
            self.is_finished = True
        return self._left > 0


def read_request(
    file: BufferedReader, scheme: str, send_continue: Callable[[], None]
) -> tuple[ServerRequest, RequestBody, bool] | None:
    """Read one request's head: the request, its body, and whether the connection may be kept.

    None when the client has left. Raise RequestRefused for what is no request; the connection must end then.
    """
    line = _line(file)
    if line == "":
        line = _line(file)
    if line is None:
        return None
    first = _FIRST_LINE.fullmatch(line)
    if first is None:
        raise _malformed("the first line")
    headers = _fields(file)
    is_current = first[3] == "1"
    if is_current and ("host" not in headers or "," in headers["host"]):
        raise _malformed("no Host, or two")
    length = _length(headers)
    expects = is_current and headers.get("expect", "").lower() == "100-continue"
    body = RequestBody(file, length, send_continue if expects else None)
    path, query = _target(first[2])
    options = {option.strip().lower() for option in headers.get("connection", "").split(",")}
    keeps = "close" not in options if is_current else "keep-alive" in options
    return ServerRequest(first[1], path, query, headers, body, scheme), body, keeps


def _target(target: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    path, _, query = target.partition("?")
    if not path.startswith("/"):
        raise _malformed("the target")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise _malformed("the query") from error
    return unquote(path), tuple(pairs)


def _length(headers: Mapping[str, str]) -> int | None:
    length, coding = headers.get("content-length"), headers.get("transfer-encoding")
    if coding is not None:
        if coding.lower() != "chunked" or length is not None:
            raise _malformed("Transfer-Encoding")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise _malformed("Content-Length")
    return int(length)


def _fields(file: BufferedReader) -> Mapping[str, str]:
    values: dict[str, list[str]] = {}
    left = _MAX_HEAD
    while line := _line(file):
        left -= len(line)
        name, colon, value = line.partition(":")
        if left < 0 or not colon or not _NAME.fullmatch(name) or _NOT_IN_A_VALUE.search(value):
            raise _malformed("a header")
        values.setdefault(name.lower(), []).append(value.strip(" \t"))
    if line is None:
        raise Disconnected("the client left in the middle of the headers")
    return MappingProxyType({name: ", ".join(listed) for name, listed in values.items()})


def _line(file: BufferedReader) -> str | None:
    line = file.readline(_MAX_HEAD)
    if not line:
        return None
    if not line.endswith(b"\n"):
        raise _malformed("a line that does not end")
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("latin-1")


def _malformed(what: str) -> RequestRefused:
    return RequestRefused(400, "UNSUPPORTED", f"malformed request: {what}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and after how many bytes of its body the connection breaks; None for a whole one."""

    response: ServerResponse
    cut_after: int | None = None


Respond: TypeAlias = "Callable[[ServerRequest, RequestBody], Answer]"


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
        except RequestRefused as refused:
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

    def _send(self, response: ServerResponse, *, has_body: bool, keeps: bool, cut: int | None = None) -> None:
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


def _head(response: ServerResponse, *, keeps: bool) -> bytes:
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
