"""Files put in place whole: with the mode that was there, through links, where renaming is not allowed."""

from __future__ import annotations

import os
import resource
import stat
import tempfile
import threading
from contextlib import contextmanager

import pytest

from imgpkg.bundle.lock import read_file, write_file
from imgpkg.bundle.yaml_reader import MAX_SIZE
from imgpkg.content.output import output_file
from imgpkg.content.temporary import new_file
from imgpkg.errors import LocalIOError

NOBODY = 65534


@contextmanager
def unprivileged():
    """Go on as a user whom file modes bind."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def folder():
    """A folder that everybody can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o755)
        yield path


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


class TestAFile:
    def test_that_is_new_is_for_its_owner(self, tmp_path):
        path = tmp_path / "x.yml"
        write_file(path, b"data")
        assert (path.read_bytes(), mode(path)) == (b"data", 0o600)
        assert os.listdir(tmp_path) == ["x.yml"]

    def test_that_was_there_keeps_its_mode(self, tmp_path):
        path = tmp_path / "x.yml"
        path.write_bytes(b"longer than before")
        path.chmod(0o664)
        write_file(path, b"data")
        assert (path.read_bytes(), mode(path)) == (b"data", 0o664)

    def test_in_the_current_folder_needs_no_path(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        write_file("x.yml", b"data")
        assert read_file("x.yml") == b"data"

    def test_behind_a_link_is_written(self, tmp_path):
        (tmp_path / "there").mkdir()
        link = tmp_path / "x.yml"
        link.symlink_to("there/real.yml")
        for data in (b"new", b"again"):
            write_file(link, data)
            assert (tmp_path / "there" / "real.yml").read_bytes() == data
        assert link.is_symlink()

    def test_that_is_a_pipe_is_written_to(self, tmp_path):
        path = tmp_path / "pipe"
        os.mkfifo(path)
        found = []
        reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
        reader.start()
        write_file(path, b"data")
        reader.join()
        assert found == [b"data"]
        assert stat.S_ISFIFO(os.stat(path).st_mode)

    def test_that_is_a_folder_is_refused(self, tmp_path):
        for write in (lambda: write_file(tmp_path, b"data"), lambda: read_file(tmp_path)):
            with pytest.raises(LocalIOError, match=f"open {tmp_path}: is a directory"):
                write()

    def test_whose_folder_does_not_exist_is_refused(self, tmp_path):
        with pytest.raises(LocalIOError) as caught:
            write_file(tmp_path / "no" / "x.yml", b"data")
        assert str(caught.value) == f"open {tmp_path}/no/x.yml: no such file or directory"

    def test_is_read_a_byte_beyond_what_may_be(self, tmp_path):
        path = tmp_path / "large"
        with open(path, "wb") as file:
            file.truncate(MAX_SIZE + 1000)
        assert len(read_file(path)) == MAX_SIZE + 1


class TestItsPlace:
    @pytest.mark.parametrize("named", ["sub/../x.yml", "./x.yml", "sub/up/x.yml", "link"])
    def test_is_one_path_however_it_is_named(self, tmp_path, named, monkeypatch):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "up").symlink_to("..")
        (tmp_path / "link").symlink_to("sub/../x.yml")
        monkeypatch.chdir(tmp_path)
        assert output_file(named) == str(tmp_path / "x.yml")
        write_file(named, b"data")
        assert (tmp_path / "x.yml").read_bytes() == b"data"
        assert output_file(named) == str(tmp_path / "x.yml")

    def test_may_be_a_stream_that_has_no_path(self):
        reader, writer = os.pipe()
        write_file(f"/dev/fd/{writer}", b"data")
        os.close(writer)
        with open(reader, "rb") as file:
            assert file.read() == b"data"

    def test_in_a_removed_working_directory_is_an_error_with_the_reason(self, tmp_path, monkeypatch):
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(LocalIOError, match=r"^getwd: no such file or directory$"):
            write_file("x.yml", b"data")
        write_file(tmp_path / "x.yml", b"data")

    def test_is_cleared_of_what_killed_processes_left_and_of_nothing_else(self, tmp_path):
        path = str(tmp_path / "x.yml")
        for name in (path, str(tmp_path / "other.yml")):
            left, descriptor = new_file(name, 0o600)
            os.close(descriptor)
        held, descriptor = new_file(path, 0o600)
        strange = tmp_path / ".imgpkg-precious"
        strange.write_bytes(b"1")
        write_file(path, b"data")
        os.close(descriptor)
        names = ["x.yml", strange.name, *map(os.path.basename, (left, held))]
        assert sorted(os.listdir(tmp_path)) == sorted(names)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
    def test_is_not_cleared_of_what_another_user_left(self, tmp_path):
        left, descriptor = new_file(str(tmp_path / "x.yml"), 0o600)
        os.close(descriptor)
        os.chown(left, NOBODY, NOBODY)
        write_file(tmp_path / "x.yml", b"data")
        assert os.path.exists(left)


class TestWithoutPrivileges:
    def test_a_file_in_a_closed_folder_is_written_in_place(self, folder):
        path = os.path.join(folder, "x.yml")
        write_file(path, b"longer than before")
        os.chmod(path, 0o666)
        os.chmod(folder, 0o555)
        before = os.stat(path).st_ino
        with unprivileged():
            write_file(path, b"data")
        assert (read_file(path), os.stat(path).st_ino, mode(path)) == (b"data", before, 0o666)

    def test_a_new_file_in_a_closed_folder_is_refused(self, folder):
        os.chmod(folder, 0o555)
        path = os.path.join(folder, "x.yml")
        with unprivileged(), pytest.raises(LocalIOError) as caught:
            write_file(path, b"data")
        assert str(caught.value) == f"open {path}: permission denied"

    def test_a_file_that_may_not_be_written_is_not_replaced(self, folder):
        path = os.path.join(folder, "x.yml")
        write_file(path, b"mine")
        os.chmod(path, 0o444)
        os.chmod(folder, 0o777)
        with unprivileged(), pytest.raises(LocalIOError) as caught:
            write_file(path, b"data")
        assert str(caught.value) == f"open {path}: permission denied"
        assert (read_file(path), os.listdir(folder)) == (b"mine", ["x.yml"])

    def test_a_file_of_another_user_is_replaced_where_that_is_allowed(self, folder):
        path = os.path.join(folder, "x.yml")
        write_file(path, b"mine")
        os.chmod(path, 0o666)
        os.chmod(folder, 0o777)
        with unprivileged():
            write_file(path, b"data")
        assert (read_file(path), mode(path), os.listdir(folder)) == (b"data", 0o666, ["x.yml"])


class TestAFailure:
    def test_leaves_the_old_file_and_nothing_else(self, tmp_path):
        path = tmp_path / "x.yml"
        path.write_bytes(b"old")
        with pytest.raises(TypeError):
            write_file(path, "text is no data")
        assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["x.yml"])

    def test_to_write_all_of_it_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "x.yml"
        path.write_bytes(b"old")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with pytest.raises(LocalIOError) as caught:
                write_file(path, bytes(1000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert str(caught.value) == f"open {path}: file too large"
        assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["x.yml"])

    def test_to_overwrite_a_file_that_cannot_be_replaced_leaves_the_old_content(self, folder):
        path = os.path.join(folder, "x.yml")
        old = b"old" * 20
        write_file(path, old)
        os.chmod(path, 0o666)
        os.chmod(folder, 0o555)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        try:
            with unprivileged(), pytest.raises(LocalIOError, match="file too large"):
                write_file(path, bytes(1000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert read_file(path) == old

    def test_of_a_full_disk_is_named(self):
        with pytest.raises(LocalIOError) as caught:
            write_file("/dev/full", b"data")
        assert str(caught.value) == "open /dev/full: no space left on device"
