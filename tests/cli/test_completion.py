"""Completion scripts for four shells, and the protocol by which they call back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
            ("imgpkg tag ", ["delete", "list", "resolve"]),
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
                    "delete",
                    "describe",
                    "help",
                    "inventory",
                    "lock",
                    "prune",
                    "pull",
                    "push",
                    "registry",
                    "tag",
                    "verify",
                    "version",
                ],
            ),
            (["p"], ["prune", "pull", "push"]),
            (["nosuch"], []),
            (["tag", ""], ["delete", "list", "resolve"]),
            (["tag", "l"], ["list"]),
            (["--json", "tag", ""], ["delete", "list", "resolve"]),
            (["--column", "name", "tag", ""], ["delete", "list", "resolve"]),
            (["auth", ""], ["check", "explain", "list", "login", "logout", "token"]),
            (["completion", ""], ["bash", "fish", "powershell", "zsh"]),
            (["help", "p"], ["prune", "pull", "push"]),
            (["help", "tag", ""], ["delete", "list", "resolve"]),
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
            "delete\tDelete tags; the images stay\nlist\tList the tags of a repository\n"
            "resolve\tPrint the digest reference of a tag\n:4\n"
        )

    def test_what_has_no_description_is_alone_on_its_line(self, run):
        assert run("__complete", "completion", "b").out == "bash\n:4\n"

    def test_global_flags_come_first_and_each_group_is_sorted(self, run):
        names = run("__completeNoDesc", "version", "--").out.splitlines()[:-1]
        assert names == [
            *(
                "--color",
                "--column",
                "--debug",
                "--format",
                "--json",
                "--progress",
                "--quiet",
                "--tty",
                "--yes",
            ),
            *("--help", "--verbose"),
        ]

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


def lines_of_help(run):
    done = run("completion", "--help")
    section = done.out.partition("Examples:\n\n")[2].partition("\n\nFlags:")[0]
    return dict(zip(SHELL_NAMES, (block.split("\n  ")[1] for block in section.split("\n\n")), strict=True))


SHELL_NAMES = ("bash", "zsh", "fish", "powershell")


class TestHelpOfCompletion:
    def test_says_for_each_shell_how_to_load_it(self, run):
        lines = lines_of_help(run)
        assert all(f"imgpkg completion {shell}" in line for shell, line in lines.items())

    @pytest.mark.parametrize(
        ("shell", "file"), [("zsh", "functions/_imgpkg"), ("fish", ".config/fish/completions/imgpkg.fish")]
    )
    def test_the_line_writes_the_script_to_where_the_shell_looks(self, run, tmp_path, shell, file):
        (tmp_path / file).parent.mkdir(parents=True)
        # bash counts from 0, zsh from 1.
        line = f'fpath=(none "{tmp_path}/functions"); {lines_of_help(run)[shell]}'
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        subprocess.run(["bash", "-euc", line], env={"HOME": str(tmp_path), "PATH": path}, check=True)
        assert (tmp_path / file).read_text() == run("completion", shell).out

    def test_the_line_of_bash_completes_in_that_shell(self, run):
        line = f"{lines_of_help(run)['bash']}; complete -p imgpkg"
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "--norc", "-euc", line], env={"PATH": path}, capture_output=True, text=True, check=True
        )
        assert "imgpkg" in done.stdout
