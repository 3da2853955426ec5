"""Write a copy to a repository: blobs, manifests, locations, and last the users' tags."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from imgpkg.bundle.image import internal_tag, locations_tag, signature_tag
from imgpkg.bundle.locations import FILE_NAME, ImageLocations, Location
from imgpkg.content.image import build_image
from imgpkg.content.pack import pack_file
from imgpkg.content.store import OpenedBlob
from imgpkg.errors import RegistryError, doing
from imgpkg.events import Planned
from imgpkg.operations.copy.destination import WORTH_ASKING, destination, explained, jobs, survey
from imgpkg.operations.copy.plan import nodes_of
from imgpkg.operations.copy.values import report_left_out, result_of
from imgpkg.operations.tag import confirm_tag
from imgpkg.operations.work import working

if TYPE_CHECKING:
    from collections.abc import Sequence

    from imgpkg.content.image import BuiltImage
    from imgpkg.events import Hook
    from imgpkg.oci.descriptor import Digest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.collect import Record
    from imgpkg.operations.copy.destination import Destination, OpenBlob
    from imgpkg.operations.copy.plan import BlobMove, Node, Root, TransferPlan
    from imgpkg.operations.copy.source import Origin
    from imgpkg.operations.copy.values import CopyOptions, CopyResult, Log
    from imgpkg.operations.work import Work
    from imgpkg.session import Session


def publish(
    origin: Origin, session: Session, repository: Repository, options: CopyOptions, log: Log
) -> CopyResult:
    """Write the plan into `repository`, a locations record for each bundle, and the tags that users know."""
    collected, plan = origin.collected, origin.plan
    to = destination(origin, session, repository, options)
    log(f"importing {len(plan.roots)} images...")
    with working(session, jobs(origin, session, repository), log.on_event) as work:
        is_fresh = _transfer(plan, to, origin.open_blob, work)
        work.map(lambda record: _write_locations(record, to, is_fresh=is_fresh), collected.records)
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


def _transfer(
    plan: TransferPlan,
    to: Destination,
    open_blob: OpenBlob,
    work: Work,
) -> bool:
    """Write the blobs of `plan`, then its manifests, children first, each root under its upload tag.

    What the destination has already is left alone. Returns whether the destination was taken for fresh.
    Raises an error of either registry; nothing is published before its parts.
    """
    found = survey(plan, to, work)
    work.on_event(Planned(len(found.moves), sum(move.descriptor.size for move in found.moves)))
    # Whether those come to be there is known before anything is sent.
    for moves in (found.missing, found.at_hand):
        work.map(lambda move: _send(move, to, open_blob, work.on_event, found.is_fresh), moves)
    tagged: dict[Digest, list[Root]] = {}
    for root in found.roots:
        tagged.setdefault(root.node.manifest.digest, []).append(root)
    for level in _levels(found.roots):
        work.map(lambda node: _publish(node, tagged.get(node.manifest.digest, ()), to), level)
    return found.is_fresh


def _send(
    move: BlobMove,
    to: Destination,
    open_blob: OpenBlob,
    on_event: Hook,
    is_fresh: bool,
) -> None:
    data, blob = move.data, move.descriptor
    to.check_source(move, open_blob)
    mounts = to.may_mount(move)
    # Where a mount comes first, the question is asked only when that brought nothing. Layers that are not to
    # be passed on may be there although their origin has them no more.
    is_asked = not is_fresh or not blob.is_distributable or (mounts and blob.size >= WORTH_ASKING)
    with explained(move, to):
        to.client.push_blob(
            to.repository,
            blob,
            lambda: io.BytesIO(data) if data is not None else OpenedBlob(open_blob(move)),
            mount_from=move.origin if mounts else None,
            check=is_asked or move.is_missing,
            on_event=on_event,
        )


def _levels(roots: Sequence[Root]) -> list[list[Node]]:
    """List the nodes of all trees, each digest once, those that list nothing first.

    A manifest is then whole at the registry before anything that lists it begins, also when it is a root
    itself: registries check what an index lists, and may not find what is being written again.
    """
    heights: dict[Digest, int] = {}
    levels: dict[int, list[Node]] = {}
    for node in nodes_of(roots):
        if node.manifest.digest not in heights:
            height = 1 + max((heights[child.manifest.digest] for child in node.children), default=-1)
            heights[node.manifest.digest] = height
            levels.setdefault(height, []).append(node)
    return [levels[height] for height in sorted(levels)]


def _publish(node: Node, roots: Sequence[Root], to: Destination) -> None:
    """Write a manifest under the upload tags of its `roots`, or by its digest when it is none itself."""
    for root in roots:
        to.put(to.reference(root), node.manifest, is_fresh=True)
    if not roots:
        to.client.push_manifest(to.repository.digest(node.manifest.digest), node.manifest)


def _write_locations(record: Record, to: Destination, *, is_fresh: bool) -> None:
    """Push `record` as an image of its own under the two tags of its bundle.

    A registry whose tags are immutable may refuse to replace a record; the one it has then stays.
    """
    bundle = record.bundle
    tag = to.repository.tag(locations_tag(bundle))
    with (
        doing(f"Creating copy information for bundle {to.repository.digest(bundle)}"),
        doing(f"Pushing locations image to '{tag}'"),
    ):
        layer = pack_file(FILE_NAME, _document(record).to_bytes())
        built = build_image(layer, {})
        if not is_fresh and to.holds(tag, built.manifest.digest):
            return
        to.client.push_blob(to.repository, layer.descriptor, layer.open, check=not is_fresh)
        _push_record(bundle, built, to, is_fresh=is_fresh)


def _document(record: Record) -> ImageLocations:
    return ImageLocations(tuple(Location(image, is_bundle) for image, is_bundle in record.images))


def _push_record(bundle: Digest, built: BuiltImage, to: Destination, *, is_fresh: bool) -> None:
    to.client.push_blob(
        to.repository, built.config_descriptor, lambda: io.BytesIO(built.config), check=not is_fresh
    )
    to.put(to.repository.tag(internal_tag(built.manifest.digest)), built.manifest, is_fresh=is_fresh)
    tag = to.repository.tag(locations_tag(bundle))
    try:
        to.put(tag, built.manifest, is_fresh=True)
    except RegistryError as error:
        if "immutable" not in str(error) or not to.has(tag):
            raise


def _tag(root: Root, to: Destination, *, is_fresh: bool, is_named: bool) -> None:
    """Write the tag of `root`; one that the user named is asked for afterwards."""
    reference, manifest = to.repository.tag(root.item.tag), root.node.manifest
    with doing(f"Tagging image {root.item.reference}", "Tagging image"):
        if to.put(reference, manifest, is_fresh=is_fresh) and is_named:
            confirm_tag(to.client, reference, manifest.digest)
