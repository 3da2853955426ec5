"""A credential: what may be shown to a registry, and never to anybody else."""

from __future__ import annotations

from dataclasses import dataclass, field

from imgpkg.values import hiding


@hiding("password", "identity_token", "registry_token")
@dataclass(frozen=True)
class Credential:
    """A login, an identity token, a registry token, or several of them; all empty means anonymous.

    Precedence is the authorizer's: registry token, identity token, login, none.
    `expires_at` is a Unix time in seconds, None when the credential does not say; a lookup from then on gives
    a new one. Bytes that are no UTF-8 are surrogate escapes (PEP 383), as in the process's own environment:
    encode with `surrogateescape`. Secrets are in no `repr` and no `dataclasses.asdict`.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    expires_at: float | None = None

    @property
    def is_anonymous(self) -> bool:
        """True when there is nothing that could be sent: a half login counts as nothing."""
        return not (self.registry_token or self.identity_token or self.has_login)

    @property
    def has_login(self) -> bool:
        """True when both halves of a login are there."""
        return bool(self.username and self.password)

    @property
    def kind(self) -> str:
        """What would be sent, in words: `registry token`, `identity token`, `login`, `nothing`."""
        if self.registry_token:
            return "registry token"
        if self.identity_token:
            return "identity token"
        return "login" if self.has_login else "nothing"

    def secrets(self) -> tuple[str, ...]:
        """Every secret in it, for whoever has to keep them out of a text."""
        return tuple(s for s in (self.password, self.identity_token, self.registry_token) if s)


ANONYMOUS = Credential()
