"""Move everything that a plan names into a file or folder, and decide nothing."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from imgpkg.events import BlobFinished, BlobOutcome, BlobStarted, Planned
from imgpkg.operations.extract import Counted
from imgpkg.operations.work import working

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from imgpkg.content.store import Target
    from imgpkg.events import Hook
    from imgpkg.oci.digest import Readable
    from imgpkg.oci.manifest import Descriptor
    from imgpkg.operations.copy_values import Log
    from imgpkg.operations.plan import BlobMove, TransferPlan
    from imgpkg.session import Session


def fill(
    plan: TransferPlan,
    target: Target,
    open_blob: Callable[[BlobMove], AbstractContextManager[Readable]],
    *,
    session: Session,
    log: Log,
) -> None:
    """Write the blobs of `plan` that `target` has no bytes of, several at a time, the largest first.

    Raises VerificationError, LocalIOError, or an error of the source; the first failure ends the work.
    """
    missing = [move for move in plan.blobs.values() if not target.has(move.descriptor)]
    missing.sort(key=lambda move: -move.descriptor.size)
    log.on_event(Planned(len(missing), sum(move.descriptor.size for move in missing)))

    with working(session, session.settings.concurrency, log.on_event) as work:

        def write(move: BlobMove) -> None:
            started = time.monotonic()
            blob = move.descriptor
            work.on_event(BlobStarted(blob.digest, blob.size, "save"))
            target.write(blob, lambda: counted(open_blob(move), blob, work.on_event))
            work.on_event(BlobFinished(blob.digest, BlobOutcome.MOVED))
            log(f"done: file '{blob.digest.algorithm}-{blob.digest.hex}.tar.gz' ({spent_since(started)})")

        work.map(write, missing)


@contextmanager
def counted(
    context: AbstractContextManager[Readable], blob: Descriptor, on_event: Hook
) -> Iterator[Readable]:
    """Open a blob and report every piece that passes."""
    with context as stream:
        yield Counted(stream, blob, on_event)


def spent_since(started: float) -> str:
    """Write the time since `started` (monotonic) as the original writes durations: `8.222µs`, `1.5s`."""
    seconds = time.monotonic() - started
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{round(seconds / size, 3):g}{unit}"
    return f"{round(seconds * 1e9)}ns"
