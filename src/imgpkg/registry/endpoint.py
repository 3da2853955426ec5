"""One registry: http or https, its challenges, and the URLs that it may send its clients to."""

from __future__ import annotations

import re
import socket
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from imgpkg.errors import (
    CertificateRejected,
    ChallengeError,
    ConnectionFailed,
    TimedOut,
    TransportError,
    doing,
)
from imgpkg.locks import Turn
from imgpkg.registry.auth.challenge import Challenge
from imgpkg.transport.message import Origin, redact_url

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from imgpkg.registry.auth.challenge import Scope
    from imgpkg.transport.message import Request, Response

# How long https may take to connect before http is tried as well, where that is allowed.
PATIENCE = 2.0
# What the original was doing whenever a first contact failed.
PREPARING = (
    "Error while preparing a transport to talk with the registry",
    "Unable to create round tripper",
)
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


class Endpoint:
    """One registry, `host[:port]`, shared by all threads; what is learnt once is never asked again.

    `challenges` is None until a 401 came. `was_asked` tells that `GET /v2/` was answered, `is_open` that it
    was with 200; `question` is taken to ask it.
    """

    def __init__(self, name: str, *, insecure: bool = False) -> None:
        self.name = name
        self.challenges: tuple[Challenge, ...] | None = None
        self.was_asked = False
        self.is_open = False
        self.has_answered = False
        self.question = Turn()
        self._insecure = insecure
        self._scheme = None if may_speak_http(name, insecure=insecure) else "https"
        self._is_introduced = False
        self._gate = Lock()

    @property
    def origin(self) -> Origin:
        """Where it is; https while nobody knows."""
        return Origin.of(f"{self._scheme or 'https'}://{self.name}")

    def introduction(self) -> AbstractContextManager[None]:
        """Let the first exchange go alone, so that the others profit from what it learns."""
        if not self._is_introduced:
            self._gate.acquire()
            if not self._is_introduced:
                return self._introducing()
            self._gate.release()
        return nullcontext()

    @contextmanager
    def _introducing(self) -> Iterator[None]:
        try:
            yield
        finally:
            # Also after a failure: a dead registry must not be waited for by one thread after the other.
            self._is_introduced = True
            self._gate.release()

    def addressed(self, request: Request) -> Request:
        """Return `request`, whose URL may be a path, with the URL at which it is sent."""
        return self._at(self.origin.scheme, request)

    @property
    def can_answer(self) -> bool:
        """Tell whether it has challenged its clients for something that can be given."""
        return any(challenge.can_be_answered for challenge in self.challenges or ())

    def send(self, request: Request) -> Generator[Request, Response, tuple[Request, Response]]:
        """Yield `request`, whose URL is a path or this registry's, and return it as sent, with its answer.

        https is tried first. http follows only where it is allowed, and only when nothing spoke TLS in time;
        after a rejected certificate it needs `insecure`. The scheme that was answered stays.
        """
        if self.has_answered:
            return (yield from self._over(self._scheme or "https", request))
        with doing(*PREPARING):
            if self._scheme is None:
                sent, response = yield from self._over_either(request)
            else:
                sent, response = yield from self._over(self._scheme, request)
        self.has_answered = True
        return sent, response

    def learn(self, challenges: tuple[Challenge, ...]) -> None:
        """Remember how a 401 wants to be answered; one that cannot be answered does not replace one that can.

        A 401 without any challenge is taken for a Basic one.
        """
        if self.challenges is None or any(challenge.can_be_answered for challenge in challenges):
            self.challenges = challenges or (Challenge("basic"),)

    def follow_upgrade(self, url: str) -> None:
        """Go on with https when plain http was redirected to it, on the same host and port text."""
        if self._scheme == "http" and Origin.of(url) == Origin.of(f"https://{self.name}"):
            self._scheme = "https"

    def _over(self, scheme: str, request: Request) -> Generator[Request, Response, tuple[Request, Response]]:
        sent = self._at(scheme, request)
        response = yield sent
        return sent, response

    def _over_either(self, request: Request) -> Generator[Request, Response, tuple[Request, Response]]:
        try:
            answer = yield from self._over("https", replace(request, patience=PATIENCE))
        except TransportError as first:
            if not self._may_go_on(first):
                raise
            answer = yield from self._over_http(request, first)
        else:
            self._scheme = "https"
        return answer

    def _over_http(
        self, request: Request, first: TransportError
    ) -> Generator[Request, Response, tuple[Request, Response]]:
        try:
            answer = yield from self._over("http", request)
        except TransportError as second:
            if not isinstance(first, TimedOut):
                raise _joined(first, second) from second
            # Perhaps https was only slow.
            answer = yield from self._over("https", request)
            self._scheme = "https"
            return answer
        self._scheme = "http"
        return answer

    def _may_go_on(self, error: TransportError) -> bool:
        if isinstance(error, CertificateRejected):
            return self._insecure
        return isinstance(error, (ConnectionFailed, TimedOut))

    def _at(self, scheme: str, request: Request) -> Request:
        base = urlsplit(Origin.of(f"{scheme}://{self.name}").url)
        parts = urlsplit(request.url)
        url = urlunsplit(parts._replace(scheme=base.scheme, netloc=base.netloc))
        return replace(request, url=url)


def _joined(first: TransportError, second: TransportError) -> ConnectionFailed:
    reason = f"{first.reason}; {second.message}"
    return ConnectionFailed(first.method, first.url, reason, hints=(*first.hints, *second.hints))


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
