"""The registry as a running server: one thread per connection, and an end that lets nobody hang."""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING

from imgpkg.embedded.access import AccessController, Account, LoginAccess, OpenAccess
from imgpkg.embedded.handler import Answer, Connection
from imgpkg.embedded.message import (
    NO_FAULT,
    Disconnected,
    OnRequest,
    RequestRecord,
    RequestRefused,
    ignore_request,
    no_faults,
)
from imgpkg.embedded.routes import ALL_FEATURES, Features, Routes
from imgpkg.embedded.storage import Storage
from imgpkg.embedded.tokens import TokenAccess
from imgpkg.errors import InvalidSettings, UsageError, local_io

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from typing_extensions import Self

    from imgpkg.embedded.handler import RequestBody
    from imgpkg.embedded.message import Fault, Faults, ServerRequest, ServerResponse

_GRACE = 5.0
_PAUSE = 0.05
_KEPT_REQUESTS = 100_000
_BACKLOG = 256
_BUFFER = 2 << 20


class Server:
    """A registry that listens; a context manager that stops it.

    `address` is `host:port`, `url` the same with its scheme.
    """

    def __init__(
        self,
        listener: socket.socket,
        routes: Routes,
        *,
        tls: ssl.SSLContext | None,
        on_request: OnRequest,
        faults: Faults,
        keep_requests: int,
        resources: contextlib.ExitStack,
    ) -> None:
        self._listener = listener
        self._routes = routes
        self._tls = tls
        self._on_request = on_request
        self._faults = faults
        self._records: deque[RequestRecord] = deque(maxlen=keep_requests)
        self._resources = resources
        self._stopping = threading.Event()
        self._stopped = threading.Lock()
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._wake, self._waker = socket.socketpair()
        host, port = listener.getsockname()[:2]
        self.port: int = port
        self.address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self.url = f"{'http' if tls is None else 'https'}://{self.address}"
        self._acceptor = threading.Thread(target=self._accept, name=f"registry {self.address}", daemon=True)
        self._acceptor.start()

    @property
    def requests(self) -> tuple[RequestRecord, ...]:
        """The latest requests, oldest first; each is here before its answer is sent."""
        with self._lock:
            return tuple(self._records)

    def wait(self) -> None:
        """Serve until SIGINT or SIGTERM (when called in the main thread) or stop(), then stop."""
        try:
            with _ending_on_signals(self._stopping):
                self._stopping.wait()
        finally:
            self.stop()

    def stop(self) -> None:
        """Take no more requests, give the answers on their way some seconds to arrive, close everything."""
        self._stopping.set()
        with self._stopped:
            if self._listener.fileno() < 0:
                return
            self._waker.send(b"x")
            self._acceptor.join()
            self._listener.close()
            # Whoever reads sees the end; whoever writes may finish.
            self._shut(socket.SHUT_RD, _GRACE)
            self._shut(socket.SHUT_RDWR, _GRACE)
            self._wake.close()
            self._waker.close()
            self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while not self._stopping.is_set():
                selector.select()
                try:
                    self._begin(self._listener.accept()[0])
                except OSError:
                    # Nobody came after all, or there are too many open files: not a reason to spin.
                    self._stopping.wait(_PAUSE)

    def _begin(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        name = f"connection to {self.address}"
        thread = threading.Thread(target=self._serve, args=(sock,), name=name, daemon=True)
        with self._lock:
            self._open[thread] = sock
        try:
            thread.start()
        except RuntimeError:
            sock.close()
            with self._lock:
                del self._open[thread]

    def _serve(self, sock: socket.socket) -> None:
        try:
            Connection(self._secured(sock), self._respond, scheme=self.url.partition(":")[0]).run()
        except OSError:
            sock.close()
        finally:
            with self._lock:
                del self._open[threading.current_thread()]

    def _secured(self, sock: socket.socket) -> socket.socket:
        if self._tls is None:
            return sock
        sock.settimeout(_GRACE)
        secured = self._tls.wrap_socket(sock, server_side=True)
        with self._lock:
            self._open[threading.current_thread()] = secured
        return secured

    def _respond(self, request: ServerRequest, body: RequestBody) -> Answer:
        fault = self._faults(request) or NO_FAULT
        if fault.delay:
            self._stopping.wait(fault.delay)
        if fault.cut_request_after is not None:
            body.cut_after(fault.cut_request_after)
        try:
            response, error = self._faulty(request, fault)
        except Disconnected:
            self._record(request, 0)
            raise
        self._record(request, response.status, error)
        return Answer(response, fault.cut_response_after)

    def _faulty(self, request: ServerRequest, fault: Fault) -> tuple[ServerResponse, str]:
        if fault.hang_up:
            raise Disconnected("hung up by the test")
        return self._routed(request) if fault.answer is None else (fault.answer, "")

    def _routed(self, request: ServerRequest) -> tuple[ServerResponse, str]:
        try:
            return self._routes.respond(request), ""
        except Disconnected:
            raise
        except Exception as error:  # noqa: BLE001 - one request must not end the others'
            refused = RequestRefused(500, "UNKNOWN", "the registry failed")
            return refused.response(), f"{type(error).__name__}: {error}"

    def _record(self, request: ServerRequest, status: int, error: str = "") -> None:
        record = RequestRecord(request.method, request.path, request.query, status, error, request.headers)
        with self._lock:
            self._records.append(record)
        self._on_request(record)

    def _shut(self, how: int, patience: float) -> None:
        with self._lock:
            connections = tuple(self._open.items())
        for _, sock in connections:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, how)
        for thread, _ in connections:
            thread.join(patience)


def serve(
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    storage: Storage | None = None,
    login: tuple[str, str] | None = None,
    token_service: bool = False,
    tls: tuple[str, str] | None = None,
    access: AccessController | None = None,
    features: Features = ALL_FEATURES,
    on_request: OnRequest = ignore_request,
    faults: Faults = no_faults,
    keep_requests: int = _KEPT_REQUESTS,
) -> Server:
    """Start a registry and return at once; port 0 takes a free one, without `storage` all is temporary.

    `login` is one user name and password for everything, asked for by HTTP itself or, with `token_service`,
    in exchange for tokens. `access` replaces both. `tls` are the files of certificate chain and key.
    `on_request` sees each request before its answer is sent, in the thread of its connection. The last
    `keep_requests` stay in memory, with their headers.

    Raise UsageError for options that do not go together, LocalIOError for a port that cannot be had or files
    that cannot be read, InvalidSettings for files that hold no certificate.
    """
    if access is None:
        access = _access(login, token_service=token_service)
    elif login is not None or token_service:
        raise UsageError("access replaces login and token_service")
    context = None if tls is None else tls_context(*tls)
    listener = listen(host, port)
    with contextlib.ExitStack() as stack:
        stack.callback(listener.close)
        kept = stack.enter_context(Storage.temporary()) if storage is None else storage
        routes = Routes(kept, access, features)
        resources = stack.pop_all()
    return Server(
        listener,
        routes,
        tls=context,
        on_request=on_request,
        faults=faults,
        keep_requests=keep_requests,
        resources=resources,
    )


def _access(login: tuple[str, str] | None, *, token_service: bool) -> AccessController:
    accounts = () if login is None else (Account(*login),)
    if token_service:
        return TokenAccess(accounts, anonymous_pull=login is None)
    return OpenAccess() if login is None else LoginAccess(accounts)


@contextlib.contextmanager
def _ending_on_signals(event: threading.Event) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, _frame: object) -> None:
        event.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; raise LocalIOError when it is taken, UsageError when it is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        ((*_, address), *_) = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)
    except (socket.gaierror, OverflowError) as error:
        raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
    if port != address[1]:
        raise UsageError(f"cannot listen on {host}:{port}: no such port")
    with local_io("listen", f"{host}:{port}"):
        listener = socket.create_server(address, family=family, backlog=_BACKLOG)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        # Accepted connections inherit it; systems with a lower limit may refuse.
        with contextlib.suppress(OSError):
            listener.setsockopt(socket.SOL_SOCKET, option, _BUFFER)
    listener.setblocking(False)
    return listener


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """Show this chain, with this key; raise LocalIOError or InvalidSettings."""
    import ssl  # noqa: PLC0415 - slow to load, and rarely wanted

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with local_io("read", certificate):
        try:
            context.load_cert_chain(certificate, key)
        except ssl.SSLError as error:
            message = f"no certificate and its key in {certificate} and {key}: {error.reason}"
            raise InvalidSettings(message) from error
    return context
