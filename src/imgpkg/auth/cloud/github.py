"""The keychain `github`: the token of a workflow, for ghcr.io."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.keychain import Credential, Finding, Outcome
from imgpkg.auth.pattern import Address

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.reference import Repository

HOST = "ghcr.io"
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
