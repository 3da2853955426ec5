"""Digests and the reader that verifies: nothing wrong is ever seen as the end of a stream."""

from __future__ import annotations

import hashlib
import io

import pytest

from imgpkg.errors import InvalidReference, VerificationError
from imgpkg.events import CountingReader, silent
from imgpkg.oci.descriptor import BLOCK, Descriptor, Digest, VerifiedReader, verified, verify

A256, A512 = "sha256:" + "a" * 64, "sha512:" + "a" * 128


class TestADigest:
    @pytest.mark.parametrize("text", [A256, A512, "sha256:" + "0123456789abcdef" * 4])
    def test_prints_as_it_was_read(self, text):
        assert str(Digest.parse(text)) == text

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "unsupported digest algorithm: "),
            ("sha256", "unsupported digest algorithm: sha256"),
            ("md5:" + "a" * 32, "unsupported digest algorithm: md5:" + "a" * 32),
            ("SHA256:" + "a" * 64, "unsupported digest algorithm: SHA256:" + "a" * 64),
            ("sha256:" + "A" * 64, "invalid checksum digest format: sha256:" + "A" * 64),
            ("sha256:" + "g" * 64, "invalid checksum digest format: sha256:" + "g" * 64),
            (A256 + "\n", f"invalid checksum digest format: {A256}\n"),
            ("sha256:", "invalid checksum digest length: sha256:"),
            ("sha256:abc", "invalid checksum digest length: sha256:abc"),
            (A256 + "a", f"invalid checksum digest length: {A256}a"),
            ("sha512:" + "a" * 64, "invalid checksum digest length: sha512:" + "a" * 64),
        ],
    )
    def test_of_another_form_is_refused_by_name(self, text, message):
        with pytest.raises(InvalidReference) as caught:
            Digest.parse(text)
        assert caught.value.message == message

    def test_of_bytes_is_their_sha256(self):
        assert Digest.of(b"abc").hex == hashlib.sha256(b"abc").hexdigest()

    def test_compares_by_value(self):
        assert Digest.of(b"abc") == Digest.parse(str(Digest.of(b"abc")))
        assert sorted([Digest.parse(A512), Digest.parse(A256)]) == [Digest.parse(A256), Digest.parse(A512)]


class Trickle:
    """A stream that gives these pieces, whatever the size of the buffer."""

    def __init__(self, *pieces):
        self.pieces = list(pieces)

    def readinto(self, buffer):
        piece = self.pieces.pop(0) if self.pieces else b""
        buffer[: len(piece)] = piece
        return len(piece)


def drain(reader):
    pieces = []
    buffer = bytearray(1 << 20)
    while count := reader.readinto(buffer):
        pieces.append(bytes(buffer[:count]))
    return pieces


class TestAVerifiedReader:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_hands_out_what_verifies(self, algorithm):
        digest = Digest(algorithm, hashlib.new(algorithm, b"abcdef").hexdigest())
        reader = VerifiedReader(Trickle(b"ab", b"c", b"def"), digest, 6)
        assert drain(reader) == [b"ab", b"c", b"def"]
        assert reader.count == 6

    def test_goes_on_saying_that_it_ended(self):
        reader = VerifiedReader(io.BytesIO(b"abc"), Digest.of(b"abc"), 3)
        assert [reader.read(2), reader.read(2), reader.read(2), reader.read(2)] == [b"ab", b"c", b"", b""]

    def test_reads_a_block_however_much_is_asked_for(self):
        data = bytes(BLOCK + 1)
        reader = VerifiedReader(io.BytesIO(data), Digest.of(data), len(data))
        assert [len(reader.read()), len(reader.read(1 << 30)), len(reader.read())] == [BLOCK, 1, 0]

    @pytest.mark.parametrize("kind", [bytearray, lambda data: memoryview(bytearray(data))])
    def test_writes_into_a_buffer_that_is_used_again(self, kind):
        reader = VerifiedReader(Trickle(b"abc", b"d"), Digest.of(b"abcd"), 4)
        buffer = kind(b"......")
        counts = [reader.readinto(buffer) for _ in range(3)]
        assert (counts, bytes(buffer)) == ([3, 1, 0], b"dbc...")

    def test_is_not_put_around_another_one_for_the_same_content(self):
        reader = VerifiedReader(io.BytesIO(b"abc"), Digest.of(b"abc"), 3)
        assert verified(reader, Digest.of(b"abc"), 3) is reader
        # A wrapper that passes on what it reads says what that is.
        passing_on = CountingReader(reader, Descriptor("", Digest.of(b"abc"), 3), silent)
        assert verified(passing_on, Digest.of(b"abc"), 3) is passing_on

    @pytest.mark.parametrize("other", [(Digest.of(b"abd"), 3), (Digest.of(b"abc"), 4)])
    def test_is_put_around_one_for_other_content(self, other):
        stream = VerifiedReader(io.BytesIO(b"abc"), Digest.of(b"abc"), 3)
        with pytest.raises(VerificationError):
            drain(verified(CountingReader(stream, Descriptor("", *other), silent), *other))

    def test_is_put_around_what_verifies_nothing(self):
        with pytest.raises(VerificationError):
            drain(verified(io.BytesIO(b"abd"), Digest.of(b"abc"), 3))

    def test_returns_no_count_of_bytes_that_are_wrong(self):
        reader = VerifiedReader(Trickle(b"abc", b"e"), Digest.of(b"abcd"), 4)
        assert reader.readinto(bytearray(9)) == 3
        with pytest.raises(VerificationError, match="checksum after reading 4 bytes"):
            reader.readinto(bytearray(9))

    def test_proves_an_empty_blob_to_be_empty(self):
        assert drain(VerifiedReader(Trickle(), Digest.of(b""), 0)) == []

    def test_does_not_take_nothing_for_something_else(self):
        with pytest.raises(VerificationError, match="after reading 0 bytes"):
            VerifiedReader(Trickle(), Digest.of(b"x"), 0).read(10)

    def test_keeps_the_last_bytes_back_when_they_are_wrong(self):
        reader = VerifiedReader(Trickle(b"ab", b"X"), Digest.of(b"abc"), 3)
        assert reader.read(2) == b"ab"
        with pytest.raises(VerificationError) as caught:
            reader.read(2)
        assert str(caught.value) == (
            "error verifying sha256 checksum after reading 3 bytes; "
            f'got "{Digest.of(b"abX")}", want "{Digest.of(b"abc")}"'
        )

    @pytest.mark.parametrize(
        ("pieces", "got"), [((b"ab",), 2), ((b"abc", b"d"), 4), ((b"abcd",), 4), ((), 0)]
    )
    def test_refuses_a_wrong_size(self, pieces, got):
        reader = VerifiedReader(Trickle(*pieces), Digest.of(b"abc"), 3)
        with pytest.raises(VerificationError) as caught:
            drain(reader)
        assert str(caught.value) == f"error verifying size; got {got}, want 3"

    @pytest.mark.parametrize("pieces", [(b"abX",), (b"ab",), (b"abcd",)])
    def test_that_failed_never_says_that_it_ended(self, pieces):
        reader = VerifiedReader(Trickle(*pieces), Digest.of(b"abc"), 3)
        for _ in range(3):
            with pytest.raises(VerificationError):
                drain(reader)


class TestBytesAtHand:
    @pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
    def test_pass_with_their_digest(self, algorithm):
        verify(b"abc", Digest(algorithm, hashlib.new(algorithm, b"abc").hexdigest()))

    def test_with_another_digest_are_refused(self):
        with pytest.raises(VerificationError) as caught:
            verify(b"abc", Digest.of(b"abd"))
        assert str(caught.value) == (
            f'manifest digest: "{Digest.of(b"abc")}" does not match requested digest: "{Digest.of(b"abd")}"'
        )


@pytest.mark.parametrize(
    "parts", [("md5", "0" * 32), ("", ""), ("sha256", ""), ("sha256", "A" * 64), ("sha512", "0" * 64)]
)
def test_a_digest_that_could_not_be_parsed_cannot_be_made(parts):
    with pytest.raises(InvalidReference):
        Digest(*parts)
