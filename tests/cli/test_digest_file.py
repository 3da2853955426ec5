"""`--digest-file` and `--quiet`: what the next step of a script reads."""

from __future__ import annotations

import os

import pytest
from tests.operations.making import make_bundle, make_image

from imgpkg.embedded.server import serve


@pytest.fixture
def digest(run, image):
    """The digest of the image."""
    return run("tag", "resolve", "-i", image).out.partition("@")[2]


def test_each_command_writes_the_digest_and_a_line_end(run, image, digest, folder, repository, tmp_path):
    file = tmp_path / "digest"
    for words in (
        ["push", "-i", f"{repository}:v1", "-f", folder],
        ["pull", "-i", image, "-o", tmp_path / "out"],
        ["copy", "-i", image, "--to-repo", f"{repository}-copy"],
        ["copy", "-i", image, "--to-tar", tmp_path / "a.tar"],
        ["tag", "resolve", "-i", image],
        ["lock", "-i", image],
    ):
        file.unlink(missing_ok=True)
        assert run(*words, "--digest-file", file).code == 0
        assert file.read_text() == f"{digest}\n", words


def test_several_digests_have_a_line_each(run, session, repository, tmp_path):
    images = [make_image(session, f"{repository}-app", [name]) for name in ("one", "two")]
    bundle = make_bundle(session, f"{repository}:v1", {image: {} for image in images}, tmp_path / "in")
    file = tmp_path / "digests"
    words = ["copy", "-b", bundle, *(word for image in images for word in ("-i", image))]
    run(*words, "--to-repo", f"{repository}-copy", "--digest-file", file)
    assert sorted(file.read_text().split()) == sorted(str(one.digest) for one in (bundle, *images))


def test_a_file_that_cannot_be_written_ends_the_command_before_it_begins(run, folder, tmp_path):
    with serve() as server:
        words = ("push", "-i", f"{server.address}/a/b", "-f", folder)
        done = run(*words, "--digest-file", tmp_path / "none" / "digest")
        assert not server.requests
    assert done.err.startswith(f"imgpkg: Error: Writing digest file: open {tmp_path}/none/digest: no such")


def test_an_empty_name_is_an_error(refused, image):
    assert refused("tag", "resolve", "-i", image, "--digest-file=").startswith("--digest-file is empty")


def test_a_failure_leaves_the_old_file(run, image, tmp_path):
    (tmp_path / "digest").write_text("old")
    assert run("tag", "resolve", "-i", f"{image}:nosuch", "--digest-file", tmp_path / "digest").code != 0
    assert (tmp_path / "digest").read_text() == "old"


def test_a_preview_writes_none(run, image, repository, tmp_path):
    run("copy", "-i", image, "--to-repo", repository, "--dry-run", "--digest-file", tmp_path / "digest")
    assert not (tmp_path / "digest").exists()


def test_a_pipe_gets_the_digest(run, image, digest, tmp_path):
    reader, writer = os.pipe()
    assert run("tag", "resolve", "-i", image, "--digest-file", f"/dev/fd/{writer}").code == 0
    os.close(writer)
    with open(reader, encoding="ascii") as pipe:
        assert pipe.read() == f"{digest}\n"


class TestQuiet:
    def test_prints_the_reference_alone(self, run, image, digest, folder, repository, tmp_path):
        for words, place in (
            (["push", "-i", f"{repository}:v1", "-f", folder], repository),
            (["pull", "-i", image, "-o", tmp_path / "out"], image),
            (["copy", "-i", image, "--to-repo", f"{repository}-copy"], f"{repository}-copy"),
            (["copy", "-i", image, "--to-tar", tmp_path / "a.tar"], image),
            (["tag", "resolve", "-i", image], image),
            (["lock", "-i", image, "-o", tmp_path / "images.yml"], image),
        ):
            done = run(*words, "--quiet")
            assert (done.code, done.out, done.err) == (0, f"{place}@{digest}\n", ""), words

    @pytest.mark.slow
    def test_on_a_terminal_too(self, terminal, folder, repository):
        (folder / "large").write_bytes(os.urandom(4 << 20))
        done = terminal("push", "-i", repository, "-f", folder, "-q")
        assert done.out.startswith(f"{repository}@sha256:")
        assert (done.out.count("\n"), done.err) == (1, "")

    def test_leaves_other_results_as_they_are(self, run, image):
        for words in (["tag", "list", "-i", image], ["lock", "-i", image], ["version"]):
            loud, quiet = run(*words), run(*words, "-q")
            assert (quiet.code, quiet.out) == (0, loud.out)

    def test_prints_no_warning(self, run, image, monkeypatch):
        monkeypatch.setenv("IMGPKG_ENABLE_IAAS_AUTH", "true")
        assert run("tag", "list", "-i", image).err
        assert run("tag", "list", "-i", image, "-q").err == ""

    def test_prints_errors(self, run, image):
        done = run("tag", "resolve", "-i", f"{image}:nosuch", "-q")
        assert done.out == ""
        assert done.err.startswith("imgpkg: Error: GET ")

    def test_traces_if_asked_to(self, run, image):
        assert "GET" in run("tag", "list", "-i", image, "-q", "--debug").err
