"""One connection and the exchanges on it: the only module that imports urllib3."""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import quote, urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection, ProxyConfig
from urllib3.exceptions import ConnectTimeoutError, HTTPError
from urllib3.util import Url, parse_url

from imgpkg.errors import LocalIOError, TransportError, local_io
from imgpkg.transport.failures import Peer, Phase, translate
from imgpkg.transport.reply import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from ssl import SSLContext

    from typing_extensions import Self
    from urllib3.response import HTTPResponse

    from imgpkg.transport.message import Body, OpenBody, Origin, Request
    from imgpkg.transport.proxy import Proxy

BLOCK_SIZE = 1 << 20
_DRAINED_AT_CLOSE = 1 << 16
_DRAIN_SECONDS = 0.5
_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
_SOCKET_OPTIONS = [*HTTPConnection.default_socket_options, (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
_FAILURES = (OSError, HTTPException, HTTPError, UnicodeError)


class _Options(TypedDict, total=False):
    timeout: float
    socket_options: list[tuple[int, int, int | bytes]]
    proxy: Url
    proxy_config: ProxyConfig


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds: to connect, to wait for response headers (None for ever), and for each block moved."""

    connect: float
    headers: float | None
    block: float


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


class Link:
    """A connection to one origin; one exchange at a time, the next when the response has been read."""

    def __init__(self, route: Route, limits: Limits, context: Callable[[], SSLContext]) -> None:
        self.route = route
        self._limits = limits
        self._connection = _connection(route, limits, context)
        self._connection.response_class = Reply
        self._is_cut_short = False

    @property
    def is_alive(self) -> bool:
        """False when the peer has closed the connection, or says something unasked."""
        return self._connection.is_connected

    @property
    def is_reusable(self) -> bool:
        """True when the connection is open after a whole exchange."""
        return not (self._connection.is_closed or self._is_cut_short)

    def connect(self, request: Request) -> None:
        """Dial, pass the proxy and shake hands on behalf of `request`; raise a TransportError."""
        try:
            self._connection.connect()
        except BaseException as error:
            self.close()
            if not isinstance(error, _FAILURES):
                raise
            phase = Phase.DIAL if isinstance(error, ConnectTimeoutError) else Phase.HANDSHAKE
            raise translate(request, error, phase, self.route.peer) from error

    def exchange(self, request: Request, release: Callable[[Link], None]) -> Answer:
        """Send `request` and return the response; `release` gets the link when it is free again.

        After an error the link is closed. Raises a TransportError, or what the body raises.
        """
        try:
            self._send(request)
            return self._receive(request, release)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(self, request: Request) -> None:
        self._connection.timeout = self._limits.block
        if request.body is None:
            self._put(request, None)
            return
        with local_io("open", "request body"):
            source = request.body.open()
        with source:
            self._put(request, _blocks(source, request.body))

    def _put(self, request: Request, blocks: Iterator[bytes] | None) -> None:
        try:
            self._connection.request(
                request.method,
                _target(request.url, self.route),
                body=blocks,
                headers={**request.headers, **_proxy_headers(self.route)},
                preload_content=False,
                decode_content=False,
            )
        except (BrokenPipeError, ConnectionResetError):
            # A server that has said no stops reading; its answer may be there all the same.
            self._is_cut_short = True
        except _FAILURES as error:
            raise translate(request, error, Phase.REQUEST, self.route.peer) from error

    def _receive(self, request: Request, release: Callable[[Link], None]) -> Answer:
        connection = self._connection
        connection.timeout = self._limits.headers
        # The response keeps the socket even if the connection forgets it, after `Connection: close`.
        sock = connection.sock
        try:
            raw = connection.getresponse()
            sock.settimeout(self._limits.block)
        except _FAILURES as error:
            raise translate(request, error, Phase.HEADERS, self.route.peer) from error
        return Answer(self, request, raw, sock, release)


class Answer:
    """A response whose body comes from the connection as it is read (the protocol `message.Response`)."""

    def __init__(
        self,
        link: Link,
        request: Request,
        raw: HTTPResponse,
        sock: socket.socket,
        release: Callable[[Link], None],
    ) -> None:
        self._link = link
        self._request = request
        self._raw = raw
        self._sock = sock
        self._release = release
        self._is_finished = False
        if raw.length_remaining == 0:
            self.read()

    @property
    def status(self) -> int:
        """The status code."""
        return self._raw.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers without regard to case, the lines of one name joined by `, `."""
        return self._raw.headers

    def header_list(self, name: str) -> list[str]:
        """Return every line of the header `name`, in order."""
        return self._raw.headers.getlist(name)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` more bytes of the body, all of it when negative, b"" at the end.

        Raises a TransportError when the connection breaks before the body is whole, or stands still.
        """
        if self._is_finished:
            return b""
        try:
            data = self._raw.read(None if size < 0 else size)
        except _FAILURES as error:
            self._drop()
            raise translate(self._request, error, Phase.BODY, self._link.route.peer) from error
        if self._raw.closed:
            self._finish()
        return data

    def close(self) -> None:
        """Give the connection back: drained if little is left of the body, else dropped."""
        if self._is_finished:
            return
        left = self._raw.length_remaining
        if self._link.is_reusable and (left is None or left <= _DRAINED_AT_CLOSE):
            self._sock.settimeout(_DRAIN_SECONDS)
            with suppress(TransportError):
                self.read(_DRAINED_AT_CLOSE)
        if not self._is_finished:
            self._drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Answer({self.status} to {self._request!r})"

    def _finish(self) -> None:
        self._is_finished = True
        if self._link.is_reusable:
            self._release(self._link)
        else:
            self._drop()

    def _drop(self) -> None:
        self._is_finished = True
        self._raw.close()
        self._link.close()


def _connection(route: Route, limits: Limits, context: Callable[[], SSLContext]) -> HTTPConnection:
    proxy, peer = route.proxy, route.peer
    options = _Options(timeout=limits.connect, socket_options=_SOCKET_OPTIONS)
    if proxy is None:
        if route.origin.scheme == "http":
            return HTTPConnection(peer.host, peer.port, **options)
        return HTTPSConnection(peer.host, peer.port, ssl_context=context(), **options)
    options["proxy"] = parse_url(f"{proxy.scheme}://{_host_text(proxy.host)}:{proxy.port}")
    options["proxy_config"] = ProxyConfig(
        ssl_context=context() if proxy.scheme == "https" else None,
        use_forwarding_for_https=False,
        assert_hostname=None,
        assert_fingerprint=None,
    )
    if route.is_forwarded:
        kind = HTTPSConnection if proxy.scheme == "https" else HTTPConnection
        return kind(peer.host, peer.port, **options)
    connection = HTTPSConnection(peer.host, peer.port, ssl_context=context(), **options)
    headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
    connection.set_tunnel(route.origin.host, route.origin.port, headers, scheme=proxy.scheme)
    return connection


def _proxy_headers(route: Route) -> dict[str, str]:
    if route.proxy is None or not route.is_forwarded or not route.proxy.authorization:
        return {}
    return {"Proxy-Authorization": route.proxy.authorization}


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
