"""Folders of artifacts: what is packed comes back, as tar programs read it, and nothing gets out."""

from __future__ import annotations

import errno
import gzip
import io
import os
import socket
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.content.tars import file, folder, link, tar, tree

from imgpkg.content.artifact_folder import folder_size, leads_out, pack_folder, unpack_folder
from imgpkg.content.artifact_output import title_parts
from imgpkg.errors import LocalIOError, UnpackError, VerificationError
from imgpkg.events import silent
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest, VerifiedReader


@pytest.fixture
def site(tmp_path):
    """A folder with everything that a folder of an artifact may have."""
    root = tmp_path / "in" / "site"
    (root / "empty").mkdir(parents=True)
    (root / "css").mkdir()
    (root / "css" / "a.css").write_text("a {}")
    (root / "run.sh").write_text("#!/bin/sh\n")
    (root / "run.sh").chmod(0o700)
    (root / "é").write_bytes(b"")
    (root / "css" / "run").symlink_to("../run.sh")
    (root / ("l" * 120)).symlink_to("css/" + "a" * 120)
    return root


def packed(path, title="site"):
    with pack_folder(str(path), title, silent, add=[].append) as layer, layer.open() as stream:
        data = stream.read(1 << 24)
    assert layer.descriptor.digest == Digest.of(data)
    assert layer.diff_id == Digest.of(gzip.decompress(data))
    assert layer.descriptor.media_type == media.OCI_LAYER_GZIP
    return data


def unpacked(data, output, title="site"):
    output.mkdir(exist_ok=True)
    stream = VerifiedReader(io.BytesIO(data), Digest.of(data), len(data))
    unpack_folder(stream, title_parts(title), str(output))
    return tree(output)


class TestAFolder:
    def test_comes_back_with_links_and_empty_folders(self, site, tmp_path):
        out = tmp_path / "out"
        assert unpacked(packed(site), out) == tree(site.parent)
        assert os.access(out / "site" / "run.sh", os.X_OK)
        assert (out / "site" / "run.sh").stat().st_mode & 0o777 == 0o755
        assert (out / "site" / "css" / "a.css").stat().st_mode & 0o777 == 0o644

    def test_is_a_tar_under_its_own_name_for_other_programs(self, site):
        with tarfile.open(fileobj=io.BytesIO(packed(site, "a/site"))) as archive:
            members = {member.name: member for member in archive.getmembers()}
        assert next(iter(members)) == "a/site"
        assert all(name.startswith("a/site") for name in members)
        assert members["a/site/css/run"].linkname == "../run.sh"
        assert members["a/site/" + "l" * 120].linkname == "css/" + "a" * 120
        assert {member.mtime for member in members.values()} == {0}

    def test_has_the_same_bytes_whatever_the_permissions_of_others_are(self, site):
        before = packed(site)
        (site / "css" / "a.css").chmod(0o600)
        os.utime(site / "run.sh", (5, 5))
        assert packed(site) == before

    def test_says_how_far_it_is(self, site):
        seen = []
        with pack_folder(str(site), "site", silent, add=seen.append):
            pass
        assert sum(seen) == folder_size(str(site))

    @pytest.mark.parametrize("target", ["/etc/passwd", "..", "../x", "css/../../x", "css/../run.sh"])
    def test_with_a_link_that_may_lead_out_is_not_packed(self, site, target):
        (site / "bad").symlink_to(target)
        with pytest.raises(LocalIOError, match="to stay within its folder"):
            packed(site)

    def test_with_a_socket_is_not_packed(self, tmp_path):
        root = tmp_path / "s"
        root.mkdir()
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(root / "x"))
            with pytest.raises(LocalIOError, match="to be a regular file"):
                packed(root)


@pytest.mark.parametrize(
    ("target", "depth", "expected"),
    [
        (b"a", 0, False),
        (b"./a//b", 0, False),
        (b"../a", 1, False),
        (b"..", 1, False),
        (b"../../a", 1, True),
        (b"..", 0, True),
        (b"a/..", 3, True),
        (b"/a", 3, True),
        (b"", 3, True),
        (b".", 0, False),
    ],
)
def test_a_link_goes_up_at_most_to_its_folder_and_down_after_that(target, depth, expected):
    assert leads_out(target, depth) is expected


class TestATarOfSomebodyElse:
    @pytest.mark.parametrize(
        ("member", "text"),
        [
            (file("site/../../x"), "to stay within output directory"),
            (file("/site/x"), "to stay within output directory"),
            (file("other/x"), "to be in 'site'"),
            (file("site"), "to be a folder"),
            (link("site", "x"), "to be a folder"),
            (link("site/x", "../y"), "to stay within its folder: '../y'"),
            (link("site/d/x", "../../y"), "to stay within its folder"),
            (link("site/x", "/etc"), "to stay within its folder"),
            (link("site/x", "site/y", tarfile.LNKTYPE), "Unsupported tar entry type '1'"),
            (file("site/x", type=tarfile.FIFOTYPE), "Unsupported tar entry type '6'"),
        ],
    )
    def test_gets_nothing_out_of_its_folder(self, member, text, tmp_path):
        with pytest.raises(UnpackError, match=text):
            unpacked(tar(folder("site"), member), tmp_path / "out")
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_is_not_followed_through_a_link_to_the_place_of_a_file(self, tmp_path):
        members = (folder("site/a"), link("site/l", "a"), file("site/l/x", b"1"), link("site/l/x", "y"))
        got = unpacked(tar(*members), tmp_path / "out")
        assert got == {"site/": None, "site/a/": None, "site/l/": None, "site/l/x": "-> y"}

    def test_keeps_its_times_and_no_special_bits(self, tmp_path):
        member = file("site/x", b"1", mode=0o4777, mtime=1_000_000_000)
        unpacked(tar(member), tmp_path / "out")
        found = (tmp_path / "out" / "site" / "x").stat()
        assert (found.st_mtime, found.st_mode & 0o7000) == (1_000_000_000, 0)

    def test_may_be_the_working_directory_of_oras(self, tmp_path):
        got = unpacked(tar(folder("."), file("x", b"1"), folder("d")), tmp_path / "out", ".")
        assert got == {"d/": None, "x": b"1"}

    @pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
    def test_may_have_long_links(self, kind, tmp_path):
        got = unpacked(tar(link("site/x", "y" * 200), kind=kind), tmp_path / "out")
        assert got["site/x"] == "-> " + "y" * 200

    def test_may_not_have_a_path_that_no_program_can_open(self, tmp_path):
        name = "/".join(["d" * 200] * 25)
        with pytest.raises(LocalIOError, match="file name too long"):
            unpacked(tar(file(f"site/{name}")), tmp_path / "out")

    def test_may_have_megabytes_after_its_end(self, tmp_path):
        got = unpacked(tar(file("site/x", b"1")) + bytes(3 << 20), tmp_path / "out")
        assert got["site/x"] == b"1"

    def test_is_read_to_the_end_so_that_its_digest_is_checked(self, tmp_path):
        data = tar(file("site/x", b"1"))
        (tmp_path / "out").mkdir()
        stream = VerifiedReader(io.BytesIO(data + b"more"), Digest.of(data), len(data))
        with pytest.raises(VerificationError):
            unpack_folder(stream, (b"site",), str(tmp_path / "out"))


NAMES = st.binary(min_size=1, max_size=6).filter(
    lambda name: name not in (b".", b"..") and not {0, ord("/")} & set(name)
)


@settings(max_examples=20)
@given(
    st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map(tuple), st.binary(max_size=600), max_size=5)
)
def test_any_names_and_content_come_back(files):
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "in" / "site"
        root.mkdir(parents=True)
        for parts, data in files.items():
            path = root.joinpath(*map(os.fsdecode, parts))
            # One of two names may be the folder of the other one.
            if not any(parent.is_file() for parent in path.parents) and not path.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        assert unpacked(packed(root), Path(name) / "out") == tree(root.parent)


PATHS = st.lists(st.sampled_from(["site", "a", "b", "..", ".", ""]), max_size=5).map("/".join)
MEMBERS = st.one_of(
    st.builds(file, PATHS, st.just(b"1")),
    st.builds(folder, PATHS),
    st.builds(link, PATHS, PATHS),
    st.builds(link, PATHS, PATHS, st.just(tarfile.LNKTYPE)),
    st.builds(lambda path, target: link(f"site/{path}", target), st.sampled_from("ab"), PATHS),
    st.builds(lambda path: file(f"site/{path}", b"1"), st.sampled_from(["a", "b", "a/b", "b/a", "a/a/b"])),
)


@settings(max_examples=150)
@given(st.lists(MEMBERS, max_size=5))
def test_no_tar_gets_anything_out_of_the_folder(members):
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "out"
        with suppress(UnpackError, LocalIOError):
            unpacked(tar(folder("site"), *members), out)
        assert os.listdir(name) == ["out"]
        assert os.listdir(out) in ([], ["site"])
        top = os.path.realpath(out / "site")
        for path in out.rglob("*"):
            real = os.path.realpath(path)
            assert real == top or real.startswith(f"{top}/") or is_loop(path)


def is_loop(path):
    """Return whether the kernel finds a link in a circle; `os.path.realpath` returns anything then."""
    try:
        path.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False
