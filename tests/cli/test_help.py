"""Help in cobra's layout, and documents that name only what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from imgpkg.cli.commands import COMMANDS, ROOT

ROOM = Path(__file__).parent
PROJECT = ROOM.parent.parent
PATHS = [command.path for command in (ROOT, *COMMANDS)]
HELP_OF_VERSION = """\
Print client version

Usage:
  imgpkg version [flags]

Flags:
  -h, --help      help for version
      --verbose   Print which parts are in use, too

Global Flags:
      --color            Set color output (default true)
      --column strings   Filter to show only given columns
      --debug            Enables debugging
      --json             Output as JSON
      --tty              Force TTY-like output
  -y, --yes              Assume yes for any prompt
"""
HELP_OF_ROOT = """\
imgpkg allows to store configuration and image references as OCI artifacts \
(copy, describe, pull, push, tag, version)

Usage:
  imgpkg [flags]
  imgpkg [command]

Available Commands:
  auth        Credentials (explain)
  completion  Generate completion script
  copy        Copy a bundle from one location to another
  describe    Describe the images and bundles associated with a give bundle
  help        Help about any command
  pull        Pull files from bundle, image, or bundle lock file
  push        Push files as image
  registry    Small registry for demonstrations and tests (serve)
  tag         Tag (list, resolve)
  version     Print client version

Flags:
      --color            Set color output (default true)
      --column strings   Filter to show only given columns
      --debug            Enables debugging
  -h, --help             help for imgpkg
      --json             Output as JSON
      --tty              Force TTY-like output
  -v, --version          version for imgpkg
  -y, --yes              Assume yes for any prompt

Use "imgpkg [command] --help" for more information about a command.
"""


class TestHelp:
    def test_of_the_root_is_the_originals_with_two_commands_more(self, run):
        done = run("help")
        assert (done.code, done.out, done.err) == (0, HELP_OF_ROOT, "")

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
        assert run("pull", "--help", "extra").out.startswith("Pull files from bundle")

    def test_does_not_come_before_flags_that_cannot_be_read(self, refused):
        assert refused("pull", "--help", "--bogus") == "unknown flag: --bogus"

    @pytest.mark.parametrize(
        ("path", "line"),
        [
            (
                "push",
                "      --file-exclusion strings                      Exclude file whose path, relative to",
            ),
            ("push", "  -l, --labels stringToString                       Set labels on image (default [])"),
            ("push", "nested-dir/baz.txt) (can be specified multiple times) (default [.git])"),
            ("push", "  -f, --file strings                                Set file (format: /tmp/foo)"),
            ("push", "(ms|s|m|h) (default 30s)"),
            ("pull", "      --image-is-bundle-check                       Error when image is a bundle"),
            ("copy", "      --concurrency int                             Concurrency (default 5)"),
            ("copy", "      --registry-response-header-timeout duration   Maximum time to allow"),
            ("describe", "  -o, --output-type string                          Type of output"),
            ("describe", '[text, yaml, json, tree] (default "text")'),
            (
                "describe",
                "--layers                                      Retrieve image layers info (default true)",
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
            "Tag (list, resolve)\n\nUsage:\n  imgpkg tag [command]\n\nAvailable Commands:\n"
            "  list        List tags for image\n  resolve     Resolve tag to digest for image\n\nFlags:\n"
        )
        assert run("help", "tag").out.endswith(
            '\n\nUse "imgpkg tag [command] --help" for more information about a command.\n'
        )

    def test_of_completion_names_the_shells(self, run):
        assert "\n  imgpkg completion [bash|zsh|fish|powershell]\n" in run("help", "completion").out


DOCUMENTS = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("examples/**/*.md")])
FLAGS = {flag.name for command in (ROOT, *COMMANDS) for flag in command.all_flags}
NEW = ("auth explain", "registry serve", "--registry-password-stdin", "version --verbose")


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
