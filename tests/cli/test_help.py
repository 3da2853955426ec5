"""Help in the original's layout, completion for four shells, and documents that name what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
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


SHELLS = {"bash": ["bash", "-n"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


class TestCompletionScripts:
    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
    def test_each_calls_back(self, run, shell):
        done = run("completion", shell)
        first = "#compdef imgpkg" if shell == "zsh" else f"# {shell} completion for imgpkg "
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith(first)
        assert "__complete" in done.out

    @pytest.mark.parametrize("shell", [shell for shell in SHELLS if shutil.which(shell)])
    def test_each_is_accepted_by_its_shell(self, run, tmp_path, shell):
        script = tmp_path / "script"
        script.write_text(run("completion", shell).out)
        done = subprocess.run([*SHELLS[shell], script], capture_output=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, b"")

    def test_the_script_is_the_same_with_json(self, run):
        plain, document = run("completion", "bash").out, run("completion", "bash", "--json").out
        assert document.startswith(plain)

    @pytest.mark.parametrize(
        ("typed", "replies"),
        [
            ("imgpkg tag ", ["list", "resolve"]),
            ("imgpkg pu", ["pull", "push"]),
            ("imgpkg push --lab", ["--labels"]),
            ("imgpkg completion ba", ["bash"]),
            ("imgpkg push -f conf", ["config"]),
            ("imgpkg push --file = conf", ["config"]),
            ("imgpkg push --file =", ["config", "script"]),
            ("imgpkg push --tty = f", []),
            ("imgpkg --json = true tag l", ["list"]),
            ("imgpkg help ta", ["tag"]),
        ],
    )
    def test_bash_completes_words(self, run, folder, tmp_path, typed, replies):
        script = tmp_path / "script"
        script.write_text(run("completion", "bash").out)
        words = typed.split(" ")
        program = (
            f"source {script}; COMP_WORDS=({' '.join(repr(word) for word in words)}); "
            f"COMP_CWORD={len(words) - 1}; _imgpkg_complete; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--norc", "-c", program],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            cwd=folder.parent,
            env={**os.environ, "PATH": path},
        )
        assert sorted(done.stdout.split()) == replies


class TestCompletionProtocol:
    @pytest.mark.parametrize(
        ("words", "names"),
        [
            (
                [""],
                [
                    "auth",
                    "completion",
                    "copy",
                    "describe",
                    "help",
                    "pull",
                    "push",
                    "registry",
                    "tag",
                    "version",
                ],
            ),
            (["p"], ["pull", "push"]),
            (["nosuch"], []),
            (["tag", ""], ["list", "resolve"]),
            (["tag", "l"], ["list"]),
            (["--json", "tag", ""], ["list", "resolve"]),
            (["--column", "name", "tag", ""], ["list", "resolve"]),
            (["auth", ""], ["explain"]),
            (["completion", ""], ["bash", "fish", "powershell", "zsh"]),
            (["help", "p"], ["pull", "push"]),
            (["help", "tag", ""], ["list", "resolve"]),
            (["push", "--l"], ["--labels", "--lock-output"]),
            (["push", "--file"], ["--file", "--file-exclusion"]),
            (["tag", "ls", "--d"], ["--debug", "--digests"]),
            (["--ver"], ["--version"]),
            (["push", ""], []),
            (["tag", "resolve", "-"], None),
        ],
    )
    def test_a_candidate_on_each_line_and_then_that_files_are_none(self, run, words, names):
        done = run("__completeNoDesc", *words)
        *shown, directive = done.out.splitlines()
        assert directive == ":4"
        assert names in (None, shown)
        assert done.err == "Completion ended with directive: ShellCompDirectiveNoFileComp\n"
        assert done.code == 0

    def test_no_word_at_all_is_the_empty_one(self, run):
        assert run("__complete").out == run("__complete", "").out

    def test_each_candidate_is_described(self, run):
        assert run("__complete", "tag", "").out == (
            "list\tList tags for image\nresolve\tResolve tag to digest for image\n:4\n"
        )

    def test_what_has_no_description_is_alone_on_its_line(self, run):
        assert run("__complete", "completion", "b").out == "bash\n:4\n"

    def test_global_flags_come_first_and_each_group_is_sorted(self, run):
        names = run("__completeNoDesc", "version", "--").out.splitlines()[:-1]
        assert names == ["--color", "--column", "--debug", "--json", "--tty", "--yes", "--help", "--verbose"]

    @pytest.mark.parametrize(
        "words", [["push", "-f", ""], ["push", "--file", "x"], ["push", "--file=x"], ["--column", ""]]
    )
    def test_the_value_of_a_flag_may_be_a_file(self, run, words):
        done = run("__complete", *words)
        assert done.out == ":0\n"
        assert done.err == "Completion ended with directive: ShellCompDirectiveDefault\n"

    @pytest.mark.parametrize("words", [["tag", "-", ""], ["-y", ""], ["tag", "--json", ""], ["--tty="]])
    def test_a_switch_has_no_value(self, run, words):
        assert run("__complete", *words).out.endswith(":4\n")


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
