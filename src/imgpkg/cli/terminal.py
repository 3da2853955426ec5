"""Decide from the streams and the environment how to speak: to people or to scripts, in colour or not."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from imgpkg.cli.output import JSONOutput, Output, TextOutput

if TYPE_CHECKING:
    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.watch import Watch


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


def make_watch(flags: Parsed, output: Output) -> Watch:
    """Choose how to follow work: a bar only where standard error is a terminal."""
    from imgpkg.cli.watch import Watch  # noqa: PLC0415 - only where there is work to follow

    draws = sys.stderr.isatty() and not flags.is_on("json") and not flags.is_on("debug")
    shows_log = is_terminal(flags) and not flags.is_on("json")
    return Watch(output, sys.stderr, shows_log=shows_log, draws=draws, color=flags.is_on("color"))


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
