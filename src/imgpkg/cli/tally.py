"""The tally of a command's work: what is done, what is left, how fast it goes, and what was reused."""

from __future__ import annotations

import math
import time
from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.cli.quantities import part_of, rate, readable, seconds, time_left
from imgpkg.cli.rendering import count_of
from imgpkg.dataclass import dataclass
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    PackAdvanced,
    PackStarted,
    Planned,
    StepsAdvanced,
    TransferCounter,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.events import Event
    from imgpkg.oci.descriptor import Digest

# Seconds. What was transferred longer ago has little effect on the rate.
_MEMORY = 5.0
# A rate of less is chance, and an estimate with it a guess.
_FIRST_ESTIMATE = 2.0
# After this time without a byte an estimate says nothing any more, and then nor does the rate.
_QUIET, _STALLED = 1.5, 3.0
# What takes longer than this shows its time.
_LONG = 10.0
# By the verbs of BlobStarted.
_ACTIVITIES = {
    "push": ("sending", "sent"),
    "pull": ("receiving", "received"),
    "save": ("saving", "saved"),
    "verify": ("verifying", "verified"),
}
# After the blobs these write manifests, tags or an index; a pull may go on with the next bundle.
_BEFORE_MANIFESTS = ("push", "save")


class Stage(Enum):
    """What a command does: one stage follows the other, and packing comes before a transfer."""

    IDLE = "idle"
    COUNTING = "counting"
    PACKING = "packing"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of blobs and their `size` in bytes."""

    blobs: int = 0
    size: int = 0

    def plus(self, blobs: int, size: int) -> Amount:
        """Return the sum."""
        return Amount(self.blobs + blobs, self.size + size)

    def __str__(self) -> str:
        return f"{count_of(self.blobs, 'blob')}, {readable(self.size)}"


@dataclass(frozen=True, slots=True)
class Progress:
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
        self._bytes = self._seconds = 0.0

    def look(self, total: int) -> None:
        """Note that `total` bytes have been transferred by now; fewer than before after a repetition."""
        now = self._clock()
        spent = now - self._last
        if spent <= 0:
            return
        # A mean over all time in which the past fades, so that the first seconds are right, too.
        faded = math.exp(-spent / _MEMORY)
        moved = max(0, total - self._total)
        self._bytes = self._bytes * faded + moved
        self._seconds = self._seconds * faded + spent
        if total != self._total:
            self._moved_at = now
        self._last, self._total = now, total

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


class _UnderWay:
    """A blob of `size` bytes that is being transferred, perhaps to several repositories at once."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.transfers = self.moved = 0

    def ends(self, outcome: BlobOutcome) -> bool:
        """Note the end of a transfer; return whether it was the last one."""
        self.transfers -= 1
        self.moved -= self.size if outcome is BlobOutcome.MOVED else 0
        return self.transfers <= 0


class Tally:
    """Counts events: what was planned, what is done, and how blobs came to where they are."""

    def __init__(self, since: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.stage = Stage.IDLE
        self.plan = self.done = Amount()
        self._clock = clock
        self._begun = clock() if since is None else since
        self._is_summed_up = False
        self._pace = Pace(clock)
        self._counted = StepsAdvanced("", 0, 0)
        self._pack_size = self._packed = 0
        self._is_planned = False
        self._verb = ""
        self._bytes = 0
        self._farthest, self._fraction = 0, 0.0
        self._counter = TransferCounter()
        self._under_way: dict[Digest, _UnderWay] = {}

    def count(self, event: Event) -> None:
        """Count one event."""
        match event:
            case BlobAdvanced():
                self._bytes += event.count
                if event.digest in self._under_way:
                    self._under_way[event.digest].moved += event.count
            case PackAdvanced():
                self._packed += event.count
            case BlobStarted():
                self._start(event)
            case BlobFinished():
                self._finish(event)
            case Planned():
                self._is_planned = True
                self._enter(Stage.TRANSFER)
                # Plans add up: each bundle of a recursive pull has one.
                self.plan = self.plan.plus(event.blobs, event.size)
                self._counter(event)
            case PackStarted():
                self._enter(Stage.PACKING)
                self._pack_size, self._packed = event.size, 0
            case StepsAdvanced():
                self._counted = event
                if self.stage is Stage.IDLE:
                    self._enter(Stage.COUNTING)
            case _:
                pass

    def _enter(self, stage: Stage) -> None:
        if self.stage is stage:
            return
        # Events may have been kept for a while before they are counted.
        self._pace.begin(self._begun if self.stage is Stage.IDLE else self._clock())
        self.stage = stage
        self._farthest, self._fraction = 0, 0.0

    def _start(self, event: BlobStarted) -> None:
        self._enter(Stage.TRANSFER)
        self._verb = event.verb
        self._counter(event)
        self._under_way.setdefault(event.digest, _UnderWay(event.size)).transfers += 1
        if not self._is_planned:
            # Without a plan, the total is what has begun so far.
            self.plan = self.plan.plus(1, event.size)

    def _finish(self, event: BlobFinished) -> None:
        self._counter(event)
        under_way = self._under_way.get(event.digest)
        self.done = self.done.plus(1, 0 if under_way is None else under_way.size)
        if under_way is not None and under_way.ends(event.outcome):
            del self._under_way[event.digest]

    @property
    def left(self) -> Amount:
        """What of the plan is not done."""
        return self.plan.plus(-self.done.blobs, -self.done.size)

    def progress(self) -> Progress:
        """Return what to show now; calls at regular times keep the rate smooth."""
        match self.stage:
            case Stage.PACKING:
                return self._of_bytes("packing", self._packed, self._pack_size, self._packed)
            case Stage.TRANSFER:
                return self._of_transfer()
            case Stage.COUNTING | Stage.IDLE:
                counted = self._counted
                # Where this takes long, the time shows that it goes on.
                spent = self._pace.spent
                since = seconds(spent) if spent >= _LONG else ""
                known = f"{counted.done} of {counted.total}" if counted.total else ""
                return Progress(counted.activity, known, speed=since)

    def _of_transfer(self) -> Progress:
        under_way = sum(max(0, each.moved) for each in self._under_way.values())
        is_over = bool(self.plan.blobs) and self.done.blobs >= self.plan.blobs
        activity, _ = _ACTIVITIES.get(self._verb, ("copying", ""))
        if is_over and self._verb in _BEFORE_MANIFESTS:
            activity = "finishing"
        done = min(self.done.size + under_way, self.plan.size)
        blobs = f"{self.done.blobs:>{len(str(self.plan.blobs))}} of {count_of(self.plan.blobs, 'blob')}"
        if not self.plan.size:
            return Progress(activity, blobs)
        return self._of_bytes(activity, done, self.plan.size, self._bytes, blobs)

    def _of_bytes(self, activity: str, done: int, total: int, moved: int, blobs: str = "") -> Progress:
        self._pace.look(moved)
        # After a repetition, or when the plan has grown, it waits at its place and does not go back.
        self._farthest = max(self._farthest, done)
        self._fraction = max(self._fraction, self._farthest / total if total else 0.0)
        is_over = self._farthest >= total
        speed = left = ""
        if not is_over and self._pace.quiet >= _STALLED:
            speed = f"nothing for {self._pace.quiet:.0f} s"
        elif not is_over and self._pace.rate >= 1:
            speed = rate(self._pace.rate)
            if self._pace.quiet < _QUIET:
                left = time_left((total - self._farthest) / self._pace.rate)
        return Progress(activity, part_of(self._farthest, total), self._fraction, blobs, speed, left)

    def summary(self) -> str:
        """Return, once, what was transferred, how long it took, and what was reused; empty for nothing."""
        total = self._counter.total
        if self._is_summed_up or not (self.done.blobs or total.present):
            return ""
        self._is_summed_up = True
        _, done = _ACTIVITIES.get(self._verb, ("", "copied"))
        spent = self._clock() - self._begun
        moved = Amount(total.moved, total.moved_size)
        parts = [f"{done} {moved} in {seconds(spent)}" if total.moved else "nothing new"]
        if total.mounted:
            parts.append(f"mounted {Amount(total.mounted, total.mounted_size)}")
        if total.present:
            parts.append(f"already there {Amount(total.present, total.present_size)}")
        return "; ".join(parts)
