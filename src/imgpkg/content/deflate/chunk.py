"""Parts of a stream that are encoded apart from each other, and the proof that they fit together.

What a block becomes depends on the positions that the search before it has stored, and so, in theory, on all
of the stream. But positions beyond the reach of matches do not count, and a search that begins with other
ones stores the same as any other after a few blocks. So a chunk can be encoded before those in front of it:
its search begins a few blocks earlier, and what it has stored where the chunk begins is compared with what
the search of the chunk before has stored there. If that differs, the chunk is encoded again, up to a place
where it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.content.deflate.coding import Coded, encode
from imgpkg.content.deflate.lz77 import REACH
from imgpkg.content.deflate.reference import BLOCK, HUFFMAN_BELOW, STORED_BELOW
from imgpkg.content.deflate.search import MatchSearch, Window
from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

# Programs need two blocks, text three, random words more.
_WARM_UP = 4 * BLOCK
# How many bytes before a chunk it needs, if the state is unknown.
HISTORY = REACH + _WARM_UP
_STRETCH = 8 * BLOCK


@dataclass(frozen=True, slots=True)
class Chunk:
    """Blocks of a stream: the bytes of `data` from `start` on, whole blocks except at the end of the stream.

    Before `start` lie all bytes before the blocks, or the last `HISTORY` of them; the last 32768 are enough
    if the `state` of the search there is known.
    """

    data: bytes
    start: int
    state: bytes = b""

    @property
    def starts(self) -> range:
        """Where the stretches of the chunk begin in `data`, each of eight blocks."""
        return range(self.start, len(self.data), _STRETCH)

    def stretch(self, start: int, state: bytes) -> Chunk:
        """Return the stretch at `start`, where the search has `state`."""
        begin = max(0, start - REACH)
        return Chunk(self.data[begin : start + _STRETCH], start - begin, state)


@dataclass(frozen=True, slots=True)
class Encoded:
    """The blocks of a stretch, each coded or, where that is longer, as it is.

    They are right if `before` is the state in which the search of what lies before them ends, its `after`.
    """

    before: bytes
    after: bytes
    blocks: tuple[Coded | bytes, ...]


def encode_chunk(chunk: Chunk) -> Iterator[Encoded]:
    """Encode a chunk, one stretch after the other."""
    search = MatchSearch(Window(chunk.data))
    if chunk.state:
        search.restore(chunk.state, chunk.start)
    elif chunk.start:
        _warm_up(search, chunk.start)
    before = search.state(chunk.start)
    for start in chunk.starts:
        end = min(start + _STRETCH, len(chunk.data))
        blocks = tuple(
            _encoded(chunk.data[at : min(at + BLOCK, end)], search, at) for at in range(start, end, BLOCK)
        )
        after = search.state(end)
        yield Encoded(before, after, blocks)
        before = after


def _warm_up(search: MatchSearch, end: int) -> None:
    """Bring a search to `end` that has probably stored there what one from the start of the stream has."""
    begin = end % BLOCK or BLOCK
    search.seed(max(0, begin - REACH), begin)
    for start in range(begin, end, BLOCK):
        search.tokens(start, start + BLOCK)


def _encoded(block: bytes, search: MatchSearch, start: int) -> Coded | bytes:
    if len(block) < STORED_BELOW:
        return block
    if len(block) < HUFFMAN_BELOW:
        return encode(block, None) or block
    tokens = search.tokens(start, start + len(block))
    # Matches must save at least 1/16 of the symbols; else only literals are written.
    is_plain = len(tokens.order) > len(block) - (len(block) >> 4)
    return encode(block, None if is_plain else tokens) or block
