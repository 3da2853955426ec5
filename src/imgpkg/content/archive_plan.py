"""Where every byte of a tar file will be, known before the first one is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imgpkg.content.archive_index import MANIFEST, Member, member_name
from imgpkg.content.archive_manifest import encode
from imgpkg.content.tar_header import BLOCK, END, member_header, padded

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imgpkg.content.archive_manifest import ArchiveItem
    from imgpkg.oci.descriptor import Descriptor, Digest


@dataclass(frozen=True, slots=True)
class ArchivePlan:
    """The bytes between the blobs, by offset, the places of the blobs, and the size of the whole file."""

    fixed: tuple[tuple[int, bytes], ...] = field(repr=False)
    places: Mapping[Digest, Member]
    size: int


def plan_archive(items: Iterable[ArchiveItem], blobs: Iterable[Descriptor]) -> ArchivePlan:
    """Lay out manifest.json for `items`, then `blobs`, each digest once, in the order of their digests."""
    manifest = encode(items)
    start = member_header(MANIFEST.encode(), len(manifest)) + padded(manifest)
    fixed = [(0, start)]
    places: dict[Digest, Member] = {}
    at = len(start)
    distinct = {blob.digest: blob for blob in blobs}
    for digest in sorted(distinct, key=str):
        size = distinct[digest].size
        header = member_header(member_name(digest).encode(), size)
        fixed.append((at, header))
        places[digest] = Member(at + len(header), size)
        end = at + len(header) + size
        padding = bytes(-size % BLOCK)
        fixed.append((end, padding))
        at = end + len(padding)
    fixed.append((at, END))
    return ArchivePlan(tuple(fixed), places, at + len(END))
