"""Write a tar file of images: all headers first, then blobs by many threads, and rename it at the end."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING

from imgpkg.content.archive.manifest import MANIFEST
from imgpkg.content.archive.partial_file import PartialFile, plan_archive
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


class ArchiveWriter:
    """Write the tar file `path`: enter the context, write every blob, leave it. Safe for many threads.

    Until it is complete, the file is at `path` + `.partial`; links are resolved when it is entered. With
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
    ) -> None:
        self._path = path
        self._shown = shown or path
        self._resume = resume
        self._manifests = {node.manifest.digest for item in items for node in item.walk()}
        # All sizes are known from the manifests, so every byte has its place before the first download.
        self._plan = plan_archive(items, blobs)
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
        with self._locks[blob.digest]:
            if blob.digest not in self._file.held:
                with open() as stream:
                    self._file.fill(blob.digest, stream)

    def publish(self, manifest: Manifest, tags: Iterable[str]) -> None:  # noqa: ARG002 - the items have their own
        """Raise ArchiveError unless the manifest is one of the items, which are written at the start."""
        if manifest.digest not in self._manifests:
            raise ArchiveError(f"manifest {manifest.digest} is not among the images of {self._path}")

    def __enter__(self) -> Self:
        self._path = tar_output(self._path, self._shown)
        partial = f"{self._path}.partial"
        remove_left_files(*os.path.split(partial))
        with _earlier(self._path, self._shown) if self._resume else nullcontext() as earlier:
            file = PartialFile.at(partial, self._plan, self._shown)
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
                with suppress(OSError):
                    os.unlink(file.path)
            elif isinstance(error, ImgpkgError):
                error.hints = (*error.hints, f"With --resume the copy goes on from {file.path}.")
        finally:
            file.close()

    def _finish(self, file: PartialFile) -> None:
        for digest in self._plan.places:
            if digest not in file.held:
                raise not_found(member_name(digest))
        with local_io("rename", self._shown):
            os.rename(file.path, self._path)

    def _prepared(self, old: PartialFile) -> PartialFile:
        """Return the partial file if it has the same plan, else a new one with its valid blobs."""
        # Another user's partial file is only read: it could change while the copy writes to it.
        if old.is_own and (old.is_empty or not self._resume):
            _begin(old)
            return old
        if old.is_own and old.is_laid_out:
            old.keep_own()
            return old
        # The old file keeps its name until the new one has its blobs, in case the process is killed.
        new = PartialFile.beside(old.path, self._plan)
        try:
            _begin(new)
            if self._resume:
                new.copy_from(old.descriptor, old.path, read_members(old.descriptor, old.path, lenient=True))
            with local_io("rename", old.path):
                os.rename(new.path, old.path)
        except BaseException:
            _discard(new)
            raise
        old.close()
        new.path = old.path
        return new


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
        _discard(file)
        raise


def _discard(file: PartialFile) -> None:
    with suppress(OSError):
        os.unlink(file.path)
    file.close()


@contextmanager
def _earlier(path: str, shown: str) -> Iterator[tuple[int, str, Mapping[str, Extent]] | None]:
    """Yield descriptor, path and members of the existing file, or None if it does not exist."""
    if not os.path.exists(path):
        yield None
        return
    with local_io("open", shown):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor, shown, _resumable(descriptor, shown)
    finally:
        os.close(descriptor)


def _resumable(descriptor: int, path: str) -> Mapping[str, Extent]:
    with doing(f"Reading previously created tar '{path}'"):
        members = read_members(descriptor, path, lenient=True)
        if MANIFEST not in members:
            # Raise the error of a damaged file first: manifest.json may be missing because of the damage.
            read_members(descriptor, path)
            raise not_found(MANIFEST)
    return members
