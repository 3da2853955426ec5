"""Authorization of requests: the flow from a 401 to a signed request, as a generator without I/O."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from copy import copy
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.dataclass import replace
from imgpkg.errors import ChallengeError, ImgpkgError, RegistryError
from imgpkg.registry.auth.cache import Holder, LoginAttempt, Logins, Signature, Tokens, restate
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
from imgpkg.registry.auth.token import (
    REFUSALS,
    TokenRequest,
    check_header,
    fetch_token,
    header_of,
    secrets_of,
    send_anonymously,
)
from imgpkg.registry.endpoint import Answer, Endpoint
from imgpkg.registry.failure import failure
from imgpkg.transport.message import Origin, Request
from imgpkg.transport.retry import is_temporary_answer
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from imgpkg.auth.keychain import Decision, Keychain
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.auth.cache import Token
    from imgpkg.registry.auth.challenge import Access, Challenge, Scope
    from imgpkg.registry.auth.explainer import Explainer
    from imgpkg.transport.message import Response

_OK, _UNAUTHORIZED, _FORBIDDEN, _NOT_FOUND = 200, 401, 403, 404
# Without a credential, with a token, and with a token for more scopes.
_ROUNDS = 3
USER_AGENT = f"imgpkg-py/{VERSION}"
SESSION_HEADER = "Imgpkg-Session-Id"


class Conversation:
    """One request and everything that has to be sent for it; each of these has `headers`.

    There are at most three rounds, and one more where a token that was just fetched is refused: a replica
    that does not have the token yet, or a clock that is late, may be the reason.
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
        self._endpoint = endpoint
        self._request = request
        self._access = access
        self._headers = headers
        self._scopes = access.scopes
        self._decision = authorizer.decision(access.repository)
        self._rounds_left = _ROUNDS
        self._may_replace_fresh_token = True

    def run(self) -> Generator[Request, Response, Answer]:
        """Yield each request, receive its response or TransportError, return the last answer."""
        while True:
            signature = yield from self.sign()
            answer, signature = yield from self._send(signature)
            try:
                is_final = yield from self.is_final(signature, answer.response)
            except BaseException:
                answer.response.close()
                raise
            if is_final:
                return answer
            answer.response.close()

    def sign(self) -> Generator[Request, Response, Signature]:
        """Begin a round: yield what has to be sent first, and return what to send with the request."""
        while True:
            self._rounds_left -= 1
            self._decision = self._authorizer.decision(self._access.repository)
            try:
                return (yield from self._sign(self._decision))
            except RegistryError as error:
                # The password may have changed since the keychain read it.
                if error.status not in REFUSALS or not self.renew():
                    raise

    def renew(self) -> bool:
        """Ask the keychain for another credential; return False without one, and after the last round."""
        return self._rounds_left > 0 and self._authorizer.renew(self._decision)

    def is_final(self, signature: Signature, response: Response) -> Generator[Request, Response, bool]:
        """Record the response to a signed request; return False when it must be signed again."""
        if not self._rounds_left and not (signature.is_fresh and self._may_replace_fresh_token):
            return True
        scopes = yield from self._scopes_after(self._decision, signature, response)
        if scopes is None or not self._rounds_left:
            return True
        self._scopes = scopes
        return False

    def _sign(self, decision: Decision) -> Generator[Request, Response, Signature]:
        """Choose what to send: a registry token, a token of the token service, the login, or nothing."""
        endpoint, credential = self._endpoint, decision.credential
        header = header_of(credential)
        # A registry token is sent as it is: it was issued for this registry, whatever it asks for.
        if credential.registry_token:
            check_header(header)
            return Signature(header)
        challenge = choose(endpoint.challenges or (), credential)
        if challenge is not None and challenge.scheme == "bearer" and challenge.realm:
            return (yield from self._sign_with_token(challenge, decision))
        # A registry that answers `GET /v2/` with 200 may still need a login for private repositories.
        asks_for_login = endpoint.is_open or (challenge is not None and challenge.scheme == "basic")
        return Signature(header if asks_for_login else "")

    def _sign_with_token(
        self, challenge: Challenge, decision: Decision
    ) -> Generator[Request, Response, Signature]:
        def restated(error: ImgpkgError) -> ImgpkgError:
            return restate(error, lambda error: self._authorizer.explain.again(error, self._access))

        holder, scopes = Holder.of_decision(decision), self._scopes
        token = self._tokens.find(holder, scopes, self._clock())
        if token is None:
            with self._tokens.turn(holder, scopes).taken(restated):
                # Another thread may have fetched it while this one waited for its turn.
                token = self._tokens.find(holder, scopes, self._clock())
                if token is None:
                    token = yield from self._fetch_token(challenge, decision, holder)
                    return Signature(f"Bearer {token.value}", token, is_fresh=True)
        return Signature(f"Bearer {token.value}", token)

    def _fetch_token(
        self, challenge: Challenge, decision: Decision, holder: Holder
    ) -> Generator[Request, Response, Token]:
        token_request = TokenRequest(
            challenge.realm,
            challenge.service,
            self._scopes,
            self._endpoint.origin,
            self._clock(),
            decision.credential,
            self._tokens.refresh_token(holder),
            self._headers,
            self._explain,
            self._logins,
        )
        try:
            reply = yield from fetch_token(token_request)
        except ImgpkgError as error:
            error.add_context(f"Requesting a token for {self._endpoint.name}")
            raise
        # A refresh token that was refused is dropped, so that the next token request has only the login.
        if reply.refresh_token or reply.is_refused:
            self._tokens.replace_refresh_token(holder, reply.refresh_token)
        self._tokens.keep(holder, reply.token)
        return reply.token

    def _explain(self, error: RegistryError, *, secret: str, service: str) -> None:
        asked = replace(self._access, scopes=self._scopes)
        self._authorizer.explain.token_request(error, asked, secret=secret, service=service)

    def _send(self, signature: Signature) -> Generator[Request, Response, tuple[Answer, Signature]]:
        """Send the request; a login that was refused before is left out of the signature that is returned."""
        endpoint = self._endpoint
        if signature.header and signature.token is None:
            attempt = LoginAttempt(signature.header, endpoint.origin, self._access.scopes)
            request = endpoint.addressed(self._request)
            with self._logins.sending(attempt, request, self.explain_withheld) as refusal:
                if refusal is None:
                    answer = yield from endpoint.send(self.signed(signature))
                    # The origin is final only now: the first request decides between http and https.
                    self._logins.record(replace(attempt, origin=endpoint.origin), answer)
                    return answer, signature
            signature = Signature(refusal=refusal)
        answer = yield from endpoint.send(self.signed(signature))
        return answer, signature

    def explain_withheld(self, error: RegistryError) -> None:
        """Explain the error for which the login is not sent."""
        self._authorizer.explain.withheld(error, self._access)

    def signed(self, signature: Signature) -> Request:
        """Return the request with its headers."""
        headers = {**self._headers, **self._request.headers}
        if signature.header:
            headers["Authorization"] = signature.header
        return replace(self._request, headers=headers)

    def _scopes_after(
        self, decision: Decision, signature: Signature, response: Response
    ) -> Generator[Request, Response, tuple[Scope, ...] | None]:
        """Return the scopes to send the request again with; None when the response is final."""
        if response.status in (_FORBIDDEN, _NOT_FOUND) and not signature.header:
            return (yield from self._after_anonymous_refusal(decision, signature))
        token, challenges = signature.token, parse_challenges(response.header_list("WWW-Authenticate"))
        if response.status == _UNAUTHORIZED:
            yield from self._learn(challenges, decision)
            if token is None:
                return self._after_login(decision, signature)
            return self._after_token(decision, token, challenges, is_fresh=signature.is_fresh)
        if token is None:
            return None
        # Every other status comes after the token was accepted.
        self._tokens.trust(Holder.of_decision(decision), token)
        named = named_scopes(challenges)
        # RFC 6750 section 3.1: the challenge names the scopes that are missing.
        has_more = (
            response.status == _FORBIDDEN and is_insufficient(challenges) and not covers(token.scopes, named)
        )
        return merge((*self._access.scopes, *named)) if has_more else None

    def _after_anonymous_refusal(
        self, decision: Decision, signature: Signature
    ) -> Generator[Request, Response, tuple[Scope, ...] | None]:
        """Decide after a 403 or 404 without a credential: with one, the registry may answer otherwise."""
        endpoint, credential = self._endpoint, decision.credential
        if signature.refusal is not None:
            raise signature.refusal
        if credential.is_anonymous:
            return None
        if endpoint.challenges is None:
            # When the probe fails, the response to the request itself is final.
            with suppress(RegistryError):
                yield from self.probe()
        challenges = endpoint.challenges or ()
        return self._scopes if has_answer(challenges, credential, is_open=endpoint.is_open) else None

    def _learn(
        self, challenges: tuple[Challenge, ...], decision: Decision
    ) -> Generator[Request, Response, None]:
        """Keep the challenges of a 401; if none of them can be answered, those of `GET /v2/` count."""
        endpoint = self._endpoint
        is_useless = not any(challenge.can_be_answered for challenge in challenges)
        if is_useless and not endpoint.can_be_answered and not decision.credential.registry_token:
            yield from self.probe()
        endpoint.learn(challenges)

    def probe(self) -> Generator[Request, Response, None]:
        """Send `GET /v2/`, once, for its challenges; raise RegistryError for a temporary failure."""
        endpoint = self._endpoint
        with endpoint.probe_turn.taken(copy):
            if endpoint.is_probed:
                return
            answer = yield from endpoint.send(Request("GET", "/v2/", self._headers))
            response = answer.response
            if is_temporary_answer(response.status):
                raise failure(answer.request, response, now=self._clock())
            if response.status == _UNAUTHORIZED:
                endpoint.learn(parse_challenges(response.header_list("WWW-Authenticate")))
            endpoint.is_open = response.status == _OK
            endpoint.is_probed = True
            response.close()

    def _after_token(
        self, decision: Decision, token: Token, challenges: tuple[Challenge, ...], *, is_fresh: bool
    ) -> tuple[Scope, ...] | None:
        """Decide after a 401 to a token: it may have ended, or may be for too little."""
        holder, named = Holder.of_decision(decision), named_scopes(challenges)
        self._tokens.drop(holder, token)
        # A kept token may have been revoked, and so may the credential that it was fetched with.
        if not is_fresh or not token.is_live(self._clock()):
            self._authorizer.renew(decision)
        elif covers(token.scopes, named):
            return self._after_fresh_token(holder, token)
        return merge((*self._access.scopes, *named))

    def _after_fresh_token(self, holder: Holder, token: Token) -> tuple[Scope, ...] | None:
        """Allow one more token in place of a fresh one, unless a second one was refused too before."""
        if not self._may_replace_fresh_token or self._tokens.is_distrusted(holder, token):
            self._tokens.distrust(holder, token)
            return None
        self._may_replace_fresh_token = False
        self._rounds_left += 1
        return self._scopes

    def _after_login(self, decision: Decision, signature: Signature) -> tuple[Scope, ...] | None:
        """Decide after a 401 to a request without a credential, with a login or with a registry token."""
        credential, scopes = decision.credential, self._access.scopes
        if not credential.registry_token:
            challenge = must_choose(self._endpoint.challenges or (), credential)
            # The request had no token: the challenge was not known before this response.
            if challenge.scheme == "bearer":
                return merge((*scopes, *named_scopes((challenge,))))
            if not signature.header and signature.refusal is None:
                return scopes if credential.has_login else None
        return scopes if self._authorizer.renew(decision) else None


@cache
def session_id() -> str:
    """Return a random number of 31 bits that identifies this process in the log of a registry."""
    return str(int.from_bytes(os.urandom(4), "big") >> 1)


class Authorizer:
    """Authorize requests with the credentials of a keychain; safe from many threads.

    A credential is sent only to the registry that it is for and to the token service of this registry. A 401
    is answered with at most one new credential, a token is fetched once however many threads wait for it, and
    a login that was refused is not sent again. `clock` returns the Unix time in seconds.
    """

    def __init__(
        self, keychain: Keychain, *, insecure: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self.keychain = keychain
        self._insecure = insecure
        self.clock = clock
        self.tokens = Tokens()
        self.logins = Logins(clock)
        self._lock = Lock()
        self.endpoints: dict[str, Endpoint] = {}
        self._decisions: dict[Repository, Decision] = {}

    def endpoint(self, registry: str) -> Endpoint:
        """Return the endpoint of `registry`, the same one each time."""
        with self._lock:
            if registry not in self.endpoints:
                self.endpoints[registry] = Endpoint(registry, insecure=self._insecure)
            return self.endpoints[registry]

    def decision(self, repository: Repository) -> Decision:
        """Return the decision for `repository`; resolve it again when its credential has expired."""
        # No lock: two threads that resolve at the same time get equal decisions.
        decision = self._decisions.get(repository)
        ends_at = decision.credential.expires_at if decision is not None else None
        if decision is None or (ends_at is not None and ends_at <= self.clock()):
            decision = self._decisions[repository] = self.keychain.resolve(repository)
        return decision

    def renew(self, decision: Decision) -> bool:
        """Ask the keychain again; return True when it has another credential now."""
        old, renewed = Holder.of_decision(decision), self.keychain.resolve(decision.repository)
        # Other repositories have the old credential too: each of them would send it once more.
        for repository, other in tuple(self._decisions.items()):
            if Holder.of_decision(other) == old:
                self._decisions.pop(repository, None)
        self._decisions[decision.repository] = renewed
        return Holder.of_decision(renewed) != old

    @property
    def explain(self) -> Explainer:
        """The object that adds the refusal of a credential, its origin and the reasons to errors."""
        from imgpkg.registry.auth.explainer import Explainer

        return Explainer(self)

    def secrets(self, repository: Repository) -> tuple[str, ...]:
        """Return every secret that was sent to the registry, which it may repeat in a response."""
        decision = self.decision(repository)
        return (*secrets_of(decision.credential), *self.tokens.secrets(Holder.of_decision(decision)))

    def conversation(self, request: Request, access: Access) -> Conversation:
        """Return the conversation for `request`; raise CredentialError."""
        headers = {"User-Agent": USER_AGENT, SESSION_HEADER: session_id()}
        return Conversation(self, self.endpoint(access.repository.registry), request, access, headers)

    def flow(self, request: Request, access: Access) -> Generator[Request, Response, Answer]:
        """Yield what has to be sent for `request`, receive each response or TransportError, return the last.

        The URL is absolute, or a path of the repository's registry. A credential is sent only to the origin
        of this registry and to the token service that it named. Raises CredentialError, ChallengeError, a
        RegistryError of the token service, and the TransportErrors that it receives.
        """
        endpoint = self.endpoint(access.repository.registry)
        if not request.url.startswith("/") and Origin.of(request.url) != endpoint.origin:
            return (yield from send_anonymously(request, {"User-Agent": USER_AGENT}, self.clock))
        # Before the first contact with the registry: a CredentialError needs no request.
        conversation = self.conversation(request, access)
        with endpoint.first_contact():
            try:
                return (yield from conversation.run())
            except ChallengeError as error:
                self.explain.again(error, access)
                raise
