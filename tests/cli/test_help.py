"""Help in cobra's layout, and documents that name only what exists."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from imgpkg.cli import help as help_page
from imgpkg.cli.commands import COMMANDS, ROOT, find
from imgpkg.errors.exit_codes import EXIT_CODES

ROOM = Path(__file__).parent
PROJECT = ROOM.parent.parent
PATHS = [command.path for command in (ROOT, *COMMANDS)]
HELP_OF_VERSION = """\
Print the version

Usage:
  imgpkg version [flags]

Flags:
  -h, --help      Show this help
      --verbose   Also print the version of Python and the encoder that compresses layers

Global Flags:
      --color             Use colours on a terminal (default true)
      --column strings    Column of a table to print, such as name or digest (may be repeated)
      --debug             Write each request and response to standard error, without secrets
      --format string     Form of the result or error on standard output: text or json (default "text")
      --json              Write the result as JSON in the form of the original; --format json has more
      --progress string   Form of the progress on standard error: auto or json (default "auto")
  -q, --quiet             Write nothing but the reference that was pushed, pulled or copied, and errors
      --tty               Write to a pipe or file what a terminal gets
  -y, --yes               Delete what 'prune' only lists without it; accepted elsewhere for compatibility
"""
HELP_OF_ROOT = """\
Store configuration, and references to the images it needs, as OCI artifacts in container registries

Usage:
  imgpkg [flags]
  imgpkg [command]

Available Commands:
  auth        Log in and out, and explain and check credentials
  completion  Print a completion script for a shell
  copy        Copy images and bundles between registries, tar files and OCI layouts
  delete      Delete images and their tags
  describe    Describe a bundle and the images that it names
  help        Print the help of a command
  inventory   List what a tar file, a layout or a repository has, for 'copy --since-inventory'
  lock        Write an images lock of the images that Kubernetes documents and values files name
  prune       Delete from a repository what nothing needs
  pull        Pull the files of an image or a bundle
  push        Push files as an image or a bundle
  registry    Serve a small registry
  tag         List, resolve and delete tags
  verify      Verify every byte of a tar file, a layout, an image or a bundle, and that all it names is there
  version     Print the version

Flags:
      --color             Use colours on a terminal (default true)
      --column strings    Column of a table to print, such as name or digest (may be repeated)
      --debug             Write each request and response to standard error, without secrets
      --format string     Form of the result or error on standard output: text or json (default "text")
  -h, --help              Show this help
      --json              Write the result as JSON in the form of the original; --format json has more
      --progress string   Form of the progress on standard error: auto or json (default "auto")
  -q, --quiet             Write nothing but the reference that was pushed, pulled or copied, and errors
      --tty               Write to a pipe or file what a terminal gets
  -v, --version           Print the version
  -y, --yes               Delete what 'prune' only lists without it; accepted elsewhere for compatibility

Exit Codes ($IMGPKG_EXIT_CODES=original: 1 for every failure):
  0           Success
  1           Any other failure
  2           A command line, reference or setting that cannot be used
  3           An image, tag or repository that is not there
  4           No credential, a wrong one, or one that allows less
  5           No answer from the network, or a server that cannot answer at present
  6           Content with a wrong digest or signature, or that is not what it should be
  7           A file or folder that is missing, invalid or cannot be written
  130         Interrupted; 143 by SIGTERM

Use "imgpkg [command] --help" for more information about a command.
"""


class TestHelp:
    def test_of_the_root_lists_the_commands(self, run):
        done = run("help")
        assert (done.code, done.out, done.err) == (0, HELP_OF_ROOT, "")

    def test_of_the_root_has_every_exit_code(self):
        codes = [code for code, _ in help_page.EXIT_CODES]
        assert codes == ["0", *map(str, sorted(EXIT_CODES.values()))]

    @pytest.mark.parametrize(
        "words", [["--help"], ["-h"], ["version", "-h"], ["version", "--help", "--json"]]
    )
    def test_by_flag_ends_with_success_even_on_a_pipe(self, run, words):
        done = run(*words)
        shown = HELP_OF_VERSION if "version" in words else HELP_OF_ROOT
        assert (done.code, done.out, done.err) == (0, f"{shown}\nSucceeded\n", "")

    def test_by_command_does_not(self, run):
        assert run("help", "version").out == HELP_OF_VERSION

    @pytest.mark.parametrize("words", [["nosuch"], ["tag", "nosuch"], ["version", "extra"]])
    def test_of_what_is_no_command_is_that_of_the_root(self, run, words):
        done = run("help", *words)
        assert (done.code, done.out) == (0, HELP_OF_ROOT)

    @pytest.mark.parametrize("path", PATHS, ids=" ".join)
    def test_by_command_and_by_flag_are_the_same(self, run, path):
        assert run(*path, "--help").out == run("help", *path).out + "\nSucceeded\n"

    def test_knows_aliases(self, run):
        assert run("help", "tag", "ls").out == run("help", "tag", "list").out
        assert "\nAliases:\n  list, ls\n\n" in run("help", "tag", "ls").out

    def test_comes_before_what_is_missing_or_too_much(self, run):
        assert run("pull", "--help", "extra").out.startswith("Pull the files of")

    def test_does_not_come_before_flags_that_cannot_be_read(self, reason):
        assert reason("pull", "--help", "--bogus") == "unknown flag: --bogus"

    @pytest.mark.parametrize(
        ("path", "line"),
        [
            ("push", "      --file-exclusion strings                      Path to leave out, relative to"),
            ("push", "  -l, --labels stringToString                       Label of the image as key=value"),
            ("push", "key=value (may be repeated) (default [])"),
            ("push", "instead of the default (may be repeated) (default [.git])"),
            ("push", "  -f, --file strings                                File or folder to pack (may be"),
            ("push", "(ms, s, m or h; 0 waits without limit) (default 30s)"),
            ("pull", "      --image-is-bundle-check                       Refuse to pull a bundle with"),
            (
                "copy",
                "      --concurrency int                             Number of requests at the same time",
            ),
            ("copy", "requests at the same time (default 5)"),
            ("copy", "      --registry-response-header-timeout duration   Time to wait for the headers"),
            (
                "describe",
                "  -o, --output-type string                          Form of the output: text, yaml",
            ),
            ("describe", 'text, yaml, json, tree, or a picture: svg, dot, html (default "text")'),
            (
                "describe",
                "--layers                                      Print the digests of the layers (def",
            ),
        ],
    )
    def test_lines_of_flags(self, run, path, line):
        assert line in run("help", path).out

    def test_hides_what_is_deprecated(self, run):
        assert "--file-exclude-defaults" not in run("help", "push").out

    def test_sorts_flags_by_name(self, run):
        own = run("help", "copy").out.partition("\nFlags:\n")[2].partition("\n\n")[0]
        names = re.findall(r"^ {2}(?:-\w, | {4})--([\w-]+)", own, re.MULTILINE)
        assert names == sorted(names)
        assert "help" in names

    @pytest.mark.parametrize("path", ["push", "pull", "copy", "describe"])
    def test_gives_examples(self, run, path):
        assert "\nExamples:\n\n" in run("help", path).out
        assert f" imgpkg {path} " in run("help", path).out

    def test_of_a_group_lists_what_is_in_it(self, run):
        assert run("help", "tag").out.startswith(
            "List, resolve and delete tags\n\nUsage:\n  imgpkg tag [command]\n\nAvailable Commands:\n"
            "  delete      Delete tags; the images stay\n"
            "  list        List the tags of a repository\n"
            "  resolve     Print the digest reference of a tag\n\nFlags:\n"
        )
        assert run("help", "tag").out.endswith(
            '\n\nUse "imgpkg tag [command] --help" for more information about a command.\n'
        )

    def test_of_completion_names_the_shells(self, run):
        assert "\n  imgpkg completion [bash|zsh|fish|powershell]\n" in run("help", "completion").out


def examples():
    """Yield the command lines of all help texts, in an order in which each finds what it needs."""
    for path in (("push",), ("copy",), ("pull",), ("describe",)):
        yield from re.findall(r"^  (?!#)(.+)$", find((), path[0]).example, re.MULTILINE)
    for command in COMMANDS:
        # `auth login` and `auth token` need a registry that wants a login, and the lines of `completion` are
        # for different shells: their own tests run them.
        if command.name not in ("push", "pull", "copy", "describe", "login", "token", "completion", "delete"):
            yield from re.findall(r"^  (?!#)(.+)$", command.example, re.MULTILINE)
    for path in (("tag", "delete"), ("delete",)):
        yield from re.findall(r"^  (?!#)(.+)$", find(path[:-1], path[-1]).example, re.MULTILINE)


@pytest.mark.slow
def test_the_examples_run_as_they_are_printed(embedded_registry, another_registry, tmp_path):
    (tmp_path / "bundle/.imgpkg").mkdir(parents=True)
    lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: []\n"
    (tmp_path / "bundle/.imgpkg/images.yml").write_text(lock)
    (tmp_path / "config").mkdir()
    (tmp_path / "values.yml").write_text("replicas: 1\n")
    text = "\n".join(examples())
    assert text.count("\n") >= 14
    text = text.replace("registry.example.com", embedded_registry.address)
    text = text.replace("registry.inside.example", another_registry.address)
    done = subprocess.run(
        ["bash", "--norc", "-euc", text],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "bundle",
        "bundle-copy",
        "bundle.html",
        "bundle.tar",
        "config",
        "config-copy",
        "config.tar",
        "inside.json",
        "values.yml",
    ]


DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md"), *PROJECT.glob("examples/**/*.md")])
FLAGS = {flag.name for command in (ROOT, *COMMANDS) for flag in command.all_flags}
NEW = (
    "auth check",
    "auth explain",
    "auth list",
    "auth login",
    "auth logout",
    "auth token",
    "copy --check",
    "registry serve",
    "--registry-password-stdin",
    "version --verbose",
    "--from-registry-…",
)


class TestDocuments:
    @pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
    def test_name_only_commands_that_exist(self, path):
        named = re.findall(r"^\s*(?:\$ )?imgpkg ([a-z]+)", path.read_text(), re.MULTILINE)
        assert set(named) <= {command.path[0] for command in COMMANDS}

    @pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
    def test_name_only_flags_that_exist_in_commands_of_imgpkg(self, path):
        lines = re.findall(r"^\s*(?:\$ )?imgpkg .*(?:\\\n.*)*", path.read_text(), re.MULTILINE)
        named = {
            flag for line in lines for flag in re.findall(r"(?<!\S)--([a-z][a-z-]*)", line.partition("|")[0])
        }
        assert named <= FLAGS

    def test_name_every_registry_flag_that_gives_credentials(self):
        text = (PROJECT / "docs" / "authentication.md").read_text()
        for name in ("username", "password", "token", "anon"):
            assert f"--registry-{name}" in text

    @pytest.mark.parametrize("name", NEW)
    def test_say_what_is_new(self, name):
        assert f"`{name}`" in (PROJECT / "docs" / "compatibility.md").read_text()
