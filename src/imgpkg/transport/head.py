"""The head of a response (RFC 9112 sections 4 to 6), read with limits: status, headers, how the body ends.

Not `http.client`: it reads headers with the parser of e-mail, and loading that takes longer than all of this
package. Lines that are no headers are passed over. What follows the head comes from the same stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.cancellation import Wait
    from imgpkg.transport.connection import Connection

# As in http.client.
_LONGEST_LINE = 1 << 16
_MOST_HEADERS = 100
_LONGEST_LENGTH = 18
_AHEAD = 1 << 13
_CONTINUE, _SWITCHING_PROTOCOLS, _FIRST_FINAL, _NO_CONTENT, _NOT_MODIFIED, _LAST = (
    100,
    101,
    200,
    204,
    304,
    999,
)
# RFC 9110 section 5.6.2.
_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class ProtocolError(Exception):
    """The peer sent something other than HTTP/1.1; the text is the reason, without any bytes of the peer."""


class Truncated(ProtocolError):
    """The connection ended inside of a message, or where a chunk should begin is something else."""


class NoResponse(ProtocolError):
    """The connection ended before the first byte of a response."""


class Lines(Protocol):
    """A stream that is read line by line."""

    def readline(self, limit: int, /) -> bytes:
        """Return the next line with its end; without an end, `limit` bytes, or all at the end."""
        ...


class Inbound:
    """What a connection receives, as lines and then as blocks; `wait` makes the limit of each wait.

    Up to `ahead` bytes are received with a line, and kept for the next call.
    """

    def __init__(self, connection: Connection, wait: Callable[[], Wait], ahead: int = _AHEAD) -> None:
        self.wait = wait
        self._connection = connection
        self._ahead = bytearray(ahead)
        self._kept = b""

    @property
    def is_empty(self) -> bool:
        """True when all that was received has been read."""
        return not self._kept

    def readline(self, limit: int, /) -> bytes:
        """Return the next line with its end; without an end, `limit` bytes, or all at the end."""
        while True:
            end = self._kept.find(b"\n", 0, limit) + 1
            if end or len(self._kept) >= limit:
                return self._take(end or limit)
            count = self._connection.receive_into(self._ahead, self.wait())
            if not count:
                return self._take(limit)
            self._kept += self._ahead[:count]

    def readinto(self, buffer: memoryview, /) -> int:
        """Receive at least one byte, straight into `buffer`; 0 at the end."""
        if not self._kept:
            return self._connection.receive_into(buffer, self.wait())
        data = self._take(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _take(self, count: int) -> bytes:
        data, self._kept = self._kept[:count], self._kept[count:]
        return data


class Head:
    """The head of the response to a request with this method, read from `stream` in the constructor.

    `length` is that of the body, None where the end of the connection is its end, or where it `is_chunked`.
    After a response that `is_last` the connection carries no other. Interim responses (RFC 9110 section 15.2)
    are skipped. Raises ProtocolError, and the errors of the stream.
    """

    def __init__(self, stream: Lines, method: str) -> None:
        while True:
            self.status, self.reason, is_old = _status(stream)
            self.headers = tuple(_headers(stream))
            if self.status >= _FIRST_FINAL or self.status == _SWITCHING_PROTOCOLS:
                break
        has_body = method != "HEAD" and self.status >= _FIRST_FINAL
        has_body = has_body and self.status not in (_NO_CONTENT, _NOT_MODIFIED)
        self.is_chunked = has_body and self._first("transfer-encoding").lower() == "chunked"
        self.length = self._length() if has_body and not self.is_chunked else None if self.is_chunked else 0
        is_open_ended = self.length is None and not self.is_chunked
        self.is_last = is_open_ended or self._is_closing(is_old=is_old)

    def _first(self, name: str) -> str:
        return next((value for key, value in self.headers if key.lower() == name), "")

    def _length(self) -> int | None:
        text = self._first("content-length")
        # int() reads signs, blanks and underscores too, and takes long for thousands of digits.
        is_number = text.isascii() and text.isdigit() and len(text) <= _LONGEST_LENGTH
        return int(text) if is_number else None

    def _is_closing(self, *, is_old: bool) -> bool:
        connection = self._first("connection").lower()
        if not is_old:
            return "close" in connection
        # HTTP/1.0 servers that keep connections announce it in one of these ways.
        proxy = self._first("proxy-connection").lower()
        return not (self._first("keep-alive") or "keep-alive" in connection or "keep-alive" in proxy)


def _status(stream: Lines) -> tuple[int, str, bool]:
    """Return the status, the reason, and whether it is HTTP/1.0."""
    line = _line(stream)
    if not line:
        raise NoResponse("no response")
    version, _, rest = line.decode("latin-1").strip().partition(" ")
    code, _, reason = rest.strip().partition(" ")
    if not (version.startswith("HTTP/") and code.isascii() and code.isdigit() and len(code) <= len("999")):
        raise ProtocolError("malformed HTTP response")
    status = int(code)
    if not _CONTINUE <= status <= _LAST:
        raise ProtocolError("malformed HTTP response")
    is_old = version in ("HTTP/1.0", "HTTP/0.9")
    if not is_old and not version.startswith("HTTP/1."):
        raise ProtocolError("unsupported HTTP version")
    return status, reason.strip(), is_old


def _headers(stream: Lines) -> Iterator[tuple[str, str]]:
    name, value = "", ""
    for line in _lines(stream):
        if line[:1] in " \t":
            # RFC 9112 section 5.2: a value may go on in the next line.
            value = f"{value} {line.strip()}"
            continue
        if name:
            yield name, value
        name, colon, value = line.partition(":")
        value = value.strip(" \t")
        if not colon or not _TOKEN.issuperset(name):
            name = ""
    if name:
        yield name, value


def _lines(stream: Lines) -> Iterator[str]:
    for _ in range(_MOST_HEADERS):
        line = _line(stream)
        if not line.endswith(b"\n"):
            raise Truncated("the head has no end")
        text = line.rstrip(b"\r\n").replace(b"\r", b" ").decode("latin-1")
        if not text:
            return
        yield text
    raise ProtocolError("too many headers")


def _line(stream: Lines) -> bytes:
    line = stream.readline(_LONGEST_LINE + 1)
    if len(line) > _LONGEST_LINE:
        raise ProtocolError("a line of the head is too long")
    return line
