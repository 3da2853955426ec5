"""Copy into a repository: find what is missing, then write blobs, manifests, locations and tags."""

from __future__ import annotations

import io
from contextlib import AbstractContextManager, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.bundle.image import internal_tag, locations_tag, repository_based_tag, signature_tag
from imgpkg.bundle.locations import FILE_NAME, ImageLocations
from imgpkg.content.image import build_image
from imgpkg.content.pack import pack_file
from imgpkg.content.store import OpenedBlob
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import ArchiveError, NotFound, RegistryError, doing
from imgpkg.events import Planned
from imgpkg.operations.copy.plan import nodes_of
from imgpkg.operations.copy.values import report_left_out, result_of
from imgpkg.operations.tag import confirm_tag
from imgpkg.operations.workers import open_workers
from imgpkg.registry.uploads import WORTH_ASKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from collections.abc import Set as AbstractSet

    from imgpkg.content.image import BuiltImage
    from imgpkg.events import Hook
    from imgpkg.oci.descriptor import Digest, Readable
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Reference, Repository
    from imgpkg.operations.copy.collection import Record
    from imgpkg.operations.copy.plan import BlobMove, Node, Root, TransferPlan
    from imgpkg.operations.copy.source import OpenedSource
    from imgpkg.operations.copy.values import CopyOptions, CopyResult, Log
    from imgpkg.operations.workers import WorkerPool
    from imgpkg.registry.client import RegistryClient
    from imgpkg.session import Session

# A smaller copy, in manifests and blobs, writes without asking first: the list of tags is one more request.
_WORTH_LISTING = 10
# With more tags each one is requested, in parallel: a list comes in pages, one after the other.
_MOST_TAGS = 1000
_FLAG = "--include-non-distributable-layers"

OpenBlob: TypeAlias = "Callable[[BlobMove], AbstractContextManager[Readable]]"


def publish(
    opened: OpenedSource, session: Session, repository: Repository, options: CopyOptions, log: Log
) -> CopyResult:
    """Write the plan to `repository`, then a record of locations for each bundle, then the tags of the user.

    A tag of the user is written last: until then it names the old content. Raises ArchiveError,
    VerificationError, or an error of either registry.
    """
    collected, plan = opened.collected, opened.plan
    to = destination(opened, session, repository, options)
    log(f"importing {len(plan.roots)} images...")
    count = jobs(opened, session)
    with open_workers(session, count, log.on_event, other=opened.session) as workers:
        is_fresh = _transfer(plan, to, opened.open_blob, workers)
        # After all images: a record promises that they are there.
        workers.map(lambda record: _write_locations(record, to, is_fresh=is_fresh), collected.records)
        log("Tagging images")
        with doing("Tagging images"):
            tagged = [root for root in plan.roots if root.item.tag]
            # The tag of a signature follows from the digest of its image; the user did not name it.
            unnamed = {signature_tag(root.node.manifest.digest) for root in plan.roots}
            workers.map(
                lambda root: _tag(root, to, is_fresh=is_fresh, is_named=root.item.tag not in unnamed),
                tagged,
            )
    report_left_out(plan, options, log, repository)
    return result_of(collected, plan, repository)


def _transfer(
    plan: TransferPlan,
    to: Destination,
    open_blob: OpenBlob,
    workers: WorkerPool,
) -> bool:
    """Write the blobs of `plan`, then its manifests, children first; return whether nothing was there before.

    A registry may refuse a manifest whose blobs or children it does not have (distribution-spec, "Pushing
    Manifests").
    """
    found = survey(plan, to, workers)
    workers.on_event(Planned(len(found.moves), sum(move.descriptor.size for move in found.moves)))
    # The missing ones first: if one of them can neither be found nor mounted, nothing was sent in vain.
    for moves in (found.missing, found.at_hand):
        workers.map(lambda move: _send(move, to, open_blob, workers.on_event, found.is_fresh), moves)
    tagged: dict[Digest, list[Root]] = {}
    for root in found.roots:
        tagged.setdefault(root.node.manifest.digest, []).append(root)
    for level in _levels(found.roots):
        workers.map(lambda node: _publish(node, tagged.get(node.manifest.digest, ()), to), level)
    return found.is_fresh


@dataclass(frozen=True, slots=True)
class Destination:
    """The repository to write to; `tag_of` returns the tag under which a root is uploaded.

    `mounts` is false if the source is a file: its blobs are read from the file and not from a registry.
    `is_unproven` is true if blobs may be mounted with a credential that nothing has been read with before.
    """

    client: RegistryClient
    repository: Repository
    tag_of: Callable[[Root], str]
    mounts: bool = True
    is_unproven: bool = False

    def reference(self, root: Root) -> Reference:
        """Return the reference under which `root` is uploaded."""
        return self.repository.tag(self.tag_of(root))

    def holds(self, reference: Reference, digest: Digest) -> bool:
        """Return whether `reference` names `digest` already."""
        return self.client.names(reference, digest)

    def has(self, reference: Reference) -> bool:
        """Return whether `reference` exists; an error of the registry counts as no."""
        try:
            return self.client.exists(reference) is not None
        except RegistryError:
            return False

    def may_mount(self, move: BlobMove) -> bool:
        """Return whether the registry may mount the blob from another of its repositories."""
        return (self.mounts or move.is_missing) and move.origin.registry == self.repository.registry

    def check_source(self, move: BlobMove, open_blob: OpenBlob) -> None:
        """Raise ArchiveError for a blob that is neither in the file to copy from nor at the destination.

        A blob that may be mounted is not checked.
        """
        if move.is_missing and not self.may_mount(move):
            if self.client.has_blob(self.repository, move.descriptor.digest):
                return
            with _explained(move, self), open_blob(move):
                pass

    def put(self, reference: Reference, manifest: Manifest, *, is_fresh: bool) -> bool:
        """Write `manifest` under `reference` unless it is there; return whether it was written.

        With `is_fresh`, the manifest is written without asking. A registry with immutable tags refuses even
        an equal manifest: what it has under the tag is then compared.
        """
        # A HEAD request is cheaper than a write, and leaves the time stamp of the tag unchanged.
        if not is_fresh and self.holds(reference, manifest.digest):
            return False
        try:
            self.client.push_manifest(reference, manifest)
        except RegistryError:
            # Only the content counts: an immutable tag that names the same manifest is no failure.
            if not (is_fresh and self.holds(reference, manifest.digest)):
                raise
            return False
        return True


def destination(
    opened: OpenedSource, session: Session, repository: Repository, options: CopyOptions
) -> Destination:
    """Return how to write the images of `opened` to `repository`."""
    tag_of = _repository_based if options.repo_based_tags else _by_digest
    to = Destination(session.client.primary, repository, tag_of, mounts=not opened.is_local)
    return replace(to, is_unproven=_is_unproven(opened, session, to))


def _is_unproven(opened: OpenedSource, session: Session, to: Destination) -> bool:
    origins = {move.origin for move in opened.plan.blobs.values() if to.may_mount(move)}
    # The writing session has read nothing yet.
    if opened.session is not session:
        return bool(origins)
    credential = to.client.decision(to.repository).credential
    return any(to.client.decision(origin).credential != credential for origin in origins)


def _by_digest(root: Root) -> str:
    return internal_tag(root.node.manifest.digest)


def _repository_based(root: Root) -> str:
    return repository_based_tag(root.item.origin or str(root.item.reference), root.node.manifest.digest)


def jobs(opened: OpenedSource, session: Session) -> int:
    """Return the number of workers: twice as many as connections to one host if a registry is the source.

    Most of the time, a worker waits for one of the two registries only.
    """
    return session.settings.concurrency * (1 if opened.is_local else 2)


@dataclass(frozen=True, slots=True)
class Survey:
    """What the destination lacks: the roots, one for each upload tag, and their blobs, the largest first.

    `is_fresh` is true if nothing was found at the destination. The blobs are then written without asking.
    """

    roots: tuple[Root, ...]
    moves: tuple[BlobMove, ...]
    is_fresh: bool

    @property
    def missing(self) -> tuple[BlobMove, ...]:
        """The blobs that the file to copy from does not contain."""
        return tuple(move for move in self.moves if move.is_missing)

    @property
    def at_hand(self) -> tuple[BlobMove, ...]:
        """The blobs that can be read from the source."""
        return tuple(move for move in self.moves if not move.is_missing)


def survey(plan: TransferPlan, to: Destination, workers: WorkerPool) -> Survey:
    """Return what of `plan` the destination lacks; nothing is written. Raises an error of the registry."""
    # An image may be a root twice, with two tags of the user: it is uploaded once.
    distinct = {to.tag_of(root): root for root in plan.roots}
    with doing("Checking what is there"):
        named = _tags(plan, to)
        suspects = [root for tag, root in distinct.items() if named is None or tag in named]
        held = _held(suspects, to, workers)
        roots = tuple(root for tag, root in distinct.items() if tag not in held)
        moves = _needed(plan, roots)
        is_fresh = not held and not _has_any(moves, to, workers)
    return Survey(roots, moves, is_fresh)


def _tags(plan: TransferPlan, to: Destination) -> AbstractSet[str] | None:
    """Return the tags of the destination, None if there are too many or the registry refuses to list them.

    A small copy does not ask and assumes that there are none, unless the credential is unproven. If the first
    requests with a credential were mounts, a token service that denies access to the source repositories
    would seem to refuse the credential itself.
    """
    if len(plan.blobs) + len(plan.roots) < _WORTH_LISTING and not to.is_unproven:
        return frozenset()
    try:
        tags = frozenset(islice(to.client.tags(to.repository), _MOST_TAGS))
    except NotFound:
        return frozenset()
    except RegistryError:
        return None
    return tags if len(tags) < _MOST_TAGS else None


def _held(suspects: Sequence[Root], to: Destination, workers: WorkerPool) -> AbstractSet[str]:
    """Return the upload tags of those `suspects` that the destination has."""
    answers = workers.map(lambda root: to.holds(to.reference(root), root.node.manifest.digest), suspects)
    return {to.tag_of(root) for root, is_held in zip(suspects, answers, strict=True) if is_held}


def _needed(plan: TransferPlan, roots: Sequence[Root]) -> tuple[BlobMove, ...]:
    """Return the blobs of `roots` in the plan, the largest first, so that no long transfer starts last."""
    digests = {blob.digest for node in nodes_of(roots) for blob in node.manifest.parts()}
    moves = [move for digest, move in plan.blobs.items() if digest in digests]
    return tuple(sorted(moves, key=lambda move: -move.descriptor.size))


def _has_any(moves: Sequence[BlobMove], to: Destination, workers: WorkerPool) -> bool:
    """Return whether an interrupted copy left blobs: it began with the same ones, one in each worker."""
    # Blobs that may be mounted or are small are not asked for anyway.
    # Only the first of each worker: an interrupted copy began with these.
    large = [
        move
        for move in moves[: workers.jobs]
        if move.descriptor.size >= WORTH_ASKING and not to.may_mount(move)
    ]
    return any(workers.map(lambda move: to.client.has_blob(to.repository, move.descriptor.digest), large))


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
    # A blob to be mounted is asked for only if the mount fails. A non-distributable layer may be at the
    # destination even if the source no longer has it.
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
    """Return a context that adds a hint to the ArchiveError of a blob that the file does not contain."""
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
    """Return the nodes of all trees by their height, each digest once.

    All manifests that an index lists are thus complete before the index is written. A root may be listed by
    another root: some registries do not find a manifest while it is being written again.
    """
    heights: dict[Digest, int] = {}
    levels: dict[int, list[Node]] = {}
    for node in nodes_of(roots):
        if node.manifest.digest not in heights:
            height = 1 + max((heights[child.manifest.digest] for child in node.children), default=-1)
            # Children have been visited before: the nodes come in post-order.
            heights[node.manifest.digest] = height
            levels.setdefault(height, []).append(node)
    return [levels[height] for height in sorted(levels)]


def _publish(node: Node, roots: Sequence[Root], to: Destination) -> None:
    """Write a manifest under the upload tags of its `roots`, or under its digest if it is not a root."""
    for root in roots:
        to.put(to.reference(root), node.manifest, is_fresh=True)
    if not roots:
        to.client.push_manifest(to.repository.digest(node.manifest.digest), node.manifest)


def _write_locations(record: Record, to: Destination, *, is_fresh: bool) -> None:
    """Push the locations of a bundle as an image, under its internal tag and under the tag for the bundle.

    A registry with immutable tags may refuse to replace a record; the old one then stays.
    """
    bundle = record.bundle
    tag = to.repository.tag(locations_tag(bundle))
    with (
        doing(f"Creating copy information for bundle {to.repository.digest(bundle)}"),
        doing(f"Pushing locations image to '{tag}'"),
    ):
        layer = pack_file(FILE_NAME, ImageLocations(record.images).to_bytes())
        # The bytes are always the same: an equal record has the digest that the destination has.
        built = build_image(layer, {})
        if not is_fresh and to.holds(tag, built.manifest.digest):
            return
        to.client.push_blob(to.repository, layer.descriptor, layer.open, check=not is_fresh)
        _push_record(bundle, built, to, is_fresh=is_fresh)


def _push_record(bundle: Digest, built: BuiltImage, to: Destination, *, is_fresh: bool) -> None:
    to.client.push_blob(
        to.repository, built.config_descriptor, lambda: io.BytesIO(built.config), check=not is_fresh
    )
    to.put(to.repository.tag(internal_tag(built.manifest.digest)), built.manifest, is_fresh=is_fresh)
    tag = to.repository.tag(locations_tag(bundle))
    try:
        to.put(tag, built.manifest, is_fresh=True)
    except RegistryError as error:
        # There is no code for it in the distribution-spec; registries put the word into the message.
        if "immutable" not in str(error) or not to.has(tag):
            raise


def _tag(root: Root, to: Destination, *, is_fresh: bool, is_named: bool) -> None:
    """Write the tag of `root`; check a tag that the user named afterwards."""
    reference, manifest = to.repository.tag(root.item.tag), root.node.manifest
    with doing(f"Tagging image {root.item.reference}", "Tagging image"):
        if to.put(reference, manifest, is_fresh=is_fresh) and is_named:
            confirm_tag(to.client, reference, manifest.digest)
