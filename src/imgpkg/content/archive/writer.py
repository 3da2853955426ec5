"""Write a tar file of images: all headers first, then blobs by many threads, and rename it at the end."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from imgpkg.cancellation import holding
from imgpkg.content.archive.manifest import MANIFEST
from imgpkg.content.archive.partial_file import PartialFile, plan_archive
from imgpkg.content.archive.pieces import (
    PieceFiles,
    PieceMap,
    piece_name,
    pieces_of,
    publish_pieces,
    take_back_pieces,
)
from imgpkg.content.archive.reader import member_name, not_found, read_members
from imgpkg.content.output import output_file
from imgpkg.content.temporary import remove_left_files
from imgpkg.errors import ArchiveError, ImgpkgError, LocalIOError, doing, local_io

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

    from imgpkg.content.archive.manifest import ArchiveItem
    from imgpkg.content.store import Extent, Opener
    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.oci.manifest import Manifest


_PARTIAL = ".partial"


class ArchiveWriter:
    """Write the tar file `path`: enter the context, write every blob, leave it. Safe for many threads.

    Until it is complete, the file is at `path` + `.partial`; links are resolved when it is entered. With
    `split`, a size in bytes, it is written in pieces (see `pieces`), each of which has this suffix. With
    `resume`, the blobs of an earlier file, complete or partial, that verify are in `held` from the start. If
    the block fails, `path` is unchanged, and the partial file stays if it has a blob; it also stays if the
    process is killed. Errors name the file `shown`.

    Entering raises LocalIOError, and ArchiveError for a file at `path` that cannot be resumed; leaving raises
    ArchiveError if a blob was not written.
    """

    def __init__(
        self,
        path: str,
        items: Sequence[ArchiveItem],
        blobs: Iterable[Descriptor],
        *,
        shown: str = "",
        resume: bool = False,
        split: int = 0,
    ) -> None:
        self._path = path
        self._split = split
        self._shown = shown or path
        self._resume = resume
        self._manifests = {node.manifest.digest for item in items for node in item.walk()}
        # All sizes are known from the manifests, so every byte has its place before the first download.
        self._plan = plan_archive(items, blobs)
        self._places = PieceMap.cut(self._plan.size, split)
        self._locks = {digest: threading.Lock() for digest in self._plan.places}
        self._file: PartialFile | None = None

    @property
    def held(self) -> frozenset[Digest]:
        """The digests of the blobs in the file."""
        return frozenset(self._file.held) if self._file is not None else frozenset()

    def has(self, blob: Descriptor) -> bool:
        """Return whether the blob need not be written: the file has it, or is planned without it."""
        if blob.digest not in self._plan.places:
            return True
        return self._file is not None and blob.digest in self._file.held

    def write(self, blob: Descriptor, open: Opener) -> None:  # noqa: A002 - it is what it does
        """Write the blob; raise VerificationError if the bytes do not have its digest, LocalIOError."""
        if self._file is None:
            raise ArchiveError(f"{self._path} is not being written")
        if blob.digest not in self._plan.places:
            return
        # Two images can have the same layer: the second thread waits and then finds it written.
        with holding(self._locks[blob.digest]):
            if blob.digest not in self._file.held:
                with open() as stream:
                    self._file.fill(blob.digest, stream)

    def publish(self, manifest: Manifest, tags: Iterable[str]) -> None:  # noqa: ARG002 - the items have their own
        """Raise ArchiveError unless the manifest is one of the items, which are written at the start."""
        if manifest.digest not in self._manifests:
            raise ArchiveError(f"manifest {manifest.digest} is not among the images of {self._path}")

    def __enter__(self) -> Self:
        self._path = tar_output(self._path, self._shown)
        if self._split:
            self._check_pieces()
        for partial in self._partials:
            remove_left_files(*os.path.split(partial))
        with _earlier(self._path, self._shown, self._split) if self._resume else nullcontext() as earlier:
            file = PartialFile.at(self._partials, self._places, self._plan, self._shown)
            try:
                file = self._prepared(file)
                if earlier is not None:
                    file.copy_from(*earlier)
            except BaseException:
                file.close()
                raise
            self._file = file
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if kind is None:
                self._finish(file)
            # Without a blob there is nothing to resume.
            elif not file.held:
                file.remove()
            elif isinstance(error, ImgpkgError):
                error.hints = (*error.hints, f"With --resume the copy goes on from {file.path}.")
        finally:
            file.close()

    def _finish(self, file: PartialFile) -> None:
        for digest in self._plan.places:
            if digest not in file.held:
                raise not_found(member_name(digest))
        if self._split:
            publish_pieces(self._path, file.files)
            return
        with local_io("rename", self._shown):
            os.rename(file.path, self._path)

    @property
    def _partials(self) -> tuple[str, ...]:
        if not self._split:
            return (f"{self._path}{_PARTIAL}",)
        count = len(self._places.sizes)
        return tuple(f"{piece_name(self._path, number)}{_PARTIAL}" for number in range(count))

    def _check_pieces(self) -> None:
        if os.path.exists(self._path):
            raise LocalIOError(
                f"open {self._shown}: it exists, and would be read in place of its pieces",
                hints=("Move it away, or give the pieces another name.",),
            )
        if self._resume:
            take_back_pieces(self._path, _PARTIAL)

    def _prepared(self, old: PartialFile) -> PartialFile:
        """Return the partial file if it has the same plan, else a new one with its valid blobs."""
        more = self._more_partials()
        # Another user's partial file is only read: it could change while the copy writes to it.
        if old.is_own and (old.is_empty or not self._resume):
            _begin(old)
            _unlink(more)
            return old
        if old.is_own and old.is_laid_out and not more:
            old.keep_own()
            return old
        # The old file keeps its name until the new one has its blobs, in case the process is killed.
        new = PartialFile.beside(old.files.paths, self._places, self._plan)
        try:
            _begin(new)
            if self._resume:
                with PieceFiles.open((*old.files.paths, *more)) as found:
                    new.copy_from(found, read_members(found, lenient=True))
            for temporary, path in zip(new.files.paths, old.files.paths, strict=True):
                with local_io("rename", path):
                    os.rename(temporary, path)
        except BaseException:
            new.remove()
            raise
        _unlink(more)
        old.close()
        new.files.paths = old.files.paths
        return new

    def _more_partials(self) -> list[str]:
        """Return the partial pieces of an earlier copy that was larger, or had smaller pieces."""
        if not self._split:
            return []
        count = len(self._places.sizes)
        return [path for number, path in pieces_of(self._path, _PARTIAL).items() if number >= count]


def tar_output(path: str, shown: str = "") -> str:
    """Return the absolute path of the tar file to write, with links resolved; raise LocalIOError.

    Devices, pipes and folders are errors, because the rename would replace them.
    """
    shown = shown or path
    with doing(f"Creating file '{shown}'"):
        target = output_file(path)
        if os.path.exists(target) and not os.path.isfile(target):
            raise LocalIOError(f"open {shown}: not a regular file, which a tar file has to be")
    return target


def _begin(file: PartialFile) -> None:
    try:
        file.lay_out()
    except BaseException:
        file.remove()
        raise


def _unlink(paths: Iterable[str]) -> None:
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


@contextmanager
def _earlier(path: str, shown: str, split: int) -> Iterator[tuple[PieceFiles, Mapping[str, Extent]] | None]:
    """Yield the existing file, or all pieces of it, and its members; None if it does not exist."""
    paths = list(pieces_of(path).values()) if split else [path]
    if not paths or not os.path.exists(paths[0]):
        yield None
        return
    with PieceFiles.open(paths) as files:
        yield files, _resumable(files, shown, split)


def _resumable(files: PieceFiles, path: str, split: int) -> Mapping[str, Extent]:
    with doing(f"Reading previously created tar '{path}'"):
        members = read_members(files, lenient=True)
        # Of pieces some may be lost, which is why the copy is made again.
        if MANIFEST not in members and not split:
            # Raise the error of a damaged file first: manifest.json may be missing because of the damage.
            read_members(files)
            raise not_found(MANIFEST)
    return members
