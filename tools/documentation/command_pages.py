"""The pages of the commands, in Markdown with HTML for lists of flags."""

from __future__ import annotations

import re
from html import escape
from typing import TYPE_CHECKING

from tools.documentation.command_sheets import Sheet, flag_default, flag_forms, helper, sheets
from tools.documentation.results import SCRIPTING, exit_codes, members, schema_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.documentation.command_sheets import Group, Text

    from imgpkg.cli.arguments import Flag
    from imgpkg.cli.command import Command

FOLDER = "reference/commands"
HELPER = f"{FOLDER}/docker-credential-imgpkg.md"
# What is code in the help texts of flags: other flags, variables, commands in quotes.
_CODE = re.compile(r"'([^']+)'|(\$?IMGPKG_[A-Z_]+)|(?<![\w-])(--[a-z][a-z-]*)")
_FORMS = """
## How flags are written

Flags may come before and after the words of a command. These are the same: `--file config`, `--file=config`,
`-f config`, `-f=config`, `-fconfig`.

| kind | means |
|---|---|
| no kind | a switch: `--layers`, and `--layers=false` to turn it off |
| `string` | any text |
| `strings` | several texts: the flag is repeated, or the texts have commas between them, `-f=a,b` |
| `stringArray` | several texts, each with a flag of its own; commas are part of the text |
| `stringToString` | `key=value`, several as for `strings` |
| `int` | a number |
| `duration` | a time such as `30s`, `500ms` or `1h30m` |

After `--` no word is a flag.
"""


def place_of(sheet: Sheet) -> str:
    """Return the place of a command's page in the site."""
    return f"{FOLDER}/{'index' if not sheet.command.path else sheet.file_name}.md"


def pages() -> dict[str, str]:
    """Return the Markdown of all pages by their places, in the order of the navigation."""
    return {place_of(sheet): _page(sheet) for sheet in sheets()} | {HELPER: _page_of_helper()}


def _page(sheet: Sheet) -> str:
    command, text = sheet.command, sheet.text
    parts = [*_beginning(command.full_name, command.short, sheet.usages, text)]
    if command.aliases:
        parts.append(f"Also: {', '.join(f'`{alias}`' for alias in command.aliases)}.")
    if sheet.below:
        parts += ["## Commands", _children(sheet)]
    if sheet.examples:
        parts += ["## Examples", *_examples(sheet)]
    for group in sheet.groups:
        parts += _group(group)
    if not sheet.command.path:
        parts.append(_FORMS.strip())
    if command.handler:
        parts += _results(sheet.file_name)
    return "\n\n".join([*parts, *_end(text)]) + "\n"


def _page_of_helper() -> str:
    name, short, usage, text = helper()
    return "\n\n".join([*_beginning(name, short, (usage,), text), *_end(text)]) + "\n"


def _beginning(name: str, short: str, usages: tuple[str, ...], text: Text) -> Iterator[str]:
    # Search shows a command before the pages that mention it.
    yield f"---\nsearch:\n  boost: 2\n---\n\n# {name}"
    yield f"{short}."
    yield "```text\n" + "\n".join(usages) + "\n```"
    yield from text.paragraphs


def _results(name: str) -> Iterator[str]:
    """Yield what a script gets: the members of the document, and the exit codes."""
    if schema := schema_of(name):
        yield "## JSON"
        yield (
            "With `--format json` the result is one document, also when the command fails: "
            f"[its schema](../../{schema}), and [more about scripts](../../{SCRIPTING})."
        )
        rows = (f"| `{member.name}` | {member.kind} | {member.meaning} |" for member in members(name))
        yield "\n".join(["| member | type | meaning |", "|---|---|---|", *rows])
    yield "## Exit codes"
    yield "\n".join(
        [
            "| code | what happened |",
            "|---|---|",
            *(f"| {row.code} | {row.meaning} |" for row in exit_codes()),
        ]
    )


def _end(text: Text) -> Iterator[str]:
    if text.pages:
        yield "## See also"
        yield "\n".join(f"- [{title}](../../{page})" for title, page in text.pages)


def _children(sheet: Sheet) -> str:
    rows = [
        f"| [`{child.full_name}`]({'-'.join(child.path)}.md) | {child.short} |"
        for child in (sheet.below if sheet.command.path else _all_below())
    ]
    return "\n".join(["| command | |", "|---|---|", *rows])


def _all_below() -> Iterator[Command]:
    return (sheet.command for sheet in sheets() if sheet.command.path and sheet.command.handler)


def _examples(sheet: Sheet) -> Iterator[str]:
    for title, lines in sheet.examples:
        commands = "\n".join(f"$ {line}" for line in lines)
        yield f"{title}:"
        yield f"```console\n{commands}\n```"


def _group(group: Group) -> Iterator[str]:
    entries = "".join(map(_entry, group.flags))
    if not group.is_shared:
        yield f"## {group.title}"
        yield f'<dl class="flags">{entries}</dl>'
        return
    # Many commands have them: folded, so that what is special to this one is seen first.
    yield f"## {group.title} {{ data-search-exclude }}"
    yield (
        f'<details class="flags"><summary>{len(group.flags)} flags: {_names(group)}</summary>'
        f'<dl class="flags">{entries}</dl></details>'
    )


def _names(group: Group) -> str:
    return ", ".join(f"<code>--{flag.name}</code>" for flag in group.flags)


def _entry(flag: Flag) -> str:
    forms, kind = flag_forms(flag)
    shown = f"{escape(forms)} <var>{kind}</var>" if kind else escape(forms)
    default = flag_default(flag)
    facts = f' <span class="fact">Default: <code>{escape(default)}</code></span>' if default else ""
    if flag.required:
        facts += ' <span class="fact">Required</span>'
    return (
        f'<dt id="--{flag.name}"><code>{shown}</code>'
        f'<a class="headerlink" href="#--{flag.name}" title="Permanent link">&para;</a></dt>'
        f"<dd>{_with_code(flag.usage)}.{facts}</dd>"
    )


def _with_code(usage: str) -> str:
    def coded(found: re.Match[str]) -> str:
        return f"<code>{found[1] or found[2] or found[3]}</code>"

    # The apostrophe stays as it is, for what is in quotes to be found.
    return _CODE.sub(coded, escape(usage, quote=False))
