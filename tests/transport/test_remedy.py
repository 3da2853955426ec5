"""What to do about a request without a response, for each cause and each peer."""

from __future__ import annotations

import errno
import socket
import ssl

import pytest

from imgpkg.transport.failure import Phase, translate
from imgpkg.transport.head import NoResponse
from imgpkg.transport.message import Request
from imgpkg.transport.pool import Peer
from imgpkg.transport.remedy import rejected, remedies

REQUEST = Request("GET", "https://registry.example.com/v2/")
SERVER = Peer("registry.example.com", 443)
PROXY = Peer("proxy.example.com", 3128, is_proxy=True, variable="https_proxy")
IPV6 = Peer("::1", 5000)
MISSING = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def said(cause, phase, peer):
    """Return the hints about `cause`."""
    return list(remedies(translate(REQUEST, cause, phase, peer), cause, phase, peer))


@pytest.mark.parametrize(
    ("cause", "phase", "peer", "begin"),
    [
        (MISSING, Phase.DIAL, SERVER, "There is no host registry.example.com: check its spelling"),
        (
            socket.gaierror(socket.EAI_AGAIN, "x"),
            Phase.DIAL,
            SERVER,
            "No DNS server of this machine answered",
        ),
        (ConnectionRefusedError(111, "x"), Phase.DIAL, SERVER, "Nothing listens at registry.example.com:443"),
        (ConnectionRefusedError(111, "x"), Phase.DIAL, IPV6, "Nothing listens at [::1]:5000: "),
        (OSError(errno.ENETUNREACH, "x"), Phase.DIAL, SERVER, "This machine has no way to registry.example"),
        (OSError(errno.EINVAL, "x"), Phase.DIAL, SERVER, "Check the host and the port of registry.example"),
        (TimeoutError("x"), Phase.DIAL, SERVER, "Check the host and the port of registry.example.com:443"),
        (UnicodeError("x"), Phase.DIAL, SERVER, "registry.example.com is no host name: check its spelling"),
        (
            TimeoutError("x"),
            Phase.HEADERS,
            SERVER,
            "registry.example.com took the connection, and then there",
        ),
        (TimeoutError("x"), Phase.BODY, SERVER, "registry.example.com took the connection, and then there"),
        (
            NoResponse("x"),
            Phase.HEADERS,
            SERVER,
            "registry.example.com ended the connection without an answer",
        ),
        (
            MISSING,
            Phase.DIAL,
            PROXY,
            "There is no host proxy.example.com, which $https_proxy names as the proxy",
        ),
        (
            ConnectionRefusedError(111, "x"),
            Phase.DIAL,
            PROXY,
            "Nothing listens at proxy.example.com:3128, which",
        ),
        (
            TimeoutError("x"),
            Phase.DIAL,
            PROXY,
            "Check the address of the proxy: $https_proxy names proxy.example",
        ),
        (
            OSError("Tunnel connection failed: 403 Forbidden"),
            Phase.HANDSHAKE,
            PROXY,
            "The proxy proxy.example",
        ),
        (OSError("Tunnel connection failed: 407 x"), Phase.HANDSHAKE, PROXY, "The proxy wants a login: "),
    ],
)
def test_each_cause_has_one_sentence(cause, phase, peer, begin):
    (hint,) = said(cause, phase, peer)
    assert hint.startswith(begin)


def test_only_a_wait_for_an_answer_can_be_made_longer():
    assert "--registry-response-header-timeout" in said(TimeoutError("x"), Phase.HEADERS, SERVER)[0]
    assert "--registry-response-header-timeout" not in said(TimeoutError("x"), Phase.BODY, SERVER)[0]


def test_a_proxy_can_be_left_out_for_this_host():
    assert said(MISSING, Phase.DIAL, PROXY)[0].endswith("set NO_PROXY=registry.example.com.")


def test_a_body_that_breaks_off_is_requested_again_and_needs_no_words():
    assert said(ConnectionResetError(errno.ECONNRESET, "x"), Phase.BODY, SERVER) == []


def test_a_certificate_is_told_apart_by_the_number_of_openssl():
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = 10, "certificate has expired"
    assert said(error, Phase.HANDSHAKE, SERVER) == list(rejected(10))


def test_a_server_without_tls_has_a_flag():
    error = ssl.SSLError(1, "x")
    error.reason = "WRONG_VERSION_NUMBER"
    (hint,) = said(error, Phase.HANDSHAKE, SERVER)
    assert "--registry-insecure" in hint


@pytest.mark.parametrize(
    ("code", "begin"),
    [(10, "Check this machine's clock"), (62, "Use the name"), (20, "If you trust"), (23, "If you trust")],
)
def test_a_certificate_that_cannot_be_looked_at_has_a_next_step_too(code, begin):
    first, last = rejected(code)
    assert first.startswith(begin)
    assert last.startswith("--registry-verify-certs=false turns verification off")
