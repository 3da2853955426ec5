"""Completion scripts for shells, and the protocol of cobra by which the scripts ask for candidates."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import ValueType
from imgpkg.cli.command import GLOBAL
from imgpkg.cli.commands import HELP, children, locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgpkg.cli.context import Context

# Directives of cobra: whether the shell may complete names of files.
_NO_FILES = 4
_FILES = 0


def run(context: Context) -> None:
    """Print the script for the named shell."""
    # Not importlib.resources: it imports archives, and takes longer than all else here.
    folder = os.path.join(os.path.dirname(__file__), "shells")
    with open(os.path.join(folder, f"{context.flags.words[0]}.txt"), encoding="utf-8") as script:
        text = script.read()
    if context.is_document:
        context.output.result({"shell": context.flags.words[0], "script": text})
    else:
        # Without the newlines that separate the parts of an output.
        sys.stdout.write(text)


def complete(words: Sequence[str], *, described: bool) -> int:
    """Print the candidates for the last of `words`, a line each, then a directive; return the exit code."""
    *before, typed = words or [""]
    directive = _FILES if _is_value(before, typed) else _NO_FILES
    # After a flag with a value the shell completes file names itself.
    if directive == _NO_FILES:
        for name, text in _candidates(before, typed):
            sys.stdout.write(f"{name}\t{text}\n" if described and text else f"{name}\n")
    sys.stdout.write(f":{directive}\n")
    kind = "NoFileComp" if directive == _NO_FILES else "Default"
    # The scripts of cobra discard standard error; it is for people who debug a completion.
    sys.stderr.write(f"Completion ended with directive: ShellCompDirective{kind}\n")
    return 0


def _candidates(before: Sequence[str], typed: str) -> Iterator[tuple[str, str]]:
    command, words = locate(before)
    # `imgpkg help tag <Tab>` completes the subcommands of tag.
    if command is HELP:
        command, _ = locate(words)
    if typed.startswith("-"):
        shown = (
            *sorted(GLOBAL, key=lambda flag: flag.name),
            *sorted(command.own_flags, key=lambda flag: flag.name),
        )
        pairs = [(f"--{flag.name}", flag.usage) for flag in shown if not flag.hidden]
    elif command.name == "completion":
        pairs = [(shell, "") for shell in ("bash", "fish", "powershell", "zsh")]
    else:
        pairs = [(child.name, child.short) for child in children(command.path)]
    yield from (pair for pair in pairs if pair[0].startswith(typed))


def _is_value(before: Sequence[str], typed: str) -> bool:
    """Return whether the word being typed is a flag's value, on its own or after an equals sign."""
    name, equals, _ = typed.partition("=")
    flag = name if equals else (before or [""])[-1]
    command, _ = locate(before)
    takers = [flag for flag in command.all_flags if flag.value_type is not ValueType.BOOL]
    names = {f"--{flag.name}" for flag in takers} | {f"-{flag.short}" for flag in takers if flag.short}
    return flag in names
