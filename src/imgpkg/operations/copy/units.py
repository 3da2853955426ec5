"""The units of work of a copy between registries, given to an executor, and what is left for this process."""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from secrets import token_hex
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import UsageError
from imgpkg.events import BlobOutcome
from imgpkg.operations.cluster.address import is_encrypted
from imgpkg.operations.cluster.dask import adopted, client_of
from imgpkg.operations.copy.destination import BlobOpener
from imgpkg.operations.transfer.dispatch import ClusterExecutor, dispatch
from imgpkg.operations.transfer.logins import LoginQuestion
from imgpkg.operations.transfer.shares import WorkerShares
from imgpkg.operations.transfer.unit import TransferUnit, public_settings
from imgpkg.operations.transfer.worker import Sides, offered
from imgpkg.registry.uploads import WORTH_ASKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imgpkg.events import Hook
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.destination import Destination, OpenBlob, Survey
    from imgpkg.operations.copy.plan import BlobMove
    from imgpkg.operations.copy.values import CopyOptions
    from imgpkg.operations.transfer.unit import Transferred
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.session import Session
    from imgpkg.settings import Settings


@dataclass(frozen=True, slots=True)
class BlobExecution:
    """How the blobs of a copy are moved by an executor, with the sessions that read and write.

    `run` is a name that no other copy has, `shares` counts what each worker does. `settings` are those of the
    side that writes, `source_settings` those of the side that reads, both without secrets.
    """

    executor: imgpkg.BlobExecutor
    reading: Session
    writing: Session
    options: CopyOptions
    run: str = field(default_factory=partial(token_hex, 8))
    shares: WorkerShares = field(default_factory=WorkerShares)
    settings: Settings = field(init=False)
    source_settings: Settings = field(init=False)

    def __post_init__(self) -> None:
        # Once for all units, of which there may be a million.
        object.__setattr__(self, "settings", public_settings(self.writing.settings))
        object.__setattr__(self, "source_settings", public_settings(self.reading.settings))

    @classmethod
    @contextmanager
    def opened(
        cls, executor: imgpkg.BlobExecutor, reading: Session, writing: Session, options: CopyOptions
    ) -> Iterator[BlobExecution]:
        """Return a context with an execution; that of a Dask client is given what `dask_executor` gives."""
        with adopted(executor) as own:
            yield cls(own, reading, writing, options)

    def units(self, moves: Sequence[tuple[BlobMove, Destination, Survey]]) -> Iterator[TransferUnit]:
        """Yield the units of `moves`, the largest first; their credentials are those of the moment."""
        for move, to, found in sorted(moves, key=lambda one: -one[0].descriptor.size):
            yield self.unit(
                move.descriptor if move.data is None else replace(move.descriptor, data=move.data),
                move.origin,
                to.repository,
                mount_from=(move.nearer or move.origin) if to.may_mount(move) else None,
                is_asked=to.is_asked(move, is_fresh=found.is_fresh) or self._may_run_again(move),
            )

    def _may_run_again(self, move: BlobMove) -> bool:
        # A cluster does so with what a worker had when it died, also if that was done.
        return isinstance(self.executor, ClusterExecutor) and move.descriptor.size >= WORTH_ASKING

    def unit(
        self,
        descriptor: Descriptor,
        source: Repository,
        destination: Repository,
        *,
        mount_from: Repository | None,
        is_asked: bool,
    ) -> TransferUnit:
        """Return the unit of a blob, with the credentials of the moment if they are to be sent."""
        unit = TransferUnit(
            self.run,
            descriptor,
            source,
            destination,
            self.settings,
            self.source_settings,
            mount_from=mount_from,
            is_asked=is_asked,
            use_urls=self.options.include_non_distributable_layers,
        )
        return self._with_credentials(unit) if self.options.send_credentials else unit

    def results(self, units: Iterable[TransferUnit | None], workers: WorkerPool) -> Iterator[Transferred]:
        """Yield the results of `units` as `dispatch` does, with the scope and hook of `workers`."""
        for done in dispatch(
            units,
            self.executor,
            run=self.run,
            scope=workers.scope,
            hook=workers.on_event,
            in_flight=self.options.in_flight,
        ):
            self.shares.count(done)
            yield done

    def ask_for_logins(
        self, destinations: Sequence[Repository], sources: Sequence[Repository], hook: Hook
    ) -> None:
        """Warn of workers of a cluster without a credential that they need; see `LoginQuestion`."""
        if not isinstance(self.executor, ClusterExecutor) or self.options.send_credentials or not sources:
            return
        to = LoginQuestion(self.writing, tuple(destinations), is_destination=True)
        source = LoginQuestion(self.reading, tuple(sources), is_destination=False)
        for question in (to, source):
            question.ask(self.executor, hook)

    def _with_credentials(self, unit: TransferUnit) -> TransferUnit:
        return replace(
            unit,
            credential=self.writing.client.primary.decision(unit.destination).credential,
            source_credential=self.reading.client.decision(unit.source).credential,
        )


def check_executor(executor: imgpkg.BlobExecutor, *, is_of_files: bool, options: CopyOptions) -> None:
    """Raise UsageError for a copy of files, and for secrets that others could read on their way."""
    if is_of_files:
        raise UsageError(
            "Executors are for copies from registries to a repository only",
            hints=("A tar file or layout is read and written by one machine.",),
        )
    if options.send_credentials and not _may_have_secrets(executor):
        raise UsageError(
            "Credentials are sent to workers over TLS only, and the address of this cluster is another one",
            hints=("Use a scheduler at tls://, or give the workers credentials of their own.",),
        )


def _may_have_secrets(executor: imgpkg.BlobExecutor) -> bool:
    if isinstance(executor, ClusterExecutor):
        return executor.is_encrypted
    client = client_of(executor)
    return client is None or is_encrypted(str(client.scheduler.address))


def execute(
    execution: BlobExecution,
    lacking: Sequence[tuple[Destination, Survey]],
    open_blob: OpenBlob,
    workers: WorkerPool,
) -> None:
    """Move all blobs that are at hand; those that are mounted from another destination last.

    Raises what a worker raised, ExecutorError for an executor that failed, UsageError for workers without a
    login, or Cancelled.
    """
    moves = [(move, to, found) for to, found in lacking for move in found.at_hand]
    first = [one for one in moves if one[0].nearer is None]
    rest = [one for one in moves if one[0].nearer is not None]
    execution.ask_for_logins(
        [to.repository for _, to, _ in moves], [move.origin for move, *_ in moves], workers.on_event
    )
    places = {(to.repository, move.descriptor.digest): (move, to) for move, to, _ in moves}
    sides = Sides(execution.reading, execution.writing, workers.scope, workers.on_event, os.getpid())
    with offered(execution.run, sides):
        for part in filter(None, (first, rest)):
            for done in execution.results(execution.units(part), workers):
                remember(done, *places[done.destination, done.digest], open_blob)


def remember(done: Transferred, move: BlobMove, to: Destination, open_blob: OpenBlob) -> None:
    """Let the client know of a blob that a worker found at the destination, in case that it is not there."""
    # In this process the client has seen the answer itself.
    if done.worker and done.outcome is not BlobOutcome.MOVED:
        to.client.claim(to.repository, move.descriptor, BlobOpener(move, open_blob))
