"""Folders in artifacts: a tar of the folder under its own name, packed and unpacked as ORAS does.

Other than layers of bundles, they have links and empty folders. The bytes depend on nothing but names,
content, link targets, and whether the owner may execute a file.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from imgpkg.content.artifact_output import path_parts
from imgpkg.content.deflate.gzip import slowness
from imgpkg.content.inflate import decompressed
from imgpkg.content.pack import (
    LayerWriter,
    PackedLayer,
    check_regular,
    temporary_file,
    walk_sorted,
    write_file,
)
from imgpkg.content.store import Extent, FileRange
from imgpkg.content.tar import reader as tar
from imgpkg.content.tar.reader import PIECE, Pieces
from imgpkg.content.tar.writer import FOLDER, LINK, member_header
from imgpkg.content.unpack import LONGEST_PATH, Folder, write_all
from imgpkg.dataclass import replace
from imgpkg.errors import LocalIOError, UnpackError, local_io
from imgpkg.events import Hook, Warned
from imgpkg.oci import media

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.content.tar.reader import TarEntry
    from imgpkg.content.unpack import Parts
    from imgpkg.oci.descriptor import ByteReader

_EXECUTABLE, _FILE, _LINK = 0o755, 0o644, 0o777
_PERMISSIONS = 0o777


def folder_size(path: str) -> int:
    """Return the bytes of all files in a folder, so that progress has its total; raise LocalIOError."""
    files = (entry for _, entry in walk_sorted(path) if entry.is_file(follow_symlinks=False))
    with local_io("lstat", path):
        return sum(entry.stat(follow_symlinks=False).st_size for entry in files)


@contextmanager
def pack_folder(
    path: str, title: str, on_event: Hook, *, add: Callable[[int], None]
) -> Iterator[PackedLayer]:
    """Pack the folder at `path`, under the name `title`, into a temporary file; it is read in the block.

    `add` receives how many bytes of its files are done, piece by piece.

    Raises LocalIOError, also for a link that leads out of the folder, a device, a pipe or a socket.
    """
    if warning := slowness(folder_size(path)):
        on_event(Warned(warning))
    with temporary_file() as (file, shown):
        with ExitStack() as threads:
            layer = LayerWriter(file, shown, threads, None)
            layer.add(member_header(os.fsencode(title), 0, mode=_EXECUTABLE, kind=FOLDER))
            for name, entry in walk_sorted(path):
                _add(layer, os.fsencode(f"{title}/{name}"), os.fsencode(name), entry, add)
            diff_id, packed = layer.finish()
        descriptor = replace(packed, media_type=media.OCI_LAYER_GZIP)
        whole = Extent(0, descriptor.size)
        yield PackedLayer(diff_id, descriptor, lambda: FileRange(file.fileno(), shown, whole))


def _add(
    layer: LayerWriter, name: bytes, inside: bytes, entry: os.DirEntry[str], add: Callable[[int], None]
) -> None:
    with local_io("lstat", entry.path):
        mode = entry.stat(follow_symlinks=False).st_mode
    if stat.S_ISDIR(mode):
        layer.add(member_header(name, 0, mode=_EXECUTABLE, kind=FOLDER))
    elif stat.S_ISLNK(mode):
        with local_io("readlink", entry.path):
            target = os.fsencode(os.readlink(entry.path))
        if leads_out(target, inside.count(b"/")):
            raise LocalIOError(
                f"Expected link '{entry.path}' to stay within its folder: {os.fsdecode(target)}",
                hints=("Links to what is outside are useless where an artifact is pulled.",),
            )
        layer.add(member_header(name, 0, mode=_LINK, kind=LINK, link=target))
    else:
        check_regular(entry.path, mode)
        write_file(layer, name, entry.path, _EXECUTABLE if mode & stat.S_IXUSR else _FILE, add)


def leads_out(target: bytes, depth: int) -> bool:
    """Return whether a link, which is below as many folders, may lead out of the folder that has them.

    Its target goes up first, and down after that: after another link, `..` is not where its name says.
    """
    parts = [part for part in target.split(b"/") if part not in (b"", b".")]
    up = 0
    while up < len(parts) and parts[up] == b"..":
        up += 1
    return target.startswith(b"/") or not target or up > depth or b".." in parts[up:]


def unpack_folder(stream: ByteReader, title: Parts, directory: str) -> None:
    """Unpack the tar of a folder with this title into the folder `directory`, compressed or not.

    The stream is read to its end, so that a verifying stream checks its digest. Files are executable where
    the tar says so, as far as the umask allows it, and have its times. Raises UnpackError for an entry
    outside of the title, and for what is neither a file, a folder nor a link that stays inside of the title;
    LocalIOError, or what the stream raises.
    """
    content = Pieces(decompressed(stream))
    with Folder(directory) as folder:
        with local_io("mkdir", folder.shown(title)):
            folder.enter(title)
        for entry in tar.read_entries(content):
            parts = path_parts(entry.name)
            if parts[: len(title)] != title:
                raise UnpackError(
                    f"Expected entry '{_shown(entry.name)}' to be in '{_shown(b'/'.join(title))}'"
                )
            _place(folder, parts, entry, content, depth=len(parts) - len(title) - 1)
    # The digest covers the bytes after the end of the archive, too.
    while stream.read(PIECE):
        pass


def _place(folder: Folder, parts: Parts, entry: TarEntry, content: Pieces, *, depth: int) -> None:
    with local_io("open", folder.shown(parts)):
        # openat(2) would create a file whose whole path is too long for any other program.
        if len(folder.path) + len(entry.name) > LONGEST_PATH:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        if entry.kind == tar.DIRECTORY:
            folder.enter(parts)
        elif depth < 0:
            raise UnpackError(f"Expected entry '{_shown(entry.name)}' to be a folder")
        elif entry.kind == tar.REGULAR:
            _write(folder, parts, entry, content)
        elif entry.kind == tar.SYMBOLIC_LINK:
            _link(folder, parts, entry, depth)
        else:
            raise UnpackError(
                f"Unsupported tar entry type '{_shown(entry.kind)}' for file '{_shown(entry.name)}'"
            )


def _write(folder: Folder, parts: Parts, entry: TarEntry, content: Pieces) -> None:
    descriptor = folder.create(parts, entry.mode & _PERMISSIONS | stat.S_IRUSR | stat.S_IWUSR)
    try:
        for piece in content.content(entry.size):
            write_all(descriptor, piece)
        if entry.mtime:
            # Last, because writing changes the time.
            os.utime(descriptor, ns=(max(entry.atime, entry.mtime), entry.mtime))
    finally:
        os.close(descriptor)


def _link(folder: Folder, parts: Parts, entry: TarEntry, depth: int) -> None:
    if leads_out(entry.link, depth):
        raise UnpackError(
            f"Expected link '{_shown(entry.name)}' to stay within its folder: '{_shown(entry.link)}'"
        )
    # First the folders: what is in their place is removed, and no link is followed to what is to be replaced.
    folder.enter(parts[:-1])
    folder.remove(parts)
    os.symlink(entry.link, parts[-1], dir_fd=folder.enter(parts[:-1]))


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")
