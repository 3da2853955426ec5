"""Run a plan: a shard of its blobs, or whatever is missing, and then manifests, records and tags."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import NotFound, UsageError
from imgpkg.events import Hook, Planned, silent
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.lockfile import LockOutput
from imgpkg.operations.copy.repository import publish
from imgpkg.operations.copy.units import BlobExecution, check_executor
from imgpkg.operations.copy.values import (
    DEFAULT_OPTIONS,
    CopyOptions,
    CopyResult,
    CopySource,
    Log,
)
from imgpkg.operations.disclosure import Disclosure
from imgpkg.operations.plans.reader import CopyPlan, read_plan
from imgpkg.operations.plans.rebuilt import gone, rebuilt
from imgpkg.operations.plans.shard import Shard
from imgpkg.operations.transfer.worker import Sides, is_of_source, offered
from imgpkg.operations.workers import METADATA_JOBS, open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextlib import AbstractContextManager

    from imgpkg.operations.copy.plan import OpenedSource
    from imgpkg.operations.transfer.unit import TransferUnit

# What a run may choose; everything else is in the plan.
_OPEN = ("in_flight", "send_credentials")


@operation
def run_plan(
    plan: CopyPlan | StrPath,
    *,
    session: Session,
    source_session: Session | None = None,
    shard: str = "",
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    executor: imgpkg.BlobExecutor | None = None,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyResult:
    """Copy what `plan`, a file that `preview_copy` has written, says; return what the copy itself returns.

    What arrives is byte for byte what the copy would have brought. Each manifest is read by its digest, and
    the plan must say what the manifests say, before anything is written. What is there is skipped.

    With a `shard`, such as `3/16`, only its blobs are moved: neither manifests nor tags are written, and the
    result has no images. After all shards, a run without one moves what is missing and finishes. Shards may
    run at the same time, in any order, and more than once.

    Of the `options`, `in_flight` and `send_credentials` count, and others must not be given: the
    plan has them. The sessions, `lock_output` and `executor` are as in `copy_to_repository`. Raises
    InvalidDocument for a plan that is damaged or says what is not so, and what `copy_to_repository` raises.
    """
    part = Shard.parse(shard) if shard else None
    _check(options, lock_output, is_part=part is not None)
    if executor is not None:
        check_executor(executor, is_of_files=False, options=options)
    found = plan if isinstance(plan, CopyPlan) else read_plan(plan)
    lock = LockOutput.checked(CopySource(), lock_output) if lock_output else None
    options = replace(
        options,
        include_non_distributable_layers=found.header.include_non_distributable_layers,
        repo_based_tags=found.header.repo_based_tags,
    )
    run = _PlanRun(found, source_session or session, session, options, Log(on_event))
    if part is not None:
        return run.move(part, executor)
    opened, result = run.finish(executor)
    if lock is not None:
        lock.write(opened.collected, result)
    return result


def _check(options: CopyOptions, lock_output: StrPath, *, is_part: bool) -> None:
    if replace(options, **{name: getattr(DEFAULT_OPTIONS, name) for name in _OPEN}) != DEFAULT_OPTIONS:
        raise UsageError("A plan has the options of its copy: they are given when it is made")
    if is_part and lock_output:
        raise UsageError("A shard writes no lock file; the run that finishes does")


@dataclass(frozen=True, slots=True)
class _PlanRun:
    """A plan, and with what it is run."""

    plan: CopyPlan
    reading: Session
    writing: Session
    options: CopyOptions
    log: Log

    def finish(self, executor: Executor | None) -> tuple[OpenedSource, CopyResult]:
        """Move what is missing, and write manifests, records and tags."""
        opened = self._rebuilt()
        if opened.places is not None:
            self._approach(opened.places.repositories)
        opening = nullcontext() if executor is None else self._execution(executor)
        with opening as execution:
            result = publish(
                opened,
                self.writing,
                self.plan.header.destination,
                self.options,
                self.log,
                execution=execution,
            )
        if execution is not None:
            result = replace(result, workers=execution.shares.shares())
        return opened, result

    def _rebuilt(self) -> OpenedSource:
        jobs = max(self.reading.settings.concurrency, METADATA_JOBS)
        with open_workers(
            self.reading, jobs, self.log.on_event, other=self.writing, activity="planning"
        ) as workers:
            return rebuilt(self.plan, self.reading, self.options, workers, self._disclosure())

    def _execution(self, executor: Executor) -> AbstractContextManager[BlobExecution]:
        return BlobExecution.opened(executor, self.reading, self.writing, self.options)

    def _disclosure(self) -> Disclosure:
        """Return what warns before a login of flags goes to a registry that only the plan names."""
        disclosure = Disclosure(self.reading, self.plan.path, has_sides=True)
        if self.reading is self.writing:
            disclosure.name(self.plan.header.destination.registry)
        return disclosure

    def _approach(self, destinations: Iterable[Repository]) -> None:
        """Warn before a login of flags goes to another registry than that of the plan's destination."""
        disclosure = Disclosure(self.writing, self.plan.path, has_sides=True)
        disclosure.name(self.plan.header.destination.registry)
        disclosure.approach(*(repository.tag("latest") for repository in destinations))

    def move(self, shard: Shard, executor: Executor | None) -> CopyResult:
        """Move the blobs of `shard`; what is mounted from another repository of the destination last."""
        count = size = 0
        places = dict[Repository, None](), dict[Repository, None]()
        # All lines are read before anything is written: the plan may be damaged at its end.
        for blob in shard.of(self.plan.blobs()):
            count, size = count + 1, size + blob.descriptor.size
            places[0][blob.destination] = places[1][blob.source] = None
        self.log(f"moving shard {shard}: {count} blobs")
        jobs = self.writing.settings.concurrency * 2
        self.writing.expect(self.plan.header.destination.registry, count)
        has_executor = executor is not None
        with ExitStack() as stack:
            if executor is None:
                # Entered first and left last: its threads end when the scope is cancelled.
                executor = stack.enter_context(ThreadPoolExecutor(jobs, "imgpkg-worker"))
            workers = stack.enter_context(
                open_workers(self.writing, jobs, self.log.on_event, other=self.reading)
            )
            workers.on_event(Planned(count, size))
            self._approach(places[0])
            execution = stack.enter_context(self._execution(executor))
            execution.ask_for_logins([*places[0]], [*places[1]], workers.on_event)
            sides = Sides(self.reading, self.writing, workers.scope, workers.on_event, os.getpid())
            stack.enter_context(offered(execution.run, sides))
            for is_nearer in (False, True):
                # What it returns was reported.
                units = self._units(shard, execution, is_nearer=is_nearer)
                with self._explained():
                    deque(execution.results(units, workers), maxlen=0)
        return CopyResult((), workers=execution.shares.shares() if has_executor else ())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NotFound as error:
            if is_of_source(error):
                error.hints = (*error.hints, gone(self.plan.path))
            raise

    def _units(self, shard: Shard, execution: BlobExecution, *, is_nearer: bool) -> Iterator[TransferUnit]:
        """Yield the units of blobs that may be mounted from where they go before, or of the others."""
        disclosure = self._disclosure()
        for blob in shard.of(self.plan.blobs()):
            if (blob.mount_from not in (None, blob.source)) is is_nearer:
                disclosure.approach(blob.source.digest(blob.descriptor.digest))
                yield execution.unit(
                    blob.descriptor,
                    blob.source,
                    blob.destination,
                    mount_from=blob.mount_from,
                    is_asked=True,
                )
