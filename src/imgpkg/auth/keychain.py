"""The chain: ask each source in order, the first match wins, every question leaves a finding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from imgpkg.auth.credential import ANONYMOUS, Credential
from imgpkg.errors import doing, printable
from imgpkg.oci.reference import Repository


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
