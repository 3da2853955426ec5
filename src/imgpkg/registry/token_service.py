"""How a token service is asked: GET with a login or none, POST with a refresh token."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from imgpkg.auth.credential import ANONYMOUS, Credential
from imgpkg.errors import ChallengeError, RegistryError
from imgpkg.registry.failure import failure
from imgpkg.registry.logins import Login, not_again
from imgpkg.registry.realm import absolute, check_realm, token_url
from imgpkg.registry.token_reply import MAX_REPLY, TokenReply, read_token_reply
from imgpkg.transport.message import Origin, Request, bytes_body, read_at_most
from imgpkg.transport.redact import redact_url

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from imgpkg.registry.logins import Logins
    from imgpkg.registry.scope import Scope
    from imgpkg.transport.message import Response

CLIENT_ID = "imgpkg"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 10

_OK = 200
_HEADER_TEXT = re.compile(r"[\x20-\x7e\x80-\xff]*")
_NOT_SUPPORTED = frozenset({404, 405})
_NOT_ACCEPTED = frozenset({400, 401})
# What a service says to a wrong login or refresh token (RFC 6749 section 5.2, and what GitLab does).
REFUSALS = frozenset({400, 401, 403})


@dataclass(frozen=True, slots=True)
class Inquiry:
    """What to ask which token service for; `refresh_token` wins over the login of `credential`.

    `realm` is as the registry wrote it, `registry` the origin whose word it is, `headers` go with every
    request, `now` is a Unix time. `logins` knows what was refused; a login needs it.
    """

    realm: str
    service: str
    scopes: tuple[Scope, ...]
    registry: Origin
    now: float
    credential: Credential = ANONYMOUS
    refresh_token: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    hints: tuple[str, ...] = ()
    logins: Logins | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that the service gets to see, and may say again."""
        return (*secrets_of(self.credential), *filter(None, [self.refresh_token]))


def secrets_of(credential: Credential) -> tuple[str, ...]:
    """Every secret in `credential`, also in the form in which a login is sent."""
    sent = (basic(credential).removeprefix("Basic "),) if credential.has_login else ()
    return (*credential.secrets(), *sent)


def basic(credential: Credential) -> str:
    """Return the Authorization header of a login (RFC 7617)."""
    login = f"{credential.username}:{credential.password}".encode(errors="surrogateescape")
    return f"Basic {b64encode(login).decode('ascii')}"


def header_of(credential: Credential) -> str:
    """Return the Authorization header that shows a credential to a registry itself; empty for none."""
    if credential.registry_token:
        return f"Bearer {credential.registry_token}"
    return basic(credential) if credential.has_login else ""


def check_header(header: str) -> None:
    """Raise ChallengeError for what no header can hold; only a registry token may be that."""
    if not _HEADER_TEXT.fullmatch(header):
        raise ChallengeError(
            "the registry token cannot be sent: it holds a newline or another character that no header has"
        )


def fetch_token(inquiry: Inquiry) -> Generator[Request, Response, TokenReply]:
    """Yield the requests it takes, receive their responses, return the token.

    A service that knows no POST, or that refuses the refresh token while there is a login, is asked with
    GET. Raises ChallengeError for a realm that must not be asked and for a reply without a token, and a
    RegistryError when the service says no, or is out of order.
    """
    realm = check_realm(inquiry.realm, inquiry.registry)
    if inquiry.refresh_token:
        try:
            return (yield from _fetch(inquiry, _post(inquiry, realm), f"Refresh {inquiry.refresh_token}"))
        except RegistryError as error:
            has_login = inquiry.credential.has_login
            if not (error.status in _NOT_SUPPORTED or (has_login and error.status in _NOT_ACCEPTED)):
                raise
    request = _get(inquiry, realm)
    reply = yield from _fetch(inquiry, request, request.headers.get("Authorization", ""))
    return replace(reply, is_refused=bool(inquiry.refresh_token))


def _get(inquiry: Inquiry, realm: str) -> Request:
    credential = inquiry.credential
    account = credential.username if credential.has_login else ""
    headers = dict(inquiry.headers)
    if credential.has_login:
        headers["Authorization"] = basic(credential)
    url = token_url(realm, inquiry.scopes, inquiry.service, account)
    return Request("GET", url, headers, secret=True)


def _post(inquiry: Inquiry, realm: str) -> Request:
    form = {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": inquiry.refresh_token,
        "scope": " ".join(map(str, inquiry.scopes)),
    }
    if inquiry.service:
        form["service"] = inquiry.service
    body = bytes_body(urlencode(form, errors="surrogateescape").encode("ascii"), secret=True)
    headers = {**inquiry.headers, "Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", realm, headers, body, secret=True)


def _fetch(inquiry: Inquiry, request: Request, secret: str) -> Generator[Request, Response, TokenReply]:
    """Send a request with a secret in it, unless the service has refused that; an empty one is none."""
    if not secret or inquiry.logins is None:
        return _reply(inquiry, request, (yield from _follow(inquiry, request)))
    login = Login(secret, Origin.of(request.url), inquiry.scopes)
    hints = (*inquiry.hints, not_again(login.origin.host))
    with inquiry.logins.sending(login, request, lambda: hints) as refusal:
        if refusal is not None:
            raise refusal
        response = yield from _follow(inquiry, request)
        if response.status != _OK:
            error = _refusal(inquiry, request, response)
            if error.status in REFUSALS:
                inquiry.logins.refuse(login, error)
            raise error
        inquiry.logins.accept(login)
    return _reply(inquiry, request, response)


def _follow(inquiry: Inquiry, request: Request) -> Generator[Request, Response, Response]:
    for _ in range(MOST_REDIRECTS + 1):
        response = yield request
        location = response.headers.get("Location")
        if response.status not in REDIRECTS or not location:
            return response
        response.close()
        request = _redirected(inquiry, request, response.status, location)
    raise ChallengeError(f"{request.method} {redact_url(request.url)}: stopped after 10 redirects")


def _redirected(inquiry: Inquiry, request: Request, status: int, location: str) -> Request:
    """Return the next request; a secret stays at the origin that the registry named."""
    url = check_realm(absolute(request.url, location, "redirect target"), inquiry.registry)
    is_elsewhere = Origin.of(url) != Origin.of(request.url)
    if is_elsewhere and (request.body is not None or "Authorization" in request.headers):
        raise ChallengeError(
            f"{request.method} {redact_url(request.url)}: refusing the redirect of a token request with a "
            f"secret to another origin, {redact_url(url)}"
        )
    if request.body is not None and status not in (307, 308):
        raise ChallengeError(
            f"{request.method} {redact_url(request.url)}: refusing the redirect of a token request, it would "
            "lose its body"
        )
    return Request(request.method, url, request.headers, request.body, secret=True)


def _reply(inquiry: Inquiry, request: Request, response: Response) -> TokenReply:
    if response.status != _OK:
        raise _refusal(inquiry, request, response)
    with response:
        body = read_at_most(response, MAX_REPLY + 1)
    return read_token_reply(body, inquiry.scopes, inquiry.now)


def _refusal(inquiry: Inquiry, request: Request, response: Response) -> RegistryError:
    return failure(
        request,
        response,
        now=inquiry.now,
        hints=inquiry.hints,
        secrets=inquiry.secrets,
        can_be_absent=False,
    )
