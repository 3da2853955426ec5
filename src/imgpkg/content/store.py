"""Where bytes come from and go to, by descriptor: what repositories, tar files and layouts have in common."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from imgpkg.errors import local_io

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from typing_extensions import Self

    from imgpkg.oci.descriptor import Descriptor, Digest, Readable
    from imgpkg.oci.manifest import Manifest

Opener: TypeAlias = "Callable[[], AbstractContextManager[Readable]]"


class Source(Protocol):
    """Gives manifests and blobs; whatever it hands out has verified. Safe from many threads."""

    def manifest(self, digest: Digest) -> Manifest:
        """Return the manifest; raise NotFound or ArchiveError when there is none, VerificationError."""
        ...

    def blob(self, blob: Descriptor) -> AbstractContextManager[Readable]:
        """Open the blob from its start; its last bytes are handed out only when all of it has verified.

        Raises NotFound or ArchiveError when there is none, and VerificationError while reading.
        """
        ...


class Target(Protocol):
    """Takes blobs in any order, then the manifests that list them, children first. Safe from many threads."""

    def has(self, blob: Descriptor) -> bool:
        """Tell whether the blob need not be written."""
        ...

    def write(self, blob: Descriptor, open: Opener) -> None:  # noqa: A002 - it is what it does
        """Take the bytes; nothing is kept of what does not verify.

        `open` may be called again for another attempt. Raises VerificationError.
        """
        ...

    def publish(self, manifest: Manifest, tags: Iterable[str]) -> None:
        """Make the manifest readable by its digest, and by `tags`; its blobs must have been written."""
        ...


class OpenedBlob:
    """A blob on its way from a source to whoever sends it: read once, then closed."""

    def __init__(self, context: AbstractContextManager[Readable]) -> None:
        self._context = context
        self._stream = context.__enter__()

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        return self._stream.read(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._context.__exit__(None, None, None)


@dataclass(frozen=True, slots=True)
class Extent:
    """A part of a file: `size` bytes from `offset` on."""

    offset: int
    size: int


class FileRange:
    """A stream over a part of an open file; many may share the descriptor, which stays open."""

    def __init__(self, descriptor: int, path: str, extent: Extent) -> None:
        self._descriptor = descriptor
        self._path = path
        self._at = extent.offset
        self._end = extent.offset + extent.size

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, b"" at the end of the part or of the file."""
        with local_io("read", self._path):
            data = os.pread(self._descriptor, min(size, self._end - self._at), self._at)
        self._at += len(data)
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def pass_over(self, count: int) -> int:
        """Move on by at most `count` bytes; return by how many."""
        passed = min(count, self._end - self._at)
        self._at += passed
        return passed
