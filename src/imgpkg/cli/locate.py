"""Find which command argv names, past the flags in front of its name, as cobra does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.commands import ROOT, Command, find
from imgpkg.cli.flags import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence


def locate(argv: Sequence[str]) -> tuple[Command, list[str]]:
    """Return the command that `argv` names, and the other words in their order."""
    command, rest = ROOT, list(argv)
    at = 0
    while at < len(rest) and rest[at] != "--":
        word = rest[at]
        if word.startswith("-"):
            at += 2 if _takes_next(command, word) else 1
            continue
        below = find(command.path, word)
        if below is None:
            break
        command = below
        del rest[at]
    return command, rest


def _takes_next(command: Command, word: str) -> bool:
    """Tell whether the word after `word` is its value; a flag of a command not yet named takes one, too."""
    is_long = word.startswith("--")
    if "=" in word or (len(word) != len("-x") and not is_long):
        return False
    switches = {flag.name if is_long else flag.short for flag in command.all_flags if flag.kind is Kind.BOOL}
    return word.lstrip("-") not in switches
