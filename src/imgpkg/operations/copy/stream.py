"""Copy into a stream and from one: a tar file in a pipe, in the order of its bytes."""

from __future__ import annotations

from contextlib import ExitStack, nullcontext
from io import BytesIO
from typing import TYPE_CHECKING, Protocol

import imgpkg
from imgpkg.content.archive.reader import member_name, not_found
from imgpkg.content.archive.stream import ArchiveStream
from imgpkg.content.pack import temporary_file
from imgpkg.content.store import Extent, FileRange, OpenedBlob
from imgpkg.dataclass import replace
from imgpkg.errors import ArchiveError, UsageError, VerificationError, local_io
from imgpkg.events import Hook, Planned, silent
from imgpkg.oci.descriptor import BLOCK, VerifiedReader
from imgpkg.operations.copy.contents import contents_of
from imgpkg.operations.copy.copy import check_destination
from imgpkg.operations.copy.delta import bases_of
from imgpkg.operations.copy.file import write_stream
from imgpkg.operations.copy.lockfile import LockOutput
from imgpkg.operations.copy.plan import OpenedSource, plan_of
from imgpkg.operations.copy.repository import publish
from imgpkg.operations.copy.source import open_source
from imgpkg.operations.copy.store import archived_root
from imgpkg.operations.copy.values import (
    DEFAULT_OPTIONS,
    CopyOptions,
    CopyResult,
    CopySource,
    Log,
    parse_destination,
    report_left_out,
    result_of,
)
from imgpkg.operations.workers import open_workers
from imgpkg.session import Session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from io import FileIO

    from imgpkg.content.archive.stream import MemberStream
    from imgpkg.oci.descriptor import ByteReader, ByteStream, Descriptor, Digest
    from imgpkg.oci.manifest import Manifest
    from imgpkg.oci.reference import Repository
    from imgpkg.operations.copy.plan import BlobMove, TransferPlan

_ONCE = "Save the stream to a file, and copy that: a file can be read again."
_SHOWN = "the stream"


class WritableStream(Protocol):
    """Where bytes are written to: a file object in binary mode, a pipe, a socket."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""
        ...


class ReadableStream(Protocol):
    """Where bytes are read from: a file object in binary mode, or the body of a response."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end."""
        ...


@operation
def copy_to_stream(
    source: CopySource,
    stream: WritableStream,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyResult:
    """Copy `source`, which must be in a registry, and write the bytes of the tar file to `stream`.

    They are those of `copy_to_tar`. One blob after the other is received, verified and written; nothing is
    kept. After an error the stream has no end, which every reader notices. Raises what `copy_to_tar` raises,
    and the errors of the stream.
    """
    check_destination(source, to_repo="", to_tar="-", to_layout="", options=options)
    if options.split:
        raise UsageError("Flag --split can only be used when copying to a file")
    log = Log(on_event)
    with open_source(session, source, options, log, with_configs=True) as opened:
        write_stream(opened, stream.write, session=session, log=log)
    report_left_out(opened.plan, options, log, None)
    return replace(result_of(opened.collected, opened.plan, None), verified=opened.verified)


@operation
def copy_from_stream(
    stream: ReadableStream,
    to_repo: str,
    *,
    session: Session,
    options: CopyOptions = DEFAULT_OPTIONS,
    lock_output: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> CopyResult:
    """Copy the tar file that `stream` returns to the repository `to_repo`, as its bytes come.

    Its manifest.json has to come first, as in the files of imgpkg. A blob is uploaded while it is read, and
    finished when it has verified; manifests, locations and tags are written when all blobs are there. The
    other parameters are as in `copy_to_repository`. Raises UsageError for a policy, whose signatures come too
    late, for a placement, a selection and platforms, ArchiveError for a stream that ends too early or has
    another order, and what `copy_to_repository` raises.
    """
    if options.policy is not None:
        raise UsageError("Signatures can be verified before a copy of a file only", hints=(_ONCE,))
    # A blob passes once, and would be needed in each of the repositories.
    if options.placement is not None:
        raise UsageError("Images can be put into several repositories from a file only", hints=(_ONCE,))
    if options.selection is not None or options.platforms:
        raise UsageError("Images and platforms can be chosen from a file only", hints=(_ONCE,))
    repository = parse_destination(to_repo, options)
    lock = LockOutput.checked(CopySource(tar=_SHOWN), lock_output) if lock_output else None
    log = Log(on_event)
    with ExitStack() as stack:
        receiver = _Receiver(ArchiveStream(stream), repository, session, options, stack)
        opened = receiver.receive(log)
        result = publish(opened, session, repository, options, log)
    if lock is not None:
        lock.write(opened.collected, result)
    return result


class _Receiver:
    """Sends the blobs of a stream to the repository in their order, and keeps the layers of bundles."""

    def __init__(
        self,
        archive: ArchiveStream,
        repository: Repository,
        session: Session,
        options: CopyOptions,
        stack: ExitStack,
    ) -> None:
        self._archive = archive
        self._repository = repository
        self._session = session
        self._stack = stack
        self._roots = tuple(archived_root(item) for item in archive.items)
        if bases_of(self._roots):
            text = "the tar file was made without blobs that the destination should have (--since)"
            raise ArchiveError(f"{text}, which have to be looked for before it is read", hints=(_ONCE,))
        include = options.include_non_distributable_layers
        self._plan = plan_of(self._roots, include_non_distributable=include)
        self._bundles = {
            layer.digest
            for root in self._roots
            if root.node.image.is_bundle
            for layer in root.node.manifest.layers
        }
        self.kept = KeptBlobs(self._plan)

    def receive(self, log: Log) -> OpenedSource:
        """Read the stream to its end; return what is left to do, which needs nothing of it any more."""
        wanted = {member_name(digest): move for digest, move in self._plan.blobs.items() if move.data is None}
        size = sum(move.descriptor.size for move in wanted.values())
        # What the stream does not have, and configurations, are in the plan of what is published after it.
        log.on_event(Planned(len(wanted), size, is_last=False))
        with open_workers(self._session, 1, log.on_event) as workers:
            for name, size, content in self._archive.members():
                move = wanted.pop(name, None)
                if move is not None:
                    self._take(move, name, size, content, workers.on_event)
        left = {move.descriptor.digest: replace(move, is_missing=True) for move in wanted.values()}
        for move in left.values():
            if move.descriptor.is_distributable:
                error = not_found(member_name(move.descriptor.digest))
                error.hints = ("The stream may have ended early: copy it again.",)
                raise error
        in_memory = {digest: move for digest, move in self._plan.blobs.items() if move.data is not None}
        plan = replace(self._plan, blobs={**in_memory, **left})
        collected, _ = contents_of(self.kept, self._roots, DEFAULT_OPTIONS, "-")
        return OpenedSource(collected, plan, self._open)

    def _take(self, move: BlobMove, name: str, size: int, content: MemberStream, on_event: Hook) -> None:
        blob = move.descriptor
        if size != blob.size:
            raise VerificationError(f"file {name} in tar: error verifying size; got {size}, want {blob.size}")
        verified = VerifiedReader(content, blob.digest, blob.size)
        opened = _once(verified, name)
        if blob.digest in self._bundles:
            opened = self.kept.keep(self._stack, blob, verified)
        self._session.client.primary.push_blob(self._repository, blob, opened, on_event=on_event)

    def _open(self, move: BlobMove) -> AbstractContextManager[ByteReader]:
        if move.data is not None:
            return nullcontext(BytesIO(move.data))
        raise not_found(member_name(move.descriptor.digest))


def _once(stream: VerifiedReader, name: str) -> Callable[[], OpenedBlob]:
    """Return an opener that works once, since the bytes of a pipe do not come again."""
    left = [stream]

    def opened() -> OpenedBlob:
        if not left:
            raise ArchiveError(
                f"file {name} has been read from the stream, and is needed again", hints=(_ONCE,)
            )
        return OpenedBlob(nullcontext(left.pop()))

    return opened


class KeptBlobs:
    """The layers of bundles and all manifests of a stream, as a `Source`: the layers in temporary files."""

    def __init__(self, plan: TransferPlan) -> None:
        self._plan = plan
        self._files: dict[Digest, FileIO] = {}

    def keep(self, stack: ExitStack, blob: Descriptor, stream: ByteStream) -> Callable[[], OpenedBlob]:
        """Read all of a blob into a file that is removed with `stack`; return how to open it.

        Raises LocalIOError, as for a full disk.
        """
        file, shown = stack.enter_context(temporary_file())
        block = memoryview(bytearray(BLOCK))
        while count := stream.readinto(block):
            left = block[:count]
            while left:
                with local_io("write", shown):
                    left = left[file.write(left) :]
        self._files[blob.digest] = file
        return lambda: OpenedBlob(self.blob(blob))

    def manifest(self, digest: Digest) -> Manifest:
        """Return the manifest of a root; raise ArchiveError for another one."""
        for root in self._plan.roots:
            if root.node.manifest.digest == digest:
                return root.node.manifest
        raise ArchiveError(f"manifest {digest} not found in {_SHOWN}")

    def blob(self, blob: Descriptor) -> AbstractContextManager[ByteReader]:
        """Open the layer of a bundle; raise ArchiveError for another one."""
        file = self._files.get(blob.digest)
        if file is None:
            raise not_found(member_name(blob.digest))
        return FileRange(file.fileno(), member_name(blob.digest), Extent(0, blob.size))
