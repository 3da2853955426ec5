"""Times as clouds write them, such as `2030-01-02T03:04:05.123456789Z` (RFC 3339)."""

from __future__ import annotations

import re
from datetime import datetime, timezone

# Nanoseconds are more than datetime can hold, and Python 3.10 reads neither them nor the Z.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?(?:[Zz]|([+-]\d\d:\d\d))")


def parse(text: str) -> float:
    """Read a time as Unix seconds; raise ValueError for anything else."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    date, clock, fraction, offset = match.groups()
    whole = datetime.fromisoformat(f"{date}T{clock}{offset or '+00:00'}")
    return whole.timestamp() + float(fraction or 0)


def render(seconds: float) -> str:
    """Write Unix seconds as a time in UTC, to the microsecond."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat().replace("+00:00", "Z")
