"""The command line run in this process, or as a process of its own on pipes or a pseudo terminal."""

from __future__ import annotations

import io
import uuid

import pytest
from tests.cli.running import Done, command_line, on_terminal, start

from imgpkg.cli.main import main


@pytest.fixture
def run(capsys, monkeypatch):
    """Run `imgpkg` with these words in this process; both streams are no terminals."""

    def ran(*words, stdin=""):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Done(code, out, err)

    return ran


@pytest.fixture
def refused(run):
    """Run `imgpkg` with words that it refuses; return its text after `imgpkg: Error: `."""

    def text(*words, **options):
        done = run(*words, **options)
        # Programs get a document of the error.
        assert done.out == "" or "--json" in words
        assert 1 <= done.code <= 7
        assert done.err.startswith("imgpkg: Error: ")
        return done.err.removeprefix("imgpkg: Error: ").removesuffix("\n")

    return text


@pytest.fixture
def reason(refused):
    """Run `imgpkg` with words that it refuses; return its text without what to do next."""
    return lambda *words, **options: refused(*words, **options).partition("\nhint: ")[0]


@pytest.fixture
def program():
    """Run `python -m imgpkg` to its end on pipes."""
    return command_line


@pytest.fixture
def terminal():
    """Run `python -m imgpkg` to its end with each stream on a pseudo terminal of its own."""
    return on_terminal


@pytest.fixture
def started():
    """Start `python -m imgpkg` and do not wait; a command that still runs at the end is stopped."""
    processes = []

    def starts(*words, **options):
        processes.append(start(*words, **options))
        return processes[-1]

    yield starts
    for process in processes:
        # Not killed: it has a folder to remove.
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def folder(tmp_path):
    """A folder with one file, as `-f` takes it."""
    made = tmp_path / "config"
    made.mkdir()
    (made / "a.txt").write_text("one\n")
    return made


@pytest.fixture
def repository(embedded_registry):
    """A repository of the open registry that no other test uses; nothing is in it."""
    return f"{embedded_registry.address}/cli/{uuid.uuid4().hex}"


@pytest.fixture
def image(run, folder, repository):
    """A repository of the open registry with one image, tagged `latest`."""
    assert run("push", "-i", repository, "-f", folder).code == 0
    return repository
