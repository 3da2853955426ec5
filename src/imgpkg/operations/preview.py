"""Say what a copy would do, and do nothing: what moves, from where, how much, with which credential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.errors import doing
from imgpkg.events import Hook, silent
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy_values import DEFAULT_OPTIONS, CopyOptions, CopySource, Log
from imgpkg.operations.origin import opened

if TYPE_CHECKING:
    from imgpkg.auth.keychain import Decision
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.origin import Origin
    from imgpkg.operations.plan import LeftOut, Root
    from imgpkg.session import Session


@dataclass(frozen=True, slots=True)
class PreviewedImage:
    """One thing that would be copied; `size` is the bytes of its blobs, shared ones included."""

    reference: Reference
    tag: str
    manifests: int
    blobs: int
    size: int


@dataclass(frozen=True, slots=True)
class CopyPreview:
    """What a copy would move: each blob is counted once, `size` in bytes.

    `mountable` blobs are in the destination's registry already and need not move. `credentials` has a
    decision for each repository that would be asked, the destination last.
    """

    images: tuple[PreviewedImage, ...]
    blobs: int
    size: int
    mountable: int
    mountable_size: int
    credentials: tuple[Decision, ...]
    left_out: tuple[LeftOut, ...] = ()


def preview_copy(
    source: CopySource,
    to_repo: str = "",
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    on_event: Hook = silent,
) -> CopyPreview:
    """Read the manifests that a copy would read and tell what it would move; nothing is written anywhere.

    Without `to_repo` the copy would go to a file. Raises what the copy itself would raise while reading.
    """
    source.check()
    repository = None
    if to_repo:
        with doing("Building import repository ref"):
            repository = Repository.parse(to_repo)
    with opened(session, source, options, Log(on_event), fallback=repository) as origin:
        return _preview(origin, repository, session)


def _preview(origin: Origin, to: Repository | None, session: Session) -> CopyPreview:
    plan = origin.plan
    registry = to.registry if to is not None and not origin.is_local else ""
    mountable = [move for move in plan.blobs.values() if move.origin.registry == registry]
    asked = set() if origin.is_local else {root.item.reference.repository for root in plan.roots}
    places = [*sorted(asked), *([to] if to is not None else [])]
    return CopyPreview(
        tuple(_previewed(root) for root in plan.roots),
        len(plan.blobs),
        plan.size,
        len(mountable),
        sum(move.descriptor.size for move in mountable),
        tuple(session.keychain.resolve(place) for place in places),
        plan.left_out,
    )


def _previewed(root: Root) -> PreviewedImage:
    nodes = list(root.node.walk())
    blobs = {blob.digest: blob.size for node in nodes for blob in node.manifest.blobs()}
    return PreviewedImage(root.item.reference, root.item.tag, len(nodes), len(blobs), sum(blobs.values()))
