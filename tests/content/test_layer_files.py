"""One layer: nothing of it is seen before it is verified, and what it costs to read has limits."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import tempfile
import tracemalloc

import pytest
from tests.content.tars import file, folder, layer, link, tar

from imgpkg.content.layer_files import Allowance, LayerFiles
from imgpkg.errors import LocalIOError, UnpackError, VerificationError
from imgpkg.oci.descriptor import BLOCK, VerifiedReader

MADE = []
WRAPS = [lambda data: data, gzip.compress]


def opened(*members, wrap=gzip.compress, **options):
    descriptor, stream = layer(wrap(tar(*members, **options)))
    files = LayerFiles(stream, descriptor, Allowance())
    MADE.append(files)
    return files


def read(files, name, **options):
    with files.open(files.index.members[name], **options) as stream:
        return stream.read()


@pytest.fixture(autouse=True)
def _closed():
    """Close all layers of a test."""
    yield
    while MADE:
        MADE.pop().close()


@pytest.fixture
def left(tmp_path, monkeypatch):
    """The folder of temporary files, which nothing may be left in."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    assert os.listdir(tmp_path) == []


class TestTheContent:
    @pytest.mark.parametrize("wrap", WRAPS)
    def test_is_that_of_each_file_in_any_order(self, wrap, left):
        texts = {b"a": b"one", b"b/c": bytes(range(256)) * 5000, b"b/d": b"", b"e": b"five"}
        files = opened(*(file(name.decode(), text) for name, text in texts.items()), wrap=wrap)
        for names in (texts, reversed(texts), texts):
            assert {name: read(files, name) for name in names} == texts
        files.close()

    def test_may_be_read_from_several_files_at_once(self):
        files = opened(file("a", b"a" * 600_000), file("b", b"b" * 600_000))
        with files.open(files.index.members[b"a"]) as a, files.open(files.index.members[b"b"]) as b:
            pairs = [(a.read(100_000), b.read(100_000)) for _ in range(7)]
        assert b"".join(one for one, _ in pairs) == b"a" * 600_000
        assert b"".join(two for _, two in pairs) == b"b" * 600_000

    def test_is_decompressed_once_for_files_in_order(self):
        members = [file(f"{n:03}", os.urandom(20_000)) for n in range(30)]
        files = opened(*members)
        with files.open(files.index.members[b"000"]) as first:
            first.read(1)
        idle = files._idle
        for name in files.index.members:
            assert len(read(files, name)) == 20_000
            assert files._idle is idle or name == b"000"
            idle = files._idle

    def test_with_several_names_is_kept_for_the_next_of_them(self):
        files = opened(file("a", b"shared"), file("b", b"x" * BLOCK))
        assert read(files, b"b") == b"x" * BLOCK
        idle = files._idle
        assert [read(files, b"a", is_shared=True) for _ in range(3)] == [b"shared"] * 3
        assert files._idle is idle

    def test_is_closed_with_the_layer(self, left):
        files = opened(file("a", bytes(3 * BLOCK)))
        stream = files.open(files.index.members[b"a"])
        assert len(stream.read(10)) == 10
        files.close()
        with pytest.raises(ValueError, match="closed"):
            stream.read()
        with pytest.raises(ValueError, match="closed"):
            files.open(files.index.members[b"a"])
        stream.close()
        with pytest.raises(ValueError, match="closed"):
            stream.read()

    def test_is_never_held_whole(self):
        descriptor, stream = layer(gzip.compress(tar(file("big", bytes(24 << 20)), file("last", b"x")), 1))
        tracemalloc.start()
        try:
            files = LayerFiles(stream, descriptor, Allowance())
            MADE.append(files)
            with files.open(files.index.members[b"big"]) as content:
                assert sum(map(len, iter(lambda: content.read(1 << 16), b""))) == 24 << 20
            assert read(files, b"last") == b"x"
            assert tracemalloc.get_traced_memory()[1] < 4 << 20
        finally:
            tracemalloc.stop()

    def test_of_a_sparse_file_is_refused(self):
        files = opened(file("a", b"0", pax_headers={"GNU.sparse.major": "1"}))
        with pytest.raises(UnpackError, match="'a' is a sparse file"):
            files.open(files.index.members[b"a"])


class TestTheIndex:
    def test_has_the_last_entry_of_each_name(self):
        files = opened(file("a", b"old"), file("b"), file("./a", b"new"), folder("top/"), file("/c//d"))
        assert list(files.index.members) == [b"b", b"a", b"top", b"c/d"]
        assert files.index.folders == {b"c"}
        assert read(files, b"a") == b"new"

    def test_has_what_is_hidden(self):
        names = ["a/.wh.b", ".wh.c", "d/.wh..wh..opq", ".wh..wh.aufs", "e/.wh..wh.plnk"]
        index = opened(*map(file, names)).index
        assert (index.members, index.hidden, index.opaque) == ({}, {b"a/b", b"c"}, {b"d"})
        hidden = [b"a/b", b"a/b/x", b"c", b"d/x", b"d/x/y"]
        assert [path for path in [*hidden, b"a", b"a/x", b"d", b"e"] if index.hides(path)] == hidden

    def test_has_directories_of_512_levels(self):
        path = "/".join("d" * 512)
        index = opened(file(path), folder(path + "/../e")).index
        assert len(index.folders) == 511
        assert [len(name) for name in index.members] == [1023, 1023]

    def test_has_nothing_below_a_file(self):
        index = opened(
            file("a/b"), file("a/c/d"), file("a"), file("l/m"), link("l", "x"), file("l/kept")
        ).index
        assert (list(index.members), index.folders) == ([b"a", b"l", b"x/kept"], {b"x"})

    def test_may_be_empty(self):
        assert opened().index.members == opened(wrap=lambda _: b"").index.members == {}

    @pytest.mark.parametrize("kind", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    def test_has_long_names_and_targets(self, kind):
        name, target = "n" * 300, "t" * 300
        index = opened(link(name, target), link("plain", "short"), file("last"), kind=kind).index
        assert [member.entry.link for member in index.members.values()] == [target.encode(), b"short", b""]

    @pytest.mark.parametrize(
        ("member", "words"),
        [
            (file("../a"), "Expected entry '../a' to stay within the image"),
            (link("a", "b/../../c", tarfile.LNKTYPE), "Expected entry 'b/../../c' to stay within"),
            (file("a/.wh."), "'.wh.' in 'a' is no whiteout"),
            (file(".wh..."), "is no whiteout"),
            (file("d/" * 512 + "n"), "an entry is 513 directories deep"),
            (file("n" * 4097), "name or target of 4097 bytes"),
            (link("a", "t" * 5000), "name or target of 5000 bytes"),
            (file("a", type=b"V"), "Unsupported tar entry type 'V' for file 'a'"),
        ],
    )
    def test_refuses_what_no_image_has(self, member, words, left):
        with pytest.raises(UnpackError) as caught:
            opened(member)
        assert words in str(caught.value)

    def test_has_a_limit_for_all_names_together(self):
        descriptor, stream = layer(tar(*(file(f"{n}") for n in range(9))))
        with pytest.raises(UnpackError, match="more files than can be listed"):
            LayerFiles(stream, descriptor, Allowance(9 * 400))


class TestTheCopy:
    @pytest.mark.parametrize("sent", [b"short", b"l" + bytes(4000), b"x" * 10240])
    def test_is_verified_before_it_is_parsed(self, sent, left):
        descriptor, _ = layer(tar(file("a", b"secret")))
        stream = VerifiedReader(io.BytesIO(sent), descriptor.digest, descriptor.size)
        with pytest.raises(VerificationError):
            LayerFiles(stream, descriptor, Allowance())

    def test_that_is_damaged_is_removed(self, left):
        descriptor, stream = layer(gzip.compress(b"no tar file at all" * 100))
        with pytest.raises(UnpackError):
            LayerFiles(stream, descriptor, Allowance())

    def test_that_cannot_be_written_is_reported(self, monkeypatch, tmp_path):
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
        with pytest.raises(LocalIOError, match=r"create a temporary file in .*/missing: no such file"):
            opened(file("a"))
