"""PEM files (RFC 7468): certificates of authorities, and the certificate and key of a client."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NoReturn

from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidSettings, doing
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ssl import SSLContext

# Bytes. The bundle of all public authorities is less than a hundredth of that.
_MAX_SIZE = 64 << 20
_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_NO_PEM = "{} has no certificate in PEM, which begins with -----BEGIN CERTIFICATE-----."
_KEY = expression(r"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----")
# PKCS 8 (RFC 5958), and the older form of OpenSSL.
_ENCRYPTED = expression(r"-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED", re.MULTILINE)
# The two times of a validity in DER (RFC 5280 section 4.1.2.5): UTCTime or GeneralizedTime, each.
_VALIDITY = expression(rb"(?:\x17\x0d\d{12}|\x18\x0f\d{14})Z(?:\x17\x0d(\d{12})|\x18\x0f(\d{14}))Z")
# RFC 5280: two digits from 50 on are of the twentieth century.
_FIRST_OF_OLD_CENTURY = 50


@dataclass(frozen=True, slots=True)
class TLSFiles:
    """The files for TLS with one host; empty for those that were not named.

    `authorities` are trusted besides those of the system. `key` may be empty where the file of the
    certificate has the key too. `origin` is what named the certificate, such as `--registry-client-cert`.
    With `is_guarded`, the administrator of the machine is responsible for the mode of the key.
    """

    authorities: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""
    origin: str = ""
    is_guarded: bool = False

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file, once."""
        return tuple(dict.fromkeys(filter(None, (*self.authorities, self.certificate, self.key))))


def read_authorities(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the PEM certificates in `paths`; raise InvalidSettings for a file without any.

    `ssl` is imported only where there are files.
    """
    with doing("Creating registry HTTP transport"):
        return read_certificates(paths)


def read_certificates(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the PEM certificates in `paths`; raise InvalidSettings for a file without any."""
    return tuple(certificate for path in paths for certificate in _read_file(path))


def check_client_certificate(files: TLSFiles) -> None:
    """Raise InvalidSettings for a client certificate that cannot be used."""
    import ssl

    with doing("Creating registry HTTP transport"):
        load_client_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


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


def load_client_certificate(context: SSLContext, files: TLSFiles) -> None:
    """Make `context` offer the certificate of `files`; raise InvalidSettings for files that do not fit."""
    import ssl

    key = files.key or files.certificate
    _check_certificate(files)
    _check_key(files, key)

    def refuse() -> NoReturn:
        # Without this function OpenSSL asks for the pass phrase at the terminal.
        raise _encrypted(files, key)

    try:
        context.load_cert_chain(files.certificate, key, password=refuse)
    except ssl.SSLError as error:
        raise _unfit(files, key, error) from error
    except OSError as error:
        raise _invalid(files, f"reading {key!r}: {error.strerror or error}") from error


def warnings_about(files: TLSFiles, now: float) -> Iterator[str]:
    """Yield a sentence for a key that others can read, and for a certificate that has expired."""
    key = files.key or files.certificate
    with suppress(OSError):
        found = os.stat(key)
        # Whoever installed a file of root for all users has decided who may read it.
        is_of_root = files.is_guarded and found.st_uid == 0
        if found.st_mode & stat.S_IROTH and not is_of_root:
            yield f"the private key {key!r} can be read by every user of this machine: chmod 600 {key}"
    end = expiry(files.certificate)
    if end is not None and end < now:
        yield f"the client certificate {files.certificate!r} ({files.origin}) expired at {_shown(end)}"


def described(files: TLSFiles, now: float) -> str:
    """Return the certificate for people: its file, who named it, and when it expired if it did."""
    end = expiry(files.certificate)
    ended = f", expired at {_shown(end)}" if end is not None and end < now else ""
    return f"{files.certificate!r} (from {files.origin}{ended})"


def expiry(path: str) -> float | None:
    """Return the Unix time at which the first certificate in a file ends; None when that cannot be read."""
    import ssl

    try:
        with open(path, encoding="ascii", errors="replace") as file:
            first = next(_blocks(file.read(_MAX_SIZE)), "")
        match = _VALIDITY.search(ssl.PEM_cert_to_DER_cert(first))
        return None if match is None else _time(match[1], match[2])
    except (OSError, ValueError):
        return None


def _time(short: bytes | None, long: bytes | None) -> float:
    from datetime import datetime

    text = (long or short or b"").decode("ascii")
    if long is None:
        text = ("19" if int(text[:2]) >= _FIRST_OF_OLD_CENTURY else "20") + text
    return datetime.strptime(f"{text}+0000", "%Y%m%d%H%M%S%z").timestamp()


def _shown(end: float) -> str:
    from datetime import datetime, timezone

    return datetime.fromtimestamp(end, timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")


def _check_certificate(files: TLSFiles) -> None:
    text = _read(files, files.certificate, "the client certificate")
    if next(_blocks(text), None) is not None:
        return
    found = "a private key and no certificate" if _is_key(text) else "no certificate in PEM form"
    raise _invalid(
        files,
        f"{files.certificate!r} has {found}",
        "The file must have the certificate of the client first, then those of intermediate authorities.",
    )


def _check_key(files: TLSFiles, key: str) -> None:
    text = _read(files, key, "the key of the client certificate")
    if _ENCRYPTED.search(text):
        raise _encrypted(files, key)
    if _KEY.search(text):
        return
    if not files.key:
        hint = f"Name the file of the key as well: {_key_option(files.origin)}."
        raise _invalid(files, f"there is no key: {key!r} has only a certificate", hint)
    found = "a certificate and no private key" if _BEGIN in text else "no private key in PEM form"
    raise _invalid(files, f"{key!r} has {found}")


def _is_key(text: str) -> bool:
    return bool(_KEY.search(text) or _ENCRYPTED.search(text))


def _key_option(origin: str) -> str:
    return origin.replace("client-cert", "client-key").replace("CLIENT_CERT", "CLIENT_KEY")


def _encrypted(files: TLSFiles, key: str) -> InvalidSettings:
    return _invalid(
        files,
        f"the private key {key!r} is encrypted, and imgpkg asks for no pass phrase",
        f"Write it without one into a file of mode 0600: openssl pkey -in {key} -out KEY",
    )


def _unfit(files: TLSFiles, key: str, error: OSError) -> InvalidSettings:
    if getattr(error, "reason", "") == "KEY_VALUES_MISMATCH":
        hint = "Name the key with which the certificate was requested."
        return _invalid(
            files, f"the key {key!r} belongs to another certificate than {files.certificate!r}", hint
        )
    words = str(getattr(error, "reason", "") or "unknown format").lower().replace("_", " ")
    return _invalid(files, f"{files.certificate!r} and {key!r} cannot be used: {words}")


def _read(files: TLSFiles, path: str, what: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(_MAX_SIZE + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise _invalid(files, f"reading {what}: open {path}: {reason}") from error
    if len(text) > _MAX_SIZE:
        raise _invalid(files, f"{path!r} is larger than {_MAX_SIZE >> 20} MiB")
    return text


def _invalid(files: TLSFiles, text: str, *hints: str) -> InvalidSettings:
    return InvalidSettings(f"Client certificate from {files.origin}: {text}", hints=hints)


def _read_file(path: str) -> list[str]:
    text = _read_text(path)
    certificates = usable_certificates(text)
    if not certificates:
        raise InvalidSettings(f"Adding CA certificates from '{path}': failed", hints=(_NO_PEM.format(path),))
    return certificates


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            text = file.read(_MAX_SIZE + 1)
    except OSError as error:
        verb = "read" if isinstance(error, IsADirectoryError) else "open"
        reason = (error.strerror or str(error)).lower()
        from imgpkg.errors.system import remedies

        text = f"Reading CA certificates from '{path}': {verb} {path}: {reason}"
        raise InvalidSettings(text, hints=tuple(remedies(error, path))) from error
    if len(text) > _MAX_SIZE:
        raise InvalidSettings(f"Reading CA certificates from '{path}': more than {_MAX_SIZE >> 20} MiB")
    return text


def _blocks(text: str) -> Iterator[str]:
    for after in text.split(_BEGIN)[1:]:
        inside, end, _ = after.partition(_END)
        if end:
            yield f"{_BEGIN}{inside}{_END}"
