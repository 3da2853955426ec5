"""Copy in batches, three things at a time: one batch is planned, others are moved, and one is written.

Manifests are written batch after batch, since those of a later one may list what an earlier one has brought.
"""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Generic, TypeVar

from imgpkg.dataclass import dataclass, replace
from imgpkg.events import Planned
from imgpkg.operations.copy.batch import Batch, BatchPlanner
from imgpkg.operations.copy.batch_source import BatchSource
from imgpkg.operations.copy.destination import TagListing
from imgpkg.operations.copy.plan import ROOT_BUNDLE_LABEL, TransferPlan
from imgpkg.operations.copy.repository import finish, write_manifests
from imgpkg.operations.copy.source import (
    Export,
    check_concurrency,
    check_selectable,
    disclosure_of,
    report_choice,
)
from imgpkg.operations.copy.units import BlobExecution, remember
from imgpkg.operations.copy.values import Copied, CopyResult, copies_of, report_left_out, result_with
from imgpkg.operations.transfer.worker import Sides, offered
from imgpkg.operations.workers import METADATA_JOBS, WorkerPool, open_workers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from concurrent.futures import Executor

    from imgpkg.bundle.lock import BundleLock, ImagesLock
    from imgpkg.cancellation import Cancellation
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.collection import Collected
    from imgpkg.operations.copy.plan import BlobMove, Item, LeftOut
    from imgpkg.operations.copy.repository import TaggedImages
    from imgpkg.operations.copy.values import CopyOptions, CopySource, Log
    from imgpkg.operations.transfer.unit import TransferUnit
    from imgpkg.session import Session
    from imgpkg.values import StrPath

T = TypeVar("T")

# Images of a batch: few enough to begin soon, and so many that the largest blobs of each go first.
_BATCH = 256
# Batches that are planned, and not begun; and such as are begun, and not written.
_PLANNED, _BEGUN = 2, 6
_TICK = 0.05


@dataclass(frozen=True, slots=True)
class BatchedCopy:
    """A copy of `source` to `repository`, with the sessions that read and write, and the locks of files.

    `size` is the number of images of a batch.
    """

    source: CopySource
    repository: Repository
    reading: Session
    writing: Session
    options: CopyOptions
    log: Log
    locks: Mapping[StrPath, BundleLock | ImagesLock]
    size: int = _BATCH

    def run(self, executor: Executor | None) -> tuple[Collected, CopyResult]:
        """Copy everything; return what was read, without its images, and the result.

        Without an `executor`, blobs are moved by threads. Raises what `copy_to_repository` raises; what was
        copied by then stays, and is found by the next copy.
        """
        check_concurrency(self.reading, self.writing)
        if self.options.selection is not None:
            check_selectable(self.source)
        jobs = self.writing.settings.concurrency * 2
        with ExitStack() as stack:
            # Entered first and left last: its threads end when the scope is cancelled.
            own = executor or stack.enter_context(ThreadPoolExecutor(jobs, "imgpkg-worker"))
            # A thread for each of the three.
            workers = stack.enter_context(
                open_workers(self.writing, max(jobs, 3), self.log.on_event, other=self.reading)
            )
            execution = stack.enter_context(
                BlobExecution.opened(own, self.reading, self.writing, self.options)
            )
            sides = Sides(self.reading, self.writing, workers.scope, workers.on_event, os.getpid())
            stack.enter_context(offered(execution.run, sides))
            flow = _Flow(self, execution, workers)
            workers.map(lambda act: act(), (flow.plan, flow.move, flow.write))
        collected, result = flow.result()
        return collected, replace(result, workers=() if executor is None else execution.shares.shares())


class _BatchChannel(Generic[T]):
    """Values from one thread to another, in order; `None` says that there will be no more."""

    def __init__(self, scope: Cancellation, size: int) -> None:
        self._scope = scope
        self._queue: Queue[T | None] = Queue(size)

    def put(self, value: T | None) -> None:
        """Wait until there is room, and put `value` there; raise Cancelled."""
        while True:
            self._scope.check()
            try:
                return self._queue.put(value, timeout=_TICK)
            except Full:
                continue

    def values(self) -> Iterator[T]:
        """Yield all values, waiting for each; raise Cancelled."""
        while True:
            self._scope.check()
            try:
                value = self._queue.get(timeout=_TICK)
            except Empty:
                continue
            if value is None:
                return
            yield value

    def polled(self) -> Iterator[tuple[T] | None]:
        """Yield each value in a tuple, and None while there is none."""
        while True:
            try:
                value = self._queue.get_nowait()
            except Empty:
                yield None
                continue
            if value is None:
                return
            yield (value,)


class _Begun:
    """A batch some of whose blobs may not be there yet."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.left: dict[Digest, BlobMove] = {move.descriptor.digest: move for move in batch.found.moves}


class _Flow:
    """The batches of one copy on their way: each act of it has a thread, and ends with the last batch."""

    def __init__(self, copy: BatchedCopy, execution: BlobExecution, workers: WorkerPool) -> None:
        self._copy = copy
        self._execution = execution
        self._workers = workers
        self._planned: _BatchChannel[Batch] = _BatchChannel(workers.scope, _PLANNED)
        self._moved: _BatchChannel[Batch] = _BatchChannel(workers.scope, _PLANNED)
        self._begun: deque[_Begun] = deque()
        self._result = _BatchedResult(copy)

    def result(self) -> tuple[Collected, CopyResult]:
        """Return what was read and copied."""
        return self._result.collected, self._result.whole()

    def plan(self) -> None:
        """Make the batches; the last one has what was asked for by name, and the records."""
        copy, hook = self._copy, self._copy.log.on_event
        with copy.reading.cancellation.scope(self._workers.scope) as scope:
            jobs = max(copy.reading.settings.concurrency, METADATA_JOBS)
            pool = WorkerPool(scope, jobs, hook, activity="planning")
            asking = pool.counting("asking the destination")
            listing = TagListing(copy.writing.client.primary, copy.repository, pool)
            known = _ImageCount(copy, listing)
            export = _export(copy, pool, known)
            sessions = copy.reading, copy.writing
            planner = BatchPlanner(
                export, sessions, copy.repository, listing=listing, asking=asking, log=copy.log
            )

            def take(items: Sequence[Item]) -> None:
                batch = planner.batch(items, known.share(len(items)))
                if batch is not None:
                    self._planned.put(batch)

            collected = BatchSource(export, take, copy.size, copy.repository).read(copy.source)
            report_choice(collected, copy.options, copy.log)
            batch = planner.last(collected)
            self._result.collected = batch.opened.collected
            self._planned.put(batch)
            self._planned.put(None)

    def move(self) -> None:
        """Move the blobs of all batches, those of the next one as soon as workers have nothing else to do."""
        for done in self._execution.results(self._units(), self._workers):
            begun = next(one for one in self._begun if done.digest in one.left)
            remember(done, begun.left.pop(done.digest), begun.batch.to, begun.batch.opened.open_blob)
            self._pass_on()
        self._pass_on()
        self._moved.put(None)

    def _units(self) -> Iterator[TransferUnit | None]:
        asked: set[str] = set()
        for found in self._planned.polled():
            if found is None:
                yield None
                continue
            (batch,) = found
            while len(self._begun) >= _BEGUN:
                yield None
            self._begin(batch, asked)
            to, found_there = batch.to, batch.found
            yield from self._execution.units([(move, to, found_there) for move in batch.found.moves])
            self._pass_on()

    def _begin(self, batch: Batch, asked: set[str]) -> None:
        self._copy.log(f"importing {len(batch.plan.roots)} images...")
        moves = batch.found.moves
        size = sum(move.descriptor.size for move in moves)
        planned = Planned(len(moves), size, *batch.present, is_last=batch.is_last, share=batch.share)
        self._workers.on_event(planned)
        sources = {move.origin.registry: move.origin for move in moves if move.origin.registry not in asked}
        # The destination is that of all batches.
        destinations = [] if asked else [batch.to.repository]
        asked.update(sources)
        self._execution.ask_for_logins(destinations, [*sources.values()], self._workers.on_event)
        self._begun.append(_Begun(batch))

    def _pass_on(self) -> None:
        """Let the batches be written whose blobs are there, in their order."""
        while self._begun and not self._begun[0].left:
            self._moved.put(self._begun.popleft().batch)

    def write(self) -> None:
        """Write the manifests of each batch, then its records and tags."""
        tagged: TaggedImages = {}
        with self._copy.writing.cancellation.scope(self._workers.scope) as scope:
            workers = WorkerPool(scope, self._workers.jobs, self._copy.log.on_event)
            for batch in self._moved.values():
                write_manifests(batch.to, batch.found, workers)
                lacking = [(batch.to, batch.found)]
                finish(batch.places, lacking, workers, self._copy.log, tagged, is_last=batch.is_last)
                self._result.add(batch)


class _ImageCount:
    """How many images are known so far, and how many of them are planned."""

    def __init__(self, copy: BatchedCopy, listing: TagListing) -> None:
        self._copy = copy
        self._listing = listing
        self._images = 0
        self._planned = 0

    def expect(self, images: int) -> None:
        """Know of so many images."""
        self._images = max(self._images, images)
        self._copy.writing.expect(self._copy.repository.registry, images)
        self._listing.expect(images)

    def share(self, images: int) -> float:
        """Return the part of all images that is planned with so many more."""
        self._planned += images
        return min(self._planned / self._images, 0.99) if self._images else 0.0


def _export(copy: BatchedCopy, pool: WorkerPool, known: _ImageCount) -> Export:
    disclosure = disclosure_of(copy.reading, copy.source, copy.repository, copy.writing)
    return Export(
        copy.reading.client,
        copy.options,
        pool,
        disclosure,
        with_configs=False,
        expect=known.expect,
        locks=copy.locks,
    )


class _BatchedResult:
    """What was copied, batch by batch."""

    collected: Collected

    def __init__(self, copy: BatchedCopy) -> None:
        self._copy = copy
        self._images: dict[tuple[str, str], tuple[Copied, ...]] = {}
        self._left_out: list[LeftOut] = []
        self._has_non_distributable = False

    def add(self, batch: Batch) -> None:
        """Know what a batch has brought."""
        for root in batch.plan.roots:
            self._images[root.item.key] = tuple(copies_of(root, batch.places))
        self._left_out += batch.plan.left_out
        self._has_non_distributable |= batch.plan.has_non_distributable

    def whole(self) -> CopyResult:
        """Return the result of the copy, and warn about what was left out."""
        copy, home = self._copy, self._copy.repository
        left_out = tuple(sorted(self._left_out, key=lambda one: str(one.reference)))
        there = (replace(one, reference=replace(one.reference, repository=home)) for one in left_out)
        plan = TransferPlan((), {}, tuple(there), self._has_non_distributable)
        report_left_out(plan, copy.options, copy.log, None)
        # Tags of the user are in the order in which they were given.
        order = (lambda key: key[:1]) if copy.options.to_tags else None
        images = {key: self._images[key] for key in sorted(self._images, key=order)}
        # What was named comes last and is all that is left; with tags of the user, it is the root.
        root = () if self.collected.root is None else (self.collected.root,)
        named = (*self.collected.items, *root)
        tops = {item.key for item in named if ROOT_BUNDLE_LABEL in item.labels}
        marked = (key for key in images if key in tops)
        return result_with(self.collected, images, marked, left_out)
