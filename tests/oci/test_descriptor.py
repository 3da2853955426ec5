"""Digests and the reader that verifies: nothing wrong is ever seen as the end of a stream."""

from __future__ import annotations

import array
import hashlib
import io
import shutil
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.errors import InvalidReference, VerificationError
from imgpkg.events import CountingReader
from imgpkg.oci.descriptor import BLOCK, Digest, Readable, VerifiedReader, verified, verify

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


class Drops:
    """A stream of `data` that gives at most so many bytes at a time, then as many as fit."""

    def __init__(self, data, *sizes):
        self.source, self.sizes = io.BytesIO(data), list(sizes)

    def readinto(self, buffer):
        return self.source.readinto(buffer[: self.sizes.pop(0)] if self.sizes else buffer)


def blob(data, *sizes):
    """Return the verified stream of `data`, which comes in pieces of these sizes."""
    return VerifiedReader(Drops(data, *sizes), Digest.of(data), len(data))


class TestABinaryFile:
    def test_goes_where_a_file_of_the_standard_library_goes(self):
        data = bytes(range(256)) * 3000
        copied = io.BytesIO()
        shutil.copyfileobj(blob(data), copied)
        assert copied.getvalue() == io.BufferedReader(blob(data, 1, 2)).read() == data
        assert isinstance(blob(data), io.BufferedIOBase)
        assert io.BufferedReader(blob(data)).name == str(Digest.of(data))
        assert [*io.TextIOWrapper(blob("ä\nb".encode(), 1), encoding="utf-8")] == ["ä\n", "b"]
        assert [*blob(b"one\ntwo", 2)] == [b"one\n", b"two"]

    @pytest.mark.parametrize("kind", ["", "gz"])
    def test_is_read_as_a_tar_file(self, kind):
        data, archive = bytes(range(256)) * 3000, io.BytesIO()
        with tarfile.open(fileobj=archive, mode=f"w|{kind}") as tar:
            for name in ("a", "b"):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        stream = blob(archive.getvalue(), 700, 5)
        with stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
            assert [tar.extractfile(member).read() for member in tar] == [data, data]

    @given(st.binary(max_size=40), st.lists(st.integers(1, 7)), st.lists(st.integers(-1, 9) | st.none()))
    def test_returns_what_another_one_returns(self, data, pieces, sizes):
        """io.BufferedIOBase.read: fewer bytes than were asked for only at the end."""
        reader, like = blob(data, *pieces), io.BytesIO(data)
        assert [reader.read(size) for size in sizes] == [like.read(size) for size in sizes]

    def test_has_less_at_a_time_where_that_is_asked_for(self):
        reader = blob(b"abcdef", 2, 3)
        pieces = [reader.read1(1), reader.read1(), reader.read1(0), reader.read1(2)]
        assert pieces == [b"a", b"bcd", b"", b"ef"]
        assert (reader.readinto(bytearray()), reader.read()) == (0, b"")

    def test_fills_arrays_of_any_kind(self):
        numbers = array.array("H", [0, 0, 7])
        reader = blob(b"\1\0\2\0", 4)
        assert (reader.readinto1(numbers), list(numbers)) == (4, [1, 2, 7])

    def test_can_be_read_and_nothing_else(self):
        reader = blob(b"abc")
        assert (reader.readable(), reader.writable(), reader.seekable()) == (True, False, False)
        for refused in (reader.tell, reader.fileno, lambda: reader.seek(0), lambda: reader.write(b"")):
            with pytest.raises(io.UnsupportedOperation):
                refused()

    def test_releases_what_it_came_from_once_when_it_is_closed(self):
        released = []
        reader = VerifiedReader(io.BytesIO(b"abc"), Digest.of(b"abc"), 3, lambda: released.append(1))
        with reader as entered:
            assert (entered is reader, reader.read(1)) == (True, b"a")
        reader.close()
        assert (reader.closed, released) == (True, [1])
        for read in (reader.read, reader.read1, lambda: reader.readinto(bytearray(1))):
            with pytest.raises(ValueError, match="closed"):
                read()

    def test_of_no_content_of_its_own_has_no_name_and_cannot_be_read(self):
        assert Readable().name == ""
        with pytest.raises(NotImplementedError):
            Readable().read()


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

    def test_reads_a_block_at_a_time_however_much_is_asked_for(self):
        data = bytes(BLOCK + 1)
        reader = VerifiedReader(io.BytesIO(data), Digest.of(data), len(data))
        assert [len(reader.read1()), len(reader.read1(1 << 30)), len(reader.read1())] == [BLOCK, 1, 0]

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
        passing_on = CountingReader(reader, [].append)
        assert verified(passing_on, Digest.of(b"abc"), 3) is passing_on

    @pytest.mark.parametrize("other", [(Digest.of(b"abd"), 3), (Digest.of(b"abc"), 4)])
    def test_is_put_around_one_for_other_content(self, other):
        stream = VerifiedReader(io.BytesIO(b"abc"), Digest.of(b"abc"), 3)
        with pytest.raises(VerificationError):
            drain(verified(CountingReader(stream, [].append), *other))

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


def test_a_digest_is_read_from_a_text_of_any_kind():
    class Text(str):
        __slots__ = ()

    text = f"sha256:{'a' * 64}"
    assert Digest.parse(Text(text)) == Digest.parse(text)
