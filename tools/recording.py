"""Record the demonstration in a terminal, as an animated SVG: `make recording`.

The picture has no script and loads nothing. Where nothing moves, in a viewer without CSS animations or for
readers who want less motion, it shows the end.
"""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import sys
import termios
import time
from dataclasses import dataclass, replace
from html import escape
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import pyte

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).parent.parent
COLUMNS, ROWS = 120, 32
# Rows of a screen on which nothing has to scroll away.
_ALL = 1000
_CELL, _LINE, _SIZE = 7.83, 18, 13
_MARGIN, _BAR = 16, 34
# Seconds: at the end, between lines, before a command and for each line that is read until then.
_HOLD, _LONGEST_GAP, _PAUSE, _READING, _LONGEST_PAUSE = 8.0, 0.5, 0.7, 0.11, 2.8
_LIGHT = {
    "ground": "#f6f8fa",
    "edge": "#d1d9e0",
    "plain": "#1f2328",
    "cyan": "#0b6e7f",
    "red": "#c2212c",
    "green": "#1a7f37",
    "quiet": "#59636e",
}
_DARK = {
    "ground": "#0d1117",
    "edge": "#3d444d",
    "plain": "#e6edf3",
    "cyan": "#56c2d0",
    "red": "#ff7b72",
    "green": "#57ab5a",
    "quiet": "#9198a1",
}
_FONT = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono','Liberation Mono',monospace"

_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    ' viewBox="0 0 {width} {height}" role="img" aria-label="{title} in a terminal">'
)
# What has not been printed yet is below it.
_COVER = '<rect class="cover" x="1" width="{width}" height="{height}" transform="translate(0 {height})"/>'


@dataclass(frozen=True)
class Run:
    """Characters of one look: `colour` is a name of the theme."""

    text: str
    colour: str
    is_bold: bool


@dataclass(frozen=True)
class Line:
    """A line as it stands at the end, and the second in which it came to that."""

    runs: tuple[Run, ...]
    second: float

    @property
    def text(self) -> str:
        """Return the characters of the line."""
        return "".join(run.text for run in self.runs)


def record(argv: Sequence[str]) -> Iterator[tuple[float, bytes]]:
    """Run a program in a terminal of its own; yield what it prints, with the seconds since it began."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execvp(argv[0], list(argv))  # noqa: S606 - the program that is named
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    began = time.monotonic()
    while data := _read(terminal):
        yield time.monotonic() - began, data
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f"{argv[0]} ended with {os.waitstatus_to_exitcode(status)}")


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    # Linux says so that the other side is closed.
    except OSError:
        return b""


def lines_of(printed: Iterable[tuple[float, bytes]], hidden: str = "") -> list[Line]:
    """Return the lines that a terminal shows; `hidden` is a path that becomes `~/imgpkg`."""
    screen = pyte.Screen(COLUMNS, _ALL)
    stream = pyte.ByteStream(screen)
    seconds: dict[int, float] = {}
    shown: dict[int, tuple[Run, ...]] = {}
    for second, data in printed:
        screen.dirty.clear()
        stream.feed(data)
        for row in sorted(screen.dirty):
            runs = _runs(screen, row)
            if runs != shown.get(row, ()):
                shown[row], seconds[row] = runs, second
    lines, latest = [], 0.0
    for row in range(max((row for row, runs in shown.items() if runs), default=-1) + 1):
        # A bar may stand below what is printed later.
        latest = max(latest, seconds.get(row, 0.0))
        lines.append(Line(tuple(_without(run, hidden) for run in shown.get(row, ())), latest))
    return lines


def _without(run: Run, hidden: str) -> Run:
    return replace(run, text=run.text.replace(hidden, "~/imgpkg")) if hidden else run


def _runs(screen: pyte.Screen, row: int) -> tuple[Run, ...]:
    cells = [screen.buffer[row][column] for column in range(COLUMNS)]
    while cells and cells[-1].data == " ":
        cells.pop()
    looks = groupby(cells, key=lambda cell: (cell.fg if cell.fg in _LIGHT else "plain", bool(cell.bold)))
    return tuple(Run("".join(cell.data for cell in run), *look) for look, run in looks)


def schedule(lines: Sequence[Line]) -> list[float]:
    """Return the second in which each line appears: waits are shortened, and there is time to read."""
    seconds, now, unread = [], 0.0, 0
    before = Line((), 0.0)
    for line in lines:
        is_comment, is_command = line.text.startswith("# "), line.text.startswith("$ ")
        if is_comment or (is_command and not before.text.startswith("# ")):
            now += min(_PAUSE + _READING * unread, _LONGEST_PAUSE)
            unread = 0
        elif is_command:
            now += _PAUSE
        else:
            now += min(line.second - before.second, _LONGEST_GAP)
        unread += bool(line.text)
        seconds.append(round(now, 2))
        before = line
    return seconds


def drawn(lines: Sequence[Line], title: str) -> str:
    """Return the SVG of a recording."""
    seconds = schedule(lines)
    total = (seconds[-1] if seconds else 0.0) + _HOLD
    width, height = round(COLUMNS * _CELL + 2 * _MARGIN), ROWS * _LINE + _BAR + _MARGIN
    bottom = _offset(len(lines))
    parts = [
        _SVG.format(width=width, height=height, title=escape(title)),
        f"<style>{_style(total, seconds)}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="9"/>',
        f'<path class="edge" d="M0 {_BAR - 6}H{width}"/>',
        *(f'<circle class="edge" cx="{18 + 18 * at}" cy="14" r="5"/>' for at in range(3)),
        f'<text class="quiet" x="{width / 2:g}" y="18" text-anchor="middle">{escape(title)}</text>',
        f'<svg x="0" y="{_BAR}" width="{width}" height="{ROWS * _LINE}">',
        f'<g class="scroll" transform="translate(0 {-bottom})">',
        *_text(lines),
        "</g>",
        _COVER.format(width=width - 2, height=ROWS * _LINE),
        "</svg></svg>",
    ]
    return "\n".join(parts) + "\n"


def _text(lines: Sequence[Line]) -> Iterator[str]:
    for at, line in enumerate(lines):
        runs = [_run(run) for run in line.runs]
        # The width of a character differs from font to font.
        length = f' textLength="{len(line.text) * _CELL:.0f}"' if line.text.strip() else ""
        if line.text:
            yield f'<text x="{_MARGIN}" y="{at * _LINE + 13}"{length}>{"".join(runs)}</text>'


def _run(run: Run) -> str:
    kind = " ".join(name for name in (run.colour if run.colour != "plain" else "", "b" * run.is_bold) if name)
    return f'<tspan class="{kind}">{escape(run.text)}</tspan>' if kind else escape(run.text)


def _offset(count: int) -> int:
    """Return how many pixels are scrolled away when so many lines have been printed."""
    return max(count - ROWS, 0) * _LINE


def _style(total: float, seconds: Sequence[float]) -> str:
    # The number of lines that are there at each moment when that changes.
    counts = {0.0: 0} | {second: at for at, second in enumerate(seconds, 1)}
    scroll = _frames(total, {second: -_offset(count) for second, count in counts.items()})
    cover = _frames(total, {second: min(count, ROWS) * _LINE for second, count in counts.items()})
    moving = f"animation:{{}} {total:.2f}s step-end infinite"
    return (
        f"text{{font:{_SIZE}px {_FONT};white-space:pre}}.b{{font-weight:700}}{_colours(_LIGHT)}"
        f"@media(prefers-color-scheme:dark){{{_colours(_DARK)}}}"
        f"@keyframes scroll{{{scroll}}}@keyframes cover{{{cover}}}"
        f"@media not (prefers-reduced-motion:reduce){{.scroll{{{moving.format('scroll')}}}"
        f".cover{{{moving.format('cover')}}}}}"
    )


def _frames(total: float, offsets: dict[float, int]) -> str:
    found, before = [], None
    for second, offset in offsets.items():
        if offset != before:
            found.append(f"{100 * second / total:.2f}%{{transform:translateY({offset}px)}}")
        before = offset
    return "".join([*found, f"100%{{transform:translateY({before}px)}}"])


def _colours(theme: dict[str, str]) -> str:
    words = "".join(f".{name}{{fill:{theme[name]}}}" for name in ("cyan", "red", "green", "quiet"))
    return (
        f"text{{fill:{theme['plain']}}}{words}.ground{{fill:{theme['ground']};stroke:{theme['edge']}}}"
        f".edge{{fill:none;stroke:{theme['edge']}}}.cover{{fill:{theme['ground']}}}"
    )


def main() -> int:
    """Record the demonstration into docs/images/demo.svg."""
    lines = lines_of(record([str(ROOT / "tools" / "demo.sh")]), str(ROOT))
    (ROOT / "docs" / "images" / "demo.svg").write_text(drawn(lines, "make demo"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
