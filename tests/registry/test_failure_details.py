"""Details of registry errors print as the original prints them."""

from __future__ import annotations

import json

import pytest

from imgpkg.registry.failure import go_text


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("null", "<nil>"),
        ("true", "true"),
        ("false", "false"),
        ('"a b"', "a b"),
        ('{"b":1,"a":{"x":null}}', "map[a:map[x:<nil>] b:1]"),
        ('{"a":1,"b":[1,"x",null],"c":1.5}', "map[a:1 b:[1 x <nil>] c:1.5]"),
        ("[]", "[]"),
        ("{}", "map[]"),
        ("0", "0"),
        ("-0.0", "-0"),
        ("999999", "999999"),
        ("1000000", "1e+06"),
        ("123456789", "1.23456789e+08"),
        ("-1500000", "-1.5e+06"),
        ("1e21", "1e+21"),
        ("1e100", "1e+100"),
        ("0.0001", "0.0001"),
        ("0.00001", "1e-05"),
        ("0.1", "0.1"),
        ("100000", "100000"),
        ("NaN", "NaN"),
        ("Infinity", "+Inf"),
        ("-Infinity", "-Inf"),
    ],
)
def test_prints_json_as_go_does(document, expected):
    assert go_text(json.loads(document)) == expected


def test_prints_numbers_too_large_for_a_float_as_infinite():
    assert (go_text(10**400), go_text(-(10**400))) == ("+Inf", "-Inf")
