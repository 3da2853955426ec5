"""Files of an artifact come into a folder with others: all or none, and nowhere else."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.content.tars import tree

from imgpkg.content.artifact_output import adding_to, in_each_other, path_parts, title_parts, write_file
from imgpkg.content.temporary import is_made_for, new_folder
from imgpkg.errors import LocalIOError, UnpackError


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (b"a", (b"a",)),
        (b"./a//b/.", (b"a", b"b")),
        (b".", ()),
        (b"a\\b", (b"a\\b",)),
        (b"..a/b..", (b"..a", b"b..")),
    ],
)
def test_a_path_has_its_parts(name, parts):
    assert path_parts(name) == parts


@pytest.mark.parametrize("name", ["", "/a", "//a", "..", "a/..", "a/../b", "../a", "a\0b", "\ud800"])
def test_a_path_that_may_lead_out_is_refused(name):
    with pytest.raises(UnpackError):
        title_parts(name)


@given(st.binary(max_size=20) | st.lists(st.sampled_from([b"..", b".", b"a", b""])).map(b"/".join))
def test_any_path_stays_inside_or_is_refused(name):
    try:
        parts = path_parts(name)
    except UnpackError:
        return
    joined = os.path.normpath(os.path.join(b"/top/out", *parts))
    assert joined == b"/top/out" or joined.startswith(b"/top/out/")


@pytest.mark.parametrize(
    ("places", "found"),
    [
        ([(b"a",), (b"b",)], None),
        ([(b"a",), (b"ab",)], None),
        ([(b"a",), (b"b",), (b"a",)], ((b"a",), (b"a",))),
        ([(b"a", b"b", b"c"), (b"a-",), (b"a", b"b")], ((b"a", b"b"), (b"a", b"b", b"c"))),
        ([(), (b"a",)], ((), (b"a",))),
        ([], None),
    ],
)
def test_places_in_each_other_are_found(places, found):
    assert in_each_other(places) == found


@pytest.fixture
def output(tmp_path):
    return tmp_path / "parent" / "out"


def add(output, files, *, overwrite=True):
    with adding_to(str(output), overwrite=overwrite) as fresh:
        for name, data in files.items():
            write_file(io.BytesIO(data), title_parts(name), fresh)
    return tree(output)


class TestAFolderThatIsAddedTo:
    def test_is_made_with_its_parents(self, output):
        assert add(output, {"d/x": b"1", "y": b""}) == {"d/": None, "d/x": b"1", "y": b""}
        # The suite has the umask 022.
        assert (output / "y").stat().st_mode & 0o777 == 0o644

    def test_may_be_empty(self, output):
        assert add(output, {}) == {}
        assert output.is_dir()

    def test_keeps_what_is_there_and_replaces_files_of_the_same_names(self, output):
        add(output, {"d/x": b"old", "d/y": b"kept"})
        assert add(output, {"d/x": b"new"}) == {"d/": None, "d/x": b"new", "d/y": b"kept"}

    def test_may_be_named_by_a_link(self, output, tmp_path):
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        add(tmp_path / "link", {"x": b"1"})
        assert tree(tmp_path / "real") == {"x": b"1"}

    def test_replaces_a_link_and_not_what_it_leads_to(self, output, tmp_path):
        (tmp_path / "precious").write_bytes(b"mine")
        output.mkdir(parents=True)
        (output / "x").symlink_to(tmp_path / "precious")
        assert add(output, {"x": b"1"}) == {"x": b"1"}
        assert (tmp_path / "precious").read_bytes() == b"mine"

    def test_is_not_left_through_a_link_to_a_folder(self, output, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        output.mkdir(parents=True)
        (output / "d").symlink_to(tmp_path / "elsewhere")
        with pytest.raises(LocalIOError, match="not a directory"):
            add(output, {"a": b"1", "d/x": b"1"})
        assert list((tmp_path / "elsewhere").iterdir()) == []
        assert [path.name for path in output.iterdir()] == ["d"]

    @pytest.mark.parametrize(
        ("there", "files", "overwrite", "text"),
        [
            ({"x": b"old"}, {"a": b"1", "x": b"1"}, False, "file exists"),
            ({"x/y": b"old"}, {"a": b"1", "x": b"1"}, True, "is a directory"),
            ({"x": b"old"}, {"a": b"1", "x/y": b"1"}, True, "not a directory"),
        ],
    )
    def test_gets_nothing_if_anything_is_in_the_way(self, output, there, files, overwrite, text):
        before = add(output, there)
        with pytest.raises(LocalIOError, match=text):
            add(output, files, overwrite=overwrite)
        assert tree(output) == before

    @pytest.mark.parametrize("is_there", [False, True])
    def test_is_as_it_was_after_a_failure(self, output, is_there):
        if is_there:
            output.mkdir(parents=True)

        def fail():
            with adding_to(str(output), overwrite=True) as fresh:
                write_file(io.BytesIO(b"1"), (b"x",), fresh)
                raise KeyError

        with pytest.raises(KeyError):
            fail()
        assert output.exists() is is_there
        assert not is_there or list(output.iterdir()) == []

    def test_loses_what_a_killed_process_has_left(self, output):
        output.mkdir(parents=True)
        left, descriptor = new_folder(str(output), "out")
        os.close(descriptor)
        assert is_made_for("out", os.path.basename(left))
        assert add(output, {"x": b"1"}) == {"x": b"1"}

    def test_that_is_a_file_is_an_error(self, tmp_path):
        (tmp_path / "out").write_bytes(b"mine")
        with pytest.raises(LocalIOError, match="mkdir"):
            add(tmp_path / "out", {"x": b"1"})
        assert (tmp_path / "out").read_bytes() == b"mine"
