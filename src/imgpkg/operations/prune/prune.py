"""Make a plan for a repository, and delete what it says, unless something has changed meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from enum import Enum
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.lock import BundleLock, ImagesLock
from imgpkg.dataclass import dataclass
from imgpkg.errors import (
    Cancelled,
    ChallengeError,
    CredentialError,
    Forbidden,
    ImgpkgError,
    InUse,
    RegistryError,
    TransportError,
    Unauthorized,
    Unsupported,
)
from imgpkg.events import Hook, silent
from imgpkg.oci.derived_tags import DerivedTag
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.prune.plan import PlannedManifest, PrunePlan, make_plan
from imgpkg.operations.prune.rules import Keep
from imgpkg.operations.prune.survey import survey
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient

# After these the next deletion would fail as well.
_FOR_ALL = (
    ChallengeError,
    CredentialError,
    Forbidden,
    TransportError,
    Unauthorized,
    Unsupported,
)
_BAD_REQUEST, _SERVER_ERROR = 400, 500
# Seconds between two looks at the tags. They take at most a tenth of the time.
_PAUSE = 1.0
_SHARE = 10
# How many deletions of each worker come between two looks.
_EACH = 4
_AGAIN = (
    "Make the plan again. If these tags were written while images were being deleted, check that their "
    "images are complete, or push or copy them again."
)


class PruneOutcome(Enum):
    """What became of a manifest that should go."""

    DELETED = "deleted"
    ABSENT = "not there"
    CHANGED = "kept"
    FAILED = "failed"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class PrunedManifest:
    """A manifest of a plan and what became of it; `text` says why it is still there."""

    manifest: PlannedManifest
    outcome: PruneOutcome
    text: str = ""


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What became of each manifest that should go, in the order of the plan.

    `problem` says why the work ended early, or what else is wrong; `hints` are what to do about it.
    """

    repository: Repository
    manifests: tuple[PrunedManifest, ...]
    problem: str = ""
    hints: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """True when nothing of the plan is left."""
        gone = (PruneOutcome.DELETED, PruneOutcome.ABSENT)
        return not self.problem and all(each.outcome in gone for each in self.manifests)


@operation
def prune_plan(
    repository: str | Repository,
    *,
    session: Session,
    keep: Iterable[str] = (),
    keep_newest: int = 0,
    keep_locks: Iterable[StrPath | ImagesLock | BundleLock] = (),
    only: Iterable[Digest] | None = None,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> PrunePlan:
    """Return what could be deleted from `repository`, and delete nothing.

    What stays is named by `keep`: tags, patterns for tags that people chose (`*`, `?`, `[…]`), and digests;
    by `keep_newest`, the number of newest versions; and by `keep_locks`, lock files or their values. All that
    belongs to it stays too: children of an index, images of a bundle, signatures, attestations, SBOMs,
    locations, referrers, and each other tag of these. Everything else that a tag leads to goes; with `only`,
    such as the digests of an earlier plan, no more than these. `on_event` receives how much has been read.

    Raises UsageError without any rule, for a tag or digest that is not there, and if nothing would be kept;
    InvalidManifest where it is not known what something that is kept needs; InvalidReference, InvalidLock,
    LocalIOError, or an error of the registry.
    """
    place = repository if isinstance(repository, Repository) else Repository.parse(repository)
    rules = Keep.parse(place, keep, keep_newest, keep_locks)
    with open_workers(session, session.settings.concurrency, on_event, activity="reading") as workers:
        graph = survey(session.client, place, workers, rules.all_digests())
    return make_plan(place, graph, rules, None if only is None else frozenset(only))


def _unheard(_: PrunedManifest) -> None:
    """Do nothing with a result."""


@operation
def prune(
    plan: PrunePlan,
    *,
    session: Session,
    on_result: Callable[[PrunedManifest], None] = _unheard,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> PruneResult:
    """Delete what `plan` says, with `on_result` called for each manifest, from several threads.

    Before that, and about every second, the tags are looked at: once there is a new one, or one that is kept
    names another manifest, nothing more is deleted. Each tag that goes is looked at right before. A failure
    ends only what depends on it, unless it would be the same for the rest. Raises InUse if the repository has
    changed before anything was deleted, and an error of the registry then.
    """
    return _Execution(plan, session, on_result).run()


class _Execution:
    """The state of one prune."""

    def __init__(
        self, plan: PrunePlan, session: Session, on_result: Callable[[PrunedManifest], None]
    ) -> None:
        self._plan = plan
        self._session = session
        self._client = session.client.primary
        self._on_result = on_result
        self._gone: set[Digest] = set()
        # What ends all further work.
        self._end: ImgpkgError | None = None

    def run(self) -> PruneResult:
        """Delete one batch after the other."""
        jobs = self._session.settings.concurrency
        results: list[PrunedManifest] = []
        with open_workers(self._session, jobs) as workers:
            watch = _Watch(self._client, self._plan, workers)
            # Nothing is deleted yet, so that a change is an error and no result.
            watch.look()
            for batch in _batches(self._plan.removed, _EACH * max(1, jobs)):
                if self._end is None and watch.is_due():
                    self._guarded(watch.look)
                results.extend(workers.map(self._process, batch))
            if self._end is None and self._gone:
                self._guarded(watch.look)
        end = self._end
        return PruneResult(
            self._plan.repository,
            tuple(results),
            "" if end is None else str(end),
            () if end is None else tuple(end.hints),
        )

    def _guarded(self, look: Callable[[], None]) -> None:
        try:
            look()
        except Cancelled:
            raise
        except ImgpkgError as error:
            self._end = error

    def _process(self, manifest: PlannedManifest) -> PrunedManifest:
        result = self._delete(manifest)
        if result.outcome in (PruneOutcome.DELETED, PruneOutcome.ABSENT):
            self._gone.add(manifest.digest)
        self._on_result(result)
        return result

    def _delete(self, manifest: PlannedManifest) -> PrunedManifest:
        if self._end is not None:
            return PrunedManifest(manifest, PruneOutcome.NOT_TRIED)
        left = next((digest for digest in manifest.after if digest not in self._gone), None)
        if left is not None:
            return PrunedManifest(manifest, PruneOutcome.CHANGED, f"{left}, which needs it, is still there")
        try:
            moved = self._moved(manifest)
            if moved:
                return PrunedManifest(
                    manifest, PruneOutcome.CHANGED, f"the tag {moved} was changed meanwhile"
                )
            is_deleted = self._delete_manifest(manifest)
        except Cancelled:
            raise
        except ImgpkgError as error:
            # Only where something was deleted before, a 403 is about this manifest alone.
            if isinstance(error, _FOR_ALL) and not (isinstance(error, Forbidden) and self._gone):
                self._end = error
            return PrunedManifest(manifest, PruneOutcome.FAILED, str(error))
        return PrunedManifest(manifest, PruneOutcome.DELETED if is_deleted else PruneOutcome.ABSENT)

    def _moved(self, manifest: PlannedManifest) -> str:
        for tag in manifest.tags:
            found = self._client.exists(self._plan.repository.tag(tag))
            if found is not None and found.digest != manifest.digest:
                return tag
        return ""

    def _delete_manifest(self, manifest: PlannedManifest) -> bool:
        repository = self._plan.repository
        try:
            return self._client.delete_manifest(repository, manifest.digest)
        except _FOR_ALL:
            raise
        except RegistryError as error:
            # Some registries refuse to delete a manifest that has a tag.
            is_refused = _BAD_REQUEST <= error.status < _SERVER_ERROR
            if not is_refused or not manifest.tags or not self._delete_tags(manifest.tags):
                raise
            return self._client.delete_manifest(repository, manifest.digest)

    def _delete_tags(self, tags: Iterable[str]) -> bool:
        try:
            for tag in tags:
                self._client.delete_tag(self._plan.repository.tag(tag))
        except Unsupported:
            return False
        return True


class _Watch:
    """Looks whether the tags are still those of the plan."""

    def __init__(self, client: RegistryClient, plan: PrunePlan, workers: WorkerPool) -> None:
        self._client = client
        self._repository = plan.repository
        self._workers = workers
        both = (*plan.kept, *plan.removed)
        self._known = frozenset((*(tag for manifest in both for tag in manifest.tags), *plan.dangling))
        # Tags that are made from a digest do not move to another image.
        self._kept = {
            tag: manifest.digest
            for manifest in plan.kept
            for tag in manifest.tags
            if DerivedTag.parse(tag) is None
        }
        self._next = 0.0

    def is_due(self) -> bool:
        """Return True when it is time for another look."""
        return time.monotonic() >= self._next

    def look(self) -> None:
        """Raise InUse if there is a new tag, or a tag that is kept names another manifest."""
        began = time.monotonic()
        new = [tag for tag in self._client.tags(self._repository) if tag not in self._known]
        found = list(self._workers.map(self._names_another, self._kept))
        # Raised here: an error of a worker would end all others, whose results are still needed.
        for error in found:
            if isinstance(error, ImgpkgError):
                raise error
        changed = [*new, *(tag for tag, is_changed in zip(self._kept, found, strict=True) if is_changed)]
        if changed:
            shown = ", ".join(sorted(changed)[:10])
            raise InUse(
                f"{self._repository} has changed since the plan was made; nothing more is deleted: {shown}",
                hints=(_AGAIN,),
            )
        now = time.monotonic()
        self._next = now + max(_PAUSE, (_SHARE - 1) * (now - began))

    def _names_another(self, tag: str) -> bool | ImgpkgError:
        try:
            found = self._client.exists(self._repository.tag(tag))
        except Cancelled:
            raise
        except ImgpkgError as error:
            return error
        # One that is gone may have been moved to an image that was just being deleted.
        return found is None or found.digest != self._kept[tag]


def _batches(manifests: Iterable[PlannedManifest], size: int) -> Iterator[list[PlannedManifest]]:
    """Yield the manifests in their order, so that none comes in a batch with what must be gone before it."""
    batch: list[PlannedManifest] = []
    digests: set[Digest] = set()
    for manifest in manifests:
        if len(batch) == size or not digests.isdisjoint(manifest.after):
            yield batch
            batch, digests = [], set()
        batch.append(manifest)
        digests.add(manifest.digest)
    if batch:
        yield batch
