"""What a bar shows of an operation, summed up from its events alone."""

from __future__ import annotations

import threading
from enum import Enum

from imgpkg.dataclass import dataclass
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    Event,
    Hook,
    PackAdvanced,
    PackStarted,
    Planned,
    StepsAdvanced,
    Transfer,
    TransferCounter,
    silent,
)

# Of a bar, while more plans follow: the part of what is empty that stays empty.
_HELD_BACK = 0.5


class ProgressStage(Enum):
    """What an operation does: one stage follows the other, and packing comes before a transfer."""

    IDLE = "idle"
    COUNTING = "counting"
    PACKING = "packing"
    TRANSFER = "transfer"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an operation is at one moment; while `stage` and `activity` stay, no number falls.

    `done` of `total` are bytes, while COUNTING they are steps. `activity` is that of StepsAdvanced, the verb
    of BlobStarted, or `pack`; it is empty before the first event. `blobs` of `total_blobs` are for a
    TRANSFER. `fraction` is the part of a bar to fill, from 0.0 to 1.0, and None where no total is final:
    before the first event and while COUNTING. While more plans follow, the totals will grow, `grows` is true,
    and the fraction is below 1.0; at the end of a PACKING or TRANSFER it is 1.0.
    """

    stage: ProgressStage = ProgressStage.IDLE
    activity: str = ""
    done: int = 0
    total: int = 0
    blobs: int = 0
    total_blobs: int = 0
    fraction: float | None = None
    grows: bool = False


class ProgressCounter:
    """A hook that sums events up to a Progress, and passes all of them on; safe to call from many threads.

    `progress` is where the operation is now, and `transfer` what became of its blobs so far, a Transfer.
    """

    def __init__(self, on_event: Hook = silent) -> None:
        self._on_event = on_event
        self._lock = threading.Lock()
        self._counter = TransferCounter()
        self._stage = ProgressStage.IDLE
        self._activity = self._verb = ""
        self._bar = _Bar()
        self._blobs = self._total_blobs = 0
        self._is_planned = False

    def __call__(self, event: Event) -> None:
        """Count one event."""
        with self._lock:
            self._count(event)
        self._on_event(event)

    @property
    def progress(self) -> Progress:
        """Where the operation is now."""
        with self._lock:
            stage, bar = self._stage, self._bar
            fraction = None if stage in (ProgressStage.IDLE, ProgressStage.COUNTING) else bar.fraction
            blobs = (self._blobs, self._total_blobs)
            return Progress(stage, self._activity, bar.done, bar.total, *blobs, fraction, bar.grows)

    @property
    def transfer(self) -> Transfer:
        """What became of blobs so far."""
        return self._counter.total

    def _count(self, event: Event) -> None:
        self._counter(event)
        match event:
            case BlobAdvanced():
                self._bar.add(event.count)
            case PackAdvanced():
                self._bar.add(event.count)
            case BlobStarted():
                self._start(event)
            case BlobFinished():
                self._blobs += 1
                self._bar.add(0 if event.outcome is BlobOutcome.MOVED else event.size)
            case Planned():
                self._is_planned = True
                self._enter(ProgressStage.TRANSFER, self._verb)
                self._grow(event.blobs, event.size, is_last=event.is_last, share=event.share)
            case PackStarted():
                self._enter(ProgressStage.PACKING, "pack")
                self._bar.grow(event.size)
            case StepsAdvanced():
                self._step(event)
            case _:
                pass

    def _enter(self, stage: ProgressStage, activity: str) -> None:
        if self._stage is not stage:
            self._stage, self._bar = stage, _Bar()
        self._activity = activity

    def _start(self, event: BlobStarted) -> None:
        self._verb = event.verb
        self._enter(ProgressStage.TRANSFER, event.verb)
        if not self._is_planned:
            # Without a plan, the total is what has begun so far.
            self._grow(1, event.size)

    def _grow(self, blobs: int, size: int, *, is_last: bool = True, share: float = 0.0) -> None:
        self._total_blobs += blobs
        self._bar.grow(size, is_last=is_last, share=share)

    def _step(self, event: StepsAdvanced) -> None:
        # Manifests may be read while blobs are on their way, too.
        if self._stage not in (ProgressStage.IDLE, ProgressStage.COUNTING):
            return
        self._enter(ProgressStage.COUNTING, event.activity)
        self._bar = _Bar(event.done, event.total)


class _Bar:
    """A bar that fills while its total may grow, and never goes back."""

    def __init__(self, done: int = 0, total: int = 0) -> None:
        self.done, self.total, self.grows = done, total, False
        # Where the bar was when the total was last changed, and how far what is known fills it.
        self._done_before, self._from, self._to = 0, 0.0, 0.0

    def grow(self, size: int, *, is_last: bool = True, share: float = 0.0) -> None:
        """Add to the total; it is not the last time unless it `is_last`, and then a `share` may be known."""
        self._from = self.fraction
        self._done_before = self.done
        self.total += size
        self.grows = not is_last
        held_back = max(share, self._from) if share else self._from + (1.0 - self._from) * _HELD_BACK
        self._to = 1.0 if is_last else held_back

    def add(self, count: int) -> None:
        """Note that more is done."""
        self.done += max(0, min(count, self.total - self.done))

    @property
    def fraction(self) -> float:
        """The part that is filled, from 0.0 to 1.0."""
        if self.done >= self.total:
            return self._to
        part = (self.done - self._done_before) / (self.total - self._done_before)
        return min(self._to, self._from + (self._to - self._from) * part)
