"""Streams of bytes for the encoders."""

from __future__ import annotations

import random

from hypothesis import strategies as st


@st.composite
def repetitive(draw):
    """Draw bytes with copies of earlier ones at all distances, which overlap or follow each other."""
    data = bytearray(draw(st.binary(min_size=20, max_size=300)))
    for _ in range(draw(st.integers(0, 30))):
        distance = draw(st.integers(1, len(data)))
        length = draw(st.one_of(st.integers(1, 12), st.integers(1, 700)))
        piece = bytes(data[-distance:])
        data += (piece * (length // distance + 1))[:length]
        data += draw(st.binary(max_size=6))
    return bytes(data)


def words(seed, number, size):
    """Make a text of random words: the more `number`, the longer a search depends on where it began."""
    chosen = random.Random(seed)
    dictionary = [bytes(chosen.choices(b"abcdefghijklmnop", k=chosen.randint(3, 9))) for _ in range(number)]
    return b" ".join(chosen.choices(dictionary, k=size // 4))[:size]
