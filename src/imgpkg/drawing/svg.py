"""The tree of a bundle as SVG: a row for each part with a bar of its layers, and a list of shared layers.

It has no script and loads nothing, and is light or dark as the reader's theme is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.drawing.labels import (
    BOLD,
    counted,
    fitted,
    heading_of,
    human_size,
    layers_counted,
    listed,
    markup,
    name_of,
    names_of,
    place_of,
    short,
    summary_of,
    width_of,
)
from imgpkg.drawing.sharing import SharedBlob, Sharing
from imgpkg.drawing.theme import FILLS, FONT, HUES, ICONS, Colours, themed
from imgpkg.operations.breakdown import BundlePart, PartKind

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.oci.descriptor import Descriptor

_WIDTH = 960
_MARGIN = 28
_TOP = 112
# Below this depth everything is indented alike, so that there is room for names.
_INDENT, _DEEPEST = 24, 9
_ICON = 16
_TALL, _LOW = 46, 28
_BARS_AT, _BARS = 592, 248
_BAR_HEIGHT = 14
_RIGHT = _WIDTH - _MARGIN
# What a letter needs in a bar.
_LETTER = 15
_THINNEST = 1.5
_LEGEND_ROW = 26
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    ' role="img" aria-labelledby="title desc">'
)
_STYLE = (
    ".ground{fill:$ground;stroke:$edge}text{fill:$text}.quiet{fill:$quiet}.problem{fill:$problem}"
    ".line{stroke:$edge}.icon{stroke:$quiet}.bundle{stroke:$accent}.letter{fill:$letter}"
)
_FILLED = "".join(f".{name}{{fill:${name}}}" for name in FILLS)
_SHAPES = (
    f"text{{font-family:{FONT};font-size:14px}}.title{{font-size:20px;font-weight:600}}"
    ".strong{font-weight:600}.small{font-size:12px}.end{text-anchor:end}"
    ".letter{font-size:10px;font-weight:700;text-anchor:middle}"
    ".line,.icon,.bundle{fill:none;stroke-width:1.25;stroke-linejoin:round;stroke-linecap:round}"
)


@dataclass(frozen=True, slots=True)
class Row:
    """A part with its place in the picture; `parent` is the position of the row above it in the tree."""

    part: BundlePart
    depth: int
    y: int
    parent: int

    @property
    def is_low(self) -> bool:
        """True for what belongs to an image: it has one line."""
        return self.part.kind not in (PartKind.BUNDLE, PartKind.IMAGE)

    @property
    def height(self) -> int:
        """In pixels."""
        return _LOW if self.is_low else _TALL

    @property
    def x(self) -> int:
        """Where the icon begins."""
        return _MARGIN + _INDENT * min(self.depth, _DEEPEST)

    @property
    def middle(self) -> int:
        """The height of the icon."""
        return self.y + _LOW // 2


def draw_svg(root: BundlePart) -> str:
    """Return the picture of a bundle: a whole SVG document."""
    sharing = Sharing(root)
    colours = Colours(sharing)
    rows = _rows(root)
    legend_at = rows[-1].y + rows[-1].height + 20
    legend, height = _legend(sharing, colours, legend_at)
    drawn = _Drawing(sharing, colours, _scale(rows))
    lines = [
        _SVG.format(width=_WIDTH, height=height),
        f'<title id="title">{markup(heading_of(root))}</title>',
        f'<desc id="desc">{markup(". ".join(summary_of(sharing)))}</desc>',
        f"<style>{_SHAPES}{themed(_STYLE + _FILLED)}</style>",
        f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="10"/>',
        *_head(sharing),
        *(_connector(row, rows[row.parent]) for row in rows[1:]),
        *(line for row in rows for line in drawn.row(row)),
        *legend,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _rows(root: BundlePart) -> list[Row]:
    rows: list[Row] = []
    # The positions of the rows that lead to the next one.
    trail: list[int] = []
    y = _TOP
    for part, depth in root.walk():
        del trail[depth:]
        row = Row(part, depth, y, trail[-1] if trail else 0)
        trail.append(len(rows))
        rows.append(row)
        y += row.height
    return rows


def _scale(rows: list[Row]) -> float:
    """Return the pixels of a byte."""
    longest = max(sum(layer.size for layer in row.part.layers) for row in rows)
    return _BARS / longest if longest else 0.0


def _head(sharing: Sharing) -> Iterator[str]:
    heading, place = heading_of(sharing.root), sharing.root.reference
    room = _WIDTH - 2 * _MARGIN
    yield _text(_MARGIN, 42, fitted(heading, room, 20 * BOLD), "title")
    yield _text(_MARGIN, 64, fitted(place, room, 12), "quiet small")
    yield _text(_MARGIN, 89, " · ".join(summary_of(sharing)))


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{named}>{markup(text)}</text>'


def _connector(row: Row, parent: Row) -> str:
    # Where rows are not indented any more, they follow one another.
    if row.x <= parent.x:
        return ""
    x = parent.x + _ICON // 2
    return f'<path class="line" d="M{x} {parent.middle + 11}V{row.middle}H{row.x - 4}"/>'


@dataclass(frozen=True, slots=True)
class _Drawing:
    """Draws rows; `scale` is the pixels of a byte."""

    sharing: Sharing
    colours: Colours
    scale: float

    def row(self, row: Row) -> Iterator[str]:
        part = row.part
        kind = "bundle" if part.kind is PartKind.BUNDLE else "icon"
        at = f"translate({row.x} {row.middle - _ICON // 2})"
        yield f'<g class="{kind}" transform="{at}">{ICONS[part.kind]}</g>'
        yield from self._words(row)
        if part.problem:
            return
        yield from self._bar(row)
        weight = " strong" if part.kind is PartKind.BUNDLE else ""
        # A repeated bundle adds nothing to what is above.
        if not part.is_repeated:
            size = human_size(self.sharing.size_below(part))
            yield _text(_RIGHT, row.middle + 5, size, f"end{weight}")

    def _words(self, row: Row) -> Iterator[str]:
        part, x = row.part, row.x + _ICON + 10
        room = _BARS_AT - 16 - x
        if row.is_low:
            yield from _one_line(row, x, room)
            return
        name, note = name_of(part), fitted(_note(part), room * 0.4, 12)
        is_bundle = part.kind is PartKind.BUNDLE
        shown = fitted(name, room, 14 * BOLD if is_bundle else 14)
        yield f"<g><title>{markup(part.origin or part.reference)}</title>"
        yield _text(x, row.middle + 5, shown, "strong" if is_bundle else "")
        yield "</g>"
        beside = f" · {note}" if note else ""
        place = fitted(f"{place_of(part)}@{short(part.digest)}", room - width_of(beside, 12), 12)
        yield _text(
            x, row.middle + 22, f"{place}{beside}", "problem small" if part.problem else "quiet small"
        )

    def _bar(self, row: Row) -> Iterator[str]:
        x, top = float(_BARS_AT), row.middle - _BAR_HEIGHT // 2
        for layer in row.part.layers:
            width = max(layer.size * self.scale, _THINNEST)
            yield from self._segment(layer, x, top, width)
            x += width + 1

    def _segment(self, layer: Descriptor, x: float, top: int, width: float) -> Iterator[str]:
        kind, letter = self.colours.of(layer), self.colours.letter(layer)
        told = f"{layer.digest}, {human_size(layer.size)}{_used(self.sharing.blobs[layer.digest])}"
        yield (
            f'<rect class="{kind}" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{_BAR_HEIGHT}" rx="2">'
            f"<title>{markup(told)}</title></rect>"
        )
        if letter and width >= _LETTER:
            yield _text(round(x + width / 2, 1), top + 10.5, letter, "letter")


def _one_line(row: Row, x: int, room: float) -> Iterator[str]:
    part = row.part
    note = fitted(part.problem or short(part.digest), room * 0.5, 12)
    name = fitted(name_of(part), room - width_of(note, 12) - 10, 14)
    yield f"<g><title>{markup(part.reference)}</title>{_text(x, row.middle + 5, name)}</g>"
    after = round(x + width_of(name, 14) + 10, 1)
    yield _text(after, row.middle + 5, note, "problem small" if part.problem else "quiet small")


def _note(part: BundlePart) -> str:
    if part.problem:
        return part.problem
    if part.is_repeated:
        return "shown above"
    platforms = sum(1 for below in part.parts if below.kind is PartKind.PLATFORM)
    if platforms:
        return f"{platforms} platforms" if platforms > 1 else "1 platform"
    if part.kind is PartKind.BUNDLE:
        images = sum(1 for below in part.parts if below.kind in (PartKind.IMAGE, PartKind.BUNDLE))
        return f"names {counted(images, PartKind.IMAGE)}"
    return layers_counted(len(part.layers))


def _used(blob: SharedBlob) -> str:
    return f", in {len(blob.parts)} images" if blob.is_shared else ""


def _legend(sharing: Sharing, colours: Colours, y: int) -> tuple[list[str], int]:
    """Return the list of shared layers, and the height of the picture."""
    shared = sharing.largest_shared
    if not shared:
        return [], y
    lines = [
        f'<path class="line" d="M{_MARGIN} {y}H{_RIGHT}"/>',
        _text(_MARGIN, y + 30, "Shared layers", "strong"),
        _text(_RIGHT, y + 30, "saved", "quiet small end"),
    ]
    y += 46
    for blob in shared[:HUES]:
        lines += _legend_row(blob, colours, y)
        y += _LEGEND_ROW
    rest = shared[HUES:]
    if rest:
        lines += [
            f'<rect class="shared" x="{_MARGIN}" y="{y}" width="16" height="{_BAR_HEIGHT}" rx="2"/>',
            _text(_MARGIN + 26, y + 12, f"{len(rest):,} more that several images have"),
            _text(_RIGHT, y + 12, human_size(sum(blob.saved for blob in rest)), "end"),
        ]
        y += _LEGEND_ROW
    lines += [
        f'<rect class="own" x="{_MARGIN}" y="{y}" width="16" height="{_BAR_HEIGHT}" rx="2"/>',
        _text(_MARGIN + 26, y + 12, "layers that one image has"),
    ]
    return lines, y + _LEGEND_ROW + 10


def _legend_row(blob: SharedBlob, colours: Colours, y: int) -> Iterator[str]:
    size = human_size(blob.descriptor.size)
    said = f"in {len(blob.parts)} images: "
    said += listed(names_of(blob.parts), _RIGHT - 90 - (_MARGIN + 216) - width_of(said, 14), 14)
    kind, letter = colours.of(blob.descriptor), colours.letter(blob.descriptor)
    yield f'<rect class="{kind}" x="{_MARGIN}" y="{y}" width="16" height="{_BAR_HEIGHT}" rx="2"/>'
    yield _text(_MARGIN + 8, y + 10.5, letter, "letter")
    yield f"<g><title>{markup(str(blob.descriptor.digest))}</title>"
    yield _text(_MARGIN + 26, y + 12, short(blob.descriptor.digest), "quiet small")
    yield "</g>"
    yield _text(_MARGIN + 200, y + 12, size, "end")
    yield _text(_MARGIN + 216, y + 12, said)
    yield _text(_RIGHT, y + 12, human_size(blob.saved), "end")
