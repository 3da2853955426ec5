"""The output of a command, as text for people and scripts or as one JSON document for programs.

Text for people goes through `printable`. Results for scripts and programs are written unchanged.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Protocol, TextIO

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import UsageError, printable
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.command import Command
    from imgpkg.errors import ImgpkgError
    from imgpkg.events import Event
    from imgpkg.oci.reference import Reference

    Document = Mapping[str, object] | Sequence[Mapping[str, object]]

# The keys of go-cli-ui, which the original prints with.
_NOT_IN_A_KEY = expression(r"[^a-z0-9]+")
_RED, _BOLD, _PLAIN = "\x1b[31m", "\x1b[1m", "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under titles. `columns` are printed unless the user names others; by default all are."""

    title: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    columns: tuple[str, ...] = ()

    def filtered(self, wanted: Sequence[str]) -> Table:
        """Return only the named columns, in the order of the table; raise UsageError for an unknown one."""
        keys = [column_key(title) for title in self.titles]
        names = [column_key(name) for name in wanted]
        # A mistyped column is an error and no empty table: scripts would read nothing.
        for name, given in zip(names, wanted, strict=True):
            if name not in keys:
                raise UsageError(f"Failed to find header: {given}")
        shown = names or [column_key(name) for name in self.columns] or keys
        at = [index for index, key in enumerate(keys) if key in shown]
        rows = tuple(tuple(row[index] for index in at) for row in self.rows)
        return Table(self.title, tuple(self.titles[index] for index in at), rows)


def column_key(title: str) -> str:
    """Return the key of a title in JSON and in `--column`."""
    return _NOT_IN_A_KEY.sub("_", title.lower())


class Output(Protocol):
    """The sink for the texts and results of a command."""

    def text(self, text: str, *, is_block: bool = False) -> None:
        """Write a line of the log, to terminals only.

        The text brings its own newlines at its ends, and with `is_block` inside it too.
        """
        ...

    def line(self, text: str) -> None:
        """Write a line such as `Succeeded`, to terminals only."""
        ...

    def block(self, text: str) -> None:
        """Write a result unchanged, to terminals and elsewhere."""
        ...

    def table(self, table: Table) -> None:
        """Write a table of results."""
        ...

    def document(self, text: str, value: Document) -> None:
        """Write a result: `text` for people, or `value` for programs when `--json` is given."""
        ...

    def failure(self, value: Document) -> None:
        """Keep a result for programs only, which is written although an error follows."""
        ...

    def observe(self, event: Event) -> None:
        """Take note of an event of the operation."""
        ...

    def result(
        self,
        *values: object,
        references: Iterable[Reference] = (),
        counts_blobs: bool = False,
    ) -> None:
        """Keep what the operation returned, for programs, beside what is written for people.

        A mapping among the `values` has fields of the document itself. `references` are for `--quiet`. With
        `counts_blobs`, what became of blobs belongs to the result.
        """
        ...

    def error(self, text: str, error: ImgpkgError) -> None:
        """Write an error: `text`, which describes `error`, to standard error."""
        ...

    def ended(self, error: ImgpkgError, code: int) -> None:
        """Take note that the command was ended from outside; `main` writes the text."""
        ...

    def flush(self) -> None:
        """Let what was written so far be seen."""
        ...

    def finish(self, code: int = 0) -> None:
        """Write what was kept until the end; `code` is the exit code."""
        ...


class TextOutput:
    """Writes text as it comes."""

    def __init__(
        self,
        out: TextIO,
        err: TextIO,
        *,
        terminal: bool,
        color: bool,
        columns: Sequence[str],
        is_quiet: bool = False,
    ) -> None:
        self._is_quiet = is_quiet
        self._out = out
        self._err = err
        self._terminal = terminal
        self._color = color
        self._columns = columns
        # None until something has been written.
        self._was_raw: bool | None = None

    def text(self, text: str, *, is_block: bool = False) -> None:
        """Write a line of the log to a terminal."""
        if self._terminal:
            self._pad(raw=True)
            self._out.write(_readable(text, is_block=is_block))

    def line(self, text: str) -> None:
        """Write a line to a terminal."""
        if self._terminal:
            self._pad(raw=False)
            self._out.write(f"{printable(text)}\n")

    def block(self, text: str) -> None:
        """Write a result unchanged."""
        self._pad(raw=True)
        self._out.write(text)

    def document(self, text: str, value: Document) -> None:  # noqa: ARG002 - for programs
        """Write the text."""
        self.block(text)

    def failure(self, value: Document) -> None:
        """Write nothing: the error is the text."""

    def observe(self, event: Event) -> None:
        """Do nothing: events for people are shown by the reporter."""

    def result(
        self,
        *values: object,  # noqa: ARG002 - for programs
        references: Iterable[Reference] = (),
        counts_blobs: bool = False,  # noqa: ARG002 - likewise
    ) -> None:
        """Write the references if that is all that is wanted."""
        if self._is_quiet:
            for reference in references:
                self.block(f"{reference}\n")

    def error(self, text: str, error: ImgpkgError) -> None:  # noqa: ARG002 - for programs
        """Write an error after all other output, in red when colours are on."""
        self._pad(raw=False)
        # On a terminal, where both streams end, the error must come last.
        self._out.flush()
        self._err.write(f"{_RED}{text}{_PLAIN}\n" if self._color else f"{text}\n")

    def table(self, table: Table) -> None:
        """Write a table: with titles and a count on terminals, as bare rows for scripts."""
        shown = table.filtered(self._columns)
        self._pad(raw=False)
        self._out.write(self._titled(shown) if self._terminal else _bare_rows(shown))

    def ended(self, error: ImgpkgError, code: int) -> None:
        """Do nothing: the text is all."""

    def flush(self) -> None:
        """Flush standard output."""
        self._out.flush()

    def finish(self, code: int = 0) -> None:  # noqa: ARG002 - for programs
        """Flush standard output."""
        self._out.flush()

    def _pad(self, *, raw: bool) -> None:
        """Write the empty line that separates two parts, unless both bring their own newlines (`raw`)."""
        # The separation of parts is that of go-cli-ui, byte for byte.
        if self._was_raw is not None and not (self._was_raw and raw):
            self._out.write("\n")
        self._was_raw = raw

    def _titled(self, table: Table) -> str:
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
    # Newlines at the ends are layout; one inside is part of a file name and is escaped.
    inside = text.strip("\n")
    before, _, after = text.partition(inside) if inside else (text, "", "")
    return f"{before}{printable(inside)}{after}"


def _bare_rows(table: Table) -> str:
    widths = _widths(table.rows)
    return "".join(
        "".join(f"{cell.ljust(width)}\t" for cell, width in zip(_dashes(row), widths, strict=True)) + "\n"
        for row in table.rows
    )


def _dashes(row: Sequence[str]) -> list[str]:
    # Scripts that split rows at spaces still find each column in its place.
    return [cell or "-" for cell in row]


def _widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """Return the width to which each column is padded; the last one is not."""
    widths = [max(map(len, column)) for column in zip(*(_dashes(row) for row in rows), strict=True)]
    return [*widths[:-1], 0]


@dataclass
class JSONOutput:
    """Collects everything and writes one JSON document at the end."""

    out: TextIO
    err: TextIO
    columns: Sequence[str]
    tables: list[Mapping[str, object]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    value: Document | None = None
    is_failure: bool = False
    is_written: bool = False

    def text(self, text: str, *, is_block: bool = False) -> None:  # noqa: ARG002 - JSON has its own escapes
        """Keep a line."""
        self.lines.append(text)

    def line(self, text: str) -> None:
        """Keep a line."""
        self.lines.append(text)

    def block(self, text: str) -> None:
        """Keep a block."""
        self.blocks.append(text)

    def document(self, text: str, value: Document) -> None:  # noqa: ARG002 - for people
        """Keep the value, which is written instead of tables, blocks and lines."""
        self.value = value

    def failure(self, value: Document) -> None:
        """Keep the value, which is written even after an error."""
        self.value, self.is_failure = value, True

    def observe(self, event: Event) -> None:
        """Do nothing: the document has no place for events."""

    def result(
        self,
        *values: object,
        references: Iterable[Reference] = (),
        counts_blobs: bool = False,
    ) -> None:
        """Do nothing: the document of `--json` is that of the original, or was kept before."""

    def ended(self, error: ImgpkgError, code: int) -> None:
        """Do nothing: there is no document of an interruption."""

    def error(self, text: str, error: ImgpkgError) -> None:
        """Write the text at once; the document is that of the failure if there is one, or about the error."""
        self.err.write(f"{text}\n")
        # A failed check or explanation has a document with more detail than the error.
        if not self.is_failure:
            from imgpkg.cli.rendering import error_json

            self.value = error_json(error)

    def table(self, table: Table) -> None:
        """Keep the columns that are printed."""
        shown = table.filtered(self.columns)
        keys = [column_key(title) for title in shown.titles]
        self.tables.append(
            {
                "Content": shown.title,
                # encoding/json of Go sorts the keys of maps.
                "Header": dict(sorted(zip(keys, shown.titles, strict=True))),
                "Rows": [dict(sorted(zip(keys, row, strict=True))) for row in shown.rows],
                "Notes": None,
            }
        )

    def flush(self) -> None:
        """Do nothing: the document is written at the end."""

    def finish(self, code: int = 0) -> None:  # noqa: ARG002 - it has no place for it
        """Write the document once, unless it is empty."""
        if self.is_written or not (self.value or self.tables or self.blocks or self.lines):
            return
        # Go writes an empty slice as null.
        document: Document = self.value or {
            "Tables": self.tables or None,
            "Blocks": self.blocks or None,
            "Lines": self.lines or None,
        }
        # An error calls it a second time.
        self.is_written = True
        from imgpkg.oci.encoding import encode_json

        # Go escapes <, > and & in JSON, and scripts may compare the text.
        text = encode_json(document, indent=4).decode()
        self.out.write(text + ("\n" if self.value else ""))
        self.out.flush()


def make_output(flags: Parsed, command: Command) -> Output:
    """Return the output that the flags and the standard streams ask for."""
    columns = flags.texts("column")
    if is_document(flags):
        from imgpkg.cli.document import DocumentOutput

        return DocumentOutput(sys.stdout, sys.stderr, command, flags.notes)
    if flags.is_on("json"):
        return JSONOutput(sys.stdout, sys.stderr, columns)
    return TextOutput(
        sys.stdout,
        sys.stderr,
        terminal=is_terminal(flags),
        color=flags.is_on("color") and has_color(),
        columns=columns,
        is_quiet=flags.is_on("quiet"),
    )


def is_document(flags: Parsed) -> bool:
    """Return whether `--format json` asks for the one document; raise UsageError for another form."""
    form = flags.text("format")
    if form not in ("text", "json"):
        hints = ("For yaml, tree and pictures give -o.",) if "output-type" in flags.values else ()
        raise UsageError(f"--format can only have the values [text, json], and not {form!r}", hints=hints)
    return form == "json"


def is_terminal(flags: Parsed) -> bool:
    """Return whether standard output is a terminal, or `--tty` asks to treat it as one; not if quiet."""
    return (flags.is_on("tty") or sys.stdout.isatty()) and not flags.is_on("quiet")


def has_color(stream: TextIO | None = None) -> bool:
    """Return whether to write colours to `stream`, standard output by default.

    FORCE_COLOR decides if it is set, else NO_COLOR (no-color.org) and TERM.
    """
    forced = os.environ.get("FORCE_COLOR", "")
    if forced in ("0", "false"):
        return False
    if forced in ("1", "2", "3", "true"):
        return True
    # A log file or pipe would show the escape sequences as text.
    return (
        (stream or sys.stdout).isatty() and os.environ.get("TERM") != "dumb" and "NO_COLOR" not in os.environ
    )
