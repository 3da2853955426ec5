"""From the plan of a copy to the lines of a file, and these into the file."""

from __future__ import annotations

import json
from heapq import merge
from typing import TYPE_CHECKING

from imgpkg.content.output import output_file
from imgpkg.content.temporary import written_file
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError, doing, local_io
from imgpkg.oci.descriptor import Descriptor
from imgpkg.operations.copy.destination import upload_tags
from imgpkg.operations.copy.plan import ROOT_BUNDLE_LABEL, nodes_of
from imgpkg.operations.plans.lines import (
    PlanBlob,
    PlanEnd,
    PlanHeader,
    PlanImage,
    PlanLocked,
    PlanManifest,
    PlanRecord,
)
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.copy.plan import BlobMove, OpenedSource, Places, RepositoryPlan, Root
    from imgpkg.operations.copy.values import CopyOptions, CopySource
    from imgpkg.operations.plans.lines import PlanLine

_WRITING = "Writing plan"


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A file that a plan can be written to: its absolute path, and the path as it was given."""

    path: str
    shown: StrPath

    @classmethod
    def checked(cls, shown: StrPath, source: CopySource, to_repo: str) -> PlanFile:
        """Return the file; raise LocalIOError, or UsageError for a copy that has no plan."""
        if not to_repo or source.is_local:
            raise UsageError(
                "Plans are for copies from registries to a repository only",
                hints=("A tar file or layout is read and written by one machine.",),
            )
        with doing(_WRITING):
            return cls(output_file(shown), shown)

    def write(
        self,
        opened: OpenedSource,
        places: Places,
        source: CopySource,
        destination: Repository,
        options: CopyOptions,
    ) -> None:
        """Write the plan, a file atomically; raise LocalIOError."""
        header = _header(opened, source, destination, options)
        with doing(_WRITING), local_io("write", self.shown), written_file(self.path) as file:
            for line in lines_of(opened, places, header):
                # ASCII: nothing on the way changes it.
                text = json.dumps({"kind": line.kind, **line.fields()}, separators=(",", ":"))
                file.write(f"{text}\n".encode())


def _header(
    opened: OpenedSource, source: CopySource, destination: Repository, options: CopyOptions
) -> PlanHeader:
    root = opened.collected.root
    return PlanHeader(
        source.shown,
        destination,
        options.placement is not None,
        options.repo_based_tags,
        options.include_non_distributable_layers,
        tuple(map(str, options.platforms)),
        None if root is None else (root.reference, root.tag),
        opened.collected.images_lock is not None,
    )


def lines_of(opened: OpenedSource, places: Places, header: PlanHeader) -> Iterator[PlanLine]:
    """Yield all lines, always the same for the same plan."""
    yield header
    count = size = manifests = 0
    for blob in _blobs(places):
        count, size = count + 1, size + blob.descriptor.size
        yield blob
    for manifest in _manifests(opened, places, header):
        manifests += 1
        yield manifest
    for place in places.places:
        for record in place.records:
            yield PlanRecord(place.repository, record.bundle, record.images, record.is_partial)
    if opened.collected.images_lock is not None:
        for image in opened.collected.images_lock.images:
            yield PlanLocked(image.reference, image.annotations)
    yield from _images(opened, places, header)
    yield PlanEnd(count, size, manifests, len(opened.plan.roots))


def _blobs(places: Places) -> Iterator[PlanBlob]:
    """Yield the largest first, those of one digest for one registry together: first what is sent to it."""

    def order(one: tuple[BlobMove, Repository]) -> tuple[int, str, str, bool, Repository]:
        move, to = one
        blob = move.descriptor
        return -blob.size, blob.digest.hex, to.registry, move.nearer is not None, to

    for move, to in merge(*map(_largest_first, places.places), key=order):
        blob = move.descriptor
        near = move.origin if move.origin.registry == to.registry else None
        kept = Descriptor(blob.media_type, blob.digest, blob.size, urls=blob.urls, data=blob.data)
        yield PlanBlob(kept, move.origin, to, move.nearer or near)


def _largest_first(place: RepositoryPlan) -> Iterator[tuple[BlobMove, Repository]]:
    moves = [*place.plan.blobs.values()]
    # One after the other, since sorting keeps the order of equal ones: a tuple for each of a million blobs
    # would fill the memory.
    moves.sort(key=lambda move: move.descriptor.digest.hex)
    moves.sort(key=lambda move: move.descriptor.size, reverse=True)
    for move in moves:
        yield move, place.repository


def _manifests(opened: OpenedSource, places: Places, header: PlanHeader) -> Iterator[PlanManifest]:
    """Yield each manifest once for each repository where it is read, children first."""
    tag_of = upload_tags(repo_based=header.repo_based_tags)
    roots: dict[Reference, list[Root]] = {}
    # Where a manifest goes, with the trees that it is a part of; empty where all go to all places.
    found: dict[Reference, dict[Repository, None]] = {}
    for root in opened.plan.roots:
        roots.setdefault(root.node.image.reference, []).append(root)
        if places.of_roots is not None:
            for node in root.node.walk():
                found.setdefault(node.image.reference, {}).update(dict.fromkeys(places.of(root)))
    for node in nodes_of(opened.plan.roots):
        source, manifest = node.image.reference, node.manifest
        tags: dict[Repository, dict[str, None]] = {}
        for root in roots.get(source, ()):
            for repository in places.of(root):
                tags.setdefault(repository, {})[tag_of(root)] = None
        destinations = (
            reference
            for to in found.get(source, places.repositories)
            for reference in [to.tag(tag) for tag in tags.get(to, ())] or [to.digest(manifest.digest)]
        )
        yield PlanManifest(source, manifest.media_type, manifest.descriptor.size, tuple(destinations))


def _images(opened: OpenedSource, places: Places, header: PlanHeader) -> Iterator[PlanImage]:
    tag_of = upload_tags(repo_based=header.repo_based_tags)
    for root in opened.plan.roots:
        item = root.item
        yield PlanImage(
            item.reference,
            root.node.image.reference,
            tuple(repository.tag(tag_of(root)) for repository in places.of(root)),
            item.tag,
            item.origin,
            ROOT_BUNDLE_LABEL in item.labels,
            item.cut,
        )
