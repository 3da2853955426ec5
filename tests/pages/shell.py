"""Plays what pages tell their readers to type into one shell, and compares what it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_BEGIN, _END = "\x1e", "\x1f"
_SERVER = re.compile(r"^imgpkg registry serve --address 127\.0\.0\.1:(\d+).*&$", re.MULTILINE)
# A terminal gets more lines than a pipe, and the pages show what people see.
_AS_AT_A_TERMINAL = '#!/bin/sh\nexec {} "$@" --tty\n'


@dataclass(frozen=True)
class Step:
    """What is typed at once, and the lines that the page shows for it; `…` stands for any text."""

    typed: str
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Played:
    """A step, what was printed and the exit status of its last command."""

    step: Step
    printed: str
    status: int

    @property
    def missing(self):
        """The lines of the page that were not printed, in their order."""
        lines = iter(self.printed.splitlines())
        return [shown for shown in self.step.shown if not any(_matches(shown, line) for line in lines)]


def _matches(shown, line):
    return re.fullmatch(".*".join(map(re.escape, shown.split("…"))), line) is not None


def _and_wait(line):
    return f"{line[0]}\nuntil (exec 3<>/dev/tcp/127.0.0.1/{line[1]}) 2>/dev/null; do sleep 0.05; done"


def _programs(folder):
    """Make a folder with the command of this environment, beside the one that the reader works in."""
    programs = folder.with_name(f"{folder.name}-programs")
    programs.mkdir()
    (programs / "imgpkg").write_text(_AS_AT_A_TERMINAL.format(Path(sys.executable).with_name("imgpkg")))
    (programs / "imgpkg").chmod(0o755)
    return programs


def blocks(page, *languages):
    """Yield the language and the text of each block of code."""
    for indent, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if not languages or language in languages:
            yield language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)


def steps_of_scripts(page):
    """Pair each block in `sh` with the block of plain text that follows it."""
    steps = []
    for language, text in blocks(page, "sh", "text"):
        if language == "sh":
            steps.append(Step(text))
        else:
            steps[-1] = Step(steps[-1].typed, (*steps[-1].shown, *filter(str.strip, text.splitlines())))
    return steps


def steps_of_consoles(page):
    """Pair each line after `$ `, with its continuations, with the lines that stand below it."""
    steps = []
    for _, text in blocks(page, "console"):
        for line in text.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                steps.append(Step(f"{line.removeprefix('$ ')}\n"))
            elif line.strip():
                steps[-1] = Step(steps[-1].typed, (*steps[-1].shown, line))
    return steps


def play(steps, folder, *, replaced=(), **variables):
    """Type the steps into bash, with what is `replaced`, and return what each of them did.

    Servers that a step starts are waited for, and end with the shell.
    """
    script = ["exec 2>&1\n", "trap 'kill $(jobs -p) 2>/dev/null' EXIT\n"]
    for number, step in enumerate(steps):
        typed = step.typed
        for old, new in replaced:
            typed = typed.replace(old, new)
        typed = _SERVER.sub(_and_wait, typed)
        script.append(f"printf '{_BEGIN}{number}\\n'\n{typed}printf '{_END}%d\\n' $?\n")
    bin_folder = _programs(folder)
    done = subprocess.run(
        ["bash", "--norc", "-c", "".join(script)],
        cwd=folder,
        env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}", **variables},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    printed = done.stdout
    for old, new in replaced:
        printed = printed.replace(new, old)
    found = re.findall(rf"{_BEGIN}(\d+)\n(.*?){_END}(\d+)\n", printed, re.DOTALL)
    assert [int(number) for number, _, _ in found] == list(range(len(steps))), printed
    return [Played(step, text, int(status)) for step, (_, text, status) in zip(steps, found, strict=True)]
