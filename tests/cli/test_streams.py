"""`copy --to-tar -` and `--tar -` in a pipe of the shell."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.measured

IMGPKG = [sys.executable, "-m", "imgpkg"]
# A process begins with the memory of the one that starts it, so that a small one has to.
MEASURED = """
import pathlib, resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


@pytest.fixture
def pushed(run, folder, repository):
    assert run("push", "-i", f"{repository}:v1", "-f", folder).code == 0
    return f"{repository}:v1"


def test_a_pipe_carries_an_image_from_registry_to_registry(pushed, another_registry, run, tmp_path):
    to = f"{another_registry.address}/streams/app"
    first = subprocess.Popen(
        [*IMGPKG, "copy", "-i", pushed, "--to-tar", "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    second = subprocess.run(
        [*IMGPKG, "copy", "--tar", "-", "--to-repo", to], stdin=first.stdout, capture_output=True, check=False
    )
    first.stdout.close()
    assert (first.wait(60), first.stderr.read()) == (0, b"")
    assert (second.returncode, second.stdout, second.stderr) == (0, b"", b"")
    first.stderr.close()
    digest = run("tag", "resolve", "-i", pushed).out.partition("@")[2]
    assert run("tag", "resolve", "-i", f"{to}:v1").out == f"{to}@{digest}"


def test_standard_output_has_the_file_and_nothing_else(pushed, run, tmp_path):
    assert run("copy", "-i", pushed, "--to-tar", tmp_path / "a.tar").code == 0
    done = subprocess.run([*IMGPKG, "copy", "-i", pushed, "--to-tar", "-"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == (tmp_path / "a.tar").read_bytes()


def test_a_reader_that_leaves_is_an_error(pushed):
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {' '.join(IMGPKG)} copy -i {pushed} --to-tar - | true"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7
    assert "imgpkg: Error: write standard output: broken pipe" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_stream_that_is_cut_is_an_error(pushed, another_registry, program):
    whole = subprocess.run([*IMGPKG, "copy", "-i", pushed, "--to-tar", "-"], capture_output=True, check=True)
    to = f"{another_registry.address}/streams/cut"
    done = program("copy", "--tar", "-", "--to-repo", to, stdin=whole.stdout[:700])
    assert done.code == 7
    assert "unexpected EOF" in done.err


def test_a_terminal_gets_no_tar_file(terminal):
    done = terminal("copy", "-i", "registry.example.com/app:v1", "--to-tar", "-", stderr=False)
    assert done.code == 2
    assert "Refusing to write a tar file to a terminal" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--to-tar", "-", "--json"],
        ["--to-tar", "-", "--tty"],
        ["--to-tar", "-", "--resume"],
        ["--to-tar", "-", "--split", "4GiB"],
        ["--to-tar", "-", "--since", "old.tar"],
    ],
)
def test_flags_that_write_elsewhere_do_not_fit(refused, words):
    text = refused("copy", "-i", "registry.example.com/app:v1", *words)
    assert text.startswith(f"Cannot use {words[2]} with --to-tar -")


@pytest.mark.parametrize("flag", ["--dry-run", "--check", "--registry-password-stdin"])
def test_flags_that_read_twice_do_not_fit(refused, flag):
    text = refused("copy", "--tar", "-", "--to-repo", "registry.example.com/app", flag)
    assert text.startswith(f"Cannot use {flag} with --tar -")


def test_only_a_repository_is_copied_to_from_a_stream(refused, tmp_path):
    text = refused("copy", "--tar", "-", "--to-oci-layout", tmp_path / "layout")
    assert text.startswith("A tar file from standard input can be copied to a repository only")


@pytest.mark.parametrize("words", [["describe"], ["pull", "-o", "out"], ["verify"], ["tag", "list"]])
def test_other_commands_want_a_file(refused, words):
    assert "Save it to a file first" in refused(*words, "--tar", "-")


@pytest.mark.slow
def test_the_memory_of_a_copy_and_of_a_verification_does_not_grow_with_a_blob(run, repository, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "large").write_bytes(os.urandom(96 << 20))
    assert run("push", "-i", f"{repository}:v1", "-f", tmp_path / "folder").code == 0
    whole, pieces = tmp_path / "whole.tar", tmp_path / "pieces.tar"
    commands = [
        ["copy", "-i", f"{repository}:v1", "--to-tar", "-"],
        ["copy", "--tar", "-", "--to-repo", f"{repository}-copy"],
        ["copy", "-i", f"{repository}:v1", "--to-tar", str(pieces), "--split", "10MB"],
        ["copy", "--tar", str(pieces), "--to-repo", f"{repository}-pieces"],
        ["verify", str(pieces)],
    ]
    for words in commands:
        is_output, is_input = "--to-tar" in words and "-" in words, "--tar" in words and "-" in words
        with (
            open(whole if is_output else os.devnull, "wb") as out,
            open(whole if is_input else os.devnull, "rb") as given,
        ):
            done = subprocess.run(
                [sys.executable, "-c", MEASURED, tmp_path / "peak", *IMGPKG, *words],
                stdin=given,
                stdout=out,
                check=False,
            )
        assert done.returncode == 0, words
        # In KiB: less than the blob, of which nothing is held but buffers.
        assert int((tmp_path / "peak").read_text()) < 80 << 10, words
