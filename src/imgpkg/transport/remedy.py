"""What to do about a request without a response: one sentence for each cause, which names the host."""

from __future__ import annotations

import errno
import socket
import ssl
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from imgpkg.errors import ConnectionTimedOut, NotTLS
from imgpkg.expression import expression
from imgpkg.transport.failure import EXPIRED, WRONG_NAME, Phase
from imgpkg.transport.message import LOGIN_HINT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.errors import TransportError
    from imgpkg.transport.pool import Peer

_STATUS = expression(r"Tunnel connection failed: ([0-9]{3})")
_LOGIN_WANTED = "407"
_UNREACHABLE = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
_TRUST = "If you trust who signed it, add that certificate: --registry-ca-cert-path FILE."
OTHER_NAME = "Use the name that the certificate was issued for, or have it reissued for this one."
CLOCK = "Check this machine's clock; if it is right, the registry needs a new certificate."
_NO_TLS = "If the registry has no TLS on purpose: --registry-insecure allows http, with the login in clear."
VERIFY_OFF = (
    "--registry-verify-certs=false turns verification off: anybody on the way can then read everything."
)


def remedies(failure: TransportError, cause: BaseException, phase: Phase, peer: Peer) -> Iterator[str]:
    """Yield what to do about `failure`, in whole sentences; nothing where its text is enough."""
    server = urlsplit(failure.url).netloc
    match cause:
        case ssl.SSLCertVerificationError():
            yield from rejected(getattr(cause, "verify_code", 0))
        case _ if isinstance(failure, NotTLS):
            yield _NO_TLS
        case _ if peer.is_proxy and phase in (Phase.DIAL, Phase.HANDSHAKE):
            yield _about_proxy(failure, cause, peer, server)
        case _ if isinstance(failure, ConnectionTimedOut) and phase is not Phase.DIAL:
            yield _no_answer(server, phase)
        case socket.gaierror():
            yield _no_host(cause, peer)
        case _ if phase is Phase.DIAL:
            yield _no_connection(cause, peer)
        case _ if phase is Phase.HEADERS:
            yield (
                f"{server} ended the connection without an answer: try again; if it happens each time, check "
                "that a registry answers there, and no other server, firewall or proxy."
            )
        case _:
            pass


def rejected(code: int) -> Iterator[str]:
    """Yield what to do about a certificate that was not accepted, from OpenSSL's number for the reason."""
    yield OTHER_NAME if code in WRONG_NAME else CLOCK if code in EXPIRED else _TRUST
    yield VERIFY_OFF


def _no_answer(server: str, phase: Phase) -> str:
    longer = "; --registry-response-header-timeout 2m waits longer" if phase is Phase.HEADERS else ""
    return f"{server} took the connection, and then there was {phase.silence}: try again later{longer}."


def _no_host(error: socket.gaierror, peer: Peer) -> str:
    if error.errno == socket.EAI_AGAIN:
        return (
            f"No DNS server of this machine answered for {peer.host}: check the network; where only a proxy "
            "leads out of it, HTTPS_PROXY must name that."
        )
    return f"There is no host {peer.host}: check its spelling, the DNS of this machine, and HTTPS_PROXY."


def _no_connection(error: BaseException, peer: Peer) -> str:
    if isinstance(error, ConnectionRefusedError):
        return f"Nothing listens at {peer}: check the port, and that the registry runs."
    if isinstance(error, UnicodeError):
        return f"{peer.host} is no host name: check its spelling."
    if isinstance(error, OSError) and error.errno in _UNREACHABLE:
        return f"This machine has no way to {peer}: check its network, or the VPN that the registry is in."
    return (
        f"Check the host and the port of {peer}, and that a server runs there; behind a proxy, HTTPS_PROXY "
        "must name it."
    )


def _about_proxy(failure: TransportError, cause: BaseException, peer: Peer, server: str) -> str:
    """Say what is wrong with the proxy that a variable names, or with what it reaches."""
    status = _STATUS.search(failure.reason)
    around = f"if no proxy is needed, set NO_PROXY={urlsplit(f'//{server}').hostname}."
    if status is not None and status[1] == _LOGIN_WANTED:
        return LOGIN_HINT
    if status is not None:
        return (
            f"The proxy {peer}, which ${peer.variable} names, did not connect to {server}: check that name, "
            f"and ask the operator of the proxy; {around}"
        )
    if isinstance(cause, socket.gaierror):
        return (
            f"There is no host {peer.host}, which ${peer.variable} names as the proxy: correct it; {around}"
        )
    if isinstance(cause, ConnectionRefusedError):
        return f"Nothing listens at {peer}, which ${peer.variable} names as the proxy: correct it; {around}"
    return f"Check the address of the proxy: ${peer.variable} names {peer}; {around}"
