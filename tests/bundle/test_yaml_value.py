"""Plain scalars as the original reads them, and those that the writer must quote."""

from __future__ import annotations

import pytest

from imgpkg.bundle.yaml_value import ValueKind, format_float32, reads_as_itself, resolve

TRUE = ["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"]
FALSE = ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"]


class TestAPlainScalar:
    @pytest.mark.parametrize("text", TRUE)
    def test_is_true(self, text):
        assert resolve(text) == (ValueKind.BOOL, "true")

    @pytest.mark.parametrize("text", FALSE)
    def test_is_false(self, text):
        assert resolve(text) == (ValueKind.BOOL, "false")

    @pytest.mark.parametrize("text", ["", "~", "null", "Null", "NULL"])
    def test_is_nothing(self, text):
        assert resolve(text) == (ValueKind.NULL, "")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("0", "0"),
            ("-0", "0"),
            ("00", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("-17", "-17"),
            ("1_000", "1000"),
            ("1_", "1"),
            ("017", "15"),
            ("0o17", "15"),
            ("0O17", "15"),
            ("-0o17", "-15"),
            ("0x1F", "31"),
            ("0X_1f", "31"),
            ("0b101", "5"),
            ("-0b101", "-5"),
            ("9223372036854775807", "9223372036854775807"),
            ("18446744073709551615", "18446744073709551615"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("18446744073709551616", "1.8446744e+19"),
            ("+18446744073709551615", "1.8446744e+19"),
            ("08", "8"),
            ("1.10", "1.1"),
            ("1.0", "1"),
            ("1.", "1"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("1_0.5", "10.5"),
            ("1e3", "1000"),
            ("1E3", "1000"),
            ("1e20", "1e+20"),
            ("1.5e-7", "1.5e-07"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("123456.5", "123456.5"),
            ("1234567.5", "1.2345675e+06"),
            ("3.141592653589793", "3.1415927"),
            ("1e39", "+Inf"),
            ("-1e39", "-Inf"),
            ("-0.0", "-0"),
            (".inf", "+Inf"),
            ("+.INF", "+Inf"),
            ("-.Inf", "-Inf"),
            (".NaN", "NaN"),
        ],
    )
    def test_is_a_number(self, text, value):
        assert resolve(text) == (ValueKind.NUMBER, value)

    @pytest.mark.parametrize(
        "text",
        [
            "a",
            "yEs",
            "oN",
            "nUll",
            "NaN",
            "inf",
            ".iNf",
            "=",
            "1e",
            "0.1.2",
            "0x",
            "0xg",
            "0b2",
            "0o8",
            "_1",
            "._5",
            ".5_0",
            ".e3",
            "+",
            "-",
            ".",
            "--",
            "1e400",
            "-1e400",
            "2001-01-01",
            "2001-1-1",
            "2001-12-14t21:59:43.10-05:00",
            "12:30:45",
            "12:30",
            "v1.10",
            "1,5",
            "٣",
        ],
    )
    def test_is_text(self, text):
        assert resolve(text) == (ValueKind.STRING, text)

    def test_of_monstrous_length_is_text(self):
        assert resolve("9" * 5000)[0] is ValueKind.STRING
        assert resolve("0x" + "f" * 5000)[0] is ValueKind.STRING

    def test_brings_other_mappings_when_it_is_two_angles(self):
        assert resolve("<<") == (ValueKind.MERGE, "<<")


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            *TRUE,
            *FALSE,
            *["", "~", "null", "Null", "NULL", "<<", ".inf", "-.INF", ".nan", ".NAN"],
            *["0", "0o7", "1_000", "08", "1e3", ".5", "1.", "+1", "0x1f", "0b1", "1.5e-3"],
            *["2001-1-1", "2001-01-31", "2024-02-29", "2000-02-29", "0000-02-29"],
            *["2001-12-14t21:59:43.10-05:00", "2001-12-14T21:59:43Z", "2001-12-14T1:2:3+24:60"],
            *["2001-12-14 21:59:43.10", "2001-12-14 1:2:3", "2001-12-14 21:59:43,5"],
            *["12:30", "190:20:30", "+1:00", "1_2:3", "190:20:30.15", "-5:5."],
        ],
    )
    def test_that_others_may_take_for_something_else(self, text):
        assert not reads_as_itself(text)

    @pytest.mark.parametrize(
        "text",
        [
            *["a", "yEs", "1e", "=", "0.1.2", "NaN", "v1", "-", "...", "a: b"],
            *["2001-13-1", "2001-00-1", "2001-1-0", "2001-1-32", "2001-02-29", "1900-02-29", "201-1-1"],
            *["2001-1-1T1:2:3", "2001-1-1 24:0:0", "2001-1-1 0:60:0", "2001-1-1 0:0:60", "2001-1-1 1:2"],
            *["2001-1-1T1:2:3+25:00", "2001-1-1T1:2:3+00:61", "2001-1-1 1:2:3Z", "2001-1-1  1:2:3"],
            *["12:60", "1:", "a:30", ":30", "12:30x"],
        ],
    )
    def test_that_reads_as_itself(self, text):
        assert reads_as_itself(text)


class TestAFloatOf32Bits:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (0.1, "0.1"),
            (16777216.0, "1.6777216e+07"),
            (100000.0, "100000"),
            (1000000.0, "1e+06"),
            (1e-45, "1e-45"),
            (1e-50, "0"),
            (3.4028234663852886e38, "3.4028235e+38"),
        ],
    )
    def test_prints_in_the_fewest_digits(self, value, text):
        assert format_float32(value) == text
