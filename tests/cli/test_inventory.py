"""`inventory` as people and scripts see it."""

from __future__ import annotations

import json
import os

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


def test_a_pipe_gets_it_and_stays(run, image, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert run("inventory", image, "-o", tmp_path / "pipe").code == 0
    assert os.read(reader, 1 << 16).decode() == run("inventory", image).out
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("words", [[], ["a/b", "c/d"], ["a/b", "-i", "c/d"], ["--tar", "a", "-i", "c/d"]])
def test_one_place_is_wanted(refused, words):
    assert "a tar file, a folder with a layout, or a repository" in refused("inventory", *words)


def test_a_file_that_is_not_there_is_named(refused, tmp_path):
    assert f"open {tmp_path}/nosuch.tar: no such file or directory" in refused(
        "inventory", tmp_path / "nosuch.tar"
    )


def test_a_folder_that_is_no_layout_is_named(refused, folder):
    assert f"{folder}/oci-layout" in refused("inventory", folder)


class TestACopySince:
    """`copy --since` and `--since-inventory`, from the command line."""

    @pytest.fixture
    def next_image(self, run, folder, image):
        (folder / "a.txt").write_text("two\n")
        assert run("push", "-i", f"{image}:next", "-f", folder).code == 0
        return f"{image}:next"

    def test_leaves_out_what_is_there(self, run, image, tar, next_image, tmp_path):
        assert run("inventory", f"{image}", "-o", tmp_path / "all.json").code == 0
        for name, words in {
            "same.tar": ("--since", tar),
            "next.tar": ("--since-inventory", tmp_path / "all.json"),
        }.items():
            asked = f"{image}:latest" if name == "same.tar" else next_image
            done = run("copy", "-i", asked, "--to-tar", tmp_path / name, *words)
            assert (done.code, done.err) == (0, "")
            made = Inventory.parse(run("inventory", tmp_path / name).out.encode())
            assert [len(base.blobs) for base in made.bases] == [1]

    def test_is_previewed(self, run, image, tar, tmp_path):
        words = ("copy", "-i", f"{image}:latest", "--to-tar", tmp_path / "b.tar", "--since", tar, "--dry-run")
        done = run(*words)
        assert "  without 1 blob with " in done.out
        assert f" that image.tar ({image}:latest) has\n" in done.out
        (base,) = json.loads(run(*words, "--json").out)["bases"]
        assert (base["name"], len(base["blobs"])) == ("image.tar", 1)
        assert not (tmp_path / "b.tar").exists()

    def test_names_what_is_missing(self, run, image, tar, another_registry, tmp_path):
        delta = tmp_path / "delta.tar"
        assert run("copy", "-i", f"{image}:latest", "--to-tar", delta, "--since", tar).code == 0
        for words in ((), ("--dry-run",)):
            done = run("copy", "--tar", delta, "--to-repo", f"{another_registry.address}/a/lost", *words)
            assert done.code == 3
            assert f"{delta} relies on 1 blob with " in done.err
            assert f"  expected from image.tar ({image}:latest): 1 blob with " in done.err
            assert "Copy image.tar to " in done.err
        # In the registry that it came from, the blob is mounted from there.
        assert run("copy", "--tar", delta, "--to-repo", f"{image}-inside").code == 0

    def test_refuses_what_is_no_inventory(self, refused, image, tmp_path):
        (tmp_path / "a.json").write_text("{}")
        text = refused(
            "copy", "-i", image, "--to-tar", tmp_path / "b.tar", "--since-inventory", tmp_path / "a.json"
        )
        assert "this is no inventory of version imgpkg.carvel.dev/v1alpha1" in text
        assert "`imgpkg inventory` writes one" in text

    @pytest.mark.parametrize("flag", ["--since", "--since-inventory"])
    def test_is_for_files_only(self, refused, image, flag):
        text = refused("copy", "-i", image, "--to-repo", f"{image}-copy", flag, "a")
        assert "can only be used when copying to a tar file or layout" in text


def test_a_description_says_what_its_file_was_made_without(run, repository, image, tmp_path):
    digest = run("tag", "resolve", "-i", image).out
    (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
    (tmp_path / "bundle/.imgpkg/images.yml").write_text(
        f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {digest}\n"
    )
    bundle = f"{repository}-bundle"
    assert run("push", "-b", bundle, "-f", tmp_path / "bundle").code == 0
    assert run("copy", "-b", bundle, "--to-tar", tmp_path / "a.tar").code == 0
    plain = run("describe", "--tar", tmp_path / "a.tar").out
    assert run("copy", "-b", bundle, "--to-tar", tmp_path / "b.tar", "--since", tmp_path / "a.tar").code == 0
    forms = {form: run("describe", "--tar", tmp_path / "b.tar", "-o", form).out for form in FORMS}
    assert forms["text"].startswith(plain)
    assert forms["text"].removeprefix(plain).startswith("\nMade without:\n  1 blob with ")
    assert "\nwithout 1 blob with " in forms["tree"]
    assert "\nbases:\n- " in forms["yaml"]
    assert len(json.loads(forms["json"])["bases"]) == 1


FORMS = ("text", "tree", "yaml", "json")
