"""Chunks that are encoded apart are what one encoder writes, or are known not to be."""

from __future__ import annotations

import random

import pytest
from tests.content.deflate.streams import words

from imgpkg.content.deflate.chunk import HISTORY, Chunk, encode_chunk
from imgpkg.content.deflate.reference import BLOCK
from imgpkg.content.deflate.search import EMPTY

STRETCH = 8 * BLOCK


@pytest.mark.parametrize(
    "make",
    [bytes, random.Random(1).randbytes, lambda size: words(1, 50, size)],
    ids=["zeros", "noise", "words"],
)
def test_a_chunk_without_a_state_fits_to_the_one_before(make):
    data = make(STRETCH + 2 * BLOCK)
    first, second = encode_chunk(Chunk(data, 0))
    assert first.before == EMPTY
    (apart,) = encode_chunk(Chunk(data[STRETCH - HISTORY :], HISTORY))
    assert apart == second
    assert first.after == second.before


def test_a_search_that_began_elsewhere_is_found_out():
    """Random words repeat at about the distance that is the reach of matches."""
    data = words(0, 3000, STRETCH + BLOCK)
    first, second = encode_chunk(Chunk(data, 0))
    chunk = Chunk(data[STRETCH - HISTORY :], HISTORY)
    (apart,) = encode_chunk(chunk)
    assert apart.before != first.after
    assert apart.blocks != second.blocks
    (again,) = encode_chunk(chunk.stretch(HISTORY, first.after))
    assert again == second


def test_the_last_blocks_of_a_stream_may_be_short():
    sizes = (1, 16, 17, 127, 128, BLOCK, BLOCK + 1, BLOCK + 128)
    encoded = [next(encode_chunk(Chunk(bytes(size), 0))) for size in sizes]
    assert [len(each.blocks) for each in encoded] == [1, 1, 1, 1, 1, 1, 2, 2]
    is_stored = [isinstance(each.blocks[-1], bytes) for each in encoded]
    assert is_stored == [True, True, False, False, False, False, True, False]


def test_a_chunk_is_cut_into_stretches():
    chunk = Chunk(bytes(2 * STRETCH + 5), 0)
    assert list(chunk.starts) == [0, STRETCH, 2 * STRETCH]
    last = chunk.stretch(2 * STRETCH, EMPTY)
    assert (last.start, len(last.data)) == (32768, 32768 + 5)
