"""What a copy leaves that has ended early, and how to go on with it."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from imgpkg.cli.commands import locate
from imgpkg.errors import ImgpkgError, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.cli.arguments import Flag, Parsed
    from imgpkg.cli.context import Context

_STREAM = "-"
_REFERENCES = ("bundle", "image")
# Of one file, and of the first of several pieces.
_PARTIAL, _PIECE = ".partial", ".001.partial"


def add_hints(context: Context, ended: ImgpkgError | KeyboardInterrupt) -> None:
    """Add what to do to the end of a copy, if it has left something: to a tar file, about `--resume`.

    A KeyboardInterrupt has its hints as arguments.
    """
    if isinstance(ended, ImgpkgError):
        ended.hints = (*ended.hints, *_of_file(context))
    else:
        ended.args = (*ended.args, *_of_file(context), *_of_repository(context))


def _of_repository(context: Context) -> tuple[str, ...]:
    is_to_repository = context.flags.text("to-repo") or context.flags.text("plan")
    left = context.reporter.left() if is_to_repository else ""
    return (
        (f"{left} left; the same command goes on, and sends nothing again that has arrived",) if left else ()
    )


def _of_file(context: Context) -> tuple[str, ...]:
    flags = context.flags
    path = flags.text("to-tar")
    if path in ("", _STREAM) or not any(os.path.exists(path + end) for end in (_PARTIAL, _PIECE)):
        return ()
    left = context.reporter.left()
    what = f"{left} left" if left else "Not everything is there"
    words, secrets = _command(flags)
    like_before = f", with {' and '.join(secrets)} as before" if secrets else ""
    return (f"{what}; to go on{like_before}: {printable(shlex.join(words))}",)


def _command(flags: Parsed) -> tuple[list[str], list[str]]:
    """Return the words of the command that goes on, and the flags whose values must not be shown."""
    command, _ = locate(["copy"])
    given = [flag for flag in command.all_flags if flag.name in flags.given and flag.name != "resume"]
    words = [word for flag in given if not flag.secret for word in _words(flag, flags.values[flag.key])]
    return ["imgpkg", "copy", *words, "--resume"], [f"--{flag.name}" for flag in given if flag.secret]


def _words(flag: Flag, value: object) -> Iterator[str]:
    name = f"-{flag.short}" if flag.short else f"--{flag.name}"
    match value:
        case bool():
            yield name if value else f"{name}=false"
        case tuple():
            for each in value:
                yield from (name, _shown(flag, str(each)))
        case float():
            yield from (name, f"{value:g}s")
        case _:
            yield from (name, _shown(flag, str(value)))


def _shown(flag: Flag, text: str) -> str:
    """Return a value without the login that a reference may contain."""
    from imgpkg.oci.reference import without_login

    return without_login(text) if flag.name in _REFERENCES else text
