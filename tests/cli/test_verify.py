"""`verify` as people and scripts see it."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def tar(run, folder, tmp_path):
    path = tmp_path / "image.tar"
    assert run("push", "-i", "registry.example.com/app:v1", "-f", folder, "--to-tar", path).code == 0
    return path


def damage(path):
    data = path.read_bytes()
    at = data.rindex(b"\x1f\x8b") + 12
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


class TestVerify:
    def test_says_that_a_file_is_whole(self, run, tar):
        done = run("verify", tar)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"Verified {tar}: 1 manifest and 2 blobs, ")
        assert done.out.endswith("; no defects\n")

    def test_takes_flags_and_one_word(self, run, tar, tmp_path):
        assert run("verify", "--tar", tar).code == 0
        for words in ([], [tar, "--tar", tar], [tar, tar]):
            done = run("verify", *words)
            assert done.code == 2
            assert "Expected one tar file, layout folder, image or bundle" in done.err

    def test_names_the_defect_and_fails(self, run, tar):
        damage(tar)
        done = run("verify", tar)
        assert done.code == 6
        assert "DAMAGED sha256:" in done.out
        assert "named by registry.example.com/app@sha256:" in done.out
        assert f"1 defect in {tar}" in done.err

    def test_writes_json_with_and_without_defects(self, run, tar):
        whole = json.loads(run("verify", tar, "--json").out)
        assert (whole["ok"], whole["manifests"], whole["blobs"], whole["defects"]) == (True, 1, 2, [])
        damage(tar)
        done = run("verify", tar, "--json")
        assert done.code == 6
        document = json.loads(done.out)
        assert document["ok"] is False
        (defect,) = document["defects"]
        assert defect["kind"] == "damaged"
        assert defect["namedBy"] == document["roots"]

    def test_takes_a_folder_as_a_layout_and_other_words_as_images(self, run, folder, tmp_path, repository):
        layout = tmp_path / "layout"
        name = f"{repository}:v1"
        assert run("push", "-i", name, "-f", folder, "--to-oci-layout", layout).code == 0
        assert run("verify", layout).code == 0
        assert run("push", "-i", name, "-f", folder).code == 0
        done = run("verify", name)
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(f"Verified {name}: 1 manifest and 2 blobs, ")

    def test_takes_what_looks_like_a_file_for_one(self, run, tmp_path):
        done = run("verify", tmp_path / "nosuch")
        assert done.code == 7
        assert "no such file or directory" in done.err
