"""Move everything that a plan names into a repository, and decide nothing."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.content.store import OpenedBlob
from imgpkg.errors import RegistryError, doing
from imgpkg.events import Planned

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from imgpkg.events import Hook
    from imgpkg.oci.digest import Digest, Readable
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.plan import BlobMove, Node, Root, TransferPlan
    from imgpkg.operations.work import Work
    from imgpkg.registry.client import RegistryClient

# Below this many bytes asking whether a blob is there costs as much as sending it.
WORTH_ASKING = 1 << 20
# From this many parts on, one question whether the destination has them all pays for itself.
_WORTH_PROBING = 10


@dataclass(frozen=True, slots=True)
class Destination:
    """The repository to write to; `tag_of` names the tag under which a root is uploaded."""

    client: RegistryClient
    repository: Repository
    tag_of: Callable[[Root], str]
    mounts: bool = True

    def reference(self, root: Root) -> Reference:
        """Where `root` is uploaded."""
        return self.repository.tag(self.tag_of(root))

    def holds(self, reference: Reference, digest: Digest) -> bool:
        """Ask whether `reference` names `digest` already."""
        found = self.client.exists(reference)
        return found is not None and found.digest == digest

    def put(self, reference: Reference, manifest: Manifest, *, is_fresh: bool) -> None:
        """Make `reference` name `manifest`; a tag that names it already is not written again.

        Registries with immutable tags refuse even an equal manifest: what they have is then compared.
        """
        if not is_fresh and self.holds(reference, manifest.digest):
            return
        try:
            self.client.push_manifest(reference, manifest)
        except RegistryError:
            if not (is_fresh and self.holds(reference, manifest.digest)):
                raise


def transfer(
    plan: TransferPlan,
    to: Destination,
    open_blob: Callable[[BlobMove], AbstractContextManager[Readable]],
    work: Work,
) -> bool:
    """Write the blobs of `plan`, then its manifests, children first, each root under its upload tag.

    What the destination has already is left alone. Returns whether the destination was taken for fresh: the
    last root was not there. Raises an error of either registry; nothing is published before its parts.
    """
    is_fresh = not _has_last(plan, to)
    roots = plan.roots if is_fresh else _missing(plan.roots, to, work)
    needed = _needed(plan, roots)
    work.on_event(Planned(len(needed), sum(move.descriptor.size for move in needed)))
    work.each(needed, lambda move: _send(move, to, open_blob, work.on_event, is_fresh))
    for level in _levels(roots):
        work.each(level, lambda node: to.client.push_manifest(_child(node, to), node.manifest))
    work.each(roots, lambda root: to.put(to.reference(root), root.node.manifest, is_fresh=True))
    return is_fresh


def _has_last(plan: TransferPlan, to: Destination) -> bool:
    if len(plan.blobs) + len(plan.roots) < _WORTH_PROBING:
        return False
    last = next((root for root in plan.roots if root.item.labels), plan.roots[-1])
    return to.holds(to.reference(last), last.node.manifest.digest)


def _missing(roots: Sequence[Root], to: Destination, work: Work) -> tuple[Root, ...]:
    with doing("Checking what is there"):
        held = work.each(roots, lambda root: to.holds(to.reference(root), root.node.manifest.digest))
        return tuple(root for root, is_held in zip(roots, held, strict=True) if not is_held)


def _needed(plan: TransferPlan, roots: Sequence[Root]) -> list[BlobMove]:
    """List the blobs of `roots` that the plan moves, largest first so that no long one starts last."""
    digests = {blob.digest for root in roots for node in root.node.walk() for blob in node.manifest.blobs()}
    moves = [move for digest, move in plan.blobs.items() if digest in digests]
    return sorted(moves, key=lambda move: -move.descriptor.size)


def _send(
    move: BlobMove,
    to: Destination,
    open_blob: Callable[[BlobMove], AbstractContextManager[Readable]],
    on_event: Hook,
    is_fresh: bool,
) -> None:
    data = move.data
    to.client.push_blob(
        to.repository,
        move.descriptor,
        lambda: io.BytesIO(data) if data is not None else OpenedBlob(open_blob(move)),
        mount_from=move.origin if to.mounts and move.origin.registry == to.repository.registry else None,
        check=not is_fresh or move.descriptor.size >= WORTH_ASKING,
        on_event=on_event,
    )


def _levels(roots: Sequence[Root]) -> list[list[Node]]:
    """List the nodes below the roots, each digest once, deepest level first."""
    levels: list[dict[Digest, Node]] = []
    current = {child.manifest.digest: child for root in roots for child in root.node.children}
    while current:
        levels.append(current)
        current = {child.manifest.digest: child for node in current.values() for child in node.children}
    return [list(level.values()) for level in reversed(levels)]


def _child(node: Node, to: Destination) -> Reference:
    return to.repository.digest(node.manifest.digest)
