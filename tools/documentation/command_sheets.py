"""What there is to say about each command, from the table of commands: for its page and its manual page."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import ValueType
from imgpkg.cli.command import (
    FROM_REGISTRY,
    GLOBAL,
    PLACE,
    REGISTRY,
    SELECTION,
    SIGN,
    TO_REGISTRY,
    VERIFY,
    Command,
)
from imgpkg.cli.commands import COMMANDS, ROOT, children
from imgpkg.cli.help import default_of, usages_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgpkg.cli.arguments import Flag

# What the table does not say.
_TEXTS = Path(__file__).parent / "commands.md"
# Flags that many commands share, under the title that they have on every page.
_SHARED = (
    ("Verification of signatures", VERIFY),
    ("Signing", SIGN),
    ("Placement", PLACE),
    ("A part of the images", SELECTION),
    ("Registries", REGISTRY),
    ("Registries that are read", FROM_REGISTRY),
    ("Registries that are written", TO_REGISTRY),
    ("Global flags", GLOBAL),
)
_OWN = "Flags"
_REPEATED = frozenset({ValueType.STRINGS, ValueType.ARRAY, ValueType.LABELS})


@dataclass(frozen=True, slots=True)
class Text:
    """The paragraphs about a command, and the titles and places of the pages in `docs/` that say more."""

    paragraphs: tuple[str, ...]
    pages: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Flags under one title; `is_shared` when other commands have them too."""

    title: str
    flags: tuple[Flag, ...]

    @property
    def is_shared(self) -> bool:
        """Whether other commands have the same flags."""
        return self.title != _OWN


@dataclass(frozen=True, slots=True)
class Sheet:
    """A command or a group of commands."""

    command: Command
    text: Text

    @property
    def key(self) -> str:
        """The words after `imgpkg`, empty for the program itself."""
        return " ".join(self.command.path)

    @property
    def file_name(self) -> str:
        """The name of its files: `auth-login`, and `imgpkg` for the program itself."""
        return "-".join(self.command.path) or "imgpkg"

    @property
    def usages(self) -> tuple[str, ...]:
        """The ways to call it, without indentation."""
        return tuple(usage.strip() for usage in usages_of(self.command))

    @property
    def below(self) -> tuple[Command, ...]:
        """The commands of a group."""
        return children(self.command.path)

    @property
    def examples(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What each example does, and its command lines."""
        found: list[tuple[str, list[str]]] = []
        for line in self.command.example.splitlines():
            if line.startswith("  # "):
                found.append((line.removeprefix("  # "), []))
            elif line.strip():
                found[-1][1].append(line.removeprefix("  "))
        return tuple((title, tuple(lines)) for title, lines in found)

    @property
    def groups(self) -> tuple[Group, ...]:
        """Its flags by title, each sorted by name; hidden ones are left out."""
        flags = [flag for flag in self.command.all_flags if not flag.hidden]
        titles = {flag.name: _title(flag) for flag in flags}
        order = (_OWN, *(title for title, _ in _SHARED))
        grouped = (
            Group(title, _sorted(flag for flag in flags if titles[flag.name] == title)) for title in order
        )
        return tuple(group for group in grouped if group.flags)


def sheets() -> tuple[Sheet, ...]:
    """Return the sheets of the program and of all its commands, each group before what is in it."""
    texts = _texts()
    return tuple(
        Sheet(command, texts[command.full_name])
        for command in sorted((ROOT, *COMMANDS), key=lambda command: command.path)
    )


def helper() -> tuple[str, str, str, Text]:
    """Return the name of the credential helper, what it is in one line, its usage, and its text."""
    name = "docker-credential-imgpkg"
    short = "Give the environment sets and keychains of imgpkg to tools that run credential helpers"
    return name, short, f"{name} get|list|version", _texts()[name]


def flag_forms(flag: Flag) -> tuple[str, str]:
    """Return how a flag is written: `-b, --bundle`, and the kind of its value, empty for a switch."""
    return (f"-{flag.short}, --{flag.name}" if flag.short else f"--{flag.name}", flag.value_type.value)


def flag_default(flag: Flag) -> str:
    """Return the default of a flag as its help has it, empty if it has none worth a word."""
    return default_of(flag).removeprefix(" (default ").removesuffix(")")


def is_repeated(flags: Sequence[Flag]) -> bool:
    """Return whether any of the flags may be given several times."""
    return any(flag.value_type in _REPEATED for flag in flags)


def _texts() -> dict[str, Text]:
    """Read the texts of all commands, by their full names."""
    found = {}
    for section in _TEXTS.read_text(encoding="utf-8").split("\n## ")[1:]:
        name, *blocks = section.strip().split("\n\n")
        paragraphs = tuple(" ".join(block.split("\n")) for block in blocks if not block.startswith("- ["))
        pages = tuple(re.findall(r"^- \[([^]]+)\]\(([^)]+)\)$", section, re.MULTILINE))
        found[name] = Text(paragraphs, pages)
    return found


def _title(flag: Flag) -> str:
    return next((title for title, shared in _SHARED if flag in shared), _OWN)


def _sorted(flags: Iterator[Flag]) -> tuple[Flag, ...]:
    return tuple(sorted(flags, key=lambda flag: flag.name))
