"""The keychain `github`: the token of a workflow, for ghcr.io."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.keychain import Credential, Finding, NearMiss, Outcome
from imgpkg.auth.pattern import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgpkg.auth.keychain import Decision
    from imgpkg.oci.reference import Repository

HOST = "ghcr.io"
# ghcr.io accepts any user name with a token; the word is that of the original.
NOBODY = "unset"


class GithubSource:
    """Return `GITHUB_ACTOR`, or the word `unset`, with `GITHUB_TOKEN` for ghcr.io; send no request."""

    name = "github"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def lookup(self, repository: Repository) -> Finding:
        """Return the finding for `repository`; see `CredentialSource.lookup`."""
        if Address.of(repository).host != HOST:
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is not {HOST}")
        token = self._environ.get("GITHUB_TOKEN", "")
        if not token:
            return Finding(self.name, Outcome.NOT_APPLICABLE, "GITHUB_TOKEN is not set")
        actor = self._environ.get("GITHUB_ACTOR", "")
        credential = Credential(actor or NOBODY, token)
        detail, why_user = f"gives the {credential.kind}", "" if actor else "GITHUB_ACTOR is not set"
        return Finding(self.name, Outcome.MATCHED, detail, "$GITHUB_TOKEN", credential, why_user)

    def near_misses(self, decision: Decision) -> Iterator[NearMiss]:
        """Yield the variables that are missing; see `ExplainsNearMisses.near_misses`."""
        if Address.of(decision.repository).host != HOST:
            return
        # The variable that the program `gh` prefers.
        if not self._environ.get("GITHUB_TOKEN") and self._environ.get("GH_TOKEN"):
            text = "GH_TOKEN is set and not used, because GITHUB_TOKEN is meant"
            yield NearMiss(self.name, text, 'GITHUB_TOKEN="$GH_TOKEN"')
        if decision.winner is not None and decision.winner.why_user:
            yield NearMiss(self.name, decision.user, "GITHUB_ACTOR=NAME")
