"""Whose certificates are believed: the system's authorities and the files that the user adds."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from imgpkg.errors import InvalidSettings, doing

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from ssl import SSLContext

    from typing_extensions import Buffer

R = TypeVar("R")

_RECORDS = 1 << 16

# All authorities of the world are less than a hundredth of it.
_MAX_SIZE = 64 << 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def read_authorities(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the PEM certificates in the files that the user adds; imports `ssl` only if there are any.

    Raises InvalidSettings for a file that cannot be read or holds no certificate.
    """
    with doing("Creating registry HTTP transport"):
        return tuple(certificate for path in paths for certificate in _read_file(path))


def client_context(added: Iterable[str], *, verify: bool, environ: Mapping[str, str]) -> SSLContext:
    """Build the TLS context of a client: system authorities as `environ` says, and `added` ones.

    SSL_CERT_FILE replaces the system's bundle; SSL_CERT_DIR (folders, separated by `:`) its folder. Any
    believed certificate ends the chain, an intermediate or a leaf too. `verify=False` believes everybody.
    """
    import ssl  # noqa: PLC0415 - 20 ms, only for https

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    context.hostname_checks_common_name = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _load_system_bundle(context, environ.get("SSL_CERT_FILE", ""))
    _load_system_folders(context, environ.get("SSL_CERT_DIR", ""))
    for certificate in added:
        context.load_verify_locations(cadata=certificate)
    return context


class InnerTLS:
    """TLS inside a TLS connection, for proxies reached over TLS: its records pass through memory.

    A call that raises TimeoutError has lost nothing and may be repeated. What `send` takes leaves with the
    next call of any method at the latest.
    """

    def __init__(self, context: SSLContext, outer: socket.socket, host: str) -> None:
        import ssl  # noqa: PLC0415 - see client_context

        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._wants_read, self._is_over = ssl.SSLWantReadError, ssl.SSLZeroReturnError
        self._unsent = b""

    def do_handshake(self) -> None:
        """Agree on keys; raise ssl.SSLError without agreement."""
        self._run(self._tls.do_handshake)
        self._flush()

    def send(self, data: Buffer, /) -> int:
        """Take all of `data` and return its length."""
        self._flush()
        return self._tls.write(data)

    def recv_into(self, buffer: Buffer, /) -> int:
        """Read at least one byte; 0 at the end."""
        view = memoryview(buffer).cast("B")
        try:
            return cast(int, self._run(lambda: self._tls.read(len(view), view)))
        except self._is_over:
            return 0

    def _run(self, act: Callable[[], R]) -> R:
        while True:
            self._flush()
            try:
                return act()
            except self._wants_read:
                self._flush()
                data = self._outer.recv(_RECORDS)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()

    def _flush(self) -> None:
        self._unsent += self._outgoing.read()
        while self._unsent:
            count = self._outer.send(self._unsent)
            self._unsent = self._unsent[count:]


def _read_file(path: str) -> list[str]:
    text = _read_text(path)
    certificates = _usable(text)
    if not certificates:
        raise InvalidSettings(f"Adding CA certificates from '{path}': failed")
    return certificates


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(_MAX_SIZE + 1)
    except OSError as error:
        verb = "read" if isinstance(error, IsADirectoryError) else "open"
        reason = (error.strerror or str(error)).lower()
        raise InvalidSettings(f"Reading CA certificates from '{path}': {verb} {path}: {reason}") from error
    if len(text) > _MAX_SIZE:
        raise InvalidSettings(f"Reading CA certificates from '{path}': more than {_MAX_SIZE >> 20} MiB")
    return text


def _usable(text: str) -> list[str]:
    """Return the certificates that parse; a bundle may hold others, which are passed over."""
    import ssl  # noqa: PLC0415 - only where the user adds files

    usable = []
    for certificate in _blocks(text):
        with suppress(ssl.SSLError, ValueError):
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificate)
            usable.append(certificate)
    return usable


def _blocks(text: str) -> Iterator[str]:
    for after in text.split(_BEGIN)[1:]:
        inside, end, _ = after.partition(_END)
        if end:
            yield f"{_BEGIN}{inside}{_END}"


def _load_system_bundle(context: SSLContext, chosen: str) -> None:
    import ssl  # noqa: PLC0415 - see client_context

    # The paths compiled in are asked for by name: OpenSSL itself would look into the process's environment.
    candidates = (chosen,) if chosen else (ssl.get_default_verify_paths().openssl_cafile, *_SYSTEM_BUNDLES)
    for path in candidates:
        with suppress(OSError):
            context.load_verify_locations(cafile=path)
            return


def _load_system_folders(context: SSLContext, chosen: str) -> None:
    import ssl  # noqa: PLC0415 - see client_context

    if not chosen:
        folder = ssl.get_default_verify_paths().openssl_capath
        if Path(folder).is_dir():
            context.load_verify_locations(capath=folder)
        return
    for name in filter(None, chosen.split(":")):
        with suppress(OSError):
            # Such folders have links by hash beside their files, which are the same certificates again.
            for path in sorted({entry.resolve() for entry in Path(name).iterdir()}):
                _load_file(context, path)


def _load_file(context: SSLContext, path: Path) -> None:
    if not path.is_file():
        return
    try:
        context.load_verify_locations(cafile=path)
    except OSError:
        # Something in it is no certificate; the others count all the same.
        for certificate in _usable(path.read_text("ascii", errors="replace")):
            context.load_verify_locations(cadata=certificate)
