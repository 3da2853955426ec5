"""The connection pool: which connection, through which proxy, carries a request."""

from __future__ import annotations

import os
import re
import time
from base64 import b64encode
from collections import deque
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit
from weakref import finalize

from imgpkg.cancellation import QUIET_SECONDS, Cancellation, current, ignore
from imgpkg.errors import InvalidSettings, TransportError
from imgpkg.transport.connection import client_context, read_authorities
from imgpkg.transport.message import Origin, redact_url
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ssl import SSLContext

    from typing_extensions import Self

    from imgpkg.transport.http11 import Link
    from imgpkg.transport.message import Request, Response
    from imgpkg.transport.trace import Tracer

Address: TypeAlias = "IPv4Address | IPv6Address"
Idle: TypeAlias = "dict[Route, deque[tuple[Link, float]]]"

# As in Go. Many servers close idle connections after one to two minutes.
IDLE_SECONDS = 90.0

_EMPTY: Mapping[str, str] = MappingProxyType({})
# RFC 9110 section 9.2.2.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Without a body these need `Content-Length: 0`: some servers answer 411 otherwise.
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_METHOD = re.compile(r"[A-Z]+")
_VARIABLES = {"http": ("HTTP_PROXY", "http_proxy"), "https": ("HTTPS_PROXY", "https_proxy")}
_HOST_AND_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:\[\]]*)")


def _close_all(idle: Idle) -> None:
    """Close the kept connections; in a forked process those of the parent stay open."""
    while idle:
        for link, _ in idle.popitem()[1]:
            link.close()


class Pool:
    """The `Transport` over sockets, with a pool of connections; safe from many threads.

    No failure is repeated, with one exception as in Go: an idempotent request is sent once more when a kept
    connection is closed before the first byte of the response.

    All times are in seconds. `connect_timeout` limits dialling, and then the handshakes. `header_timeout`
    limits the whole wait for response headers (0 and less: no limit). `idle_timeout` limits how long a body
    may make no progress; the whole body may take any time. `on_wait` gets a sentence when one of these waits
    has lasted `quiet_time`. Cancelling `cancellation`, or the scope of a thread, ends its waits with
    Cancelled.

    `max_connections` are kept per route, more are opened on demand; a forked process opens its own. `environ`
    is read for proxies, SSL_CERT_FILE and SSL_CERT_DIR. Raises InvalidSettings for a CA file without a
    certificate.
    """

    def __init__(
        self,
        *,
        ca_cert_paths: Iterable[str] = (),
        verify_certs: bool = True,
        header_timeout: float = 30.0,
        connect_timeout: float = 30.0,
        idle_timeout: float = 60.0,
        quiet_time: float = QUIET_SECONDS,
        environ: Mapping[str, str] = _EMPTY,
        max_connections: int = 10,
        tracer: Tracer | None = None,
        user_agent: str = f"imgpkg-py/{VERSION}",
        clock: Callable[[], float] = time.monotonic,
        on_wait: Callable[[str], None] = ignore,
        cancellation: Cancellation | None = None,
    ) -> None:
        self._authorities = read_authorities(ca_cert_paths)
        self._verify_certs = verify_certs
        headers = header_timeout if header_timeout > 0 else None
        self._limits = Limits(connect_timeout, headers, idle_timeout, quiet_time)
        self._environ = environ
        self._max_connections = max_connections
        self._tracer = tracer
        self._user_agent = user_agent
        self._clock = clock
        self._on_wait = on_wait
        self._cancellation = cancellation or Cancellation()
        self._process = os.getpid()
        self._lock = Lock()
        self._idle: Idle = {}
        # A pool that is not closed must not cause warnings about open sockets.
        finalize(self, _close_all, self._idle)
        self._context: SSLContext | None = None
        self._is_closed = False

    def send(self, request: Request) -> Response:
        """Send and return the response as soon as its headers are there.

        Raises a TransportError, LocalIOError when the body cannot be read, InvalidSettings for a bad proxy.
        """
        request = self._completed(request)
        route = self._route(request)
        if self._tracer is None:
            return self._exchange(request, route)
        return self._traced(self._tracer, request, route)

    def close(self) -> None:
        """Close the kept connections; those in use are closed with their responses."""
        with self._lock:
            self._is_closed = True
        _close_all(self._idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _completed(self, request: Request) -> Request:
        """Add the headers of every request; refuse text that would inject other headers or requests."""
        if not _METHOD.fullmatch(request.method):
            raise _refusal(request, f"net/http: invalid method {request.method!r}")
        for name, value in request.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise _refusal(request, f"net/http: invalid header field name {name!r}")
            if not _HEADER_VALUE.fullmatch(value):
                raise _refusal(request, f'net/http: invalid header field value for "{name}"')
        # Digests are those of the bytes without an encoding.
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity", **request.headers}
        if request.body is not None:
            headers["Content-Length"] = str(request.body.length)
        elif request.method in _WITH_CONTENT:
            headers["Content-Length"] = "0"
        return replace(request, headers=headers)

    def _route(self, request: Request) -> Route:
        try:
            origin, proxy = Origin.of(request.url), proxy_for(request.url, self._environ)
        except ValueError as error:
            raise _refusal(request, "http: no Host in request URL") from error
        # The URL may come from a server.
        if origin.scheme not in ("http", "https"):
            raise _refusal(request, f'unsupported protocol scheme "{origin.scheme}"')
        return Route(origin, Proxy.parse(proxy) if proxy else None)

    def _traced(self, tracer: Tracer, request: Request, route: Route) -> Response:
        tracer.sent(request)
        start = self._clock()
        try:
            response = self._exchange(request, route)
        except TransportError as error:
            tracer.failed(request, error, self._clock() - start)
            raise
        tracer.answered(request, response, self._clock() - start)
        return response

    def _exchange(self, request: Request, route: Route) -> Response:
        from imgpkg.transport.failure import HungUp  # noqa: PLC0415 - loads ssl
        from imgpkg.transport.http11 import Link  # noqa: PLC0415 - loads http.client

        scope = current(self._cancellation)
        kept = self._take(route)
        if kept is not None:
            try:
                return kept.exchange(request, self._keep, scope)
            except HungUp:
                # The server may have processed the request before it closed the connection.
                if request.method not in _IDEMPOTENT:
                    raise
        link = Link(route, self._limits, self._on_wait)
        link.connect(request, self._tls_context, scope)
        return link.exchange(request, self._keep, scope)

    def _take(self, route: Route) -> Link | None:
        """Return the connection that was used last and is still usable; close the others."""
        self._own()
        while True:
            # The lock is not held while a connection is checked and closed.
            with self._lock:
                kept = self._idle.get(route)
                if not kept:
                    return None
                link, since = kept.pop()
            if link.is_alive and self._clock() - since < IDLE_SECONDS:
                return link
            link.close()

    def _own(self) -> None:
        """Forget the connections in a forked process: with the parent's it would read the wrong responses."""
        if self._process != os.getpid():
            # A thread of the parent, which does not exist here, may have held the lock.
            self._process, self._lock = os.getpid(), Lock()
            _close_all(self._idle)

    def _keep(self, link: Link) -> None:
        with self._lock:
            kept = self._idle.setdefault(link.route, deque())
            is_kept = not self._is_closed and len(kept) < self._max_connections
            if is_kept:
                kept.append((link, self._clock()))
        if not is_kept:
            link.close()

    def _tls_context(self) -> SSLContext:
        with self._lock:
            if self._context is None:
                self._context = client_context(
                    self._authorities, verify=self._verify_certs, environ=self._environ
                )
            return self._context


def _refusal(request: Request, reason: str) -> TransportError:
    """Return the error for a request that cannot be sent; it is not temporary."""
    return TransportError(request.method, redact_url(request.url), reason)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits in seconds: to connect, for response headers (None: no limit), for a body without progress.

    A wait that has lasted `quiet` seconds is announced.
    """

    connect: float
    headers: float | None
    idle: float
    quiet: float


@dataclass(frozen=True, slots=True)
class Route:
    """The origin of a request and the proxy before it; requests with equal routes share connections."""

    origin: Origin
    proxy: Proxy | None = None

    @property
    def peer(self) -> Peer:
        """The host to dial."""
        end = self.proxy or self.origin
        return Peer(end.host, end.port, is_proxy=self.proxy is not None)

    @property
    def is_forwarded(self) -> bool:
        """True when the proxy forwards requests, instead of the bytes of a tunnel."""
        return self.proxy is not None and self.origin.scheme == "http"


@dataclass(frozen=True, slots=True)
class Peer:
    """The host that is dialled: the registry, or the proxy before it."""

    host: str
    port: int
    is_proxy: bool = False


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `authorization` is the value of Proxy-Authorization, empty for none."""

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str) -> Proxy:
        """Parse the URL of a proxy; raise InvalidSettings, whose text has only the scheme of the URL."""
        try:
            origin, parts = Origin.of(url), urlsplit(url)
        except ValueError:
            # The URL may hold a password anywhere, and so may the text of the cause.
            raise InvalidSettings("Reading the proxy's URL: invalid proxy address") from None
        if origin.scheme not in _VARIABLES:
            raise InvalidSettings(f"Reading the proxy's URL: unsupported scheme '{origin.scheme}'")
        login = ""
        if parts.username is not None:
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        return cls(origin.scheme, origin.host, origin.port, _basic(login) if login else "")


def proxy_for(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the URL of the proxy for the absolute `url`, None for a direct connection.

    The rules are those of Go's httpproxy: the upper-case variable is preferred to the lower-case one, an
    empty one counts as absent, and a proxy without a scheme is an http one. In a CGI program (REQUEST_METHOD
    is set) HTTP_PROXY may come from a client's `Proxy` header and is ignored. Raises ValueError when `url`
    has no host.
    """
    origin = Origin.of(url)
    # CVE-2016-5385 ("httpoxy").
    if origin.scheme == "http" and environ.get("REQUEST_METHOD"):
        return None
    proxy = _first(environ, *_VARIABLES.get(origin.scheme, ()))
    if not proxy or is_bypassed(origin.host, origin.port, _first(environ, "NO_PROXY", "no_proxy")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_bypassed(host: str, port: int, no_proxy: str) -> bool:
    """Return True for a host that is reached without a proxy: loopback, and what NO_PROXY lists.

    Entries are separated by commas: `*`, an IP address, a CIDR range, or a domain. A domain matches its
    subdomains too, with a leading dot (or `*.`) only these. All but ranges may end in `:port`.
    """
    name, address = host.lower(), _address(host)
    # A proxy could not reach the loopback address of this machine.
    if name == "localhost" or name.endswith(".localhost") or (address is not None and address.is_loopback):
        return True
    entries = (entry.strip().lower() for entry in no_proxy.split(","))
    return any(_matches(entry, name, address, port) for entry in entries if entry)


def _matches(entry: str, name: str, address: Address | None, port: int) -> bool:
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _in_range(entry, address)
    wanted, wanted_port = _split_port(entry)
    if not wanted or (wanted_port and wanted_port != str(port)):
        return False
    # Two spellings of one IPv6 address are equal.
    wanted_address = _address(wanted)
    if wanted_address is not None:
        return wanted_address == address
    return _in_domain(name, wanted)


def _in_domain(name: str, wanted: str) -> bool:
    wanted = _ascii(wanted.removeprefix("*"))
    name = _ascii(name)
    if wanted.startswith("."):
        return name.endswith(wanted)
    return name == wanted or name.endswith(f".{wanted}")


def _in_range(entry: str, address: Address) -> bool:
    try:
        network = ip_network(entry, strict=False)
    except ValueError:
        return False
    return address in network


def _split_port(entry: str) -> tuple[str, str]:
    match = _HOST_AND_PORT.fullmatch(entry)
    if match is None:
        return entry, ""
    return match[1] or match[2] or "", match[3]


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def _ascii(name: str) -> str:
    try:
        return name if name.isascii() else name.encode("idna").decode("ascii")
    except UnicodeError:
        return name


def _first(environ: Mapping[str, str], *names: str) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")


def _basic(login: str) -> str:
    return "Basic " + b64encode(login.encode()).decode("ascii")
