"""A tar file that is read once: its list first, then each member in its order."""

from __future__ import annotations

import io

import pytest
from tests.content.archives import layers, write
from tests.servers.images import make_image

from imgpkg.content.archive.reader import member_name
from imgpkg.content.archive.stream import ArchiveStream
from imgpkg.errors import ArchiveError

IMAGES = [make_image([bytes([number]) * 3000 * number]) for number in range(1, 4)]
BLOBS = dict((member_name(blob.digest), data) for blob, data in layers(*IMAGES))  # noqa: C402 - a mapping of pairs


@pytest.fixture
def data(tmp_path):
    write(tmp_path / "a.tar", *IMAGES)
    return (tmp_path / "a.tar").read_bytes()


def test_the_members_come_with_their_content(data):
    stream = ArchiveStream(io.BytesIO(data))
    assert len(stream.items) == len(IMAGES)
    found = {name: content.read(size) for name, size, content in stream.members()}
    assert {name: BLOBS[name][: len(read)] for name, read in found.items()} == found
    assert found.keys() == BLOBS.keys()


def test_what_is_not_read_of_a_member_is_skipped(data):
    names = [name for name, _, _ in ArchiveStream(io.BytesIO(data)).members()]
    assert sorted(names) == sorted(BLOBS)


@pytest.mark.parametrize("cut", [0, 100, 600])
def test_a_stream_without_its_list_is_an_error(data, cut):
    with pytest.raises(ArchiveError):
        ArchiveStream(io.BytesIO(data[:cut]))


def test_a_member_that_is_cut_is_an_error_in_its_middle_and_when_it_is_skipped(data):
    cut = data[:-3000]
    with pytest.raises(ArchiveError, match="unexpected EOF"):
        list(ArchiveStream(io.BytesIO(cut)).members())
    with pytest.raises(ArchiveError, match="unexpected EOF"):
        [content.read(size) for _, size, content in ArchiveStream(io.BytesIO(cut)).members()]
