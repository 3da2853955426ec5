"""Find the command, read its flags, run it, and turn every error into a message and an exit code."""

from __future__ import annotations

import codecs
import io
import os
import re
import signal
import sys
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import Parsed, Parser
from imgpkg.cli.commands import ROOT, Command, children, locate
from imgpkg.errors import ImgpkgError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from imgpkg.cli.output import Output

    _Handler = Callable[[int, FrameType | None], object] | signal.Handlers

_INTERRUPTED, _TERMINATED = 130, 143
# A login in an address, wherever somebody has put one: in an argument, in a file, in an answer.
_LOGIN = re.compile(r"://[^\s/?#@]*@")
_OPEN, _CLOSE = "([{", ")]}"
# No error of ours is as deep; a text of others may be, and each line would be longer than the one before.
_DEEPEST = 20
_BYTE_BY_BYTE = "imgpkg-bytes"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 1 for any error, 130 or 143 when interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output has seen enough.
        _silence_stdout()
        return 1
    except OSError as error:
        _silence_stdout()
        return _report(ImgpkgError(_reason(error)), None)
    except KeyboardInterrupt as interruption:
        sys.stderr.write("imgpkg: Error: interrupted\n")
        return _INTERRUPTED if type(interruption) is KeyboardInterrupt else _TERMINATED
    return code


def _run(argv: list[str]) -> int:
    if argv[:1] in (["__complete"], ["__completeNoDesc"]):
        from imgpkg.cli.completion import complete  # noqa: PLC0415 - only for shells

        return complete(argv[1:], described=argv[0] == "__complete")
    command, rest = locate(argv)
    try:
        parsed = Parser(command.all_flags).parse(rest)
        for note in parsed.notes:
            sys.stderr.write(f"{note}\n")
        if _answered(command, parsed):
            return 0
        _check_words(command, parsed)
    except UsageError as error:
        return _report(error, None)
    return _execute(command, parsed)


def _answered(command: Command, parsed: Parsed) -> bool:
    """Answer `--help` and `--version`, which need no set-up."""
    if parsed.is_on("help"):
        from imgpkg.cli.help import help_of  # noqa: PLC0415 - only for help

        sys.stdout.write(f"{help_of(command)}\nSucceeded\n")
        return True
    if command is ROOT and parsed.is_on("version"):
        from imgpkg.version import VERSION  # noqa: PLC0415 - a name, not a cost

        sys.stdout.write(f"imgpkg version {VERSION}\n\nSucceeded\n")
        return True
    return False


def _check_words(command: Command, parsed: Parsed) -> None:
    missing = [flag.name for flag in command.flags if flag.required and flag.name not in parsed.given]
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        raise UsageError(f"required flag(s) {names} not set")
    words = parsed.words
    if command.name == "completion":
        if len(words) != 1:
            raise UsageError(f"accepts 1 arg(s), received {len(words)}")
        if words[0] not in ("bash", "zsh", "fish", "powershell"):
            raise UsageError(f'invalid argument "{words[0]}" for "imgpkg completion"')
    elif command.words == "REPOSITORY":
        if len(words) != 1:
            raise UsageError(f"accepts 1 arg(s), received {len(words)}")
    elif words and not command.words:
        from imgpkg.oci.reference import without_login  # noqa: PLC0415 - only for this error

        raise UsageError(
            f"command '{command.full_name}' does not accept extra arguments '{without_login(words[0])}'"
        )
    elif not command.home:
        _group(command)


def _group(command: Command) -> None:
    """Refuse a group alone; the root shows its help first."""
    if command is not ROOT:
        names = ", ".join(child.name for child in children(command.path))
        raise UsageError(f"Use one of available subcommands: {names}")
    from imgpkg.cli.help import help_of  # noqa: PLC0415 - only here

    sys.stdout.write(f"{help_of(ROOT)}\n")
    sys.stdout.flush()
    raise UsageError("Invalid command - see available commands/subcommands above")


def _execute(command: Command, parsed: Parsed) -> int:
    from imgpkg.cli.context import Context  # noqa: PLC0415 - `version` is fast without
    from imgpkg.cli.output import make_output  # noqa: PLC0415 - likewise

    output = make_output(parsed)
    try:
        context = Context(parsed, output)
        with _terminable(context.stop), context:
            command.run(context)
        if command.name != "help":
            output.line("Succeeded")
        output.finish()
    except ImgpkgError as error:
        return _report(error, output)
    except Exception as error:
        if parsed.is_on("debug"):
            import traceback  # noqa: PLC0415 - only for what must not happen

            traceback.print_exc()
        if isinstance(error, OSError):
            raise
        hint = "this is a defect of imgpkg; --debug shows where it happened"
        return _report(ImgpkgError(f"internal error: {type(error).__name__}: {error}", hints=(hint,)), output)
    return 0


def _reason(error: OSError) -> str:
    """Return what the system says, such as `no space left on device`, and on which file."""
    text = (error.strerror or str(error)).lower()
    return f"{text}: {error.filename}" if error.filename else text


def _report(error: ImgpkgError, output: Output | None) -> int:
    text = f"imgpkg: Error: {laid_out(str(error))}"
    hints = "".join(f"\nhint: {hint}" for hint in error.hints)
    if output is None:
        sys.stderr.write(f"{text}{hints}\n")
    else:
        output.error(f"{text}{hints}")
        output.finish()
    return 1


def laid_out(text: str) -> str:
    """Break the first line after each `: ` before a capital letter and indent by two more blanks each time.

    Lines that were there are kept, for `str()` of an error has no others than ours. Text in brackets, and
    between `...|` and `|...`, is left in one piece; nothing is ever dropped, but a login in an address.
    """
    first, newline, rest = _LOGIN.sub("://REDACTED@", text).partition("\n")
    cuts = [0, *_cuts(first), len(first)]
    chunks = [first[start:end] for start, end in pairwise(cuts)]
    *above, last = (_indented(chunk, depth) for depth, chunk in enumerate(chunks))
    return "\n".join([*(line.removesuffix(" ") for line in above), last]) + newline + rest


def _indented(chunk: str, depth: int) -> str:
    return "  " * min(depth, _DEEPEST) + chunk


def _cuts(line: str) -> list[int]:
    """Return where the line is cut: after the blank of `: X` outside of every group."""
    cuts, depth, at = [], 0, 0
    while at < len(line):
        if line.startswith("...|", at) and at + 4 < len(line):
            end = line.find("|...", at + 4)
            at = len(line) if end < 0 else end + 4
            continue
        letter = line[at]
        if letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth = max(0, depth - 1)
        elif depth == 0 and line.startswith(": ", at) and "A" <= line[at + 2 : at + 3] <= "Z":
            cuts.append(at + 2)
        at += 1
    return cuts


def _prepare_streams() -> None:
    """Stand in for streams that were closed, and print file names byte by byte whatever the locale."""
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    codecs.register_error(_BYTE_BY_BYTE, _as_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=_BYTE_BY_BYTE)


def _as_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """Give a file name its own bytes back; what was never bytes, as JSON may hold it, is shown as no text."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - nothing else is registered
    byte = ord(error.object[error.start]) - 0xDC00
    known = 0x80 <= byte <= 0xFF  # noqa: PLR2004 - Python's stand-ins for bytes that are no UTF-8
    return (bytes([byte]) if known else "\ufffd".encode()), error.start + 1


def _nowhere(mode: str) -> io.TextIOWrapper:
    stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - as long as the process
    assert isinstance(stream, io.TextIOWrapper)  # noqa: S101 - what open makes for text
    return stream


def _silence_stdout() -> None:
    """Lose what standard output still holds, or the interpreter would complain of it at its end."""
    with suppress(OSError, ValueError):
        number = os.open(os.devnull, os.O_WRONLY)
        os.dup2(number, sys.stdout.fileno())
        os.close(number)


class _Terminated(KeyboardInterrupt):
    """SIGTERM has come."""


@contextmanager
def _terminable(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` and raise KeyboardInterrupt in the block when SIGINT comes, _Terminated for SIGTERM.

    A signal that somebody handles or ignores already is left alone. Workers are waited for when the block is
    left; `stop` ends what they wait for themselves.
    """

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            # A second one, while the first is being obeyed, would leave what is being removed.
            signal.signal(number, signal.SIG_IGN)
        stop()
        raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt

    usual: dict[signal.Signals, _Handler] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    ours = {number: handler for number, handler in usual.items() if signal.getsignal(number) is handler}
    try:
        for number in ours:
            _handle(number, end)
        yield
    finally:
        for number, handler in ours.items():
            _handle(number, handler)


def _handle(number: signal.Signals, handler: _Handler) -> None:
    # Only the main thread may; a command run by another thread is left to whoever runs it.
    with suppress(ValueError):
        signal.signal(number, handler)
