"""A tar file in pieces is the same tar file, and every piece that is not as it was is named."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.content.archives import layers, opener, write, writer
from tests.content.steps import before
from tests.servers.images import make_image

from imgpkg.content.archive.pieces import MOST_PIECES, PieceMap
from imgpkg.content.archive.reader import Archive
from imgpkg.content.store import Extent
from imgpkg.errors import ArchiveError, ImgpkgError, LocalIOError, UnpackError, UsageError

IMAGES = [make_image([os.urandom(3000 * number), b"shared" * 100]) for number in range(1, 6)]
BLOBS = layers(*IMAGES)
EXTRA = make_image([os.urandom(9000)])
SIZE = 20_000
CHANGES = ("os.rename", "os.remove", "os.truncate", "open")


@pytest.fixture
def path(tmp_path):
    (tmp_path / "pieces").mkdir()
    return tmp_path / "pieces" / "a.tar"


@pytest.fixture
def whole(tmp_path):
    write(tmp_path / "whole.tar", *IMAGES)
    return (tmp_path / "whole.tar").read_bytes()


@pytest.fixture
def split(path, whole):
    """The paths of all pieces of a file."""
    write(path, *IMAGES, split=SIZE)
    return sorted(path.parent.glob("a.tar.[0-9]*"))


def names(folder):
    return sorted(each.name for each in folder.iterdir())


def joined(path):
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob("a.tar.[0-9][0-9][0-9]")))


def interrupted(path, count):
    """Write the first `count` blobs, then fail."""
    with writer(path, *IMAGES, split=SIZE) as target:
        for blob, data in BLOBS[:count]:
            target.write(blob, opener(data))
        raise UnpackError("the network is gone")


def read_all(path):
    with Archive(str(path)) as archive:
        archive.check_pieces()
        archive.verify(blob for blob, _ in BLOBS)


class TestTheMapping:
    @given(st.integers(1, 500), st.integers(1, 60), st.integers(0, 520), st.integers(0, 520))
    def test_has_each_byte_once_and_in_its_place(self, size, piece, at, count):
        places = PieceMap.cut(size, max(piece, -(-size // MOST_PIECES)))
        assert sum(places.sizes) == places.size == size
        assert len(set(places.sizes[:-1])) <= 1
        offsets = [
            places.bounds[number] + part.offset + step
            for number, part in places.parts(Extent(at, count))
            for step in range(part.size)
        ]
        assert offsets == list(range(at, min(at + count, size)))

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=9))
    def test_is_that_of_any_files(self, sizes):
        places = PieceMap.of(sizes)
        assert places.sizes == tuple(sizes)
        assert sum(part.size for _, part in places.parts(Extent(0, places.size))) == sum(sizes)

    def test_has_no_more_pieces_than_files_can_be_open(self):
        with pytest.raises(UsageError, match="at most 900 are read"):
            PieceMap.cut(901, 1)

    def test_of_four_gibibytes_fits_on_fat(self):
        assert PieceMap.cut(9 << 30, 4 << 30).sizes[0] == (4 << 30) - 1


class TestWriting:
    def test_the_pieces_are_the_tar_byte_for_byte(self, path, split, whole):
        assert b"".join(each.read_bytes() for each in split) == whole
        assert [each.stat().st_size for each in split[:-1]] == [SIZE] * (len(split) - 1)
        assert names(path.parent) == [*(each.name for each in split), "a.tar.sha256sums"]
        assert len(split) > 2

    def test_sha256sum_checks_the_list(self, path, split):
        done = subprocess.run(
            ["sha256sum", "-c", "a.tar.sha256sums"],
            cwd=path.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == "".join(f"{each.name}: OK\n" for each in split)

    def test_a_smaller_file_later_leaves_no_old_piece(self, path, split):
        write(path, EXTRA, split=SIZE)
        assert names(path.parent) == ["a.tar.001", "a.tar.sha256sums"]

    @pytest.mark.parametrize("size", [SIZE, 7000, 1 << 20])
    def test_a_resumed_file_takes_what_verifies_whatever_the_pieces_were(self, path, whole, size):
        with pytest.raises(UnpackError):
            interrupted(path, 4)
        assert all(name.endswith(".partial") for name in names(path.parent))
        written = write(path, *IMAGES, split=size, resume=True)
        assert written == [blob.digest for blob, _ in BLOBS[4:]]
        assert joined(path) == whole
        assert not [name for name in names(path.parent) if name.endswith(".partial")]

    def test_complete_pieces_are_resumed_although_one_is_lost(self, path, split, whole):
        split[-2].unlink()
        written = write(path, *IMAGES, split=SIZE, resume=True)
        assert 0 < len(written) < len(BLOBS)
        assert joined(path) == whole

    def test_a_whole_file_of_the_name_is_in_the_way(self, path):
        path.write_bytes(b"mine")
        with pytest.raises(LocalIOError, match="in place of its pieces"):
            write(path, *IMAGES, split=SIZE)
        assert names(path.parent) == ["a.tar"]

    @pytest.mark.parametrize("old", ["nothing", "another file"])
    def test_a_copy_that_is_killed_anywhere_is_finished_by_the_next(self, path, whole, old):
        number = 0
        while True:
            number += 1
            for each in path.parent.iterdir():
                each.unlink()
            if old == "another file":
                write(path, EXTRA, split=4000)
            child = os.fork()
            if not child:
                try:
                    with before(number, lambda *_: os._exit(9), events=CHANGES):
                        write(path, *IMAGES, split=SIZE)
                finally:
                    os._exit(0)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
                break
            written = write(path, *IMAGES, split=SIZE, resume=True)
            assert joined(path) == whole, number
            assert not [name for name in names(path.parent) if name.endswith(".partial")], number
        assert number > 20
        # The last kill was after all pieces were there.
        assert written == []
        read_all(path)


class TestReading:
    def test_takes_the_name_of_the_whole_and_of_each_piece(self, path, split):
        for name in (path, *split):
            read_all(name)

    def test_of_a_single_piece_without_a_list_reads_that_file(self, path, whole):
        path.with_name("a.tar.001").write_bytes(whole)
        read_all(path.with_name("a.tar.001"))
        read_all(path)

    def test_of_a_blob_in_several_pieces_gives_its_bytes(self, path, whole):
        write(path, *IMAGES, split=500)
        with Archive(str(path)) as archive:
            for blob, data in BLOBS:
                with archive.blob(blob) as stream:
                    assert b"".join(iter(lambda stream=stream: stream.read(100), b"")) == data
                parts = archive.extents(blob)
                assert sum(extent.size for _, extent in parts) == len(data)

    def test_names_every_missing_piece(self, path, split):
        split[0].unlink()
        split[-1].unlink()
        with pytest.raises(ArchiveError, match=r"2 of \d pieces of .*: .*a\.tar\.001, .*a\.tar\.00\d$"):
            Archive(str(path))

    def test_names_a_missing_last_piece_without_a_list_as_an_incomplete_file(self, path, split):
        path.with_name("a.tar.sha256sums").unlink()
        split[-1].unlink()
        with pytest.raises(ArchiveError) as caught:
            Archive(str(path))
        assert "with the pieces that follow it is incomplete" in caught.value.hints[0]

    @pytest.mark.parametrize("at", [0, 1, -1])
    def test_names_a_truncated_piece(self, path, split, at):
        os.truncate(split[at], split[at].stat().st_size - 10)
        with pytest.raises(ImgpkgError, match=split[at].name):
            read_all(path)

    @pytest.mark.parametrize("at", [0, 1, -1])
    def test_names_a_damaged_piece(self, path, split, at):
        data = bytearray(split[at].read_bytes())
        data[5] ^= 1
        split[at].write_bytes(data)
        with pytest.raises(ArchiveError, match=f"{split[at].name} is damaged \\(by a.tar.sha256sums\\)"):
            read_all(path)

    @pytest.mark.parametrize("pair", [(0, 1), (1, 2)])
    def test_names_pieces_that_have_changed_places(self, path, split, pair):
        one, two = (split[number] for number in pair)
        first, second = one.read_bytes(), two.read_bytes()
        one.write_bytes(second)
        two.write_bytes(first)
        with pytest.raises(ArchiveError) as caught:
            read_all(path)
        assert f"{one} has the bytes of {two.name}" in str(caught.value)
        assert f"{two} has the bytes of {one.name}" in str(caught.value)

    def test_names_a_piece_of_another_file(self, path, split):
        (path.parent / f"a.tar.{len(split) + 1:03}").write_bytes(b"more")
        with pytest.raises(ArchiveError, match=r"is not in .*a\.tar\.sha256sums|damaged"):
            read_all(path)

    def test_of_a_damaged_list_says_so(self, path, split):
        path.with_name("a.tar.sha256sums").write_text("not a list\n")
        with pytest.raises(ArchiveError, match="not a list as sha256sum writes it"):
            read_all(path)
