"""A credential decision as a document that programs can read; no secret is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.auth.keychain import Decision


def json(decision: Decision) -> dict[str, object]:
    """Return the repository, what would be sent in its name and why, and what each source said."""
    winner, credential = decision.winner, decision.credential
    return {
        "repository": str(decision.repository),
        "credential": {
            "kind": credential.kind,
            "username": credential.username or None,
            "expiresAt": credential.expires_at,
        },
        "source": winner.source if winner else None,
        "origin": winner.origin if winner else None,
        "trail": [
            {"source": finding.source, "outcome": finding.outcome.value, "detail": finding.detail}
            for finding in decision.trail
        ],
    }
