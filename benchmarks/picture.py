"""The picture of the results: bars in an SVG for light and dark pages, which can be read on a phone."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from benchmarks.results import FLOOR, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.results import Results, Row


@dataclass(frozen=True)
class Theme:
    """The colours of a page; each is readable on `ground`."""

    ground: str
    edge: str
    text: str
    quiet: str
    ours: str
    theirs: str


THEMES = {
    "light": Theme("#ffffff", "#d1d9e0", "#1f2328", "#59636e", "#0969da", "#818b98"),
    "dark": Theme("#0d1117", "#3d444d", "#f0f6fc", "#9198a1", "#4493f8", "#656c76"),
}
_WIDTH = 480
_MARGIN = 20
_BARS = 300
# Where what stands at the end of a bar is long.
_SHORT = 200
_START_ABOUT = "CPU time, times that of Python with http and TLS"
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
    ' viewBox="0 0 {width} {height}" role="img" aria-labelledby="title desc">'
)
_GROUND = '<rect x="0.5" y="0.5" width="{width}" height="{height}" rx="8" fill="{ground}" stroke="{edge}"/>'
_FONT = (
    "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', Helvetica, Arial, sans-serif"
)


@dataclass(frozen=True)
class Bar:
    """One bar: what stands at its end, and how long it is."""

    who: str
    value: float
    said: str
    is_ours: bool = True


@dataclass(frozen=True)
class Entry:
    """Bars that belong together, ours first, below what was done."""

    name: str
    bars: list[Bar]


@dataclass(frozen=True)
class Chart:
    """Entries that share a scale, the longest bar of which has `room` pixels."""

    title: str
    about: str
    entries: list[Entry]
    room: int


# What is drawn: the name of a row, and the words for it in the picture.
_STARTS = {
    "version": "version",
    "docker-credential-imgpkg get": "credential helper",
    "tag resolve": "tag resolve",
    "push of 3 files": "push of three files",
    "pull -b": "pull of a small bundle",
    "copy -i": "copy of a small image",
}
_MOVES = {
    "copy --to-tar, 3 × 200 MB": "from a registry to a tar file",
    "copy --tar, 3 × 200 MB": "from a tar file to a registry",
    "copy to another registry, 3 × 200 MB": "from registry to registry",
}
_LINKS = {
    "pull of one blob of 300 MB": "pull of one blob of 300 MB",
    "copy of 30 images, one registry": "copy of 30 images within a registry",
    "copy of 30 images, to another": "copy of 30 images to another registry",
}


def charts(results: Results) -> list[Chart]:
    """Return what is drawn of these results; rows that were not measured are left out."""
    starts = [
        Bar(words, ratio.middle, f"{ratio.middle:.1f} ×")
        for row, words in _rows(results, "start-up", _STARTS)
        if (ratio := row.ratio("cpu", FLOOR))
    ]
    floor = Bar("Python with http and TLS", 1, "1.0 ×", is_ours=False)
    moves = [Entry(words, _seconds(row, "cpu")) for row, words in _rows(results, "loopback", _MOVES)]
    links = [Entry(words, _seconds(row, "wall")) for row, words in _rows(results, "80 ms", _LINKS)]
    drawn = [
        Chart("Start-up", _START_ABOUT, [Entry("", [floor, *starts])] if starts else [], _SHORT),
        Chart("An image of 600 MB", "CPU seconds; shorter is better", moves, _BARS),
        Chart("A slow and distant link", "seconds; 80 ms, 10 MB/s for each connection", links, _BARS),
    ]
    return [chart for chart in drawn if chart.entries]


def _rows(results: Results, group: str, words: dict[str, str]) -> Iterator[tuple[Row, str]]:
    found = {row.name: row for row in results.rows if row.group == group}
    return ((found[name], said) for name, said in words.items() if name in found)


def _seconds(row: Row, quantity: str) -> list[Bar]:
    """Return our bar, that of skopeo in the quickest of its ways, and what no client could be below."""
    values = {program.name: row.value(quantity, program.name) for program in row.programs}
    skopeo = [value for name, value in values.items() if name.startswith("skopeo") and value]
    drawn = {OURS: values[OURS], "skopeo": min(skopeo, default=None), "at best": values.get(FLOOR)}
    return [Bar(who, value, f"{value:.1f} s", is_ours=who == OURS) for who, value in drawn.items() if value]


def summary(results: Results) -> str:
    """Return what the picture shows as one line of text, for those who do not see it."""
    return " ".join(
        f"{chart.title} ({chart.about}): {'; '.join(map(_sentence, chart.entries))}."
        for chart in charts(results)
    )


def _sentence(entry: Entry) -> str:
    bars = ", ".join(f"{bar.who} {bar.said}" for bar in entry.bars)
    return f"{entry.name}: {bars}" if entry.name else bars


def element(results: Results, folder: str) -> str:
    """Return the HTML that shows the pictures in `folder`: GitHub chooses by the theme of the reader.

    Where relative paths lead nowhere, as in the description of a package, the text stands in their place.
    """
    return (
        "<picture>\n"
        f'  <source media="(prefers-color-scheme: dark)" srcset="{folder}picture-dark.svg"/>\n'
        f'  <img src="{folder}picture-light.svg" alt="{escape(summary(results))}"/>\n'
        "</picture>\n"
    )


def drawn(results: Results, theme: str) -> str:
    """Return the SVG of these results in the colours of a theme."""
    colours = THEMES[theme]
    parts, y = [], _MARGIN
    for chart in charts(results):
        body, y = _chart(chart, y, colours)
        parts += body
    height = y + 4
    style = (
        f"text {{ font-family: {_FONT}; fill: {colours.text}; font-size: 15px }}"
        f" .title {{ font-size: 18px; font-weight: 600 }} .quiet {{ fill: {colours.quiet}; font-size: 14px }}"
    )
    return "\n".join(
        [
            _HEAD.format(width=_WIDTH, height=height),
            '<title id="title">Measured times of imgpkg</title>',
            f'<desc id="desc">{escape(summary(results))}</desc>',
            f"<style>{style}</style>",
            _GROUND.format(width=_WIDTH - 1, height=height - 1, ground=colours.ground, edge=colours.edge),
            *parts,
            "</svg>\n",
        ]
    )


def _chart(chart: Chart, y: int, colours: Theme) -> tuple[list[str], int]:
    """Return a chart whose top is at `y`, and where the next one begins."""
    parts = [
        _text(_MARGIN, y + 16, chart.title, "title"),
        _text(_MARGIN, y + 37, chart.about, "quiet"),
    ]
    y += 46
    scale = chart.room / max(bar.value for entry in chart.entries for bar in entry.bars)
    for entry in chart.entries:
        if entry.name:
            parts.append(_text(_MARGIN, y + 16, entry.name))
            y += 23
        for bar in entry.bars:
            parts += _bar(bar, y, bar.value * scale, colours)
            y += 20
        y += 5
    return parts, y + 16


def _bar(bar: Bar, y: int, length: float, colours: Theme) -> list[str]:
    colour = colours.ours if bar.is_ours else colours.theirs
    return [
        f'<rect x="{_MARGIN}" y="{y}" width="{length:.1f}" height="15" rx="2" fill="{colour}"/>',
        _text(_MARGIN + length + 8, y + 13, f"{bar.said} {bar.who}"),
    ]


def _text(x: float, y: int, words: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y}"{named}>{escape(words)}</text>'
