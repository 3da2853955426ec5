"""What of a URL or header may be shown: nothing that lets the reader act as somebody else."""

from __future__ import annotations

import re

REDACTED = "REDACTED"
SHOWN_QUERY_KEYS = frozenset({"scope", "service", "mount", "from", "digest", "n", "last"})

_SECRET_HEADER = re.compile(
    r"authorization|cookie|token|secret|password|api-?key|x-identity|x-registry-auth", re.IGNORECASE
)
_URL_HEADERS = frozenset({"location", "content-location", "referer"})
# A target that does not end is one up to the end.
_LINK_TARGET = re.compile(r"<([^>]*)(>?)")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]")


def redact_url(url: str) -> str:
    """Return `url` without user info, fragment and the values of unknown query keys.

    Kept are the values of scope, service, mount, from, digest, n and last. Works on any text, also on
    relative and malformed URLs; control characters come out percent-encoded.
    """
    whole, hash_sign, _ = _UNPRINTABLE.sub(_percent, url).partition("#")
    address, question_mark, query = whole.partition("?")
    shown = "&".join(_redact_pair(pair) for pair in query.split("&"))
    end = f"#{REDACTED}" if hash_sign else ""
    return f"{_redact_user(address)}{question_mark}{shown}{end}"


def redact_header(name: str, value: str) -> str:
    """Return what may be shown of a header's value: `<redacted>` for credentials, redacted URLs in links."""
    key = name.lower()
    if _SECRET_HEADER.search(key):
        return "<redacted>"
    if key in _URL_HEADERS:
        return redact_url(value)
    if key == "link":
        return _LINK_TARGET.sub(lambda match: f"<{redact_url(match[1])}{match[2]}", value)
    return value


def _redact_pair(pair: str) -> str:
    key, equals, value = pair.partition("=")
    # A ";" may separate pairs for an old server, so that a secret could hide behind a shown key.
    if not pair or (key in SHOWN_QUERY_KEYS and ";" not in value):
        return pair
    return f"{key}={REDACTED}" if equals else REDACTED


def _redact_user(address: str) -> str:
    scheme, slashes, rest = address.partition("//")
    authority, slash, path = rest.partition("/")
    _, at, host = authority.rpartition("@")
    return f"{scheme}{slashes}{REDACTED}@{host}{slash}{path}" if at else address


def _percent(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode())
