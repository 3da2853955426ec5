"""HTTP/1.1 of the embedded registry, spoken by hand over a socket."""

from __future__ import annotations

import re
import socket
import struct
import threading

import pytest
from tests.servers.images import sha256

from imgpkg.embedded.server import serve

PING = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture(scope="module")
def server():
    with serve(login=("me", "secret")) as running:
        yield running


@pytest.fixture(scope="module")
def open_server():
    with serve() as running:
        yield running


@pytest.fixture
def dial():
    opened = []

    def dialled(server):
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        opened.append(sock)
        return sock

    yield dialled
    for sock in opened:
        sock.close()


def everything(sock):
    received = b""
    while data := sock.recv(1 << 16):
        received += data
    return received


def statuses(received):
    return [int(code) for code in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


class TestAConnection:
    def test_is_kept_and_serves_what_is_sent_ahead(self, open_server, dial):
        sock = dial(open_server)
        sock.sendall(PING * 3 + PING.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = everything(sock)
        assert statuses(received) == [200] * 4
        assert received.count(b"Connection: close") == 1

    def test_of_http_1_0_is_closed_unless_it_asks(self, open_server, dial):
        sock = dial(open_server)
        sock.sendall(b"GET /v2/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /v2/ HTTP/1.0\r\n\r\n")
        assert statuses(everything(sock)) == [200, 200]

    def test_may_begin_with_an_empty_line(self, open_server, dial):
        sock = dial(open_server)
        sock.sendall(b"\r\n" + PING)
        sock.shutdown(socket.SHUT_WR)
        assert statuses(everything(sock)) == [200]

    def test_that_ends_within_a_request_is_no_request(self, open_server, dial):
        for start in (b"", b"\r\n", PING[:20] + b"\n", PING[:-2]):
            sock = dial(open_server)
            sock.sendall(start)
            sock.shutdown(socket.SHUT_WR)
            assert statuses(everything(sock)) in ([], [400])

    def test_goes_on_after_a_small_body_that_was_not_read(self, server, dial):
        sock = dial(server)
        body = b"x" * 1000
        sock.sendall(b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + body)
        sock.sendall(PING)
        sock.shutdown(socket.SHUT_WR)
        assert statuses(everything(sock)) == [401, 401]

    def test_delivers_the_refusal_of_a_large_body_and_ends(self, server, dial):
        sock = dial(server)
        size = 8 << 20
        head = f"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        sock.sendall(head.encode())
        sock.sendall(b"x" * size)
        received = everything(sock)
        assert statuses(received) == [401]
        assert b"Connection: close" in received

    def test_answers_an_expectation_only_when_it_wants_the_body(self, open_server, server, dial):
        digest = sha256(b"12345")
        for running, expected in ((open_server, [100, 201]), (server, [401])):
            sock = dial(running)
            head = f"POST /v2/a/blobs/uploads/?digest={digest} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
            sock.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            if expected[0] == 100:
                assert sock.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
                sock.sendall(b"12345")
            sock.shutdown(socket.SHUT_WR)
            received = everything(sock)
            assert statuses(received) == expected[-1:]

    def test_that_is_reset_in_a_body_is_recorded_without_a_status(self, dial):
        with serve() as running:
            sock = dial(running)
            head = b"PUT /v2/a/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"
            sock.sendall(head + b"Expect: 100-continue\r\n\r\n")
            assert sock.recv(100).startswith(b"HTTP/1.1 100")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            for _ in range(500):
                if running.requests:
                    break
                threading.Event().wait(0.01)
            assert [record.status for record in running.requests] == [0]


class TestATarget:
    def test_with_a_scheme_and_a_host_is_for_that_host(self):
        """RFC 9112 section 3.2.2: a server accepts what is sent to a proxy."""
        with serve() as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
            sock.sendall(
                b"POST http://name.example:81/v2/a/b/blobs/uploads/?a=b HTTP/1.1\r\nHost: other.example\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            received = everything(sock)
            assert statuses(received) == [202]
            assert server.requests[0].path == "/v2/a/b/blobs/uploads/"
            assert server.requests[0].headers["host"] == "name.example:81"


class TestAHeader:
    """Reading one takes linear time, which tests/properties/test_linear_grammars.py counts."""

    @pytest.mark.parametrize(
        "value", [b" " * 60_000, b"a" + b" " * 60_000 + b"b", b"\t " * 30_000, b"," * 60_000]
    )
    def test_may_hold_what_an_expression_would_stumble_over(self, open_server, dial, value):
        sock = dial(open_server)
        sock.sendall(PING.replace(b"\r\n\r\n", b"\r\nX:" + value + b"\r\nConnection: close\r\n\r\n"))
        assert statuses(everything(sock)) == [200]

    def test_that_is_repeated_is_one_list_without_the_blanks_around(self):
        with serve() as server, socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
            sock.sendall(
                PING.replace(b"\r\n\r\n", b"\r\nX: \t a b\t \r\nx:c\r\nX:\r\nConnection: close\r\n\r\n")
            )
            assert statuses(everything(sock)) == [200]
            assert server.requests[0].headers["x"] == "a b, c, "


class TestAChunkedBody:
    def send(self, sock, chunks):
        head = f"POST /v2/a/blobs/uploads/?digest={sha256(b'12345')} HTTP/1.1\r\nHost: x\r\n"
        sock.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)

    def test_is_put_together(self, open_server, dial):
        sock = dial(open_server)
        self.send(sock, b"2;name=value\r\n12\r\n03\r\n345\r\n0\r\nTrailer: x\r\n\r\n" + PING)
        sock.shutdown(socket.SHUT_WR)
        assert statuses(everything(sock)) == [201, 200]

    @pytest.mark.parametrize(
        "chunks",
        [
            b"x\r\n",
            b"2\r\n123\r\n0\r\n\r\n",
            b"-1\r\n",
            b"5\r\n12",
            b"5\r\n12345\r\n",
            b"\r\n",
            b"5\r\n12345\r\n0\r\nx\r\n\r\n",
        ],
    )
    def test_that_is_broken_ends_the_connection_without_a_blob(self, open_server, dial, chunks):
        sock = dial(open_server)
        self.send(sock, chunks)
        sock.shutdown(socket.SHUT_WR)
        assert everything(sock) == b""


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET /v2/ HTTP/2.0\r\n\r\n",
        b"GET /v2/\r\n\r\n",
        b"GET  /v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET v2 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET ftp://x/v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://me@x/v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http:///v2/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nName : value\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: \x01\r\n\r\n",
        b"GET /v2/ HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: 1\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"GET /v2/?" + b"a&" * 200 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /" + b"a" * 70_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 20_000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n",
    ],
)
def test_what_is_no_request_is_refused_and_ends_the_connection(open_server, dial, request_bytes):
    sock = dial(open_server)
    sock.sendall(request_bytes)
    sock.shutdown(socket.SHUT_WR)
    received = everything(sock)
    assert statuses(received) == [400]
    assert b"Connection: close" in received


def test_a_method_that_http_does_not_have_is_not_implemented(open_server, dial):
    sock = dial(open_server)
    sock.sendall(PING.replace(b"GET", b"BREW"))
    assert statuses(everything(sock)) == [501]
