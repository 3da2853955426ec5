"""Treemaps: the areas are right, nothing overlaps, and shapes are near to squares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.drawing.treemap import Rectangle, divided

AREA = Rectangle(10, 20, 1000, 400)
SIZES = st.lists(st.integers(1, 10**12), min_size=1, max_size=40).map(
    lambda sizes: sorted(sizes, reverse=True)
)


def overlap(one, other):
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(across, 0) * max(down, 0)


@given(SIZES)
def test_areas_are_in_proportion_to_sizes(sizes):
    surface = AREA.width * AREA.height
    for size, found in zip(sizes, divided(sizes, AREA), strict=True):
        assert found.width * found.height == pytest.approx(surface * size / sum(sizes), rel=1e-6, abs=1e-3)


@given(SIZES)
def test_rectangles_are_within_the_area_and_apart(sizes):
    found = divided(sizes, AREA)
    for at, one in enumerate(found):
        assert one.x >= AREA.x - 1e-6
        assert one.y >= AREA.y - 1e-6
        assert one.x + one.width <= AREA.x + AREA.width + 1e-3
        assert one.y + one.height <= AREA.y + AREA.height + 1e-3
        assert all(overlap(one, other) < 1 for other in found[at + 1 :])


def test_equal_sizes_become_squares():
    shapes = {(round(one.width), round(one.height)) for one in divided([1] * 10, Rectangle(0, 0, 500, 200))}
    assert shapes == {(100, 100)}


def test_the_example_of_the_paper_has_its_shapes():
    """Bruls, Huizing and van Wijk divide 6 by 4 into 6, 6, 4, 3, 2, 2, 1: two halves on the left first."""
    found = divided([6, 6, 4, 3, 2, 2, 1], Rectangle(0, 0, 6, 4))
    assert found[:2] == [Rectangle(0, 0, 3, 2), Rectangle(0, 2, 3, 2)]
    assert found[2].height == pytest.approx(2.333, abs=0.01)


@pytest.mark.parametrize(("sizes", "area"), [([], AREA), ([5, 0], AREA), ([1, 1], Rectangle(0, 0, 0, 9))])
def test_nothing_has_no_area(sizes, area):
    assert len(divided(sizes, area)) == len(sizes)
