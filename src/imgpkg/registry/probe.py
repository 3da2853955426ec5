"""Requests that check access to one repository and change nothing, and the state of its connection."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from imgpkg.auth.keychain import claims_of, payload_of
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ChallengeError, RegistryError, TransportError
from imgpkg.registry.auth.cache import Holder
from imgpkg.registry.auth.challenge import Access, Scope, choose
from imgpkg.registry.auth.token import granted_scopes
from imgpkg.registry.client import Manifests
from imgpkg.registry.endpoint import check_realm
from imgpkg.registry.failure import unusable
from imgpkg.registry.listing import list_tags
from imgpkg.transport.certificate import ServerTLS, Trust
from imgpkg.transport.message import Origin, Request, bytes_body, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.auth.keychain import Decision
    from imgpkg.errors import ImgpkgError
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.registry.auth.cache import Token
    from imgpkg.registry.client import RegistryClient
    from imgpkg.registry.endpoint import Answer
    from imgpkg.transport.message import Response, Transport

__all__ = ["Grant", "Probe", "ServerTLS", "Surroundings", "Trust", "Witness"]

_OK = 200
_STARTED = frozenset({201, 202})
# 404 as well: some registries have removed the session by then.
_CANCELLED = frozenset({200, 202, 204, 404})


@runtime_checkable
class Inspector(Protocol):
    """A transport that can look at the certificate of a server, as the pool of connections can."""

    def inspect(self, url: str) -> ServerTLS:
        """Return what the server of an https URL shows in a handshake; raise a TransportError."""
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """A bearer token of a repository: the scopes that were asked for, and those that it allows.

    `granted` is None where neither the token nor its service lists them. `missing` are the actions that are
    needed and not granted. `is_opaque` is True for a token that is no JSON web token. `ends_at` is a Unix
    time.
    """

    asked: tuple[str, ...]
    granted: tuple[str, ...] | None
    is_opaque: bool
    issuer: str
    ends_at: float
    missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The state of a registry after the requests.

    `url` is empty when it has not answered. `clock_skew` is how many seconds its clock is ahead of the local
    one, None where it sends no date. `challenges` are their schemes in lower case. `service` is the URL of
    its token service, empty without one.
    """

    url: str = ""
    tls: ServerTLS | None = None
    clock_skew: float | None = None
    challenges: tuple[str, ...] = ()
    service: str = ""


class Witness:
    """A transport that remembers the clock of each server, and what the last request was.

    `page` is the URL of a web page that came back, empty for other answers.
    """

    def __init__(self, transport: Transport, clock: Callable[[], float]) -> None:
        self._transport = transport
        self._clock = clock
        self._skews: dict[Origin, float] = {}
        self.page = ""
        self.is_at_token_service = False

    def send(self, request: Request) -> Response:
        """Send and return the response."""
        # Each request resets them: they describe the last one.
        self.page, self.is_at_token_service = "", request.secret
        response = self._transport.send(request)
        skew = _skew(response.headers, self._clock())
        if skew is not None:
            self._skews[Origin.of(request.url)] = skew
        # Portals of networks and login pages answer any request with 200 and a page.
        if "html" in response.headers.get("Content-Type", "").lower():
            self.page = redact_url(request.url).partition("?")[0]
        return response

    def skew(self, origin: Origin) -> float | None:
        """Return how many seconds the clock of a server is ahead of the local one."""
        return self._skews.get(origin)


def _skew(headers: Mapping[str, str], now: float) -> float | None:
    try:
        return parsedate_to_datetime(headers["Date"]).timestamp() - now
    except (KeyError, ValueError, OverflowError):
        return None


class Probe:
    """Send single requests about one repository; with the credentials, tokens and refusals of a client.

    Each method raises what the methods of `RegistryClient` raise.
    """

    def __init__(self, client: RegistryClient, repository: Repository) -> None:
        self._exchange = client.watched(self._watch)
        self._authorizer = self._exchange.authorizer
        self._repository = repository
        self._endpoint = self._authorizer.endpoint(repository.registry)
        self._pull, self._push = Access.read(repository), Access.write(repository)
        self._push_grant: Grant | None = None

    def _watch(self, transport: Transport) -> Transport:
        self._inspector = transport if isinstance(transport, Inspector) else None
        self._witness = Witness(transport, time.time)
        return self._witness

    @property
    def decision(self) -> Decision:
        """The credential of the repository; raises CredentialError."""
        return self._authorizer.decision(self._repository)

    @property
    def page(self) -> str:
        """The URL of the last answer when that was a web page, otherwise empty."""
        return self._witness.page

    def ping(self) -> None:
        """Request `/v2/`, which proves a login and no right to any repository."""
        self._call(Request("GET", "/v2/"), replace(self._pull, scopes=()), frozenset({_OK}))

    def read(self, reference: Reference) -> Descriptor:
        """Ask for a manifest by HEAD, and by GET only for the reason of a refusal."""
        return Manifests(self._exchange).resolve(reference)

    def list(self) -> str:
        """Return a tag of the repository, empty when it has none, from one page of one tag."""
        return next(list_tags(self._exchange, self._repository, per_page=1), "")

    def write(self) -> str:
        """Open an upload of a blob and cancel it; return what hindered its end, empty for nothing.

        An upload that is not cancelled holds no bytes, and registries remove it after some days.
        """
        path = f"/v2/{self._repository.path}/blobs/uploads/"
        # Distribution-spec, "Pushing a blob in chunks": a POST opens a session, DELETE of its location
        # cancels it.
        answer = self._call(Request("POST", path, body=bytes_body(b"")), self._push, _STARTED)
        # Some registries require more actions to cancel it, which a push does not need.
        self._push_grant = self.grant(push=True)
        location = answer.response.headers.get("Location")
        if not location:
            return "the registry named no place to cancel it at"
        try:
            return self._cancel(self._exchange.location(location, answer, self._repository))
        except (RegistryError, TransportError, ChallengeError) as error:
            return str(error)

    def _cancel(self, url: str) -> str:
        answer = self._exchange.send(Request("DELETE", url), self._push)
        answer.response.close()
        status = answer.response.status
        return "" if status in _CANCELLED else f"the registry answered {status} to DELETE"

    def _call(self, request: Request, access: Access, accept: frozenset[int]) -> Answer:
        answer = self._exchange.repeat(lambda: self._exchange.call(request, access, accept))
        answer.response.close()
        if self.page:
            raise unusable(answer.request, answer.response, "a web page came back")
        return answer

    def grant(self, *, push: bool = False, nothing: bool = False) -> Grant | None:
        """Return what the token allows that was used last to pull or to push; None when none was used.

        With `nothing` that of `/v2/` alone.
        """
        if push and self._push_grant is not None:
            return self._push_grant
        scopes = () if nothing else (self._push if push else self._pull).scopes
        token = self._authorizer.tokens.latest(Holder.of_decision(self.decision), scopes)
        return None if token is None else _granted(token, scopes)

    def is_of_token_service(self, error: ImgpkgError) -> bool:
        """Return True when a request has failed at the token service, and not at the registry."""
        if self._witness.is_at_token_service:
            return True
        # A login that was refused before is not sent again: the error is that of the first time.
        url, service = getattr(error, "url", ""), self._service()
        return bool(service) and url.partition("?")[0] == service.partition("?")[0]

    def surroundings(self, *, look: bool = False) -> Surroundings:
        """Return what is known of the registry, also its certificate where it has answered or with `look`."""
        origin, has_answered = self._endpoint.origin, self._endpoint.has_answered
        return Surroundings(
            origin.url if has_answered else "",
            self._tls(origin) if has_answered or look else None,
            self._witness.skew(origin),
            tuple(dict.fromkeys(challenge.scheme for challenge in self._endpoint.challenges or ())),
            self._service(),
        )

    def _tls(self, origin: Origin) -> ServerTLS | None:
        if self._inspector is None or origin.scheme != "https":
            return None
        try:
            return self._inspector.inspect(origin.url)
        except TransportError:
            return None

    def _service(self) -> str:
        challenge = choose(self._endpoint.challenges or (), self.decision.credential)
        if challenge is None or challenge.scheme != "bearer" or not challenge.realm:
            return ""
        try:
            return redact_url(check_realm(challenge.realm, self._endpoint.origin))
        # A realm that is refused is the error of the request, and no token service.
        except ChallengeError:
            return ""


def _granted(token: Token, wanted: tuple[Scope, ...]) -> Grant:
    granted = granted_scopes(token.value, token.granted)
    return Grant(
        tuple(map(str, token.scopes)),
        None if granted is None else tuple(map(str, granted)),
        not payload_of(token.value),
        claims_of(token.value).issuer,
        token.ends_at,
        frozenset() if granted is None else _missing(granted, wanted),
    )


def _missing(granted: tuple[Scope, ...], wanted: tuple[Scope, ...]) -> frozenset[str]:
    """Return the actions of `wanted` that are not granted."""
    # By resource: a token may list actions in several entries and any order.
    held = {scope.resource: scope.actions for scope in granted}
    return frozenset(
        action
        for scope in wanted
        for action in scope.actions
        if not {action, "*"} & held.get(scope.resource, frozenset())
    )
