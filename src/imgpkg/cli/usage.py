"""What to type instead, after a mistake on the command line: near commands and flags, and what is missing."""

from __future__ import annotations

import os
from difflib import get_close_matches
from itertools import chain
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import FlagMistake, Parser, ValueType
from imgpkg.cli.commands import COMMANDS, children
from imgpkg.errors import UsageError
from imgpkg.oci.reference import without_login

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from imgpkg.cli.arguments import Flag
    from imgpkg.cli.command import Command

# How alike two words have to be, from 0 to 1, and how many commands are listed that have a flag.
_ALIKE = 0.6
_MOST_LISTED = 4
_SWITCHED = frozenset({"yes", "no", "on", "off", "true", "false"})
_VALUES = {
    ValueType.BOOL: "Write {name} to turn it on, and {name}=false to turn it off.",
    ValueType.INT: "Write a whole number, such as {name} 5.",
    ValueType.DURATION: "Write a number with its unit (ms, s, m or h), such as {name} 30s.",
    ValueType.LABELS: "Write KEY=VALUE, such as {name} team=web.",
    # Any other text can be read.
    ValueType.STRINGS: "Put the whole value in double quotes if it contains one, and each of them twice.",
}


def advice(command: Command, rest: Sequence[str], error: UsageError) -> tuple[str, ...]:
    """Return what to do about `error`, in whole sentences; `rest` are the words besides the command."""
    if word := _no_command(command, rest):
        return (_nearest_command(command, word),)
    if not command.path:
        # Its help is printed before the error.
        return ()
    if not command.handler:
        found: Iterable[str] = ()
    elif isinstance(error, FlagMistake):
        found = _about_flag(command, error)
    else:
        found = chain(_missing(command, rest), _superfluous(command, rest))
    return tuple(found) or (f"{command.full_name} --help lists what it takes.",)


def _no_command(command: Command, rest: Sequence[str]) -> str:
    """Return the word that was meant as a command of the group `command`; empty if there is none."""
    # A reference or a path is no mistyped command.
    first = next((word for word in rest if not word.startswith("-")), "")
    return "" if command.handler or {".", "/", ":"} & set(first) else first


def _nearest_command(command: Command, word: str) -> str:
    names = {name: child for child in children(command.path) for name in (child.name, *child.aliases)}
    # `imgpkg login` and `imgpkg ls` are commands, below a group that was left out or is another one.
    elsewhere = {child.name: child for child in COMMANDS if child.handler and child.name not in names}
    for known in (names, elsewhere):
        found = get_close_matches(word, known, n=1, cutoff=_ALIKE)
        if found:
            return f"There is no command '{word}' here: did you mean {known[found[0]].full_name}?"
    all_names = ", ".join(child.name for child in children(command.path))
    return f"There is no command '{word}': the commands are {all_names}."


def _about_flag(command: Command, mistake: FlagMistake) -> Iterator[str]:
    if mistake.flag is None:
        yield from _unknown_flag(command, mistake.named)
    elif mistake.message.startswith("flag needs"):
        yield f"{mistake.flag.shown} takes a value: {_usage(mistake.flag)}."
    else:
        yield _VALUES[mistake.flag.value_type].format(name=mistake.named)


def _unknown_flag(command: Command, named: str) -> Iterator[str]:
    shown = [flag for flag in command.all_flags if not flag.hidden]
    if not named.startswith("--"):
        short = ", ".join(f"-{flag.short} (--{flag.name})" for flag in shown if flag.short)
        yield f"{command.full_name} has no {named}; its short flags are {short}."
        return
    word = named.removeprefix("--")
    owners = [other.full_name for other in COMMANDS if any(flag.name == word for flag in other.flags)]
    near = get_close_matches(word, [flag.name for flag in shown], n=2, cutoff=_ALIKE)
    if owners:
        yield f"{named} is a flag of {_some(owners)}, and not of {command.full_name}."
    elif near:
        yield f"Did you mean {' or '.join(f'--{name}' for name in near)}?"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more commands" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def _usage(flag: Flag) -> str:
    first = flag.usage[:1]
    return f"{first.lower() if flag.usage[1:2].islower() else first}{flag.usage[1:]}"


def _missing(command: Command, rest: Iterable[str]) -> Iterator[str]:
    given = {word.partition("=")[0] for word in rest}
    for flag in command.flags:
        if flag.required and not {f"--{flag.name}", f"-{flag.short}"} & given:
            yield f"Add {flag.shown}: {_usage(flag)}."


def _superfluous(command: Command, rest: Sequence[str]) -> Iterator[str]:
    """Say which flag the first word was probably meant for."""
    try:
        words = Parser(command.all_flags).parse(rest).words
    except UsageError:
        return
    if not words or command.words:
        return
    before = rest[rest.index(words[0]) - 1] if rest.index(words[0]) else ""
    flags, word = {flag.name for flag in command.flags}, without_login(words[0])
    if word.lower() in _SWITCHED and before.startswith("-"):
        value = str(word.lower() in ("yes", "on", "true")).lower()
        yield f"A switch has its value behind an equals sign: {before}={value}."
    elif "file" in flags and os.path.lexists(word):
        yield f"To push it, write -f {word}."
    elif "image" in flags and "bundle" in flags:
        yield f"Write -i {word} for an image, or -b {word} for a bundle."
    elif "image" in flags or "bundle" in flags:
        yield f"Write {'-i' if 'image' in flags else '-b'} {word}."
