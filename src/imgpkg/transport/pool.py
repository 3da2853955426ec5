"""The connection pool: which connection carries a request."""

from __future__ import annotations

import os
import time
from collections import deque
from functools import partial
from threading import Lock, Thread
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit
from weakref import finalize

from imgpkg.cancellation import QUIET_SECONDS, Cancellation, Permit, Permits, current, ignore
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import CertificateRejected, ImgpkgError, TransportError
from imgpkg.expression import expression
from imgpkg.transport.message import Origin, Request, redact_url
from imgpkg.transport.pem import read_authorities
from imgpkg.transport.proxy import Proxy, chosen_proxy, has_proxy
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from typing_extensions import Self

    from imgpkg.transport.authorities import ClientContext
    from imgpkg.transport.certificate import ServerTLS
    from imgpkg.transport.failure import AlertReceived
    from imgpkg.transport.hosts import HostContexts, NamedFiles
    from imgpkg.transport.http11 import Link
    from imgpkg.transport.message import Response
    from imgpkg.transport.trace import Tracer

# Returns the context for TLS with the server or the proxy.
ContextOf: TypeAlias = "Callable[[Origin | Proxy], ClientContext]"
Idle: TypeAlias = "dict[Route, deque[tuple[Link, float]]]"

# As in Go. Many servers close idle connections after one to two minutes.
IDLE_SECONDS = 90.0

_EMPTY: Mapping[str, str] = MappingProxyType({})
# RFC 9110 section 9.2.2.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
# Without a body these need `Content-Length: 0`: some servers answer 411 otherwise.
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
_HEADER_NAME = expression(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = expression(r"[\t\x20-\x7e\x80-\xff]*")
_METHOD = expression(r"[A-Z]+")


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

    There are at most `max_connections` to one host at once; a request waits for one of them, unless its
    thread needs it to go on with another response. A forked process opens its own. `environ` is read for
    proxies, SSL_CERT_FILE and SSL_CERT_DIR. Raises InvalidSettings for a CA file without a certificate.

    `named_files` returns the TLS files of a host; those in the folders `certs_dirs/HOST` are added. They are
    looked up at each handshake, and a bad file is an InvalidSettings of the request.
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
        certs_dirs: tuple[str, ...] = (),
        named_files: NamedFiles | None = None,
    ) -> None:
        self._authorities = read_authorities(ca_cert_paths)
        self._verify_certs = verify_certs
        headers = header_timeout if header_timeout > 0 else None
        self._limits = Limits(connect_timeout, headers, idle_timeout, quiet_time)
        self._environ = environ
        self._may_use_proxies = has_proxy(environ)
        self._max_connections = max_connections
        self._permits = Permits(max_connections)
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
        self._context: ClientContext | None = None
        self._certs_dirs = certs_dirs
        self._named_files = named_files
        self._hosts: HostContexts | None = None
        self._registries: set[str] = set()
        self._expected: dict[str, int] = {}
        self._is_closed = False

    def send(self, request: Request) -> Response:
        """Send and return the response as soon as its headers are there.

        Raises a TransportError, LocalIOError when the body cannot be read, InvalidSettings for a bad proxy.
        """
        request = self._completed(request)
        route = self._route(request)
        if self._tracer is None:
            return self._exchange(request, route)
        return self._tracer.carry(request, lambda request: self._exchange(request, route))

    def inspect(self, url: str) -> ServerTLS:
        """Return what the registry at an https URL shows in a handshake; raise a TransportError."""
        from imgpkg.transport.certificate import Handshakes

        request = self._completed(Request("HEAD", url, to_registry=True))
        route, scope = self._route(request), current(self._cancellation)
        files = self._host_contexts().find(route.origin, is_registry=True)
        shown = Handshakes(request, route, self._limits, self._on_wait, scope, self._environ, files)
        return shown.inspect(self._authorities, verify=self._verify_certs)

    def expect(self, registry: str, requests: int) -> None:
        """Prepare for this many requests to `registry`, `host[:port]`, soon after its first one.

        Its first connection is followed by others at once, at most one for each request: over a long link
        their handshakes then take no time of their own.
        """
        self._expected[registry] = requests

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
            origin = Origin.of(request.url)
        except ValueError as error:
            raise _refusal(request, "http: no Host in request URL") from error
        # The URL may come from a server.
        if origin.scheme not in ("http", "https"):
            raise _refusal(request, f'unsupported protocol scheme "{origin.scheme}"')
        proxy = chosen_proxy(request.url, self._environ) if self._may_use_proxies else None
        if request.to_registry:
            self._registries.add(origin.host)
        return Route(origin, proxy, origin.host in self._registries)

    def _exchange(self, request: Request, route: Route) -> Response:
        from imgpkg.transport.failure import AlertReceived, HungUp
        from imgpkg.transport.http11 import Link

        scope = current(self._cancellation)
        permit = self._permit(route, scope)
        kept = self._take(route)
        if kept is not None:
            try:
                return self._carried(kept, permit, request, scope)
            except HungUp:
                # The server may have processed the request before it closed the connection.
                if request.appends or request.method not in _IDEMPOTENT:
                    raise
            permit = self._permit(route, scope)
        link = Link(route, self._limits, self._on_wait)
        try:
            link.connect(request, partial(self._context_of, route), scope)
            # Not before: this handshake has shown that the server may be spoken to.
            self._open_more(request, route, scope)
            return self._carried(link, permit, request, scope)
        except BaseException as error:
            permit.leave()
            if isinstance(error, AlertReceived):
                raise self._explained(error, route) from error.__cause__
            if isinstance(error, CertificateRejected):
                error.explain_later(partial(self._look_at_certificate, error, request, route))
            raise

    def _open_more(self, request: Request, route: Route, scope: Cancellation) -> None:
        count = self._expected.pop(urlsplit(request.url).netloc, 0) if route.is_registry else 0
        for _ in range(min(count, self._max_connections) - 1):
            permit = self._permits.try_enter((route.origin.host, route.origin.port))
            if permit is not None:
                Thread(target=self._open_one, args=(request, route, scope, permit), daemon=True).start()

    def _open_one(self, request: Request, route: Route, scope: Cancellation, permit: Permit) -> None:
        from imgpkg.transport.http11 import Link

        link = Link(route, self._limits, ignore)
        try:
            link.connect(request, partial(self._context_of, route), scope)
        # Whoever needs the connection will try again, and report it.
        except ImgpkgError:
            permit.leave()
        else:
            link.permit = permit
            self._keep(link)

    def _carried(self, link: Link, permit: Permit, request: Request, scope: Cancellation) -> Response:
        link.permit = permit
        return link.exchange(request, self._keep, scope)

    def _permit(self, route: Route, scope: Cancellation) -> Permit:
        self._own()
        host, port = route.origin.host, route.origin.port
        return self._permits.enter((host, port), scope, lambda: f"a connection to {host}, all are in use")

    def _take(self, route: Route) -> Link | None:
        """Return the connection that was used last and is still usable; close the others."""
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
            self._permits = Permits(self._max_connections)
            _close_all(self._idle)

    def _keep(self, link: Link) -> None:
        # Read first: another thread may use the link as soon as it is kept.
        permit = link.permit
        with self._lock:
            kept = self._idle.setdefault(link.route, deque())
            is_kept = not self._is_closed and len(kept) < self._max_connections
            if is_kept:
                kept.append((link, self._clock()))
        if not is_kept:
            link.close()
        # Last: a thread that waits for it then finds the connection.
        permit.leave()

    def _context_of(self, route: Route, end: Origin | Proxy) -> ClientContext:
        """Return the context for one end of `route`; only the server may have files of its own."""
        # Most machines have none of the folders: they pay for three looks.
        has_files = self._named_files is not None or any(map(os.path.isdir, self._certs_dirs))
        if isinstance(end, Proxy) or not has_files:
            return self._tls_context()
        return self._host_contexts().context(route.origin, is_registry=route.is_registry)

    def _host_contexts(self) -> HostContexts:
        from imgpkg.transport.hosts import HostContexts

        with self._lock:
            if self._hosts is None:
                self._hosts = HostContexts(
                    certs_dirs=self._certs_dirs,
                    named=self._named_files,
                    authorities=self._authorities,
                    verify=self._verify_certs,
                    environ=self._environ,
                    warn=self._on_wait,
                )
            return self._hosts

    def _explained(self, error: AlertReceived, route: Route) -> CertificateRejected:
        from imgpkg.transport.hosts import explained

        files = self._host_contexts().find(route.origin, is_registry=route.is_registry)
        return explained(error, files, route.origin, is_registry=route.is_registry)

    def _look_at_certificate(self, error: CertificateRejected, request: Request, route: Route) -> None:
        from imgpkg.transport.certificate import Handshakes

        scope = current(self._cancellation)
        look = Handshakes(request, route, self._limits, ignore, scope, self._environ).meaning
        error.hints = look(error, self._authorities, self._certs_dirs)

    def _tls_context(self) -> ClientContext:
        from imgpkg.transport.authorities import client_context

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
    """The origin of a request and the proxy before it; requests with equal routes share connections.

    `is_registry` is True when the host is one of a registry that the user named.
    """

    origin: Origin
    proxy: Proxy | None = None
    is_registry: bool = False

    @property
    def peer(self) -> Peer:
        """The host to dial."""
        end = self.proxy or self.origin
        named = self.proxy is not None and self.proxy.variable
        return Peer(end.host, end.port, is_proxy=self.proxy is not None, variable=named or "")

    @property
    def is_forwarded(self) -> bool:
        """True when the proxy forwards requests, instead of the bytes of a tunnel."""
        return self.proxy is not None and self.origin.scheme == "http"


@dataclass(frozen=True, slots=True)
class Peer:
    """The host that is dialled: the registry, or the proxy before it, which an environment variable names."""

    host: str
    port: int
    is_proxy: bool = False
    variable: str = ""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
