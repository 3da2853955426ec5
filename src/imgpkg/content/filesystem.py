"""The files of an image: its layers as one tree, of which the topmost layer that names a path decides.

A layer is fetched when the layers above it do not decide. Links are followed inside of the image, as the
kernel does in a container (path_resolution(7)): nothing is outside of it.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from imgpkg.content.layer_files import MOST_LINKS, Allowance, LayerFiles, ancestors, below, clean_path, parent
from imgpkg.content.tar.reader import (
    BLOCK_DEVICE,
    CHARACTER,
    DIRECTORY,
    FIFO,
    HARD_LINK,
    SYMBOLIC_LINK,
)
from imgpkg.dataclass import dataclass
from imgpkg.errors import NotInImage, UsageError
from imgpkg.oci.descriptor import Digest  # noqa: TC001 - a program may look it up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from imgpkg.content.layer_files import LayerIndex, LayerMember
    from imgpkg.oci.descriptor import Descriptor, Readable

# Linux's PATH_MAX.
_LONGEST_PATH = 4096


class FileKind(Enum):
    """What is at a path of an image; a hard link is a FILE."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"


_KINDS = {
    DIRECTORY: FileKind.DIRECTORY,
    SYMBOLIC_LINK: FileKind.SYMLINK,
    CHARACTER: FileKind.CHARACTER_DEVICE,
    BLOCK_DEVICE: FileKind.BLOCK_DEVICE,
    FIFO: FileKind.FIFO,
}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file, directory, link or device of an image, as `layer` has it.

    `path` has no `/` in front, and bytes that are not UTF-8 as surrogates (PEP 383). `size` is in bytes, and
    0 for all but files; `mode` has the permissions, such as 0o644, with setuid, setgid and sticky;
    `modified_ns` is in nanoseconds since 1970. `target` is where a symbolic link leads, and for a hard link
    the path of the file of which it is another name. What is a part of other paths only is a directory of
    mode 0o755.
    """

    path: str
    kind: FileKind
    layer: Digest
    size: int = 0
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    target: str = ""


class _Spot(NamedTuple):
    """Where something is: `number` counts layers from the top; a directory without an entry has no member."""

    number: int
    path: bytes
    member: LayerMember | None
    # What is left of a path behind a symbolic link on its way.
    rest: bytes = b""


class Filesystem:
    """The files of `layers`, which are in the order of a manifest, from the base to the top.

    `fetch` opens a layer. Close it to remove the temporary files. Not for several threads.
    """

    def __init__(
        self, layers: Sequence[Descriptor], fetch: Callable[[Descriptor, Allowance], LayerFiles]
    ) -> None:
        self._layers = tuple(reversed(layers))
        self._fetch = fetch
        self._opened: dict[int, LayerFiles] = {}
        self._allowance = Allowance()

    def find(self, path: str, *, follow: bool = True) -> ImageFile:
        """Return what is at `path`; with `follow` where a symbolic link leads. Raises NotInImage."""
        return self._described(_Resolution(self, path).place(follow=follow))

    def open(self, path: str) -> Readable:
        """Open the file at `path`, or where a link there leads.

        Raises NotInImage, or UsageError for what is no file.
        """
        way = _Resolution(self, path)
        return self._content(way, way.place())

    def walk(self) -> Iterator[ImageFile]:
        """Yield all that is seen in the image, layer by layer from the top, in the order of each layer."""
        for _, places in self._seen():
            yield from map(self._described, places)

    def contents(self) -> Iterator[tuple[ImageFile, Callable[[], Readable]]]:
        """Yield what `walk` does, each with what opens its content and raises UsageError for what is no file.

        The copy of each layer is removed before the next one is fetched.
        """
        for layer, places in self._seen():
            for place in places:
                file = self._described(place)
                yield file, partial(self._content, _Resolution(self, file.path), place)
            layer.close()

    def index(self, number: int) -> LayerIndex:
        """Return what the layer has, counted from the top; it is fetched when this is not known."""
        return self._layer(number).index

    @property
    def count(self) -> int:
        """The number of layers."""
        return len(self._layers)

    def close(self) -> None:
        """Remove the copies of all layers."""
        for layer in self._opened.values():
            layer.close()

    def _seen(self) -> Iterator[tuple[LayerFiles, Iterator[_Spot]]]:
        """Yield each layer from the top, and what is seen of it, to be taken before the next one."""
        shadow, number = _Shadow(), 0
        while number < len(self._layers) and not shadow.is_complete:
            layer = self._layer(number)
            yield layer, shadow.seen(number, layer.index)
            number += 1

    def _content(self, way: _Resolution, place: _Spot) -> Readable:
        original = way.original(place)
        if original.member is None or not original.member.is_file:
            kind = self._described(original).kind.value
            raise UsageError(f"'{way.shown}' is a {kind} in the image, and not a file")
        return self._layer(original.number).open(original.member, is_shared=original is not place)

    def _layer(self, number: int) -> LayerFiles:
        if number not in self._opened:
            self._opened[number] = self._fetch(self._layers[number], self._allowance)
        return self._opened[number]

    def _described(self, place: _Spot) -> ImageFile:
        member, layer = place.member, self._layers[place.number].digest
        if member is None:
            return ImageFile(_text(place.path), FileKind.DIRECTORY, layer)
        entry, size = member.entry, member.entry.size
        if entry.kind == HARD_LINK:
            size = self._size_of_original(place)
        return ImageFile(
            path=_text(place.path),
            kind=_KINDS.get(entry.kind, FileKind.FILE),
            layer=layer,
            size=size,
            mode=entry.mode & 0o7777,
            uid=entry.uid,
            gid=entry.gid,
            modified_ns=entry.mtime,
            target=_text(clean_path(entry.link) if entry.kind == HARD_LINK else entry.link),
        )

    def _size_of_original(self, place: _Spot) -> int:
        try:
            member = _Resolution(self, _text(place.path)).original(place).member
        except NotInImage:
            # Said when somebody opens it.
            return 0
        return 0 if member is None else member.entry.size


class _Resolution:
    """The way from one path to what is there, through the links on it."""

    def __init__(self, files: Filesystem, path: str) -> None:
        self._files = files
        self.shown = path
        self._links = 0

    def place(self, *, follow: bool = True) -> _Spot:
        """Return what is at the path; raise NotInImage."""
        return self._find(self.shown.encode("utf-8", "surrogateescape"), follow=follow)

    def _find(self, path: bytes, *, follow: bool) -> _Spot:
        at = self._joined([], path)
        while True:
            place = self._lookup(at)
            if place is None:
                raise NotInImage(f"'{self.shown}' is not in the image")
            link = place.member
            if link is None or link.entry.kind != SYMBOLIC_LINK or not (follow or place.rest):
                return place
            at = self._followed(place, link)

    def original(self, place: _Spot) -> _Spot:
        """Return the file of which a hard link is another name; raise NotInImage.

        It is that of the layer of the link, or of those below it: a layer above may have replaced the other
        name, and not the file.
        """
        while place.member is not None and place.member.entry.kind == HARD_LINK:
            self._count()
            other = self._files.index(place.number).real(clean_path(place.member.entry.link))
            found = self._lookup(other, place.number)
            if found is None:
                raise NotInImage(f"'{self.shown}' is a hard link to a file that is not in the image")
            place = found
        return place

    def _lookup(self, path: bytes, start: int = 0) -> _Spot | None:
        """Return what the topmost layer that decides has at `path`, or a symbolic link on the way there."""
        if not path and self._files.count:
            return _Spot(0, path, None)
        above, solid = tuple[bytes, ...](), set[bytes]()
        for number in range(start, self._files.count):
            index = self._files.index(number)
            if path in index.members or path in index.folders:
                return _Spot(number, path, index.members.get(path))
            above = above or tuple(ancestors(path))
            for folder in above:
                member = index.members.get(folder)
                if member is not None and not member.is_folder:
                    # Behind a directory of an upper layer it still hides what is below it.
                    is_link = member.entry.kind == SYMBOLIC_LINK and folder not in solid
                    return _Spot(number, folder, member, path[len(folder) :]) if is_link else None
                if member is not None or folder in index.folders:
                    solid.add(folder)
            if index.hides(path):
                return None
        return None

    def _followed(self, place: _Spot, link: LayerMember) -> bytes:
        """Return the path to which a symbolic link leads, with what is left of the path behind it."""
        self._count()
        target = link.entry.link + place.rest
        if len(target) > _LONGEST_PATH:
            raise NotInImage(f"'{self.shown}' leads to a path of {len(target)} bytes in the image")
        is_absolute = target.startswith(b"/")
        return self._joined([] if is_absolute else place.path.split(b"/")[:-1], target)

    def _joined(self, folder: list[bytes], path: bytes) -> bytes:
        """Return the path without `.` and `..`, which leads to where the folder before it really is.

        `folder` has no links. Above the top of the image there is the top.
        """
        is_real = True
        for part in path.split(b"/"):
            if part == b"..":
                if not is_real:
                    folder, is_real = self._real(folder), True
                del folder[-1:]
            elif part not in (b"", b"."):
                folder.append(part)
                is_real = False
        return b"/".join(folder)

    def _real(self, folder: list[bytes]) -> list[bytes]:
        place = self._find(b"/".join(folder), follow=True)
        if place.member is not None and not place.member.is_folder:
            raise NotInImage(f"'{self.shown}' is not in the image: '{_text(place.path)}' is no directory")
        return place.path.split(b"/")

    def _count(self) -> None:
        self._links += 1
        if self._links > MOST_LINKS:
            raise NotInImage(f"'{self.shown}' leads through too many links in the image")


class _Shadow:
    """What the layers so far hide of those below them."""

    def __init__(self) -> None:
        # Gone with all below it; directories; those that are named as parts of paths; those that are opaque.
        self._taken: set[bytes] = set()
        self._folders: set[bytes] = set()
        self._named: set[bytes] = set()
        self._opaque: set[bytes] = set()

    def seen(self, number: int, index: LayerIndex) -> Iterator[_Spot]:
        """Yield what is seen of the next layer, the one of this number; then it hides, too."""
        covered = below(index.folders, self._taken, self._opaque)
        for path, member in index.members.items():
            if parent(path) not in covered and not self._has(path, member):
                yield _Spot(number, path, member)
        self._add(index)

    @property
    def is_complete(self) -> bool:
        """True when nothing is seen of any other layer."""
        return b"" in self._opaque

    def _has(self, path: bytes, member: LayerMember) -> bool:
        if path in self._taken or path in self._folders:
            return True
        # What is only a part of other paths is a directory in the place of what is no directory.
        return path in self._named and not member.is_folder

    def _add(self, index: LayerIndex) -> None:
        for path, member in index.members.items():
            (self._folders if member.is_folder else self._taken).add(path)
        self._taken |= index.hidden
        self._named |= index.folders
        self._opaque |= index.opaque


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")
