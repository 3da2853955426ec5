"""Which logins were accepted and refused where: a wrong password must not lock an account."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from imgpkg.errors import ImgpkgError, RegistryError, TransportError, Unauthorized
from imgpkg.locks import Turn
from imgpkg.registry.auth.challenge import is_insufficient, parse_challenges
from imgpkg.transport.message import redact_url
from imgpkg.transport.retry import is_temporary_answer, parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.registry.auth.challenge import Challenge
    from imgpkg.registry.auth.scope import Scope
    from imgpkg.transport.message import Origin, Request, Response

Error = TypeVar("Error", bound=ImgpkgError)

# Seconds. Accounts are locked after some wrong passwords within ten to thirty minutes.
REMEMBERED = 600.0

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
