"""The certificate of a server, verified or not, in the few fields that people ask for (RFC 5280, X.690)."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import datetime, timezone
from enum import Enum
from ipaddress import ip_address
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import CertificateRejected, ImgpkgError, printable
from imgpkg.transport.authorities import client_context
from imgpkg.transport.failure import EXPIRED, WRONG_NAME, root_of
from imgpkg.transport.http11 import Link
from imgpkg.transport.pem import TLSFiles, load_client_certificate, read_certificates
from imgpkg.transport.remedy import CLOCK, OTHER_NAME, VERIFY_OFF, rejected

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from imgpkg.cancellation import Cancellation
    from imgpkg.transport.authorities import ClientContext
    from imgpkg.transport.message import Request
    from imgpkg.transport.pool import Limits, Route

# The tags of X.690 that a certificate is made of.
_OCTETS, _NAME_OID, _SEQUENCE, _UTC_TIME = 0x04, 0x06, 0x30, 0x17
_VERSION, _EXTENSIONS = 0xA0, 0xA3
_DNS_NAME, _IP_ADDRESS = 0x82, 0x87
_LONG_LENGTH, _MOST_LENGTH_BYTES = 0x80, 4
_UTF16_STRING = 0x1E
_COMMON_NAME, _ORGANIZATION = b"\x55\x04\x03", b"\x55\x04\x0a"
_ALTERNATIVE_NAMES = b"\x55\x1d\x11"
# OpenSSL's X509_V_ERR_* numbers for a certificate that is its own issuer.
_SELF_SIGNED = frozenset({18})
# RFC 5280 section 4.1.2.5.1: two digits from 50 on are of the twentieth century.
_FIRST_OF_OLD_CENTURY = 50
# Certificates of content delivery networks name a hundred hosts.
_MOST_NAMES = 20


class Trust(Enum):
    """Why a certificate was accepted, or that it was not."""

    SYSTEM = "an authority of the system"
    ADDED = "an added authority"
    UNVERIFIED = "not verified"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Certificate:
    """Whom it was issued for and by, the hosts that it names, and its validity as Unix times in seconds."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    starts_at: float
    ends_at: float


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """The version of TLS, such as `TLSv1.3`, and the certificate; None when that cannot be read."""

    version: str
    trust: Trust
    certificate: Certificate | None


@dataclass(frozen=True, slots=True)
class Handshakes:
    """Handshakes with the server of one route, to look at its certificate.

    Each is on a connection of its own, which is closed at once: no request is sent over it. `files` are those
    of the host.
    """

    request: Request
    route: Route
    limits: Limits
    announce: Callable[[str], None]
    scope: Cancellation
    environ: Mapping[str, str] = field(repr=False)
    files: TLSFiles = TLSFiles()

    def inspect(self, authorities: tuple[str, ...], *, verify: bool) -> ServerTLS:
        """Return what the server shows, also when its certificate is not accepted; raise a TransportError."""

        def of_proxy() -> ClientContext:
            # A proxy is verified like any other peer, and offered no certificate of the client.
            return client_context(authorities, verify=verify, environ=self.environ)

        all_added = (*authorities, *read_certificates(self.files.authorities))
        # In this order, so that an added authority is named only where it is needed.
        added = [all_added] if all_added else []
        for chosen in [(), *added] if verify else []:
            with suppress(CertificateRejected):
                shown = self._look(client_context(chosen, verify=True, environ=self.environ), of_proxy)
                return _shown(Trust.ADDED if chosen else Trust.SYSTEM, shown)
        trust = Trust.REJECTED if verify else Trust.UNVERIFIED
        return _shown(trust, self._look(client_context((), verify=False, environ=self.environ), of_proxy))

    def meaning(
        self, error: CertificateRejected, authorities: tuple[str, ...], folders: tuple[str, ...]
    ) -> tuple[str, ...]:
        """Return what is wrong with the certificate of a server, and what to do, from a look at it.

        `authorities` are those that are trusted besides the system's, `folders` may have those of a host.
        """
        code = getattr(root_of(error), "verify_code", 0)

        def of_proxy() -> ClientContext:
            # A login is sent to the proxy: it is verified here, too.
            return client_context(authorities, verify=True, environ=self.environ)

        shown = None
        with suppress(ImgpkgError):
            context = client_context((), verify=False, environ=self.environ)
            shown = _shown(Trust.REJECTED, self._look(context, of_proxy)).certificate
        if shown is None:
            return tuple(rejected(code))
        return (printable(_meaning(shown, code, self.route.origin.authority, folders)), VERIFY_OFF)

    def _look(self, context: ClientContext, of_proxy: Callable[[], ClientContext]) -> tuple[str, bytes]:
        if self.files.certificate:
            load_client_certificate(context, self.files)
        link = Link(self.route, self.limits, self.announce)
        link.connect(
            self.request, lambda end: context if end is self.route.origin else of_proxy(), self.scope
        )
        try:
            return link.security
        finally:
            link.close()


def _shown(trust: Trust, found: tuple[str, bytes]) -> ServerTLS:
    version, der = found
    certificate = None
    with suppress(ValueError):
        certificate = read_certificate(der)
    return ServerTLS(version, trust, certificate)


def _meaning(shown: Certificate, code: int, host: str, folders: tuple[str, ...]) -> str:
    of = f"The certificate of {host}"
    by = f"issued by {shown.issuer or 'nobody'}"
    if code in EXPIRED:
        now = time.time()
        when = (
            f"begins on {_day(shown.starts_at)}"
            if now < shown.starts_at
            else f"ended on {_day(shown.ends_at)}"
        )
        return f"{of} {when} ({by}), and this machine's clock says {_day(now)}. {CLOCK}"
    if code in WRONG_NAME:
        names = ", ".join(shown.names) or shown.subject or "no host"
        return f"{of} is for {names} ({by}). {OTHER_NAME}"
    if code in _SELF_SIGNED:
        return f"{of} is signed by nobody but itself. {_trust(host, folders)}"
    return f"{of} was {by}, which is not among the authorities that are trusted. {_trust(host, folders)}"


def _trust(host: str, folders: tuple[str, ...]) -> str:
    place = f", or as FILE.crt in {folders[0]}/{host}" if folders else ""
    return (
        "If you trust who signed it, add that certificate: --registry-ca-cert-path FILE"
        f"{place}; $SSL_CERT_FILE replaces all authorities of the system."
    )


def _day(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d")


def read_certificate(der: bytes) -> Certificate:
    """Read a certificate in DER; raise ValueError for other bytes. No signature is verified."""
    # RFC 5280 section 4.1: serial number, signature algorithm, issuer, validity, subject, and more.
    whole = _only(der, _SEQUENCE)
    fields = list(_elements(_only(whole, _SEQUENCE, is_first=True)))
    body = fields[1:] if fields and fields[0][0] == _VERSION else fields
    try:
        (_, issuer), (_, validity), (_, subject) = body[2:5]
        start, end = _elements(validity)
    except ValueError:
        raise ValueError("these bytes are no certificate") from None
    names = [name for tag, value in body[5:] if tag == _EXTENSIONS for name in _alternative_names(value)]
    return Certificate(_name(subject), _name(issuer), tuple(names[:_MOST_NAMES]), _time(*start), _time(*end))


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the tag and the content of each element (X.690 section 8.1); raise ValueError."""
    at = 0
    while at < len(data):
        tag, length, at = data[at], *_length(data, at + 1)
        if at + length > len(data):
            raise ValueError("an element of the certificate is cut off")
        yield tag, data[at : at + length]
        at += length


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return a length and the position after it."""
    if at >= len(data):
        raise ValueError("the certificate is cut off")
    if data[at] < _LONG_LENGTH:
        return data[at], at + 1
    count = data[at] - _LONG_LENGTH
    if not 0 < count <= _MOST_LENGTH_BYTES:
        raise ValueError("the certificate has a length that DER does not allow")
    return int.from_bytes(data[at + 1 : at + 1 + count], "big"), at + 1 + count


def _only(data: bytes, tag: int, *, is_first: bool = False) -> bytes:
    elements = list(_elements(data))
    if not elements or elements[0][0] != tag or (len(elements) > 1 and not is_first):
        raise ValueError("these bytes are no certificate")
    return elements[0][1]


def _name(data: bytes) -> str:
    """Return the common name, or else the organization; the issuer of public authorities has both."""
    found: dict[bytes, str] = {}
    for _, group in _elements(data):
        for _, pair in _elements(group):
            parts = list(_elements(pair))
            if len(parts) == 2 and parts[0][0] == _NAME_OID:  # noqa: PLR2004 - type and value
                found.setdefault(parts[0][1], _text(*parts[1]))
    words = [found[kind] for kind in (_COMMON_NAME, _ORGANIZATION) if found.get(kind)]
    return f"{words[0]} ({words[1]})" if len(words) > 1 else "".join(words)


def _text(tag: int, value: bytes) -> str:
    return value.decode("utf-16-be" if tag == _UTF16_STRING else "utf-8", errors="replace")


def _time(tag: int, value: bytes) -> float:
    text = value.decode("ascii", errors="replace")
    if tag == _UTC_TIME:
        century = "19" if int(text[:2]) >= _FIRST_OF_OLD_CENTURY else "20"
        text = century + text
    # Their only forms in a certificate (RFC 5280 section 4.1.2.5) end in Z and have no fraction.
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()


def _alternative_names(data: bytes) -> Iterator[str]:
    for _, extension in _elements(_only(data, _SEQUENCE)):
        parts = list(_elements(extension))
        if parts and parts[0] == (_NAME_OID, _ALTERNATIVE_NAMES) and parts[-1][0] == _OCTETS:
            yield from _general_names(_only(parts[-1][1], _SEQUENCE))


def _general_names(data: bytes) -> Iterator[str]:
    for tag, value in _elements(data):
        if tag == _DNS_NAME:
            yield value.decode("ascii", errors="replace")
        elif tag == _IP_ADDRESS:
            yield str(ip_address(value))
