"""Which failures are temporary, and the pause that a server asks for."""

from __future__ import annotations

from imgpkg.errors import ConnectionFailed, ConnectionTimedOut, ImgpkgError, NotTLS, RegistryError

TEMPORARY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
# The error codes that the original repeats after.
TEMPORARY_CODES = frozenset({"BLOB_UPLOAD_INVALID", "TOOMANYREQUESTS", "UNKNOWN", "UNAVAILABLE"})
# Seconds. A longer pause is as good as none at all, and floats and dates have their limits.
_NEVER = 1e10

_FINAL_STATUSES = frozenset({401, 403, 404})


def is_temporary_answer(status: int, codes: frozenset[str] = frozenset()) -> bool:
    """Return True when the same request may succeed later.

    That is a temporary status, or a response with temporary error codes only; never 401, 403 and 404.
    """
    # Some registries send these statuses with the code UNKNOWN.
    if status in _FINAL_STATUSES:
        return False
    return status in TEMPORARY_STATUSES or (bool(codes) and codes <= TEMPORARY_CODES)


def is_temporary(error: ImgpkgError) -> bool:
    """Return True when a repetition may succeed: after no response in time, or a temporary one.

    A rejected certificate, and a peer that does not use TLS, are not temporary.
    """
    match error:
        # Before ConnectionFailed, of which it is a subclass.
        case NotTLS():
            return False
        case ConnectionFailed() | ConnectionTimedOut():
            return True
        case RegistryError():
            return is_temporary_answer(error.status, error.codes)
        case _:
            return False


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header, a number or an HTTP date (RFC 9110 section 10.2.3).

    `now` is a Unix time. The result is at least 0, and None without the header and for other text.
    """
    if value is None:
        return None
    from datetime import timezone
    from email.utils import parsedate_to_datetime

    text = value.strip()
    if text.isascii() and text.isdigit():
        # float() takes any number of digits; thousands of them are infinity.
        return min(float(text), _NEVER)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    seconds = moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp() - now
    return max(seconds, 0.0)
