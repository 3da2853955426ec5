"""The size that a response says, and reading a body that must fit into memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.oci.digest import Readable

_BLOCK = 1 << 20
_LENGTH = re.compile(r"[0-9]{1,18}")


def said_length(headers: Mapping[str, str]) -> int | None:
    """Return the Content-Length; None for none, and for one that no body can have."""
    text = headers.get("Content-Length", "")
    return int(text) if _LENGTH.fullmatch(text) else None


def read_at_most(stream: Readable, limit: int) -> bytes:
    """Return the whole body, or its first `limit` bytes."""
    blocks, left = [], limit
    while left and (block := stream.read(min(left, _BLOCK))):
        blocks.append(block)
        left -= len(block)
    return b"".join(blocks)
