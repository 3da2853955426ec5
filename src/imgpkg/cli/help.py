"""The help of each command, in the layout of cobra."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.cli.arguments import Flag, ValueType
from imgpkg.cli.command import GLOBAL, Command
from imgpkg.cli.commands import ROOT, children, locate

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.cli.context import Context


# As in `imgpkg.errors.exit_codes`, which help has no need to load.
EXIT_CODES = (
    ("0", "Success"),
    ("1", "Any other failure"),
    ("2", "A command line, reference or setting that cannot be used"),
    ("3", "An image, tag or repository that is not there"),
    ("4", "No credential, a wrong one, or one that allows less"),
    ("5", "No answer from the network, or a server that cannot answer at present"),
    ("6", "Content with a wrong digest or signature, or that is not what it should be"),
    ("7", "A file or folder that is missing, invalid or cannot be written"),
    ("130", "Interrupted; 143 by SIGTERM"),
)


def run(context: Context) -> None:
    """Print the help of the named command, or of imgpkg itself."""
    command, unknown = locate(context.flags.words)
    # As in cobra, the help of an unknown command is that of the root.
    text = help_of(ROOT if unknown else command)
    context.output.result({"help": text})
    context.output.block(text)


def help_of(command: Command) -> str:
    """Return the help of `command`, with a line end after it."""
    below = children(command.path)
    sections = [command.short.rstrip(), "Usage:\n" + "\n".join(usages_of(command))]
    if command.aliases:
        sections.append(f"Aliases:\n  {', '.join((command.name, *command.aliases))}")
    if command.example:
        sections.append(f"Examples:\n\n{command.example}")
    if below:
        lines = [f"  {child.name:11} {child.short}" for child in below]
        sections.append("Available Commands:\n" + "\n".join(lines))
    if command.path:
        sections.append("Flags:\n" + _lines(command.own_flags))
        sections.append("Global Flags:\n" + _lines(GLOBAL))
    else:
        sections.append("Flags:\n" + _lines(command.all_flags))
        codes = "\n".join(f"  {code:11} {text}" for code, text in EXIT_CODES)
        sections.append(f"Exit Codes ($IMGPKG_EXIT_CODES=original: 1 for every failure):\n{codes}")
    if below:
        more = f'Use "{command.full_name} [command] --help" for more information about a command.'
        sections.append(more)
    return "\n\n".join(sections) + "\n"


def usages_of(command: Command) -> Iterable[str]:
    """Yield the ways to call `command`, indented as in its help."""
    if command.handler or not command.path:
        words = f" {command.words}" if command.words else ""
        yield f"  {command.full_name}{words}{'' if command.words.startswith('[bash') else ' [flags]'}"
    if children(command.path):
        yield f"  {command.full_name} [command]"


def _lines(flags: Iterable[Flag]) -> str:
    # By name, whatever their order in the table, as in cobra.
    shown = sorted((flag for flag in flags if not flag.hidden), key=lambda flag: flag.name)
    heads = [_head(flag) for flag in shown]
    width = max(map(len, heads)) + 3
    return "\n".join(
        f"{head:{width}}{flag.usage}{default_of(flag)}" for head, flag in zip(heads, shown, strict=True)
    )


def _head(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else "    "
    kind = f" {flag.value_type.value}" if flag.value_type.value else ""
    return f"  {short}--{flag.name}{kind}"


def default_of(flag: Flag) -> str:
    """Return ` (default …)` as it is in the help, or nothing if the flag has no default worth a word."""
    value = flag.initial
    # pflag omits the default of a zero value, but for this one type.
    if not value and flag.value_type is not ValueType.LABELS:
        return ""
    match flag.value_type:
        case ValueType.STRING:
            shown = f'"{value}"'
        case ValueType.STRINGS if isinstance(value, tuple):
            shown = f"[{','.join(value)}]"
        case ValueType.DURATION:
            shown = f"{value:g}s"
        case ValueType.LABELS:
            shown = "[]"
        case _:
            shown = str(value).lower()
    return f" (default {shown})"
