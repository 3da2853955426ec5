"""The socket that a registry listens on, and the certificate that it shows."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from imgpkg.errors import InvalidSettings, UsageError, local_io

if TYPE_CHECKING:
    import ssl

_BACKLOG = 256


def listen(host: str, port: int) -> socket.socket:
    """Listen on an address; raise LocalIOError when it is taken, UsageError when it is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with local_io("listen", f"{host}:{port}"):
        try:
            listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except (socket.gaierror, OverflowError) as error:
            raise UsageError(f"cannot listen on {host}:{port}: {error}") from error
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
