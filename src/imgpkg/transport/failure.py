"""From errors of sockets, TLS and the HTTP parser to a TransportError with the words of the original."""

from __future__ import annotations

import os
import socket
import ssl
from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.cancellation import Cancellation, Wait
from imgpkg.errors import CertificateRejected, ConnectionFailed, ConnectionTimedOut, NotTLS, TransportError
from imgpkg.transport.connection import look_up
from imgpkg.transport.head import NoResponse, ProtocolError, Truncated
from imgpkg.transport.message import redact_url

if TYPE_CHECKING:
    from imgpkg.transport.message import Request
    from imgpkg.transport.pool import Peer

# An address was found before, unless the name is what had no answer in time.
_LOOK_UP_SECONDS = 0.5
# Raised by sockets, TLS, host names and the parser of responses.
FAILURES = (OSError, ProtocolError, UnicodeError)
# Raised while sending, when the peer has closed the connection; what it sent before may still be read.
CLOSED = (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError)

# OpenSSL's reasons for bytes that are no TLS record; they differ between its releases.
_NOT_TLS = frozenset(
    {
        "WRONG_VERSION_NUMBER",
        "HTTP_REQUEST",
        "HTTPS_PROXY_REQUEST",
        "UNKNOWN_PROTOCOL",
        "PACKET_LENGTH_TOO_LONG",
        "RECORD_LAYER_FAILURE",
        "BAD_RECORD_TYPE",
    }
)
# OpenSSL's X509_V_ERR_* numbers.
EXPIRED = frozenset({9, 10})
UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
WRONG_NAME = frozenset({62, 64})


class Phase(Enum):
    """The step of an exchange; the value is the text of a time-out in it."""

    DIAL = "i/o timeout"
    HANDSHAKE = "net/http: TLS handshake timeout"
    REQUEST = "write: i/o timeout"
    HEADERS = "net/http: timeout awaiting response headers"
    BODY = "read: i/o timeout"

    @property
    def silence(self) -> str:
        """The words for a wait in this step."""
        return _SILENCE[self]


_SILENCE = {
    Phase.DIAL: "no connection",
    Phase.HANDSHAKE: "no TLS handshake",
    Phase.REQUEST: "no data accepted",
    Phase.HEADERS: "no response",
    Phase.BODY: "no data received",
}


class HungUp(ConnectionFailed):
    """The connection ended before the first byte of a response."""


class AlertReceived(CertificateRejected):
    """The peer ended TLS with an alert (RFC 8446 section 6); `alert` is its name in words."""

    def __init__(self, method: str, url: str, alert: str) -> None:
        super().__init__(method, url, f"remote error: tls: {alert}")
        self.alert = alert


def translate(request: Request, error: BaseException, phase: Phase, peer: Peer) -> TransportError:
    """Return the TransportError for `error`, or for its first cause, in `phase`.

    CertificateRejected means that the peer uses TLS: never continue without TLS after it. No text has a
    part of a header or a body.
    """
    cause, url = root_of(error), redact_url(request.url)
    match cause:
        case TimeoutError():
            return ConnectionTimedOut(request.method, url, _timeout(phase, peer))
        # A peer that closes during the handshake: which error that is depends on the release of Python.
        case ssl.SSLEOFError() | ssl.SSLZeroReturnError() | NoResponse():
            return _hung_up(request.method, url, "EOF", phase)
        case ssl.SSLError():
            return _tls(request.method, url, cause, phase)
        case ConnectionResetError() | BrokenPipeError() | ConnectionAbortedError() if phase is not Phase.DIAL:
            return _hung_up(request.method, url, _reason(cause), phase)
        case _:
            return ConnectionFailed(request.method, url, _other(cause, phase, peer))


def root_of(error: BaseException) -> BaseException:
    """Return the first cause of `error`."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _hung_up(method: str, url: str, reason: str, phase: Phase) -> ConnectionFailed:
    # A body that was cut short must not be requested again by the pool.
    if phase is Phase.BODY:
        return ConnectionFailed(method, url, "unexpected EOF" if reason == "EOF" else reason)
    return HungUp(method, url, reason)


def _rejected(method: str, url: str, error: ssl.SSLCertVerificationError) -> CertificateRejected:
    code, said = getattr(error, "verify_code", 0), getattr(error, "verify_message", "") or str(error)
    if code in UNKNOWN_AUTHORITY:
        reason = f"certificate signed by unknown authority ({said})"
    elif code in WRONG_NAME:
        reason = said.rstrip(".")
    elif code in EXPIRED:
        reason = f"certificate has expired or is not yet valid: {said}"
    else:
        reason = said
    return CertificateRejected(method, url, f"tls: failed to verify certificate: x509: {reason}")


def _tls(method: str, url: str, error: ssl.SSLError, phase: Phase) -> TransportError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return _rejected(method, url, error)
    # Only errors from OpenSSL itself have this attribute.
    name = getattr(error, "reason", None) or ""
    if phase is Phase.HANDSHAKE and name in _NOT_TLS:
        return NotTLS(method, url, "http: server gave HTTP response to HTTPS client")
    words = name.lower().replace("_", " ") or "protocol error"
    # The server has sent an alert, for example that it requires a client certificate.
    if "ALERT" in name:
        return AlertReceived(method, url, words.partition("alert ")[2] or words)
    if phase is Phase.HANDSHAKE:
        return CertificateRejected(method, url, f"tls: {words}")
    return ConnectionFailed(method, url, f"tls: {words}")


def _timeout(phase: Phase, peer: Peer) -> str:
    return f"{_dialling(peer)}: {phase.value}" if phase is Phase.DIAL else phase.value


def _other(error: BaseException, phase: Phase, peer: Peer) -> str:
    match error:
        case socket.gaierror():
            return f"{_proxied(peer)}dial tcp: lookup {peer.host}: {_lookup_reason(error)}"
        case ValueError():
            return f"dial tcp: lookup {peer.host}: invalid host name"
        case OSError() if phase is Phase.DIAL:
            return f"{_dialling(peer)}: connect: {_reason(error)}"
        case OSError():
            return f"{_proxied(peer)}{_reason(error)}"
        case _:
            return _parser_reason(error)


def _parser_reason(error: BaseException) -> str:
    if isinstance(error, Truncated):
        return "unexpected EOF"
    return f"net/http: HTTP/1.x transport connection broken: {error}"


def _lookup_reason(error: socket.gaierror) -> str:
    # Some systems do not have EAI_NODATA.
    missing = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
    return "no such host" if error.errno in missing else str(error.strerror).lower()


def _reason(error: OSError) -> str:
    return os.strerror(error.errno).lower() if error.errno else str(error)


def _proxied(peer: Peer) -> str:
    return "proxyconnect tcp: " if peer.is_proxy else ""


def _dialling(peer: Peer) -> str:
    host = _last_address(peer)
    return f"{_proxied(peer)}dial tcp {f'[{host}]' if ':' in host else host}:{peer.port}"


def _last_address(peer: Peer) -> str:
    """Return the address that was tried last, whose error is reported; the name when it has no address."""
    wait = Wait(_LOOK_UP_SECONDS, Cancellation(), lambda _: None)
    try:
        return str(look_up(peer.host, peer.port, wait)[-1][4][0])
    except (OSError, UnicodeError):
        return peer.host
