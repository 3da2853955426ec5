"""PEM files (RFC 7468): the certificates of authorities."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from imgpkg.errors import InvalidSettings, doing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

# Bytes. The bundle of all public authorities is less than a hundredth of that.
_MAX_SIZE = 64 << 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"


def read_authorities(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the PEM certificates in `paths`; raise InvalidSettings for a file without any.

    `ssl` is imported only where there are files.
    """
    with doing("Creating registry HTTP transport"):
        return tuple(certificate for path in paths for certificate in _read_file(path))


def _read_file(path: str) -> list[str]:
    text = _read_text(path)
    certificates = usable_certificates(text)
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


def usable_certificates(text: str) -> list[str]:
    """Return the certificates that OpenSSL accepts; others in a bundle are skipped."""
    import ssl

    usable = []
    # One at a time: OpenSSL stops at the first certificate that it does not accept.
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
