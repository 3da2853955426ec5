"""HTTP/1.1 on one connection (RFC 9112): http.server with a strict head and streamed bodies."""

from __future__ import annotations

import contextlib
import io
import re
import socket
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import parse_qsl, unquote

from imgpkg.embedded.message import Disconnected, FilePart, RequestRefused, ServerRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from socketserver import BaseServer

    from imgpkg.embedded.message import Pairs, ServerResponse

# A client that sends nothing, or reads nothing, for so many seconds occupies a thread in vain.
_SILENCE = 60.0
# Seconds and bytes that are read after a response, before the connection is closed.
_LINGER = 2.0
_MAX_LINGERED = 256 << 20
# To read the rest of a larger body costs more than a new connection.
_MAX_DISCARDED = 1 << 20
_MAX_HEAD = 64 << 10
# Far more than a request of the specification has.
_MAX_PARAMETERS = 100
_BUFFER = 256 << 10
# Smaller files are sent together with the head; for larger ones sendfile() saves a copy.
_SMALL_FILE = 64 << 10
_BODILESS = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_BLANK_LINES = (b"\r\n", b"\n")
# RFC 9112 §3: single spaces, and a path; registries are no proxies, which get whole URLs.
_REQUEST_LINE = re.compile(rb"[A-Z]+ (?:https?://[A-Za-z0-9.:\[\]_-]+)?/\S* HTTP/1\.[01]\r?\n")
# What a proxy may pass on (RFC 9112 §3.2.2).
_ABSOLUTE_FORM = re.compile(r"https?://([^/]+)(/.*)")
# RFC 9112 §5: no blank before the colon, no folded line, no control character and no bare CR in a value.
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*\r?\n)*\r?\n")
_LENGTH = re.compile(r"[0-9]{1,18}")
_CHUNK_HEAD = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?\r?\n")


class ConnectionFile(Protocol):
    """The part of a buffered file on a socket that requests are read through."""

    def readline(self, size: int, /) -> bytes:
        """Return the next line, or `size` bytes of it."""
        ...

    def read1(self, size: int, /) -> bytes:
        """Return at most `size` bytes with at most one read of the socket."""
        ...


class RequestBody:
    """The body of one request on a kept connection; `length` is None for a chunked one (RFC 9112 §7.1).

    `begin` is called before the first read: it sends the 100 Continue that a client may wait for.
    """

    def __init__(self, file: ConnectionFile, length: int | None, begin: Callable[[], object] | None) -> None:
        self._file = file
        self._is_chunked = length is None
        self._left = length or 0
        self._begin = begin
        self._limit: int | None = None
        self.is_finished = length == 0

    def cut_after(self, count: int) -> None:
        """Raise Disconnected after `count` bytes, as if the client had left there."""
        self._limit = count

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end; raise Disconnected when the client left before it."""
        if self.is_finished:
            return b""
        try:
            # An OSError of the socket must not be taken for one of the storage that is written meanwhile.
            return self._read(size)
        except OSError as error:
            raise Disconnected(f"reading the body: {error}") from error

    def discard(self, limit: int) -> bool:
        """Read and drop the rest if it is at most `limit` bytes; return whether a request can follow."""
        if self.is_finished:
            return True
        # A client that waits for 100 Continue may send its body or not after another response.
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
        # read1() returns what has arrived, so that it is written while the rest is on its way.
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
        elif self._file.readline(3) not in _BLANK_LINES:
            raise Disconnected("a chunk is longer than its size")

    def _next_chunk(self) -> bool:
        head = _CHUNK_HEAD.fullmatch(self._file.readline(_MAX_HEAD))
        if head is None:
            raise Disconnected("a chunk without its size")
        self._left = int(head[1], 16)
        if not self._left:
            if not _FIELDS.fullmatch(_read_fields(self._file)):
                raise Disconnected("malformed trailers")
            self.is_finished = True
        return self._left > 0


Respond: TypeAlias = "Callable[[ServerRequest, RequestBody], ServerResponse]"


class RegistryHandler(BaseHTTPRequestHandler):
    """Serves one accepted socket until the client leaves or fails, or the server stops.

    `respond` raises Disconnected when there is no response to send.
    """

    # The default is HTTP/0.9, in which an error in the request line would be answered without a status line.
    protocol_version = default_request_version = "HTTP/1.1"
    raw_requestline: bytes
    timeout = _SILENCE
    rbufsize = _BUFFER
    # The head of a response and a small body leave in one packet.
    wbufsize = _BUFFER
    disable_nagle_algorithm = True

    def __init__(
        self, sock: socket.socket, address: object, server: BaseServer, *, respond: Respond, scheme: str
    ) -> None:
        self._respond = respond
        self._scheme = scheme
        self._expects_continue = False
        # The base class serves the whole connection here.
        super().__init__(sock, address, server)

    def parse_request(self) -> bool:
        """Check the form of the head strictly, and let the base class parse it.

        The base class accepts HTTP/0.9, folded lines, and a bare CR as the end of a header. A proxy may read
        these differently, and may take the body of one request for the next one (RFC 9112 §11.2).
        """
        self.command, self.request_version = "", self.default_request_version
        if self.raw_requestline in _BLANK_LINES:
            # Some clients send an empty line after a body (RFC 9112 §2.2).
            self.raw_requestline = self.rfile.readline(_MAX_HEAD)
        if not self.raw_requestline:
            self.close_connection = True
            return False
        if not _REQUEST_LINE.fullmatch(self.raw_requestline):
            self.send_error(HTTPStatus.BAD_REQUEST, "the first line")
            return False
        fields = _read_fields(self.rfile)
        if not _FIELDS.fullmatch(fields):
            self.send_error(HTTPStatus.BAD_REQUEST, "a header")
            return False
        self._expects_continue = False
        # The base class is given the header section that was read and checked above.
        rest, self.rfile = self.rfile, io.BytesIO(fields)
        try:
            return super().parse_request()
        finally:
            self.rfile = rest

    def handle_expect_100(self) -> bool:
        """Send 100 Continue only when the body is read: a refused request needs none (RFC 9110 §10.1.1)."""
        self._expects_continue = True
        return True

    def serve_request(self) -> None:
        """Serve one request; every method comes here, because the routes decide which ones they allow."""
        try:
            request, body = self.read_request()
        except RequestRefused as refused:
            # Where the next request begins is unknown.
            self._send(refused.response(), keeps=False)
            return
        response = self._respond(request, body)
        # A body that was not read would be taken for the next request.
        keeps = not self.close_connection and response.cut_after is None and body.discard(_MAX_DISCARDED)
        self._send(response, keeps=keeps)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = serve_request  # noqa: N815 - http.server calls them
    do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = serve_request  # noqa: N815 - likewise

    def read_request(self) -> tuple[ServerRequest, RequestBody]:
        """Return the request whose head was parsed, and its body; raise RequestRefused if ambiguous."""
        headers = _joined(self.headers.items())
        host = headers.get("host")
        # RFC 9112 section 3.2: a request without Host, or with two, is answered with 400.
        if self.request_version == self.protocol_version and (host is None or "," in host):
            raise _malformed("no Host, or two")
        begin = self._send_continue if self._expects_continue else None
        body = RequestBody(self.rfile, _content_length(headers), begin)
        target = self.path
        if absolute := _ABSOLUTE_FORM.fullmatch(target):
            # The host of the target counts, whatever the field says.
            headers, target = MappingProxyType({**headers, "host": absolute[1]}), absolute[2]
        path, query = _parse_target(target)
        return ServerRequest(self.command, path, query, headers, body, self._scheme), body

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is not a request of HTTP/1.1, and close the connection."""
        status = code if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus.BAD_REQUEST
        reason = message or explain or HTTPStatus(code).phrase
        self._send(_malformed(reason, status).response(), keeps=False)

    def finish(self) -> None:
        """Close the files of the connection, even if the rest of a response cannot be sent."""
        with contextlib.suppress(OSError):
            super().finish()
        self.rfile.close()

    def log_message(self, *_: object) -> None:
        """Log nothing: `on_request` receives each request."""

    def _send_continue(self) -> None:
        super().handle_expect_100()
        self.wfile.flush()

    def _send(self, response: ServerResponse, *, keeps: bool) -> None:
        self.send_response_only(response.status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Docker-Distribution-Api-Version", "registry/2.0")
        for name, value in response.headers:
            self.send_header(name, value.encode("latin-1", "replace").decode("latin-1"))
        if response.status not in _BODILESS:
            self.send_header("Content-Length", str(response.length))
        if not keeps:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(response)
        self.wfile.flush()
        if not keeps:
            self._linger()

    def _send_body(self, response: ServerResponse) -> None:
        end = response.length if response.cut_after is None else min(response.cut_after, response.length)
        if response.pause_after is None:
            self._send_section(response.section(0, end))
            return
        middle = min(response.pause_after, end)
        self._send_section(response.section(0, middle))
        self.wfile.flush()
        self._pause(response.pause)
        self._send_section(response.section(middle, end))

    def _send_section(self, section: bytes | tuple[FilePart, ...]) -> None:
        if isinstance(section, bytes):
            self.wfile.write(section)
            return
        for part in section:
            self._send_part(part)

    def _pause(self, seconds: float) -> None:
        # A client that leaves ends the pause, and so does a server that stops: it shuts the reading side.
        before = self.connection.gettimeout()
        self.connection.settimeout(seconds)
        with contextlib.suppress(TimeoutError, BlockingIOError):
            # The method of a plain socket does for TLS too: nothing is taken from the socket.
            socket.socket.recv(self.connection, 1, socket.MSG_PEEK)
        self.connection.settimeout(before)

    def _send_part(self, part: FilePart) -> None:
        if part.count <= _SMALL_FILE:
            self.wfile.write(part.read())
            return
        with open(part.path, "rb") as file:
            self.wfile.flush()
            self.connection.sendfile(file, part.offset, part.count)

    def _linger(self) -> None:
        # Closing with unread bytes resets the connection, which can destroy the response on its way. The
        # methods of a plain socket do for TLS too: the bytes are dropped.
        socket.socket.shutdown(self.connection, socket.SHUT_WR)
        self.connection.settimeout(_LINGER)
        left = _MAX_LINGERED
        while left > 0 and (data := socket.socket.recv(self.connection, _BUFFER)):
            left -= len(data)


def _read_fields(file: ConnectionFile) -> bytes:
    """Return the header section with its blank line; a part of it if the client left or it is too long."""
    lines = [file.readline(_MAX_HEAD)]
    size = len(lines[0])
    while size < _MAX_HEAD and lines[-1] and lines[-1] not in _BLANK_LINES:
        lines.append(file.readline(_MAX_HEAD - size))
        size += len(lines[-1])
    return b"".join(lines)


def _joined(fields: list[tuple[str, str]]) -> Mapping[str, str]:
    """Return the values by lower-case name; repeated ones are one list (RFC 9110 §5.3)."""
    values: dict[str, list[str]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), []).append(value.strip(" \t"))
    return MappingProxyType({name: ", ".join(listed) for name, listed in values.items()})


def _content_length(headers: Mapping[str, str]) -> int | None:
    """Return the length of the body, None for a chunked one; refuse two lengths (RFC 9112 §6.3)."""
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


def _parse_target(target: str) -> tuple[str, Pairs]:
    path, _, query = target.partition("?")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
    except ValueError as error:
        raise _malformed("the query") from error
    return unquote(path), tuple(pairs)


def _malformed(what: str, status: int = HTTPStatus.BAD_REQUEST) -> RequestRefused:
    return RequestRefused(status, "UNSUPPORTED", f"malformed request: {what}")
