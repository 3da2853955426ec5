"""The process of the command line: streams, signals, errors and exit codes.

`main` finds the command in the table, parses its flags, runs it, and turns every error into a message.
"""

from __future__ import annotations

import atexit
import codecs
import gc
import io
import os
import signal
import sys
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import TYPE_CHECKING

from imgpkg.cli.arguments import Parsed, Parser
from imgpkg.cli.commands import ROOT, children, find, locate
from imgpkg.errors import (
    Cancelled,
    ChallengeError,
    CredentialError,
    ImgpkgError,
    InvalidManifest,
    LocalIOError,
    RegistryError,
    TransportError,
    UsageError,
    printable,
)
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    from imgpkg.cli.command import Command
    from imgpkg.cli.output import Output

    _Handler = Callable[[int, FrameType | None], object] | signal.Handlers

# The exit codes of shells for a process that SIGINT (2) or SIGTERM (15) has ended: 128 and its number.
_INTERRUPTED, _TERMINATED = 130, 143
# The userinfo of a URL (RFC 3986 §3.2.1), which may stand in an argument, a file or a response.
_LOGIN = expression(r"://[^\s/?#@]*@")
_OPEN, _CLOSE = "([{", ")]}"
# A registry's text may hold any number of `: `; the whole indentation grows with the square of that.
_DEEPEST = 20
_BYTE_BY_BYTE = "imgpkg-bytes"
# Loading all modules of a command makes about half as many.
_NEW_OBJECTS = 50_000


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or that of the error or the interruption."""
    # A list of the caller is not changed: parsing removes words from it.
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        _collect_seldom()
    _prepare_streams()
    try:
        code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed the pipe.
        _silence_stdout()
        return 1
    except OSError as error:
        _silence_stdout()
        return _report(LocalIOError(_reason(error)), None)
    except KeyboardInterrupt as interruption:
        hints = "".join(f"hint: {hint}\n" for hint in interruption.args)
        sys.stderr.write(f"imgpkg: Error: interrupted\n{hints}")
        return _code_of(interruption)
    finally:
        if argv is None and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            # All is done and said: while the interpreter ends, Ctrl-C would print a traceback.
            _handle(signal.SIGINT, signal.SIG_DFL)
    return code


def _code_of(interruption: KeyboardInterrupt) -> int:
    return _INTERRUPTED if type(interruption) is KeyboardInterrupt else _TERMINATED


def _collect_seldom() -> None:
    """Let the garbage collector rest while modules are loaded, none of which is garbage, and at the end.

    It would look through them dozens of times, and once more before the process ends.
    """
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)


def _run(argv: list[str]) -> int:
    # Shells run these at each press of Tab; the hidden command of cobra is handled before the table.
    if argv[:1] in (["__complete"], ["__completeNoDesc"]):
        from imgpkg.cli.completion import complete

        return complete(argv[1:], described=argv[0] == "__complete")
    command, rest = locate(argv)
    try:
        parsed = Parser(command.all_flags).parse(rest)
        for note in parsed.notes:
            sys.stderr.write(f"{note}\n")
        # `--help` comes before required flags and words are checked: it explains them.
        if _print_information(command, parsed):
            return 0
        _check_words(command, parsed)
        _check_form(parsed)
    except UsageError as error:
        from imgpkg.cli.usage import advice

        error.hints = error.hints or advice(command, rest, error)
        return _refuse(command, rest, error)
    # Outside of the `try`: a UsageError of the command itself is written to its output.
    return _execute(command, parsed)


def _print_information(command: Command, parsed: Parsed) -> bool:
    """Print what `--help` or `--version` asks for; return False when neither is given."""
    if parsed.is_on("help"):
        from imgpkg.cli.help import help_of

        _print("help", parsed, f"{help_of(command)}\nSucceeded\n", {"help": help_of(command)})
        return True
    if command is ROOT and parsed.is_on("version"):
        from imgpkg.version import VERSION

        _print("version", parsed, f"imgpkg version {VERSION}\n\nSucceeded\n", {"version": VERSION})
        return True
    return False


def _print(name: str, parsed: Parsed, text: str, fields: Mapping[str, object]) -> None:
    """Print a text, or in its place a document with `fields`, which is that of the command `name`."""
    if parsed.text("format") != "json":
        sys.stdout.write(text)
        return
    from imgpkg.cli.output import make_output

    output = make_output(parsed, find((), name) or ROOT)
    output.result(fields)
    output.finish()


def _check_words(command: Command, parsed: Parsed) -> None:
    missing = [flag.name for flag in command.flags if flag.required and flag.name not in parsed.given]
    if missing:
        names = ", ".join(f'"{name}"' for name in missing)
        raise UsageError(f"required flag(s) {names} not set")
    words = parsed.words
    if command.name == "completion":
        if len(words) != 1:
            raise UsageError(f"accepts 1 arg(s), received {len(words)}")
        # The text is that of cobra for an argument outside of its list.
        if words[0] not in ("bash", "zsh", "fish", "powershell"):
            raise UsageError(f'invalid argument "{words[0]}" for "imgpkg completion"')
    elif words and not command.words:
        # A reference that was typed without its flag may contain a password.
        from imgpkg.oci.reference import without_login

        raise UsageError(
            f"command '{command.full_name}' does not accept extra arguments '{without_login(words[0])}'"
        )
    elif not command.handler:
        _refuse_group(command, parsed)


def _refuse_group(command: Command, parsed: Parsed) -> None:
    """Refuse a group without a subcommand; for the root, print its help first."""
    if command is not ROOT:
        names = ", ".join(child.name for child in children(command.path))
        raise UsageError(f"Use one of available subcommands: {names}")
    # Standard output is for the one document.
    if parsed.text("format") != "json":
        from imgpkg.cli.help import help_of

        sys.stdout.write(f"{help_of(ROOT)}\n")
        sys.stdout.flush()
    raise UsageError("Invalid command - see available commands/subcommands above")


def _check_form(parsed: Parsed) -> None:
    from imgpkg.cli.output import is_document

    is_document(parsed)
    if os.environ.get("IMGPKG_EXIT_CODES"):
        from imgpkg.cli.exit_status import check_variable

        check_variable()


def _refuse(command: Command, words: Sequence[str], error: UsageError) -> int:
    """Report a command line that cannot be used, in the form that it asks for as far as it can be read."""
    code = _report(error, None)
    if any("json" in word for word in words):
        from imgpkg.cli.document import is_document_wanted, write_refusal

        if is_document_wanted(command, words):
            write_refusal(command, error, code)
    return code


def _execute(command: Command, parsed: Parsed) -> int:
    from imgpkg.cli.context import Context
    from imgpkg.cli.output import make_output

    # Made before anything can fail, so that an error is written in the form that was asked for.
    output = make_output(parsed, command)
    try:
        context = Context(parsed, output)
        with _terminable(context.stop), context, context.limits():
            command.run(context)
        if command.name != "help":
            output.line("Succeeded")
        output.finish()
    except ImgpkgError as error:
        return _report(error, output)
    except Exception as error:
        if parsed.is_on("debug"):
            import traceback

            traceback.print_exc()
        # A full disk or a closed pipe is no defect; `main` reports it.
        if isinstance(error, OSError):
            if not isinstance(error, BrokenPipeError):
                from imgpkg.cli.exit_status import status_of

                failure = LocalIOError(_reason(error))
                output.ended(failure, status_of(failure))
            raise
        if isinstance(error, MemoryError) or str(error) == "can't start new thread":
            return _report(ImgpkgError(str(error) or "out of memory", hints=(_LIMITS,)), output)
        hint = "this is a defect of imgpkg; --debug shows where it happened"
        return _report(ImgpkgError(f"internal error: {type(error).__name__}: {error}", hints=(hint,)), output)
    except KeyboardInterrupt as interruption:
        cancelled = Cancelled("interrupted")
        cancelled.hints = tuple(map(str, interruption.args))
        output.ended(cancelled, _code_of(interruption))
        raise
    return 0


def _reason(error: OSError) -> str:
    """Return the text of the system, such as `no space left on device`, and the name of the file."""
    text = (error.strerror or str(error)).lower()
    return f"{text}: {error.filename}" if error.filename else text


def _report(error: ImgpkgError, output: Output | None) -> int:
    from imgpkg.cli.exit_status import status_of

    code = status_of(error)
    text = f"imgpkg: Error: {_described(error)}"
    if output is None:
        sys.stderr.write(f"{text}\n")
    else:
        output.error(text, error)
        output.finish(code)
    return code


_LIMITS = "A limit of memory or threads is reached (ulimit -a, those of the container): raise it."
# Errors of a set-up: the cause and the remedy are the first two lines, unbroken.
_ABOUT_A_SET_UP = (ChallengeError, CredentialError, InvalidManifest, RegistryError, TransportError)


def _described(error: ImgpkgError) -> str:
    """Return the text and the hints of an error.

    A refusal is the first line, its remedy the second, and the answer of the registry the third.
    """
    text, hints = str(error), [f"hint: {hint}" for hint in error.hints]
    # `str()` begins with the cause; printing each part on its own line keeps the first line short.
    if cause := printable(error.cause):
        said = text.removeprefix(f"{cause}: ")
        return "\n".join([_without_login(cause), *hints[:1], f"  {_without_login(said)}", *hints[1:]])
    is_whole = bool(hints) and isinstance(error, _ABOUT_A_SET_UP)
    return "\n".join([_without_login(text) if is_whole else format_error(text), *hints])


def _without_login(text: str) -> str:
    return _LOGIN.sub("://REDACTED@", text)


def format_error(text: str) -> str:
    """Break the first line after each `: ` before a capital letter, each part indented by two more spaces.

    Other lines are kept, because `str()` of an error has escaped the line breaks of foreign text. Text in
    brackets, and between `...|` and `|...`, is not broken. Logins in addresses are replaced.
    """
    first, newline, rest = _without_login(text).partition("\n")
    cuts = [0, *_cuts(first), len(first)]
    chunks = [first[start:end] for start, end in pairwise(cuts)]
    *above, last = (_indented(chunk, depth) for depth, chunk in enumerate(chunks))
    return "\n".join([*(line.removesuffix(" ") for line in above), last]) + newline + rest


def _indented(chunk: str, depth: int) -> str:
    return "  " * min(depth, _DEEPEST) + chunk


def _cuts(line: str) -> list[int]:
    """Return the positions after each `: ` before a capital letter, outside of brackets."""
    cuts, depth, at = [], 0, 0
    while at < len(line):
        # Marks of the original around text that must stay as it is.
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
    """Replace closed streams, and let the others write UTF-8 and the bytes of file names unchanged."""
    # Python sets a standard stream to None when its file descriptor was closed at start (`<&-`).
    sys.stdin = sys.stdin or _nowhere("r")
    sys.stdout = sys.stdout or _nowhere("w")
    sys.stderr = sys.stderr or _nowhere("w")
    # File names may hold bytes that are not UTF-8; with the default handler printing one would raise.
    codecs.register_error(_BYTE_BY_BYTE, _as_bytes)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=_BYTE_BY_BYTE)


def _as_bytes(error: UnicodeError) -> tuple[bytes, int]:
    """Encode a surrogate as the byte of a file name that it stands for (PEP 383), any other as U+FFFD."""
    assert isinstance(error, UnicodeEncodeError)  # noqa: S101 - nothing else is registered
    byte = ord(error.object[error.start]) - 0xDC00
    # JSON text can hold surrogates that never were bytes.
    is_byte = 0x80 <= byte <= 0xFF  # noqa: PLR2004 - the range of PEP 383
    return (bytes([byte]) if is_byte else "\ufffd".encode()), error.start + 1


def _nowhere(mode: str) -> io.TextIOWrapper:
    stream = open(os.devnull, mode, encoding="utf-8")  # noqa: SIM115 - as long as the process
    assert isinstance(stream, io.TextIOWrapper)  # noqa: S101 - what open makes for text
    return stream


def _silence_stdout() -> None:
    """Discard what standard output still buffers: the interpreter flushes it at exit, and would fail."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        # The descriptor is replaced, since the buffer of the stream cannot be discarded.
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


class _Terminated(KeyboardInterrupt):
    """SIGTERM has arrived."""


@contextmanager
def _terminable(stop: Callable[[], None]) -> Iterator[None]:
    """In the block, SIGINT raises KeyboardInterrupt and SIGTERM raises _Terminated, after a call of `stop`.

    A signal that already has a handler, or is ignored, is left alone. Commands wait for their workers before
    they leave the block, so `stop` must end the subprocesses for which these workers wait.
    """

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGTERM:
            # A second SIGTERM would interrupt the removal of temporary files.
            signal.signal(number, signal.SIG_IGN)
        stop()
        # A subclass, so that all code that handles Ctrl-C handles SIGTERM, too.
        raise _Terminated if number == signal.SIGTERM else KeyboardInterrupt

    usual: dict[signal.Signals, _Handler] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
    }
    # A handler of the calling program stays, and so does an ignored SIGINT, as in background jobs of scripts.
    ours = {number: handler for number, handler in usual.items() if signal.getsignal(number) is handler}
    try:
        for number in ours:
            _handle(number, end)
        yield
    finally:
        for number, handler in ours.items():
            _handle(number, handler)


def _handle(number: signal.Signals, handler: _Handler) -> None:
    # Python allows only the main thread to set handlers; in another thread signals are the caller's concern.
    with suppress(ValueError):
        signal.signal(number, handler)
