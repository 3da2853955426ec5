"""The reading side of a copy: what to copy, and all that has to be known before anything moves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from imgpkg.operations.collect import Collected, collect_bundle, collect_image, collect_lock, signatures
from imgpkg.operations.plan import TransferPlan, make_plan

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from imgpkg.operations.copy_values import CopyOptions, CopySource, Log
    from imgpkg.session import Session

# Reading metadata is all round trips: more of them at once than blobs.
_METADATA_JOBS = 10


def export(
    session: Session, source: CopySource, options: CopyOptions, log: Log, *, with_configs: bool
) -> tuple[Collected, TransferPlan]:
    """List what `source` stands for in its registries, and plan the moves; manifests only are read.

    `with_configs` reads configurations too. Raises UsageError, IsABundle, NotABundle, InvalidLock, or an
    error of the registry.
    """
    with ThreadPoolExecutor(max(session.settings.concurrency, _METADATA_JOBS)) as workers:
        collected = _collect(session, source, options, workers)
        distinct = sorted({item.key for item in collected.items})
        log(f"exporting {len(distinct)} images...")
        for reference, _ in distinct:
            log(f"will export {reference}")
        plan = make_plan(
            session.client,
            collected.items,
            workers,
            with_configs=with_configs,
            include_non_distributable=options.include_non_distributable_layers,
        )
        log(f"exported {len(distinct)} images")
    return collected, plan


def _collect(session: Session, source: CopySource, options: CopyOptions, workers: Executor) -> Collected:
    client = session.client
    if source.lock:
        collected = collect_lock(client, source.lock, workers)
    elif source.image:
        collected = collect_image(client, source.image)
    else:
        collected = collect_bundle(client, source.bundle, workers)
    if options.cosign_signatures:
        collected = collected.adding(signatures(client, collected.items, workers))
    return collected
