"""A pull replaces the output folder as a whole or not at all, and never one that must not be lost."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from tests.content.steps import before
from tests.content.tars import file, tar, tree, unpack

from imgpkg.content.output import output_folder, put_back, remove_tree, replacing, swap_entries
from imgpkg.errors import LocalIOError, UnpackError, UsageError

_NOBODY = 65534
REFUSED = r"^Disallowed output directory \(trying to avoid accidental deletion\)$"


@pytest.fixture
def inside(tmp_path, monkeypatch):
    """Work in a folder that has a parent and siblings."""
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work" / "here")
    return tmp_path / "work" / "here"


class TestOutputFolder:
    @pytest.mark.parametrize(
        "output",
        [
            "/",
            "//",
            "/.",
            ".",
            "./",
            "..",
            "../",
            "../..",
            "a/..",
            "a/../..",
            "../here",
            "../here/",
            "./../here/.",
        ],
    )
    def test_root_current_directory_and_its_ancestors_are_refused(self, inside, output):
        with pytest.raises(UsageError, match=REFUSED):
            output_folder(output)

    def test_absolute_paths_of_the_same_are_refused(self, inside):
        for output in (inside, inside.parent, inside.parent.parent, f"{inside}/x/.."):
            with pytest.raises(UsageError, match=REFUSED):
                output_folder(str(output))

    def test_the_home_directory_and_what_it_lies_in_are_refused(self, inside, empty_environment):
        for output in (empty_environment, empty_environment.parent):
            with pytest.raises(UsageError, match=REFUSED):
                output_folder(str(output))

    def test_a_way_through_a_link_is_followed(self, inside):
        (inside / "up").symlink_to(inside.parent.parent)
        with pytest.raises(UsageError, match=REFUSED):
            output_folder("up/work/here")

    def test_an_empty_path_has_a_text_of_its_own(self):
        with pytest.raises(UsageError, match=r"^Expected --output to be none empty$"):
            output_folder("")

    @pytest.mark.parametrize("output", ["x", "./x", "../x", "a/b/c", ".hidden", "...", "x/", "../herex"])
    def test_other_places_are_fine(self, inside, output):
        output_folder(output)

    @pytest.mark.parametrize(
        "named", ["a/b/../../out", "out/.", "there/out", "there/../here/out/", "new/../out"]
    )
    def test_the_answer_is_one_path_however_the_folder_is_named(self, inside, named):
        (inside / "a" / "b").mkdir(parents=True)
        (inside / "out").mkdir()
        (inside / "there").symlink_to(inside)
        assert output_folder(named) == output_folder(str(inside / named)) == str(inside / "out")

    def test_a_removed_working_directory_is_named_and_absolute_paths_need_none(self, inside):
        inside.rmdir()
        with pytest.raises(LocalIOError, match=r"^getwd: no such file or directory$") as caught:
            output_folder("out")
        assert "working directory was removed" in caught.value.hints[0]
        assert output_folder(f"{inside.parent}/out") == f"{inside.parent}/out"

    def test_a_link_to_the_current_directory_is_fine_as_only_the_link_is_replaced(self, inside):
        (inside / "self").symlink_to(inside)
        output_folder("self")
        with replacing("self") as fresh, open(f"{fresh}/a", "w") as new:
            new.write("1")
        assert not (inside / "self").is_symlink()
        assert (inside / "self" / "a").read_text() == "1"


@pytest.fixture
def old(tmp_path):
    """An output folder with something in it."""
    output = tmp_path / "out"
    (output / "d").mkdir(parents=True)
    (output / "d" / "old").write_bytes(b"old")
    return output


def fill(fresh):
    with open(os.path.join(fresh, "new"), "wb") as new:
        new.write(b"new")


def fail_at(act, output):
    with before(2, act, events=("os.rename",)), replacing(str(output)) as fresh:
        fill(fresh)


def fail_with(error, output):
    with replacing(str(output)) as fresh:
        fill(fresh)
        raise error


class TestReplacing:
    @pytest.mark.parametrize("slash", ["", "/"])
    def test_the_new_folder_takes_the_place_of_the_old_as_a_whole(self, old, slash):
        with replacing(f"{old}{slash}") as fresh:
            fill(fresh)
            assert tree(old) == {"d/": None, "d/old": b"old"}
        assert tree(old.parent) == {"out/": None, "out/new": b"new"}

    def test_parents_are_made(self, tmp_path):
        with replacing(str(tmp_path / "a" / "b" / "out")) as fresh:
            fill(fresh)
        assert tree(tmp_path / "a") == {"b/": None, "b/out/": None, "b/out/new": b"new"}

    def test_a_relative_path_is_taken_from_the_current_directory(self, inside):
        with replacing("out") as fresh:
            fill(fresh)
        assert tree(inside) == {"out/": None, "out/new": b"new"}

    def test_a_file_is_replaced_too(self, tmp_path):
        (tmp_path / "out").write_bytes(b"file")
        with replacing(str(tmp_path / "out")) as fresh:
            fill(fresh)
        assert tree(tmp_path) == {"out/": None, "out/new": b"new"}

    def test_a_link_is_replaced_and_what_it_led_to_stays(self, old):
        link = old.parent / "link"
        link.symlink_to(old)
        with replacing(f"{link}/") as fresh:
            fill(fresh)
        assert tree(link) == {"new": b"new"}
        assert tree(old) == {"d/": None, "d/old": b"old"}

    @pytest.mark.parametrize(
        "name", ["out/../out", "out/.", "out/d/..", "out/link/out", "./out//", "out/d/../../out"]
    )
    @pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
    def test_a_folder_reached_through_itself_is_replaced_or_left_as_it_was(self, old, name, fails):
        (old / "link").symlink_to("..")
        before = tree(old.parent)
        if fails:
            with pytest.raises(UnpackError):
                fail_with(UnpackError("bad"), f"{old.parent}/{name}")
            assert tree(old.parent) == before
            return
        with replacing(f"{old.parent}/{name}") as fresh:
            fill(fresh)
        assert tree(old.parent) == {"out/": None, "out/new": b"new"}

    def test_a_working_directory_that_changes_meanwhile_changes_nothing(self, inside, monkeypatch):
        with replacing("out") as fresh:
            fill(fresh)
            monkeypatch.chdir(inside.parent)
        assert tree(inside.parent) == {"here/": None, "here/out/": None, "here/out/new": b"new"}

    @pytest.mark.parametrize("umask", [0o022, 0o077])
    def test_the_folder_has_what_the_umask_leaves(self, tmp_path, umask):
        before = os.umask(umask)
        try:
            with replacing(str(tmp_path / "out")) as fresh:
                fill(fresh)
        finally:
            os.umask(before)
        assert (tmp_path / "out").stat().st_mode & 0o7777 == 0o777 & ~umask

    @pytest.mark.parametrize("error", [UnpackError("bad"), KeyboardInterrupt(), ValueError("bug")], ids=repr)
    def test_a_failure_leaves_the_old_folder_and_nothing_else(self, old, error):
        with pytest.raises(type(error)):
            fail_with(error, old)
        assert tree(old.parent) == {"out/": None, "out/d/": None, "out/d/old": b"old"}

    def test_a_failure_where_nothing_was_leaves_nothing(self, tmp_path):
        with pytest.raises(UnpackError):
            fail_with(UnpackError("bad"), tmp_path / "out")
        assert tree(tmp_path) == {}

    def test_errors_speak_of_the_output_and_not_of_the_fresh_folder(self, old):
        with pytest.raises(LocalIOError) as caught, replacing(str(old)) as fresh:
            raise LocalIOError(f"open {fresh}/a: file name too long")
        assert str(caught.value) == f"open {old}/a: file name too long"

    def test_errors_speak_of_a_relative_output_too(self, inside):
        with pytest.raises(LocalIOError) as caught, replacing("out") as fresh:
            raise LocalIOError(f"open {os.path.normpath(fresh)}/a: file name too long")
        assert str(caught.value) == "open out/a: file name too long"

    def test_a_parent_that_is_a_file_is_named(self, tmp_path):
        (tmp_path / "file").write_bytes(b"")
        text = r"Creating output directory: mkdir .*/file/out: not a directory"
        with pytest.raises(LocalIOError, match=text), replacing(str(tmp_path / "file" / "out")):
            raise AssertionError("never entered")

    def test_a_fresh_folder_that_vanished_leaves_the_old_one(self, old):
        with (
            pytest.raises(LocalIOError, match="Creating output directory: rename"),
            replacing(str(old)) as fresh,
        ):
            os.rmdir(fresh)
        assert tree(old.parent) == {"out/": None, "out/d/": None, "out/d/old": b"old"}

    def test_an_interrupted_process_leaves_the_old_folder_and_nothing_else(self, old):
        program = (
            "import sys, time\n"
            "from imgpkg.content.output import replacing\n"
            "with replacing(sys.argv[1]) as fresh:\n"
            "    open(fresh + '/new', 'w').close()\n"
            "    print('ready', flush=True)\n"
            "    time.sleep(60)\n"
        )
        child = subprocess.Popen(
            [sys.executable, "-c", program, str(old)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        with child:
            assert child.stdout.readline() == b"ready\n"
            child.send_signal(signal.SIGINT)
            child.wait(30)
        assert tree(old.parent) == {"out/": None, "out/d/": None, "out/d/old": b"old"}


class TestInterruptedAtEachStep:
    @pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")], ids=repr)
    def test_the_old_folder_or_the_new_one_is_there_and_nothing_else(self, old, error):
        number, is_over = 0, False
        while not is_over:
            number += 1
            remove_tree(str(old))
            (old / "d").mkdir(parents=True)
            (old / "d" / "old").write_bytes(b"old")
            is_over = self.pulled(old, number, error)
            found = tree(old.parent)
            if isinstance(error, OSError):
                # What cannot be removed is left for the next pull.
                found = {name: data for name, data in found.items() if not name.startswith(".imgpkg-")}
            assert found in (
                {"out/": None, "out/new": b"new"},
                {"out/": None, "out/d/": None, "out/d/old": b"old"},
            )
        assert number > 8

    def pulled(self, old, number, error):
        failed = []

        def fail(*_):
            failed.append(number)
            raise error

        with (
            suppress(KeyboardInterrupt, LocalIOError, OSError),
            before(number, fail),
            replacing(str(old)) as fresh,
        ):
            fill(fresh)
        return not failed

    def test_a_folder_that_another_pull_put_there_meanwhile_is_replaced(self, old):
        def intrude(*_):
            old.mkdir()
            fill(str(old))
            (old / "theirs").write_bytes(b"1")

        with before(2, intrude, events=("os.rename",)), replacing(str(old)) as fresh:
            fill(fresh)
        assert tree(old.parent) == {"out/": None, "out/new": b"new"}


@pytest.fixture
def nobody():
    """Be an ordinary user for the time of a test, with a folder of one's own."""
    folder = Path(tempfile.mkdtemp())
    user = os.getresuid()
    if user[1] == 0:
        os.chown(folder, _NOBODY, -1)
        os.setresuid(_NOBODY, _NOBODY, 0)
    yield folder
    os.setresuid(*user)
    shutil.rmtree(folder)


class TestAsAnOrdinaryUser:
    def test_old_folders_that_forbid_removal_are_removed(self, nobody):
        (nobody / "out" / "d").mkdir(parents=True)
        (nobody / "out" / "d" / "old").write_bytes(b"old")
        (nobody / "out" / "d").chmod(0o500)
        (nobody / "out").chmod(0o000)
        with replacing(str(nobody / "out")) as fresh:
            fill(fresh)
        assert tree(nobody) == {"out/": None, "out/new": b"new"}

    def test_what_is_left_of_the_old_folder_is_named(self, nobody):
        (nobody / "out" / "theirs").mkdir(parents=True)
        (nobody / "out" / "theirs" / "old").write_bytes(b"old")
        if os.getresuid()[2] != 0:
            pytest.skip("needs a folder of somebody else")
        os.seteuid(0)
        os.chown(nobody / "out" / "theirs", 0, 0)
        os.seteuid(_NOBODY)
        with pytest.raises(LocalIOError) as caught, replacing(str(nobody / "out")) as fresh:
            fill(fresh)
        (left,) = nobody.glob(".imgpkg-*")
        assert tree(left) == {"theirs/": None, "theirs/old": b"old"}
        assert tree(nobody / "out") == {"new": b"new"}
        assert str(caught.value).startswith(f"Removing output directory: remove {left}: ")
        assert str(left) in caught.value.hints[0]

    def test_what_could_not_be_put_back_is_named_and_comes_back_with_the_next_pull(self, nobody):
        (nobody / "out").mkdir()
        (nobody / "out" / "old").write_bytes(b"old")

        def fail(*_):
            nobody.chmod(0o500)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with pytest.raises(LocalIOError, match="input/output error") as caught:
            fail_at(fail, nobody / "out")
        nobody.chmod(0o700)
        assert "could not be put back (Permission denied)" in caught.value.hints[0]
        assert not (nobody / "out").exists()
        with pytest.raises(UnpackError):
            fail_with(UnpackError("bad"), nobody / "out")
        assert tree(nobody) == {"out/": None, "out/old": b"old"}

    def test_a_folder_that_cannot_be_renamed_stays(self, nobody):
        (nobody / "out").mkdir()
        with (
            pytest.raises(LocalIOError, match=r"^Removing output directory: rename .*: permission denied$"),
            replacing(str(nobody / "out")),
        ):
            nobody.chmod(0o500)
        nobody.chmod(0o700)
        assert (nobody / "out").is_dir()
        with replacing(str(nobody / "out")) as fresh:
            fill(fresh)
        assert tree(nobody) == {"out/": None, "out/new": b"new"}

    def test_folders_that_forbid_moving_are_moved_where_entries_are_exchanged(self, nobody):
        holder = nobody / "holder"
        (holder / "new").mkdir(parents=True)
        (holder / "new" / "new").write_bytes(b"new")
        (nobody / "out" / "closed").mkdir(parents=True)
        (nobody / "out" / "closed" / "old").write_bytes(b"old")
        (nobody / "out" / "closed").chmod(0o500)
        done = swap_entries(str(nobody / "out"), str(holder), "out")
        assert tree(nobody / "out") == {"new": b"new"}
        assert Path(done, "closed").stat().st_mode & 0o7777 == 0o500
        os.rename(done, holder / "replaced")
        put_back(str(nobody / "out"), str(holder))
        assert tree(nobody / "out") == {"closed/": None, "closed/old": b"old"}
        (nobody / "out" / "closed").chmod(0o700)

    def test_an_entry_that_cannot_be_moved_is_an_error_and_stays_as_it_was(self, nobody):
        holder = nobody / "holder"
        (holder / "new").mkdir(parents=True)
        (nobody / "out" / "closed").mkdir(parents=True)
        (nobody / "out" / "closed").chmod(0o500)
        (nobody / "out").chmod(0o555)
        with pytest.raises(LocalIOError, match="rename out: permission denied"):
            swap_entries(str(nobody / "out"), str(holder), "out")
        put_back(str(nobody / "out"), str(holder))
        (nobody / "out").chmod(0o755)
        assert (nobody / "out" / "closed").stat().st_mode & 0o7777 == 0o500

    def test_a_place_that_is_not_ours_is_refused_and_left_alone(self, nobody):
        (nobody / "out").mkdir()
        nobody.chmod(0o500)
        try:
            with pytest.raises(LocalIOError, match=r"Creating output directory: mkdir .*: permission denied"):
                fail_with(AssertionError("never entered"), nobody / "out")
        finally:
            nobody.chmod(0o700)

    def test_files_belong_to_whom_unpacks_them(self, nobody):
        (nobody / "out").mkdir()
        unpack(nobody / "out", tar(file("a", b"1", uid=4321, gid=1234)))
        assert (nobody / "out" / "a").stat().st_uid == os.geteuid()


@pytest.fixture
def overlay(tmp_path):
    """Mount an overlay file system, as containers have it, with `out` in its lower layer."""
    lower, upper, work, merged = (tmp_path / name for name in ("lower", "upper", "work", "merged"))
    for folder in (lower / "out", upper, work, merged):
        folder.mkdir(parents=True)
    (lower / "out" / "old").write_bytes(b"old")
    (lower / "out" / "deep" / "er").mkdir(parents=True)
    (lower / "out" / "deep" / "er" / "old").write_bytes(b"deep")
    (lower / "out" / "deep").chmod(0o750)
    options = f"lowerdir={lower},upperdir={upper},workdir={work},redirect_dir=off"
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(merged)]
    if subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting needs root")
    yield merged
    subprocess.run(["umount", str(merged)], check=True)


def test_a_folder_of_a_container_image_is_replaced_although_it_cannot_be_renamed(overlay):
    with pytest.raises(OSError, match="cross-device"):
        os.rename(overlay / "out", overlay / "other")
    with replacing(str(overlay / "out")) as fresh:
        fill(fresh)
    assert tree(overlay) == {"out/": None, "out/new": b"new"}


def test_a_folder_of_a_container_image_stays_as_it_was_after_a_failure(overlay):
    before = tree(overlay)
    with (
        pytest.raises(LocalIOError, match="Creating output directory: rename"),
        replacing(str(overlay / "out")) as fresh,
    ):
        os.rmdir(fresh)
    assert tree(overlay) == before
    assert (overlay / "out" / "deep").stat().st_mode & 0o7777 == 0o750
