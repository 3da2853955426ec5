"""What a JSON web token says of itself (RFC 7519), unverified: for people and for renewal, not for trust."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from dataclasses import dataclass

_LONGEST_ISSUER = 200
_LONGEST_TOKEN = 1 << 20


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
