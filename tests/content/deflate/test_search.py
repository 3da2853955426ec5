"""The fast search finds the tokens of the readable one."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.content.deflate.streams import repetitive

from imgpkg.content.deflate.lz77 import MARGIN, REACH, Matcher, length_and_distance
from imgpkg.content.deflate.reference import BLOCK
from imgpkg.content.deflate.search import EMPTY, FIRST_MATCH, MatchSearch, Window

# Around the ends of what is computed at once.
SIZES = (0, 1, 3, 4, 5, 7, 8, 9, 65535, 65536, 65537, 65540, 131072, 131073)


def readable(blocks):
    """Return the tokens of the readable search, matches as pairs."""
    matcher, found = Matcher(), []
    for block in blocks:
        found.append(
            [token if token < 256 else length_and_distance(token) for token in matcher.tokens(block)]
        )
        matcher.advance(block)
    return found


def pairs(tokens):
    """Return tokens in the form of `readable`, after a look at their parts."""
    matches = list(zip(tokens.lengths, tokens.distances, strict=True))
    assert bytes(token for token in tokens.order if token < FIRST_MATCH) == tokens.literals
    return [token if token < FIRST_MATCH else matches[token - FIRST_MATCH] for token in tokens.order]


def searched(search, data, size):
    return [pairs(search.tokens(start, min(start + size, len(data)))) for start in range(0, len(data), size)]


class TestAWindow:
    @pytest.mark.parametrize("size", SIZES)
    def test_has_the_number_and_the_slot_of_each_position(self, size):
        data = random.Random(size).randbytes(size)
        window = Window(data)
        padded = data + bytes(4)
        for at in (*range(min(size, 20)), *range(max(0, size - 20), size), *range(65530, min(65545, size))):
            word = int.from_bytes(padded[at : at + 4], "little")
            product = word * 0x1E35A7BD & 0xFFFFFFFF
            assert window.words[at] == word
            assert (window.slots[at], window.marks[at]) == (product >> 18, product >> 10 & 0xFF)


class TestASearch:
    @settings(max_examples=40)
    @given(repetitive(), st.integers(0, 3000))
    def test_finds_what_the_readable_one_finds(self, data, cut):
        """In one block, or in two."""
        data += bytes(range(MARGIN + 1))
        size = cut if MARGIN < cut < len(data) - MARGIN else len(data)
        blocks = [data[start : start + size] for start in range(0, len(data), size)][:2]
        data = b"".join(blocks)
        if len(blocks[-1]) > MARGIN:
            assert searched(MatchSearch(Window(data)), data, size) == readable(blocks)

    @pytest.mark.parametrize("distance", [REACH - 1, REACH, REACH + 1])
    @pytest.mark.parametrize("length", [4, 7, 8, 257, 258, 259, 600])
    def test_finds_the_longest_match_within_reach(self, distance, length):
        chosen = random.Random(length)
        mark = chosen.randbytes(length)
        # Few different bytes, so that the search keeps its steps short and stores the mark.
        filling = b"ab" * ((distance - length) // 2) + b"a" * ((distance - length) % 2)
        data = mark + filling + mark + bytes(100)
        found = searched(MatchSearch(Window(data)), data, BLOCK)
        assert found == readable([data])
        assert ((min(length, 258), distance) in found[0]) == (distance <= REACH)

    @settings(max_examples=40)
    @given(repetitive(), st.integers(0, 4000))
    def test_goes_on_from_a_state_as_if_it_had_seen_all_before(self, data, cut):
        data += bytes(range(MARGIN + 1))
        start = min(cut, len(data) - MARGIN - 1)
        whole, later = MatchSearch(Window(data)), MatchSearch(Window(data))
        if start > MARGIN:
            whole.tokens(0, start)
        later.restore(whole.state(start), start)
        assert later.state(start) == whole.state(start)
        assert later.tokens(start, len(data)) == whole.tokens(start, len(data))

    def test_has_an_empty_state_at_first_and_forgets_what_is_out_of_reach(self):
        search = MatchSearch(Window(b"abcdefgh" * 10))
        assert search.state(0) == EMPTY
        search.seed(0, 70)
        assert search.state(70) != EMPTY
        assert search.state(69 + REACH) != EMPTY
        assert search.state(70 + REACH) == EMPTY
