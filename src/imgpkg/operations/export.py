"""The reading side of a copy: what to copy, and all that has to be known before anything moves."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from imgpkg.errors import InvalidManifest
from imgpkg.operations.collect import Collected, collect_bundle, collect_image, collect_lock, signatures
from imgpkg.operations.plan import Item, Root, TransferPlan, nodes_of, plan_of, read_roots
from imgpkg.operations.work import working

if TYPE_CHECKING:
    from imgpkg.bundle.image import Workers
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.copy_values import CopyOptions, CopySource, Log
    from imgpkg.registry.client import RegistryClient
    from imgpkg.session import Session

# Reading metadata is all round trips: more of them at once than blobs.
_METADATA_JOBS = 10
# A signature of a document of an image: nobody goes much further, but a hostile registry.
_LONGEST_CHAIN = 32


def export(
    session: Session, source: CopySource, options: CopyOptions, log: Log, *, with_configs: bool
) -> tuple[Collected, TransferPlan]:
    """List what `source` stands for in its registries, and plan the moves; manifests only are read.

    `with_configs` reads configurations too. Raises UsageError, IsABundle, NotABundle, InvalidLock, or an
    error of the registry.
    """
    with working(session, max(session.settings.concurrency, _METADATA_JOBS)) as workers:
        collected = _collect(session, source, options, workers)
        distinct = sorted({item.key for item in collected.items})
        log(f"exporting {len(distinct)} images...")
        for reference, _ in distinct:
            log(f"will export {reference}")
        roots = read_roots(session.client, collected.items, workers, with_configs=with_configs)
        if options.referrers:
            roots = _with_referrers(session.client, roots, workers, with_configs=with_configs)
        log(f"exported {len(distinct)} images")
    return collected, plan_of(roots, include_non_distributable=options.include_non_distributable_layers)


def _with_referrers(
    client: RegistryClient, roots: tuple[Root, ...], workers: Workers, *, with_configs: bool
) -> tuple[Root, ...]:
    """Add whatever is attached to the roots and their children by `subject`, and to that again.

    Raises InvalidManifest for attachments to attachments without end.
    """
    all_of = {root.item.key: root for root in roots}
    asked: set[Reference] = set()
    for _ in range(_LONGEST_CHAIN):
        nodes = {node.image.reference for node in nodes_of(all_of.values())} - asked
        if not nodes:
            return tuple(all_of[key] for key in sorted(all_of))
        asked |= nodes
        found = {item.key: item for items in workers.map(partial(_attached, client), nodes) for item in items}
        new = [item for key, item in found.items() if key not in all_of]
        for root in read_roots(client, new, workers, with_configs=with_configs):
            all_of[root.item.key] = root
    raise InvalidManifest(
        f"{min(nodes, key=str)}: more than {_LONGEST_CHAIN} manifests are attached one to the other"
    )


def _attached(client: RegistryClient, reference: Reference) -> list[Item]:
    repository = reference.repository
    if reference.digest is None:  # pragma: no cover - nodes are digest references
        return []
    return [Item(repository.digest(found.digest)) for found in client.referrers(repository, reference.digest)]


def _collect(session: Session, source: CopySource, options: CopyOptions, workers: Workers) -> Collected:
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
