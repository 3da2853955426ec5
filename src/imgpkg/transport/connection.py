"""One TCP or TLS connection: every wait has a limit, is announced when it is long, and can be cancelled."""

from __future__ import annotations

import errno
import os
import select
import socket
import time
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from typing_extensions import Buffer

    from imgpkg.cancellation import Wait
    from imgpkg.transport.authorities import ClientContext

R = TypeVar("R")
# What `getaddrinfo` returns: family, type, protocol, canonical name, socket address.
Address: TypeAlias = "tuple[Any, ...]"

# Seconds between two looks at the time limit and at the cancellation.
_CONNECT_SLICE = 0.05
# Seconds for each of several addresses, at least, however many there are.
_SHORTEST_ATTEMPT = 2.0
_IN_PROGRESS = (errno.EINPROGRESS, errno.EINTR)
_RECORDS = 1 << 16
# RFC 1035 section 2.3.4.
_LONGEST_LABEL = 63
# Errors of sendfile(2) that are those of the file, or of a file system without such an operation.
_NO_SENDFILE = frozenset({errno.EINVAL, errno.EIO, errno.ENOSYS, errno.EOPNOTSUPP})
# The first byte of what a server answers (RFC 8446 section 5.1).
_HANDSHAKE = b"\x16"


class Channel(Protocol):
    """A socket, or TLS inside of TLS, which has no socket of its own."""

    def send(self, data: Buffer, /) -> int:
        """Write some of `data` and return how much."""
        ...

    def recv_into(self, buffer: Buffer, /) -> int:
        """Read at least one byte; 0 at the end."""
        ...


class Connection:
    """A connected socket; each call gets the `Wait` that limits it.

    Errors of the socket are raised as they are, and TimeoutError at the limit. A connection is used only in
    the process that opened it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._channel: Channel = sock
        self._timeout = -1.0
        self._process = os.getpid()

    @property
    def is_usable(self) -> bool:
        """False after the peer has closed it or sent something without a request, and in a forked process."""
        # Not select(): it fails for descriptors above 1023.
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return self._process == os.getpid() and (not poll.poll(0) or self._has_no_content())

    def _has_no_content(self) -> bool:
        """Read what came over TLS; return True where it has no content.

        That is how a server of TLS 1.3 ends a handshake (RFC 8446 section 4.6.1).
        """
        if self._channel is not self._sock or not hasattr(self._sock, "context"):
            return False
        import ssl

        self._timeout = 0.0
        self._sock.settimeout(0)
        try:
            self._sock.recv(1)
        except ssl.SSLWantReadError:
            return True
        except OSError:
            return False
        return False

    @property
    def security(self) -> tuple[str, bytes]:
        """The version of the innermost TLS, and the certificate of the peer in DER."""
        tls = cast("Any", self._channel)
        return tls.version() or "", tls.getpeercert(binary_form=True) or b""

    def start_tls(self, context: ClientContext, host: str, wait: Wait) -> None:
        """Start TLS, inside the present TLS if there is one; raise ssl.SSLError when the handshake fails."""
        # Certificates have neither the zone of an IPv6 address nor the final dot of a name.
        name = host.partition("%")[0].rstrip(".")
        if self._channel is self._sock and not hasattr(self._sock, "context"):
            self._sock = context.wrap_socket(
                self._sock, server_hostname=_encoded(name), do_handshake_on_connect=False
            )
            self._channel = self._sock
            self._timeout = -1.0
            if not context.is_loaded:
                self._greet(context, wait)
            self._within(wait, self._sock.do_handshake)
            return
        context.load_authorities()
        self._channel = inner = InnerTLS(context, self._sock, name)
        self._within(wait, inner.do_handshake)

    def _greet(self, context: ClientContext, wait: Wait) -> None:
        """Begin the first handshake of a context, and load the authorities when the answer is one of TLS.

        Where they are one file that takes 20 ms, a quarter of a short command. Each registry is tried with
        TLS first, and one without TLS needs no authorities; for others they are loaded while the answer is
        on its way. OpenSSL has no call for it: it sends the first message and verifies in one call.
        """
        if not self._say_hello(context):
            context.load_authorities()
            return
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while not poll.poll(1000 * wait.slice()):
            pass
        # Not the method of TLS sockets, which refuses to look without taking.
        if socket.socket.recv(self._sock, 1, socket.MSG_PEEK) == _HANDSHAKE:
            context.load_authorities()

    def _say_hello(self, context: ClientContext) -> bool:
        """Write the first message of a handshake and read nothing; return False where that cannot be."""
        import ssl

        # The message stays in the kernel until the call has returned: otherwise the answer might be there
        # within the same call, which would verify it.
        cork = getattr(socket, "TCP_CORK", None)
        if cork is None:
            return False
        self._sock.setsockopt(socket.IPPROTO_TCP, cork, 1)
        self._sock.settimeout(0)
        try:
            cast("Any", self._sock).do_handshake()
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLCertVerificationError as error:
            # The kernel holds data back for 200 ms, and this thread did not run for longer: try again.
            context.load_authorities()
            raise ConnectionAbortedError(errno.ECONNABORTED, os.strerror(errno.ECONNABORTED)) from error
        finally:
            self._sock.setsockopt(socket.IPPROTO_TCP, cork, 0)
        return False

    def send(self, data: Buffer, wait: Callable[[], Wait], position: tuple[int, int] | None = None) -> None:
        """Write all of `data`; `wait` makes the limit for each piece that the peer accepts.

        `position` is where a file has the same bytes: its descriptor and the offset. Without TLS the kernel
        takes them from there (sendfile(2)), and copies nothing.
        """
        view = memoryview(data).cast("B")
        if position is not None and self._is_plain:
            view = view[self._send_file(*position, len(view), wait) :]
        while view:
            count = self._within(wait(), lambda rest=view: self._channel.send(rest))  # type: ignore[misc]
            view = view[count:]

    @property
    def _is_plain(self) -> bool:
        return self._channel is self._sock and not hasattr(self._sock, "context") and hasattr(os, "sendfile")

    def _send_file(self, descriptor: int, offset: int, count: int, wait: Callable[[], Wait]) -> int:
        """Write `count` bytes of a file and return how many were written: fewer where it cannot be read."""
        sent = 0
        try:
            while sent < count:
                piece = self._send_some(descriptor, offset + sent, count - sent, wait())
                if not piece:
                    break
                sent += piece
        except OSError as error:
            # The caller writes the rest from memory.
            if error.errno not in _NO_SENDFILE:
                raise
        return sent

    def _send_some(self, descriptor: int, offset: int, count: int, wait: Wait) -> int:
        """Write at least one byte of a file and return how many; 0 at its end."""
        # The socket does not block, as `_within` has set it for the head of the request.
        poll = select.poll()
        poll.register(self._sock, select.POLLOUT)
        while True:
            with suppress(BlockingIOError):
                return os.sendfile(self._sock.fileno(), descriptor, offset, count)
            poll.poll(1000 * wait.slice())

    def receive_into(self, buffer: Buffer, wait: Wait) -> int:
        """Read at least one byte into `buffer` and return the count; 0 at the end."""
        return self._within(wait, lambda: self._channel.recv_into(buffer))

    def abort(self) -> None:
        """End the wait of another thread on this connection, without taking a lock."""
        with suppress(OSError):
            # Not the method of TLS sockets: it also drops the TLS state, which the other thread still uses.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._sock.close()

    def _within(self, wait: Wait, act: Callable[[], R]) -> R:
        while True:
            seconds = wait.slice()
            if seconds != self._timeout:
                self._sock.settimeout(seconds)
                self._timeout = seconds
            # A call that timed out has transferred nothing and may be repeated, also with TLS.
            with suppress(TimeoutError):
                return act()


def dial(host: str, port: int, wait: Wait) -> Connection:
    """Connect to the first address of `host` that answers.

    Raises socket.gaierror or UnicodeError for the name, the OSError of the last address, and TimeoutError.
    """
    failure: OSError = OSError("the name has no address")
    addresses = look_up(host, port, wait)
    for position, address in enumerate(addresses):
        try:
            return Connection(_connect(address, wait, len(addresses) - position))
        except OSError as error:  # noqa: PERF203 - the next address may answer
            failure = error
    raise failure


def look_up(host: str, port: int, wait: Wait) -> list[Address]:
    """Resolve a name in another thread, because getaddrinfo has no time limit and cannot be interrupted.

    The thread ends with the time limits of the system's resolver, and nothing waits for it.
    """
    answers: list[list[Address] | BaseException] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(_encoded(host), port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)

    # An address needs no look-up, and no thread.
    if ":" in host or host.replace(".", "").isdigit():
        ask()
    else:
        thread = Thread(target=ask, name="imgpkg-lookup", daemon=True)
        thread.start()
        while thread.is_alive():
            thread.join(wait.slice(_CONNECT_SLICE))
    answer = answers[0]
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _encoded(host: str) -> bytes | str:
    """Return a name as resolvers take it where Python's codec would change nothing: it takes long to load."""
    is_plain = host.isascii() and all(0 < len(label) <= _LONGEST_LABEL for label in host.split("."))
    return host.encode() if is_plain else host


def _connect(address: Address, wait: Wait, share: int) -> socket.socket:
    """Connect to one address, the first of `share`, within its share of the time that is left."""
    sock = socket.socket(*address[:3])
    try:
        # Messages are sent in few large pieces, which Nagle's algorithm would only delay.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # A blocking connect can neither be limited to less than the system's time nor be cancelled.
        sock.setblocking(False)
        _check(sock.connect_ex(address[4]), *_IN_PROGRESS)
        remaining = wait.remaining()
        limit = None if remaining is None else max(remaining / share, _SHORTEST_ATTEMPT)
        _await_connected(sock, wait, limit)
    except BaseException:
        sock.close()
        raise
    return sock


def _await_connected(sock: socket.socket, wait: Wait, limit: float | None) -> None:
    end = None if limit is None else time.monotonic() + limit
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    while not poll.poll(1000 * wait.slice(_CONNECT_SLICE)):
        if end is not None and time.monotonic() >= end:
            raise TimeoutError("timed out")
    _check(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _check(code: int, *accepted: int) -> None:
    if code and code not in accepted:
        raise OSError(code, os.strerror(code))


class InnerTLS:
    """TLS inside a TLS connection, for proxies that are reached over TLS; records pass through memory.

    A call that raises TimeoutError has lost nothing and may be repeated. What `send` accepts is written with
    the next call of any method at the latest.
    """

    def __init__(self, context: ClientContext, outer: socket.socket, host: str) -> None:
        import ssl

        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._wants_read, self._is_over = ssl.SSLWantReadError, ssl.SSLZeroReturnError
        self._unsent = b""

    def version(self) -> str | None:
        """Return the version of the inner TLS."""
        return self._tls.version()

    def getpeercert(self, *, binary_form: Literal[True]) -> bytes | None:
        """Return the certificate of the inner peer in DER."""
        return self._tls.getpeercert(binary_form=binary_form)

    def do_handshake(self) -> None:
        """Do the handshake; raise ssl.SSLError when it fails."""
        self._run(self._tls.do_handshake)
        self._flush()

    def send(self, data: Buffer, /) -> int:
        """Accept all of `data` and return its length."""
        self._flush()
        return self._tls.write(data)

    def recv_into(self, buffer: Buffer, /) -> int:
        """Read at least one byte; 0 at the end."""
        view = memoryview(buffer).cast("B")
        try:
            return cast("int", self._run(lambda: self._tls.read(len(view), view)))
        except self._is_over:
            return 0

    def _run(self, act: Callable[[], R]) -> R:
        while True:
            self._flush()
            try:
                return act()
            except self._wants_read:
                self._flush()
                data = self._outer.recv(_RECORDS)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            count = self._outer.send(self._unsent)
            self._unsent = self._unsent[count:]
