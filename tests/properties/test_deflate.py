"""Laws of the encoders: both write the same bytes, zlib inflates them, and no Huffman code is shorter."""

from __future__ import annotations

import heapq
import itertools
import zlib
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from imgpkg.content.deflate._deflate import FastEncoder as Fast
from imgpkg.content.deflate.reference import (
    BLOCK,
    MANY_ZEROS,
    REPEAT,
    ZEROS,
    code_lengths,
    code_words,
    run_lengths,
)
from imgpkg.content.deflate.reference import ReferenceEncoder as Reference

words = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=12)
repetitive = st.builds(
    lambda words, order: b"".join(words[index % len(words)] for index in order),
    words,
    st.lists(st.integers(0, 11), max_size=400),
)
runs = st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 9000)), max_size=25).map(
    lambda runs: b"".join(piece * count for piece, count in runs)
)
frequencies = st.lists(
    st.one_of(st.just(0), st.integers(1, 65535), st.integers(1, 4)), min_size=1, max_size=286
)


def deflated(encoder, *parts):
    return b"".join([*(encoder.compress(part) for part in parts), encoder.finish()])


def cut(data, places):
    """Cut at `places`, fractions of the whole."""
    ends = sorted(int(place * len(data)) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


def check(data):
    compressed = deflated(Fast(), data)
    assert compressed == deflated(Reference(), data)
    assert zlib.decompress(compressed, -15) == data


@settings(deadline=None)
@given(st.binary(max_size=3000))
def test_both_encoders_agree_on_arbitrary_bytes(data):
    check(data)


@settings(deadline=None)
@given(repetitive)
def test_both_encoders_agree_on_words_again_and_again(data):
    check(data)


@settings(deadline=None, max_examples=40)
@given(runs, st.binary(max_size=300))
def test_both_encoders_agree_on_runs_across_blocks(data, end):
    check(data + end)


@settings(deadline=None, max_examples=40)
@given(st.integers(BLOCK - 300, BLOCK + 300), repetitive)
def test_both_encoders_agree_around_the_end_of_a_block(start, data):
    check((data * (start // max(1, len(data)) + 1))[:start] + data)


@settings(deadline=None, max_examples=40)
@given(runs, st.lists(st.floats(0, 1), max_size=9))
def test_the_bytes_do_not_depend_on_how_the_input_is_cut(data, places):
    whole = deflated(Fast(), data)
    assert deflated(Fast(), *cut(data, places)) == whole
    assert deflated(Reference(), *cut(data, places)) == whole


def textbook(counts):
    """Return the bits of Huffman's own construction: always join the two lightest."""
    heap = list(counts)
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


def cost(counts, lengths):
    return sum(count * length for count, length in zip(counts, lengths, strict=True))


@settings(deadline=None)
@given(frequencies, st.sampled_from([9, 10, 15]))
def test_a_code_is_complete_and_within_its_limit(counts, limit):
    lengths = code_lengths(counts, limit)
    used = [length for count, length in zip(counts, lengths, strict=True) if count]
    assert all(1 <= length <= limit for length in used)
    assert sum(lengths) == sum(used)
    if len(used) > 1:
        assert sum(Fraction(1, 1 << length) for length in used) == 1


@settings(deadline=None)
@given(frequencies)
def test_a_code_without_limit_is_as_short_as_huffman_s(counts):
    used = [count for count in counts if count]
    expected = textbook(used) if len(used) > 1 else sum(used)
    assert cost(counts, code_lengths(counts, 300)) == expected


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 60), min_size=3, max_size=6), st.integers(3, 4))
def test_a_limited_code_is_the_shortest_of_all_that_keep_the_limit(counts, limit):
    assert cost(counts, code_lengths(counts, limit)) == shortest(sorted(counts, reverse=True), limit)


def shortest(counts, limit):
    """Try every sequence of lengths; a lighter symbol never has a shorter word."""
    best = []

    def extend(lengths, left):
        if len(lengths) == len(counts):
            best.append(cost(counts, lengths))
            return
        for length in range(lengths[-1] if lengths else 1, limit + 1):
            if Fraction(1, 1 << length) <= left:
                extend([*lengths, length], left - Fraction(1, 1 << length))

    extend([], Fraction(1))
    return min(best)


@settings(deadline=None)
@given(frequencies)
def test_words_are_free_of_prefixes_and_canonical(counts):
    lengths = code_lengths(counts, 15)
    words = code_words(lengths)
    written = [f"{word:0{length}b}"[::-1] for word, length in zip(words, lengths, strict=True) if length]
    assert len(set(written)) == len(written)
    ordered = sorted(written)
    assert not any(after.startswith(before) for before, after in itertools.pairwise(ordered))
    by_length = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    assert [f"{words[symbol]:0{length}b}"[::-1] for length, symbol in by_length] == ordered


lengths_of_codes = st.lists(st.tuples(st.integers(0, 15), st.integers(1, 300)), min_size=1, max_size=20).map(
    lambda runs: [length for length, count in runs for _ in range(count)]
)


@given(lengths_of_codes)
def test_run_lengths_say_what_they_stand_for(lengths):
    plain = []
    for symbol, value in run_lengths(lengths):
        if symbol == REPEAT:
            assert 0 <= value <= 3
            plain += [plain[-1]] * (value + 3)
        elif symbol == ZEROS:
            assert 0 <= value <= 7
            plain += [0] * (value + 3)
        elif symbol == MANY_ZEROS:
            assert 0 <= value <= 127
            plain += [0] * (value + 11)
        else:
            plain.append(symbol)
    assert plain == lengths
