"""Token services: how they are asked for a bearer token, and what they answer."""

from __future__ import annotations

import json
import math
import re
import time
from base64 import b64encode
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from imgpkg.auth.keychain import ANONYMOUS, Credential
from imgpkg.errors import ChallengeError, ImgpkgError, RegistryError
from imgpkg.registry.auth.cache import RENEWED_BEFORE, Login, Token, not_again
from imgpkg.registry.auth.challenge import choose, named_scopes, parse_challenges
from imgpkg.registry.endpoint import absolute, check_realm, token_url
from imgpkg.registry.failure import failure
from imgpkg.transport.message import Origin, Request, bytes_body, read_at_most, redact_url
from imgpkg.values import parse_time

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from imgpkg.auth.keychain import Credential
    from imgpkg.registry.auth.cache import Logins
    from imgpkg.registry.auth.challenge import Scope
    from imgpkg.transport.message import Response

MAX_REPLY = 128 << 10
_SHORTEST_LIFE = 60.0
_LONGEST_LIFE = 10 * 365 * 86400.0
_TRUSTED_SKEW = 300.0
_TOKEN = re.compile(r"[\x21-\x7e]+")
CLIENT_ID = "imgpkg"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 10

_OK = 200
_HEADER_TEXT = re.compile(r"[\x20-\x7e\x80-\xff]*")
_NOT_SUPPORTED = frozenset({404, 405})
_NOT_ACCEPTED = frozenset({400, 401})
# What a service says to a wrong login or refresh token (RFC 6749 section 5.2, and what GitLab does).
REFUSALS = frozenset({400, 401, 403})
_READING = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class TokenReply:
    """A token, and the refresh token that came with it, empty when none did.

    `is_refused` tells that the refresh token shown was of no use, and that the token was got without it.
    """

    token: Token
    refresh_token: str = field(default="", repr=False)
    is_refused: bool = False


def read_token_reply(body: bytes, scopes: tuple[Scope, ...], now: float) -> TokenReply:
    """Read the JSON body of a token service; raise ChallengeError, whose text has nothing of the body.

    `access_token` wins over `token`. A token lives for `expires_in` seconds, at least 60 and 60 by default,
    from `issued_at` if that is within five minutes of `now`, else from `now`.
    """
    document = _object(body)
    value = document.get("access_token") or document.get("token")
    if not isinstance(value, str) or not value:
        raise ChallengeError("no token in bearer response")
    if not _TOKEN.fullmatch(value):
        raise ChallengeError("the token in the bearer response has characters that no token may have")
    refresh_token = document.get("refresh_token")
    token = Token(value, scopes, _end(document, now))
    return TokenReply(token, refresh_token if isinstance(refresh_token, str) else "")


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_REPLY:
        raise ChallengeError(f"the bearer response is longer than {MAX_REPLY >> 10} KiB")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        # The cause would carry the body.
        raise ChallengeError("the bearer response is not JSON") from None
    if not isinstance(document, dict):
        raise ChallengeError("the bearer response is not a JSON object")
    return document


def _end(document: dict[str, Any], now: float) -> float:
    issued = _time(document.get("issued_at"))
    start = issued if issued is not None and abs(issued - now) <= _TRUSTED_SKEW else now
    end = start + _life(document.get("expires_in"))
    # A token that seems to have ended on arrival tells of a wrong clock.
    return end if end - RENEWED_BEFORE > now else now + _SHORTEST_LIFE


def _life(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return _SHORTEST_LIFE
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return _SHORTEST_LIFE
    if math.isnan(seconds):
        return _SHORTEST_LIFE
    return min(max(seconds, _SHORTEST_LIFE), _LONGEST_LIFE)


def _time(value: Any) -> float | None:
    """Read an RFC 3339 time in whole seconds; None for anything else."""
    try:
        return float(math.floor(parse_time(value)))
    except (ValueError, TypeError):
        return None


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


def visit(
    request: Request, headers: Mapping[str, str], clock: Callable[[], float] = time.time
) -> Generator[Request, Response, tuple[Request, Response]]:
    """Yield `request` as it is, and return it as sent with its answer.

    A 401 to a reading request is answered with an anonymous token, from the service that this host names and
    for the scope that it names: both are its own, and nobody is shown a credential. When that leads nowhere
    the 401 is the answer. `headers` go to the token service.
    """
    response = yield request
    if response.status != 401 or request.method not in _READING:  # noqa: PLR2004 - Unauthorized
        return request, response
    challenges = parse_challenges(response.header_list("WWW-Authenticate"))
    challenge = choose(challenges, ANONYMOUS)
    if challenge is None or challenge.scheme != "bearer" or not challenge.realm:
        return request, response
    inquiry = Inquiry(
        challenge.realm,
        challenge.service,
        named_scopes((challenge,)),
        Origin.of(request.url),
        clock(),
        headers=headers,
    )
    try:
        reply = yield from fetch_token(inquiry)
    except ImgpkgError:
        return request, response
    except BaseException:
        response.close()
        raise
    response.close()
    signed = replace(request, headers={**request.headers, "Authorization": f"Bearer {reply.token.value}"})
    return signed, (yield signed)
