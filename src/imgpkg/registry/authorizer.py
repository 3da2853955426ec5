"""The 401 flow as a generator: it yields requests, receives responses and opens nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.errors import ChallengeError
from imgpkg.registry.advice import advice
from imgpkg.registry.conversation import Conversation
from imgpkg.registry.known import KnownRegistry
from imgpkg.registry.logins import Login, Logins, not_again
from imgpkg.registry.stranger import visit
from imgpkg.registry.token_service import header_of, secrets_of
from imgpkg.registry.tokens import Holder, Tokens
from imgpkg.transport.message import Origin
from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from imgpkg.auth.keychain import Decision, Keychain
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.scope import Access
    from imgpkg.transport.message import Request, Response

USER_AGENT = f"imgpkg-py/{VERSION}"
SESSION_HEADER = "Imgpkg-Session-Id"


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
        if made is None or (ends_at is not None and ends_at <= self.clock()):
            made = self._decisions[repository] = self._keychain.resolve(repository)
        return made

    def renew(self, decision: Decision) -> bool:
        """Ask the keychain again; tell whether it has another credential now, and not the same anew."""
        made = self._decisions[decision.repository] = self._keychain.resolve(decision.repository)
        return Holder.of_decision(made) != Holder.of_decision(decision)

    def hints(self, access: Access) -> tuple[str, ...]:
        """Tell somebody who was turned away what was used."""
        known, decision = self.known(access.repository.registry), self.decision(access.repository)
        login = Login(header_of(decision.credential), known.origin, access.scopes)
        hints = advice(decision, access.scopes, known, self.clock())
        return hints if self.logins.refusal(login) is None else (*hints, not_again(known.name))

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
        known = self.known(access.repository.registry)
        if not request.url.startswith("/") and Origin.of(request.url) != known.origin:
            return Answer(*(yield from visit(request, _headers(""), self.clock)))
        self.decision(access.repository)
        conversation = Conversation(self, known, request, access, _headers(session_id()))
        with known.introduction():
            try:
                return Answer(*(yield from conversation.run()))
            except ChallengeError as error:
                error.hints = (*error.hints, *self.hints(access))
                raise


def _headers(session: str) -> dict[str, str]:
    named = {"User-Agent": USER_AGENT}
    return {**named, SESSION_HEADER: session} if session else named
