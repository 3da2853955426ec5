"""What to do about errors of the system: with the folder, the file and the user that they are about."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from imgpkg.errors import LocalIOError, local_io
from imgpkg.errors.system import remedies


def said(number, path):
    """Return the hints of the error that a command would print."""
    with pytest.raises(LocalIOError) as caught, local_io("open", path):
        raise OSError(number, os.strerror(number))
    return caught.value.hints


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in a folder with a file, a folder and a layout."""
    (tmp_path / "config.yml").write_text("")
    (tmp_path / "dist").mkdir()
    (tmp_path / "layout").mkdir()
    (tmp_path / "layout" / "oci-layout").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("number", "path", "begin"),
    [
        (errno.ENOENT, "confg.yml", "There is config.yml: is that meant?"),
        (errno.ENOENT, "none", "There is nothing of this name or one like it (in "),
        (errno.ENOENT, "/none-of-these", "There is nothing of this name or one like it: check"),
        (errno.ENOENT, "a/b/c.tar", "There is no folder a (in "),
        (errno.ENOENT, "dist/b/c.tar", "There is no folder dist/b (in "),
        (errno.ENOENT, "eb/.imgpkg/images.yml", "There is no folder eb/.imgpkg (in "),
        (errno.ENOTDIR, "config.yml/sub/file", "config.yml is a file, and a folder is needed there"),
        (errno.EISDIR, "dist", "dist is a folder, and a file is needed here"),
        (errno.EISDIR, "layout", "layout is an OCI image layout: name it with --from-oci-layout"),
        (errno.ENOSPC, "x.tar", "The disk with x.tar is full"),
        (errno.EDQUOT, "x.tar", "Your quota on the disk with x.tar is used up"),
        (errno.EROFS, "x.tar", "The file system with x.tar can only be read"),
        (errno.EADDRINUSE, "127.0.0.1:5000", "Another program listens at 127.0.0.1:5000"),
        (errno.EMFILE, "x.tar", "The limit of open files is reached: raise it (ulimit -n)"),
    ],
)
def test_each_of_them_has_a_next_step(number, path, begin):
    (hint,) = said(number, path)
    assert hint.startswith(begin)


@pytest.mark.parametrize(("number", "path"), [(errno.EIO, "x.tar"), (errno.ENOTDIR, "config"), (0, "x")])
def test_a_reason_that_is_enough_has_none(number, path):
    assert said(number, path) == ()


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_who_may_not_is_told_whose_the_nearest_folder_is(number, folder):
    (hint,) = said(number, "dist/sub/file")
    mode, found = stat.filemode(os.stat("dist").st_mode), os.stat("dist")
    assert hint.startswith(
        f"dist ({mode}) belongs to user {found.st_uid} and group {found.st_gid}, and this process runs as "
        f"user {os.geteuid()}: "
    )


def test_a_path_of_which_nothing_can_be_read_has_no_owner_to_name():
    assert list(remedies(PermissionError(errno.EACCES, ""), "gone")) == []


def test_a_relative_path_in_a_folder_that_was_removed_says_so(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert said(errno.ENOENT, "a/b")[0].startswith("There is no folder a (the working directory was removed)")


def test_the_reason_is_that_of_go():
    with pytest.raises(LocalIOError, match=r"^open x: no such file or directory$"), local_io("open", "x"):
        raise FileNotFoundError(errno.ENOENT, "x")
    with pytest.raises(LocalIOError, match=r"^open x: a text alone$"), local_io("open", "x"):
        raise OSError("a text alone")
