"""Numbers as people read them: one decimal, one unit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.cli.quantities import Unit, part_of, rate, readable, seconds, time_left


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (1_234_567, "1.2 MB"),
        (999_999_999, "1,000.0 MB"),
        (12_345_678_901, "12.3 GB"),
        (10**18, "1.0 EB"),
        (10**22, "10,000.0 EB"),
    ],
)
def test_sizes_are_in_powers_of_1000(size, text):
    assert readable(size) == text


@given(st.integers(0, 10**20), st.integers(0, 10**20))
def test_a_part_has_the_unit_and_the_width_of_the_whole(one, other):
    done, total = sorted((one, other))
    text = part_of(done, total)
    assert len(text) == len(part_of(total, total))
    assert text.endswith(f" of {Unit.of(total).number(total)} {Unit.of(total).name}")


def test_a_rate_has_a_unit_of_its_own():
    assert [rate(500), rate(48_234_567.8)] == ["0.5 kB/s", "48.2 MB/s"]


@pytest.mark.parametrize(
    ("spent", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7629, "2 h 7 min")],
)
def test_a_time_has_the_precision_that_matters(spent, text):
    assert seconds(spent) == text


@pytest.mark.parametrize(
    ("left", "text"),
    [
        (0.2, "1 s left"),
        (8.4, "8 s left"),
        (59.8, "60 s left"),
        (290, "5 min left"),
        (10_000, "3 h left"),
        (10**9, "over a day left"),
    ],
)
def test_an_estimate_is_rounded(left, text):
    assert time_left(left) == text
