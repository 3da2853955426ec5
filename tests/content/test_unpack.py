"""What each kind of entry does to the output folder, and what a layer does to the layers below it."""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.content.tars import file, fill, folder, layer, link, tar, tree, unpack

from imgpkg.content.output import remove_tree
from imgpkg.content.unpack import unpack_layers
from imgpkg.errors import LocalIOError, UnpackError, VerificationError
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest, VerifiedReader

NOBODY = 65534


@pytest.fixture
def output(tmp_path):
    return tmp_path / "parent" / "output"


@contextmanager
def somebody(folder):
    """Be an ordinary user, who has this folder."""
    if os.geteuid() != 0:
        yield
        return
    os.chown(folder, NOBODY, NOBODY)
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


class TestOneLayer:
    def test_files_arrive_with_content_in_folders_made_for_them(self, output):
        big = os.urandom(3_000_001)
        got = unpack(output, tar(file("a", b"1"), file("d/e/f", b"2"), file("big", big)))
        assert got == {"a": b"1", "big": big, "d/": None, "d/e/": None, "d/e/f": b"2"}

    def test_names_are_cleaned_of_dots_slashes_and_backslashes(self, output):
        members = [file(name, b"x") for name in ("./a", "/b", "c//d", "e/./f", "g/../h", "i\\j", "k/l\\m")]
        got = unpack(output, tar(*members))
        assert [name for name in got if not name.endswith("/")] == [
            "a",
            "b",
            "c/d",
            "e/f",
            "h",
            "i/j",
            "k/l/m",
        ]

    def test_names_may_hold_any_character_and_any_byte(self, output):
        names = ("ünï", "空", "sp ace", "new\nline", "raw\udcff\udc80", "-dash", "*?[")
        got = unpack(output, tar(*(file(name, b"x") for name in names), kind=tarfile.GNU_FORMAT))
        assert set(got) == set(names)

    def test_links_devices_and_empty_folders_are_not_made(self, output):
        members = (
            link("sym", "/etc/passwd"),
            file("real", b"1"),
            link("hard", "real", tarfile.LNKTYPE),
            file("fifo", type=tarfile.FIFOTYPE),
            file("dev", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            file("block", type=tarfile.BLKTYPE),
            folder("empty"),
        )
        assert unpack(output, tar(*members)) == {"real": b"1"}

    def test_the_parent_of_what_is_not_made_is_made(self, output):
        devices = [file(f"{kind}/x", type=kind.encode()) for kind in "346"]
        got = unpack(output, tar(folder("a/b"), link("c/d", "x"), folder("."), *devices))
        assert set(got) == {"a/", "c/", "3/", "4/", "6/"}

    def test_a_file_where_a_link_was_listed_is_a_file_inside(self, output):
        got = unpack(output, tar(link("run", "/var/run"), file("run/pid", b"7")))
        assert got == {"run/": None, "run/pid": b"7"}

    def test_the_later_of_two_entries_wins(self, output):
        got = unpack(output, tar(file("a", b"1"), file("b/c", b"2"), file("a", b"3"), file("b", b"4")))
        assert got == {"a": b"3", "b": b"4"}

    @pytest.mark.parametrize(
        "second", [file("b/c", b"2"), folder("b/c/"), link("b/c", "x"), file("b/c/d", type=tarfile.FIFOTYPE)]
    )
    @pytest.mark.parametrize("below", [(), (tar(file("b/x")),)], ids=["in the base", "in an upper layer"])
    def test_a_file_that_is_a_folder_in_the_same_layer_is_an_error(self, output, below, second):
        with pytest.raises(LocalIOError, match=rf"^mkdir {output}/b: not a directory$"):
            unpack(output, *below, tar(file("b", b"1"), second))
        assert (output / "b").read_bytes() == b"1"

    def test_a_folder_takes_the_place_of_a_file_of_a_lower_layer(self, output):
        assert unpack(output, tar(file("b")), tar(), tar(file("b/c", b"2"))) == {"b/": None, "b/c": b"2"}

    def test_a_folder_may_be_named_as_the_output(self, output):
        members = (folder("output"), file("output/a", b"1"), folder("/"), file("b", b"2"))
        assert unpack(output, tar(*members)) == {"output/": None, "output/a": b"1", "b": b"2"}

    def test_an_empty_layer_and_no_layer_are_fine(self, output):
        assert unpack(output, b"", tar(), gzip.compress(b"")) == {}
        assert unpack(output) == {}

    def test_an_unknown_type_is_refused_in_the_words_of_the_original(self, output):
        with pytest.raises(UnpackError, match=r"^Unsupported tar entry type '7' for file 'x'$"):
            unpack(output, tar(file("x", type=tarfile.CONTTYPE)))

    def test_a_link_to_the_outside_is_never_written_through(self, output, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        output.mkdir(parents=True)
        (output / "door").symlink_to(outside)
        (output / "file").symlink_to(outside / "target")
        got = unpack(output, tar(file("door/x", b"1"), file("file", b"2")))
        assert got == {"door/": None, "door/x": b"1", "file": b"2"}
        assert tree(outside) == {}


MODES = {
    0o600: (0o644, 0o600, 0o664),
    0o700: (0o755, 0o700, 0o775),
    0o400: (0o444, 0o400, 0o444),
    0o640: (0o640, 0o600, 0o640),
    0o644: (0o644, 0o600, 0o644),
    0o000: (0o000, 0o000, 0o000),
    0o066: (0o044, 0o000, 0o064),
    0o4755: (0o755, 0o700, 0o755),
    0o1777: (0o1755, 0o1700, 0o1775),
    0o2644: (0o2644, 0o2600, 0o2644),
    0o2755: (0o755, 0o2700, 0o755),
    0o6644: (0o2644, 0o2600, 0o2644),
    0o7777: (0o1755, 0o3700, 0o1775),
    0o1700: (0o755, 0o700, 0o775),
}


class TestMetadata:
    @pytest.mark.parametrize("mode", MODES, ids=oct)
    @pytest.mark.parametrize("column", [0, 1, 2])
    def test_the_mode_follows_the_table_of_the_specification(self, output, umask, mode, column):
        umask((0o022, 0o077, 0o002)[column])
        fill(output, tar(file("a", b"1", mode=mode)))
        assert (output / "a").stat().st_mode & 0o7777 == MODES[mode][column]

    def test_the_modes_are_the_same_for_an_ordinary_user(self, umask):
        folder = Path(tempfile.mkdtemp())
        try:
            with somebody(folder):
                fill(folder / "out", tar(*(file(f"{mode:o}", b"1", mode=mode) for mode in MODES)))
            found = {path.name: path.stat().st_mode & 0o7777 for path in (folder / "out").iterdir()}
            assert found == {f"{mode:o}": columns[0] for mode, columns in MODES.items()}
        finally:
            shutil.rmtree(folder)

    def test_folders_get_what_the_umask_leaves(self, output, umask):
        umask(0o027)
        unpack(output, tar(folder("d", mode=0o700), file("d/a", b"1")))
        assert (output / "d").stat().st_mode & 0o7777 == 0o750

    def test_files_are_dated_as_in_the_header(self, output):
        unpack(output, tar(file("old", b"1"), file("new", b"1", mtime=1_600_000_000.25)))
        assert (output / "old").stat().st_mtime_ns == 0
        assert (output / "new").stat().st_mtime_ns == 1_600_000_000_250_000_000

    def test_the_access_time_is_never_before_the_modification(self, output):
        header = {"mtime": 1000, "pax_headers": {"atime": "500"}}
        later = {"mtime": 1000, "pax_headers": {"atime": "2000.5"}}
        output.mkdir(parents=True)
        unpack_layers([layer(tar(file("a", b"", **header), file("b", b"", **later)))], str(output))
        assert (output / "a").stat().st_atime == 1000
        assert (output / "b").stat().st_atime == 2000.5

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
    def test_root_gives_files_to_whom_the_header_says(self, output):
        unpack(output, tar(file("a", b"1", uid=1234, gid=4321)))
        assert ((output / "a").stat().st_uid, (output / "a").stat().st_gid) == (1234, 4321)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
    def test_an_impossible_owner_is_an_error_of_the_operating_system(self, output):
        with pytest.raises(LocalIOError, match="invalid argument"):
            unpack(output, tar(file("a", b"1", uid=1 << 40)))


class TestSeveralLayers:
    def test_upper_layers_win(self, output):
        base, top = tar(file("a", b"base"), file("b", b"base")), tar(file("a", b"top"))
        assert unpack(output, base, top) == {"a": b"top", "b": b"base"}

    def test_a_whiteout_hides_a_file_or_a_folder_of_lower_layers(self, output):
        base = tar(file("a", b"1"), file("d/e/f", b"2"), file("keep", b"3"))
        assert unpack(output, base, tar(file(".wh.a"), file("d/.wh.e"))) == {"d/": None, "keep": b"3"}

    def test_a_whiteout_of_nothing_is_fine(self, output):
        top = tar(file(".wh.a"), file("x/y/.wh.z"), file("x/.wh..wh..opq"), file("a/.wh..wh..opq"))
        assert unpack(output, tar(file("a", b"1")), top) == {}
        assert unpack(output, tar(), top) == {}

    @pytest.mark.parametrize("order", [1, -1], ids=["before", "after"])
    def test_a_whiteout_hides_nothing_of_its_own_layer(self, output, order):
        base = tar(file("d/lower", b"1"), file("d/deep/lower", b"1"), file("f", b"1"))
        members = [file(".wh.d"), file("d/upper", b"2"), file("d/deep/upper", b"2"), file(".wh.f")]
        got = unpack(output, base, tar(*members[::order]))
        assert got == {"d/": None, "d/deep/": None, "d/deep/upper": b"2", "d/upper": b"2"}

    @pytest.mark.parametrize("order", [1, -1], ids=["before", "after"])
    def test_an_opaque_folder_hides_all_lower_content(self, output, order):
        base = tar(file("d/lower", b"1"), file("d/deep/lower", b"1"), file("other", b"1"))
        members = [folder("d"), file("d/.wh..wh..opq"), file("d/upper", b"2"), file("d/deep/upper", b"2")]
        got = unpack(output, base, tar(*members[::order]))
        assert got == {"d/": None, "d/deep/": None, "d/deep/upper": b"2", "d/upper": b"2", "other": b"1"}

    def test_an_opaque_root_hides_everything(self, output):
        assert unpack(output, tar(file("a", b"1"), file("b/c", b"1")), tar(file(".wh..wh..opq"))) == {}

    def test_a_whiteout_reaches_through_every_lower_layer(self, output):
        layers = (tar(file("a", b"1")), tar(file("b", b"2")), tar(file(".wh.a"), file(".wh.b")))
        assert unpack(output, *layers) == {}

    def test_what_was_hidden_may_come_back(self, output):
        layers = (tar(file("a", b"1")), tar(file(".wh.a")), tar(file("a", b"3")))
        assert unpack(output, *layers) == {"a": b"3"}

    def test_a_whiteout_in_the_base_hides_nothing(self, output):
        assert unpack(output, tar(file("a", b"1"), file(".wh.a"), file(".wh..wh..opq"))) == {"a": b"1"}

    def test_marks_of_the_storage_driver_are_left_out(self, output):
        assert unpack(output, tar(file("a", b"1")), tar(file(".wh..wh.plnk/x"), file(".wh..wh.aufs"))) == {
            "a": b"1",
            ".wh..wh.plnk/": None,
            ".wh..wh.plnk/x": b"",
        }

    def test_a_link_or_device_hides_the_file_below(self, output):
        base = tar(file("a", b"1"), file("b", b"1"), file("c/d", b"1"), file("e", b"1"))
        top = tar(link("a", "x"), file("b", type=tarfile.CHRTYPE), link("c", "x"), folder("e"))
        assert unpack(output, base, top) == {}

    def test_a_folder_over_a_folder_keeps_its_files(self, output):
        assert unpack(output, tar(file("d/a", b"1")), tar(folder("d"), file("d/b", b"2"))) == {
            "d/": None,
            "d/a": b"1",
            "d/b": b"2",
        }


class TestStreams:
    def test_a_stream_is_read_to_its_end_so_that_all_of_it_is_verified(self, output):
        good = tar(file("a", b"1"))
        descriptor, _ = layer(good + b"x" * 100_000)
        output.mkdir(parents=True)
        stream = io.BytesIO(good + b"y" * 100_000)
        verified = VerifiedReader(stream, descriptor.digest, descriptor.size)
        with pytest.raises(VerificationError, match="sha256 checksum"):
            unpack_layers([(descriptor, verified)], str(output))

    def test_a_generator_of_streams_is_closed_at_once_when_a_layer_fails(self, output):
        closed = []

        def layers():
            try:
                yield layer(b"no tar" * 1000)
            finally:
                closed.append(True)

        output.mkdir(parents=True)
        with pytest.raises(UnpackError) as caught:
            unpack_layers(layers(), str(output))
        assert closed
        assert str(caught.value) == "archive/tar: invalid tar header"

    def test_a_missing_folder_is_named(self, output):
        with pytest.raises(LocalIOError, match=rf"open {output}: no such file or directory"):
            unpack_layers([], str(output))

    def test_the_media_type_is_not_asked(self, output):
        data = gzip.compress(tar(file("a", b"1")))
        descriptor = Descriptor(media.OCI_LAYER_ZSTD, Digest.of(data), len(data))
        output.mkdir(parents=True)
        unpack_layers([(descriptor, io.BytesIO(data))], str(output))
        assert tree(output) == {"a": b"1"}


HOSTILE = {
    "..": "stay within output directory",
    "../x": "stay within output directory",
    "a/../../x": "stay within output directory",
    "/../x": "stay within output directory",
    "./../output/x": "stay within output directory",
    "..\\x": "stay within output directory",
    "a\\..\\..\\x": "stay within output directory",
    "a/b\\../../../x": "stay within output directory",
    "../.wh.sibling": "stay within output directory",
    ".wh..": "stay within output directory",
    ".wh...": "stay within output directory",
    "d/.wh...": "stay within output directory",
    ".wh.": "stay within output directory",
    "/": "stay within output directory",
    "a" * 300: "file name too long",
    "a/" * 2500 + "b": "file name too long",
}


class TestHostileNames:
    @pytest.mark.parametrize("name", HOSTILE, ids=lambda name: name[:20])
    def test_a_name_that_leads_out_or_nowhere_is_refused_and_touches_nothing(self, output, name):
        output.mkdir(parents=True)
        (output.parent / "sibling").write_text("precious")
        before = tree(output.parent)
        info, data = file(name, b"evil", type=b"0")
        with pytest.raises((UnpackError, LocalIOError), match=HOSTILE[name]):
            unpack(output, tar(file("lower", b"")), tar((info, data), kind=tarfile.PAX_FORMAT))
        after = tree(output.parent)
        assert {path: data for path, data in after.items() if not path.startswith("output/")} == {
            path: data for path, data in before.items() if not path.startswith("output/")
        }

    def test_the_text_names_the_entry(self, output):
        with pytest.raises(UnpackError) as caught:
            unpack(output, tar(file("a/../../x", b"")))
        assert str(caught.value) == "Expected entry 'a/../../x' to stay within output directory"

    def test_a_name_with_nul_is_an_invalid_header(self, output):
        with pytest.raises(UnpackError, match="invalid tar header"):
            unpack(output, tar(file("x", b"", pax_headers={"path": "a\0b"})))

    @pytest.mark.unmeasured
    def test_a_very_deep_tree_unpacks_and_can_be_removed(self, output):
        deep = "a/" * 1500 + "b"
        output.mkdir(parents=True)
        unpack_layers([layer(tar(file(deep, b"1")))], str(output))
        assert (output / deep).read_bytes() == b"1"
        unpack_layers([layer(tar(file("x"))), layer(tar(file(".wh.a")))], str(output))
        assert tree(output) == {"x": b""}
        unpack_layers([layer(tar(file(deep, b"1")))], str(output))
        remove_tree(str(output))
        assert not output.exists()
