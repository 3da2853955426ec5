"""Tokens at hand, by registry and credential: any that covers what is wanted will do."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from imgpkg.registry.once import Turn
from imgpkg.registry.scope import covers

if TYPE_CHECKING:
    from collections.abc import Hashable

    from imgpkg.auth.credential import Credential
    from imgpkg.auth.keychain import Decision
    from imgpkg.registry.scope import Scope
    from imgpkg.registry.token_reply import Token


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
