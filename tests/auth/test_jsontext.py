"""JSON text that is changed in one place keeps every other byte."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.auth.jsontext import drop, put
from imgpkg.errors import CredentialError

NEW = {"auth": "bmV3"}
# As docker writes it, with what docker does not know, and in a form that no encoder of JSON makes.
FILE = b"""{
\t"auths": {
\t\t"a.example": {
\t\t\t"auth": "YQ=="
\t\t},
\t\t"b.example":   { "auth" : "Yg==" }
\t},
\t"HttpHeaders": {"User-Agent": "\\u0041"},
\t"currentContext": "x",
\t"number": 1.50e+3
}
trailing"""


def test_a_new_file_is_what_docker_writes():
    assert put(b"", "auths", "a.example", NEW) == (
        b'{\n\t"auths": {\n\t\t"a.example": {\n\t\t\t"auth": "bmV3"\n\t\t}\n\t}\n}'
    )


@pytest.mark.parametrize("data", [b"{}", b" \n", b"null", b'{"auths": null}', b'{"auths":{}}'])
def test_an_empty_file_is_filled(data):
    assert json.loads(put(data, "auths", "a", NEW)) == {"auths": {"a": NEW}}


def test_another_value_takes_the_place_of_the_old_one():
    assert put(FILE, "auths", "b.example", {}) == FILE.replace(b'{ "auth" : "Yg==" }', b"{}")


def test_a_new_member_comes_last_in_the_style_of_the_file():
    added = b'{ "auth" : "Yg==" },\n\t\t"c.example": {\n\t\t\t"auth": "bmV3"\n\t\t}\n\t},'
    assert put(FILE, "auths", "c.example", NEW) == FILE.replace(b'{ "auth" : "Yg==" }\n\t},', added)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"x": 1}', b'{"x": 1, "auths": {"a": {"auth": "bmV3"}}}'),
        (b'{"auths": {"b": {}}}', b'{"auths": {"b": {}, "a": {"auth": "bmV3"}}}'),
        (
            b'{\n  "x": 1\n}\n',
            b'{\n  "x": 1,\n  "auths": {\n    "a": {\n      "auth": "bmV3"\n    }\n  }\n}\n',
        ),
        (
            b'{\r\n "x": 1\r\n}',
            b'{\r\n "x": 1,\r\n "auths": {\r\n  "a": {\r\n   "auth": "bmV3"\r\n  }\r\n }\r\n}',
        ),
        (b'\xef\xbb\xbf{"x": 1}', b'\xef\xbb\xbf{"x": 1, "auths": {"a": {"auth": "bmV3"}}}'),
    ],
    ids=["one line", "one line with a section", "two blanks", "line ends of Windows", "byte order mark"],
)
def test_the_style_of_the_file_is_kept(before, after):
    assert put(before, "auths", "a", NEW) == after


def test_the_section_is_found_in_any_case_and_of_equal_names_the_last_counts():
    before = b'{"auths": {"a": 1}, "Auths": {"a": 2, "a": 3}}'
    assert put(before, "auths", "a", {}) == b'{"auths": {"a": 1}, "Auths": {"a": 2, "a": {}}}'


def test_names_are_compared_as_what_they_mean():
    assert put(b'{"auths": {"\\u0061": 1}}', "auths", "a", {}) == b'{"auths": {"\\u0061": {}}}'


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ("a", b'{"auths": {"b": 2, "c": 3}}'),
        ("b", b'{"auths": {"a": 1, "c": 3}}'),
        ("c", b'{"auths": {"a": 1, "b": 2}}'),
        ("ac", b'{"auths": {"b": 2}}'),
        ("abc", b'{"auths": {}}'),
        ("", b'{"auths": {"a": 1, "b": 2, "c": 3}}'),
    ],
)
def test_members_are_removed_with_their_commas(names, left):
    assert drop(b'{"auths": {"a": 1, "b": 2, "c": 3}}', "auths", lambda name: name in names) == left


@pytest.mark.parametrize("data", [b'{"x": 1}', b'{"auths": null}', b"{}"])
def test_without_the_section_nothing_is_removed(data):
    assert drop(data, "auths", lambda _: True) == data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"auths": {', "line 1 column 12: Expecting property name enclosed in double quotes"),
        (b'{\n"auths": {},\n}', "line 2 column 12: a comma before a closing bracket is not JSON"),
        (b"[]", "the top level must be an object"),
        (b'{"auths": []}', "auths must be an object"),
        (b'{"a": "\xff"}', "line 1 column 8: this is not UTF-8"),
    ],
)
@pytest.mark.parametrize(
    "change", [lambda data: put(data, "auths", "a", NEW), lambda data: drop(data, "auths", bool)]
)
def test_what_is_no_strict_json_is_refused_with_its_place(data, why, change):
    with pytest.raises(CredentialError) as caught:
        change(data)
    assert str(caught.value) == why


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
SECTIONS = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)


@given(others=SECTIONS, entries=SECTIONS, name=st.text(max_size=3), indent=st.sampled_from([None, 1, "\t"]))
def test_the_text_means_what_the_change_of_the_document_means(others, entries, name, indent):
    document = {**{key: value for key, value in others.items() if key.lower() != "auths"}, "auths": entries}
    data = json.dumps(document, indent=indent, ensure_ascii=False).encode("utf-8", "surrogatepass")
    changed = {**document, "auths": {**entries, name: NEW}}
    placed = put(data, "auths", name, NEW)
    assert json.loads(placed) == changed
    assert list(json.loads(placed)) == list(changed)
    without = {key: value for key, value in entries.items() if key != name}
    assert json.loads(drop(placed, "auths", name.__eq__)) == {**document, "auths": without}
