"""The command `imgpkg registry serve`."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.cli.context import read_password
from imgpkg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context


def run(context: Context) -> None:
    """Serve until SIGINT or SIGTERM; print the address as soon as it accepts connections."""
    from imgpkg.embedded.routes import Features
    from imgpkg.embedded.server import serve
    from imgpkg.embedded.storage import Storage

    flags = context.flags
    host, port = _address(flags.text("address"))
    folder = flags.text("storage")
    server = serve(
        host,
        port,
        storage=Storage(folder) if folder else None,
        login=_login(flags),
        token_service=flags.is_on("token-service"),
        tls=_tls(flags),
        features=Features(delete=flags.is_on("delete")),
        # The records contain the credentials of requests, and only tests read them.
        keep_requests=0,
    )
    with _until_signal(), server:
        text = f"Serving a registry for demonstrations and tests at {server.url}\n"
        context.output.document(text, {"url": server.url, "address": server.address})
        # A script waits for this line before its first request.
        context.output.finish()
        server.wait()


class _Interrupted(Exception):
    """The process received SIGINT or SIGTERM."""


@contextmanager
def _until_signal() -> Iterator[None]:
    """End the block at SIGINT or SIGTERM, without an error.

    A script may send the signal as soon as it has read the address, which is before `Server.wait` handles it.
    """

    def end(_number: int, _frame: object) -> None:
        raise _Interrupted

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Interrupted:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    # Six digits are more than any port has; int() takes quadratic time for many.
    if not colon or not port.isdecimal() or int(port[:6]) > 65535:  # noqa: PLR2004 - the largest port
        raise UsageError(f"Expected --address to be HOST:PORT, but was {text}")
    # An empty host must not open the registry to the network.
    return host.strip("[]") or "127.0.0.1", int(port)


def _login(flags: Parsed) -> tuple[str, str] | None:
    username, has_password = flags.text("username"), flags.is_on("password-stdin")
    if bool(username) != has_password:
        raise UsageError("Expected --username and --password-stdin together")
    return (username, read_password()) if username else None


def _tls(flags: Parsed) -> tuple[str, str] | None:
    certificate, key = flags.text("tls-cert"), flags.text("tls-key")
    if bool(certificate) != bool(key):
        raise UsageError("Expected --tls-cert and --tls-key together")
    return (certificate, key) if certificate else None
