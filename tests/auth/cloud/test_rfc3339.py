"""Times in RFC 3339, with nanoseconds and offsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.auth.cloud import rfc3339


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0.0),
        ("1970-01-01t00:00:00z", 0.0),
        ("1970-01-01 00:00:01.5Z", 1.5),
        ("1970-01-01T01:00:00.123456789+01:00", 0.123456789),
        ("1969-12-31T23:00:00-01:00", 0.0),
    ],
)
def test_a_time_is_read(text, seconds):
    assert rfc3339.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00+0100", "now"],
)
def test_anything_else_is_an_error(text):
    with pytest.raises(ValueError):
        rfc3339.parse(text)


@given(st.integers(0, 4_000_000_000_000_000))
def test_a_time_that_is_written_reads_as_itself(microseconds):
    seconds = microseconds / 1e6
    assert rfc3339.parse(rfc3339.render(seconds)) == pytest.approx(seconds, abs=2e-6)
