"""What a session keeps about credentials: bearer tokens, and which logins were accepted and refused."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, contextmanager
from copy import copy
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import ImgpkgError, RegistryError, TransportError, Unauthorized
from imgpkg.locks import Turn
from imgpkg.registry.auth.challenge import covers, is_insufficient, parse_challenges
from imgpkg.transport.message import redact_url
from imgpkg.transport.retry import is_temporary_answer, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from imgpkg.auth.keychain import Credential, Decision
    from imgpkg.registry.auth.challenge import Challenge, Scope
    from imgpkg.registry.endpoint import Answer
    from imgpkg.transport.message import Origin, Request

Error = TypeVar("Error", bound=ImgpkgError)

# Seconds. Accounts are locked after some wrong passwords within ten to thirty minutes.
REMEMBERED = 600.0
# Seconds: a token that is about to end may have ended when it arrives.
RENEWED_BEFORE = 10.0

_UNAUTHORIZED, _PROXY_LOGIN = 401, 407
_MOST_REFUSALS = 2
_WITHHELD = "the credential was refused before, with 401 Unauthorized, and is not sent again"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token for `scopes`; `ends_at` is a Unix time in seconds.

    `granted` is the `scope` of the reply (RFC 6749 section 5.1), empty where the service sends none.
    """

    value: str = field(repr=False)
    scopes: tuple[Scope, ...]
    ends_at: float
    granted: str = ""

    def is_live(self, now: float) -> bool:
        """Return True while it may be sent: until ten seconds before its end."""
        return now < self.ends_at - RENEWED_BEFORE


class Holder(NamedTuple):
    """The owner of a token: one credential at one registry."""

    registry: str
    credential: Credential

    @classmethod
    def of(cls, registry: str, credential: Credential) -> Holder:
        """Leave out the time at which the credential ends: a renewed one is still the same."""
        return cls(registry, replace(credential, expires_at=None))

    @classmethod
    def of_decision(cls, decision: Decision) -> Holder:
        """Take the registry and the credential of a decision."""
        return cls.of(decision.repository.registry, decision.credential)

    def __repr__(self) -> str:
        return f"Holder({self.registry})"


class Tokens:
    """The tokens of each holder; safe from many threads.

    A token is found by any subset of its scopes until it ends. A refresh token of a reply replaces the
    identity token of its credential: a service that rotates refresh tokens revokes all of them when an old
    one is used again.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._tokens: dict[Holder, list[Token]] = {}
        self._refresh_tokens: dict[Holder, str] = {}
        self._turns: defaultdict[Hashable, Turn] = defaultdict(Turn)
        self._distrusted: set[tuple[Holder, tuple[Scope, ...]]] = set()
        self._dropped: dict[Holder, Token] = {}

    def find(self, holder: Holder, scopes: tuple[Scope, ...], now: float) -> Token | None:
        """Return a live token that covers `scopes`."""
        with self._lock:
            # Dropping ended tokens here keeps the list short in a long copy.
            live = [token for token in self._tokens.get(holder, ()) if token.is_live(now)]
            self._tokens[holder] = live
            return next((token for token in live if covers(token.scopes, scopes)), None)

    def keep(self, holder: Holder, token: Token) -> None:
        """Add `token`."""
        with self._lock:
            self._tokens.setdefault(holder, []).append(token)

    def held(self, holder: Holder, value: str) -> Token | None:
        """Return the token of this value; None when it is not kept, or not any more."""
        with self._lock:
            return next((token for token in self._tokens.get(holder, ()) if token.value == value), None)

    def drop(self, holder: Holder, token: Token) -> None:
        """Remove `token`, and only it: another thread may have added a newer one."""
        with self._lock:
            self._tokens[holder] = [other for other in self._tokens.get(holder, ()) if other is not token]
            self._dropped[holder] = token

    def latest(self, holder: Holder, scopes: tuple[Scope, ...]) -> Token | None:
        """Return the newest token that covers `scopes`, or else the one that was refused last."""
        with self._lock:
            dropped = self._dropped.get(holder)
            known = [*filter(None, [dropped]), *self._tokens.get(holder, ())]
            return next((token for token in reversed(known) if covers(token.scopes, scopes)), None)

    def distrust(self, holder: Holder, token: Token) -> None:
        """Record that two fresh tokens for these scopes were refused, one after the other."""
        with self._lock:
            self._distrusted.add((holder, token.scopes))

    def trust(self, holder: Holder, token: Token) -> None:
        """Record that a token for these scopes was accepted."""
        with self._lock:
            self._distrusted.discard((holder, token.scopes))

    def is_distrusted(self, holder: Holder, token: Token) -> bool:
        """Return True when another fresh token for these scopes would be refused too."""
        with self._lock:
            return (holder, token.scopes) in self._distrusted

    def turn(self, holder: Holder, scopes: tuple[Scope, ...]) -> Turn:
        """Return the lock to hold while a token is fetched.

        Threads that need the same scopes share one request. With a refresh token all of them wait for each
        other, because it may be used only once.
        """
        key = holder if self.refresh_token(holder) else (holder, scopes)
        with self._lock:
            return self._turns[key]

    def refresh_token(self, holder: Holder) -> str:
        """Return the newest refresh token: the credential's identity token until a reply replaced it."""
        return self._refresh_tokens.get(holder, holder.credential.identity_token)

    def replace_refresh_token(self, holder: Holder, refresh_token: str) -> None:
        """Use `refresh_token` from now on; none when it is empty."""
        self._refresh_tokens[holder] = refresh_token

    def secrets(self, holder: Holder) -> tuple[str, ...]:
        """Return every token of `holder`."""
        with self._lock:
            tokens = [token.value for token in self._tokens.get(holder, ())]
        refresh_token = self.refresh_token(holder)
        return (*tokens, refresh_token) if refresh_token else tuple(tokens)


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """A secret that is sent to an origin, an Authorization header or refresh token, and for which scopes."""

    secret: str = field(repr=False)
    origin: Origin
    scopes: tuple[Scope, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """The Authorization of one request; `token` is set for a token of a token service.

    `is_fresh` is True when the token was fetched for this very request. `refusal` is the error for which a
    login is not sent.
    """

    header: str = field(default="", repr=False)
    token: Token | None = None
    is_fresh: bool = False
    refusal: RegistryError | None = None


class _Kept(NamedTuple):
    error: RegistryError
    ends_at: float


class _LoginState:
    """How one origin has answered to one secret."""

    def __init__(self) -> None:
        self.turn = Turn()
        self.is_accepted = False
        self.refusals: dict[tuple[Scope, ...], _Kept] = {}

    def refusal(self, scopes: tuple[Scope, ...], now: float) -> RegistryError | None:
        """Return the error for which the secret must not be sent for `scopes`.

        An accepted secret is refused only for the scopes that it was refused for. Otherwise a 401 is about
        the secret itself. A 400 or 403 may be about the scopes, so the secret is tried once more for others.
        """
        live = {refused: error for refused, (error, ends_at) in self.refusals.items() if ends_at > now}
        if self.is_accepted or scopes in live:
            return live.get(scopes)
        errors = tuple(live.values())
        is_final = len(errors) >= _MOST_REFUSALS or any(error.status == _UNAUTHORIZED for error in errors)
        return errors[-1] if is_final else None


class Logins:
    """Which logins were accepted and refused where; safe from many threads.

    A wrong password that is sent again and again locks an account. A refusal is therefore kept for ten
    minutes, for the secret and the origin. `clock` returns the Unix time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._states: defaultdict[tuple[str, Origin], _LoginState] = defaultdict(_LoginState)

    @contextmanager
    def sending(
        self, attempt: LoginAttempt, request: Request, explain: Callable[[RegistryError], None]
    ) -> Iterator[RegistryError | None]:
        """Enter a block that sends the secret, or yield the error, as one of `request`, that forbids it.

        `explain` sets the refusal and the hints of an error, which are about the repository of `request`.

        Until a login was accepted, one block at a time is open for it: others wait, and get the same
        temporary failure. After a response the block must call `accept`, `refuse` or `record`.
        """
        state = self._state(attempt)

        def restated(error: ImgpkgError) -> ImgpkgError:
            return restate(error, explain, request)

        # Accepted logins are sent by all threads at once, which need no lock.
        with ExitStack() as held:
            refusal = self.refusal(attempt)
            if refusal is None and not state.is_accepted:
                held.enter_context(state.turn.taken(restated))
                # The thread that was waited for may have decided it.
                refusal = self.refusal(attempt)
                if refusal is not None or state.is_accepted:
                    held.close()
            yield None if refusal is None else restate(refusal, explain, request)

    def refusal(self, attempt: LoginAttempt) -> RegistryError | None:
        """Return the error with which it was refused, None when it may be sent."""
        state = self._state(attempt)
        with self._lock:
            return state.refusal(attempt.scopes, self._clock())

    def is_accepted(self, attempt: LoginAttempt) -> bool:
        """Return True when the origin has accepted the secret before."""
        return self._state(attempt).is_accepted

    def accept(self, attempt: LoginAttempt) -> None:
        """Record that the origin accepted the secret."""
        state = self._state(attempt)
        with self._lock:
            state.is_accepted = True
            state.refusals.pop(attempt.scopes, None)

    def refuse(self, attempt: LoginAttempt, error: RegistryError) -> None:
        """Record that the origin refused the secret with `error`."""
        state = self._state(attempt)
        with self._lock:
            state.refusals[attempt.scopes] = _Kept(copy(error), self._clock() + REMEMBERED)

    def record(self, attempt: LoginAttempt, answer: Answer) -> None:
        """Record what a registry answered to a request with the secret.

        Any response but a 401 means that the login is right. A temporary failure proves nothing, and neither
        does a 401 to a Basic login where the registry requires a token. A token may be valid for too little.
        """
        request, response = answer.request, answer.response
        url, status = redact_url(request.url), response.status
        challenges = parse_challenges(response.header_list("WWW-Authenticate"))
        if is_temporary_answer(status):
            pause = parse_retry_after(response.headers.get("Retry-After"), self._clock())
            text = f"{request.method} {url}: unexpected status code {status}, in answer to another request"
            error = RegistryError(text, method=request.method, url=url, status=status, retry_after=pause)
            self._state(attempt).turn.fail(error)
        # 407 comes from a proxy: the registry has not seen the login.
        elif status not in (_UNAUTHORIZED, _PROXY_LOGIN) or is_insufficient(challenges):
            self.accept(attempt)
        if status == _UNAUTHORIZED and not _wants_token_instead(attempt, challenges):
            text = f"{request.method} {url}: {_WITHHELD}"
            self.refuse(attempt, Unauthorized(text, method=request.method, url=url, status=status))

    def _state(self, attempt: LoginAttempt) -> _LoginState:
        with self._lock:
            return self._states[attempt.secret, attempt.origin]


def _wants_token_instead(attempt: LoginAttempt, challenges: tuple[Challenge, ...]) -> bool:
    schemes = {challenge.scheme for challenge in challenges if challenge.can_be_answered}
    return attempt.secret.startswith("Basic ") and schemes == {"bearer"}


def restate(error: Error, explain: Callable[[RegistryError], None], request: Request | None = None) -> Error:
    """Return a copy of an error of another request, with the method and URL of `request` if it is given.

    The hints of a RegistryError are about a repository: those of `explain` replace them.
    """
    # A copy: several threads raise the same failure, and each adds its own context.
    restated = copy(error)
    if request is not None and isinstance(restated, (RegistryError, TransportError)):
        old = _prefix(restated, restated.method, restated.url)
        restated.method, restated.url = request.method, redact_url(request.url)
        new = _prefix(restated, restated.method, restated.url)
        restated.message = restated.message.replace(old, new, 1)
    if isinstance(restated, RegistryError):
        restated.hints = ()
        explain(restated)
    return restated


def _prefix(error: ImgpkgError, method: str, url: str) -> str:
    """Return the words with which the message of an error about a request begins."""
    return f'{method.capitalize()} "{url}"' if isinstance(error, TransportError) else f"{method} {url}"


def withheld_hint(place: str) -> str:
    """Return the hint that a credential is not sent again to `place`, which refused it."""
    return f"{place} refused this credential; to lock no account, this run does not send it there again"
