"""One TCP or TLS connection: every wait for the peer is limited, announced when long, can be cancelled."""

from __future__ import annotations

import errno
import io
import os
import select
import socket
import time
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext

    from typing_extensions import Buffer

    from imgpkg.cancellation import Wait

R = TypeVar("R")
# What `getaddrinfo` returns: family, type, protocol, canonical name, socket address.
Address: TypeAlias = "tuple[Any, ...]"

_CONNECT_SLICE = 0.05
# What one of several addresses gets at least, however many there are.
_SHORTEST_ATTEMPT = 2.0
_IN_PROGRESS = (errno.EINPROGRESS, errno.EINTR)


class Channel(Protocol):
    """What bytes are written to and read from: a socket, or TLS that has no socket of its own."""

    def send(self, data: Buffer, /) -> int:
        """Write some of `data` and return how much."""
        ...

    def recv_into(self, buffer: Buffer, /) -> int:
        """Read at least one byte; 0 at the end."""
        ...


class Connection:
    """A connected socket; each call gets the `Wait` that limits it.

    Failures are raised as the socket raises them, TimeoutError at the limit. A connection belongs to the
    process that opened it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._channel: Channel = sock
        self._timeout = -1.0
        self._process = os.getpid()

    @property
    def is_usable(self) -> bool:
        """False when the peer has closed it or sent something unasked, and in a forked process."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return self._process == os.getpid() and not poll.poll(0)

    def start_tls(self, context: SSLContext, host: str, wait: Wait) -> None:
        """Go on with TLS, inside TLS when it is spoken already; raise ssl.SSLError without agreement."""
        # Certificates name neither the zone of an address nor the dot of the root.
        name = host.partition("%")[0].rstrip(".")
        if self._channel is self._sock and not hasattr(self._sock, "context"):
            self._sock = context.wrap_socket(self._sock, server_hostname=name, do_handshake_on_connect=False)
            self._channel = self._sock
            self._timeout = -1.0
            self._within(wait, self._sock.do_handshake)
            return
        from imgpkg.transport.tls import InnerTLS  # noqa: PLC0415 - only behind a proxy that speaks TLS

        self._channel = inner = InnerTLS(context, self._sock, name)
        self._within(wait, inner.do_handshake)

    def send(self, data: Buffer, wait: Callable[[], Wait]) -> None:
        """Write all of `data`; `wait` makes the limit for each piece that the peer takes."""
        view = memoryview(data).cast("B")
        while view:
            count = self._within(wait(), lambda rest=view: self._channel.send(rest))  # type: ignore[misc]
            view = view[count:]

    def receive_into(self, buffer: Buffer, wait: Wait) -> int:
        """Read at least one byte into `buffer` and return the count; 0 at the end."""
        return self._within(wait, lambda: self._channel.recv_into(buffer))

    def abort(self) -> None:
        """End what another thread waits for on this connection; it takes no lock."""
        with suppress(OSError):
            # The method of a TLS socket also drops its encryption, which the other thread still uses.
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
            # A call that timed out has moved nothing and may be repeated, also under TLS.
            with suppress(TimeoutError):
                return act()


class Inbound(io.RawIOBase):
    """What a connection receives, as a raw stream; `wait` makes the limit of each receive."""

    def __init__(self, connection: Connection, wait: Callable[[], Wait]) -> None:
        self._connection = connection
        self.wait = wait

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        """Receive at least one byte; 0 at the end."""
        return self._connection.receive_into(buffer, self.wait())


def dial(host: str, port: int, wait: Wait) -> Connection:
    """Connect to the first address of `host` that answers.

    Raises socket.gaierror or UnicodeError for the name, the OSError of the last address, and TimeoutError.
    """
    failure: OSError = OSError("the name has no address")
    addresses = _look_up(host, port, wait)
    for position, address in enumerate(addresses):
        try:
            return Connection(_connect(address, wait, len(addresses) - position))
        except OSError as error:  # noqa: PERF203 - the next address may answer
            failure = error
    raise failure


def _look_up(host: str, port: int, wait: Wait) -> list[Address]:
    """Resolve a name in another thread: the call of the system can be neither limited nor interrupted."""
    answers: list[list[Address] | BaseException] = []

    def ask() -> None:
        try:
            answers.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.append(error)

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


def _connect(address: Address, wait: Wait, share: int) -> socket.socket:
    """Connect to one address within its share of what is left: it is the first of `share` addresses."""
    sock = socket.socket(*address[:3])
    try:
        # A message is written in few large pieces: waiting for more to send only costs time.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
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
