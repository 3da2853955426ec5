"""What is beside an output until it is whole: locked while its process lives, and then nobody's."""

from __future__ import annotations

import errno
import os

import pytest
from tests.content.steps import before

from imgpkg.content.temporary import (
    hold,
    is_made_for,
    left_behind,
    locked,
    new_file,
    new_folder,
    replacing_file,
    written_file,
)


def make_folder(tmp_path):
    return new_folder(str(tmp_path), "out")


def make_file(tmp_path):
    return new_file(str(tmp_path / "out"), 0o600)


@pytest.mark.parametrize("make", [make_folder, make_file])
class TestANewOne:
    def test_is_held_until_its_descriptor_is_closed(self, tmp_path, make):
        path, descriptor = make(tmp_path)
        assert list(left_behind(str(tmp_path), "out")) == []
        os.close(descriptor)
        assert list(left_behind(str(tmp_path), "out")) == [path]
        assert list(left_behind(str(tmp_path))) == [path]
        assert list(left_behind(str(tmp_path), "other")) == []

    def test_that_was_taken_for_a_left_over_at_once_is_made_again(self, tmp_path, make):
        def clear(*_):
            for path in left_behind(str(tmp_path)):
                (os.rmdir if os.path.isdir(path) else os.unlink)(path)

        with before(1, clear, events=("fcntl.flock",)):
            path, descriptor = make(tmp_path)
        assert os.listdir(tmp_path) == [os.path.basename(path)]
        assert os.path.samestat(os.fstat(descriptor), os.stat(path))
        os.close(descriptor)

    def test_has_a_name_with_its_purpose_that_no_other_program_gives(self, tmp_path, make):
        path, descriptor = make(tmp_path)
        os.close(descriptor)
        name = os.path.basename(path)
        assert is_made_for("out", name)
        assert is_made_for("", name)
        assert not is_made_for("Out", name)
        for other in (".imgpkg", ".imgpkg-0123456789abcdef", f"{name}.old", f"x{name}", name[:-1]):
            assert not is_made_for("", other)


def test_a_folder_that_was_cleared_before_it_was_opened_is_made_again(tmp_path):
    with before(1, lambda path, *_: os.rmdir(path), events=("open",)):
        path, descriptor = make_folder(tmp_path)
    os.close(descriptor)
    assert os.listdir(tmp_path) == [os.path.basename(path)]


def test_a_folder_that_cannot_be_held_goes(tmp_path):
    def exhausted(*_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with before(1, exhausted, events=("open",)), pytest.raises(OSError, match="Too many open files"):
        make_folder(tmp_path)
    assert os.listdir(tmp_path) == []


def test_a_link_of_such_a_name_is_nobody_s_left_over(tmp_path):
    path, descriptor = make_folder(tmp_path)
    os.close(descriptor)
    os.rename(path, tmp_path / "there")
    os.symlink("there", path)
    assert list(left_behind(str(tmp_path))) == []


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert list(left_behind(str(tmp_path / "none"))) == []


def test_where_there_are_no_locks_everything_is_held(tmp_path):
    """A descriptor for a path alone cannot be locked (open(2), O_PATH)."""
    descriptor = os.open(tmp_path, getattr(os, "O_PATH", os.O_RDONLY))
    assert hold(descriptor, str(tmp_path))
    os.close(descriptor)


def test_a_locked_is_locked_for_one_at_a_time(tmp_path):
    with locked(str(tmp_path)):
        descriptor = os.open(tmp_path, os.O_RDONLY)
        assert not hold(descriptor, str(tmp_path))
    assert hold(descriptor, str(tmp_path))
    # It is held now, as by a script that locks a folder around the command, and for good.
    with locked(str(tmp_path), patience=0.1):
        pass
    os.close(descriptor)


def test_a_file_whose_writing_fails_leaves_the_old_one(tmp_path):
    target = tmp_path / "x"
    target.write_bytes(b"old")
    with pytest.raises(TypeError), replacing_file(str(target)) as file:
        file.write("text is no data")
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x"]


def test_a_pipe_is_written_to_and_stays(tmp_path):
    """A rename would put a file in its place: in /dev, that of a device of the whole machine."""
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with written_file(str(tmp_path / "pipe")) as file:
        file.write(b"content")
    assert os.read(reader, 100) == b"content"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert os.listdir(tmp_path) == ["pipe"]
