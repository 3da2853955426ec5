"""A tar file of images that is read once from its start to its end, as from a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.content.archive.manifest import LARGEST_MANIFEST, MANIFEST, decode
from imgpkg.content.tar.reader import PIECE, REGULAR, Pieces, read_entries
from imgpkg.errors import ArchiveError, UnpackError
from imgpkg.oci.descriptor import read_by

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.content.archive.manifest import ArchiveItem
    from imgpkg.content.tar.reader import TarEntry, TarStream

_SAVE = "Save the stream to a file, and copy that: it is then read in any order."
_ENDED = "The stream has ended early, is compressed (gunzip it first), or is no tar file."


class ArchiveStream:
    """The tar file that `stream` returns; `items` are its images, which have to come first.

    Nothing can be read twice. Raise ArchiveError for a stream that has other content first or ends too early,
    VerificationError for a damaged manifest.
    """

    def __init__(self, stream: TarStream) -> None:
        self._stream = stream
        self._pieces = Pieces(stream)
        self._entries = read_entries(self._pieces)
        self.items = self._decoded()

    def members(self) -> Iterator[tuple[str, int, MemberStream]]:
        """Yield name, size and content of each member in order; what is not read of it is skipped.

        The stream is read to its end, also behind the archive, so that its writer can end.
        """
        while (entry := self._next()) is not None:
            if entry.kind == REGULAR:
                yield _name(entry), entry.size, MemberStream(self._pieces, entry.size)
        while self._stream.read(PIECE):
            pass

    def _next(self) -> TarEntry | None:
        try:
            return next(self._entries, None)
        except UnpackError as error:
            raise _ended(error) from error

    def _decoded(self) -> tuple[ArchiveItem, ...]:
        entry = self._next()
        if entry is None:
            raise ArchiveError("the stream is empty")
        if _name(entry) != MANIFEST or entry.kind != REGULAR:
            raise ArchiveError(f"file {MANIFEST} is not the first one in the stream", hints=(_SAVE,))
        if entry.size > LARGEST_MANIFEST:
            raise ArchiveError(f"file {MANIFEST} in the stream is too large")
        content = MemberStream(self._pieces, entry.size)
        return decode(b"".join(iter(lambda: content.read(PIECE), b"")))


class MemberStream:
    """The content of the member that a stream is at; raises ArchiveError if the stream ends too early."""

    def __init__(self, pieces: Pieces, size: int) -> None:
        self._parts = pieces.content(size)
        self._rest = memoryview(b"")

    def read(self, size: int = PIECE, /) -> bytes:
        """Return at most `size` bytes; b"" at the end."""
        return read_by(self, size)

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many; 0 at the end."""
        if not self._rest:
            try:
                self._rest = next(self._parts, self._rest)
            except UnpackError as error:
                raise _ended(error) from error
        with memoryview(buffer) as view:
            count = min(len(view), len(self._rest))
            view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _ended(error: UnpackError) -> ArchiveError:
    return ArchiveError(f"reading a tar file from a stream: {error.message}", hints=(_ENDED,))


def _name(entry: TarEntry) -> str:
    # `tar -c .` writes names that begin with `./`.
    return entry.name.decode("utf-8", "surrogateescape").removeprefix("./")
