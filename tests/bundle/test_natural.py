"""The order of keys: the example and the rules of imgpkg-spec 7.2."""

from __future__ import annotations

import pytest

from imgpkg.bundle.natural import natural_order

EXAMPLE = ["", "_", "1", "9", "10", "A", "a", "a b", "a-b", "a.b", "a/b", "a1", "a01", "a9", "a10", "b"]


class TestNaturalOrder:
    def test_numbers_have_64_bits_and_overflow_as_in_the_original(self):
        assert natural_order(["a1", "a9223372036854775808"]) == ["a9223372036854775808", "a1"]
        assert natural_order(["a2", "a18446744073709551617"]) == ["a18446744073709551617", "a2"]

    def test_is_that_of_the_example(self):
        assert natural_order(reversed(EXAMPLE)) == EXAMPLE

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("a", "b"),
            ("B", "a"),
            ("a", "é"),
            ("a9z", "a10b"),
            ("a1", "aa"),
            ("a-", "aa"),
            ("-", "1"),
            ("a", "a0"),
            ("a100", "a110"),
            ("a105", "a150"),
            ("a1", "a001"),
            ("a000", "a001"),
            ("10", "100"),
            ("10", "1x"),
            ("x0", "x00"),
            ("sha256:9e", "sha256:36"),
            ("apiVersion", "images"),
            ("images", "kind"),
        ],
    )
    def test_puts_one_before_the_other(self, first, second):
        assert natural_order([second, first]) == [first, second]
