"""Reading requests off a connection, strictly (RFC 9112): what is ambiguous is refused, not guessed."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote

from imgpkg.embedded.message import Disconnected, Refused, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import BufferedReader

_MAX_HEAD = 64 << 10
_MAX_PARAMETERS = 100
_FIRST_LINE = re.compile(r"([A-Z]+) (\S+) HTTP/1\.([01])")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


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
) -> tuple[Request, RequestBody, bool] | None:
    """Read one request's head: the request, its body, and whether the connection may be kept.

    None when the client has left. Raise Refused for what is no request, after which the connection must end.
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
    return Request(first[1], path, query, headers, body, scheme), body, keeps


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


def _malformed(what: str) -> Refused:
    return Refused(400, "UNSUPPORTED", f"malformed request: {what}")
