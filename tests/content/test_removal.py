"""Which files a pull removes: those of the old folder that the new one does not have."""

from __future__ import annotations

import pytest

from imgpkg.content import removal
from imgpkg.content.removal import removed_by


@pytest.fixture
def folders(tmp_path):
    """Make the old and the new folder with these files."""

    def made(old, new):
        for name, files in (("old", old), ("new", new)):
            for file in files:
                path = tmp_path / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("x")
            (tmp_path / name).mkdir(exist_ok=True)
        return removed_by(str(tmp_path / "old"), str(tmp_path / "new"))

    return made


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ([], ["a"], ""),
        (["a", "d/b"], ["a", "d/b", "c"], ""),
        (["a", "d/b"], ["a"], "d/b"),
        (["b", "a"], [], "a, b"),
        (["a", "b", "c", "d"], [], "a, b, c and 1 more file"),
        (["a", "b", "c", "d", "e"], [], "a, b, c and 2 more files"),
    ],
)
def test_they_are_named_until_there_are_many(folders, old, new, text):
    assert folders(old, new) == text


def test_links_to_folders_are_files_too(folders, tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "link").symlink_to("/usr")
    assert folders([], []) == "link"


def test_what_is_no_folder_is_named_as_a_whole(tmp_path):
    (tmp_path / "old").write_text("x")
    assert removed_by(str(tmp_path / "old"), str(tmp_path)) == "what was there: it is no folder"


def test_a_large_folder_is_not_read_to_its_end(folders, monkeypatch):
    monkeypatch.setattr(removal, "_MOST_FILES", 5)
    assert folders(list("abcdefgh"), []) == "a, b, c and at least 2 more files"


def test_a_folder_that_another_command_works_in_and_lost_found_stay(folders):
    assert folders([".imgpkg-0123456789abcdef-0123456789abcdef/new/a", "lost+found/b"], []) == ""
