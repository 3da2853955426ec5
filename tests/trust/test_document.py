"""JSON of unknown origin: one meaning, a limited depth, and errors that say what is wrong."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.errors import VerificationError
from imgpkg.trust.document import (
    MAX_DEPTH,
    bytes_of,
    digest_of,
    list_in,
    object_in,
    read_object,
    strings_in,
    text_in,
)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "no valid JSON"),
        (b"[]", "is no JSON object"),
        (b"null", "is no JSON object"),
        (b"{", "no valid JSON"),
        (b'{"a":1,"a":1}', "a key is repeated"),
        (b'{"b":{"a":1,"a":2}}', "a key is repeated"),
        (b'{"a":NaN}', "NaN is no number"),
        (b'{"a":Infinity}', "Infinity is no number"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b"{} {}", "no valid JSON"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "nested more than 64 deep"),
        (b'{"a":' + b"[" * 100_000, "nested too deep|no valid JSON"),
    ],
)
def test_documents_with_no_meaning_or_two_are_refused(raw, why):
    with pytest.raises(VerificationError, match=why):
        read_object(raw, "it")


def test_the_deepest_document_is_read():
    raw = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert read_object(raw, "it") == json.loads(raw)


@given(
    st.dictionaries(st.text(), st.recursive(st.none() | st.booleans() | st.text(), st.lists, max_leaves=9))
)
def test_every_other_document_is_read_as_it_is(document):
    assert read_object(json.dumps(document).encode(), "it") == document


@pytest.mark.parametrize("read", [object_in, text_in, lambda *args: list_in(*args, most=3)])
@pytest.mark.parametrize("document", [{}, {"key": 5}, {"key": None}, {"Key": "x"}, {"key": "x", "KEY": "y"}])
def test_a_field_of_another_kind_or_spelling_is_refused(read, document):
    if document == {"key": "x", "KEY": "y"} or read is not text_in or document.get("key") != "x":
        with pytest.raises(VerificationError, match="it has"):
            read(document, "key", "it")


def test_a_long_list_is_refused():
    assert list_in({"a": [{}] * 3}, "a", "it", most=3) == [{}] * 3
    for value in ([{}] * 4, [5], {}):
        with pytest.raises(VerificationError):
            list_in({"a": value}, "a", "it", most=3)


def test_texts_are_picked_from_an_object():
    assert strings_in({"a": {"b": "c", "d": 5}}, "a") == {"b": "c"}
    assert strings_in({"a": None}, "a") == strings_in({}, "a") == {}


@given(st.binary())
def test_both_alphabets_of_base64_are_read(data):
    import base64

    for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
        assert bytes_of(encode(data).decode(), "it") == data


@pytest.mark.parametrize("text", ["A", "AAA", "AA==A", "A A=", "é", "AAAA\n", "=", "==", "AA=", "AAAA="])
def test_other_texts_are_no_base64(text):
    with pytest.raises(VerificationError, match="it is no base64"):
        bytes_of(text, "it")


@pytest.mark.parametrize("text", ["", "sha256:", "md5:" + "0" * 32, "sha256:" + "A" * 64, "0" * 64])
def test_other_texts_are_no_digests(text):
    with pytest.raises(VerificationError, match="it names no digest"):
        digest_of(text, "it")
