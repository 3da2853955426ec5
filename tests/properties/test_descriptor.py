"""Verified streams: however the bytes arrive, only the right ones ever come to an end."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from imgpkg.errors import InvalidReference, VerificationError
from imgpkg.oci.descriptor import Digest, VerifiedReader


class Pieces:
    """A stream of these pieces, none of them empty."""

    def __init__(self, pieces):
        self._pieces = [piece for piece in pieces if piece]

    def readinto(self, buffer):
        piece = self._pieces.pop(0) if self._pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


@given(st.lists(st.binary(max_size=5), max_size=6), st.binary(max_size=12) | st.none())
def test_a_stream_ends_exactly_when_it_is_what_was_promised(pieces, promised):
    """The rule: "Blobs: size and sha256 checked at end of stream"."""
    sent = b"".join(pieces)
    wanted = sent if promised is None else promised
    reader = VerifiedReader(Pieces(pieces), Digest.of(wanted), len(wanted))
    seen = b""
    try:
        while piece := reader.read(1 << 20):
            seen += piece
    except VerificationError:
        assert sent != wanted
        assert len(seen) <= max(len(wanted) - 1, 0) or seen == wanted
    else:
        assert seen == sent == wanted


@given(st.binary(max_size=5), st.sampled_from(["sha256", "sha512"]))
def test_a_digest_prints_as_it_is_read(data, algorithm):
    """OCI image spec, descriptor.md: digest ::= algorithm ":" encoded."""
    text = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
    assert str(Digest.parse(text)) == text


@given(st.text("sha256:512abf", max_size=140) | st.text(max_size=20))
def test_any_text_is_a_digest_or_an_invalid_reference(text):
    """The rule: "unsupported digest algorithm", "invalid checksum digest format" and "length"."""
    try:
        outcome = str(Digest.parse(text))
    except InvalidReference as error:
        outcome = error.message.partition(": ")[2]
    assert outcome == text
