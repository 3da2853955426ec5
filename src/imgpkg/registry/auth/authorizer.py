"""The 401 flow as a generator: it yields requests, receives responses and opens nothing."""

from __future__ import annotations

import time
from contextlib import suppress
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.errors import ChallengeError, RegistryError, doing
from imgpkg.registry.auth.cache import Holder, Login, Logins, Tokens, not_again, told_anew
from imgpkg.registry.auth.challenge import (
    choose,
    covers,
    has_answer,
    is_insufficient,
    merge,
    must_choose,
    named_scopes,
    parse_challenges,
)
from imgpkg.registry.auth.hints import advice
from imgpkg.registry.auth.token import (
    REFUSALS,
    Inquiry,
    check_header,
    fetch_token,
    header_of,
    secrets_of,
    visit,
)
from imgpkg.registry.endpoint import PREPARING, Endpoint
from imgpkg.registry.failure import failure
from imgpkg.transport.message import Origin, Request
from imgpkg.transport.retry import is_temporary_answer
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from imgpkg.auth.keychain import Decision, Keychain
    from imgpkg.errors import ImgpkgError
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.auth.cache import Token
    from imgpkg.registry.auth.challenge import Access, Challenge, Scope
    from imgpkg.transport.message import Response

Sent: TypeAlias = "tuple[Request, Response]"

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
# Unsigned, with a token, and with a token for more.
_ROUNDS = 3
USER_AGENT = f"imgpkg-py/{VERSION}"
SESSION_HEADER = "Imgpkg-Session-Id"


@dataclass(frozen=True, slots=True)
class Signature:
    """The Authorization of one request; `token` is set for tokens of a token service.

    `is_fresh` tells that the token was fetched for this very request, `refusal` why a login is not sent.
    """

    header: str = field(default="", repr=False)
    token: Token | None = None
    is_fresh: bool = False
    refusal: RegistryError | None = None


class Conversation:
    """One request and all that has to be sent for it; `headers` go with each of these.

    At most three rounds, and one more where a token that was just fetched is refused: a replica that has not
    heard of it, or a clock that is late, may be the reason.
    """

    def __init__(
        self,
        authorizer: Authorizer,
        endpoint: Endpoint,
        request: Request,
        access: Access,
        headers: Mapping[str, str],
    ) -> None:
        self._authorizer = authorizer
        self._tokens, self._logins, self._clock = authorizer.tokens, authorizer.logins, authorizer.clock
        self._known = endpoint
        self._request = request
        self._access = access
        self._headers = headers
        self._scopes = access.scopes
        self._left = _ROUNDS
        self._may_doubt = True

    def run(self) -> Generator[Request, Response, Sent]:
        """Yield each request, receive its response or TransportError, return the last one and its answer."""
        while True:
            self._left -= 1
            decision = self._authorizer.decision(self._access.repository)
            try:
                signature = yield from self._sign(decision)
            except RegistryError as error:
                if self._left and error.status in REFUSALS and self._authorizer.renew(decision):
                    continue
                raise
            sent, response, signature = yield from self._show(signature)
            if not self._left and not (signature.is_fresh and self._may_doubt):
                return sent, response
            try:
                wanted = yield from self._reconsider(decision, signature, response)
            except BaseException:
                response.close()
                raise
            if wanted is None or not self._left:
                return sent, response
            response.close()
            self._scopes = wanted

    def _show(
        self, signature: Signature
    ) -> Generator[Request, Response, tuple[Request, Response, Signature]]:
        """Send the request, and return how it was signed: a login that was refused before stays away."""
        endpoint = self._known
        if signature.header and signature.token is None:
            login = Login(signature.header, endpoint.origin, self._access.scopes)
            request = endpoint.addressed(self._request)
            with self._logins.sending(login, request, self._hints) as refusal:
                if refusal is None:
                    sent, response = yield from endpoint.send(self._signed(signature))
                    # Only now it is known for certain whether that was http or https.
                    self._logins.answered(replace(login, origin=endpoint.origin), sent, response)
                    return sent, response, signature
            signature = Signature(refusal=refusal)
        sent, response = yield from endpoint.send(self._signed(signature))
        return sent, response, signature

    def _hints(self) -> tuple[str, ...]:
        return self._authorizer.hints(self._access)

    def _signed(self, signature: Signature) -> Request:
        headers = {**self._headers, **self._request.headers}
        if signature.header:
            headers["Authorization"] = signature.header
        return replace(self._request, headers=headers)

    def _sign(self, decision: Decision) -> Generator[Request, Response, Signature]:
        """Choose what to show: a registry token, a fetched one, the login, or nothing."""
        endpoint, credential = self._known, decision.credential
        header = header_of(credential)
        if credential.registry_token:
            check_header(header)
            return Signature(header)
        challenge = choose(endpoint.challenges or (), credential)
        if challenge is not None and challenge.scheme == "bearer" and challenge.realm:
            return (yield from self._bearer(challenge, decision))
        asks_for_login = endpoint.is_open or (challenge is not None and challenge.scheme == "basic")
        return Signature(header if asks_for_login else "")

    def _bearer(self, challenge: Challenge, decision: Decision) -> Generator[Request, Response, Signature]:
        def retell(error: ImgpkgError) -> ImgpkgError:
            return told_anew(error, self._advice(decision))

        holder, scopes = Holder.of_decision(decision), self._scopes
        token = self._tokens.find(holder, scopes, self._clock())
        if token is None:
            with self._tokens.flight(holder, scopes).taken(retell):
                token = self._tokens.find(holder, scopes, self._clock())
                if token is None:
                    token = yield from self._fetch(challenge, decision, holder)
                    return Signature(f"Bearer {token.value}", token, is_fresh=True)
        return Signature(f"Bearer {token.value}", token)

    def _fetch(
        self, challenge: Challenge, decision: Decision, holder: Holder
    ) -> Generator[Request, Response, Token]:
        inquiry = Inquiry(
            challenge.realm,
            challenge.service,
            self._scopes,
            self._known.origin,
            self._clock(),
            decision.credential,
            self._tokens.refresh_token(holder),
            self._headers,
            self._advice(decision),
            self._logins,
        )
        with doing(*PREPARING):
            reply = yield from fetch_token(inquiry)
        if reply.refresh_token or reply.is_refused:
            self._tokens.replace_refresh_token(holder, reply.refresh_token)
        self._tokens.keep(holder, reply.token)
        return reply.token

    def _advice(self, decision: Decision) -> tuple[str, ...]:
        return advice(decision, self._scopes, self._known, self._clock())

    def _reconsider(
        self, decision: Decision, signature: Signature, response: Response
    ) -> Generator[Request, Response, tuple[Scope, ...] | None]:
        """Return the scopes to try again with; None when the answer is final."""
        if response.status in (_FORBIDDEN, _NOT_FOUND) and not signature.header:
            return (yield from self._look_behind(decision, signature))
        token, challenges = signature.token, parse_challenges(response.header_list("WWW-Authenticate"))
        if response.status == _UNAUTHORIZED:
            yield from self._learn(challenges, decision)
            if token is None:
                return self._after_login(decision, signature)
            return self._after_token(decision, token, challenges, is_fresh=signature.is_fresh)
        if token is None:
            return None
        self._tokens.trust(Holder.of_decision(decision), token)
        named = named_scopes(challenges)
        has_more = (
            response.status == _FORBIDDEN and is_insufficient(challenges) and not covers(token.scopes, named)
        )
        return merge((*self._access.scopes, *named)) if has_more else None

    def _look_behind(
        self, decision: Decision, signature: Signature
    ) -> Generator[Request, Response, tuple[Scope, ...] | None]:
        """Decide about a 403 or 404 to nobody: it may hide what somebody known may see."""
        endpoint, credential = self._known, decision.credential
        if signature.refusal is not None:
            raise signature.refusal
        if credential.is_anonymous:
            return None
        if endpoint.challenges is None:
            with suppress(RegistryError):
                yield from self._ask()
        challenges = endpoint.challenges or ()
        return self._scopes if has_answer(challenges, credential, is_open=endpoint.is_open) else None

    def _learn(
        self, challenges: tuple[Challenge, ...], decision: Decision
    ) -> Generator[Request, Response, None]:
        """Learn from a 401; one that names nothing to answer with leaves that to `/v2/`."""
        endpoint = self._known
        is_mute = not any(challenge.can_be_answered for challenge in challenges)
        if is_mute and not endpoint.can_answer and not decision.credential.registry_token:
            yield from self._ask()
        endpoint.learn(challenges)

    def _ask(self) -> Generator[Request, Response, None]:
        """Learn at `/v2/`, once, how the registry wants to be answered; raise a temporary RegistryError."""
        endpoint = self._known
        with endpoint.question.taken(copy):
            if endpoint.was_asked:
                return
            sent, response = yield from endpoint.send(Request("GET", "/v2/", self._headers))
            if is_temporary_answer(response.status):
                raise failure(sent, response, now=self._clock())
            if response.status == _UNAUTHORIZED:
                endpoint.learn(parse_challenges(response.header_list("WWW-Authenticate")))
            endpoint.is_open = response.status == _OK
            endpoint.was_asked = True
            response.close()

    def _after_token(
        self, decision: Decision, token: Token, challenges: tuple[Challenge, ...], *, is_fresh: bool
    ) -> tuple[Scope, ...] | None:
        """Decide after a 401 whether another token would do better: for more, or in place of an ended one."""
        holder, named = Holder.of_decision(decision), named_scopes(challenges)
        self._tokens.drop(holder, token)
        if not is_fresh or not token.is_live(self._clock()):
            self._authorizer.renew(decision)
        elif covers(token.scopes, named):
            return self._doubted(holder, token)
        return merge((*self._access.scopes, *named))

    def _doubted(self, holder: Holder, token: Token) -> tuple[Scope, ...] | None:
        """Decide about a token that was refused at once: one more, unless that did not help before."""
        if not self._may_doubt or self._tokens.is_distrusted(holder, token):
            self._tokens.distrust(holder, token)
            return None
        self._may_doubt = False
        self._left += 1
        return self._scopes

    def _after_login(self, decision: Decision, signature: Signature) -> tuple[Scope, ...] | None:
        """Decide what to do when nothing, a login or a registry token was not enough."""
        credential, scopes = decision.credential, self._access.scopes
        if not credential.registry_token:
            challenge = must_choose(self._known.challenges or (), credential)
            if challenge.scheme == "bearer":
                return merge((*scopes, *named_scopes((challenge,))))
            if not signature.header and signature.refusal is None:
                return scopes if credential.has_login else None
        return scopes if self._authorizer.renew(decision) else None


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
    request to learn what an ordinary one shows, and no second time for a login that was refused. `clock` says
    the Unix time in seconds.
    """

    def __init__(
        self, keychain: Keychain, *, insecure: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._keychain = keychain
        self._insecure = insecure
        self.clock = clock
        self.tokens = Tokens()
        self.logins = Logins(clock)
        self._guard = Lock()
        self._registries: dict[str, Endpoint] = {}
        self._decisions: dict[Repository, Decision] = {}

    def endpoint(self, registry: str) -> Endpoint:
        """Return the endpoint of `registry`, made when first asked for."""
        with self._guard:
            if registry not in self._registries:
                self._registries[registry] = Endpoint(registry, insecure=self._insecure)
            return self._registries[registry]

    def decision(self, repository: Repository) -> Decision:
        """Return the decision for `repository`, made anew when its credential has ended."""
        made = self._decisions.get(repository)
        ends_at = made.credential.expires_at if made is not None else None
        if made is None or (ends_at is not None and ends_at <= self.clock()):
            made = self._decisions[repository] = self._keychain.resolve(repository)
        return made

    def renew(self, decision: Decision) -> bool:
        """Ask the keychain again; tell whether it has another credential now, and not the same anew."""
        made = self._decisions[decision.repository] = self._keychain.resolve(decision.repository)
        return Holder.of_decision(made) != Holder.of_decision(decision)

    def hints(self, access: Access) -> tuple[str, ...]:
        """Tell somebody who was turned away what was used."""
        endpoint, decision = self.endpoint(access.repository.registry), self.decision(access.repository)
        login = Login(header_of(decision.credential), endpoint.origin, access.scopes)
        hints = advice(decision, access.scopes, endpoint, self.clock())
        return hints if self.logins.refusal(login) is None else (*hints, not_again(endpoint.name))

    def secrets(self, repository: Repository) -> tuple[str, ...]:
        """Every secret that the registry has seen and might say again."""
        decision = self.decision(repository)
        return (*secrets_of(decision.credential), *self.tokens.secrets(Holder.of_decision(decision)))

    def flow(self, request: Request, access: Access) -> Generator[Request, Response, Answer]:
        """Yield what has to be sent for `request`, receive each response or TransportError, return the last.

        The URL is a path of the repository's registry, or absolute. Only the registry's own origin, or the
        token service that it named, sees a credential. Raises CredentialError, ChallengeError, a
        RegistryError of the token service, and the TransportErrors that it receives.
        """
        endpoint = self.endpoint(access.repository.registry)
        if not request.url.startswith("/") and Origin.of(request.url) != endpoint.origin:
            return Answer(*(yield from visit(request, _headers(""), self.clock)))
        self.decision(access.repository)
        conversation = Conversation(self, endpoint, request, access, _headers(session_id()))
        with endpoint.introduction():
            try:
                return Answer(*(yield from conversation.run()))
            except ChallengeError as error:
                error.hints = (*error.hints, *self.hints(access))
                raise


def _headers(session: str) -> dict[str, str]:
    named = {"User-Agent": USER_AGENT}
    return {**named, SESSION_HEADER: session} if session else named
