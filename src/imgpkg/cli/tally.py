"""The tally of a command's work: what is done, what is left, how fast it goes, and what was reused."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from imgpkg.cli.quantities import part_of, rate, readable, seconds, time_left
from imgpkg.cli.rendering import count_of
from imgpkg.dataclass import dataclass
from imgpkg.events import BlobAdvanced, BlobFinished, PackAdvanced
from imgpkg.progress import ProgressCounter, ProgressStage

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.events import Event
    from imgpkg.progress import Progress

# Seconds. What was transferred longer ago has little effect on the rate.
_MEMORY = 5.0
# A rate of less is chance, and an estimate with it a guess.
_FIRST_ESTIMATE = 2.0
# After this time without a byte an estimate says nothing any more, and then nor does the rate.
_QUIET, _STALLED = 1.5, 3.0
# What takes longer than this shows its time.
_LONG = 10.0
# By the activities of Progress.
_ACTIVITIES = {
    "pack": ("packing", "packed"),
    "push": ("sending", "sent"),
    "pull": ("receiving", "received"),
    "save": ("saving", "saved"),
    "verify": ("verifying", "verified"),
}
# After the blobs these write manifests, tags or an index; a pull may go on with the next bundle.
_BEFORE_MANIFESTS = ("push", "save")


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of blobs and their `size` in bytes."""

    blobs: int = 0
    size: int = 0

    def __str__(self) -> str:
        return f"{count_of(self.blobs, 'blob')}, {readable(self.size)}"


@dataclass(frozen=True, slots=True)
class ProgressText:
    """What a bar or a line shows at one moment; `fraction` is None while there is no total in bytes.

    `speed` and `left` are texts, empty while they would be guesses; `amount` has one unit.
    """

    activity: str
    amount: str
    fraction: float | None = None
    blobs: str = ""
    speed: str = ""
    left: str = ""

    def __str__(self) -> str:
        parts = (self.amount, self.blobs, self.speed, self.left)
        known = ", ".join(part.strip() for part in parts if part)
        return f"{self.activity}: {known}" if known else self.activity


class Pace:
    """A smoothed rate, from the time and the total at several moments."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.begin(clock())

    def begin(self, since: float) -> None:
        """Forget everything: a new transfer has begun."""
        self._begun = self._last = self._moved_at = since
        self._total = 0
        self._is_touched = False
        self._bytes = self._seconds = 0.0

    def look(self, total: int) -> None:
        """Note that `total` bytes have been transferred by now."""
        now = self._clock()
        spent = now - self._last
        if spent <= 0:
            return
        # A mean over all time in which the past fades, so that the first seconds are right, too.
        faded = math.exp(-spent / _MEMORY)
        self._bytes = self._bytes * faded + total - self._total
        self._seconds = self._seconds * faded + spent
        if self._is_touched:
            self._moved_at = now
        self._last, self._total, self._is_touched = now, total, False

    def touch(self) -> None:
        """Note that bytes have moved, perhaps ones that had been transferred before a failure."""
        self._is_touched = True

    @property
    def spent(self) -> float:
        """The seconds since the beginning."""
        return self._clock() - self._begun

    @property
    def quiet(self) -> float:
        """The seconds since the last byte."""
        return self._clock() - self._moved_at

    @property
    def rate(self) -> float:
        """Bytes a second; 0 before it can be known."""
        is_known = self._seconds > 0 and self._last - self._begun >= _FIRST_ESTIMATE
        return self._bytes / self._seconds if is_known else 0.0


class Tally:
    """Counts events, and says in words what is done, what is left, and how blobs came to where they are."""

    def __init__(self, since: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun = clock() if since is None else since
        self._is_summed_up = False
        self._counter = ProgressCounter()
        self._pace = Pace(clock)
        self._stage = ProgressStage.IDLE
        self._bytes = self._finished = 0

    def count(self, event: Event) -> None:
        """Count one event."""
        self._counter(event)
        if isinstance(event, BlobAdvanced | PackAdvanced):
            self._bytes += event.count
            self._pace.touch()
        elif isinstance(event, BlobFinished):
            self._finished += event.size
            # Also what is mounted, of which no byte comes by.
            self._pace.touch()
        stage = self._counter.progress.stage
        if stage is not self._stage:
            # Events may have been kept for a while before they are counted.
            self._pace.begin(self._begun if self._stage is ProgressStage.IDLE else self._clock())
            self._stage, self._bytes = stage, 0

    @property
    def left(self) -> Amount:
        """What of the plan is not done: a blob of which a part is missing counts whole."""
        now = self._counter.progress
        return Amount(now.total_blobs - now.blobs, max(0, now.total - self._finished))

    def progress(self) -> ProgressText:
        """Return what to show now; calls at regular times keep the rate smooth."""
        now = self._counter.progress
        match now.stage:
            case ProgressStage.PACKING:
                return self._of_bytes("packing", now)
            case ProgressStage.TRANSFER:
                return self._of_transfer(now)
            case ProgressStage.COUNTING | ProgressStage.IDLE:
                # Where this takes long, the time shows that it goes on.
                spent = self._pace.spent
                since = seconds(spent) if spent >= _LONG else ""
                known = f"{now.done} of {now.total}" if now.total else ""
                return ProgressText(now.activity, known, speed=since)

    def _of_transfer(self, now: Progress) -> ProgressText:
        is_over = bool(now.total_blobs) and now.blobs >= now.total_blobs
        activity, _ = _ACTIVITIES.get(now.activity, ("copying", ""))
        if is_over and now.activity in _BEFORE_MANIFESTS:
            activity = "finishing"
        blobs = f"{now.blobs:>{len(str(now.total_blobs))}} of {count_of(now.total_blobs, 'blob')}"
        if not now.total:
            return ProgressText(activity, blobs)
        return self._of_bytes(activity, now, blobs)

    def _of_bytes(self, activity: str, now: Progress, blobs: str = "") -> ProgressText:
        self._pace.look(self._bytes)
        left = now.total - now.done
        speed = duration = ""
        if left and self._pace.quiet >= _STALLED:
            speed = f"nothing for {self._pace.quiet:.0f} s"
        elif left and self._pace.rate >= 1:
            speed = rate(self._pace.rate)
            if self._pace.quiet < _QUIET and not now.grows:
                duration = time_left(left / self._pace.rate)
        return ProgressText(activity, part_of(now.done, now.total), now.fraction, blobs, speed, duration)

    def summary(self) -> str:
        """Return, once, what was transferred, how long it took, and what was reused; empty for nothing."""
        total, now = self._counter.transfer, self._counter.progress
        if self._is_summed_up or not (now.blobs or total.present):
            return ""
        self._is_summed_up = True
        _, done = _ACTIVITIES.get(now.activity, ("", "copied"))
        spent = self._clock() - self._begun
        moved = Amount(total.moved, total.moved_size)
        parts = [f"{done} {moved} in {seconds(spent)}" if total.moved else "nothing new"]
        if total.mounted:
            parts.append(f"mounted {Amount(total.mounted, total.mounted_size)}")
        if total.present:
            parts.append(f"already there {Amount(total.present, total.present_size)}")
        return "; ".join(parts)
