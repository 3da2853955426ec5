"""Which of the URLs that a registry names may be requested: realms, redirects, locations."""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from imgpkg.errors import ChallengeError
from imgpkg.transport.message import Origin, redact_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.registry.auth.scope import Scope

Address: TypeAlias = "IPv4Address | IPv6Address"

_PRIVATE = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))
_METADATA_NAMES = frozenset(
    {"metadata", "metadata.google.internal", "metadata.goog", "instance-data", "instance-data.ec2.internal"}
)
# Besides the link-local ones: Amazon over IPv6, Alibaba, Azure, Oracle.
_METADATA_ADDRESSES = frozenset(
    map(ip_address, ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192"))
)
_LOOPBACK_NAMES = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
_TRANSLATED = IPv6Network("64:ff9b::/96")
_PORT = re.compile(r":\d*$")
_PORTS = {"http": 80, "https": 443}
# Parsers disagree about backslashes, and drop tabs and newlines.
_UNSAFE = re.compile(r"[^\x21-\x7e]|\\")


def may_speak_http(registry: str, *, insecure: bool = False) -> bool:
    """Tell whether `registry`, `host[:port]`, may be asked over http once https has failed.

    True for every one when `insecure`, and for loopback, `*.local` and private IPv4 addresses. Upper-case
    names are not local, as in the original.
    """
    host = _PORT.sub("", registry)
    if insecure or host == "localhost" or host.endswith((".localhost", ".local")):
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _PRIVATE)


def is_loopback(host: str) -> bool:
    """Tell whether `host`, a name or an address in any spelling, is this machine."""
    name = host.lower().rstrip(".")
    if name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def is_off_limits(host: str) -> bool:
    """Tell whether `host` is nothing a registry could send anybody to: link-local, metadata, unspecified."""
    name = host.lower().rstrip(".")
    if name in _METADATA_NAMES:
        return True
    address = _address(name)
    if address is None:
        return False
    if address in _METADATA_ADDRESSES or address.is_multicast:
        return True
    # All of 0.0.0.0/8 reaches this machine on some systems.
    is_zero = isinstance(address, IPv4Address) and address.packed[0] == 0
    return address.is_link_local or address.is_unspecified or is_zero


def _address(host: str) -> Address | None:
    """Read an address as the resolver would, also `127.1`, `0x7f000001` and IPv4 inside IPv6."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return _loose_ipv4(host)
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(address.packed[-4:])
    return address


def _loose_ipv4(host: str) -> IPv4Address | None:
    try:
        # inet_aton would ignore what follows a blank.
        return None if not host or " " in host else IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def absolute(base: str, reference: str, what: str) -> str:
    """Join as RFC 3986 does; raise ChallengeError, which calls it `what`, for text that is no URL.

    `urljoin` alone drops characters, and takes `https:///path` for relative.
    """
    if _UNSAFE.search(reference):
        raise _refused(what, reference, "it has characters that no URL may have")
    if reference.lower().startswith(("http:", "https:")):
        return reference
    try:
        return urljoin(base, reference)
    except ValueError as error:
        raise _refused(what, reference, "it names no host") from error


def check_realm(realm: str, registry: Origin) -> str:
    """Return the absolute URL of the token service that `registry` named; raise ChallengeError.

    A relative realm belongs to the registry. Refused are plain http for a registry on https, user
    information, a missing host, addresses that are link-local or serve metadata, and this machine unless the
    registry runs on it too.
    """
    url = absolute(f"{registry.url}/", realm, "realm")
    origin = check_url(url, registry, "realm")
    if registry.scheme == "https" and origin.scheme != "https":
        raise _refused(
            "realm",
            url,
            "the registry is reached over https, its token service must be too",
            hints=("A registry behind a proxy that ends TLS must be told its own address with https.",),
        )
    return urlunsplit(urlsplit(url)._replace(fragment=""))


def check_url(url: str, registry: Origin, what: str) -> Origin:
    """Return the origin of a URL that `registry` named; raise ChallengeError, which calls it `what`.

    The registry's own host is always right. Elsewhere link-local and metadata addresses are refused, and
    loopback ones unless the registry itself is on this machine.
    """
    if _UNSAFE.search(url):
        raise _refused(what, url, "it has characters that no URL may have")
    try:
        origin, user = Origin.of(url), urlsplit(url).username
    except ValueError as error:
        raise _refused(what, url, "it names no host") from error
    if origin.scheme not in _PORTS:
        raise _refused(what, url, f"unsupported protocol scheme {origin.scheme!r}")
    if user is not None:
        raise _refused(what, url, "it has user information in it")
    if origin.host != registry.host:
        _check_host(origin.host, registry.host, what, url)
    return origin


def resolve_location(location: str, url: str, registry: Origin) -> str:
    """Return the absolute URL of a Location or Link that came in answer to `url`; raise ChallengeError.

    A registry behind a proxy that ends TLS may write http where it means its own https address.
    """
    target = absolute(url, location, "location")
    origin = check_url(target, registry, "location")
    parts = urlsplit(target)
    is_own_host = origin.host == registry.host and origin.port in (80, registry.port)
    if registry.scheme == "https" and origin.scheme == "http" and is_own_host:
        parts = parts._replace(scheme="https", netloc=urlsplit(registry.url).netloc)
    return urlunsplit(parts._replace(fragment=""))


def with_query(url: str, **parameters: str) -> str:
    """Return `url` with `parameters` after the query that is there, which stays as it is."""
    separator = "&" if urlsplit(url).query else "?"
    return f"{url.rstrip('?&')}{separator}{urlencode(parameters)}"


def token_url(realm: str, scopes: Iterable[Scope], service: str, account: str) -> str:
    """Return the URL of a GET for a token; what the realm's own query says besides is kept."""
    parts = urlsplit(realm)
    ours = {"scope", "service"} | ({"account"} if account else set())
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in ours]
    asked = [("account", account)] if account else []
    asked += [("scope", str(scope)) for scope in scopes]
    asked += [("service", service)] if service else []
    query = urlencode(sorted([*kept, *asked], key=lambda pair: pair[0]), errors="surrogateescape")
    return urlunsplit(parts._replace(query=query))


def _check_host(host: str, registry: str, what: str, url: str) -> None:
    if is_off_limits(host):
        raise _refused(what, url, "a registry has no business with that address")
    if is_loopback(host) and not is_loopback(registry):
        raise _refused(what, url, "it is on this machine, and the registry is not")


def _refused(what: str, url: str, reason: str, *, hints: tuple[str, ...] = ()) -> ChallengeError:
    text = f"refusing the {what} {redact_url(url)!r} that the registry named: {reason}"
    return ChallengeError(text, hints=hints)
