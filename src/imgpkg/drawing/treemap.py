"""A treemap: rectangles whose areas are in proportion to sizes, as near to squares as they get.

The method is that of Bruls, Huizing and van Wijk, "Squarified Treemaps" (2000).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle; lengths are in the unit of the area that was divided."""

    x: float
    y: float
    width: float
    height: float

    @property
    def shorter_side(self) -> float:
        """The length of its shorter sides."""
        return min(self.width, self.height)


def divided(sizes: Sequence[int], area: Rectangle) -> list[Rectangle]:
    """Divide `area` into a rectangle for each of `sizes`, which are positive, in their order.

    The shapes are best where sizes descend.
    """
    total = sum(sizes)
    scale = area.width * area.height / total if total else 0.0
    surfaces = [size * scale for size in sizes]
    found: list[Rectangle] = []
    while len(found) < len(surfaces):
        row = _row(surfaces, len(found), area.shorter_side)
        rectangles, area = _cut(row, area)
        found += rectangles
    return found


def _row(surfaces: Sequence[float], start: int, side: float) -> Sequence[float]:
    """Return as many surfaces as have the best shapes when they lie along `side`."""
    total, worst = 0.0, float("inf")
    for end in range(start, len(surfaces)):
        total += surfaces[end]
        # Of a descending row, the first one or the last one has the worst shape.
        depth = total / side if side else 0.0
        shapes = [_shape(surface, depth) for surface in (surfaces[start], surfaces[end])]
        if max(shapes) > worst:
            return surfaces[start:end]
        worst = max(shapes)
    return surfaces[start:]


def _shape(surface: float, depth: float) -> float:
    """Return how much longer than wide a rectangle is."""
    if not surface or not depth:
        return float("inf")
    length = surface / depth
    return max(length / depth, depth / length)


def _cut(row: Sequence[float], area: Rectangle) -> tuple[list[Rectangle], Rectangle]:
    """Lay a row along the shorter side of `area`; return it, and what is left."""
    side = area.shorter_side
    depth = sum(row) / side if side else 0.0
    if area.width >= area.height:
        left = Rectangle(area.x + depth, area.y, max(area.width - depth, 0.0), area.height)
        return list(_column(row, Rectangle(area.x, area.y, depth, area.height))), left
    left = Rectangle(area.x, area.y + depth, area.width, max(area.height - depth, 0.0))
    turned = _column(row, Rectangle(area.y, area.x, depth, area.width))
    return [Rectangle(one.y, one.x, one.height, one.width) for one in turned], left


def _column(row: Sequence[float], area: Rectangle) -> Iterator[Rectangle]:
    y, total = area.y, sum(row)
    for surface in row:
        height = area.height * surface / total if total else 0.0
        yield Rectangle(area.x, y, area.width, height)
        y += height
