"""Lenient JSON of configuration files: trailing commas, byte order marks, keys in any case."""

from __future__ import annotations

import pytest

from imgpkg.auth.authfile import decode, fold, items, text
from imgpkg.errors import CredentialError


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"", None),
        (b" \r\n\t", None),
        (b"null", None),
        (b"\xef\xbb\xbf{}", {}),
        (b"\xef\xbb\xbf", None),
        (b'{"a": 1} and more', {"a": 1}),
        (b'  {"a": "b"}{"c": ', {"a": "b"}),
        (b"[" + b"9" * 5000 + b"]", [float("inf")]),
    ],
)
def test_the_first_value_of_a_file_is_its_content(data, value):
    assert decode(data).value == value
    assert decode(data).comma == ""


@pytest.mark.parametrize(
    ("data", "value", "comma"),
    [
        (b'{"a": [1, 2, ], }', {"a": [1, 2]}, "line 1 column 12"),
        (b'{\n  "a": "x,}",\n}', {"a": "x,}"}, "line 2 column 13"),
        (b'{"a\\",]": ",]"\n,\n}', {'a",]': ",]"}, "line 2 column 1"),
        (b'{"auths": {"h": {"auth": "dTpw"},},}', {"auths": {"h": {"auth": "dTpw"}}}, "line 1 column 33"),
    ],
)
def test_trailing_commas_are_tolerated_outside_of_strings_and_the_first_is_named(data, value, comma):
    document = decode(data)
    assert (document.value, document.comma) == (value, comma)


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"{", "line 1 column 2: "),
        (b'{\n  "a": hunter2\n}', "line 2 column 8: "),
        (b'{"a": 1,,}', "line 1 column "),
        (b"[1\n,\n,]", "line "),
        (b"\xef\xbb\xbf\n{hunter2", "line 2 column 2: "),
        (b'\xef\xbb\xbf{\n"\xff": 1}', "line 2 column 2: this is not UTF-8"),
        (b'{"a": "hunter2', "line 1 column 7: "),
        (b"[" * 200_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_an_error_with_line_and_column_and_without_content(data, place):
    with pytest.raises(CredentialError) as caught:
        decode(data)
    assert str(caught.value).startswith(place)
    assert "hunter2" not in repr(caught.value)
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_keys_count_in_any_case_and_the_last_of_equal_ones():
    assert fold({"AUTHS": 1, "other": 2, "Auths": 3}, "it") == {"auths": 3, "other": 2}
    assert fold(None, "it") == {}
    assert items({"B": 1, "a": 2}, "it") == [("B", 1), ("a", 2)]


@pytest.mark.parametrize("value", [[], "x", 1.0, True])
def test_anything_but_an_object_is_refused_by_name(value):
    with pytest.raises(CredentialError, match=r"^auths must be an object$"):
        fold(value, "auths")


@pytest.mark.parametrize(
    ("value", "result"),
    [(None, ""), ("", ""), ("ü", "ü"), ("\ufeffx", "\ufeffx"), ("a\ud800b", "a\ufffdb"), ("😀", "😀")],
)
def test_a_string_comes_out_as_text_that_can_be_encoded(value, result):
    assert text(value, "auth") == result
    assert result.encode().decode() == result


def test_a_string_is_nothing_else():
    with pytest.raises(CredentialError, match=r"^auth must be a string$"):
        text(1.0, "auth")
