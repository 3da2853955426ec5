"""How progress is shown on standard error: a bar on a terminal, lines from time to time in a log."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol, TextIO

from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.cli.tally import ProgressText, Tally

# Of a wider terminal no more is used: the eye finds everything in one look.
_WIDEST, _USUAL = 100, 80
_LONGEST, _SHORTEST = 30, 8
# The widths of fields: `verifying`, `nothing for 12 s`, `59 min left`.
_ACTIVITY, _SPEED, _LEFT = 9, 16, 11
_GREEN, _DIM, _PLAIN = "\x1b[32m", "\x1b[2m", "\x1b[0m"
# To the start of the line, and remove all of it (ECMA-48: CR, EL).
_ERASE = "\r\x1b[K"
# Without automatic margins nothing wraps, not even on terminals that show the signs of the bar twice as wide.
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"


@dataclass(frozen=True, slots=True)
class Signs:
    """What a bar is drawn with: the part that is done, and the rest."""

    done: str
    rest: str
    has_color: bool = False

    @classmethod
    def of(cls, environ: Mapping[str, str], *, color: bool) -> Signs:
        """Return the signs that a terminal with this environment can show."""
        # The first of these that is set decides (POSIX, "Internationalization Variables").
        names = ("LC_ALL", "LC_CTYPE", "LANG")
        locale = next((environ[name] for name in names if environ.get(name)), "")
        if "utf" not in locale.lower():
            return cls("=", "-", color)
        # One sign in two colours, or two signs.
        return cls("━", "━" if color else "─", color)

    def drawn(self, fraction: float, width: int) -> str:
        """Return a bar of `width` signs."""
        count = min(width, int(fraction * width))
        done, rest = self.done * count, self.rest * (width - count)
        return f"{_GREEN}{done}{_PLAIN}{_DIM}{rest}{_PLAIN}" if self.has_color else f"{done}{rest}"


def bar_line(progress: ProgressText, width: int, signs: Signs) -> str:
    """Return the line with the bar, in at most `width` columns; a narrow one has less in it.

    Each field has its place from the start, so that nothing moves while the numbers change.
    """
    room = min(width, _WIDEST)
    if progress.fraction is None:
        counted = f"{progress.activity}: {progress.amount}" if progress.amount else progress.activity
        whole = f"{counted}  {progress.speed}".rstrip()
        return next((text for text in (whole, counted, progress.activity) if len(text) <= room), "")
    activity = f"{progress.activity:<{_ACTIVITY}}"
    fields = [progress.amount, f"{progress.speed:<{_SPEED}}", f"{progress.left:<{_LEFT}}", progress.blobs]
    # The later one is, the less is missed without it.
    for count, shortest in ((4, 2 * _SHORTEST), (3, _SHORTEST), (2, _SHORTEST), (1, _SHORTEST)):
        shown = [field for field in fields[:count] if field]
        bar = min(_LONGEST, room - len("  ".join([activity, "", *shown])))
        if bar >= shortest:
            return "  ".join([activity, signs.drawn(progress.fraction, bar), *shown]).rstrip()
    for text in (progress.amount, f"{int(progress.fraction * 100)} %"):
        if len(text) <= room:
            return text
    return ""


class Display(Protocol):
    """Shows a tally on standard error, one call at a time."""

    tally: Tally

    def show(self) -> None:
        """Show what the tally has now."""
        ...

    def erase(self) -> bool:
        """Make room for a line of text; return whether something has to be restored after it."""
        ...

    def restore(self) -> None:
        """Show it again below the text."""
        ...

    def closing_line(self) -> str:
        """Return the line that says what was done; empty if it was returned before or is unwanted."""
        ...


class LineDisplay:
    """Writes lines, for logs."""

    def __init__(self, tally: Tally, err: TextIO) -> None:
        self.tally = tally
        self._err = err
        self._has_lines = False

    def show(self) -> None:
        """Write a line."""
        self._has_lines = True
        self._err.write(f"imgpkg: {self.tally.progress()}\n")
        self._err.flush()

    def erase(self) -> bool:
        """Return False: lines stay."""
        return False

    def restore(self) -> None:
        """Do nothing: lines stay."""

    def closing_line(self) -> str:
        """Return the last line, if there were others: the log of a short command stays empty."""
        return _closing_line(self.tally) if self._has_lines else ""


class BarDisplay:
    """Draws a bar in the last line of a terminal."""

    def __init__(self, tally: Tally, err: TextIO, signs: Signs) -> None:
        self.tally = tally
        self._err = err
        self._signs = signs
        self._line = ""
        self._is_shown = False

    def show(self) -> None:
        """Draw the bar, if it has changed."""
        # One column stays free: some terminals wrap when the last one is written to.
        line = bar_line(self.tally.progress(), self._columns() - 1, self._signs)
        if line != self._line or not self._is_shown:
            self._line, self._is_shown = line, bool(line)
            self._write(f"\r{_NO_WRAP}{line}\x1b[K{_WRAP}")

    def erase(self) -> bool:
        """Remove the bar; the cursor is then at the start of its line."""
        was_shown, self._is_shown = self._is_shown, False
        if was_shown:
            self._write(_ERASE)
        return was_shown

    def restore(self) -> None:
        """Draw the bar again as it was."""
        self._is_shown = True
        self._write(f"{_NO_WRAP}{self._line}{_WRAP}")

    def closing_line(self) -> str:
        """Return the line that stays when the bar has gone."""
        return _closing_line(self.tally)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._err.fileno()).columns or _USUAL
        except (OSError, ValueError):
            return _USUAL

    def _write(self, text: str) -> None:
        self._err.write(text)
        self._err.flush()


def _closing_line(tally: Tally) -> str:
    summary = tally.summary()
    return f"imgpkg: {summary}\n" if summary else ""
