"""The files and folders that are searched for image references."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import imgpkg
from imgpkg import errors
from imgpkg.operations.image_search import DocumentFile, read_files, search

TEMPLATE = "spec:\n{{- if .Values.x }}\n  image: a/b:1\n{{- end }}\n"


def searched(*files, paths=(), exclude=(), strict=False):
    warned = []
    found = search(files, paths=paths, exclude=exclude, strict=strict, on_event=warned.append)
    texts = [one.text for file in found for one in file.found]
    return texts, [event.text for event in warned]


class TestAFolder:
    def test_is_searched_for_documents_in_all_below_it(self, write_tree):
        names = ["b.yml", "a.yaml", "c.json", "sub/deep/d.yaml", "sub/Kustomization", "x.txt", ".hidden.yml"]
        root = write_tree(dict.fromkeys([*names, ".git/e.yml", ".imgpkg/images.yml"], "{}"))
        found = [os.path.relpath(file.name, root) for file in read_files([root])]
        assert found == ["a.yaml", "b.yml", "c.json", "sub/Kustomization", "sub/deep/d.yaml"]
        assert all(file.is_inside for file in read_files([root]))

    def test_may_have_links_to_files_and_not_to_folders(self, write_tree):
        root, other = write_tree({"a.yml": "{}"}), write_tree({"b.yml": "{}"})
        (root / "link.yml").symlink_to(other / "b.yml")
        (root / "more.yml").symlink_to(other)
        (root / "gone.yml").symlink_to("nosuch")
        (root / "loop.yml").symlink_to("loop.yml")
        os.mkfifo(root / "pipe.yml")
        assert [os.path.basename(file.name) for file in read_files([root])] == ["a.yml", "link.yml"]

    def test_that_is_hidden_is_searched_when_it_is_named(self, write_tree):
        root = write_tree({".config/a.yml": "{}"})
        assert len(read_files([root / ".config"])) == 1

    def test_has_lock_files_left_out(self, write_tree):
        lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: [{image: a/b:1}]\n"
        root = write_tree({"lock.yml": lock})
        assert searched(root) == ([], [])
        assert searched(root / "lock.yml") == (["a/b:1"], [])


class TestAFile:
    def test_is_read_whatever_its_name_is(self, write_tree):
        root = write_tree({"x.txt": "image: a/b"})
        assert searched(str(root / "x.txt"), root / "x.txt") == (["a/b", "a/b"], [])

    def test_may_be_in_memory(self):
        assert searched(DocumentFile("standard input", b"image: a/b")) == (["a/b"], [])

    def test_must_be_there_and_readable(self, tmp_path):
        with pytest.raises(errors.LocalIOError, match="no such file or directory"):
            searched(tmp_path / "nosuch")

    def test_must_be_readable(self):
        with pytest.raises(errors.LocalIOError, match=r"/proc/self/mem: input/output error"):
            searched("/proc/self/mem")

    def test_is_no_list_of_letters(self):
        with pytest.raises(errors.UsageError, match="a list of files"):
            search("abc", paths=(), exclude=(), strict=False, on_event=print)

    def test_may_be_one_path(self, write_tree):
        root = write_tree({"a.yml": "image: a/b"})
        assert len(search(Path(root), paths=(), exclude=(), strict=True, on_event=print)) == 1

    def test_that_is_invalid_is_named_with_the_place(self, write_tree):
        root = write_tree({"a.yml": "a: b: c"})
        with pytest.raises(errors.InvalidDocument, match=r"a\.yml:1:5: mapping values are not allowed"):
            searched(root)

    def test_that_is_invalid_is_named_with_all_others(self, write_tree):
        root = write_tree({"a.yml": "a: b: c", "b.yml": "image: a/b", "c.json": "{", "d.yml": b"\xff"})
        with pytest.raises(errors.InvalidDocument) as caught:
            searched(root)
        first, *lines = str(caught.value).split("\n")
        assert first == "3 files cannot be read as YAML or JSON"
        assert [name in line for name, line in zip(("a.yml:1:5", "c.json:", "d.yml is"), lines, strict=True)]


class TestWhatIsNoReference:
    def test_is_reported_with_its_place(self, write_tree):
        root = write_tree({"a.yml": "- image: a/b\n- image: '{{ x }}'\n- image: ''\n"})
        texts, warned = searched(root / "a.yml")
        assert texts == ["a/b"]
        assert warned == [
            f"{root}/a.yml:2:11: '{{{{ x }}}}' is a template; skipped",
            f"{root}/a.yml:3:10: '' is empty; skipped",
        ]

    def test_is_an_error_when_that_is_asked_for(self, write_tree):
        root = write_tree({"a.yml": "- image: '{{ x }}'\n- image: ''\n", "b.yml": "image: $X"})
        with pytest.raises(errors.InvalidDocument) as caught:
            searched(root, strict=True)
        assert str(caught.value).split("\n") == [
            "3 image references cannot be used",
            f"  {root}/a.yml:1:11: '{{{{ x }}}}' is a template",
            f"  {root}/a.yml:2:10: '' is empty",
            f"  {root}/b.yml:1:8: '$X' has a variable in it",
        ]
        assert (caught.value.line, caught.value.column) == (1, 11)

    def test_may_be_left_out_by_a_pattern(self):
        file = DocumentFile("x", b"[{image: auto}, {image: 'dev/{{ x }}'}, {image: dev/a}, {image: a/b}]")
        assert searched(file, exclude=["auto", "dev/*"], strict=True) == (["a/b"], [])

    def test_may_be_a_whole_file(self):
        texts, warned = searched(DocumentFile("x.yaml", TEMPLATE.encode()))
        assert texts == []
        (line,) = warned
        # The two parsers of PyYAML stop at different characters.
        assert re.fullmatch(r"x\.yaml:\d:\d: '.*' is no YAML before the templates of its file are .*", line)
        with pytest.raises(errors.InvalidDocument, match=r"x\.yaml:\d:\d: '.*' is no YAML"):
            searched(DocumentFile("x.yaml", TEMPLATE.encode()), strict=True)

    def test_is_cut_off_and_escaped_where_it_is_long_or_odd(self):
        text = "\x1b" + "x" * 5000
        _, (warned,) = searched(DocumentFile("x", f'image: "\\e{text[1:]}"'.encode()))
        assert len(warned) < 300
        skipped = imgpkg.SkippedImage(imgpkg.Position("x", 1, 1), text, "is empty")
        assert len(str(skipped)) < 300
        with pytest.raises(errors.InvalidDocument) as caught:
            searched(DocumentFile("x", f'image: "\\e{text[1:]}"'.encode()), strict=True)
        assert "\x1b" not in str(caught.value)


def test_further_places_are_those_of_paths():
    file = DocumentFile("x", b"spec: {runner: a/b:1}")
    assert searched(file) == ([], [])
    assert searched(file, paths=["spec.runner"]) == (["a/b:1"], [])
    with pytest.raises(errors.UsageError, match="is no path"):
        searched(file, paths=["spec."])
