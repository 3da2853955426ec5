"""Credentials, the sources that have them, and the keychain that asks the sources in order."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from imgpkg.errors import doing, printable
from imgpkg.oci.reference import Repository
from imgpkg.values import hiding

_LONGEST_ISSUER = 200
_LONGEST_TOKEN = 1 << 20


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


@dataclass(frozen=True, slots=True)
class Claims:
    """Who issued a token, and when it ends, a Unix time in seconds; empty and None where it does not say."""

    issuer: str = ""
    ends_at: float | None = None


def claims_of(token: str) -> Claims:
    """Read the claims of `token`; nothing for a token of another kind, which is no error."""
    if len(token) > _LONGEST_TOKEN:
        return Claims()
    try:
        payload = token.split(".")[1]
        said = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        issuer, end = said.get("iss"), said.get("exp")
        ends_at = None if end is None or isinstance(end, bool) else float(end)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return Claims()
    is_shown = isinstance(issuer, str) and issuer.isprintable() and len(issuer) <= _LONGEST_ISSUER
    return Claims(issuer if is_shown else "", ends_at)


class Outcome(Enum):
    """What a source said about a repository."""

    MATCHED = "matched"
    NO_MATCH = "no match"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One source's answer for one repository.

    `origin` names the variable, file and key, flag or keychain that answered; `detail` says why in words.
    Neither ever holds a secret. `credential` is set exactly when the outcome is MATCHED; it may be an
    anonymous one, which ends the search on purpose.
    """

    source: str
    outcome: Outcome
    detail: str
    origin: str = ""
    credential: Credential | None = field(default=None, repr=False)


class CredentialSource(Protocol):
    """One place where credentials are found."""

    @property
    def name(self) -> str:
        """How people call it: `environment`, `ecr`, `flags`, `docker config`."""
        ...

    def lookup(self, repository: Repository) -> Finding:
        """Answer for `repository`; safe from many threads; asks outside programs once per registry.

        A credential that ends carries `expires_at`. Until then the same one is given without asking again;
        a lookup from then on asks anew. That is the only way in which credentials are renewed.

        Never raises for "no": a source that could not find out says FAILED and the chain goes on. Raises
        CredentialError only where going on could use a wrong credential, such as a malformed file.
        """
        ...


@dataclass(frozen=True, slots=True)
class Decision:
    """Which credential a repository gets, and the whole way to it."""

    repository: Repository
    credential: Credential
    trail: tuple[Finding, ...] = ()

    @property
    def winner(self) -> Finding | None:
        """The finding that matched, or None when the repository is accessed anonymously by default."""
        return next((finding for finding in self.trail if finding.outcome is Outcome.MATCHED), None)

    def summary(self) -> str:
        """Say in one line which source gave the credential: what a 401 message shows first."""
        winner = self.winner
        if winner is None:
            return printable(f"no credential found for {self.repository}; requests are anonymous")
        user = f" (user {self.credential.username!r})" if self.credential.kind == "login" else ""
        return printable(f"credential for {self.repository} from {winner.source}: {winner.origin}{user}")

    def explain(self) -> str:
        """Tell the whole trail, a line per source asked; never a secret."""
        lines = [f"  {finding.source}: {finding.outcome.value}: {finding.detail}" for finding in self.trail]
        return "\n".join((self.summary(), *map(printable, lines)))


class Keychain:
    """Asks its sources in their order; a visible list, nothing registers itself."""

    def __init__(self, sources: Iterable[CredentialSource]) -> None:
        self.sources = tuple(sources)

    def resolve(self, repository: Repository) -> Decision:
        """Decide for `repository`; raise CredentialError when a source must not be passed over."""
        trail: list[Finding] = []
        for source in self.sources:
            with doing("Unable retrieve credentials for registry"):
                finding = source.lookup(repository)
            trail.append(finding)
            if finding.credential is not None:
                return Decision(repository, finding.credential, tuple(trail))
        return Decision(repository, ANONYMOUS, tuple(trail))
