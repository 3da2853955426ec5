"""Configuration files: what is JSON means the same as to everybody else, whatever commas trail."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from imgpkg.auth.authfile import decode
from imgpkg.errors import CredentialError

values = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False)
    | st.text(alphabet='ab",:{}[]\\ \n\u00fc\U0001f600'),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=4), children, max_size=4)
    ),
    max_leaves=12,
)


def with_trailing_commas(value):
    """Print JSON as a hurried person would: a comma after each item."""
    if isinstance(value, dict):
        return (
            "{" + "".join(f"{json.dumps(k)}: {with_trailing_commas(v)} ,\n" for k, v in value.items()) + "}"
        )
    if isinstance(value, list):
        return "[" + "".join(f"{with_trailing_commas(v)}," for v in value) + " ]"
    return json.dumps(value)


@given(values, st.sampled_from(["", "\n{", " trailing"]), st.sampled_from([b"", b"\xef\xbb\xbf"]))
def test_json_is_decoded_as_it_is(value, rest, mark):
    """A byte order mark is accepted, text after the first value is ignored."""
    document = decode(mark + (json.dumps(value, ensure_ascii=False) + rest).encode())
    assert (document.value, document.comma) == (value, "")


@given(values)
def test_trailing_commas_change_nothing_but_the_warning(value):
    """The rule: "retry the parse with them removed outside strings and warn"."""
    document = decode(with_trailing_commas(value).encode())
    assert document.value == value
    assert bool(document.comma) is (isinstance(value, (dict, list)) and bool(value))


@given(st.binary(max_size=60) | st.text(alphabet='{}[],:"\\ab1 ', max_size=20).map(str.encode))
def test_any_bytes_are_a_document_or_a_credential_error(data):
    """Malformed JSON is an error at once, with line and column."""
    assert decoded_or_reason(data).startswith(("LenientJson(", "line "))


def decoded_or_reason(data):
    try:
        return repr(decode(data))
    except CredentialError as error:
        return error.message
