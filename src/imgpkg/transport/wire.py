"""HTTP/1.1 on one connection (RFC 9112): one exchange at a time, proxies and TLS included."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from imgpkg.cancellation import STOPPED, Cancellation, Wait
from imgpkg.errors import Cancelled, LocalIOError, local_io
from imgpkg.transport.connection import Connection, Inbound, dial
from imgpkg.transport.failures import FAILURES, Peer, Phase, translate
from imgpkg.transport.redact import redact_url
from imgpkg.transport.response import Answer, Head

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ssl import SSLContext

    from imgpkg.errors import ImgpkgError
    from imgpkg.transport.message import Body, OpenBody, Origin, Request
    from imgpkg.transport.proxy import Proxy

BLOCK_SIZE = 1 << 20
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
_OK = 200
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: to connect, to wait for response headers (None for ever), and without progress of a body.

    A wait that has lasted `quiet` seconds is announced.
    """

    connect: float
    headers: float | None
    idle: float
    quiet: float


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request goes, and through what: connections of equal routes are interchangeable."""

    origin: Origin
    proxy: Proxy | None = None

    @property
    def peer(self) -> Peer:
        """The machine to dial."""
        end = self.proxy or self.origin
        return Peer(end.host, end.port, is_proxy=self.proxy is not None)

    @property
    def is_forwarded(self) -> bool:
        """True when the proxy reads the requests itself, instead of tunnelling bytes."""
        return self.proxy is not None and self.origin.scheme == "http"

    @property
    def authority(self) -> str:
        """The host and port of the origin as a URL has them, the default port left out."""
        host = _host_text(self.origin.host)
        is_usual = self.origin.port == _DEFAULT_PORTS.get(self.origin.scheme)
        return host if is_usual else f"{host}:{self.origin.port}"


class Link:
    """HTTP on a connection to one origin; one exchange at a time, the next when the response has been read.

    `announce` gets a text when a wait is long. A scope of cancellation ends the waits of its threads.
    """

    def __init__(self, route: Route, limits: Limits, announce: Callable[[str], None]) -> None:
        self.route = route
        self._limits = limits
        self._announce = announce
        self._connection: Connection | None = None
        self._scope = Cancellation()
        self._registration: object = None
        self._is_cut_short = False

    @property
    def is_alive(self) -> bool:
        """True while the next exchange may use it."""
        return self._connection is not None and self._connection.is_usable

    @property
    def is_reusable(self) -> bool:
        """True when the connection is open after a whole exchange."""
        return self._connection is not None and not self._is_cut_short

    def connect(self, request: Request, context: Callable[[], SSLContext], scope: Cancellation) -> None:
        """Dial, pass the proxy and shake hands for `request`; raise a TransportError or Cancelled."""
        limit = self._limits.connect
        seconds = limit if request.patience is None else min(request.patience, limit)
        self._scope = scope
        wait = self.wait(request, Phase.DIAL, seconds)
        try:
            self._connection = dial(self.route.peer.host, self.route.peer.port, wait)
        except FAILURES as error:
            raise translate(request, error, Phase.DIAL, self.route.peer) from error
        try:
            with scope.ending(self.abort):
                self._shake_hands(request, self._connection, context, seconds)
        except FAILURES as error:
            raise self.failure(request, error, Phase.HANDSHAKE) from error
        except BaseException:
            self.close()
            raise

    def exchange(self, request: Request, release: Callable[[Link], None], scope: Cancellation) -> Answer:
        """Send `request` and return the response; `release` gets the link when it is free again.

        After an error the link is closed. Raises a TransportError, Cancelled, or what the body raises.
        """
        assert self._connection is not None  # noqa: S101 - connect came first
        self._scope = scope
        self._registration = scope.register(self.abort)
        try:
            scope.check()
            self._send(request, self._connection)
            head = self._receive(request, self._connection)
        except BaseException:
            self.close()
            raise
        return Answer(self, request, head, release)

    def rest(self) -> None:
        """End an exchange: nobody waits on the connection until the next one."""
        self._scope.forget(self._registration)

    def abort(self) -> None:
        """End what another thread waits for on the connection; it takes no lock."""
        connection = self._connection
        if connection is not None:
            connection.abort()

    def close(self) -> None:
        """Close the connection."""
        self.rest()
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def wait(self, request: Request, phase: Phase, seconds: float | None) -> Wait:
        """Make the limit of one wait of `request`."""
        return Wait(seconds, self._scope, partial(self._tell, request, phase, seconds), self._limits.quiet)

    def _tell(self, request: Request, phase: Phase, seconds: float | None, spent: float) -> None:
        limit = "without a limit" if seconds is None else f"for up to {seconds:.0f} s"
        url = redact_url(request.url)
        self._announce(f"{request.method} {url}: {phase.silence} for {spent:.0f} s, waiting {limit}")

    def failure(self, request: Request, error: BaseException, phase: Phase) -> ImgpkgError:
        """Close the link and return what to raise; a socket that was shut down on purpose is no failure."""
        self.close()
        if self._scope.is_cancelled:
            return Cancelled(STOPPED)
        return translate(request, error, phase, self.route.peer)

    def _shake_hands(
        self, request: Request, connection: Connection, context: Callable[[], SSLContext], seconds: float
    ) -> None:
        route, wait = self.route, self.wait(request, Phase.HANDSHAKE, seconds)
        if route.proxy is not None and route.proxy.scheme == "https":
            connection.start_tls(context(), route.proxy.host, wait)
        if route.proxy is not None and not route.is_forwarded:
            self._tunnel(connection, wait)
        if route.origin.scheme == "https":
            connection.start_tls(context(), route.origin.host, wait)

    def _tunnel(self, connection: Connection, wait: Wait) -> None:
        """Have the proxy open a tunnel (RFC 9110 9.3.6)."""
        target = f"{_host_text(self.route.origin.host)}:{self.route.origin.port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.route.proxy is not None and self.route.proxy.authorization:
            lines.append(f"Proxy-Authorization: {self.route.proxy.authorization}")
        connection.send("\r\n".join([*lines, "", ""]).encode("latin-1"), lambda: wait)
        # Unbuffered: what follows the answer belongs to TLS.
        head = Head(Inbound(connection, lambda: wait), "CONNECT", buffer_size=1)
        if head.response.status != _OK:
            raise OSError(f"Tunnel connection failed: {head.response.status} {head.response.reason.strip()}")

    def _send(self, request: Request, connection: Connection) -> None:
        if request.body is None:
            self._put(request, connection, iter(()))
            return
        with local_io("open", "request body"):
            source = request.body.open()
        with source:
            self._put(request, connection, _blocks(source, request.body))

    def _put(self, request: Request, connection: Connection, blocks: Iterator[bytes]) -> None:
        wait = partial(self.wait, request, Phase.REQUEST, self._limits.idle)
        try:
            connection.send(_head(request, self.route), wait)
            for block in blocks:
                connection.send(block, wait)
        except (BrokenPipeError, ConnectionResetError) as error:
            if self._scope.is_cancelled:
                raise self.failure(request, error, Phase.REQUEST) from error
            # A server that has refused stops reading; its answer may be there all the same.
            self._is_cut_short = True
        except FAILURES as error:
            raise self.failure(request, error, Phase.REQUEST) from error

    def _receive(self, request: Request, connection: Connection) -> Head:
        # One wait for the whole head: a server that drips bytes would keep a client for ever otherwise.
        wait = self.wait(request, Phase.HEADERS, self._limits.headers)
        inbound = Inbound(connection, lambda: wait)
        try:
            head = Head(inbound, request.method)
        except FAILURES as error:
            raise self.failure(request, error, Phase.HEADERS) from error
        inbound.wait = partial(self.wait, request, Phase.BODY, self._limits.idle)
        return head


def _head(request: Request, route: Route) -> bytes:
    """Write the head of a request (RFC 9112 3), whose names and values the pool has checked."""
    headers = {"Host": route.authority, **request.headers}
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
    return f"http://{_host_text(route.origin.host)}:{route.origin.port}{path}{query}"


def _host_text(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _blocks(source: OpenBody, body: Body) -> Iterator[bytes]:
    left = body.length
    while left:
        with local_io("read", "request body"):
            block = source.read(min(left, BLOCK_SIZE))
        if not block:
            raise LocalIOError(f"read request body: {left} of {body.length} bytes are missing")
        left -= len(block)
        yield block
