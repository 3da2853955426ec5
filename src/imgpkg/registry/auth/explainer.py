"""Add the refusal and the hints to errors about a credential, from the state of the authorizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, replace
from imgpkg.registry.auth.cache import LoginAttempt, withheld_hint
from imgpkg.registry.auth.challenge import parse_challenges
from imgpkg.registry.auth.hints import explain
from imgpkg.registry.auth.refusal import Case, Evidence
from imgpkg.registry.auth.token import header_of

if TYPE_CHECKING:
    from imgpkg.errors import ImgpkgError, RegistryError
    from imgpkg.registry.auth.authorizer import Authorizer
    from imgpkg.registry.auth.challenge import Access
    from imgpkg.registry.endpoint import Answer


@dataclass(frozen=True, slots=True)
class Explainer:
    """Set the refusal and the hints of errors; nothing here runs before something has failed."""

    authorizer: Authorizer

    def answer(self, error: RegistryError, answer: Answer, access: Access) -> None:
        """Explain an answer of the registry, also when a login that it refused was not sent again."""
        header = answer.request.headers.get("Authorization", "")
        challenges = parse_challenges(answer.response.header_list("WWW-Authenticate"))
        evidence = Evidence(error.status, header, challenges, error.message)
        attempt = self._attempt(access)
        is_withheld = self.authorizer.logins.refusal(attempt) is not None
        if is_withheld and not header:
            evidence = replace(evidence, secret=attempt.secret)
        self._explain(error, access, evidence)
        if is_withheld:
            error.hints = (*error.hints, withheld_hint(access.repository.registry))

    def withheld(self, error: RegistryError, access: Access) -> None:
        """Explain the error with which the registry has refused a login before."""
        self._explain(error, access, Evidence(error.status, self._attempt(access).secret, text=error.message))
        error.hints = (*error.hints, withheld_hint(access.repository.registry))

    def token_request(self, error: RegistryError, access: Access, *, secret: str, service: str) -> None:
        """Explain an answer of a token service, at the host `service`, to a request with `secret`."""
        evidence = Evidence(error.status, secret, text=error.message, service=service)
        self._explain(error, access, evidence)

    def again(self, error: ImgpkgError, access: Access) -> None:
        """Explain an error without an answer of its own: a challenge that is refused, a shared failure."""
        self._explain(error, access, None)

    def _explain(self, error: ImgpkgError, access: Access, evidence: Evidence | None) -> None:
        authorizer, repository = self.authorizer, access.repository
        decision = authorizer.decision(repository)
        case = Case(
            decision,
            access.scopes,
            authorizer.endpoint(repository.registry),
            authorizer.clock(),
            authorizer.keychain.near_misses(decision),
        )
        explain(error, case, evidence, has_several=len(authorizer.endpoints) > 1)

    def _attempt(self, access: Access) -> LoginAttempt:
        header = header_of(self.authorizer.decision(access.repository).credential)
        origin = self.authorizer.endpoint(access.repository.registry).origin
        return LoginAttempt(header, origin, access.scopes)
