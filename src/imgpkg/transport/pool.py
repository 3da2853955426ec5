"""Carries requests over kept connections; what speaks HTTP is loaded at the first request."""

from __future__ import annotations

import os
import re
import time
from collections import deque
from dataclasses import replace
from threading import Lock
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias
from weakref import finalize

from imgpkg.cancellation import QUIET_SECONDS, Cancellation, current, unheard
from imgpkg.errors import TransportError
from imgpkg.transport.message import Origin
from imgpkg.transport.proxy import Proxy, proxy_for
from imgpkg.transport.redact import redact_url
from imgpkg.transport.tls import client_context, read_authorities
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from ssl import SSLContext

    from typing_extensions import Self

    from imgpkg.transport.message import Request, Response
    from imgpkg.transport.trace import Tracer
    from imgpkg.transport.wire import Link, Route

IDLE_SECONDS = 90.0

_EMPTY: Mapping[str, str] = MappingProxyType({})
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_WITH_CONTENT = frozenset({"POST", "PUT", "PATCH"})
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_METHOD = re.compile(r"[A-Z]+")


Idle: TypeAlias = "dict[Route, deque[tuple[Link, float]]]"


def _close_all(idle: Idle) -> None:
    """Close what is kept; in a forked process its own ends only."""
    while idle:
        for link, _ in idle.popitem()[1]:
            link.close()


class Pool:
    """The `Transport` of real sockets: no redirect is followed and no failure repeated.

    One exception, as in Go: an idempotent request on a kept connection that turns out closed, before any byte
    of a response, is sent once more. Safe from many threads.

    Seconds: `connect_timeout` limits dialling, and then the handshakes; `header_timeout` the whole wait for
    response headers (0 and less: no limit); `idle_timeout` how long a body may stand still, which as a whole
    may take any time. `on_wait` gets a sentence when one of these waits has lasted `quiet_time`. Cancelling
    `cancellation`, or the scope that a thread works in, ends every wait at once with Cancelled.

    `max_connections` are kept per host, more are opened on demand; a forked process opens its own. `environ`
    gives proxies, SSL_CERT_FILE and SSL_CERT_DIR. Raises InvalidSettings for a useless CA file.
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
        on_wait: Callable[[str], None] = unheard,
        cancellation: Cancellation | None = None,
    ) -> None:
        self._authorities = read_authorities(ca_cert_paths)
        self._verify_certs = verify_certs
        headers = header_timeout if header_timeout > 0 else None
        self._timeouts = (connect_timeout, headers, idle_timeout, quiet_time)
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
        # Nobody is warned of open sockets whose pool was merely forgotten.
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
        """Close the kept connections; those in use are closed when their responses are."""
        with self._lock:
            self._is_closed = True
        _close_all(self._idle)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _completed(self, request: Request) -> Request:
        """Add what every message has; refuse what would change the meaning of the message on the wire."""
        if not _METHOD.fullmatch(request.method):
            raise _refusal(request, f"net/http: invalid method {request.method!r}")
        for name, value in request.headers.items():
            if not _HEADER_NAME.fullmatch(name):
                raise _refusal(request, f"net/http: invalid header field name {name!r}")
            if not _HEADER_VALUE.fullmatch(value):
                raise _refusal(request, f'net/http: invalid header field value for "{name}"')
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "identity", **request.headers}
        if request.body is not None:
            headers["Content-Length"] = str(request.body.length)
        elif request.method in _WITH_CONTENT:
            headers["Content-Length"] = "0"
        return replace(request, headers=headers)

    def _route(self, request: Request) -> Route:
        from imgpkg.transport.wire import Route  # noqa: PLC0415 - loads http.client

        try:
            origin, proxy = Origin.of(request.url), proxy_for(request.url, self._environ)
        except ValueError as error:
            raise _refusal(request, "http: no Host in request URL") from error
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
        from imgpkg.transport.failures import HungUp  # noqa: PLC0415 - loads ssl
        from imgpkg.transport.wire import Limits, Link  # noqa: PLC0415 - loads http.client

        scope = current(self._cancellation)
        kept = self._take(route)
        if kept is not None:
            try:
                return kept.exchange(request, self._keep, scope)
            except HungUp:
                if request.method not in _IDEMPOTENT:
                    raise
        link = Link(route, Limits(*self._timeouts), self._on_wait)
        link.connect(request, self._tls_context, scope)
        return link.exchange(request, self._keep, scope)

    def _take(self, route: Route) -> Link | None:
        """Return the connection used last that is still good; close those that are not."""
        self._own()
        while True:
            with self._lock:
                kept = self._idle.get(route)
                if not kept:
                    return None
                link, since = kept.pop()
            if link.is_alive and self._clock() - since < IDLE_SECONDS:
                return link
            link.close()

    def _own(self) -> None:
        """Start anew in a forked process: two that share a connection would get each other's answers."""
        if self._process != os.getpid():
            # A thread that does not exist here may have held the lock.
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
    """Return the error for a request that cannot be sent at all: repeating it is useless."""
    return TransportError(request.method, redact_url(request.url), reason)
