"""What a session remembers: the tokens it was given, and the logins that were accepted and refused."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from imgpkg.errors import ImgpkgError, RegistryError, TransportError, Unauthorized
from imgpkg.locks import Turn
from imgpkg.registry.auth.challenge import covers, is_insufficient, parse_challenges
from imgpkg.transport.message import redact_url
from imgpkg.transport.retry import is_temporary_answer, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from imgpkg.auth.keychain import Credential, Decision
    from imgpkg.registry.auth.challenge import Challenge, Scope
    from imgpkg.transport.message import Origin, Request, Response

Error = TypeVar("Error", bound=ImgpkgError)

# Seconds. Accounts are locked after some wrong passwords within ten to thirty minutes.
REMEMBERED = 600.0
# Seconds: a token that is about to end may have ended when it arrives.
RENEWED_BEFORE = 10.0

_UNAUTHORIZED, _PROXY_LOGIN = 401, 407
_MOST_REFUSALS = 2
_WITHHELD = "the credential was refused before, with 401 Unauthorized, and is not sent again"


@dataclass(frozen=True, slots=True)
class Login:
    """A secret that is sent to an origin, an Authorization header or refresh token, and for which scopes."""

    secret: str = field(repr=False)
    origin: Origin
    scopes: tuple[Scope, ...]


class _Refusal(NamedTuple):
    error: RegistryError
    ends_at: float


class _Standing:
    """What one origin has said to one secret."""

    def __init__(self) -> None:
        self.turn = Turn()
        self.is_accepted = False
        self.refusals: dict[tuple[Scope, ...], _Refusal] = {}

    def refusal(self, scopes: tuple[Scope, ...], now: float) -> RegistryError | None:
        """Return the error that stands against sending it for `scopes`.

        An accepted login is refused only for what it was refused for. Of the others a 401 is about the login
        itself; 400 and 403 may be about the scopes, so one more is tried for other scopes.
        """
        live = {asked: error for asked, (error, ends_at) in self.refusals.items() if ends_at > now}
        if self.is_accepted or scopes in live:
            return live.get(scopes)
        errors = tuple(live.values())
        is_final = len(errors) >= _MOST_REFUSALS or any(error.status == _UNAUTHORIZED for error in errors)
        return errors[-1] if is_final else None


class Logins:
    """What is known about the logins of one session; safe from many threads.

    A refusal is remembered for ten minutes, for the secret and the origin. `clock` says the Unix time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._guard = Lock()
        self._standings: defaultdict[tuple[str, Origin], _Standing] = defaultdict(_Standing)

    @contextmanager
    def sending(
        self, login: Login, request: Request, hints: Callable[[], tuple[str, ...]]
    ) -> Iterator[RegistryError | None]:
        """Send `login` within this block, unless it gives an error: the refusal, as one of `request`.

        While nobody has accepted the login, one block at a time is open for it; a temporary failure of one is
        raised in those that waited for it. The block must end with `accept`, `refuse` or `answered`, where
        there was an answer.
        """
        standing = self._standing(login)

        def retell(error: ImgpkgError) -> ImgpkgError:
            return told_anew(error, hints(), request)

        with ExitStack() as held:
            refusal = self.refusal(login)
            if refusal is None and not standing.is_accepted:
                held.enter_context(standing.turn.taken(retell))
                refusal = self.refusal(login)
                if refusal is not None or standing.is_accepted:
                    held.close()
            yield None if refusal is None else told_anew(refusal, hints(), request)

    def refusal(self, login: Login) -> RegistryError | None:
        """Return the error with which it was refused, None when it may be sent."""
        standing = self._standing(login)
        with self._guard:
            return standing.refusal(login.scopes, self._clock())

    def accept(self, login: Login) -> None:
        """Remember that the origin knows the login."""
        standing = self._standing(login)
        with self._guard:
            standing.is_accepted = True
            standing.refusals.pop(login.scopes, None)

    def refuse(self, login: Login, error: RegistryError) -> None:
        """Remember that the origin refused the login with `error`."""
        standing = self._standing(login)
        with self._guard:
            standing.refusals[login.scopes] = _Refusal(copy(error), self._clock() + REMEMBERED)

    def answered(self, login: Login, request: Request, response: Response) -> None:
        """Draw the conclusion from what a registry answered to a request with the login.

        Any answer but a 401 is one to somebody known. A temporary one says nothing, and neither does a 401
        to a Basic login that wants a token instead. A token may be good, but for too little.
        """
        url, status = redact_url(request.url), response.status
        challenges = parse_challenges(response.header_list("WWW-Authenticate"))
        if is_temporary_answer(status):
            pause = parse_retry_after(response.headers.get("Retry-After"), self._clock())
            text = f"{request.method} {url}: unexpected status code {status}, in answer to another request"
            error = RegistryError(text, method=request.method, url=url, status=status, retry_after=pause)
            self._standing(login).turn.fail(error)
        elif status not in (_UNAUTHORIZED, _PROXY_LOGIN) or is_insufficient(challenges):
            self.accept(login)
        if status == _UNAUTHORIZED and not _wants_token_instead(login, challenges):
            text = f"{request.method} {url}: {_WITHHELD}"
            self.refuse(login, Unauthorized(text, method=request.method, url=url, status=status))

    def _standing(self, login: Login) -> _Standing:
        with self._guard:
            return self._standings[login.secret, login.origin]


def _wants_token_instead(login: Login, challenges: tuple[Challenge, ...]) -> bool:
    schemes = {challenge.scheme for challenge in challenges if challenge.can_be_answered}
    return login.secret.startswith("Basic ") and schemes == {"bearer"}


def told_anew(error: Error, hints: tuple[str, ...], request: Request | None = None) -> Error:
    """Return a fresh error that says of `request`, if given, what `error` says of another one.

    The hints of a RegistryError are about a repository: `hints` take their place.
    """
    fresh = copy(error)
    if isinstance(fresh, RegistryError):
        fresh.hints = hints
    if request is not None and isinstance(fresh, (RegistryError, TransportError)):
        old = _opening(fresh, fresh.method, fresh.url)
        fresh.method, fresh.url = request.method, redact_url(request.url)
        fresh.message = fresh.message.replace(old, _opening(fresh, fresh.method, fresh.url), 1)
    return fresh


def _opening(error: ImgpkgError, method: str, url: str) -> str:
    """Return the words with which the text of an error about a request begins."""
    return f'{method.capitalize()} "{url}"' if isinstance(error, TransportError) else f"{method} {url}"


def not_again(place: str) -> str:
    """Tell that `place` is not shown a credential again that it refused."""
    return f"{place} refused this credential; to lock no account, this run does not send it there again"


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token for `scopes`; `ends_at` is a Unix time in seconds."""

    value: str = field(repr=False)
    scopes: tuple[Scope, ...]
    ends_at: float

    def is_live(self, now: float) -> bool:
        """Tell whether it may still be shown: it is renewed ten seconds before it ends."""
        return now < self.ends_at - RENEWED_BEFORE


class Holder(NamedTuple):
    """Who holds a token: one credential at one registry."""

    registry: str
    credential: Credential

    @classmethod
    def of(cls, registry: str, credential: Credential) -> Holder:
        """Take a credential as the same one when it was only given anew, with a later end."""
        return cls(registry, replace(credential, expires_at=None))

    @classmethod
    def of_decision(cls, decision: Decision) -> Holder:
        """Take the credential that was decided on, at the registry of the repository."""
        return cls.of(decision.repository.registry, decision.credential)

    def __repr__(self) -> str:
        return f"Holder({self.registry})"


class Tokens:
    """A cache that many threads share; tokens are found by superset of scopes until they end.

    Refresh tokens that came with a reply replace the identity token of their credential: a service that
    rotates them revokes them all when an old one is used again.
    """

    def __init__(self) -> None:
        self._guard = Lock()
        self._tokens: dict[Holder, list[Token]] = {}
        self._refresh_tokens: dict[Holder, str] = {}
        self._turns: defaultdict[Hashable, Turn] = defaultdict(Turn)
        self._useless: set[tuple[Holder, tuple[Scope, ...]]] = set()

    def find(self, holder: Holder, scopes: tuple[Scope, ...], now: float) -> Token | None:
        """Return a live token that covers `scopes`."""
        with self._guard:
            live = [token for token in self._tokens.get(holder, ()) if token.is_live(now)]
            self._tokens[holder] = live
            return next((token for token in live if covers(token.scopes, scopes)), None)

    def keep(self, holder: Holder, token: Token) -> None:
        """Remember `token`."""
        with self._guard:
            self._tokens.setdefault(holder, []).append(token)

    def drop(self, holder: Holder, token: Token) -> None:
        """Forget `token`, and only it: a newer one may have come from another thread."""
        with self._guard:
            self._tokens[holder] = [other for other in self._tokens.get(holder, ()) if other is not token]

    def distrust(self, holder: Holder, token: Token) -> None:
        """Remember that tokens for these scopes were refused although they were fresh, and more than one."""
        with self._guard:
            self._useless.add((holder, token.scopes))

    def trust(self, holder: Holder, token: Token) -> None:
        """Remember that a token for these scopes was accepted."""
        with self._guard:
            self._useless.discard((holder, token.scopes))

    def is_distrusted(self, holder: Holder, token: Token) -> bool:
        """Tell whether another fresh token for these scopes would be refused too."""
        with self._guard:
            return (holder, token.scopes) in self._useless

    def flight(self, holder: Holder, scopes: tuple[Scope, ...]) -> Turn:
        """Return the turn to take while fetching: equal scopes ask once, a refresh token is used once."""
        key = holder if self.refresh_token(holder) else (holder, scopes)
        with self._guard:
            return self._turns[key]

    def refresh_token(self, holder: Holder) -> str:
        """Return the newest refresh token: the credential's identity token until a reply replaced it."""
        return self._refresh_tokens.get(holder, holder.credential.identity_token)

    def replace_refresh_token(self, holder: Holder, refresh_token: str) -> None:
        """Use `refresh_token` from now on; when empty, none any more."""
        self._refresh_tokens[holder] = refresh_token

    def secrets(self, holder: Holder) -> tuple[str, ...]:
        """Every token that `holder` has shown or may show."""
        with self._guard:
            tokens = [token.value for token in self._tokens.get(holder, ())]
        refresh_token = self.refresh_token(holder)
        return (*tokens, refresh_token) if refresh_token else tuple(tokens)
