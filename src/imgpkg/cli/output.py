"""What a command says: the layers of the original's own output.

What people read goes through `printable`. Results for scripts and programs are said byte by byte.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TextIO

from imgpkg.errors import UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imgpkg.cli.arguments import Parsed

_NOT_IN_A_KEY = re.compile(r"[^a-z0-9]+")
_RED, _BOLD, _PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under titles; `columns` are shown unless the user names others."""

    title: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()

    def filtered(self, wanted: Sequence[str]) -> Table:
        """Show only the columns named, in the table's own order; raise UsageError for one it has not."""
        keys = [column_key(title) for title in self.titles]
        names = [column_key(name) for name in wanted]
        for name, given in zip(names, wanted, strict=True):
            if name not in keys:
                raise UsageError(f"Failed to find header: {given}")
        shown = names or [column_key(name) for name in self.columns] or keys
        at = [index for index, key in enumerate(keys) if key in shown]
        rows = tuple(tuple(row[index] for index in at) for row in self.rows)
        return Table(self.title, tuple(self.titles[index] for index in at), rows)


def column_key(title: str) -> str:
    """Turn a title into the key that JSON and `--column` use."""
    return _NOT_IN_A_KEY.sub("_", title.lower())


class Output(Protocol):
    """Takes what a command says, primitive by primitive."""

    def text(self, text: str, *, is_block: bool = False) -> None:
        """Progress and log text, with its own newlines around it, and in it when it `is_block`.

        Only terminals see it.
        """
        ...

    def line(self, text: str) -> None:
        """Say a line of its own that only terminals see, such as `Succeeded`."""
        ...

    def block(self, text: str) -> None:
        """Say a result, byte by byte, wherever the output goes."""
        ...

    def table(self, table: Table) -> None:
        """Say a table of results."""
        ...

    def document(self, text: str, value: Mapping[str, object]) -> None:
        """Say a result that has a form for people and one for programs, which `--json` asks for."""
        ...

    def error(self, text: str) -> None:
        """Say an error, in the text that it has for people, on standard error."""
        ...

    def finish(self) -> None:
        """Say what was kept back until the end."""
        ...


class TextOutput:
    """Says everything at once, as text."""

    def __init__(
        self, out: TextIO, err: TextIO, *, terminal: bool, color: bool, columns: Sequence[str]
    ) -> None:
        self._out = out
        self._err = err
        self._terminal = terminal
        self._color = color
        self._columns = columns
        self._was_raw: bool | None = None

    def text(self, text: str, *, is_block: bool = False) -> None:
        """Say it to a terminal."""
        if self._terminal:
            self._pad(raw=True)
            self._out.write(_readable(text, is_block=is_block))

    def line(self, text: str) -> None:
        """Say it to a terminal."""
        if self._terminal:
            self._pad(raw=False)
            self._out.write(f"{printable(text)}\n")

    def block(self, text: str) -> None:
        """Say it as it is."""
        self._pad(raw=True)
        self._out.write(text)

    def document(self, text: str, value: Mapping[str, object]) -> None:  # noqa: ARG002 - for programs
        """Say the text."""
        self.block(text)

    def error(self, text: str) -> None:
        """Say it after everything else, in red where colours are."""
        self._pad(raw=False)
        self._out.flush()
        self._err.write(f"{_RED}{text}{_PLAIN}\n" if self._color else f"{text}\n")

    def table(self, table: Table) -> None:
        """Say it with titles and a count to people, in bare rows to scripts."""
        shown = table.filtered(self._columns)
        self._pad(raw=False)
        self._out.write(self._people(shown) if self._terminal else _scripts(shown))

    def finish(self) -> None:
        """Let everything out."""
        self._out.flush()

    def _pad(self, *, raw: bool) -> None:
        if self._was_raw is not None and not (self._was_raw and raw):
            self._out.write("\n")
        self._was_raw = raw

    def _people(self, table: Table) -> str:
        cells = [tuple(map(printable, row)) for row in table.rows]
        widths = _widths((table.titles, *cells))
        head = "".join(
            self._bold(title.ljust(width)) + "  " for title, width in zip(table.titles, widths, strict=True)
        )
        rows = [
            "".join(f"{cell.ljust(width)}  " for cell, width in zip(_dashes(row), widths, strict=True))
            for row in cells
        ]
        lines = [table.title.capitalize(), "", head, *rows, "", f"{len(table.rows)} {table.title}"]
        return "".join(f"{line}\n" for line in lines)

    def _bold(self, text: str) -> str:
        return f"{_BOLD}{text}{_PLAIN}" if self._color else text


def _readable(text: str, *, is_block: bool) -> str:
    if is_block:
        return "\n".join(map(printable, text.split("\n")))
    inside = text.strip("\n")
    before, _, after = text.partition(inside) if inside else (text, "", "")
    return f"{before}{printable(inside)}{after}"


def _scripts(table: Table) -> str:
    widths = _widths(table.rows)
    return "".join(
        "".join(f"{cell.ljust(width)}\t" for cell, width in zip(_dashes(row), widths, strict=True)) + "\n"
        for row in table.rows
    )


def _dashes(row: Sequence[str]) -> list[str]:
    return [cell or "-" for cell in row]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return how far each column is padded; the last is not."""
    widths = [max(map(len, column)) for column in zip(*(_dashes(row) for row in rows), strict=True)]
    return [*widths[:-1], 0]


@dataclass
class JSONOutput:
    """Collects everything and says it as one JSON document at the end."""

    out: TextIO
    err: TextIO
    columns: Sequence[str]
    tables: list[Mapping[str, object]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    has_failed: bool = False
    value: Mapping[str, object] | None = None
    is_said: bool = False

    def text(self, text: str, *, is_block: bool = False) -> None:  # noqa: ARG002 - JSON has its own escapes
        """Keep it among the lines."""
        self.lines.append(text)

    def line(self, text: str) -> None:
        """Keep it among the lines."""
        self.lines.append(text)

    def block(self, text: str) -> None:
        """Keep it among the blocks."""
        self.blocks.append(text)

    def document(self, text: str, value: Mapping[str, object]) -> None:  # noqa: ARG002 - for people
        """Keep the value, which replaces the document of the original's layers."""
        self.value = value

    def error(self, text: str) -> None:
        """Say it at once, as text; the document is dropped."""
        self.has_failed = True
        self.err.write(f"{text}\n")

    def table(self, table: Table) -> None:
        """Keep the columns that are shown."""
        shown = table.filtered(self.columns)
        keys = [column_key(title) for title in shown.titles]
        self.tables.append(
            {
                "Content": shown.title,
                "Header": dict(sorted(zip(keys, shown.titles, strict=True))),
                "Rows": [dict(sorted(zip(keys, row, strict=True))) for row in shown.rows],
                "Notes": None,
            }
        )

    def finish(self) -> None:
        """Write the document once, unless it is empty or something failed."""
        document: Mapping[str, object] = self.value or {
            "Tables": self.tables or None,
            "Blocks": self.blocks or None,
            "Lines": self.lines or None,
        }
        if self.has_failed or self.is_said or not any(document.values()):
            return
        self.is_said = True
        from imgpkg.content.image import encode_json  # noqa: PLC0415 - only for `--json`

        text = encode_json(document, indent=4).decode()
        self.out.write(text + ("\n" if self.value else ""))
        self.out.flush()


def make_output(flags: Parsed) -> Output:
    """Choose the output for these flags."""
    columns = flags.texts("column")
    if flags.is_on("json"):
        return JSONOutput(sys.stdout, sys.stderr, columns)
    return TextOutput(
        sys.stdout,
        sys.stderr,
        terminal=is_terminal(flags),
        color=flags.is_on("color") and has_color(),
        columns=columns,
    )


def is_terminal(flags: Parsed) -> bool:
    """Tell whether people read the output, or are said to."""
    return flags.is_on("tty") or sys.stdout.isatty()


def has_color() -> bool:
    """Tell whether escapes are understood; FORCE_COLOR decides when it is set."""
    forced = os.environ.get("FORCE_COLOR", "")
    if forced in ("0", "false"):
        return False
    if forced in ("1", "2", "3", "true"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
