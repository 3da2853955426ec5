"""One layer by the names of its files: fetched and verified as a whole, then read where it is asked for.

See the OCI image-spec, layer.md, "Whiteouts". Nothing of a layer is parsed before all of it is verified.
"""

from __future__ import annotations

from io import BytesIO
from tempfile import TemporaryFile, gettempdir
from typing import TYPE_CHECKING, NamedTuple

from imgpkg.content.inflate import decompressed
from imgpkg.content.store import Extent, FileRange
from imgpkg.content.tar.reader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    LINKS,
    REGULAR,
    SPARSE,
    SYMBOLIC_LINK,
    Pieces,
    TarEntry,
    read_entries,
)
from imgpkg.errors import UnpackError, local_io
from imgpkg.oci.descriptor import BLOCK, Readable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from typing import IO

    from imgpkg.oci.descriptor import ByteStream, Descriptor

_READABLE = frozenset({REGULAR, SPARSE, DIRECTORY, CHARACTER, BLOCK_DEVICE, FIFO}) | LINKS
_WHITEOUT = b".wh."
_WHITEOUT_META = b".wh..wh."
_OPAQUE = b".wh..wh..opq"
# Linux's PATH_MAX: no file can have a longer name.
_LONGEST_NAME = 4096
# As Linux follows them for one path (path_resolution(7)).
MOST_LINKS = 40
# Directories around a file; each is looked up in each layer.
_DEEPEST = 512
# Bytes. Of memory for the names of an image, about a million files; and what a name takes besides itself.
_MOST_NAMES, _OF_A_NAME = 512 << 20, 400
# Bytes. Of a file that several names have, which is kept for the next of them.
_LARGEST_KEPT = 8 << 20


class LayerMember(NamedTuple):
    """An entry of a layer at `path`; its content is at `offset` of the uncompressed tar file."""

    entry: TarEntry
    offset: int
    path: bytes

    @property
    def is_folder(self) -> bool:
        """True for a directory."""
        return self.entry.kind == DIRECTORY

    @property
    def is_file(self) -> bool:
        """True for a file with content of its own."""
        return self.entry.kind in (REGULAR, SPARSE)


class Allowance:
    """The memory that the names of an image may take."""

    def __init__(self, size: int = _MOST_NAMES) -> None:
        self._left = size

    def take(self, *names: bytes) -> None:
        """Count names; raise UnpackError when they are too many."""
        self._left -= sum(map(len, names)) + _OF_A_NAME
        if self._left < 0:
            raise UnpackError("the image has more files than can be listed")


class LayerIndex:
    """What a layer has, and what it hides of the layers below it; paths are names without `/` around them.

    `members` has the last entry of each name, `folders` what is named only as a part of other paths. `hidden`
    has the paths of whiteouts, `opaque` the directories of which nothing below is seen.
    """

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self.members: dict[bytes, LayerMember] = {}
        self._links: set[bytes] = set()
        self.folders: set[bytes] = set()
        self.hidden: set[bytes] = set()
        self.opaque: set[bytes] = set()

    def add(self, entry: TarEntry, offset: int) -> None:
        """Add an entry; raise UnpackError for a name that leads out of the image, or is too long."""
        _check(entry)
        path = self.real(clean_path(entry.name))
        folder, _, name = path.rpartition(b"/")
        self._allowance.take(entry.name, entry.link, path)
        if name.startswith(_WHITEOUT):
            self._hide(folder, name)
        # The top of the image has no name.
        elif path:
            # Of several entries of one name the last one counts, and it is where that one is.
            self.members.pop(path, None)
            self.members[path] = LayerMember(entry, offset, path)
            (self._links.add if entry.kind == SYMBOLIC_LINK else self._links.discard)(path)
            self._add_folders(path)

    def real(self, path: bytes) -> bytes:
        """Return where an entry named `path` is: the links that the layer has so far are followed around it.

        All programs unpack a layer so. Links of other layers are not followed: with overlayfs there is a
        directory in their place.
        """
        if self._links.isdisjoint(ancestors(path)):
            return path
        *around, name = path.split(b"/")
        waiting, found, links = around[::-1], list[bytes](), 0
        while waiting:
            part = waiting.pop()
            if part == b"..":
                del found[-1:]
            elif part not in (b"", b"."):
                found.append(part)
                if (link := b"/".join(found)) in self._links:
                    links += 1
                    target = self.members[link].entry.link
                    del found[0 if target.startswith(b"/") else -1 :]
                    waiting += target.split(b"/")[::-1]
            if links > MOST_LINKS or len(found) >= _DEEPEST:
                raise UnpackError(f"an entry '{_shown(path)}' leads through too many links or directories")
        return b"/".join((*found, name))

    def finish(self) -> None:
        """Take out what a layer has below a file or link of its own, which came later: it is no directory."""
        files = {path for path in self.folders & self.members.keys() if not self.members[path].is_folder}
        if files:
            gone = below(self.folders, files)
            self.folders -= gone
            self.members = {path: member for path, member in self.members.items() if parent(path) not in gone}

    def hides(self, path: bytes) -> bool:
        """Return whether nothing of the layers below is seen at `path`, at which this layer has nothing."""
        above = list(ancestors(path))
        return (
            path in self.hidden
            or not self.opaque.isdisjoint((b"", *above))
            or not self.hidden.isdisjoint(above)
        )

    def _hide(self, folder: bytes, name: bytes) -> None:
        hidden = name[len(_WHITEOUT) :]
        if hidden in (b"", b".", b".."):
            raise UnpackError(f"'{_shown(name)}' in '{_shown(folder)}' is no whiteout of a file")
        if name == _OPAQUE:
            self.opaque.add(folder)
        # The others are notes of AUFS for itself.
        elif not name.startswith(_WHITEOUT_META):
            self.hidden.add(folder + b"/" + hidden if folder else hidden)

    def _add_folders(self, path: bytes) -> None:
        folder = parent(path)
        while folder and folder not in self.folders:
            self._allowance.take(folder)
            self.folders.add(folder)
            folder = parent(folder)


class LayerFiles:
    """A layer in a temporary file, which is verified, and its index; not for several threads."""

    def __init__(self, stream: ByteStream, blob: Descriptor, allowance: Allowance) -> None:
        """Read all of `stream`, which verifies its bytes; raise UnpackError, LocalIOError or its errors."""
        self._size = blob.size
        self._shown = f"the copy of layer {blob.digest}"
        self._file: IO[bytes] | None = _stored(stream)
        self._idle: Pieces | None = None
        self._kept = (-1, b"")
        self.index = LayerIndex(allowance)
        try:
            pieces = self._opened()
            for entry in read_entries(pieces):
                self.index.add(entry, pieces.position)
            self.index.finish()
        except BaseException:
            self.close()
            raise

    def open(self, member: LayerMember, *, is_shared: bool = False) -> Readable:
        """Open the content of a file, which has several names if it `is_shared`; raise UnpackError.

        Files are read fastest in the order in which the layer has them.
        """
        if member.entry.kind == SPARSE:
            raise UnpackError(f"'{_shown(member.entry.name)}' is a sparse file, which is not supported")
        if is_shared and member.entry.size <= _LARGEST_KEPT:
            return MemberContent(member, Pieces(BytesIO(self._content(member))))
        return MemberContent(member, self._at(member.offset), self)

    def close(self) -> None:
        """Remove the temporary file; the index stays."""
        file, self._file = self._file, None
        self._idle, self._kept = None, (-1, b"")
        if file is not None:
            file.close()

    def _content(self, member: LayerMember) -> bytes:
        # The names of one file are mostly beside each other, and the content is before all of them.
        if self._kept[0] != member.offset:
            with self.open(member) as content:
                self._kept = (member.offset, content.read())
        return self._kept[1]

    def _at(self, offset: int) -> Pieces:
        """Return the uncompressed layer from `offset` on."""
        pieces = self._idle
        if pieces is None or pieces.position > offset:
            pieces = self._opened()
        else:
            self._idle = None
        pieces.skip(offset - pieces.position)
        return pieces

    def take_back(self, pieces: Pieces) -> None:
        """Keep what was open for the next file: the one that is further, since most go on from there."""
        if self._file is not None and (self._idle is None or self._idle.position < pieces.position):
            self._idle = pieces

    def check_open(self) -> None:
        """Raise ValueError when the layer is closed."""
        if self._file is None:
            raise ValueError("I/O operation on closed files of an image")

    def _opened(self) -> Pieces:
        if self._file is None:
            raise ValueError("I/O operation on closed files of an image")
        whole = FileRange(self._file.fileno(), self._shown, Extent(0, self._size))
        return Pieces(decompressed(whole), BLOCK)


class MemberContent(Readable):
    """The content of a member, which is next in `pieces`; these go back to their `layer`."""

    def __init__(self, member: LayerMember, pieces: Pieces, layer: LayerFiles | None = None) -> None:
        self._layer = layer
        self._name = member.path
        self._pieces = pieces
        self._parts = pieces.content(member.entry.size)
        self._rest = memoryview(b"")

    @property
    def name(self) -> str:
        """The path in the image."""
        return self._name.decode("utf-8", "surrogateescape")

    def close(self) -> None:
        """Close the content; nothing can be read any more."""
        layer, self._layer = self._layer, None
        self._rest = memoryview(b"")
        super().close()
        if layer is not None:
            layer.take_back(self._pieces)

    def _fill(self, view: memoryview) -> int:
        if self._layer is not None:
            self._layer.check_open()
        if not self._rest:
            self._rest = next(self._parts, self._rest)
        count = min(len(view), len(self._rest))
        view[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def _check(entry: TarEntry) -> None:
    longest = max(len(entry.name), len(entry.link))
    if longest > _LONGEST_NAME:
        raise UnpackError(f"an entry has a name or target of {longest} bytes")
    if entry.kind not in _READABLE:
        raise UnpackError(
            f"Unsupported tar entry type '{_shown(entry.kind)}' for file '{_shown(entry.name)}'"
        )
    if entry.kind == HARD_LINK:
        clean_path(entry.link)


def clean_path(name: bytes) -> bytes:
    """Return the name of an entry without `.`, `..` and needless slashes.

    Raises UnpackError if it leads out of the image, or is too deep.
    """
    parts: list[bytes] = []
    for part in name.split(b"/"):
        if part == b"..":
            if not parts:
                raise UnpackError(f"Expected entry '{_shown(name)}' to stay within the image")
            parts.pop()
        elif part not in (b"", b"."):
            parts.append(part)
    if len(parts) > _DEEPEST:
        raise UnpackError(f"an entry is {len(parts)} directories deep")
    return b"/".join(parts)


def parent(path: bytes) -> bytes:
    """Return the path of the directory around `path`, which is empty for that of the image."""
    return path.rpartition(b"/")[0]


def below(folders: Iterable[bytes], *tops: Collection[bytes]) -> set[bytes]:
    """Return those of `folders`, with which all around them are, that are in one of `tops` or below one.

    Each is looked at once: paths of thousands of directories would take minutes otherwise.
    """
    found: set[bytes] = set()
    # What is around a directory comes before it.
    for folder in sorted(folders):
        if parent(folder) in found or any(folder in each for each in tops):
            found.add(folder)
    return found


def ancestors(path: bytes) -> Iterator[bytes]:
    """Yield the paths of the directories around `path`, outermost first, without that of the image."""
    at = path.find(b"/")
    while at >= 0:
        yield path[:at]
        at = path.find(b"/", at + 1)


def _stored(stream: ByteStream) -> IO[bytes]:
    """Return a temporary file with all bytes of `stream`, which no killed process can leave behind."""
    block = memoryview(bytearray(BLOCK))
    with local_io("create", "a temporary file for a layer"):
        folder = gettempdir()
    with local_io("create a temporary file in", folder):
        file = TemporaryFile(buffering=0, dir=folder)  # noqa: SIM115 - closed with the layer
    try:
        while count := stream.readinto(block):
            with local_io("write a temporary file in", folder):
                _write(file, block[:count])
    except BaseException:
        file.close()
        raise
    return file


def _write(file: IO[bytes], data: memoryview) -> None:
    while data:
        # A write can be partial, for example when the disk is nearly full.
        data = data[file.write(data) :]


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
