"""The two sides of a copy on the command line: which flags fit them, and the sessions that they open."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from imgpkg.auth.flags import variables_of
from imgpkg.errors import UsageError
from imgpkg.settings import Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.session import Session

_STDIN = "registry-password-stdin"
_FILES = {
    Side.FROM: ("copy from", ("tar", "from-oci-layout")),
    Side.TO: ("copy to", ("to-tar", "to-oci-layout")),
}


def check_sides(flags: Parsed) -> None:
    """Refuse flags of a side that is a file, and two passwords on standard input.

    Call it before a password is read: at a terminal the command would wait for input first.
    """
    for side in Side:
        _refuse_a_file(flags, side)
    readers = (_STDIN, *(f"{side.value}-{_STDIN}" for side in Side))
    reading = [name for name in readers if flags.is_on(name)]
    if len(reading) > 1:
        named = " and ".join(f"--{name}" for name in reading)
        raise UsageError(
            f"Expected only one of {named}, because standard input can be read only once "
            "(hint: give the other password in $IMGPKG_FROM_PASSWORD or $IMGPKG_TO_PASSWORD)"
        )


def _refuse_a_file(flags: Parsed, side: Side) -> None:
    role, files = _FILES[side]
    # Flags only: variables may be set for other copies of the same job.
    given = sorted(name for name in flags.given if name.startswith(f"{side.value}-registry-"))
    named = [name for name in files if flags.text(name)]
    if given and named:
        raise UsageError(
            f"Cannot use --{given[0]} with --{named[0]}: the flag is for a registry to {role}, "
            f"and --{named[0]} names a file"
        )


@contextmanager
def open_sides(context: Context) -> Iterator[tuple[Session, Session | None]]:
    """Return a context with the session of the destination, and that of the source if it is another one.

    There is one session for both sides, which sends a credential to a registry once for both, unless a flag
    or variable is for one side. A copy from or to a file has only one side.
    """
    with ExitStack() as opened:
        # A plan has a repository to copy to.
        if not (context.flags.text("to-repo") or context.flags.text("plan")):
            yield opened.enter_context(context.session(Side.FROM)), None
        elif any(context.flags.text(name) for name in _FILES[Side.FROM][1]):
            yield opened.enter_context(context.session(Side.TO)), None
        elif not _has_sides(context.flags):
            yield opened.enter_context(context.session()), None
        else:
            source = opened.enter_context(context.session(Side.FROM))
            yield opened.enter_context(context.session(Side.TO)), source


def _has_sides(flags: Parsed) -> bool:
    prefixes = tuple(f"{side.value}-registry-" for side in Side)
    # An empty variable is one that is not set: in CI, a missing secret becomes empty.
    variables = (name for side in Side for name in variables_of(side))
    return any(name.startswith(prefixes) for name in flags.given) or any(map(os.environ.get, variables))
