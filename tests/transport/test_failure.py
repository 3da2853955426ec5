"""From errors of sockets, TLS and the parser to a TransportError."""

from __future__ import annotations

import errno
import itertools
import socket
import ssl

import pytest
from tests.servers.raw import RawServer

from imgpkg.errors import CertificateRejected, ConnectionFailed, ConnectionTimedOut
from imgpkg.transport.failure import HungUp, Phase, translate
from imgpkg.transport.head import NoResponse, Truncated
from imgpkg.transport.message import Request
from imgpkg.transport.pool import Peer, Pool

REQUEST = Request("GET", "https://registry.example/v2/?sig=hunter2")
PEER = Peer("192.0.2.1", 443)


def refused_port():
    """Return a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def send(url, **options):
    with Pool(**options) as pool:
        pool.send(Request("GET", url)).close()


def test_a_refused_connection_reads_as_in_the_original():
    port = refused_port()
    with pytest.raises(ConnectionFailed) as caught:
        send(f"https://127.0.0.1:{port}/v2/")
    assert str(caught.value) == (
        f'Get "https://127.0.0.1:{port}/v2/": dial tcp 127.0.0.1:{port}: connect: connection refused'
    )


def test_a_refused_connection_to_a_name_shows_the_address_that_was_tried():
    port = refused_port()
    with pytest.raises(
        ConnectionFailed, match=rf"dial tcp \S*:{port}: connect: connection refused$"
    ) as caught:
        send(f"http://localhost:{port}/")
    assert "dial tcp localhost" not in caught.value.reason


def test_an_unknown_name_reads_as_in_the_original():
    with pytest.raises(ConnectionFailed) as caught:
        send("http://name.invalid:5000/")
    assert caught.value.reason.startswith("dial tcp: lookup name.invalid: ")


def test_a_name_that_cannot_be_one_is_reported():
    with pytest.raises(ConnectionFailed, match="invalid host name"):
        send(f"http://{'a' * 64}.example/")


def test_a_full_queue_of_a_listener_times_out():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        fillers = [socket.socket() for _ in range(8)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        try:
            with pytest.raises(ConnectionTimedOut) as caught:
                send(f"http://127.0.0.1:{address[1]}/", connect_timeout=0.3)
        finally:
            for filler in fillers:
                filler.close()
    assert caught.value.reason == f"dial tcp 127.0.0.1:{address[1]}: i/o timeout"


@pytest.mark.parametrize(
    "said", [b"SSH-2.0-OpenSSH_9\r\n", b"\x15\x03\x01\x00\x02\x02\x16", b"HTTP/1.1 abc\r\n\r\n"]
)
def test_an_answer_that_is_no_http_is_malformed(said):
    def talk(conversation):
        conversation.receive()
        conversation.send(said)

    with (
        RawServer(talk) as server,
        pytest.raises(ConnectionFailed, match="malformed HTTP response") as caught,
    ):
        send(server.url)
    assert "SSH" not in str(caught.value)


def test_headers_without_end_are_refused():
    def talk(conversation):
        conversation.receive()
        conversation.send(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300)

    with (
        RawServer(talk) as server,
        pytest.raises(ConnectionFailed, match="connection broken: too many headers"),
    ):
        send(server.url)


def test_a_reset_while_waiting_for_headers_is_a_failed_connection():
    def talk(conversation):
        conversation.receive()
        conversation.reset()

    with RawServer(talk) as server, pytest.raises(ConnectionFailed) as caught:
        send(server.url)
    assert caught.value.reason == "connection reset by peer"


def chained(*errors):
    """Return the first of errors, each caused by the next."""
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


@pytest.mark.parametrize(
    ("error", "phase", "kind", "reason"),
    [
        (
            OSError(errno.EHOSTUNREACH, "x"),
            Phase.DIAL,
            ConnectionFailed,
            "dial tcp 192.0.2.1:443: connect: no route to host",
        ),
        (
            socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
            Phase.DIAL,
            ConnectionFailed,
            "dial tcp: lookup 192.0.2.1: temporary failure in name resolution",
        ),
        (
            ConnectionResetError(errno.ECONNRESET, "x"),
            Phase.BODY,
            ConnectionFailed,
            "connection reset by peer",
        ),
        (Truncated("x"), Phase.BODY, ConnectionFailed, "unexpected EOF"),
        (NoResponse("x"), Phase.HEADERS, HungUp, "EOF"),
        (ssl.SSLEOFError(8, "x"), Phase.BODY, ConnectionFailed, "unexpected EOF"),
        (ssl.SSLZeroReturnError(6, "x"), Phase.HANDSHAKE, HungUp, "EOF"),
        (ssl.SSLError(1, "x"), Phase.HANDSHAKE, CertificateRejected, "tls: protocol error"),
        (TimeoutError("x"), Phase.BODY, ConnectionTimedOut, "read: i/o timeout"),
        (
            chained(RuntimeError("outer"), TimeoutError("x")),
            Phase.HEADERS,
            ConnectionTimedOut,
            Phase.HEADERS.value,
        ),
    ],
)
def test_each_failure_has_a_class_and_the_original_s_words(error, phase, kind, reason):
    failure = translate(REQUEST, error, phase, PEER)
    assert (type(failure), failure.reason) == (kind, reason)
    assert "hunter2" not in str(failure) + failure.url


def test_a_certificate_error_of_an_unusual_kind_says_what_openssl_said():
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = 23, "certificate revoked"
    failure = translate(REQUEST, error, Phase.HANDSHAKE, PEER)
    assert failure.reason == "tls: failed to verify certificate: x509: certificate revoked"


def test_an_ipv6_address_is_put_in_brackets():
    failure = translate(REQUEST, OSError(errno.ECONNREFUSED, "x"), Phase.DIAL, Peer("::1", 5000))
    assert failure.reason == "dial tcp [::1]:5000: connect: connection refused"


def test_a_name_that_resolves_no_more_is_shown_as_it_is():
    failure = translate(REQUEST, OSError(errno.ECONNREFUSED, "x"), Phase.DIAL, Peer("name.invalid", 5000))
    assert failure.reason == "dial tcp name.invalid:5000: connect: connection refused"
