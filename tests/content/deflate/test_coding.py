"""The fast coding of blocks has the bits of the readable one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.content.deflate.streams import repetitive

from imgpkg.content.deflate import coding, reference
from imgpkg.content.deflate.lz77 import Matcher
from imgpkg.content.deflate.search import MatchSearch, Window

COUNTS = st.one_of(st.integers(0, 3), st.integers(0, 70000), st.sampled_from([0, 1, 1 << 14, 65535]))
# Each weight is the sum of those before it, which makes the longest words.
FIBONACCI = [1, 1]
while len(FIBONACCI) < 23:
    FIBONACCI.append(FIBONACCI[-1] + FIBONACCI[-2])


def readable(block, tokens, *, is_plain):
    bits, coded = reference.Bits(), reference._HuffmanBlock(tokens, is_plain=is_plain)
    coded.write_codes(bits)
    coded.write(bits)
    size = coded.size
    is_stored = (len(block) + 5) * 8 < size + (size >> 4)
    # Filled up to a whole byte.
    bits.put_bytes(b"")
    return None if is_stored else bits.taken()


def coded(block, tokens):
    found = coding.encode(block, tokens)
    if found is None:
        return None
    assert (found.bits + 7) // 8 == len(found.data)
    return found.data


class TestLengthsOfCodes:
    @given(st.lists(COUNTS, min_size=1, max_size=286).filter(any), st.sampled_from([7, 15]))
    def test_are_those_of_the_readable_encoder(self, counts, limit):
        if limit == reference.MAX_CODE_LENGTH:
            counts = counts[: len(reference.CODE_ORDER)]
        if any(counts):
            assert coding.code_lengths(counts, limit) == reference.code_lengths(counts, limit)

    @pytest.mark.parametrize("limit", [7, 15])
    @pytest.mark.parametrize("counts", [FIBONACCI[:19], FIBONACCI, FIBONACCI[::-1], [1] * 19, [1, 2] * 9])
    def test_are_limited_in_the_same_way(self, counts, limit):
        lengths = coding.code_lengths(counts, limit)
        assert lengths == reference.code_lengths(counts, limit)
        assert max(lengths) <= limit


class TestABlock:
    @settings(max_examples=40)
    @given(st.one_of(repetitive(), st.binary(min_size=17, max_size=500)))
    def test_of_literals_has_the_readable_bits(self, block):
        assert coded(block, None) == readable(block, block, is_plain=True)

    @settings(max_examples=40)
    @given(repetitive())
    def test_with_matches_has_the_readable_bits(self, data):
        block = data + bytes(130)
        tokens = MatchSearch(Window(block)).tokens(0, len(block))
        assert coded(block, tokens) == readable(block, Matcher().tokens(block), is_plain=False)

    def test_that_is_one_match_has_a_single_token(self):
        """The block before has all of its bytes."""
        before = bytes(range(256)) * 2
        block = before[:200]
        search, matcher = MatchSearch(Window(before + block)), Matcher()
        search.tokens(0, 512)
        matcher.tokens(before)
        matcher.advance(before)
        tokens = search.tokens(512, 712)
        assert (tokens.order, tokens.lengths) == ([256], [200])
        assert coded(block, tokens) == readable(block, matcher.tokens(block), is_plain=False)
