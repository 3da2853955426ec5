"""Parts of files as streams, and blobs in the shape of open files."""

from __future__ import annotations

import contextlib
import io
import os

import pytest

from imgpkg.content.store import Extent, FileRange, OpenedBlob
from imgpkg.errors import LocalIOError


@pytest.fixture
def opened(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


class TestAPartOfAFile:
    def test_is_read_and_written_into_buffers_in_turn(self, opened):
        part, buffer = FileRange(opened, "file", Extent(2, 6)), bytearray(4)
        assert part.read(1) == b"2"
        assert (part.readinto(buffer), buffer) == (4, b"3456")
        assert (part.readinto(buffer), buffer[:1]) == (1, b"7")
        assert (part.readinto(buffer), part.read(1)) == (0, b"")

    def test_ends_where_the_file_ends(self, opened):
        part, buffer = FileRange(opened, "file", Extent(8, 100)), bytearray(50)
        assert (part.readinto(buffer), buffer[:2], part.readinto(buffer)) == (2, b"89", 0)

    def test_that_cannot_be_read_is_a_local_failure(self, tmp_path):
        folder = os.open(tmp_path, os.O_RDONLY)
        try:
            with pytest.raises(LocalIOError, match="read the folder: is a directory"):
                FileRange(folder, "the folder", Extent(0, 9)).readinto(bytearray(9))
        finally:
            os.close(folder)


def test_an_opened_blob_is_its_stream_until_it_is_left():
    with OpenedBlob(contextlib.closing(io.BytesIO(b"abcdef"))) as blob:
        buffer = bytearray(4)
        assert (blob.read(2), blob.readinto(buffer), buffer) == (b"ab", 4, b"cdef")
    with pytest.raises(ValueError, match="closed"):
        blob.readinto(buffer)
