"""Small threaded servers that speak HTTP by hand, so that a test can break every rule of it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass, field

# The type of the first record of TLS (RFC 8446, section 5.1).
_TLS_RECORD = b"\x16"


@dataclass(frozen=True)
class Received:
    """A request as it came: `target` is the second word of its first line, header names as they were sent."""

    method: str
    target: str
    header_lines: tuple[tuple[str, str], ...]
    body: bytes = field(default=b"", repr=False)

    def header(self, name):
        """Return the value of the first header of that name, None without one."""
        return next((value for key, value in self.header_lines if key.lower() == name.lower()), None)


class Conversation:
    """One connection, seen by the server; `number` counts them from 1."""

    def __init__(self, server, sock, number):
        self.server = server
        self.sock = sock
        self.number = number
        self._file = sock.makefile("rb")

    def receive(self):
        """Read one request and record it; None when the client has closed the connection."""
        head = self.receive_head()
        if head is None:
            return None
        body = self._file.read(int(head.header("Content-Length") or 0))
        received = Received(head.method, head.target, head.header_lines, body)
        self.server.requests.append(received)
        return received

    def receive_head(self):
        """Read the head of a request, and leave its body where it is."""
        # A client that tries TLS first waits for an answer that a server of plain HTTP has not.
        if self._file.peek(1)[:1] == _TLS_RECORD:
            return None
        first = self._file.readline().decode("latin-1").split()
        if len(first) < 3:
            return None
        lines = []
        while (line := self._file.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = line.partition(":")
            lines.append((name, value.strip()))
        return Received(first[0], first[1], tuple(lines))

    def send(self, data):
        """Send bytes as they are."""
        self.sock.sendall(data)

    def respond(self, body=b"", *, status="200 OK", headers=(), length=None):
        """Send a response; `length` is a lie about the body's when given."""
        size = len(body) if length is None else length
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {size}", *(f"{k}: {v}" for k, v in headers)]
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def pause(self):
        """Say nothing until the test is over."""
        self.server.stopping.wait(30)

    def reset(self):
        """Close with a reset (RST), not politely."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        """Close the connection."""
        for end in (self._file, self.sock):
            with contextlib.suppress(OSError):
                end.close()


class RawServer:
    """Listens on 127.0.0.1 and hands each connection to `talk` in a thread; a context manager.

    `context` is a server's TLS context. `requests` is what was received, `connections` counts the accepted.
    An error in `talk` that is no broken connection is raised when the server stops.
    """

    def __init__(self, talk, *, context=None):
        self.talk = talk
        self.context = context
        self.requests = []
        self.connections = 0
        self.stopping = threading.Event()
        self._errors = []
        self._threads = []
        self._open = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"{'https' if context else 'http'}://{self.address}"

    def __enter__(self):
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()
        return self

    def __exit__(self, *exception):
        self.stopping.set()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        self._acceptor.join(10)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        if self._errors and exception[0] is None:
            raise self._errors[0]

    def _accept(self):
        while True:
            sock, _ = self._listener.accept()
            if self.stopping.is_set():
                sock.close()
                return
            self.connections += 1
            self._open.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, self.connections), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock, number):
        try:
            if self.context is not None:
                sock = self.context.wrap_socket(sock, server_side=True)
                self._open.append(sock)
        except OSError:
            sock.close()
            return
        conversation = Conversation(self, sock, number)
        try:
            self.talk(conversation)
        except OSError:
            pass
        except Exception as error:  # noqa: BLE001 - raised again when the server stops
            self._errors.append(error)
        finally:
            conversation.close()


def answering(body=b"", **answer):
    """Return a `talk` that gives every request of a connection the same answer."""

    def talk(conversation):
        while conversation.receive() is not None:
            conversation.respond(body, **answer)

    return talk


def proxying(*, login=None, names=None):
    """Return a `talk` that is a proxy: it tunnels CONNECT and answers anything else itself.

    `login` is the Proxy-Authorization that it wants. `names` maps a host:port that a client asks for to the
    (host, port) that is really dialled.
    """

    def talk(conversation):
        request = conversation.receive()
        if request is None:
            return
        if login is not None and request.header("Proxy-Authorization") != login:
            conversation.respond(status="407 Proxy Authentication Required")
        elif request.method == "CONNECT":
            host, _, port = request.target.rpartition(":")
            address = (names or {}).get(request.target, (host, int(port)))
            try:
                dialled = socket.create_connection(address, timeout=10)
            except OSError:
                conversation.respond(status="502 Bad Gateway")
                return
            with dialled as onward:
                conversation.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                splice(conversation.sock, onward)
        else:
            conversation.respond(b"through the proxy")
            talk(conversation)

    return talk


def splice(left, right):
    """Pass what comes from either of two sockets on to the other, until both have ended."""
    back = threading.Thread(target=_pour, args=(right, left), daemon=True)
    back.start()
    _pour(left, right)
    back.join(10)


def _pour(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
