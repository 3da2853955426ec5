"""Where each member of a tar file begins: one pass over its headers, none over its content."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.content.pieces import Pieces
from imgpkg.content.tar_reader import REGULAR, read_entries
from imgpkg.errors import ArchiveError, UnpackError, local_io

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from imgpkg.oci.descriptor import Digest

MANIFEST = "manifest.json"

# A header, and with luck the next one, when what is between is small.
_LOOK_AHEAD = 4 << 10
_HINT = (
    "(hint: This may be because when copying to a tarball, the --include-non-distributable-layers flag "
    "should have been provided.)"
)


@dataclass(frozen=True, slots=True)
class Member:
    """The bytes of one member: `size` of them from `offset` on."""

    offset: int
    size: int


class FileRange:
    """A stream over a part of an open file; many may share the descriptor, which stays open."""

    def __init__(self, descriptor: int, path: str, member: Member) -> None:
        self._descriptor = descriptor
        self._path = path
        self._at = member.offset
        self._end = member.offset + member.size

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


def member_name(digest: Digest) -> str:
    """Return the name of a layer's member, whatever its compression."""
    return f"{digest.algorithm}-{digest.hex}.tar.gz"


def not_found(name: str) -> ArchiveError:
    """Say that a member is missing, as the original does."""
    return ArchiveError(f"file {name} not found in tar {_HINT}")


def read_members(descriptor: int, path: str, *, lenient: bool = False) -> Mapping[str, Member]:
    """List the regular members, the first of each name; their content may be anything.

    Raises ArchiveError when the file ends in the middle or is no tar; with `lenient` what was found before
    the damage is returned. Raises LocalIOError.
    """
    size = os.fstat(descriptor).st_size
    whole = FileRange(descriptor, path, Member(0, size))
    content = Pieces(whole, _LOOK_AHEAD, whole.pass_over)
    members: dict[str, Member] = {}
    try:
        for entry in read_entries(content):
            if entry.kind == REGULAR:
                name = entry.name.decode("utf-8", "surrogateescape").removeprefix("./")
                members.setdefault(name, Member(content.position, entry.size))
    except UnpackError as error:
        if not lenient:
            raise ArchiveError(error.message, hints=_damage(descriptor, path)) from error
    return members


def _damage(descriptor: int, path: str) -> tuple[str, ...]:
    if os.pread(descriptor, 2, 0) == b"\x1f\x8b":
        return (f"{path} is compressed; unpack it with gunzip first.",)
    return (f"{path} is not whole, or not a tar file; copy it again.",)
