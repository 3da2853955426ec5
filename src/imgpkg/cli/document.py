"""The one JSON document of `--format json`: the result of a command, or the error with which it ended."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from imgpkg.events import TransferCounter, Warned
from imgpkg.operations.jsonform.form import as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from imgpkg.cli.command import Command
    from imgpkg.cli.output import Document, Table
    from imgpkg.errors import ImgpkgError
    from imgpkg.events import Event
    from imgpkg.oci.reference import Reference


class DocumentOutput:
    """Keeps the result of a command and writes it as one JSON document, also when the command fails.

    Texts, tables and the documents of `--json` are ignored. Errors are written to standard error as well, and
    so were the `notes` on the command line, which are warnings.
    """

    def __init__(self, out: TextIO, err: TextIO, command: Command, notes: Iterable[str] = ()) -> None:
        self._out = out
        self._err = err
        self._command = command
        self._started = time.monotonic()
        self._counter = TransferCounter()
        self._warnings: dict[str, None] = dict.fromkeys(notes)
        self._fields: dict[str, object] = {}
        self._error: ImgpkgError | None = None
        self._is_written = False

    def text(self, text: str, *, is_block: bool = False) -> None:
        """Ignore a line of the log."""

    def line(self, text: str) -> None:
        """Ignore a line."""

    def block(self, text: str) -> None:
        """Ignore a text."""

    def table(self, table: Table) -> None:
        """Ignore a table."""

    def document(self, text: str, value: Document) -> None:
        """Ignore the document of `--json`."""

    def failure(self, value: Document) -> None:
        """Ignore the document of `--json`."""

    def observe(self, event: Event) -> None:
        """Keep a warning, and count what becomes of blobs."""
        if isinstance(event, Warned):
            self._warnings[event.text] = None
        self._counter(event)

    def result(
        self,
        *values: object,
        references: Iterable[Reference] = (),  # noqa: ARG002 - they are in the values
        counts_blobs: bool = False,
    ) -> None:
        """Keep the JSON forms of `values`, and mappings as they are; the last one takes precedence."""
        for value in values:
            self._fields.update(value if isinstance(value, Mapping) else as_json(value))
        if counts_blobs:
            self._fields.update(as_json(self._counter.total))

    def error(self, text: str, error: ImgpkgError) -> None:
        """Write the text for people, and keep the error."""
        self._err.write(f"{text}\n")
        self._error = error

    def flush(self) -> None:
        """Do nothing: the document is written at the end."""

    def ended(self, error: ImgpkgError, code: int) -> None:
        """Write the document of a command that was ended from outside; its text is written elsewhere."""
        self._error = error
        self.finish(code)

    def finish(self, code: int = 0) -> None:
        """Write the document, once."""
        if self._is_written:
            return
        self._is_written = True
        # ASCII alone: names from outside can neither control a terminal nor be no UTF-8.
        self._out.write(f"{json.dumps(self._document(code), indent=2)}\n")
        self._out.flush()

    def _document(self, code: int) -> dict[str, object]:
        # The words of the command come first, and replace what a report calls by the same name.
        head = {"command": " ".join(self._command.path), "ok": self._error is None, "exitCode": code}
        error = {} if self._error is None else {"error": as_json(self._error)}
        return {
            **head,
            **error,
            **self._fields,
            **head,
            "warnings": list(self._warnings),
            "seconds": round(time.monotonic() - self._started, 3),
        }


def is_document_wanted(command: Command, words: Sequence[str]) -> bool:
    """Return whether a command line that cannot be parsed asks for a JSON document."""
    names = [flag.name for flag in command.all_flags if flag.key == "format"]
    pairs = zip(words, (*words[1:], ""), strict=True)
    return any(
        word == f"--{name}=json" or (word == f"--{name}" and value == "json")
        for word, value in pairs
        for name in names
    )


def write_refusal(command: Command, error: ImgpkgError, code: int) -> None:
    """Write the document of a command line that was refused, whose text was written before."""
    DocumentOutput(sys.stdout, sys.stderr, command).ended(error, code)
