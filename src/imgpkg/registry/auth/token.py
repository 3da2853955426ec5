"""Token services: how they are asked for a bearer token, and what they answer."""

from __future__ import annotations

import json
import math
import time
from base64 import b64encode
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlencode

from imgpkg.auth.keychain import ANONYMOUS, Credential, parse_time, payload_of
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import ChallengeError, ImgpkgError, RegistryError
from imgpkg.expression import expression
from imgpkg.registry.auth.cache import RENEWED_BEFORE, LoginAttempt, Token, withheld_hint
from imgpkg.registry.auth.challenge import (
    Scope,
    UnusableCredential,
    choose,
    merge,
    named_scopes,
    parse_challenges,
    parse_scopes,
)
from imgpkg.registry.endpoint import Answer, absolute, check_realm, token_url
from imgpkg.registry.failure import WEB_PAGE, failure, is_web_page
from imgpkg.transport.message import Origin, Request, bytes_body, read_at_most, redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from imgpkg.registry.auth.cache import Logins
    from imgpkg.transport.message import Response

MAX_REPLY = 128 << 10
# Seconds. The specification of tokens has 60 as the default and the least of `expires_in`.
_SHORTEST_LIFE = 60.0
_LONGEST_LIFE = 10 * 365 * 86400.0
# Seconds between the clocks of the service and of this machine that are taken for normal.
_TRUSTED_SKEW = 300.0
_TOKEN = expression(r"[\x21-\x7e]+")
CLIENT_ID = "imgpkg"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The limit of Go's client.
MOST_REDIRECTS = 10

_OK, _UNAUTHORIZED = 200, 401
_HEADER_TEXT = expression(r"[\x20-\x7e\x80-\xff]*")
_NOT_SUPPORTED = frozenset({404, 405})
_NOT_ACCEPTED = frozenset({400, 401})
# The statuses for a wrong login or refresh token (RFC 6749 section 5.2; GitLab sends 403).
REFUSALS = frozenset({400, 401, 403})
_READING = frozenset({"GET", "HEAD"})


class Explain(Protocol):
    """What sets the refusal and the hints of an error of a token service."""

    def __call__(self, error: RegistryError, *, secret: str, service: str) -> None:
        """Explain an answer of the host `service`; `secret` is what was sent, as a LoginAttempt has it."""
        ...


def leave_unexplained(error: RegistryError, *, secret: str, service: str) -> None:
    """Set nothing: for requests that have nothing to do with a credential."""


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """What to ask a token service for; `refresh_token` is preferred to the login of `credential`.

    `realm` is the text of the challenge, `registry` the origin that sent it. Every request has `headers`,
    `now` is a Unix time, and `explain` sets the hints of an error. `logins` records whether the secret was
    accepted; a request without a secret needs none.
    """

    realm: str
    service: str
    scopes: tuple[Scope, ...]
    registry: Origin
    now: float
    credential: Credential = ANONYMOUS
    refresh_token: str = field(default="", repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    explain: Explain = leave_unexplained
    logins: Logins | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every secret that is sent to the service, which may repeat it in a response."""
        return (*secrets_of(self.credential), *filter(None, [self.refresh_token]))


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token to send as `Authorization: Bearer`, and what is known about it.

    `scopes` are those that were asked for, empty for a token that was configured; `granted` are
    those that it allows, and `ends_at` is a Unix time in seconds, both None if they are unknown.
    """

    value: str = field(repr=False)
    scopes: tuple[Scope, ...] = ()
    service: str = ""
    ends_at: float | None = None
    granted: tuple[Scope, ...] | None = None


def granted_scopes(token: str, said: str = "") -> tuple[Scope, ...] | None:
    """Return what a token allows: its claim `access`, else what its service `said`; None without both.

    The claim is that of the distribution token specification, the text the `scope` of RFC 6749 section 5.1.
    """
    access = payload_of(token).get("access")
    if not isinstance(access, list):
        return parse_scopes(said) if said else None
    entries = [entry for entry in access if isinstance(entry, dict)]
    return merge(
        Scope(str(entry.get("type", "")), str(entry.get("name", "")), _actions(entry.get("actions")))
        for entry in entries
    )


def _actions(value: object) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, list) else frozenset()


def secrets_of(credential: Credential) -> tuple[str, ...]:
    """Return every secret in `credential`, also in the form in which a login is sent."""
    sent = (basic(credential).removeprefix("Basic "),) if credential.has_login else ()
    return (*credential.secrets(), *sent)


def basic(credential: Credential) -> str:
    """Return the Authorization header of a login (RFC 7617)."""
    login = f"{credential.username}:{credential.password}".encode(errors="surrogateescape")
    return f"Basic {b64encode(login).decode('ascii')}"


def header_of(credential: Credential) -> str:
    """Return the Authorization header with which a credential is sent to a registry; empty for none."""
    if credential.registry_token:
        return f"Bearer {credential.registry_token}"
    return basic(credential) if credential.has_login else ""


def check_header(header: str) -> None:
    """Raise ChallengeError for text that no header can hold; only a registry token can be such text."""
    if not _HEADER_TEXT.fullmatch(header):
        raise UnusableCredential(
            "the registry token cannot be sent: it holds a newline or another character that no header has"
        )


def fetch_token(token_request: TokenRequest) -> Generator[Request, Response, TokenReply]:
    """Yield the requests for a token, receive their responses, return the reply.

    A refresh token is sent with POST. GET follows when the service does not support POST, or when it refuses
    the refresh token and there is a login. Raises ChallengeError for a realm that must not be requested and
    for a reply without a token, and RegistryError for any other response.
    """
    # Whatever the registry wrote there gets the credential, so it is checked first.
    realm = check_realm(token_request.realm, token_request.registry)
    if token_request.refresh_token:
        secret = f"Refresh {token_request.refresh_token}"
        try:
            return (yield from _send_secret(token_request, _post(token_request, realm), secret))
        except RegistryError as error:
            has_login = token_request.credential.has_login
            # A service of the older specification has GET only.
            if not (error.status in _NOT_SUPPORTED or (has_login and error.status in _NOT_ACCEPTED)):
                raise
    # Without a login the GET asks for an anonymous token.
    request = _get(token_request, realm)
    reply = yield from _send_secret(token_request, request, request.headers.get("Authorization", ""))
    return replace(reply, is_refused=bool(token_request.refresh_token))


def _get(token_request: TokenRequest, realm: str) -> Request:
    credential = token_request.credential
    account = credential.username if credential.has_login else ""
    headers = dict(token_request.headers)
    # Not the password grant of RFC 6749: some token services support only GET with Basic.
    if credential.has_login:
        headers["Authorization"] = basic(credential)
    url = token_url(realm, token_request.scopes, token_request.service, account)
    return Request("GET", url, headers, secret=True)


def _post(token_request: TokenRequest, realm: str) -> Request:
    form = {
        "client_id": CLIENT_ID,
        "grant_type": "refresh_token",
        "refresh_token": token_request.refresh_token,
        "scope": " ".join(map(str, token_request.scopes)),
    }
    if token_request.service:
        form["service"] = token_request.service
    body = bytes_body(urlencode(form, errors="surrogateescape").encode("ascii"), secret=True)
    headers = {**token_request.headers, "Content-Type": "application/x-www-form-urlencoded"}
    return Request("POST", realm, headers, body, secret=True)


def _send_secret(
    token_request: TokenRequest, request: Request, secret: str
) -> Generator[Request, Response, TokenReply]:
    """Send a request that holds `secret`, if it is not empty, unless the service has refused that before."""
    logins = token_request.logins
    if not secret or logins is None:
        return _reply(token_request, request, (yield from _follow(token_request, request)), secret)
    attempt = LoginAttempt(secret, Origin.of(request.url), token_request.scopes)

    def explain(error: RegistryError) -> None:
        token_request.explain(error, secret=secret, service=attempt.origin.authority)
        error.hints = (*error.hints, withheld_hint(attempt.origin.host))

    with logins.sending(attempt, request, explain) as refusal:
        if refusal is not None:
            raise refusal
        response = yield from _follow(token_request, request)
        if response.status != _OK:
            error = _failure(token_request, request, response, secret)
            if error.status in REFUSALS:
                logins.refuse(attempt, error)
            raise error
        logins.accept(attempt)
    return _reply(token_request, request, response, secret)


def _follow(token_request: TokenRequest, request: Request) -> Generator[Request, Response, Response]:
    for _ in range(MOST_REDIRECTS + 1):
        response = yield request
        location = response.headers.get("Location")
        if response.status not in REDIRECTS or not location:
            return response
        response.close()
        request = _redirected(token_request, request, response.status, location)
    raise ChallengeError(f"{request.method} {redact_url(request.url)}: stopped after 10 redirects")


def _redirected(token_request: TokenRequest, request: Request, status: int, location: str) -> Request:
    """Return the next request; a secret is sent only to the origin that the registry named."""
    url = check_realm(absolute(request.url, location, "redirect target"), token_request.registry)
    is_elsewhere = Origin.of(url) != Origin.of(request.url)
    if is_elsewhere and (request.body is not None or "Authorization" in request.headers):
        raise ChallengeError(
            f"{request.method} {redact_url(request.url)}: refusing the redirect of a token request with a "
            f"secret to another origin, {redact_url(url)}"
        )
    # RFC 9110 section 15.4: the other redirects turn POST into GET.
    if request.body is not None and status not in (307, 308):
        raise ChallengeError(
            f"{request.method} {redact_url(request.url)}: refusing the redirect of a token request, it would "
            "lose its body"
        )
    return Request(request.method, url, request.headers, request.body, secret=True)


def _reply(token_request: TokenRequest, request: Request, response: Response, secret: str) -> TokenReply:
    if response.status != _OK:
        raise _failure(token_request, request, response, secret)
    with response:
        body = read_at_most(response, MAX_REPLY + 1)
    try:
        return read_token_reply(body, token_request.scopes, token_request.now)
    except ChallengeError as error:
        raise _no_token(request, response, body, error.message) from error


def _no_token(request: Request, response: Response, body: bytes, reason: str) -> ChallengeError:
    """Return the error for a reply without a token, which names the service and what came back."""
    what, hint = "no usable token", "The registry named this service (the realm of its challenge)."
    if is_web_page(response, body):
        what, hint = "a web page in place of a token", WEB_PAGE
    elif not body.strip():
        what = "an empty answer in place of a token"
    service = redact_url(request.url).partition("?")[0]
    return ChallengeError(f"the token service {service} sent {what}: {reason}", hints=(hint,))


def _failure(token_request: TokenRequest, request: Request, response: Response, secret: str) -> RegistryError:
    error = failure(
        request, response, now=token_request.now, secrets=token_request.secrets, can_be_absent=False
    )
    token_request.explain(error, secret=secret, service=Origin.of(request.url).authority)
    return error


@dataclass(frozen=True, slots=True)
class TokenReply:
    """A token, and the refresh token that came with it, empty when none did.

    `is_refused` is True when the service did not accept the refresh token that was sent, and returned the
    token without it.
    """

    token: Token
    refresh_token: str = field(default="", repr=False)
    is_refused: bool = False


def read_token_reply(body: bytes, scopes: tuple[Scope, ...], now: float) -> TokenReply:
    """Read the JSON body of a token service; raise ChallengeError, without any text of the body in it.

    `access_token` is preferred to `token`. A token lives for `expires_in` seconds, at least 60 and 60 by
    default, from `issued_at` if that is within five minutes of `now`, otherwise from `now`.
    """
    document = _decode(body)
    value = document.get("access_token") or document.get("token")
    if not isinstance(value, str) or not value:
        raise ChallengeError("no token in bearer response")
    if not _TOKEN.fullmatch(value):
        raise ChallengeError("the token in the bearer response has characters that no token may have")
    refresh_token = document.get("refresh_token")
    granted = document.get("scope")
    token = Token(value, scopes, _end(document, now), granted if isinstance(granted, str) else "")
    return TokenReply(token, refresh_token if isinstance(refresh_token, str) else "")


def _decode(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_REPLY:
        raise ChallengeError(f"the bearer response is longer than {MAX_REPLY >> 10} KiB")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        # `from None`: the text of the cause would hold the body.
        raise ChallengeError("the bearer response is not JSON") from None
    if not isinstance(document, dict):
        raise ChallengeError("the bearer response is not a JSON object")
    return document


def _end(document: dict[str, Any], now: float) -> float:
    issued = _time(document.get("issued_at"))
    start = issued if issued is not None and abs(issued - now) <= _TRUSTED_SKEW else now
    end = start + _life(document.get("expires_in"))
    # A token that has ended on arrival means that a clock is wrong.
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


def send_anonymously(
    request: Request, headers: Mapping[str, str], clock: Callable[[], float] = time.time
) -> Generator[Request, Response, Answer]:
    """Yield `request`, which goes to another host than the registry, without a credential; return the answer.

    A 401 to a GET or HEAD is answered with an anonymous token. The token service is the one that this host
    names, and the scope too, so nothing of the registry's is sent. When no token can be had, the 401 is
    returned. `headers` are those of the token request.
    """
    response = yield request
    answer = Answer(request, response)
    if response.status != _UNAUTHORIZED or request.method not in _READING:
        return answer
    challenge = choose(parse_challenges(response.header_list("WWW-Authenticate")), ANONYMOUS)
    if challenge is None or challenge.scheme != "bearer" or not challenge.realm:
        return answer
    origin, scopes = Origin.of(request.url), named_scopes((challenge,))
    token_request = TokenRequest(challenge.realm, challenge.service, scopes, origin, clock(), headers=headers)
    try:
        reply = yield from fetch_token(token_request)
    except ImgpkgError:
        return answer
    except BaseException:
        response.close()
        raise
    response.close()
    signed = replace(request, headers={**request.headers, "Authorization": f"Bearer {reply.token.value}"})
    return Answer(signed, (yield signed))
