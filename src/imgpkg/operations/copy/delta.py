"""A copy of what is new: blobs that the destination has stay behind, and are looked for before it begins."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.bundle.inventory import Base, bases_text, read_bases
from imgpkg.content.layout import Layout
from imgpkg.dataclass import replace
from imgpkg.errors import ArchiveError, InvalidDocument, InvalidReference, MissingBase, RegistryError
from imgpkg.oci.derived_tags import DerivedTag, TagKind
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.plan import named
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from imgpkg.oci.descriptor import ByteReader, Descriptor
    from imgpkg.operations.copy.destination import Destination, OpenBlob, Survey
    from imgpkg.operations.copy.plan import BlobMove, OpenedSource, Root
    from imgpkg.operations.copy.values import Log
    from imgpkg.operations.workers import WorkerPool

# This label of an image lists its blobs that the file was made without, and where they were expected to be.
# Like all labels of a tar file it is ignored by the Go version, which looks for a blob at the destination
# before it misses it in the file.
BASES_LABEL = "dev.carvel.imgpkg.copy.bases"
_ATTACHED = frozenset({TagKind.SIGNATURES, TagKind.ATTESTATIONS, TagKind.SBOM})
# An error is read by a person.
_MOST_LISTED = 10


def leave_out(opened: OpenedSource, bases: Sequence[Base], log: Log) -> OpenedSource:
    """Return the source without the blobs that one of `bases` has; the labels of its images list them.

    What an import reads itself stays: configurations, the layer of a bundle, and signatures and all else that
    is attached to an image.
    """
    plan = opened.plan
    chosen = {
        digest: base
        for digest, move in plan.blobs.items()
        if move.data is None and (base := _base_of(move.descriptor, bases)) is not None
    }
    for digest in _read_on_arrival(plan.roots):
        chosen.pop(digest, None)
    for base in grouped(chosen):
        log(f"leaving out {_counted(base.blobs)} that {base.shown} has")
    return replace(
        opened,
        plan=replace(
            plan,
            roots=tuple(_labelled(root, chosen) for root in plan.roots),
            blobs={digest: move for digest, move in plan.blobs.items() if digest not in chosen},
        ),
        bases=FrozenDict({**opened.bases, **chosen}),
    )


def left_at_bases(opened: OpenedSource) -> tuple[Base, ...]:
    """Return the bases of the blobs that `leave_out` has left out."""
    return grouped({digest: base for digest, base in opened.bases.items() if digest not in opened.plan.blobs})


def grouped(bases: Mapping[Digest, Base]) -> tuple[Base, ...]:
    """Return each base once, with those of its blobs that are in `bases`."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for digest in sorted(bases):
        base = bases[digest]
        listed = found.setdefault((base.name, base.release, base.repository), {})
        listed[str(digest)] = base.blobs[str(digest)]
    return tuple(Base(*key, blobs) for key, blobs in found.items())


def bases_of(roots: Iterable[Root]) -> dict[Digest, Base]:
    """Return where each blob was expected that the labels of `roots` list; raise ArchiveError."""
    found: dict[Digest, Base] = {}
    for root in roots:
        text = root.item.labels.get(BASES_LABEL)
        if text is None:
            continue
        try:
            bases = read_bases(text)
        except InvalidDocument as error:
            raise ArchiveError(
                f"the label {BASES_LABEL} of {root.item.reference} is damaged: {error}"
            ) from error
        for base in bases:
            for digest in base.blobs:
                found.setdefault(Digest.parse(digest), base)
    return found


def absent_blob(blob: Descriptor, base: Base, shown: str) -> MissingBase:
    """Return the error of a blob that the file `shown` was made without."""
    return _missing(
        MissingBase(
            f"blob {blob.digest} is not in {shown}, which was made without the blobs of {base.shown}",
            hints=("Copy both to one repository, and read it there.",),
        ),
        (blob.digest,),
    )


def check_target(opened: OpenedSource, path: str) -> None:
    """Raise MissingBase for blobs that neither the source nor the layout folder `path` has."""
    needed = [
        move for digest, move in opened.plan.blobs.items() if move.is_missing and digest in opened.bases
    ]
    # A folder that is not there yet, or is empty, is not made into a layout for nothing.
    layout = Layout(path) if needed and os.path.exists(os.path.join(path, "oci-layout")) else None
    lost = [move for move in needed if layout is None or not layout.has(move.descriptor)]
    if lost:
        raise _lost(lost, opened, path)


def locate(
    opened: OpenedSource,
    lacking: Sequence[tuple[Destination, Survey]],
    workers: WorkerPool,
    others: Sequence[Repository] = (),
) -> tuple[list[tuple[Destination, Survey]], OpenBlob]:
    """Look at each destination for the blobs that the source was made without, and write nothing.

    Those that are there are no longer in the returned surveys; the others come from another repository of the
    registry: that of the inventory, one of `others`, or the one that the image was read from. They are
    mounted, or read from there where the registry does not mount. Raises MissingBase.
    """

    def is_needed(move: BlobMove) -> bool:
        return move.is_missing and move.descriptor.digest in opened.bases

    needed = [(to, move) for to, found in lacking for move in found.moves if is_needed(move)]
    if not needed:
        return list(lacking), opened.open_blob
    places = workers.map(lambda pair: _place(opened.bases, others, pair[0], pair[1]), needed)
    lost = [pair for pair, place in zip(needed, places, strict=True) if place is None]
    if lost:
        where = dict.fromkeys(str(to.repository) for to, _ in lost)
        raise _lost([move for _, move in lost], opened, ", ".join(where), lost[0][0])
    known = {
        (to.repository, move.descriptor.digest): place
        for (to, move), place in zip(needed, places, strict=True)
    }
    client = needed[0][0].client

    def open_blob(move: BlobMove) -> AbstractContextManager[ByteReader]:
        if not is_needed(move):
            return opened.open_blob(move)
        return named(client.blob(move.origin, move.descriptor), move, str(move.origin))

    return [(to, replace(found, moves=tuple(_moves(found, to, known)))) for to, found in lacking], open_blob


def _moves(
    found: Survey, to: Destination, known: Mapping[tuple[Repository, Digest], Repository | None]
) -> Iterator[BlobMove]:
    for move in found.moves:
        place = known.get((to.repository, move.descriptor.digest))
        if place is None:
            yield move
        elif place != to.repository:
            yield replace(move, origin=place, nearer=None)


def _place(
    bases: Mapping[Digest, Base], others: Sequence[Repository], to: Destination, move: BlobMove
) -> Repository | None:
    digest = move.descriptor.digest
    if to.client.has_blob(to.repository, digest):
        return to.repository
    places = (*_parsed(bases[digest].repository), *others, move.nearer or move.origin, move.origin)
    for place in dict.fromkeys(places):
        # A registry mounts from its own repositories only.
        if place.registry == to.repository.registry and place != to.repository:
            try:
                if to.client.has_blob(place, digest):
                    return place
            # It may be hidden from this credential, or be gone.
            except RegistryError:
                continue
    return None


def _parsed(text: str) -> tuple[Repository, ...]:
    """Return the repository that a file names; none for text that is no repository."""
    try:
        return (Repository.parse(text),) if text else ()
    except InvalidReference:
        return ()


def _base_of(blob: Descriptor, bases: Sequence[Base]) -> Base | None:
    # Another size under the same digest is a mistake in the inventory, and proves nothing.
    return next((base for base in bases if base.blobs.get(str(blob.digest)) == blob.size), None)


def _read_on_arrival(roots: Iterable[Root]) -> Iterator[Digest]:
    """Yield the blobs that an import reads before it writes; in a layout they show what is a bundle."""
    for root in roots:
        made = DerivedTag.parse(root.item.tag)
        is_attached = made is not None and made.kind in _ATTACHED
        for node in root.node.walk():
            if node.manifest.config is not None:
                yield node.manifest.config.digest
            if is_attached or node.manifest.subject is not None or node.image.is_bundle:
                yield from (blob.digest for blob in node.manifest.parts())


def _labelled(root: Root, chosen: Mapping[Digest, Base]) -> Root:
    digests = {blob.digest for node in root.node.walk() for blob in node.manifest.parts()}
    bases = grouped({digest: chosen[digest] for digest in digests & chosen.keys()})
    labels = {name: text for name, text in root.item.labels.items() if name != BASES_LABEL}
    if not bases and len(labels) == len(root.item.labels):
        return root
    more = {BASES_LABEL: bases_text(bases)} if bases else {}
    return replace(root, item=replace(root.item, labels=FrozenDict({**labels, **more})))


def _lost(
    lost: Sequence[BlobMove], opened: OpenedSource, place: str, to: Destination | None = None
) -> MissingBase:
    images = _images_of(opened.plan.roots)
    blobs = {move.descriptor.digest: move.descriptor.size for move in lost}
    bases = grouped({digest: opened.bases[digest] for digest in blobs})
    lines: list[str] = []
    for base in bases:
        lines.append(f"  expected from {base.shown}: {_counted(base.blobs)}")
        listed = [f"    {digest}, needed by {images[Digest.parse(digest)]}" for digest in base.blobs]
        more = len(listed) - _MOST_LISTED
        lines += [*listed[:_MOST_LISTED], *((f"    … and {more} more",) if more > 0 else ())]
    error = MissingBase(
        f"{opened.shown} relies on {_counted(blobs)} that {place} does not have; nothing was written",
        lines=tuple(lines),
        hints=(*(_remedy(base, place) for base in bases), *_elsewhere(to)),
    )
    return _missing(error, blobs)


def _missing(error: MissingBase, digests: Iterable[Digest]) -> MissingBase:
    error.digests = tuple(map(str, sorted(digests)))
    return error


def _images_of(roots: Iterable[Root]) -> dict[Digest, str]:
    found: dict[Digest, str] = {}
    for root in roots:
        name = root.item.origin or str(root.item.reference)
        for node in root.node.walk():
            for blob in node.manifest.parts():
                found.setdefault(blob.digest, name)
    return found


def _remedy(base: Base, place: str) -> str:
    if base.repository:
        return f"Make a new inventory of {base.repository}, and the file again with that."
    return f"Copy {base.name} to {place} first, or make the file again without --since {base.name}."


def _elsewhere(to: Destination | None) -> tuple[str, ...]:
    if to is None:
        return ()
    return (f"If another repository of {to.repository.registry} has them, name it with --mount-from.",)


def _counted(blobs: Mapping[str, int] | Mapping[Digest, int]) -> str:
    noun = "blob" if len(blobs) == 1 else "blobs"
    return f"{len(blobs)} {noun} with {sum(blobs.values()):,} bytes"
