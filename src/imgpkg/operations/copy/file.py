"""Copy into a tar file or an OCI image layout."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from imgpkg.bundle.image import Image, internal_tag
from imgpkg.content.archive.manifest import LARGEST_MANIFEST, MANIFEST, ArchiveImage, ArchiveIndex, Marks
from imgpkg.content.archive.partial_file import plan_archive
from imgpkg.content.archive.reader import member_name
from imgpkg.content.archive.writer import ArchiveWriter, tar_output
from imgpkg.content.layout import Layout, output_layout
from imgpkg.errors import ArchiveError
from imgpkg.events import BlobOutcome, BlobTransfer, Planned
from imgpkg.oci.descriptor import BLOCK, EMPTY, verified
from imgpkg.operations.copy.collection import ROOT_LABELS, Collected
from imgpkg.operations.copy.plan import (
    Item,
    Node,
    OpenedSource,
    Root,
    check_tags,
    labels_of,
    nodes_of,
    plan_of,
)
from imgpkg.operations.copy.values import Log, disputed_tags
from imgpkg.operations.workers import open_workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from imgpkg.content.archive.manifest import ArchiveItem
    from imgpkg.content.image import BuiltImage
    from imgpkg.content.pack import PackedLayer
    from imgpkg.content.store import Target
    from imgpkg.events import Hook
    from imgpkg.oci.descriptor import ByteReader, Descriptor, Digest
    from imgpkg.oci.reference import Reference
    from imgpkg.operations.copy.plan import BlobMove, TransferPlan
    from imgpkg.operations.signing import SignatureImage
    from imgpkg.session import Session
    from imgpkg.values import StrPath

# manifest.json repeats a manifest in every index that lists it, so that it may grow exponentially.
_MOST_REPEATED = 100_000


def write_archive(
    opened: OpenedSource,
    path: str,
    *,
    shown: str,
    session: Session,
    log: Log,
    resume: bool = False,
    split: int = 0,
) -> None:
    """Write the plan of `opened` to the tar file `path`, in pieces of `split` bytes; errors name it `shown`.

    Raises ArchiveError for more than a tar file can list, VerificationError, LocalIOError, or an error of the
    source.
    """
    _check_listable(opened.plan)
    items = [_archived_root(root) for root in opened.plan.roots]
    # The writer begins with manifest.json, since all digests and sizes are known from the manifests.
    log("writing layers...")
    started = time.monotonic()
    with ArchiveWriter(path, items, _layers(opened.plan), shown=shown, resume=resume, split=split) as tar:
        # Blobs of an interrupted copy that have verified.
        if resume and tar.held:
            log(f"Going to reuse {_reused(opened.plan, tar)} layers from the tar already in disk")
        log(f"done: file '{MANIFEST}' ({_spent_since(started)})")
        # Configurations are in manifest.json, and are no blobs of the file.
        layers = {layer.digest for layer in _layers(opened.plan)}
        _fill(opened.plan, tar, opened.open_blob, session=session, log=log, whole=layers)


def write_stream(
    opened: OpenedSource, write: Callable[[bytes], object], *, session: Session, log: Log
) -> None:
    """Write the bytes of the tar file for the plan of `opened` in their order, one blob after the other.

    Raises what `write_archive` and `write` raise; the end of the file is then missing.
    """
    _check_listable(opened.plan)
    items = [_archived_root(root) for root in opened.plan.roots]
    planned = plan_archive(items, _layers(opened.plan))
    log.on_event(Planned(len(planned.places), sum(place.size for place in planned.places.values())))
    block = memoryview(bytearray(BLOCK))
    with open_workers(session, 1, log.on_event) as workers:
        for part in planned.in_order():
            if isinstance(part, bytes):
                write(part)
                continue
            blob, started = opened.plan.blobs[part].descriptor, time.monotonic()
            transfer = BlobTransfer(blob, "save", workers.on_event)
            with _counted(opened.open_blob(opened.plan.blobs[part]), transfer) as stream:
                content = verified(stream, blob.digest, blob.size)
                while count := content.readinto(block):
                    write(bytes(block[:count]))
            transfer.finish(BlobOutcome.MOVED)
            log(f"done: file '{member_name(blob.digest)}' ({_spent_since(started)})")


def write_layout(opened: OpenedSource, path: str, *, shown: str, session: Session, log: Log) -> None:
    """Write the plan of `opened` to the layout folder `path`; errors name it `shown`."""
    from imgpkg.operations.copy.store import marks_of

    check_tags(opened.plan.roots, shown)
    layout = Layout.create(path, shown)
    _fill(opened.plan, layout, opened.open_blob, session=session, log=log, whole=opened.plan.blobs)
    # Blobs, then manifests, then index.json: what the index lists is complete at any time.
    for node in nodes_of(opened.plan.roots):
        layout.publish(node.manifest, ())
    disputed = disputed_tags(opened.plan.roots, log, {})
    for root in opened.plan.roots:
        named = root.item.tag if root.item.key not in disputed else ""
        # Without a tag other tools could not name the image in the layout.
        tag = named or internal_tag(root.node.manifest.digest)
        layout.publish(root.node.manifest, (tag,), annotations=marks_of(root.item))


def write_built(
    built: BuiltImage,
    layer: PackedLayer,
    target: Reference,
    *,
    tar: StrPath,
    layout: StrPath,
    session: Session,
    on_event: Hook,
    signature: SignatureImage | None = None,
) -> None:
    """Write a new image, and its signature if there is one, to the tar file `tar` or the layout `layout`.

    The file records that it was read from `target`, as a copy of the pushed image would. Raises LocalIOError
    or ArchiveError.
    """
    reference = target.repository.digest(built.manifest.digest)
    image = Image(reference, built.manifest, built.config)
    # As a copy records the bundle, or the image, that it was asked for.
    origin, labels = (str(reference), ROOT_LABELS) if image.is_bundle else ("", EMPTY)
    item = Item(reference, target.tag or "", origin, labels, image)
    roots = [Root(item, Node(image))]
    contents = {blob.digest: data for blob, data in (signature.blobs if signature is not None else ())}
    if signature is not None:
        place = target.repository.digest(signature.manifest.digest)
        signed = Image(place, signature.manifest, signature.config_raw)
        roots.append(Root(Item(place, signature.tag, image=signed), Node(signed)))
    plan = plan_of(tuple(sorted(roots, key=lambda root: root.item.key)), include_non_distributable=True)

    def open_blob(move: BlobMove) -> AbstractContextManager[ByteReader]:
        digest = move.descriptor.digest
        is_layer = digest == layer.descriptor.digest
        return layer.open() if is_layer else BytesIO(contents.get(digest, built.config))

    opened = OpenedSource(Collected((item,)), plan, open_blob)
    log = Log(on_event, is_quiet=True)
    if tar:
        shown = os.fspath(tar)
        write_archive(opened, tar_output(shown), shown=shown, session=session, log=log)
    else:
        shown = os.fspath(layout)
        write_layout(opened, output_layout(shown), shown=shown, session=session, log=log)


def _check_listable(plan: TransferPlan) -> None:
    """Raise ArchiveError for indexes whose lists are too large for manifest.json.

    The sizes are computed without expanding the lists.
    """
    counts: dict[Reference, int] = {}
    sizes: dict[Reference, int] = {}
    for node in nodes_of(plan.roots):
        below = [child.image.reference for child in node.children]
        counts[node.image.reference] = 1 + sum(counts[place] for place in below)
        own = len(node.manifest.raw) + len(node.image.config_raw)
        sizes[node.image.reference] = own + sum(sizes[place] for place in below)
    count = size = 0
    for root in plan.roots:
        count += counts[root.node.image.reference]
        size += sizes[root.node.image.reference]
        # Checked root by root, so that the error names the one that is too large.
        if count - len(counts) > _MOST_REPEATED:
            raise ArchiveError(f"{root.item.reference} lists more than {_MOST_REPEATED} manifests again")
        if size > LARGEST_MANIFEST:
            raise ArchiveError(f"{root.item.reference} lists more than {MANIFEST} of a tar file can hold")


def _archived_root(root: Root) -> ArchiveItem:
    """Return the entry of a tree for manifest.json; every child repeats the tag and labels of the root."""
    return _archived(root.item, root.node, labels_of(root.item))


def _archived(item: Item, node: Node, labels: Mapping[str, str]) -> ArchiveItem:
    marks = Marks(str(node.image.reference), item.tag, item.origin, labels)
    if not node.manifest.is_index:
        return ArchiveImage(node.manifest, node.image.config_raw, marks)
    # The proof of a cut is for the index.
    children = [_archived(item, child, item.labels) for child in node.children]
    images = tuple(child for child in children if isinstance(child, ArchiveImage))
    indexes = tuple(child for child in children if isinstance(child, ArchiveIndex))
    return ArchiveIndex(node.manifest, images, indexes, marks)


def _layers(plan: TransferPlan) -> list[Descriptor]:
    return [
        plan.blobs[layer.digest].descriptor
        for root in plan.roots
        for node in root.node.walk()
        for layer in node.manifest.parts()
        # Configurations are in manifest.json.
        if layer.digest in plan.blobs and layer is not node.manifest.config
    ]


def _reused(plan: TransferPlan, tar: ArchiveWriter) -> int:
    return sum(1 for layer in _layers(plan) if layer.digest in tar.held)


def _fill(
    plan: TransferPlan,
    target: Target,
    open_blob: Callable[[BlobMove], AbstractContextManager[ByteReader]],
    *,
    session: Session,
    log: Log,
    whole: Iterable[Digest],
) -> None:
    """Write the blobs of `plan` that `target` lacks, in parallel, the largest first.

    `whole` are the blobs that a complete file has. What it has of them already is reported as present.
    Raises VerificationError, LocalIOError, or an error of the source; the first failure cancels the others.
    """
    missing = [move for move in plan.blobs.values() if not target.has(move.descriptor)]
    # The largest first, so that no long transfer starts last.
    missing.sort(key=lambda move: -move.descriptor.size)
    size = sum(move.descriptor.size for move in missing)
    sizes = [plan.blobs[digest].descriptor.size for digest in whole]
    log.on_event(Planned(len(missing), size, len(sizes) - len(missing), sum(sizes) - size))

    with open_workers(session, session.settings.concurrency, log.on_event) as workers:

        def write(move: BlobMove) -> None:
            started = time.monotonic()
            blob = move.descriptor
            transfer = BlobTransfer(blob, "save", workers.on_event)
            # A function and no stream: the writer opens it only when it has a place for it.
            target.write(blob, lambda: _counted(open_blob(move), transfer))
            transfer.finish(BlobOutcome.MOVED)
            log(f"done: file '{blob.digest.algorithm}-{blob.digest.hex}.tar.gz' ({_spent_since(started)})")

        workers.map(write, missing)


@contextmanager
def _counted(context: AbstractContextManager[ByteReader], transfer: BlobTransfer) -> Iterator[ByteReader]:
    """Open a blob, and report its progress."""
    with context as stream:
        yield transfer.counted(stream)


def _spent_since(started: float) -> str:
    """Return the time since `started` (monotonic) as Go prints durations: `8.222µs`, `1.5s`."""
    seconds = time.monotonic() - started
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{round(seconds / size, 3):g}{unit}"
    return f"{round(seconds * 1e9)}ns"
