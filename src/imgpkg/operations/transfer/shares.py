"""What each worker of an executor has done for a copy."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.events import BlobFinished, Transfer, TransferCounter

if TYPE_CHECKING:
    from imgpkg.operations.transfer.unit import Transferred


@dataclass(frozen=True, slots=True)
class WorkerShare:
    """What became of the blobs that the worker `name` had, which is empty for the process of the copy.

    `seconds` is the time from the beginning of its first blob to the end of its last.
    """

    name: str
    transfer: Transfer
    seconds: float


class WorkerShares:
    """Counts the results of one copy by their workers; of one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._workers: dict[str, _CountedWorker] = {}

    def count(self, done: Transferred) -> None:
        """Count a result at the moment of its arrival."""
        now = self._clock()
        work = self._workers.setdefault(done.worker, _CountedWorker(now))
        work.counter(BlobFinished(done.digest, done.outcome, done.size))
        work.first, work.last = min(work.first, now - done.seconds), now

    def shares(self) -> tuple[WorkerShare, ...]:
        """Return the share of each worker, shorter names first: `worker 2` before `worker 10`."""
        return tuple(
            WorkerShare(name, work.counter.total, work.last - work.first)
            for name, work in sorted(self._workers.items(), key=lambda item: (len(item[0]), item[0]))
        )


class _CountedWorker:
    """The blobs of one worker."""

    def __init__(self, now: float) -> None:
        self.counter = TransferCounter()
        self.first = self.last = now
