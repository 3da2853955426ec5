"""Explain which credential a repository would get, without a request to it."""

from __future__ import annotations

from imgpkg.auth.keychain import Decision
from imgpkg.oci.reference import parse_any
from imgpkg.session import Session


def explain(reference: str, *, session: Session) -> Decision:
    """Decide for the repository of `reference`; the decision holds the whole trail and prints no secret.

    Sources may run programs and ask their cloud. Raises InvalidReference or CredentialError.
    """
    return session.keychain.resolve(parse_any(reference).repository)
