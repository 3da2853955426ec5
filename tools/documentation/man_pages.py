"""The manual pages, in the macros of man(7): `python -m tools.documentation.man_pages FOLDER` writes them.

The wheel installs them into `share/man/man1`. The text is that of the pages of the site.
"""

from __future__ import annotations

import re
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from tools.documentation.command_sheets import flag_default, flag_forms, helper, sheets
from tools.documentation.results import exit_codes, members, schema_of

from imgpkg.version import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.documentation.command_sheets import Sheet

    from imgpkg.cli.arguments import Flag

_ROOT = Path(__file__).parent.parent.parent
# Code in texts: in backquotes, or as help texts have it, in quotes or bare.
_CODE = re.compile(r"`([^`]+)`|(?<!\w)'([^']+)'(?!\w)|(\$?IMGPKG_[A-Z_]+)|(?<![\w-])(--[a-z][a-z-]*)")
_LINK = re.compile(r"\[([^]]+)\]\([^)]*\)")
_SPECIAL = {"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}


def pages() -> dict[str, str]:
    """Return the source of each page by the name of its file."""
    every = {f"{_page_name(sheet)}.1": _page(sheet) for sheet in sheets()}
    return every | {f"{helper()[0]}.1": _page_of_helper()}


def write(folder: str) -> list[str]:
    """Write all pages into `folder`, which is made if it is missing; return the paths, sorted."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        Path(folder, name).write_text(text, encoding="utf-8")
    return [f"{folder}/{name}" for name in sorted(pages())]


def _page_name(sheet: Sheet) -> str:
    return "-".join(("imgpkg", *sheet.command.path))


def _page(sheet: Sheet) -> str:
    name = _page_name(sheet)
    lines = [*_head(name, sheet.command.short), ".SH SYNOPSIS"]
    for usage in sheet.usages:
        # The words of the command are typed as they are, the rest stands for something.
        rest = usage.removeprefix(sheet.command.full_name)
        lines += [rf"\fB{_code(sheet.command.full_name)}\fR{_code(rest)}", ".br"]
    lines[-1:] = [".SH DESCRIPTION", *_paragraphs(sheet.text.paragraphs)]
    if sheet.command.aliases:
        lines += [".PP", f"Also: {', '.join(_bold(alias) for alias in sheet.command.aliases)}."]
    lines += _commands(sheet)
    lines += [".SH OPTIONS", *_options(sheet)]
    if sheet.command.handler:
        lines += _results(sheet)
    lines += _environment(sheet)
    lines += _examples(sheet)
    lines += _see_also(sheet)
    return "\n".join(lines) + "\n"


def _page_of_helper() -> str:
    name, short, usage, text = helper()
    lines = [*_head(name, short), ".SH SYNOPSIS", _code(usage), ".SH DESCRIPTION"]
    lines += [
        *_paragraphs(text.paragraphs),
        ".SH SEE ALSO",
        r"\fBimgpkg\fR(1), \fBimgpkg\-auth\-explain\fR(1)",
    ]
    return "\n".join(lines) + "\n"


def _head(name: str, short: str) -> Iterator[str]:
    # The day of the release, so that the same sources give the same bytes on every day.
    released = re.search(
        rf"^## {re.escape(VERSION)} - (\S+)", (_ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )
    day = released[1] if released else ""
    yield rf'.TH "{_code(name.upper())}" 1 "{day}" "imgpkg {VERSION}" "Manual of imgpkg"'
    # Neither hyphenated nor stretched: the words are names that people copy.
    yield from (".nh", ".ad l")
    yield ".SH NAME"
    yield rf"{_code(name)} \- {_text(short[0].lower() + short[1:])}"


def _paragraphs(texts: tuple[str, ...]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if number:
            yield ".PP"
        yield _text(text)


def _commands(sheet: Sheet) -> Iterator[str]:
    if sheet.below:
        yield ".SH COMMANDS"
    for command in sheet.below:
        yield ".TP"
        yield rf"\fB{_code('-'.join(('imgpkg', *command.path)))}\fR(1)"
        yield _text(f"{command.short}.")


def _options(sheet: Sheet) -> Iterator[str]:
    for group in sheet.groups:
        if group.is_shared:
            yield f".SS {_text(group.title)}"
        for flag in group.flags:
            yield ".TP"
            yield _option(flag)
            default = flag_default(flag)
            yield _text(f"{flag.usage}." + (f" Default: `{default}`." if default else ""))


def _option(flag: Flag) -> str:
    forms, kind = flag_forms(flag)
    shown = ", ".join(map(_bold, forms.split(", ")))
    return rf"{shown} \fI{kind}\fR" if kind else shown


def _results(sheet: Sheet) -> Iterator[str]:
    yield ".SH EXIT STATUS"
    for row in exit_codes():
        yield from (".TP", _bold(row.code), _text(f"{row.meaning}."))
    if schema_of(sheet.file_name):
        yield ".SH JSON"
        yield _text("With `--format json` the result is one document, also when the command fails.")
        for member in members(sheet.file_name):
            yield from (".TP", rf"{_bold(member.name)} \fI{member.kind}\fR")
            yield _text(member.meaning) or _text("See the page for scripts.")


def _examples(sheet: Sheet) -> Iterator[str]:
    if sheet.examples:
        yield ".SH EXAMPLES"
    for number, (title, commands) in enumerate(sheet.examples):
        if number:
            yield ".PP"
        yield _text(f"{title}:")
        yield from (".PP", ".RS 4", ".nf", *(rf"$ {_bold(line)}" for line in commands), ".fi", ".RE")


def _environment(sheet: Sheet) -> Iterator[str]:
    if sheet.command.path:
        return
    text = (_ROOT / "docs/variables.md").read_text("utf-8")
    yield ".SH ENVIRONMENT"
    for section in text.split("\n## ")[1:]:
        title, _, body = section.partition("\n")
        yield f".SS {_text(title)}"
        introduction = body.strip().partition("\n\n")[0].replace("\n", " ").partition("More: ")[0].strip()
        if introduction:
            yield _text(introduction)
        for names, meaning in re.findall(r"^\| (`[A-Z].*?) \| (.*) \|$", body, re.MULTILINE):
            yield ".TP"
            yield ", ".join(map(_bold, re.findall(r"`([^`]+)`", names)))
            yield _text(meaning)


def _see_also(sheet: Sheet) -> Iterator[str]:
    parent = sheet.command.path[:-1]
    names = [("imgpkg", *parent)] if sheet.command.path else [("docker-credential-imgpkg",)]
    if parent:
        names = [("imgpkg",), *names]
    yield ".SH SEE ALSO"
    yield ", ".join(rf"\fB{_code('-'.join(name))}\fR(1)" for name in names)


def _text(text: str) -> str:
    """Return running text, with what is code in bold, in lines that a person can read."""
    pieces, at = [], 0
    text = _LINK.sub(r"\1", text)
    for found in _CODE.finditer(text):
        pieces += [_plain(text[at : found.start()]), _bold(next(filter(None, found.groups())))]
        at = found.end()
    line = "".join([*pieces, _plain(text[at:])])
    wrapped = textwrap.wrap(line, 79, break_long_words=False, break_on_hyphens=False)
    # A dot or an apostrophe at the start of a line would make it a request.
    return "\n".join(rf"\&{each}" if each.startswith((".", "'")) else each for each in wrapped)


def _bold(text: str) -> str:
    return rf"\fB{_code(text)}\fR"


def _code(text: str) -> str:
    """Return text that is typed as it is: its hyphens are not those of words."""
    return _plain(text).replace("-", r"\-")


def _plain(text: str) -> str:
    shown = "".join(_SPECIAL.get(letter, letter) for letter in text)
    return re.sub(r"[^\x00-\x7f]", lambda found: rf"\[u{ord(found[0]):04X}]", shown)


if __name__ == "__main__":
    write(sys.argv[1])
