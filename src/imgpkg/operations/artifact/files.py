"""The files of an artifact, and the blobs that they become: descriptors, and how to open their bytes."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.content.artifact_output import in_each_other, title_parts
from imgpkg.content.store import Extent, FileRange, OpenedBlob
from imgpkg.dataclass import KW_ONLY, dataclass, field, replace
from imgpkg.errors import LocalIOError, UnpackError, UsageError, local_io
from imgpkg.events import Advance, Hook, begin_packing, silent
from imgpkg.oci import media
from imgpkg.oci.descriptor import BLOCK, Descriptor, Digest, VerifiedReader
from imgpkg.values import FrozenDict, StrPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from imgpkg.oci.descriptor import Readable

    # See `push_artifact`.
    GivenFiles: TypeAlias = (
        Iterable[StrPath | bytes | "ArtifactFile"]
        | Mapping[str, StrPath | bytes | "ArtifactFile"]
        | os.PathLike[str]
        | bytes
        | "ArtifactFile"
    )

# Annotations (OCI image-spec, annotations.md; ORAS, "Artifact Pull"): the name of a file, that it is a
# folder to unpack, and the digest of the tar of the folder.
TITLE = "org.opencontainers.image.title"
UNPACK = "io.deis.oras.content.unpack"
TAR_DIGEST = "io.deis.oras.content.digest"


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file of an artifact: the path of a file or folder, or the content itself, and what is said about it.

    `title` is the name under which it is pulled, a relative path with slashes; by default the last part of
    the path. Content without a title is a blob that is pulled into no file. `media_type` is by default that
    of an uncompressed layer, as in ORAS, and for a folder, which becomes a tar, that of a layer with gzip.
    `annotations` are added to those of the title.
    """

    content: StrPath | bytes = field(repr=False)
    _: KW_ONLY
    title: str = ""
    media_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))


@dataclass(frozen=True, slots=True)
class ArtifactBlob:
    """A blob to push: its descriptor, and what opens its bytes, each time from their start."""

    descriptor: Descriptor
    open: Callable[[], FileRange | OpenedBlob | io.BytesIO]


def listed(files: GivenFiles, media_type: str) -> tuple[ArtifactFile, ...]:
    """Return all files with their titles, and with `media_type` where they have none.

    Raises UsageError for a title that leads out of a folder or is that of two files.
    """
    # A str is an iterable of one-letter paths to the type checker.
    if isinstance(files, str):
        raise UsageError(
            f"Expected a list of files, but was the one name '{files}'",
            hints=("Put it into a list.",),
        )
    found = tuple(_titled(file, media_type) for file in _given(files))
    _check_titles([file.title for file in found if file.title])
    return found


def _given(files: GivenFiles) -> Iterator[ArtifactFile]:
    if isinstance(files, Mapping):
        for title, content in files.items():
            yield replace(as_file(content), title=title)
    elif isinstance(files, os.PathLike | bytes | ArtifactFile):
        yield as_file(files)
    else:
        yield from map(as_file, files)


def as_file(given: StrPath | bytes | ArtifactFile) -> ArtifactFile:
    """Return a path or content as a file of which nothing else is said."""
    return given if isinstance(given, ArtifactFile) else ArtifactFile(given)


def _titled(file: ArtifactFile, media_type: str) -> ArtifactFile:
    title = file.title or file.annotations.get(TITLE, "")
    if not title and not isinstance(file.content, bytes):
        # Without the folders before it: an artifact does not depend on where its files were.
        title = os.path.basename(os.path.abspath(os.fspath(file.content)))
    return replace(file, title=title, media_type=file.media_type or media_type)


def _check_titles(titles: Sequence[str]) -> None:
    try:
        places = {title_parts(title): title for title in titles}
    except UnpackError as error:
        raise UsageError(str(error), hints=("A title is a relative path with slashes, in UTF-8.",)) from error
    if len(places) < len(titles):
        raise UsageError(
            f"Found two files with one title: {', '.join(sorted(titles))}",
            hints=("Give one of them another name: imgpkg.ArtifactFile(path, title=...).",),
        )
    if (found := in_each_other(places)) is not None:
        above, below = (places[place] for place in found)
        raise UsageError(f"Found a file with the title '{below}', which is inside of that with '{above}'")


def prepare(files: Sequence[ArtifactFile], opened: ExitStack, on_event: Hook) -> list[ArtifactBlob]:
    """Return the blobs of `files`, which can be read until `opened` is closed; raise LocalIOError."""
    kinds = [_kind(file) for file in files]
    packed = begin_packing(sum(size for _, size in kinds), on_event)
    blobs = [
        _blob(file, opened, on_event, packed, is_folder=is_folder)
        for file, (is_folder, _) in zip(files, kinds, strict=True)
    ]
    # A file may have become shorter since it was listed.
    packed.end()
    return blobs


def prepare_config(file: ArtifactFile, opened: ExitStack) -> ArtifactBlob:
    """Return the blob of a configuration, which has no title; raise UsageError for a folder."""
    if _kind(file)[0]:
        named = os.fsdecode(file.content)
        raise UsageError(f"Expected a file as configuration, but was the folder '{named}'")
    blob = _blob(file, opened, silent, begin_packing(0, silent), is_folder=False)
    return replace(blob, descriptor=replace(blob.descriptor, annotations=file.annotations))


def _kind(file: ArtifactFile) -> tuple[bool, int]:
    """Return whether it is a folder, and the bytes of all its files; raise LocalIOError."""
    if isinstance(file.content, bytes):
        return False, len(file.content)
    path = os.fspath(file.content)
    with local_io("stat", path):
        found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        if not stat.S_ISREG(found.st_mode):
            raise LocalIOError(f"Expected file '{path}' to be a regular file")
        return False, found.st_size
    from imgpkg.content.artifact_folder import folder_size

    return True, folder_size(path)


def _blob(
    file: ArtifactFile, opened: ExitStack, on_event: Hook, packed: Advance, *, is_folder: bool
) -> ArtifactBlob:
    notes = {**file.annotations, **({TITLE: file.title} if file.title else {})}
    if isinstance(file.content, bytes):
        packed.add(len(file.content))
        described = Descriptor.of(file.content, file.media_type or media.OCI_LAYER, annotations=notes)
        return ArtifactBlob(described, partial(io.BytesIO, file.content))
    path = os.fspath(file.content)
    if is_folder:
        from imgpkg.content.artifact_folder import pack_folder

        layer = opened.enter_context(pack_folder(path, file.title, on_event, add=packed.add))
        notes |= {UNPACK: "true", TAR_DIGEST: str(layer.diff_id)}
        kind = file.media_type or layer.descriptor.media_type
        return ArtifactBlob(replace(layer.descriptor, media_type=kind, annotations=notes), layer.open)
    digest, size = _digest(path, packed)
    described = Descriptor(file.media_type or media.OCI_LAYER, digest, size, notes)
    return ArtifactBlob(described, lambda: OpenedBlob(_reading(path, described)))


def _digest(path: str, packed: Advance) -> tuple[Digest, int]:
    import hashlib

    found, size, block = hashlib.sha256(), 0, memoryview(bytearray(BLOCK))
    with local_io("read", path), open(path, "rb", buffering=0) as file:
        while count := file.readinto(block):
            found.update(block[:count])
            size += count
            packed.add(count)
    return Digest("sha256", found.hexdigest()), size


@contextmanager
def _reading(path: str, blob: Descriptor) -> Iterator[Readable]:
    """Open a file that may have changed since it was described: then reading raises VerificationError."""
    with ExitStack() as stack:
        with local_io("open", path):
            file = stack.enter_context(open(path, "rb", buffering=0))
        # One byte more than it had, to notice that it became longer.
        extent = Extent(0, blob.size + 1)
        yield VerifiedReader(FileRange(file.fileno(), path, extent), blob.digest, blob.size)
