"""A tar file in numbered pieces, `x.tar.001`, `x.tar.002` and so on, whose bytes in this order are the file.

Beside them is `x.tar.sha256sums`, a line `DIGEST  NAME` for each piece, as `sha256sum -c` checks it.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import suppress
from itertools import accumulate
from typing import TYPE_CHECKING

from imgpkg.content.store import Extent, FileRange
from imgpkg.content.temporary import replacing_file
from imgpkg.dataclass import dataclass
from imgpkg.errors import ArchiveError, ImgpkgError, UsageError, local_io
from imgpkg.expression import expression
from imgpkg.oci.descriptor import BLOCK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

# As many files as a process may usually have open, less those of connections.
MOST_PIECES = 900
_LARGEST_OF_FAT = (1 << 32) - 1
LIST_SUFFIX = ".sha256sums"
_NUMBERED = expression(r"(?s)(.*)\.([0-9]{3,4})")
_LINE = expression(r"(?s)([0-9a-f]{64}) [ *](.*)")
_LARGEST_LIST = 1 << 20
_JOBS = 4


@dataclass(frozen=True, slots=True)
class PieceMap:
    """The mapping of the offsets of a file to its pieces: `bounds` are where they begin, and its size."""

    bounds: tuple[int, ...]

    @classmethod
    def of(cls, sizes: Iterable[int]) -> PieceMap:
        """Return the mapping for pieces of these sizes."""
        return cls(tuple(accumulate(sizes, initial=0)))

    @classmethod
    def cut(cls, size: int, piece: int) -> PieceMap:
        """Return the mapping of `size` bytes to pieces of `piece` bytes, 0 for one; raise UsageError.

        4 GiB mean the largest file of FAT, which has a byte less.
        """
        piece = min(piece, _LARGEST_OF_FAT) if piece == _LARGEST_OF_FAT + 1 else piece
        count = -(-size // piece) if piece else 1
        if count > MOST_PIECES:
            text = f"{size} bytes in pieces of {piece} are {count} pieces; at most {MOST_PIECES} are read"
            raise UsageError(text, hints=("Make larger pieces.",))
        return cls((*(number * piece for number in range(count)), size))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the pieces."""
        return tuple(end - start for start, end in zip(self.bounds, self.bounds[1:], strict=False))

    @property
    def size(self) -> int:
        """The size of the whole."""
        return self.bounds[-1]

    def parts(self, whole: Extent) -> Iterator[tuple[int, Extent]]:
        """Yield the number of each piece that has a part of `whole`, from 0, and the place in that piece."""
        at, end = whole.offset, min(whole.offset + whole.size, self.size)
        number = bisect_right(self.bounds, at) - 1
        while at < end:
            start, stop = self.bounds[number], self.bounds[number + 1]
            count = min(end, stop) - at
            if count:
                yield number, Extent(at - start, count)
            at, number = at + count, number + 1


class PieceFiles:
    """The open files at `paths`, which are read and written as one file; safe for many threads.

    All methods raise LocalIOError. Close it after use.
    """

    def __init__(self, paths: Sequence[str], descriptors: Sequence[int], places: PieceMap) -> None:
        self.paths = tuple(paths)
        self.descriptors = tuple(descriptors)
        self.places = places

    @classmethod
    def open(cls, paths: Sequence[str]) -> PieceFiles:
        """Open existing files; their sizes are those of the pieces."""
        descriptors: list[int] = []
        try:
            for path in paths:
                with local_io("open", path):
                    descriptors.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
            sizes = [os.fstat(descriptor).st_size for descriptor in descriptors]
        except BaseException:
            close_all(descriptors)
            raise
        return cls(paths, descriptors, PieceMap.of(sizes))

    @property
    def path(self) -> str:
        """The path of the first piece, which stands for the whole in errors."""
        return self.paths[0]

    def range(self, extent: Extent) -> FileRange | PieceRange:
        """Return a stream of a part of the whole; it ends early where the files do."""
        ranges = [
            FileRange(self.descriptors[number], self.paths[number], part)
            for number, part in self.places.parts(extent)
        ]
        return ranges[0] if len(ranges) == 1 else PieceRange(ranges)

    def extents(self, extent: Extent) -> tuple[tuple[str, Extent], ...]:
        """Return the files that have a part of the whole, in order, and the places in them."""
        return tuple((self.paths[number], part) for number, part in self.places.parts(extent))

    def read(self, at: int, count: int) -> bytes:
        """Return at most `count` bytes from the offset `at` on; fewer at the end."""
        stream = self.range(Extent(at, count))
        return b"".join(iter(lambda: stream.read(count), b""))

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Write `data` from the offset `at` on."""
        rest = memoryview(data)
        for number, part in self.places.parts(Extent(at, len(rest))):
            with local_io("write", self.paths[number]):
                done = 0
                while done < part.size:
                    done += os.pwrite(self.descriptors[number], rest[done : part.size], part.offset + done)
            rest = rest[part.size :]

    def empty(self) -> None:
        """Remove all bytes; the first piece is the last one to lose them."""
        for path, descriptor in zip(reversed(self.paths), reversed(self.descriptors), strict=True):
            with local_io("write", path):
                os.ftruncate(descriptor, 0)

    def extend(self) -> None:
        """Give each piece its size; what was not written reads as zeros."""
        for path, descriptor, size in zip(self.paths, self.descriptors, self.places.sizes, strict=True):
            with local_io("write", path):
                os.ftruncate(descriptor, size)

    def close(self) -> None:
        """Close all files, which unlocks them; do nothing if they are closed."""
        descriptors, self.descriptors = self.descriptors, ()
        close_all(descriptors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class PieceRange:
    """A part of a file that lies in several pieces, read in order from parts of these."""

    def __init__(self, ranges: Sequence[FileRange]) -> None:
        self._ranges = list(reversed(ranges))

    def read(self, size: int = BLOCK, /) -> bytes:
        """Return at most `size` bytes; b"" at the end."""
        while self._ranges:
            if data := self._ranges[-1].read(size):
                return data
            self._ranges.pop()
        return b""

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Write at least one byte to `buffer` and return how many; 0 at the end."""
        while self._ranges:
            if count := self._ranges[-1].readinto(buffer):
                return count
            self._ranges.pop()
        return 0

    def skip(self, count: int) -> int:
        """Skip at most `count` bytes; return how many were skipped."""
        passed = 0
        while self._ranges and passed < count:
            step = self._ranges[-1].skip(count - passed)
            passed += step
            if not step:
                self._ranges.pop()
        return passed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


def piece_name(path: str, number: int) -> str:
    """Return the path of the piece `number`, from 0, of the file `path`."""
    return f"{path}.{number + 1:03}"


def pieces_of(path: str, suffix: str = "") -> dict[int, str]:
    """Return the paths of all pieces of the file `path` that exist, by number from 0, in order."""
    folder, base = os.path.split(path)
    found: dict[int, str] = {}
    names: list[str] = []
    with suppress(OSError):
        names = os.listdir(folder or ".")
    for name in names:
        match = _NUMBERED.fullmatch(name.removesuffix(suffix)) if name.endswith(suffix) else None
        if match is not None and match[1] == base and int(match[2]):
            found[int(match[2]) - 1] = os.path.join(folder, name)
    return dict(sorted(found.items()))


def split_path(named: str) -> str | None:
    """Return the path of the whole if `named` is a file in pieces, or one of its pieces; None for others."""
    if not os.path.exists(named):
        return named if 0 in pieces_of(named) or _has_list(named) else None
    match = _NUMBERED.fullmatch(named)
    if match is None:
        return None
    # A file `x.tar.001` may be whole: only a list, or a second piece, says that it is a piece.
    return match[1] if _has_list(match[1]) or len(pieces_of(match[1])) > 1 else None


def _has_list(path: str) -> bool:
    return os.path.isfile(f"{path}{LIST_SUFFIX}")


def open_pieces(path: str) -> PieceFiles:
    """Open all pieces of the file `path`; raise ArchiveError that names one that is missing or too short."""
    found = pieces_of(path)
    listed = read_list(path)
    count = max(*(len(listed),), *(number + 1 for number in found), 1)
    missing = [piece_name(path, number) for number in range(count) if number not in found]
    if missing:
        raise ArchiveError(
            f"{len(missing)} of {count} pieces of {path} not found: {', '.join(missing[:5])}",
            hints=("All pieces have to be in one folder.",),
        )
    files = PieceFiles.open(tuple(found.values()))
    largest = max(files.places.sizes)
    for name, size in zip(files.paths[:-1], files.places.sizes, strict=False):
        if size != largest:
            files.close()
            raise ArchiveError(f"{name} has {size} bytes, and other pieces have {largest}: it is damaged")
    if listed and len(found) > len(listed):
        files.close()
        raise ArchiveError(f"{found[len(listed)]} is not in {path}{LIST_SUFFIX}: it is of another file")
    return files


def read_list(path: str) -> Mapping[str, str]:
    """Return the digests of the pieces of `path` by the names of their files; empty without a list."""
    place = f"{path}{LIST_SUFFIX}"
    if not os.path.isfile(place):
        return {}
    with local_io("open", place), open(place, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read(_LARGEST_LIST).splitlines()
    matches = [_LINE.fullmatch(line) for line in lines if line]
    if not matches or None in matches:
        raise ArchiveError(f"{place} is damaged: not a list as sha256sum writes it")
    return {match[2]: match[1] for match in matches if match is not None}


def check_pieces(path: str, files: PieceFiles) -> None:
    """Read all pieces; raise ArchiveError that names each that differs from the list, if there is a list."""
    listed = read_list(path)
    if not listed:
        return
    wrong = []
    homes = {digest: name for name, digest in listed.items()}
    for place, digest in zip(files.paths, digests_of(files), strict=True):
        name = os.path.basename(place)
        if listed.get(name) != digest:
            other = homes.get(digest)
            wrong.append(f"{place} is damaged" if other is None else f"{place} has the bytes of {other}")
    if wrong:
        raise ArchiveError(
            f"{'; '.join(wrong)} (by {os.path.basename(path)}{LIST_SUFFIX})",
            hints=("Bring these pieces again; `sha256sum -c` checks them, too.",),
        )


def explained(path: str, files: PieceFiles, error: ImgpkgError) -> ImgpkgError:
    """Return the error that names the damaged pieces in place of `error`, if the list finds any."""
    try:
        check_pieces(path, files)
    except ArchiveError as found:
        found.__cause__ = error
        return found
    return error


def digests_of(files: PieceFiles) -> list[str]:
    """Return the SHA-256 of each piece in hexadecimal, which several threads compute."""
    from concurrent.futures import ThreadPoolExecutor
    from hashlib import sha256

    def digest(number: int) -> str:
        stream = FileRange(
            files.descriptors[number], files.paths[number], Extent(0, files.places.sizes[number])
        )
        state, block = sha256(), bytearray(BLOCK)
        while count := stream.readinto(block):
            state.update(memoryview(block)[:count])
        return state.hexdigest()

    with ThreadPoolExecutor(_JOBS) as workers:
        return list(workers.map(digest, range(len(files.paths))))


def publish_pieces(path: str, files: PieceFiles) -> None:
    """Give the complete `files` the names of the pieces of `path`, then write their list; raise LocalIOError.

    Without the list, which is written last, the pieces of a copy that was killed meanwhile can be told.
    """
    digests = digests_of(files)
    place = f"{path}{LIST_SUFFIX}"
    names = [piece_name(path, number) for number in range(len(files.paths))]
    with local_io("rename", place):
        with suppress(FileNotFoundError):
            os.unlink(place)
        for old in pieces_of(path).values():
            # Of a file that was larger, or had smaller pieces.
            if old not in names:
                os.unlink(old)
        for partial, name in zip(files.paths, names, strict=True):
            os.rename(partial, name)
        with replacing_file(place) as file:
            for name, digest in zip(names, digests, strict=True):
                file.write(f"{digest}  ".encode() + os.fsencode(os.path.basename(name)) + b"\n")


def take_back_pieces(path: str, suffix: str) -> None:
    """Undo the renames of a copy that was killed in the middle of them, as far as they were done."""
    if _has_list(path) or not pieces_of(path, suffix):
        return
    for name in pieces_of(path).values():
        if not os.path.exists(f"{name}{suffix}"):
            with local_io("rename", name):
                os.rename(name, f"{name}{suffix}")


def close_all(descriptors: Iterable[int]) -> None:
    """Close all of `descriptors`."""
    for descriptor in descriptors:
        os.close(descriptor)
