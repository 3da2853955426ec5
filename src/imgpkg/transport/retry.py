"""Which failures are temporary, and the pause that a server asks for."""

from __future__ import annotations

from datetime import timezone

from imgpkg.errors import ConnectionFailed, ImgpkgError, NotTLS, RegistryError, TimedOut

TEMPORARY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
TEMPORARY_CODES = frozenset({"BLOB_UPLOAD_INVALID", "TOOMANYREQUESTS", "UNKNOWN", "UNAVAILABLE"})
# A date further away is as good as never, and floats and dates have their limits.
_NEVER = 1e10

_FINAL_STATUSES = frozenset({401, 403, 404})


def is_temporary_answer(status: int, codes: frozenset[str] = frozenset()) -> bool:
    """Tell whether the same request may do better later.

    True for a temporary status, or when every code that the registry gave is a temporary one; never for
    401, 403 and 404.
    """
    if status in _FINAL_STATUSES:
        return False
    return status in TEMPORARY_STATUSES or (bool(codes) and codes <= TEMPORARY_CODES)


def is_temporary(error: ImgpkgError) -> bool:
    """Tell whether what failed may succeed when repeated: no answer in time, or a temporary one.

    A rejected certificate, or a peer that does not speak TLS, stays as it is.
    """
    match error:
        case NotTLS():
            return False
        case ConnectionFailed() | TimedOut():
            return True
        case RegistryError():
            return is_temporary_answer(error.status, error.codes)
        case _:
            return False


def parse_retry_after(value: str | None, now: float) -> float | None:
    """Read a `Retry-After` header: seconds, or an HTTP date (RFC 9110 10.2.3), as seconds from `now`.

    `now` is a Unix time. Returns at least 0, and None for no header or one that says nothing.
    """
    if value is None:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import, seldom needed

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
