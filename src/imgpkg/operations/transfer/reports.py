"""What a hook is told of blobs that others move: each event once, in order, and complete at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from imgpkg.dataclass import dataclass
from imgpkg.events import BlobAdvanced, BlobFinished, BlobOutcome, BlobStarted, Warned

if TYPE_CHECKING:
    from imgpkg.events import Hook
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.operations.transfer.unit import Transferred, TransferUnit


@dataclass(frozen=True, slots=True)
class BlobPosition:
    """So many bytes of the blob `digest` are at `destination`, or have been sent there: what a worker tells.

    It may be late, lost or repeated, and that of a unit that is done again begins at 0.
    """

    destination: str
    digest: str
    position: int


Report: TypeAlias = "BlobPosition | Warned"


class BlobReports:
    """Gives a hook the events of units in other processes, and their warnings once; of one thread.

    The positions of a unit may be lost: what is missing at its end is told then.
    """

    def __init__(self, hook: Hook) -> None:
        self._hook = hook
        self._warned: set[tuple[str, str]] = set()
        self._moving: dict[tuple[str, str], _Moving] = {}

    def begin(self, unit: TransferUnit) -> None:
        """Know of `unit`: before, and after its end, its positions are ignored."""
        self._moving[str(unit.destination), str(unit.descriptor.digest)] = _Moving(
            unit.descriptor, self._hook
        )

    def tell(self, report: Report) -> None:
        """Pass on what a worker tells."""
        if isinstance(report, Warned):
            self._hook(report)
        elif (moving := self._moving.get((report.destination, report.digest))) is not None:
            moving.advance(report.position)

    def finish(self, done: Transferred) -> Transferred:
        """Tell what is left of a unit that has ended, unless its own process has."""
        # Whoever has written a plan may have a blob moved twice: its first end is the one that is told.
        moving = self._moving.pop((str(done.destination), str(done.digest)), None)
        for text in done.warnings:
            if (text, done.worker) not in self._warned:
                self._warned.add((text, done.worker))
                self._hook(Warned(f"{done.worker}: {text}"))
        if moving is not None and not done.is_reported:
            moving.finish(done.outcome)
        return done


class _Moving:
    """How far a hook knows of one blob."""

    def __init__(self, blob: Descriptor, hook: Hook) -> None:
        self._blob = blob
        self._hook = hook
        self._reported = 0
        self._is_started = False

    def advance(self, position: int) -> None:
        self._start()
        # A unit that is done again, after the death of its worker, reports its first bytes once more.
        count = max(min(position, self._blob.size) - self._reported, 0)
        self._reported += count
        self._hook(BlobAdvanced(self._blob.digest, count))

    def finish(self, outcome: BlobOutcome) -> None:
        self._start()
        if self._reported:
            # A worker died after the last byte: the next one found the blob there.
            outcome = BlobOutcome.MOVED
        if outcome is BlobOutcome.MOVED and self._reported < self._blob.size:
            self._hook(BlobAdvanced(self._blob.digest, self._blob.size - self._reported))
        self._hook(BlobFinished(self._blob.digest, outcome, self._blob.size))

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._hook(BlobStarted(self._blob.digest, self._blob.size, "push"))
