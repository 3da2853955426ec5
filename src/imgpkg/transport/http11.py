"""HTTP/1.1 on one connection (RFC 9112): requests, responses, tunnels through proxies."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from imgpkg.cancellation import NO_PERMIT, Cancellation, Wait, current
from imgpkg.errors import Cancelled, ImgpkgError, TransportError, local_io
from imgpkg.transport.connection import Connection, dial
from imgpkg.transport.failure import CLOSED, FAILURES, Phase, root_of, translate
from imgpkg.transport.head import Head, Inbound, ProtocolError, Truncated
from imgpkg.transport.message import Headers, read_blocks, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from imgpkg.transport.message import Block, Request
    from imgpkg.transport.pool import ContextOf, Limits, Route

_BLOCK_SIZE = 1 << 18
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
_OK = 200
# Bytes and seconds: a new connection with TLS costs about as much.
_DRAINED_AT_CLOSE = 1 << 16
_DRAIN_SECONDS = 0.5
# At most 15 digits: a chunk of 2^60 bytes does not exist.
_LONGEST_SIZE = 15
_HEXADECIMAL = b"0123456789abcdefABCDEF"
_LONGEST_LINE = 1 << 16
_MOST_TRAILERS = 100


class Link:
    """HTTP on a connection along one route; the next exchange may start when the response has been read.

    `announce` gets a text when a wait is long. A cancelled scope ends the waits of its threads.
    """

    def __init__(self, route: Route, limits: Limits, announce: Callable[[str], None]) -> None:
        self.route = route
        # That of the current exchange.
        self.permit = NO_PERMIT
        self._limits = limits
        self._announce = announce
        self._connection: Connection | None = None
        self._scope = Cancellation()
        self._registration: object = None
        self._is_cut_short = False

    @property
    def is_alive(self) -> bool:
        """True when another exchange can start."""
        return self._connection is not None and self._connection.is_usable

    @property
    def is_reusable(self) -> bool:
        """True when the connection is open after a whole exchange."""
        return self._connection is not None and not self._is_cut_short

    @property
    def security(self) -> tuple[str, bytes]:
        """The version of TLS, and the certificate of the server in DER."""
        assert self._connection is not None  # noqa: S101 - connect came first
        return self._connection.security

    def connect(self, request: Request, context: ContextOf, scope: Cancellation) -> None:
        """Dial, open the tunnel and do the TLS handshake; raise a TransportError or Cancelled."""
        limit = self._limits.connect
        seconds = limit if request.connect_timeout is None else min(request.connect_timeout, limit)
        self._scope = scope
        wait = self.wait(request, Phase.DIAL, seconds)
        try:
            self._connection = dial(self.route.peer.host, self.route.peer.port, wait)
        except FAILURES as error:
            raise self.failure(request, error, Phase.DIAL) from error
        try:
            with scope.ending(self.abort):
                self._shake_hands(request, self._connection, context, seconds)
        except FAILURES as error:
            raise self.failure(request, error, Phase.HANDSHAKE) from error
        except BaseException:
            self.close()
            raise

    def exchange(
        self, request: Request, release: Callable[[Link], None], scope: Cancellation
    ) -> StreamedResponse:
        """Send `request` and return the response; `release` is called when the link is free again.

        After an error the link is closed. Raises a TransportError, Cancelled, or an error of the body.
        """
        assert self._connection is not None  # noqa: S101 - connect came first
        self._scope = scope
        self._registration = scope.register(self.abort)
        try:
            scope.check()
            self._send(request, self._connection)
            head, stream = self._receive(request, self._connection)
        except BaseException:
            self.close()
            raise
        return StreamedResponse(self, request, head, stream, release)

    def rest(self) -> None:
        """End an exchange: until the next one there is no wait to cancel."""
        self._scope.forget(self._registration)

    def abort(self) -> None:
        """End the wait of another thread on the connection, without taking a lock."""
        connection = self._connection
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        """Close the connection."""
        self.rest()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        self.permit.leave()

    def wait(self, request: Request, phase: Phase, seconds: float | None) -> Wait:
        """Return the limit of one wait of `request`, in its scope and in that of the thread that waits."""
        announce = partial(self._announce_wait, request, phase, seconds)
        subject = partial(_subject, request, phase)
        return Wait(seconds, current(self._scope), announce, self._limits.quiet, waited_for=subject)

    def _announce_wait(self, request: Request, phase: Phase, seconds: float | None, spent: float) -> None:
        limit = "without a limit" if seconds is None else f"for up to {seconds:.0f} s"
        self._announce(f"{_subject(request, phase)} for {spent:.0f} s, waiting {limit}")

    def failure(self, request: Request, error: BaseException, phase: Phase) -> ImgpkgError:
        """Close the link and return the error to raise: Cancelled where that shut the socket down."""
        self.close()
        if self._scope.is_cancelled:
            return self._scope.failure(_subject(request, phase))
        return error if isinstance(error, ImgpkgError) else self._translated(request, error, phase)

    def _translated(self, request: Request, error: BaseException, phase: Phase) -> TransportError:
        failure, peer = translate(request, error, phase, self.route.peer), self.route.peer

        def explain() -> None:
            from imgpkg.transport.remedy import remedies

            failure.hints = tuple(remedies(failure, root_of(error), phase, peer))

        failure.explain_later(explain)
        return failure

    def _shake_hands(
        self, request: Request, connection: Connection, context: ContextOf, seconds: float
    ) -> None:
        route, wait = self.route, self.wait(request, Phase.HANDSHAKE, seconds)
        if route.proxy is not None and route.proxy.scheme == "https":
            connection.start_tls(context(route.proxy), route.proxy.host, wait)
        if route.proxy is not None and not route.is_forwarded:
            self._tunnel(connection, wait)
        if route.origin.scheme == "https":
            connection.start_tls(context(route.origin), route.origin.host, wait)

    def _tunnel(self, connection: Connection, wait: Wait) -> None:
        """Open a tunnel through the proxy (RFC 9110 section 9.3.6)."""
        target = self.route.origin.address
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.route.proxy is not None and self.route.proxy.authorization:
            lines.append(f"Proxy-Authorization: {self.route.proxy.authorization}")
        connection.send("\r\n".join([*lines, "", ""]).encode("latin-1"), lambda: wait)
        # A buffer of one byte: what follows the response belongs to TLS.
        head = Head(Inbound(connection, lambda: wait, 1), "CONNECT")
        if head.status != _OK:
            # `failure` looks for 407 in the words.
            raise OSError(f"Tunnel connection failed: {head.status} {head.reason}")

    def _send(self, request: Request, connection: Connection) -> None:
        if request.body is None:
            self._put(request, connection, iter(()))
            return
        # Opened for each exchange, because a request may be sent again.
        with local_io("open", "request body"):
            source = request.body.open()
        with source:
            self._put(request, connection, read_blocks(source, request.body.length))

    def _put(self, request: Request, connection: Connection, blocks: Iterator[Block]) -> None:
        wait = partial(self.wait, request, Phase.REQUEST, self._limits.idle)
        try:
            connection.send(_head(request, self.route), wait)
            for data, position in blocks:
                connection.send(data, wait, position)
        except CLOSED as error:
            if self._scope.is_cancelled:
                raise self.failure(request, error, Phase.REQUEST) from error
            # A server that refuses a request stops reading it; its response, or its alert, may have arrived.
            self._is_cut_short = True
        except FAILURES as error:
            raise self.failure(request, error, Phase.REQUEST) from error

    def _receive(self, request: Request, connection: Connection) -> tuple[Head, Inbound]:
        # One wait for the whole head: otherwise a server that sends byte after byte would never time out.
        wait = self.wait(request, Phase.HEADERS, self._limits.headers)
        stream = Inbound(connection, lambda: wait)
        try:
            head = Head(stream, request.method)
        except FAILURES as error:
            raise self.failure(request, error, Phase.HEADERS) from error
        stream.wait = partial(self.wait, request, Phase.BODY, self._limits.idle)
        return head, stream


def _subject(request: Request, phase: Phase) -> str:
    return f"{request.method} {redact_url(request.url)}: {phase.silence}"


def _head(request: Request, route: Route) -> bytes:
    """Return the head of a request (RFC 9112 section 3), whose names and values the pool has checked."""
    headers = {"Host": route.origin.authority, **request.headers}
    if route.is_forwarded and route.proxy is not None and route.proxy.authorization:
        headers["Proxy-Authorization"] = route.proxy.authorization
    lines = [f"{request.method} {_target(request.url, route)} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _target(url: str, route: Route) -> str:
    parts = urlsplit(url)
    path = quote(parts.path or "/", safe=_URL_CHARACTERS)
    query = f"?{quote(parts.query, safe=_URL_CHARACTERS)}" if parts.query else ""
    if not route.is_forwarded:
        return path + query
    return f"http://{route.origin.address}{path}{query}"


class StreamedResponse:
    """A `Response` whose body is received while it is read; its connection is closed when it is forgotten."""

    def __init__(
        self,
        link: Link,
        request: Request,
        head: Head,
        stream: Inbound,
        release: Callable[[Link], None],
    ) -> None:
        self._link = link
        self._request = request
        self._stream = stream
        self._release = release
        self._is_finished = False
        self.status = head.status
        self.headers = Headers(head.headers)
        self._body = ChunkedBody(stream) if head.is_chunked else PlainBody(stream, head.length)
        self._is_last = head.is_last
        # HEAD, 204 and empty bodies: the connection is free at once.
        if self._body.left == 0:
            self._finish()

    def header_list(self, name: str) -> list[str]:
        """Return every line of the header `name`, in order."""
        return self.headers.lines(name)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` more bytes of the body, all of it when negative, b"" at the end.

        Raises Cancelled, and a TransportError when the connection breaks before the end of the body or makes
        no progress.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_BLOCK_SIZE), b""))
        left = self._body.left
        buffer = bytearray(min(size, _BLOCK_SIZE if left is None else left, _BLOCK_SIZE))
        with memoryview(buffer) as view:
            return bytes(view[: self.readinto(view)])

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many, 0 at the end; raise what `read` raises."""
        with memoryview(buffer) as view:
            if self._is_finished or not view:
                return 0
            try:
                count = self._body.readinto(view)
            except FAILURES as error:
                self._is_finished = True
                raise self._link.failure(self._request, error, Phase.BODY) from error
        if self._body.left == 0:
            self._finish()
        return count

    def close(self) -> None:
        """Return the connection to the pool if little is left of the body, otherwise close it."""
        if self._is_finished:
            return
        left = self._body.left
        if self._link.is_reusable and not self._is_last and (left is None or left <= _DRAINED_AT_CLOSE):
            self._stream.wait = partial(self._link.wait, self._request, Phase.BODY, _DRAIN_SECONDS)
            with suppress(TransportError, Cancelled):
                self._drain()
        if not self._is_finished:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        if any(exception) and not self._is_finished:
            # After an error the rest of the body is not waited for.
            self._drop()
        self.close()

    def __del__(self) -> None:
        # The scope knows the link, so that without this its connection would be open, and count, to the end.
        if not self._is_finished:
            self._drop()

    def __repr__(self) -> str:
        return f"StreamedResponse({self.status} to {self._request!r})"

    def _drain(self) -> None:
        left = _DRAINED_AT_CLOSE
        while left > 0 and (data := self.read(left)):
            left -= len(data)

    def _finish(self) -> None:
        self._is_finished = True
        # What follows the body would be taken for the next response.
        if self._is_last or not self._link.is_reusable or not self._stream.is_empty:
            self._link.close()
        else:
            self._link.rest()
            self._release(self._link)

    def _drop(self) -> None:
        self._is_finished = True
        self._link.close()


class PlainBody:
    """A body of `left` bytes, None when the end of the connection is its end (RFC 9112 section 6.3)."""

    def __init__(self, stream: Inbound, left: int | None) -> None:
        self._stream = stream
        self.left = left

    def readinto(self, buffer: memoryview) -> int:
        """Write what has come to `buffer`, as soon as that is anything; 0 at the end."""
        if self.left is None:
            count = self._stream.readinto(buffer)
            self.left = None if count else 0
            return count
        count = self._stream.readinto(buffer[: self.left])
        if not count:
            raise Truncated("the body is too short")
        self.left -= count
        return count


class ChunkedBody:
    """A body in chunks (RFC 9112 section 7.1); `left` is None until the last one was received."""

    def __init__(self, stream: Inbound) -> None:
        self._stream = stream
        self._chunk = 0
        self.left: int | None = None

    def readinto(self, buffer: memoryview) -> int:
        """Write what has come of the current chunk to `buffer`, as soon as that is anything; 0 at the end."""
        if not self._chunk:
            self._chunk = self._next()
            if not self._chunk:
                self._skip_trailers()
                self.left = 0
                return 0
        count = self._stream.readinto(buffer[: self._chunk])
        self._chunk -= count
        if not count or (not self._chunk and self._line().strip(b"\r\n")):
            raise Truncated("a chunk is too short")
        return count

    def _next(self) -> int:
        # int() accepts signs, blanks and underscores too, and a read of a negative size never ends.
        size = self._line().partition(b";")[0].rstrip(b" \t\r\n")
        if not size or len(size) > _LONGEST_SIZE or size.translate(None, _HEXADECIMAL):
            raise Truncated("no size of a chunk")
        return int(size, 16)

    def _skip_trailers(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if not self._line().strip(b"\r\n"):
                return
        raise ProtocolError("too many trailers")

    def _line(self) -> bytes:
        line = self._stream.readline(_LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise Truncated("a line has no end")
        return line
