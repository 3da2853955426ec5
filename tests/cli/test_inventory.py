"""`inventory` as people and scripts see it."""

from __future__ import annotations

import json

import pytest

from imgpkg.bundle.inventory import Inventory


@pytest.fixture
def tar(run, image, tmp_path):
    path = tmp_path / "image.tar"
    assert run("copy", "-i", f"{image}:latest", "--to-tar", path).code == 0
    return path


@pytest.fixture
def layout(run, image, tmp_path):
    path = tmp_path / "layout"
    assert run("copy", "-i", f"{image}:latest", "--to-oci-layout", path).code == 0
    return path


@pytest.mark.parametrize(
    ("kind", "flag"), [("tar", "--tar"), ("layout", "--from-oci-layout"), ("image", "-i")]
)
def test_a_word_is_what_it_names(run, request, kind, flag):
    place = request.getfixturevalue(kind)
    done = run("inventory", place)
    assert (done.code, done.err) == (0, "")
    found = Inventory.parse(done.out.encode())
    assert (len(found.manifests), len(found.blobs)) == (1, 2)
    assert run("inventory", flag, place).out == done.out
    assert json.loads(run("inventory", place, "--json").out) == json.loads(done.out)


def test_the_file_is_written_and_summed_up(run, terminal, image, tmp_path):
    done = run("inventory", image, "-o", tmp_path / "a.json")
    assert (done.code, done.out, done.err) == (0, "", "")
    text = (tmp_path / "a.json").read_text()
    assert text == run("inventory", image).out
    done = terminal("inventory", image, "-o", tmp_path / "b.json")
    assert "Listed 1 manifest and 2 blobs with " in done.out
    value = json.loads(run("inventory", image, "-o", tmp_path / "c.json", "--json").out)
    assert value == json.loads((tmp_path / "c.json").read_text())


@pytest.mark.parametrize("words", [[], ["a/b", "c/d"], ["a/b", "-i", "c/d"], ["--tar", "a", "-i", "c/d"]])
def test_one_place_is_wanted(refused, words):
    assert "a tar file, a folder with a layout, or a repository" in refused("inventory", *words)


def test_a_file_that_is_not_there_is_named(refused, tmp_path):
    assert f"open {tmp_path}/nosuch.tar: no such file or directory" in refused(
        "inventory", tmp_path / "nosuch.tar"
    )


def test_a_folder_that_is_no_layout_is_named(refused, folder):
    assert f"{folder}/oci-layout" in refused("inventory", folder)
