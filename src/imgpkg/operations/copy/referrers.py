"""Referrers at the destination: the lists in which every copied one has to be, whoever else writes them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imgpkg import cancellation
from imgpkg.dataclass import dataclass
from imgpkg.errors import RegistryError, doing
from imgpkg.operations.copy.plan import nodes_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.operations.copy.destination import Destination
    from imgpkg.operations.copy.plan import Root, TransferPlan
    from imgpkg.operations.copy.values import Log
    from imgpkg.operations.workers import WorkerPool

_MOST_LOOKS = 6
# Whoever has read the list before it was written will have written it by then. In seconds; and as a multiple
# of the time that a look takes, since others wait for the registry as long.
_SHORTEST_PAUSE, _LONGEST_PAUSE, _LOOKS_IN_A_PAUSE = 0.1, 3.0, 5


def confirm_referrers(
    plan: TransferPlan, written: Collection[Root], to: Destination, workers: WorkerPool, log: Log
) -> None:
    """See that the destination lists all manifests with a subject, and write those again that it does not.

    Where a registry has no referrers API, the clients keep the lists (distribution-spec, "Referrers Tag
    Schema"). Each reads the list, adds to it and writes it, so that of two clients at once one may undo what
    the other did; and a copy may have been killed between a manifest and its list. `written` are the roots
    that this copy has written: for these the list is looked at twice, with a pause between. Raises an error
    of the registry when a manifest cannot be written.
    """
    fresh = {node.manifest.digest for node in nodes_of(written)}
    open_lists = _lists(plan, fresh)
    for look in range(_MOST_LOOKS):
        started = time.monotonic()
        looked = workers.map(lambda one: _look(one, to), open_lists)
        spent = time.monotonic() - started
        workers.map(lambda manifest: _write(manifest, to), [each for one in looked for each in one.missing])
        open_lists = [one for one in looked if one.is_open]
        if not open_lists:
            return
        if look < _MOST_LOOKS - 1:
            cancellation.sleep(min(max(spent * _LOOKS_IN_A_PAUSE, _SHORTEST_PAUSE), _LONGEST_PAUSE))
    for one in open_lists:
        for manifest in one.missing:
            place = to.repository.digest(manifest.digest)
            log.caution(f"{place} was written, but is not listed as a referrer of {one.subject}")


@dataclass(frozen=True, slots=True)
class _ReferrerList:
    """The list of what refers to `subject`: what has to be in it, and what a look has missed there.

    `looks` is how many times nothing must be missing, one after the other, until the list is settled.
    """

    subject: Digest
    manifests: tuple[Manifest, ...]
    looks: int
    missing: tuple[Manifest, ...] = ()

    @property
    def is_open(self) -> bool:
        return bool(self.missing) or self.looks > 0


def _lists(plan: TransferPlan, fresh: Collection[Digest]) -> list[_ReferrerList]:
    referrers: dict[Digest, dict[Digest, Manifest]] = {}
    for node in nodes_of(plan.roots):
        if node.manifest.subject is not None:
            referrers.setdefault(node.manifest.subject.digest, {})[node.manifest.digest] = node.manifest
    return [
        _ReferrerList(subject, tuple(found.values()), looks=1 + any(digest in fresh for digest in found))
        for subject, found in referrers.items()
    ]


def _look(one: _ReferrerList, to: Destination) -> _ReferrerList:
    """Return the list with what is missing in it now."""
    subject, manifests = one.subject, one.manifests
    try:
        # A registry that lists them itself loses none.
        if not _unlisted(one, to, tag_scheme=False):
            return _ReferrerList(subject, manifests, looks=0)
        missing = _unlisted(one, to, tag_scheme=True)
    except RegistryError:
        # A login that may write and not read has written what it can.
        return _ReferrerList(subject, manifests, looks=0)
    return _ReferrerList(subject, manifests, 2 if missing else one.looks - 1, missing)


def _unlisted(one: _ReferrerList, to: Destination, *, tag_scheme: bool) -> tuple[Manifest, ...]:
    found = to.client.referrers(to.repository, one.subject, tag_scheme=tag_scheme)
    listed = {entry.digest for entry in found}
    return tuple(manifest for manifest in one.manifests if manifest.digest not in listed)


def _write(manifest: Manifest, to: Destination) -> None:
    with doing("Listing what refers to an image"):
        to.client.push_manifest(to.repository.digest(manifest.digest), manifest)
