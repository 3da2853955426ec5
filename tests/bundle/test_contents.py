"""Which files are a bundle, and the errors for files that are not."""

from __future__ import annotations

import os
import tempfile

import pytest

from imgpkg.bundle.contents import find_bundle, holds_bundle
from imgpkg.errors import LocalIOError, UsageError

NONE = "This directory is not a bundle. It is missing .imgpkg/images.yml"
SEVERAL = (
    "This directory contains multiple bundle definitions. Only a single instance of "
    ".imgpkg/images.yml can be provided and instead these were provided "
)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*paths):
    """Write files; make folders of paths that end in a slash."""
    for path in paths:
        if os.path.dirname(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        if not path.endswith("/"):
            with open(path, "w", encoding="utf-8") as file:
                file.write("no YAML: [")


def refusal(*files, exclusions=(), error=UsageError):
    with pytest.raises(error) as caught:
        find_bundle(files, exclusions)
    return str(caught.value)


class TestABundle:
    @pytest.mark.parametrize("path", ["b/ok", "b/ok/", "./b/ok", "b/../b/ok", "link/"])
    def test_is_found_however_its_folder_is_written(self, here, path):
        write("b/ok/.imgpkg/images.yml", "b/ok/config/a.yml")
        os.symlink("b/ok", "link")
        root = here / ("link" if path == "link/" else "b/ok")
        assert find_bundle([path], ()) == str(root / ".imgpkg")

    def test_is_found_in_the_current_folder(self, here):
        write(".imgpkg/images.yml")
        assert find_bundle(["."], ()) == str(here / ".imgpkg")
        assert find_bundle([here], ()) == str(here / ".imgpkg")

    def test_is_found_in_one_of_several_inputs(self, here):
        write("config/a.yml", "values.yml", "meta/.imgpkg/images.yml")
        assert find_bundle(["config", "values.yml", "meta"], (".git",)) == str(here / "meta/.imgpkg")

    def test_may_have_anything_in_its_lock(self):
        write("b/.imgpkg/images.yml")
        assert holds_bundle(["b"])

    def test_may_have_a_link_for_its_lock_or_its_folder(self, here):
        write("elsewhere/images.yml", "one/.imgpkg/", "two/")
        os.symlink("../../elsewhere/images.yml", "one/.imgpkg/images.yml")
        os.symlink("../elsewhere", "two/.imgpkg")
        assert find_bundle(["one"], ()) == str(here / "one/.imgpkg")
        assert find_bundle(["two"], ()) == str(here / "two/.imgpkg")

    def test_is_not_sought_behind_links(self):
        write("outside/.imgpkg/images.yml", "b/.imgpkg/images.yml")
        os.symlink("../outside", "b/link")
        assert holds_bundle(["b"])
        os.symlink("outside", "link")
        assert refusal("link") == NONE


class TestFilesThatAreNone:
    @pytest.mark.parametrize("inputs", [["d"], ["d", "a.txt"], ["a.txt"], []])
    def test_have_no_folder_of_imgpkg(self, inputs):
        write("d/images.yml", "d/x.imgpkg/images.yml", "a.txt")
        assert refusal(*inputs) == NONE
        assert not holds_bundle(inputs)

    @pytest.mark.parametrize("exclusion", [".imgpkg", ".imgpkg/images.yml", "."])
    def test_leave_out_what_would_make_them_one(self, exclusion):
        write("b/.imgpkg/images.yml")
        assert refusal("b", exclusions=[".git", exclusion]) == NONE

    @pytest.mark.parametrize(
        "exclusion", ["./.imgpkg", ".imgpkg/", "images.yml", ".imgpkg/bundle.yml", ".git"]
    )
    def test_are_not_those_that_leave_out_something_else(self, exclusion):
        write("b/.imgpkg/images.yml")
        assert find_bundle(["b"], [exclusion])

    def test_have_several_in_the_order_of_the_walk(self, here):
        write("two/.imgpkg/images.yml", "two/sub/.imgpkg/images.yml", "two/-first/.imgpkg/")
        found = [here / "two/-first/.imgpkg", here / "two/.imgpkg", here / "two/sub/.imgpkg"]
        assert refusal("two") == SEVERAL + ", ".join(map(str, found))
        assert not holds_bundle(["two"])

    def test_have_several_in_the_order_of_the_inputs(self, here):
        write("one/.imgpkg/images.yml", "two/.imgpkg/images.yml")
        assert refusal("two", "one") == f"{SEVERAL}{here}/two/.imgpkg, {here}/one/.imgpkg"
        assert refusal("one", "one/") == f"{SEVERAL}{here}/one/.imgpkg, {here}/one/.imgpkg"

    def test_have_one_inside_another(self, here):
        write("b/.imgpkg/.imgpkg/images.yml")
        assert refusal("b") == f"{SEVERAL}{here}/b/.imgpkg, {here}/b/.imgpkg/.imgpkg"

    def test_have_even_excluded_ones(self, here):
        write("b/.imgpkg/images.yml", "b/.git/.imgpkg/")
        assert refusal("b", exclusions=[".git"]) == f"{SEVERAL}{here}/b/.git/.imgpkg, {here}/b/.imgpkg"

    def test_have_it_too_deep(self, here):
        write("b/nested/sub/.imgpkg/images.yml", "other/")
        expected = (
            "Expected '.imgpkg' directory, to be a direct child of one of: {}; was {}/b/nested/sub/.imgpkg"
        )
        assert refusal("b/nested") == expected.format("b/nested", here)
        assert refusal("./b/nested/", "other") == expected.format("./b/nested/, other", here)

    @pytest.mark.parametrize("path", ["b/ok/.imgpkg", "b/ok/.imgpkg/"])
    def test_are_nothing_but_the_folder_itself(self, here, path):
        write("b/ok/.imgpkg/images.yml")
        assert refusal(path) == (
            f"Expected '.imgpkg' directory, to be a direct child of one of: {path}; was {here}/b/ok/.imgpkg"
        )

    @pytest.mark.parametrize(
        "paths", [["b/noimg/.imgpkg/"], ["b/noimg/.imgpkg"], ["b/noimg/.imgpkg/images.yml/"]]
    )
    def test_have_no_lock_in_it(self, here, paths):
        """Also when `.imgpkg` is a file, or the lock is a folder."""
        write("b/noimg/", *paths)
        assert refusal("b/noimg") == (
            "The bundle expected .imgpkg/images.yml to exist, but it wasn't found in the path "
            f"{here}/b/noimg/.imgpkg/images.yml"
        )
        assert not holds_bundle(["b/noimg"])


class TestWhatCannotBeRead:
    def test_is_missing(self):
        write("b/.imgpkg/images.yml")
        expected = "lstat nosuch: no such file or directory"
        assert refusal("b", "nosuch", error=LocalIOError) == expected
        with pytest.raises(LocalIOError):
            holds_bundle(["nosuch"])

    def test_is_forbidden(self, monkeypatch):
        before = os.geteuid()
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            monkeypatch.chdir(folder)
            write("d/locked/")
            os.chmod(folder, 0o755)
            os.chmod("d/locked", 0)
            os.seteuid(65534 if before == 0 else before)
            try:
                assert refusal("d", error=LocalIOError) == "open d/locked: permission denied"
            finally:
                os.seteuid(before)
            os.chmod("d/locked", 0o700)
