"""Names of the embedded registry never lead out of its folder, whatever is sent."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from imgpkg.embedded.storage import RepositoryName, TagName
from imgpkg.errors import InvalidReference

SEPARATORS = st.sampled_from(["/", ".", "_", "__", "-", "---"])
WORDS = st.lists(st.text("abc019", min_size=1, max_size=5), min_size=1, max_size=5)
TEXTS = st.one_of(st.text(max_size=20), st.text("ab0._-/\\%\n\0", max_size=20))


def parsed(kind, text):
    try:
        return kind.parse(text)
    except InvalidReference:
        return None


@given(TEXTS)
def test_a_repository_name_stays_below_its_root(text):
    """Distribution spec: `[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*(\\/[a-z0-9]+((\\.|_|__|-+)[a-z0-9]+)*)*`."""
    name = parsed(RepositoryName, text)
    if name is None:
        return
    assert str(name) == text
    path = os.path.normpath(os.path.join("/root", text))
    assert path == f"/root/{text}"
    assert not [part for part in text.split("/") if part.startswith(("_", ".", "-"))]


@given(TEXTS)
def test_a_tag_is_one_file_name(text):
    """Distribution spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`."""
    tag = parsed(TagName, text)
    if tag is not None:
        assert os.path.basename(os.path.normpath(os.path.join("/root", text))) == text


@given(WORDS, SEPARATORS)
def test_words_with_one_separator_are_a_repository_name(words, separator):
    """The same grammar, from the other side."""
    assert str(RepositoryName.parse(separator.join(words))) == separator.join(words)
