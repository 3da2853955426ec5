"""The running registry: a listening socket, a thread for each connection, and an end in bounded time."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import signal
import socket
import socketserver
import ssl
import threading
from collections import deque
from typing import TYPE_CHECKING, TypeAlias, cast

from imgpkg.embedded.access import AccessController, Account, LoginAccess, OpenAccess
from imgpkg.embedded.handler import RegistryHandler
from imgpkg.embedded.message import (
    NO_FAULT,
    Disconnected,
    OnRequest,
    RequestRecord,
    RequestRefused,
    ignore_request,
    no_faults,
    redirect,
)
from imgpkg.embedded.routes import ALL_FEATURES, Features, Routes
from imgpkg.embedded.storage import Storage
from imgpkg.embedded.tokens import TokenAccess
from imgpkg.errors import InvalidSettings, UsageError, local_io

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from typing_extensions import Self

    from imgpkg.embedded.handler import RequestBody
    from imgpkg.embedded.message import Fault, Faults, ServerRequest, ServerResponse
    from imgpkg.embedded.storage import Contents

# Seconds for a TLS handshake, and for responses that are being sent when the server stops.
_GRACE = 5.0
_PAUSE = 0.05
# How often to look whether a signal has come.
_LOOK = 0.1
_KEPT_REQUESTS = 100_000
# Clients connect many times at once: with socketserver's default of 5 some would wait for a second SYN.
_BACKLOG = 256
_BUFFER = 2 << 20
# What socketserver accepts: a socket with TCP, a datagram with UDP.
_Accepted: TypeAlias = "socket.socket | tuple[bytes, socket.socket]"


class Server:
    """A registry that listens; a context manager that stops it.

    `address` is `host:port`, `url` the same with its scheme. Without `storage` all content is temporary.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        storage: Contents | None,
        access: AccessController,
        features: Features,
        tls: ssl.SSLContext | None,
        on_request: OnRequest,
        faults: Faults,
        keep_requests: int,
    ) -> None:
        self._on_request = on_request
        self._faults = faults
        self._records: deque[RequestRecord] = deque(maxlen=keep_requests)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._is_stopped = False
        self._stop_lock = threading.Lock()
        scheme = "http" if tls is None else "https"
        handler = functools.partial(RegistryHandler, respond=self._respond, scheme=scheme)
        with contextlib.ExitStack() as stack:
            kept: Contents = stack.enter_context(Storage.temporary()) if storage is None else storage
            self._routes = Routes(kept, access, features)
            self._listener = _Listener(host, port, handler, tls, self._stopping)
            self._resources = stack.pop_all()
        self.port = self._listener.port
        self.address = self._listener.address
        self.url = f"{scheme}://{self.address}"
        name = f"registry {self.address}"
        self._acceptor = threading.Thread(target=self._listener.serve_forever, name=name, daemon=True)
        # The port is open before this returns: a client may connect at once.
        self._acceptor.start()

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The latest requests, oldest first; each is recorded before its response is sent."""
        with self._lock:
            return tuple(self._records)

    def forget_requests(self) -> None:
        """Empty the list of the latest requests."""
        with self._lock:
            self._records.clear()

    def wait(self) -> None:
        """Serve until SIGINT or SIGTERM (when called in the main thread) or stop(), then stop."""
        with _received_signals() as received:
            try:
                # With a limit: a signal ends no wait.
                while not (self._stopping.wait(_LOOK) or received):
                    pass
            finally:
                # A second signal must not break this off, which ends by itself.
                self.stop()

    def stop(self) -> None:
        """Accept no more requests, give responses that are being sent some seconds, and close everything."""
        self._stopping.set()
        with self._stop_lock:
            if self._is_stopped:
                return
            self._listener.stop()
            self._acceptor.join()
            # The temporary folder is removed when no request uses it any more.
            self._resources.close()
            self._is_stopped = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _respond(self, request: ServerRequest, body: RequestBody) -> ServerResponse:
        fault = self._faults(request) or NO_FAULT
        if fault.delay and fault.delay_after is None:
            # Not a sleep: a stop must not wait for it.
            self._stopping.wait(fault.delay)
        if fault.cut_request_after is not None:
            body.cut_after(fault.cut_request_after)
        try:
            response, error = self._faulty(request, fault)
        except Disconnected:
            self._record(request, 0)
            raise
        self._record(request, response.status, error)
        return _spoilt(response, fault)

    def _faulty(self, request: ServerRequest, fault: Fault) -> tuple[ServerResponse, str]:
        if fault.hang_up:
            raise Disconnected("hung up by the test")
        if fault.answer is not None:
            return fault.answer, ""
        if fault.redirect_to:
            return redirect(request, fault.redirect_to), ""
        return self._routed(_anonymous(request) if fault.ignore_login else request)

    def _routed(self, request: ServerRequest) -> tuple[ServerResponse, str]:
        try:
            return self._routes.respond(request), ""
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 - one request must not end the others'
            # The reason is in the record only: it may name files of the machine.
            refused = RequestRefused(500, "UNKNOWN", "the registry failed")
            return refused.response(), f"{type(error).__name__}: {error}"

    def _record(self, request: ServerRequest, status: int, error: str = "") -> None:
        record = RequestRecord(request.method, request.path, request.query, status, error, request.headers)
        with self._lock:
            self._records.append(record)
        self._on_request(record)


class _Listener(socketserver.ThreadingTCPServer):
    """The listening socket, and a thread for each connection that it accepted."""

    allow_reuse_address = True
    request_queue_size = _BACKLOG

    def __init__(
        self,
        host: str,
        port: int,
        handler: Callable[..., RegistryHandler],
        tls: ssl.SSLContext | None,
        stopping: threading.Event,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._tls = tls
        self._stopping = stopping
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        address = _resolve(host, port, self.address_family)
        with local_io("listen", f"{host}:{port}"):
            super().__init__(address, handler)
        host, self.port = self.socket.getsockname()[:2]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def server_bind(self) -> None:
        """Bind with large buffers, which accepted connections inherit; to one address family only."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            # Systems with a lower limit may refuse.
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
        super().server_bind()
        # A client may be gone before accept(), which must not wait for the next one.
        self.socket.setblocking(False)

    def get_request(self) -> tuple[socket.socket, object]:
        """Accept one connection; its TLS handshake follows in its own thread."""
        try:
            sock, address = super().get_request()
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            # With too many open files each attempt fails at once: without a pause the loop would use a CPU.
            self._stopping.wait(_PAUSE)
            raise
        return sock, address

    def process_request(self, request: _Accepted, client_address: object) -> None:
        """Start the thread of a connection, which `stop` knows before it runs."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"connection to {self.address}",
            daemon=True,
        )
        with self._lock:
            self._open[thread] = cast("socket.socket", request)
        try:
            thread.start()
        except RuntimeError:
            # There are too many threads: only this connection ends.
            with self._lock:
                del self._open[thread]
            self.shutdown_request(request)

    def process_request_thread(self, request: _Accepted, client_address: object) -> None:
        """Serve one connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._open[threading.current_thread()]

    def finish_request(self, request: _Accepted, client_address: object) -> None:
        """Serve one connection; a failed handshake or a client that left ends it without an error."""
        with contextlib.suppress(OSError, Disconnected):
            if isinstance(request, ssl.SSLSocket):
                # A client that never finishes its handshake would keep a thread.
                request.settimeout(_GRACE)
                request.do_handshake()
            super().finish_request(request, client_address)

    def stop(self) -> None:
        """Accept no more connections, and close the open ones."""
        # This wakes the accept loop, which otherwise checks only twice a second whether it should end.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.shutdown()
        self.server_close()
        # A thread that reads finds the end of its connection; one that writes may finish.
        self._shut(socket.SHUT_RD)
        self._shut(socket.SHUT_RDWR)

    def _shut(self, how: int) -> None:
        with self._lock:
            connections = tuple(self._open.items())
        for _, sock in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, how)
        for thread, _ in connections:
            thread.join(_GRACE)


def _resolve(host: str, port: int, family: int) -> tuple[str, int]:
    try:
        ((*_, address), *_) = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except (socket.gaierror, OverflowError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    # Some systems use the number modulo 65536.
    if port != address[1]:
        raise UsageError(f"cannot listen on {host}:{port}: no such port")
    # An address of IPv6 has two more fields, which the types of socketserver leave out.
    return cast("tuple[str, int]", address)


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    storage: Contents | None = None,
    login: tuple[str, str] | None = None,
    token_service: bool = False,
    tls: tuple[str, str] | None = None,
    access: AccessController | None = None,
    features: Features = ALL_FEATURES,
    on_request: OnRequest = ignore_request,
    faults: Faults = no_faults,
    keep_requests: int = _KEPT_REQUESTS,
) -> Server:
    """Start a registry and return at once. Port 0 is any free port; without `storage` content is temporary.

    `login` is one user name and password for everything: sent with each request or, with `token_service`,
    exchanged for tokens. `access` replaces both. `tls` are the files of the certificate chain and its key.
    `on_request` is called with each request before its response is sent, in the thread of its connection. The
    last `keep_requests` requests stay in memory, with their headers.

    Raise UsageError for options that exclude each other, LocalIOError for an address that cannot be used or a
    file that cannot be read, InvalidSettings for files without a certificate and its key.
    """
    if access is None:
        access = _access(login, token_service=token_service)
    elif login is not None or token_service:
        raise UsageError("access replaces login and token_service")
    return Server(
        host,
        port,
        storage=storage,
        access=access,
        features=features,
        tls=None if tls is None else _tls_context(*tls),
        on_request=on_request,
        faults=faults,
        keep_requests=keep_requests,
    )


def _anonymous(request: ServerRequest) -> ServerRequest:
    headers = {name: value for name, value in request.headers.items() if name != "authorization"}
    return dataclasses.replace(request, headers=headers)


def _spoilt(response: ServerResponse, fault: Fault) -> ServerResponse:
    """Return a response with all that is to go wrong with it."""
    if fault.corrupt_response:
        response = response.corrupted()
    return dataclasses.replace(
        response.with_headers(fault.headers),
        cut_after=fault.cut_response_after,
        pause_after=fault.delay_after,
        pause=fault.delay,
    )


def _access(login: tuple[str, str] | None, *, token_service: bool) -> AccessController:
    accounts = () if login is None else (Account(*login),)
    if token_service:
        # A service without accounts could not issue any token otherwise.
        return TokenAccess(accounts, anonymous_pull=login is None)
    return OpenAccess() if login is None else LoginAccess(accounts)


@contextlib.contextmanager
def _received_signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM in a list; a handler that took a lock could interrupt who holds it."""
    received: list[int] = []
    # Python allows signal handlers in the main thread only.
    if threading.current_thread() is not threading.main_thread():
        yield received
        return

    def receive(number: int, _frame: object) -> None:
        received.append(number)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Return a context with this certificate chain and key; raise LocalIOError or InvalidSettings."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # RFC 8996 deprecates TLS 1.0 and 1.1.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with local_io("read", certificate):
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            message = f"no certificate and its key in {certificate} and {key}: {error.reason}"
            raise InvalidSettings(message) from error
    return context
