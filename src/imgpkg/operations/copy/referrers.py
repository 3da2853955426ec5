"""Referrers at the destination of a copy: the lists in which every copied one has to be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.operations.copy.plan import nodes_of
from imgpkg.operations.referrer_lists import confirm_lists

if TYPE_CHECKING:
    from collections.abc import Collection

    from imgpkg.operations.copy.destination import Destination
    from imgpkg.operations.copy.plan import Root, TransferPlan
    from imgpkg.operations.copy.values import Log
    from imgpkg.operations.workers import WorkerPool


def confirm_referrers(
    plan: TransferPlan, written: Collection[Root], to: Destination, workers: WorkerPool, log: Log
) -> None:
    """See that the destination lists all manifests of `plan` with a subject; see `confirm_lists`.

    `written` are the roots that this copy has written. There is a warning for each that is not listed after
    all. Raises an error of the registry when a manifest cannot be written.
    """
    fresh = {node.manifest.digest for node in nodes_of(written)}
    manifests = (node.manifest for node in nodes_of(plan.roots))
    for subject, manifest in confirm_lists(to.client, to.repository, manifests, fresh, workers):
        place = to.repository.digest(manifest.digest)
        log.caution(f"{place} was written, but is not listed as a referrer of {subject}")
