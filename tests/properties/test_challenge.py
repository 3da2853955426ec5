"""RFC 9110 section 11.6.1: challenges that are written by its grammar are read as they were meant."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from imgpkg.registry.auth.challenge import parse_challenges

TOKEN = st.text("!#$%&'*+.^_`|~0123456789abcXYZ-", min_size=1, max_size=8)
BLANKS = st.sampled_from(["", " ", "\t", "  "])
SCHEME = st.sampled_from(["Basic", "BEARER", "Digest", "negotiate"])
VALUE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12)


@st.composite
def written(draw):
    """Draw (text of a challenge, what it means)."""
    scheme = draw(SCHEME)
    names = draw(st.lists(TOKEN, min_size=1, max_size=4, unique_by=str.lower))
    values = [draw(VALUE) for _ in names]
    parts = []
    for name, value in zip(names, values, strict=True):
        escaped = re.sub(r'(["\\])', r"\\\1", value)
        is_token = re.fullmatch(r"[A-Za-z0-9:/.-]+", value) and draw(st.booleans())
        shown = value if is_token else f'"{escaped}"'
        parts.append(f"{name}{draw(BLANKS)}={draw(BLANKS)}{shown}")
    text = f"{scheme} " + f"{draw(BLANKS)},{draw(BLANKS)}".join(parts)
    meaning = (scheme.lower(), {n.lower(): v for n, v in zip(names, values, strict=True)})
    return text, meaning


@given(st.lists(written(), max_size=4), st.data())
def test_challenges_survive_being_written_on_any_number_of_lines(challenges, data):
    """'WWW-Authenticate = #challenge': a list over one line or several means the same."""
    lines = [""]
    for text, _ in challenges:
        if data.draw(st.booleans()):
            lines.append(text)
        else:
            lines[-1] = f"{lines[-1]}, {text}" if lines[-1] else text
    read = [(challenge.scheme, dict(challenge.parameters)) for challenge in parse_challenges(lines)]
    assert read == [meaning for _, meaning in challenges]


@given(st.lists(st.text(max_size=60), max_size=4))
def test_any_text_is_read_without_an_error(lines):
    """Whatever a server sends, there is an answer, and schemes are tokens in lower case."""
    for challenge in parse_challenges(lines):
        assert re.fullmatch(r"[!#$%&'*+.^_`|~0-9a-z-]+", challenge.scheme)


@given(st.text('Basic realm="x, =\\', max_size=200))
def test_text_made_of_the_grammar_s_own_characters_ends(line):
    """Nested and unfinished quotes cost linear time and no error."""
    parse_challenges([line])
