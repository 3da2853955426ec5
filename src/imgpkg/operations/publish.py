"""The writing side of a copy to a repository: blobs, manifests, locations, and last the users' tags."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.bundle.cosign import signature_tag
from imgpkg.bundle.tagging import internal_tag, repository_based_tag
from imgpkg.errors import doing
from imgpkg.operations.copy_values import Copied, CopyResult
from imgpkg.operations.record import write_locations
from imgpkg.operations.tag import confirm_tag
from imgpkg.operations.transfer import Destination, transfer
from imgpkg.operations.work import working

if TYPE_CHECKING:
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.collect import Collected
    from imgpkg.operations.copy_values import CopyOptions, Log
    from imgpkg.operations.origin import Origin
    from imgpkg.operations.plan import Root, TransferPlan
    from imgpkg.session import Session

SKIPPED = (
    "Skipped the followings layer(s) due to it being non-distributable. If you would like to include "
    "non-distributable layers, use the --include-non-distributable-layers flag"
)
NOTHING_SKIPPED = (
    "'--include-non-distributable-layers' flag provided, but no images contained a non-distributable layer."
)


def publish(
    origin: Origin, session: Session, repository: Repository, options: CopyOptions, log: Log
) -> CopyResult:
    """Write the plan into `repository`, a locations record for each bundle, and the tags that users know."""
    collected, plan = origin.collected, origin.plan
    to = destination(origin, session, repository, options)
    log(f"importing {len(plan.roots)} images...")
    with working(session, jobs(origin, session, repository), log.on_event) as work:
        is_fresh = transfer(plan, to, origin.open_blob, work)
        work.map(lambda record: write_locations(record, to, is_fresh=is_fresh), collected.records)
        log("Tagging images")
        with doing("Tagging images"):
            tagged = [root for root in plan.roots if root.item.tag]
            # Tags of signatures are found by the images that were asked for; nobody named them.
            unnamed = {signature_tag(root.node.manifest.digest) for root in plan.roots}
            work.map(
                lambda root: _tag(root, to, is_fresh=is_fresh, is_named=root.item.tag not in unnamed),
                tagged,
            )
    report_left_out(plan, options, log, repository)
    return result_of(collected, plan, repository)


def destination(
    origin: Origin, session: Session, repository: Repository, options: CopyOptions
) -> Destination:
    """Say how the images of `origin` are to be written to `repository`."""
    tag_of = _repository_based if options.repo_based_tags else _by_digest
    return Destination(session.client, repository, tag_of, mounts=not origin.is_local)


def jobs(origin: Origin, session: Session, repository: Repository) -> int:
    """Return how many requests to have under way; where nothing but names moves there may be more of them."""
    registries = {move.origin.registry for move in origin.plan.blobs.values()}
    is_mounting = not origin.is_local and registries == {repository.registry}
    return session.settings.concurrency * (2 if is_mounting else 1)


def result_of(collected: Collected, plan: TransferPlan, repository: Repository | None) -> CopyResult:
    """Say what went where; without a repository everything is named where it was."""
    images = {root.item.key: _copied(root, repository) for root in plan.roots}
    bundle = None if collected.root is None else images[collected.root.key]
    return CopyResult(tuple(images.values()), bundle, plan.left_out)


def report_left_out(
    plan: TransferPlan, options: CopyOptions, log: Log, repository: Repository | None
) -> None:
    """Warn about layers that stayed behind, or that there were none although they were asked for."""
    if options.include_non_distributable_layers:
        if not plan.has_non_distributable:
            log.caution(NOTHING_SKIPPED)
        return
    if not plan.left_out:
        return
    lines = [SKIPPED]
    images: dict[Reference, list[str]] = {}
    for skipped in plan.left_out:
        images.setdefault(skipped.reference, []).append(str(skipped.layer.digest))
    for reference, layers in images.items():
        shown = (
            reference
            if repository is None or reference.digest is None
            else repository.digest(reference.digest)
        )
        lines += [f" - Image: {shown}", "   Layers:", *(f"     - {layer}" for layer in layers)]
    log.caution("\n".join(lines))


def _copied(root: Root, repository: Repository | None) -> Copied:
    digest = root.node.manifest.digest
    to = root.item.reference if repository is None else repository.digest(digest)
    return Copied(root.item.reference, to, root.item.tag)


def _tag(root: Root, to: Destination, *, is_fresh: bool, is_named: bool) -> None:
    """Write the tag of `root`; one that the user named is asked for afterwards."""
    reference, manifest = to.repository.tag(root.item.tag), root.node.manifest
    with doing(f"Tagging image {root.item.reference}", "Tagging image"):
        if to.put(reference, manifest, is_fresh=is_fresh) and is_named:
            confirm_tag(to.client, reference, manifest.digest)


def _by_digest(root: Root) -> str:
    return internal_tag(root.node.manifest.digest)


def _repository_based(root: Root) -> str:
    return repository_based_tag(root.item.origin or str(root.item.reference), root.node.manifest.digest)
