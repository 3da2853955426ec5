"""Which failures repeat, and how long to wait: pure decisions, and one loop that follows them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta, timezone
from typing import TYPE_CHECKING, TypeVar

from imgpkg import cancellation
from imgpkg.errors import ConnectionFailed, ImgpkgError, NotTLS, RegistryError, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")

TEMPORARY_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
TEMPORARY_CODES = frozenset({"BLOB_UPLOAD_INVALID", "TOOMANYREQUESTS", "UNKNOWN", "UNAVAILABLE"})
FIRST_DELAY = 0.1
LONGEST_DELAY = 1.0
LONGEST_RETRY_AFTER = 60.0
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


def delay_before(attempt: int, fraction: float, retry_after: float | None = None) -> float:
    """Return the seconds to wait before `attempt` (the second is 2): 100 ms doubling up to 1 s, with jitter.

    `fraction` is random in [0, 1): the pause is between half of the step and all of it. What the server asked
    for is the least.
    """
    step = min(FIRST_DELAY * 2.0 ** min(attempt - 2, 10), LONGEST_DELAY)
    pause = step * (1 + fraction) / 2
    return max(pause, retry_after or 0.0)


@dataclass(frozen=True, slots=True)
class Repetition:
    """A failure that is tried again after a pause, in seconds, and which attempt of how many that is."""

    error: ImgpkgError
    pause: float
    attempt: int
    attempts: int

    def __str__(self) -> str:
        when = f"in {self.pause:.0f} s" if self.pause >= 1 else "now"
        return f"{self.error}; trying again {when} (attempt {self.attempt} of {self.attempts})"


def _silent(repetition: Repetition) -> None:
    """Announce no repetition."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Repeats an operation while its failures are temporary; `attempts` below one count as one.

    The operation must be whole in itself: each call starts from nothing. `sleep` gets seconds, `random`
    returns a fraction in [0, 1), `on_repeat` is called before each pause. A server that asks for a pause of
    more than a minute is not asked again: its error is raised, with a hint.
    """

    attempts: int = 5
    sleep: Callable[[float], None] = cancellation.sleep
    random: Callable[[], float] = random.random
    on_repeat: Callable[[Repetition], None] = _silent

    def run(self, operation: Callable[[], Result]) -> Result:
        """Return what `operation` returns; raise its last error, or its first that is not temporary."""
        attempt = 1
        while True:
            try:
                return operation()
            except ImgpkgError as error:
                if attempt >= self.attempts or not is_temporary(error):
                    raise
                asked = _asked_pause(error)
                if asked is not None and asked > LONGEST_RETRY_AFTER:
                    error.hints = (*error.hints, _too_long(asked))
                    raise
                attempt += 1
                pause = delay_before(attempt, self.random(), asked)
                self.on_repeat(Repetition(error, pause, attempt, self.attempts))
            self.sleep(pause)


def _too_long(seconds: float) -> str:
    return (
        f"The registry asks to be left alone for {timedelta(seconds=round(seconds))}; imgpkg waits for "
        f"{LONGEST_RETRY_AFTER:.0f} s at most. Try again after that time."
    )


def _asked_pause(error: ImgpkgError) -> float | None:
    return error.retry_after if isinstance(error, RegistryError) else None
