"""A copy to standard output or from standard input: `--to-tar -` and `--tar -`."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from imgpkg.cli.output import is_document
from imgpkg.errors import UsageError, local_io

if TYPE_CHECKING:
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.operations.copy.values import CopyOptions, CopySource
    from imgpkg.session import Session

_STREAM = "-"
# What writes other text to the same stream, or needs a file.
_NOT_WITH_OUTPUT = ("json", "tty", "resume", "split", "since", "since-inventory")
_NOT_WITH_INPUT = ("dry-run", "check", "registry-password-stdin", "to-registry-password-stdin")


def check_streams(flags: Parsed) -> None:
    """Raise UsageError for flags that do not fit, and for a terminal."""
    is_output = flags.text("to-tar") == _STREAM
    flag = "--to-tar -" if is_output else "--tar -"
    if is_output and is_document(flags):
        raise UsageError(f"Cannot use --format json with {flag}")
    for other in _NOT_WITH_OUTPUT if is_output else _NOT_WITH_INPUT:
        if other in flags.given and flags.values[other]:
            raise UsageError(f"Cannot use --{other} with {flag}")
    if not is_output and not flags.text("to-repo"):
        raise UsageError("A tar file from standard input can be copied to a repository only (--to-repo)")
    if (sys.stdout if is_output else sys.stdin).isatty():
        text = (
            "Refusing to write a tar file to" if is_output else "Expected a tar file on standard input, not"
        )
        raise UsageError(f"{text} a terminal", hints=("Redirect the stream to a file, or use a pipe.",))


def copy_streamed(
    context: Context,
    session: Session,
    source_session: Session | None,
    source: CopySource,
    options: CopyOptions,
) -> None:
    """Copy to or from a standard stream; progress and warnings go to standard error."""
    from imgpkg.operations.copy.stream import copy_from_stream, copy_to_stream

    flags = context.flags
    if flags.text("to-tar") == _STREAM:
        reader = source_session or session
        sent = copy_to_stream(
            source, _StandardOutput(), session=reader, options=options, on_event=context.reporter
        )
        # Standard output is the tar file.
        context.result(references=sent.asked, prints=False)
        return
    copied = copy_from_stream(
        _StandardInput(),
        flags.text("to-repo"),
        session=session,
        options=options,
        lock_output=flags.text("lock-output"),
        on_event=context.reporter,
    )
    context.result(copied, {"dryRun": False}, references=copied.asked, counts_blobs=True)


class _StandardOutput:
    """Standard output without a buffer: what a reader has seen has been written."""

    def write(self, data: bytes, /) -> None:
        """Write all of `data`; raise LocalIOError, as for a reader that has gone."""
        rest = memoryview(data)
        with local_io("write", "standard output"):
            while rest:
                rest = rest[os.write(sys.stdout.fileno(), rest) :]


class _StandardInput:
    """Standard input, as its bytes come."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and b"" at the end; raise LocalIOError."""
        with local_io("read", "standard input"):
            return os.read(sys.stdin.fileno(), size)
