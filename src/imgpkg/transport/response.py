"""Reading a response: its head, and its body as it is framed (RFC 9112 6, 7)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING, Any, cast

from imgpkg.errors import Cancelled, TransportError
from imgpkg.transport.failures import FAILURES, Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from email.message import Message

    from typing_extensions import Self

    from imgpkg.transport.connection import Inbound
    from imgpkg.transport.message import Request
    from imgpkg.transport.wire import Link

_BLOCK_SIZE = 1 << 20
_DRAINED_AT_CLOSE = 1 << 16
_DRAIN_SECONDS = 0.5
_SWITCHING_PROTOCOLS, _FIRST_FINAL = 101, 200
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?\r?\n")
_LONGEST_LINE = 1 << 16
_MOST_TRAILERS = 100


class Head:
    """The head of a response, read when it is made, and the buffered stream that stands at its body.

    Interim responses are passed over. Raises HTTPException for what is no HTTP, and what the stream raises.
    """

    def __init__(self, inbound: Inbound, method: str, buffer_size: int = io.DEFAULT_BUFFER_SIZE) -> None:
        self.inbound = inbound
        self.stream = io.BufferedReader(inbound, buffer_size)
        while True:
            self.response = HTTPResponse(cast(Any, self), method=method)
            self.response.begin()
            # It would close the stream when it is collected.
            self.response.fp = cast(Any, None)
            if self.response.status >= _FIRST_FINAL or self.response.status == _SWITCHING_PROTOCOLS:
                break

    def makefile(self, mode: str) -> io.BufferedReader[Inbound]:
        """Give the parser the stream; sockets have a method of this name, and it needs no other."""
        del mode
        return self.stream


class Answer:
    """A response whose body comes from the connection as it is read (the protocol `message.Response`)."""

    def __init__(self, link: Link, request: Request, head: Head, release: Callable[[Link], None]) -> None:
        self._link = link
        self._request = request
        self._head = head
        self._release = release
        self._is_finished = False
        response = head.response
        self.status: int = response.status
        self.headers: Mapping[str, str] = Headers(response.headers)
        self._body = ChunkedBody(head.stream) if response.chunked else PlainBody(head.stream, response.length)
        self._is_last = response.will_close
        if self._body.left == 0:
            self._finish()

    def header_list(self, name: str) -> list[str]:
        """Return every line of the header `name`, in order."""
        return self._head.response.headers.get_all(name, [])

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` more bytes of the body, all of it when negative, b"" at the end.

        Raises Cancelled, and a TransportError when the connection breaks before the body is whole or stands
        still.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK_SIZE), b""))
        if self._is_finished or not size:
            return b""
        try:
            data = self._body.read(size)
        except FAILURES as error:
            self._is_finished = True
            raise self._link.failure(self._request, error, Phase.BODY) from error
        if self._body.left == 0:
            self._finish()
        return data

    def close(self) -> None:
        """Give the connection back: drained if little is left of the body, else dropped."""
        if self._is_finished:
            return
        left = self._body.left
        if self._link.is_reusable and not self._is_last and (left is None or left <= _DRAINED_AT_CLOSE):
            self._head.inbound.wait = partial(self._link.wait, self._request, Phase.BODY, _DRAIN_SECONDS)
            with suppress(TransportError, Cancelled):
                self._drain()
        if not self._is_finished:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if any(exception) and not self._is_finished:
            # Whoever fails does not wait for the rest.
            self._drop()
        self.close()

    def __repr__(self) -> str:
        return f"Answer({self.status} to {self._request!r})"

    def _drain(self) -> None:
        left = _DRAINED_AT_CLOSE
        while left > 0 and (data := self.read(left)):
            left -= len(data)

    def _finish(self) -> None:
        self._is_finished = True
        if self._is_last or not self._link.is_reusable:
            self._link.close()
        else:
            self._link.rest()
            self._release(self._link)

    def _drop(self) -> None:
        self._is_finished = True
        self._link.close()


class Headers(Mapping[str, str]):
    """Headers without regard to case; the lines of one name are joined by `, ` (RFC 9110 5.3)."""

    def __init__(self, message: Message) -> None:
        self._lines: dict[str, tuple[str, list[str]]] = {}
        for name, value in message.items():
            self._lines.setdefault(name.lower(), (name, []))[1].append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._lines[name.lower()][1])

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._lines.values())

    def __len__(self) -> int:
        return len(self._lines)


class PlainBody:
    """A body of `left` bytes; None for one that ends with the connection."""

    def __init__(self, stream: io.BufferedReader[Inbound], left: int | None) -> None:
        self._stream = stream
        self.left = left

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes that are there, b"" at the end."""
        data = self._stream.read1(size if self.left is None else min(size, self.left))
        if self.left is not None:
            self.left -= len(data)
            if not data:
                raise IncompleteRead(data, self.left)
        elif not data:
            self.left = 0
        return data


class ChunkedBody:
    """A body in chunks (RFC 9112 7.1); `left` is None until the last one has come."""

    def __init__(self, stream: io.BufferedReader[Inbound]) -> None:
        self._stream = stream
        self._chunk = 0
        self.left: int | None = None

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes of the current chunk, b"" after the last."""
        if not self._chunk:
            self._chunk = self._next()
            if not self._chunk:
                self._skip_trailers()
                self.left = 0
                return b""
        data = self._stream.read1(min(size, self._chunk))
        self._chunk -= len(data)
        if not data or (not self._chunk and self._line().strip(b"\r\n")):
            raise IncompleteRead(data)
        return data

    def _next(self) -> int:
        # int() would take a sign, blanks and underscores; a negative size means "everything" to a stream.
        match = _CHUNK_SIZE.fullmatch(self._line())
        if match is None:
            raise IncompleteRead(b"")
        return int(match[1], 16)

    def _skip_trailers(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if not self._line().strip(b"\r\n"):
                return
        raise HTTPException("too many trailers")

    def _line(self) -> bytes:
        line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise IncompleteRead(line)
        return line
