"""The 401 flow as a generator: it yields requests, receives responses and opens nothing (auth-spec 6)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.errors import ChallengeError, doing
from imgpkg.registry.advice import advice
from imgpkg.registry.challenge import Challenge, parse_challenges
from imgpkg.registry.choice import choose, is_insufficient, must_choose, named_scopes
from imgpkg.registry.known import PREPARING, KnownRegistry
from imgpkg.registry.scope import covers, merge
from imgpkg.registry.stranger import visit
from imgpkg.registry.token_service import Inquiry, basic, bearer, fetch_token, secrets_of
from imgpkg.registry.tokens import Holder, Tokens
from imgpkg.transport.message import Origin, Request
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from imgpkg.auth.credential import Credential
    from imgpkg.auth.keychain import Decision, Keychain
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.scope import Access, Scope
    from imgpkg.registry.token_reply import Token
    from imgpkg.transport.message import Response

USER_AGENT = f"imgpkg-py/{VERSION}"
SESSION_HEADER = "Imgpkg-Session-Id"

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
# Unsigned, with a token, and with a token for more.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Signature:
    """The Authorization of one request; `token` is set for tokens of a token service.

    `is_fresh` tells that the token was fetched for this very request.
    """

    header: str = field(default="", repr=False)
    token: Token | None = None
    is_fresh: bool = False


_UNSIGNED = Signature()


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, and the request as it was sent, which it answers."""

    request: Request
    response: Response


@cache
def session_id() -> str:
    """Return the random number that tells this process from others in a registry's log; 31 bits."""
    import secrets  # noqa: PLC0415 - drawn at the first request

    return str(secrets.randbits(31))


class Authorizer:
    """Shows each registry the credential that the keychain has for it, and nobody else.

    Safe from many threads. One refresh per 401, one request for a token however many threads wait for it, no
    request to learn what an ordinary one shows. `clock` says the Unix time in seconds.
    """

    def __init__(
        self, keychain: Keychain, *, insecure: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._keychain = keychain
        self._insecure = insecure
        self._clock = clock
        self._tokens = Tokens()
        self._guard = Lock()
        self._registries: dict[str, KnownRegistry] = {}
        self._decisions: dict[Repository, Decision] = {}

    def known(self, registry: str) -> KnownRegistry:
        """Return what is known about `registry`."""
        with self._guard:
            if registry not in self._registries:
                self._registries[registry] = KnownRegistry(registry, insecure=self._insecure)
            return self._registries[registry]

    def decision(self, repository: Repository) -> Decision:
        """Return the decision for `repository`, made anew when its credential has ended."""
        made = self._decisions.get(repository)
        ends_at = made.credential.expires_at if made is not None else None
        if made is None or (ends_at is not None and ends_at <= self._clock()):
            made = self._decisions[repository] = self._keychain.resolve(repository)
        return made

    def hints(self, access: Access) -> tuple[str, ...]:
        """Tell somebody who was turned away what was used."""
        known = self.known(access.repository.registry)
        return advice(self.decision(access.repository), access.scopes, known, self._clock())

    def secrets(self, repository: Repository) -> tuple[str, ...]:
        """Every secret that the registry has seen and might say again."""
        decision = self.decision(repository)
        return (*secrets_of(decision.credential), *self._tokens.secrets(self._holder(decision)))

    def flow(self, request: Request, access: Access) -> Generator[Request, Response, Answer]:
        """Yield what has to be sent for `request`, receive each response or TransportError, return the last.

        The URL is a path of the repository's registry, or absolute. Only the registry's own origin, or the
        token service that it named, sees a credential. Raises CredentialError, ChallengeError, a
        RegistryError of the token service, and the TransportErrors that it receives.
        """
        known = self.known(access.repository.registry)
        if not request.url.startswith("/") and Origin.of(request.url) != known.origin:
            return Answer(*(yield from visit(request, _headers(""), self._clock)))
        self.decision(access.repository)
        with known.introduction():
            try:
                return (yield from self._converse(known, request, access))
            except ChallengeError as error:
                error.hints = (*error.hints, *self.hints(access))
                raise

    def _converse(
        self, known: KnownRegistry, request: Request, access: Access
    ) -> Generator[Request, Response, Answer]:
        scopes, left = access.scopes, _ROUNDS
        while True:
            left -= 1
            decision = self.decision(access.repository)
            signature = yield from self._sign(known, decision, scopes)
            answer = Answer(*(yield from known.send(_signed(request, signature))))
            if not left:
                return answer
            try:
                wanted = yield from self._reconsider(known, access, decision, signature, answer.response)
            except BaseException:
                answer.response.close()
                raise
            if wanted is None:
                return answer
            answer.response.close()
            scopes = wanted

    def _sign(
        self, known: KnownRegistry, decision: Decision, scopes: tuple[Scope, ...]
    ) -> Generator[Request, Response, Signature]:
        """Choose what to show: a registry token, a fetched one, the login, or nothing."""
        credential = decision.credential
        if credential.registry_token:
            return Signature(bearer(credential))
        challenge = choose(known.challenges or (), credential)
        if challenge is not None and challenge.scheme == "bearer" and challenge.realm:
            return (yield from self._bearer(known, challenge, decision, scopes))
        asks_for_login = known.is_open or (challenge is not None and challenge.scheme == "basic")
        return Signature(basic(credential)) if asks_for_login and credential.has_login else _UNSIGNED

    def _bearer(
        self, known: KnownRegistry, challenge: Challenge, decision: Decision, scopes: tuple[Scope, ...]
    ) -> Generator[Request, Response, Signature]:
        holder = self._holder(decision)
        token = self._tokens.find(holder, scopes, self._clock())
        if token is not None:
            return Signature(f"Bearer {token.value}", token)
        with self._tokens.flight(holder, scopes):
            token = self._tokens.find(holder, scopes, self._clock())
            if token is not None:
                return Signature(f"Bearer {token.value}", token)
            token = yield from self._fetch(known, challenge, decision, scopes)
        return Signature(f"Bearer {token.value}", token, is_fresh=True)

    def _fetch(
        self, known: KnownRegistry, challenge: Challenge, decision: Decision, scopes: tuple[Scope, ...]
    ) -> Generator[Request, Response, Token]:
        holder = self._holder(decision)
        inquiry = Inquiry(
            challenge.realm,
            challenge.service,
            scopes,
            known.origin,
            self._clock(),
            decision.credential,
            self._tokens.refresh_token(holder),
            _headers(session_id()),
            advice(decision, scopes, known, self._clock()),
        )
        with doing(*PREPARING):
            reply = yield from fetch_token(inquiry)
        if reply.refresh_token or reply.is_refused:
            self._tokens.replace_refresh_token(holder, reply.refresh_token)
        self._tokens.keep(holder, reply.token)
        return reply.token

    def _reconsider(
        self,
        known: KnownRegistry,
        access: Access,
        decision: Decision,
        signature: Signature,
        response: Response,
    ) -> Generator[Request, Response, tuple[Scope, ...] | None]:
        """Return the scopes to try again with; None when the answer is final."""
        credential = decision.credential
        is_hidden = response.status in (_FORBIDDEN, _NOT_FOUND) and not signature.header
        if is_hidden and known.challenges is None and not known.was_asked and not credential.is_anonymous:
            yield from self._ask(known)
            return access.scopes if _has_answer(known, credential) else None
        challenges = parse_challenges(response.header_list("WWW-Authenticate"))
        if response.status == _UNAUTHORIZED:
            known.learn(challenges)
        elif response.status != _FORBIDDEN or signature.token is None or not is_insufficient(challenges):
            return None
        if signature.token is not None:
            return self._after_token(access, decision, signature, challenges, response.status)
        return self._after_login(known, access, decision, signature)

    def _ask(self, known: KnownRegistry) -> Generator[Request, Response, None]:
        """Learn how the registry wants to be answered, where an ordinary answer hides it (auth-spec 6.1)."""
        _, response = yield from known.send(Request("GET", "/v2/", _headers(session_id())))
        known.was_asked = True
        known.is_open = response.status == _OK
        if response.status == _UNAUTHORIZED:
            known.learn(parse_challenges(response.header_list("WWW-Authenticate")))
        response.close()

    def _after_token(
        self,
        access: Access,
        decision: Decision,
        signature: Signature,
        challenges: tuple[Challenge, ...],
        status: int,
    ) -> tuple[Scope, ...] | None:
        """Decide whether another token would do better: for more scopes, or in place of an ended one."""
        token = signature.token
        assert token is not None  # noqa: S101 - the caller looked
        named = named_scopes(challenges)
        wanted = merge((*access.scopes, *named))
        has_grown = not covers(token.scopes, named)
        if status != _UNAUTHORIZED:
            return wanted if has_grown else None
        self._tokens.drop(self._holder(decision), token)
        has_ended = not signature.is_fresh or not token.is_live(self._clock())
        if has_ended:
            self._is_renewed(decision)
        return wanted if has_grown or has_ended else None

    def _after_login(
        self, known: KnownRegistry, access: Access, decision: Decision, signature: Signature
    ) -> tuple[Scope, ...] | None:
        """Decide what to do when nothing, a login or a registry token was not enough."""
        challenges, credential = known.challenges or (), decision.credential
        if credential.registry_token:
            return access.scopes if self._is_renewed(decision) else None
        challenge = must_choose(challenges, credential)
        if challenge.scheme == "bearer":
            return merge((*access.scopes, *named_scopes((challenge,))))
        if signature.header:
            return access.scopes if self._is_renewed(decision) else None
        return access.scopes if credential.has_login else None

    def _is_renewed(self, decision: Decision) -> bool:
        """Ask the keychain again; tell whether it has another credential now."""
        made = self._keychain.resolve(decision.repository)
        self._decisions[decision.repository] = made
        return made.credential != decision.credential

    def _holder(self, decision: Decision) -> Holder:
        return Holder.of(decision.repository.registry, decision.credential)


def _headers(session: str) -> dict[str, str]:
    named = {"User-Agent": USER_AGENT}
    return {**named, SESSION_HEADER: session} if session else named


def _signed(request: Request, signature: Signature) -> Request:
    headers = {**_headers(session_id()), **request.headers}
    if signature.header:
        headers["Authorization"] = signature.header
    return replace(request, headers=headers)


def _has_answer(known: KnownRegistry, credential: Credential) -> bool:
    challenge = choose(known.challenges or (), credential)
    if challenge is None or challenge.scheme == "basic":
        return credential.has_login and (challenge is not None or known.is_open)
    return bool(challenge.realm)
