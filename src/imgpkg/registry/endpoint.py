"""One registry: http or https, its challenges, and the URLs that it may send its clients to."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager, contextmanager, nullcontext
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from imgpkg.cancellation import acquire
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import (
    CertificateRejected,
    ChallengeError,
    ConnectionFailed,
    ConnectionTimedOut,
    NotTLS,
    TransportError,
)
from imgpkg.expression import expression
from imgpkg.locks import Turn
from imgpkg.registry.auth.challenge import Challenge
from imgpkg.transport.message import Origin, redact_url

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from imgpkg.registry.auth.challenge import Scope
    from imgpkg.transport.message import Request, Response

# Seconds to connect over https before http is tried as well, where that is allowed.
HTTPS_TIMEOUT = 2.0
_HINT_OPERATOR = "The set-up of the registry has to name another address: ask its operator."
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
_PORT = expression(r":\d*$")
_PORTS = {"http": 80, "https": 443}
# Parsers of URLs disagree about backslashes, and some drop tabs and newlines.
_UNSAFE = expression(r"[^\x21-\x7e]|\\")


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and the request that it answers, as it was sent."""

    request: Request
    response: Response


class Endpoint:
    """One registry, `host[:port]`, shared by all threads: what one request finds out is used by the others.

    `challenges` is None until a 401 came. `is_probed` is True after the answer to `GET /v2/`, and `is_open`
    when that was 200; `probe_turn` is held while the request is sent.
    """

    def __init__(self, name: str, *, insecure: bool = False) -> None:
        self.name = name
        self.challenges: tuple[Challenge, ...] | None = None
        self.is_probed = False
        self.is_open = False
        self.has_answered = False
        self.probe_turn = Turn()
        self._insecure = insecure
        self._scheme = None if may_speak_http(name, insecure=insecure) else "https"
        self._is_contacted = False
        self._contact_lock = Lock()

    @property
    def origin(self) -> Origin:
        """Its scheme, host and port; https until the first request has decided between http and https."""
        return Origin.of(f"{self._scheme or 'https'}://{self.name}")

    @property
    def can_be_answered(self) -> bool:
        """True when one of its challenges can be answered."""
        return any(challenge.can_be_answered for challenge in self.challenges or ())

    def first_contact(self) -> AbstractContextManager[None]:
        """Let the first exchange run alone, so that the others can use its result."""
        if not self._is_contacted:
            acquire(self._contact_lock)
            if not self._is_contacted:
                return self._contacting()
            self._contact_lock.release()
        return nullcontext()

    @contextmanager
    def _contacting(self) -> Iterator[None]:
        try:
            yield
        finally:
            # Also after a failure: otherwise the threads would wait for a dead registry one after the other.
            self._is_contacted = True
            self._contact_lock.release()

    def addressed(self, request: Request) -> Request:
        """Return `request`, whose URL may be a path, with the URL at which it is sent."""
        return self._at(self.origin.scheme, request)

    def send(self, request: Request) -> Generator[Request, Response, Answer]:
        """Yield `request`, whose URL is a path or this registry's, and return the answer.

        https is tried first. http follows only where it is allowed, and only if no TLS was found in time;
        after a rejected certificate it needs `insecure`. The scheme of the first answer is kept.
        """
        if self._scheme is None:
            answer = yield from self._send_over_either(request)
        else:
            answer = yield from self._send_over(self._scheme, request)
        self.has_answered = True
        return answer

    def learn(self, challenges: tuple[Challenge, ...]) -> None:
        """Keep the challenges of a 401, unless none of them can be answered and there are others already.

        A 401 without any challenge is taken for Basic.
        """
        # Some registries answer single requests with a 401 without a usable challenge.
        if self.challenges is None or any(challenge.can_be_answered for challenge in challenges):
            self.challenges = challenges or (Challenge("basic"),)

    def follow_upgrade(self, url: str) -> None:
        """Use https from now on when plain http is redirected to it on the same `host[:port]`."""
        # Only upwards: a redirect from https to http does not change the scheme.
        if self._scheme == "http" and Origin.of(url) == Origin.of(f"https://{self.name}"):
            self._scheme = "https"

    def _send_over_either(self, request: Request) -> Generator[Request, Response, Answer]:
        try:
            answer = yield from self._send_over("https", replace(request, connect_timeout=HTTPS_TIMEOUT))
        except TransportError as first:
            if not self._may_try_http(first):
                raise
            answer = yield from self._send_over_http(request, first)
        else:
            self._scheme = "https"
        return answer

    def _send_over_http(
        self, request: Request, first: TransportError
    ) -> Generator[Request, Response, Answer]:
        try:
            answer = yield from self._send_over("http", request)
        except TransportError as second:
            # Both errors are reported, since either may be the one to correct.
            if not isinstance(first, ConnectionTimedOut):
                raise _joined(first, second) from second
            # Neither answered: https may only be slow, and is tried once more with the usual time limit.
            answer = yield from self._send_over("https", request)
            self._scheme = "https"
            return answer
        self._scheme = "http"
        return answer

    def _send_over(self, scheme: str, request: Request) -> Generator[Request, Response, Answer]:
        sent = self._at(scheme, request)
        return Answer(sent, (yield sent))

    def _may_try_http(self, error: TransportError) -> bool:
        # The peer uses TLS: http would bypass the verification of its certificate.
        if isinstance(error, CertificateRejected):
            return self._insecure
        return isinstance(error, (ConnectionFailed, ConnectionTimedOut))

    def _at(self, scheme: str, request: Request) -> Request:
        base = urlsplit(Origin.of(f"{scheme}://{self.name}").url)
        parts = urlsplit(request.url)
        url = urlunsplit(parts._replace(scheme=base.scheme, netloc=base.netloc))
        return replace(request, url=url, to_registry=True)


def _joined(first: TransportError, second: TransportError) -> ConnectionFailed:
    reason = f"{first.reason}; {second.message}"
    # Most of them are the same for both, and https without TLS is what made http the next to try.
    hints = dict.fromkeys((*second.hints, *(() if isinstance(first, NotTLS) else first.hints)))
    return ConnectionFailed(first.method, first.url, reason, hints=tuple(hints))


def may_speak_http(registry: str, *, insecure: bool = False) -> bool:
    """Return True when http may be tried for `registry`, `host[:port]`, after https has failed.

    That is allowed with `insecure`, and for loopback, `*.local` and private IPv4 addresses. Upper-case names
    are not local, as in the original.
    """
    # The rules are those of the original, which scripts rely on.
    host = _PORT.sub("", registry)
    if insecure or host == "localhost" or host.endswith((".localhost", ".local")):
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    return address.is_loopback or any(address in network for network in _PRIVATE)


def is_loopback(host: str) -> bool:
    """Return True when `host`, a name or an address in any spelling, is this machine."""
    name = host.lower().rstrip(".")
    if name in _LOOPBACK_NAMES or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def is_forbidden_host(host: str) -> bool:
    """Return True for hosts that no registry may name: link-local, metadata, multicast, unspecified."""
    name = host.lower().rstrip(".")
    if name in _METADATA_NAMES:
        return True
    address = _address(name)
    if address is None:
        return False
    # Services at these addresses return the credentials of the machine to anyone who asks.
    if address in _METADATA_ADDRESSES or address.is_multicast:
        return True
    # All of 0.0.0.0/8 reaches this machine on some systems.
    is_zero = isinstance(address, IPv4Address) and address.packed[0] == 0
    return address.is_link_local or address.is_unspecified or is_zero


def _address(host: str) -> Address | None:
    """Read an address as a resolver does, also `127.1`, `0x7f000001` and IPv4 inside IPv6."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return _loose_ipv4(host)
    if isinstance(address, IPv6Address):
        # The addresses of IPv4 inside of IPv6 are checked as what they reach.
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return IPv4Address(address.packed[-4:])
    return address


def _loose_ipv4(host: str) -> IPv4Address | None:
    try:
        # inet_aton ignores what follows a blank.
        return None if not host or " " in host else IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None


def absolute(base: str, reference: str, what: str) -> str:
    """Join two URLs (RFC 3986); raise ChallengeError, whose text names it `what`, for text that is no URL.

    `urljoin` alone drops characters, and takes `https:///path` for a relative URL.
    """
    if _UNSAFE.search(reference):
        raise _refusal(what, reference, "it has characters that no URL may have")
    if reference.lower().startswith(("http:", "https:")):
        return reference
    try:
        return urljoin(base, reference)
    except ValueError as error:
        raise _refusal(what, reference, "it names no host") from error


def check_realm(realm: str, registry: Origin) -> str:
    """Return the absolute URL of the token service that `registry` named; raise ChallengeError.

    A relative realm belongs to the registry. Besides what `check_url` refuses, a realm over plain http is
    refused for a registry on https.
    """
    url = absolute(f"{registry.url}/", realm, "realm")
    origin = check_url(url, registry, "realm")
    if registry.scheme == "https" and origin.scheme != "https":
        raise _refusal(
            "realm",
            url,
            "the registry is reached over https, its token service must be too",
            hints=("A registry behind a proxy that ends TLS must be told its own address with https.",),
        )
    return urlunsplit(urlsplit(url)._replace(fragment=""))


def check_url(url: str, registry: Origin, what: str) -> Origin:
    """Return the origin of a URL that `registry` named; raise ChallengeError, whose text names it `what`.

    Refuse user information, a missing host, link-local and metadata addresses, and this machine unless the
    registry runs on it too. The registry's own host is always allowed.
    """
    if _UNSAFE.search(url):
        raise _refusal(what, url, "it has characters that no URL may have")
    try:
        origin, user = Origin.of(url), urlsplit(url).username
    except ValueError as error:
        raise _refusal(what, url, "it names no host") from error
    if origin.scheme not in _PORTS:
        raise _refusal(what, url, f"unsupported protocol scheme {origin.scheme!r}")
    if user is not None:
        raise _refusal(what, url, "it has user information in it")
    if origin.host != registry.host:
        _check_host(origin.host, registry.host, what, url)
    return origin


def resolve_location(location: str, url: str, registry: Origin) -> str:
    """Return the absolute URL of a Location or Link in the response to `url`; raise ChallengeError.

    A registry behind a proxy that ends TLS may write http where it means its own https URL.
    """
    target = absolute(url, location, "location")
    origin = check_url(target, registry, "location")
    parts = urlsplit(target)
    is_own_host = origin.host == registry.host and origin.port in (80, registry.port)
    if registry.scheme == "https" and origin.scheme == "http" and is_own_host:
        parts = parts._replace(scheme="https", netloc=urlsplit(registry.url).netloc)
    return urlunsplit(parts._replace(fragment=""))


def with_query(url: str, **parameters: str) -> str:
    """Return `url` with `parameters` appended to its query, which stays as it is."""
    separator = "&" if urlsplit(url).query else "?"
    return f"{url.rstrip('?&')}{separator}{urlencode(parameters)}"


def token_url(realm: str, scopes: Iterable[Scope], service: str, account: str) -> str:
    """Return the URL of a GET for a token; other parameters in the query of the realm are kept."""
    parts = urlsplit(realm)
    # The realm may have a query of its own, for example the account of a tenant.
    ours = {"scope", "service"} | ({"account"} if account else set())
    kept = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] not in ours]
    asked = [("account", account)] if account else []
    asked += [("scope", str(scope)) for scope in scopes]
    asked += [("service", service)] if service else []
    query = urlencode(sorted([*kept, *asked], key=lambda pair: pair[0]), errors="surrogateescape")
    return urlunsplit(parts._replace(query=query))


def _check_host(host: str, registry: str, what: str, url: str) -> None:
    if is_forbidden_host(host):
        raise _refusal(what, url, "a registry has no business with that address")
    # A registry elsewhere could otherwise make the client send requests to services of this machine.
    if is_loopback(host) and not is_loopback(registry):
        raise _refusal(what, url, "it is on this machine, and the registry is not")


def _refusal(what: str, url: str, reason: str, *, hints: tuple[str, ...] = ()) -> ChallengeError:
    text = f"refusing the {what} {redact_url(url)!r} that the registry named: {reason}"
    return ChallengeError(text, hints=hints or (_HINT_OPERATOR,))
