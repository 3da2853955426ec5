"""Reading a response body that must fit into memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.oci.digest import Readable

_BLOCK = 1 << 20


def read_at_most(stream: Readable, limit: int) -> bytes:
    """Return the whole body, or its first `limit` bytes."""
    blocks, left = [], limit
    while left and (block := stream.read(min(left, _BLOCK))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)
