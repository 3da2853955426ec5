"""The picture of copies with more workers: how many times as fast, and what would be linear."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from benchmarks.picture import THEMES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.scaling import Measured

_WIDTH, _HEIGHT = 480, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 26, 62, 52
_FONT = (
    "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif"
)


def summary(found: Sequence[Measured]) -> str:
    """Return what the picture shows, for those who do not see it."""
    first = found[0]
    said = (f"{one.workers} {first.seconds / one.seconds:.2f} ×, {one.seconds:.1f} s" for one in found)
    about = f"A copy by workers with a network card each, times as fast as with {first.workers}"
    return f"{about}: {'; '.join(said)}."


def drawn(found: Sequence[Measured], theme: str) -> str:
    """Return the SVG in the colours of a theme."""
    colours, most = THEMES[theme], max(one.workers for one in found)
    faster = [(one.workers, found[0].seconds / one.seconds * found[0].workers) for one in found]

    def place(workers: float, times: float) -> tuple[float, float]:
        across = (_WIDTH - _LEFT - _RIGHT) / most
        up = (_HEIGHT - _TOP - _BOTTOM) / most
        return _LEFT + workers * across, _HEIGHT - _BOTTOM - times * up

    def line(points: Sequence[tuple[float, float]], colour: str, more: str) -> str:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        return f'<polyline points="{path}" fill="none" stroke="{colour}" {more}/>'

    def words(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
        named = f' class="{kind}"' if kind else ""
        return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'

    parts = [
        words(20, 32, "More workers, a network card each", "title"),
        words(20, 52, "how many times as fast a copy is; dashed: linear", "quiet"),
        line([place(0, most), place(0, 0), place(most, 0)], colours.edge, 'stroke-width="1"'),
        line([place(1, 1), place(most, most)], colours.theirs, 'stroke-width="2" stroke-dasharray="5 5"'),
        line([place(*one) for one in faster], colours.ours, 'stroke-width="3"'),
    ]
    for workers, times in faster:
        (x, y), (_, low) = place(workers, times), place(workers, 0)
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colours.ours}"/>')
        parts.append(words(x, low + 20, str(workers), "quiet", "middle"))
        if workers == most:
            parts.append(words(x - 10, y + 28, f"{times:.2f}", anchor="end"))
        else:
            parts.append(words(x + 10, y + 18, f"{times:.2f}"))
    parts.append(words(_WIDTH / 2, _HEIGHT - 12, "workers", "quiet", "middle"))
    style = (
        f"text {{ font-family: {_FONT}; fill: {colours.text}; font-size: 15px }}"
        f" .title {{ font-size: 18px; font-weight: 600 }} .quiet {{ fill: {colours.quiet}; font-size: 14px }}"
    )
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}"'
        f' viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="title desc">'
    )
    ground = (
        f'<rect x="0.5" y="0.5" width="{_WIDTH - 1}" height="{_HEIGHT - 1}" rx="8"'
        f' fill="{colours.ground}" stroke="{colours.edge}"/>'
    )
    titles = [
        '<title id="title">Copies with more workers</title>',
        f'<desc id="desc">{escape(summary(found))}</desc>',
    ]
    return "\n".join([head, *titles, f"<style>{style}</style>", ground, *parts, "</svg>\n"])
