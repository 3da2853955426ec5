"""Move everything that a plan names into a repository, and decide nothing."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.content.store import OpenedBlob
from imgpkg.errors import ArchiveError, RegistryError
from imgpkg.events import Planned
from imgpkg.operations.plan import nodes_of
from imgpkg.operations.survey import WORTH_ASKING, survey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgpkg.events import Hook
    from imgpkg.oci.digest import Digest, Readable
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.plan import BlobMove, Node, Root, TransferPlan
    from imgpkg.operations.work import Work
    from imgpkg.registry.client import RegistryClient

_FLAG = "--include-non-distributable-layers"

OpenBlob: TypeAlias = "Callable[[BlobMove], AbstractContextManager[Readable]]"


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
        return self.client.names(reference, digest)

    def has(self, reference: Reference) -> bool:
        """Tell whether `reference` names anything; a registry that refuses the question counts as a no."""
        try:
            return self.client.exists(reference) is not None
        except RegistryError:
            return False

    def may_mount(self, move: BlobMove) -> bool:
        """Tell whether the registry may have the blob without its being sent."""
        return (self.mounts or move.is_missing) and move.origin.registry == self.repository.registry

    def check_source(self, move: BlobMove, open_blob: OpenBlob) -> None:
        """Raise ArchiveError for a blob that the copied file does not hold, nor the destination.

        One that may be mounted is not asked for.
        """
        if move.is_missing and not self.may_mount(move):
            if self.client.has_blob(self.repository, move.descriptor.digest):
                return
            with _explained(move, self), open_blob(move):
                pass

    def put(self, reference: Reference, manifest: Manifest, *, is_fresh: bool) -> bool:
        """Make `reference` name `manifest`; a tag that names it already is not written again.

        Registries with immutable tags refuse even an equal manifest: what they have is then compared.
        Returns whether the registry took the manifest, and was not asked whether it has it.
        """
        if not is_fresh and self.holds(reference, manifest.digest):
            return False
        try:
            self.client.push_manifest(reference, manifest)
        except RegistryError:
            if not (is_fresh and self.holds(reference, manifest.digest)):
                raise
            return False
        return True


def transfer(
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
    with _explained(move, to):
        to.client.push_blob(
            to.repository,
            blob,
            lambda: io.BytesIO(data) if data is not None else OpenedBlob(open_blob(move)),
            mount_from=move.origin if mounts else None,
            check=is_asked or move.is_missing,
            on_event=on_event,
        )


@contextmanager
def _explained(move: BlobMove, to: Destination) -> Iterator[None]:
    """Say of a blob that the copied file does not hold where else it was looked for, and what to do."""
    try:
        yield
    except ArchiveError as error:
        if move.is_missing:
            error.hints = (*error.hints, _nowhere(move, to))
        raise


def _nowhere(move: BlobMove, to: Destination) -> str:
    mounted = f", and could not be mounted from {move.origin}" if to.may_mount(move) else ""
    advice = "" if move.descriptor.is_distributable else f" with {_FLAG}, or copy it without that flag"
    return f"{move.descriptor.digest} is not in {to.repository} either{mounted}: make the file again{advice}."


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
