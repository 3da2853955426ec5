"""Pack files into one layer: list them first, then write tar, digests and compressed form in one pass."""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import ExitStack, contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

from imgpkg.content.deflate.gzip import open_writer, slowness
from imgpkg.content.store import Extent, FileRange
from imgpkg.content.tar.writer import BLOCK, END, FILE, FOLDER, member_header, padded
from imgpkg.dataclass import dataclass
from imgpkg.errors import LocalIOError, UsageError, doing, local_io
from imgpkg.events import Hook, Message, Warned, begin_packing, silent
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from concurrent.futures import Executor, Future
    from io import FileIO

    from imgpkg.content.deflate.gzip import Encoder

_ROOT = "."

_PIECE = 1 << 20
_OWNER, _OWNER_FILE = 0o700, 0o600
_SHOWN = "temporary file"
_PERMISSIONS = 0o777
# The bits of Go's os.FileMode, which the original writes into headers: folder, setuid, setgid, sticky.
_GO_FOLDER = 1 << 31
_GO_SPECIAL = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


@dataclass(frozen=True, slots=True)
class PackedEntry:
    """A folder or regular file: `name` in the layer, `path` on disk, `mode` of lstat(2).

    `root_mode` is the mode of the input that contains it; `size` is the size of a file in bytes.
    """

    name: str
    path: str
    mode: int
    root_mode: int
    size: int = 0

    @property
    def is_folder(self) -> bool:
        """Whether this is a folder; its content has entries of its own."""
        return stat.S_ISDIR(self.mode)


def list_entries(
    inputs: Sequence[str | os.PathLike[str]], exclusions: Collection[str]
) -> tuple[PackedEntry, ...]:
    """Return the files and folders of `inputs` in the order of the layer.

    Names are relative to their input and sorted by bytes within a folder. A name that equals an exclusion is
    left out, with all below it. Raise UsageError for a name in two inputs, LocalIOError for what cannot be
    read or is neither a folder nor a regular file.
    """
    entries = tuple(entry for item in inputs for entry in _input(os.fspath(item), frozenset(exclusions)))
    _check_duplicates(entries)
    return entries


def _input(path: str, exclusions: Collection[str]) -> Iterator[PackedEntry]:
    with local_io("lstat", path):
        mode = os.lstat(path).st_mode
    with doing(f"Adding file '{path}' to tar"):
        if stat.S_ISDIR(mode):
            # The folder itself is an entry named `.`, which an exclusion can name.
            if _ROOT not in exclusions:
                yield PackedEntry(_ROOT, path, mode, mode)
                yield from _folder(path, mode, exclusions)
            return
        name = os.path.basename(path)
        if name in exclusions:
            return
        # A link as input stands for its file; a link inside a folder is an error.
        with local_io("stat", path):
            found = os.stat(path)
        check_regular(path, found.st_mode)
        yield PackedEntry(name, path, found.st_mode, found.st_mode, found.st_size)


def _folder(path: str, root_mode: int, exclusions: Collection[str]) -> Iterator[PackedEntry]:
    for name, entry in walk_sorted(path, exclusions.__contains__):
        where = _tidy(entry.path)
        with local_io("lstat", where):
            found = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            yield PackedEntry(name, where, found.st_mode, root_mode)
            continue
        check_regular(where, found.st_mode)
        yield PackedEntry(name, where, found.st_mode, root_mode, found.st_size)


def walk_sorted(
    path: str, is_left_out: Callable[[str], bool] = lambda _: False
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield the name, relative to `path`, and the entry of all files and folders below `path`.

    Names are sorted by bytes in each folder, and a folder comes before its content. Links are not followed,
    and folders that are left out are not read. Raise LocalIOError for a folder that cannot be read.
    """
    # A list instead of recursion: folders can be nested deeper than the interpreter's stack.
    waiting = [("", _sorted(path))]
    while waiting:
        prefix, inside = waiting[-1]
        entry = next(inside, None)
        if entry is None:
            waiting.pop()
            continue
        name = prefix + entry.name
        if is_left_out(name):
            continue
        yield name, entry
        if entry.is_dir(follow_symlinks=False):
            waiting.append((f"{name}/", _sorted(entry.path)))


def _sorted(folder: str) -> Iterator[os.DirEntry[str]]:
    with local_io("open", folder), os.scandir(folder) as found:
        return iter(sorted(found, key=lambda entry: os.fsencode(entry.name)))


def _tidy(path: str) -> str:
    """Normalize the path, unless it contains `..`: the name before may be a link."""
    return path if ".." in path.split(os.sep) else os.path.normpath(path)


def check_regular(path: str, mode: int) -> None:
    """Raise LocalIOError unless a `mode` of lstat(2) is that of a regular file."""
    if not stat.S_ISREG(mode):
        raise LocalIOError(f"Expected file '{path}' to be a regular file")


def _check_duplicates(entries: Sequence[PackedEntry]) -> None:
    """Raise UsageError for a name of two entries, unless both are folders, which a layer can list twice."""
    by_name: dict[str, list[PackedEntry]] = {}
    for entry in entries:
        by_name.setdefault(entry.name, []).append(entry)
    paths = [
        entry.path
        for _, group in sorted(by_name.items())
        if len(group) > 1 and not all(entry.is_folder for entry in group)
        for entry in group
    ]
    if paths:
        raise UsageError(f"Found duplicate paths: {', '.join(paths)}")


@dataclass(frozen=True, slots=True)
class PackedLayer:
    """A layer: the digest of its tar, and the descriptor of its compressed form.

    Each call of `open` returns a stream of the compressed bytes, from the start.
    """

    diff_id: Digest
    descriptor: Descriptor
    open: Callable[[], FileRange | BytesIO]


@contextmanager
def pack_layer(
    inputs: Sequence[str | os.PathLike[str]],
    *,
    exclusions: Collection[str],
    preserve_permissions: bool = False,
    on_event: Hook = silent,
    encoder: Callable[[], Encoder] | None = None,
) -> Iterator[PackedLayer]:
    """Pack folders and files into a temporary file; the layer can be read until the block ends.

    `exclusions` are names in the layer. Without `preserve_permissions` only the owner's permissions are kept.
    The same files give the same bytes on every machine and with every `encoder`. Raise UsageError,
    LocalIOError.
    """
    entries = list_entries(inputs, exclusions)
    size = sum(entry.size for entry in entries)
    packed = begin_packing(size, on_event)
    if encoder is None and (warning := slowness(size)):
        on_event(Warned(warning))
    with temporary_file() as (file, shown):
        with ExitStack() as threads:
            layer = LayerWriter(file, shown, threads, encoder)
            for entry in entries:
                on_event(Message(f"{'dir' if entry.is_folder else 'file'}: {entry.name}\n"))
                _write(entry, layer, preserve_permissions=preserve_permissions, add=packed.add)
            # A file may have become shorter since it was listed.
            packed.end()
            diff_id, descriptor = layer.finish()
        whole = Extent(0, descriptor.size)
        yield PackedLayer(diff_id, descriptor, lambda: FileRange(file.fileno(), shown, whole))


def pack_file(name: str, data: bytes) -> PackedLayer:
    """Pack a small file in memory, as `pack_layer` packs a folder with this file and mode 0700 and 0600."""
    memory = BytesIO()
    with ExitStack() as threads:
        layer = LayerWriter(memory, name, threads, None)
        layer.add(member_header(os.fsencode(_ROOT), 0, mode=_OWNER, kind=FOLDER))
        layer.add(member_header(os.fsencode(name), len(data), mode=_OWNER_FILE, kind=FILE))
        layer.add(padded(data))
        diff_id, descriptor = layer.finish()
    return PackedLayer(diff_id, descriptor, lambda: BytesIO(memory.getvalue()))


@contextmanager
def temporary_file() -> Iterator[tuple[FileIO, str]]:
    """Yield a file without a name, which a killed process cannot leave, and a description for errors."""
    import tempfile

    with local_io("create", _SHOWN):
        try:
            folder = tempfile.gettempdir()
        except FileNotFoundError as error:
            # tempfile raises this also when the process has no free descriptor: raise that error instead.
            os.close(os.open(os.devnull, os.O_RDONLY))
            raise LocalIOError(f"create {_SHOWN}: {error.strerror}") from error
    # Without a buffer, closing the file writes nothing and so cannot fail.
    with ExitStack() as stack:
        with local_io("create", folder):
            file = stack.enter_context(tempfile.TemporaryFile(buffering=0, dir=folder))
        yield file, f"{_SHOWN} in {folder}"


class LayerWriter:
    """Write a tar, compressed, and compute both digests; a thread compresses while files are read.

    The thread ends with `threads`. For a single piece there is none.
    """

    def __init__(
        self, file: FileIO | BytesIO, shown: str, threads: ExitStack, encoder: Callable[[], Encoder] | None
    ) -> None:
        self._file = file
        self._shown = shown
        self._threads = threads
        self._worker: Executor | None = None
        self._piece = memoryview(bytearray(_PIECE))
        self._other: memoryview | None = None
        self._filled = 0
        self._compressing: Future[None] | None = None
        self._size = 0
        self._compressed = hashlib.sha256()
        self._tar = hashlib.sha256()
        self._gzip = threads.enter_context(open_writer(self, encoder))

    def write(self, data: bytes) -> None:
        """Write compressed bytes; called by the gzip writer."""
        self._compressed.update(data)
        self._size += len(data)
        left = memoryview(data)
        with local_io("write", self._shown):
            while left:
                left = left[self._file.write(left) :]

    @property
    def room(self) -> memoryview:
        """The memory for the next bytes of the tar, for at least one."""
        return self._piece[self._filled :]

    def take(self, count: int) -> None:
        """Add the first `count` bytes of `room`."""
        self._filled += count
        if self._filled == _PIECE:
            self._hand_over()

    def add(self, data: bytes) -> None:
        """Add bytes of the tar."""
        left = memoryview(data)
        while left:
            room = self.room
            count = min(len(room), len(left))
            room[:count] = left[:count]
            left = left[count:]
            self.take(count)

    def _hand_over(self) -> None:
        # Two pieces by turns: one is compressed while the other is filled.
        piece, free = self._piece, self._other or memoryview(bytearray(_PIECE))
        self._wait()
        self._piece, self._other, self._filled = free, piece, 0
        self._compressing = self._thread().submit(self._gzip.write, piece)
        self._tar.update(piece)

    def _thread(self) -> Executor:
        from concurrent.futures import ThreadPoolExecutor

        if self._worker is None:
            self._worker = self._threads.enter_context(ThreadPoolExecutor(1))
        return self._worker

    def _wait(self) -> None:
        """Wait until the last piece is compressed; raise the error of that."""
        if self._compressing is not None:
            self._compressing.result()

    def finish(self) -> tuple[Digest, Descriptor]:
        """End the tar; return its digest and the descriptor of its compressed form."""
        self.add(END)
        self._wait()
        rest = self._piece[: self._filled]
        self._gzip.write(rest)
        self._tar.update(rest)
        self._gzip.close()
        digest = Digest("sha256", self._compressed.hexdigest())
        descriptor = Descriptor(media.DOCKER_LAYER, digest, self._size)
        return Digest("sha256", self._tar.hexdigest()), descriptor


def _write(
    entry: PackedEntry, layer: LayerWriter, *, preserve_permissions: bool, add: Callable[[int], None]
) -> None:
    name = os.fsencode(entry.name)
    mode = _go_mode(entry) if preserve_permissions else entry.mode & _OWNER
    if entry.is_folder:
        layer.add(member_header(name, 0, mode=mode if preserve_permissions else _OWNER, kind=FOLDER))
        return
    write_file(layer, name, entry.path, mode, add)


def write_file(layer: LayerWriter, name: bytes, path: str, mode: int, add: Callable[[int], None]) -> None:
    """Add the file at `path` to a layer as `name`; raise LocalIOError if it changes meanwhile.

    `add` receives how many of its bytes are done.
    """
    with _open(path) as file:
        # The file may have changed since it was listed; from here on its size must stay.
        size = os.fstat(file.fileno()).st_size
        layer.add(member_header(name, size, mode=mode, kind=FILE))
        for count in _content(file, size, path, layer):
            add(count)
    layer.add(bytes(-size % BLOCK))


def _open(path: str) -> FileIO:
    # Without a buffer: the bytes go straight to where they are compressed.
    with local_io("open", path):
        return open(path, "rb", buffering=0)


def _content(file: FileIO, size: int, path: str, layer: LayerWriter) -> Iterator[int]:
    """Add exactly `size` bytes, which is the size in the header already written; yield how many at a time."""
    left = size
    while left:
        with local_io("read", path):
            count = file.readinto(layer.room[:left])
        if not count:
            raise LocalIOError(f"read {path}: the file became shorter while it was packed")
        left -= count
        layer.take(count)
        yield count
    # The header with the size is compressed already, so a larger file cannot be packed either.
    if file.read(1):
        raise LocalIOError(f"read {path}: the file became longer while it was packed")


def _go_mode(entry: PackedEntry) -> int:
    """Return Go's number for a mode; a folder gets the mode of its input, as in the original."""
    mode = entry.root_mode if entry.is_folder else entry.mode
    special = sum(number for bit, number in _GO_SPECIAL if mode & bit)
    return (mode & _PERMISSIONS) | special | (_GO_FOLDER if entry.is_folder else 0)
