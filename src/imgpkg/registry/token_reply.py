"""What a token service answers: the token, when it ends, and perhaps a refresh token."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from imgpkg.errors import ChallengeError

if TYPE_CHECKING:
    from imgpkg.registry.scope import Scope

MAX_REPLY = 128 << 10
_SHORTEST_LIFE = 60.0
_LONGEST_LIFE = 10 * 365 * 86400.0
_RENEWED_BEFORE = 10.0
_TRUSTED_SKEW = 300.0
_TOKEN = re.compile(r"[\x21-\x7e]+")
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.\d+)?([Zz]|[+-]\d\d:\d\d)")


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token for `scopes`; `ends_at` is a Unix time in seconds."""

    value: str = field(repr=False)
    scopes: tuple[Scope, ...]
    ends_at: float

    def is_live(self, now: float) -> bool:
        """Tell whether it may still be shown: it is renewed ten seconds before it ends."""
        return now < self.ends_at - _RENEWED_BEFORE


@dataclass(frozen=True, slots=True)
class TokenReply:
    """A token, and the refresh token that came with it, empty when none did.

    `is_refused` tells that the refresh token shown was of no use, and that the token was got without it.
    """

    token: Token
    refresh_token: str = field(default="", repr=False)
    is_refused: bool = False


def read_token_reply(body: bytes, scopes: tuple[Scope, ...], now: float) -> TokenReply:
    """Read the JSON body of a token service; raise ChallengeError, whose text has nothing of the body.

    `access_token` wins over `token`. A token lives for `expires_in` seconds, at least 60 and 60 by default,
    from `issued_at` if that is within five minutes of `now`, else from `now`.
    """
    document = _object(body)
    value = document.get("access_token") or document.get("token")
    if not isinstance(value, str) or not value:
        raise ChallengeError("no token in bearer response")
    if not _TOKEN.fullmatch(value):
        raise ChallengeError("the token in the bearer response has characters that no token may have")
    refresh_token = document.get("refresh_token")
    token = Token(value, scopes, _end(document, now))
    return TokenReply(token, refresh_token if isinstance(refresh_token, str) else "")


def _object(body: bytes) -> dict[str, Any]:
    if len(body) > MAX_REPLY:
        raise ChallengeError(f"the bearer response is longer than {MAX_REPLY >> 10} KiB")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        # The cause would carry the body.
        raise ChallengeError("the bearer response is not JSON") from None
    if not isinstance(document, dict):
        raise ChallengeError("the bearer response is not a JSON object")
    return document


def _end(document: dict[str, Any], now: float) -> float:
    issued = _time(document.get("issued_at"))
    start = issued if issued is not None and abs(issued - now) <= _TRUSTED_SKEW else now
    end = start + _life(document.get("expires_in"))
    # A token that seems to have ended on arrival tells of a wrong clock.
    return end if end - _RENEWED_BEFORE > now else now + _SHORTEST_LIFE


def _life(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return _SHORTEST_LIFE
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return _SHORTEST_LIFE
    if math.isnan(seconds):
        return _SHORTEST_LIFE
    return min(max(seconds, _SHORTEST_LIFE), _LONGEST_LIFE)


def _time(value: Any) -> float | None:
    """Read an RFC 3339 time; fractions of a second do not matter."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    zone = "+00:00" if match[3] in "Zz" else match[3]
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}").astimezone(timezone.utc).timestamp()
    except (ValueError, OverflowError):
        return None
