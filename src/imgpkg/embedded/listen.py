"""The socket that a registry listens on, and the certificate that it shows."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from imgpkg.errors import InvalidSettings, UsageError, local_io

if TYPE_CHECKING:
    import ssl

_BACKLOG = 256
_BUFFER = 2 << 20


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
