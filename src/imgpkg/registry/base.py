"""The base endpoint `/v2/` (distribution-spec, end-1): whether a credential is accepted, and its token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.keychain import claims_of
from imgpkg.errors import ChallengeError
from imgpkg.registry.auth.cache import Holder
from imgpkg.registry.auth.challenge import choose
from imgpkg.registry.auth.token import BearerToken, granted_scopes
from imgpkg.transport.message import Request
from imgpkg.transport.retry import is_temporary_answer

if TYPE_CHECKING:
    from imgpkg.registry.auth.challenge import Access, Challenge
    from imgpkg.registry.endpoint import Answer
    from imgpkg.registry.exchange import Exchange

_OK, _FORBIDDEN, _NOT_FOUND = 200, 403, 404


class BaseEndpoint:
    """Check the credential of the keychain at a registry, and get its token."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._authorizer = exchange.authorizer

    def accepts(self, access: Access) -> bool:
        """See `RegistryClient.accepts`."""
        answer = self._get_base(access)
        is_open = answer.response.status == _OK
        if self._needs_repository(answer, access):
            answer.response.close()
            answer = self._list_tags(access)
        has_asked = self._challenge(access) is not None
        # A missing repository is no reason to refuse the credential; without a base and without a challenge,
        # there is no registry.
        is_absent = answer.response.status == _NOT_FOUND and (is_open or has_asked)
        if answer.response.status == _OK or is_absent:
            answer.response.close()
            return has_asked
        raise self._exchange.failure(answer, access)

    def token(self, access: Access) -> BearerToken:
        """See `RegistryClient.token`."""
        credential = self._authorizer.decision(access.repository).credential
        if credential.registry_token:
            # It was configured, and not requested here.
            value = credential.registry_token
            return BearerToken(value, ends_at=claims_of(value).ends_at, granted=granted_scopes(value))
        answer = self._get_base(access)
        found = self._found(access)
        if found is None and self._needs_repository(answer, access):
            answer.response.close()
            answer = self._list_tags(access)
            found = self._found(access)
        if found is not None:
            answer.response.close()
            return found
        if answer.response.status not in (_OK, _NOT_FOUND):
            raise self._exchange.failure(answer, access)
        answer.response.close()
        raise self._no_token(access)

    def _get_base(self, access: Access) -> Answer:
        return self._exchange.repeat(lambda: self._get("/v2/", access))

    def _list_tags(self, access: Access) -> Answer:
        url = f"/v2/{access.repository.path}/tags/list?n=1"
        return self._exchange.repeat(lambda: self._get(url, access))

    def _get(self, url: str, access: Access) -> Answer:
        answer = self._exchange.send(Request("GET", url), access)
        if is_temporary_answer(answer.response.status):
            raise self._exchange.failure(answer, access)
        return answer

    def _needs_repository(self, answer: Answer, access: Access) -> bool:
        """Return True when a repository must be tried: the base is open, or closed to this credential."""
        if not access.scopes:
            return False
        is_open = answer.response.status == _OK and self._challenge(access) is None
        return is_open or answer.response.status in (_FORBIDDEN, _NOT_FOUND)

    def _challenge(self, access: Access) -> Challenge | None:
        endpoint = self._authorizer.endpoint(access.repository.registry)
        credential = self._authorizer.decision(access.repository).credential
        return choose(endpoint.challenges or (), credential)

    def _found(self, access: Access) -> BearerToken | None:
        """Return the token with which the last request was sent."""
        holder = Holder.of_decision(self._authorizer.decision(access.repository))
        token = self._authorizer.tokens.find(holder, access.scopes, self._authorizer.clock())
        challenge = self._challenge(access)
        if token is None or challenge is None:
            return None
        granted = granted_scopes(token.value, token.granted)
        return BearerToken(token.value, token.scopes, challenge.service, token.ends_at, granted)

    def _no_token(self, access: Access) -> ChallengeError:
        name = access.repository.registry
        decision = self._authorizer.decision(access.repository)
        if self._challenge(access) is None:
            return ChallengeError(
                f"{name} asks for no credential, so there is no token: use curl without one"
            )
        user = decision.credential.username or "USER"
        url = f"{self._authorizer.endpoint(name).origin.url}/v2/{access.repository.path}/tags/list"
        return ChallengeError(
            f"{name} wants the login itself (Basic) and takes no token",
            hints=(f"Give curl the login, which it asks for: curl -u {user} {url}",),
        )
