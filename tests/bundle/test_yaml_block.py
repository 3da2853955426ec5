"""The plain form of YAML: what tools write is read without a parser, and anything else is left to it."""

from __future__ import annotations

import pytest

from imgpkg.bundle.yaml_block import read_block
from imgpkg.bundle.yaml_reader import read_document
from imgpkg.bundle.yaml_value import ValueKind


def plain(value):
    """Return nested dicts, lists and texts."""
    if isinstance(value.content, dict):
        return {key: plain(item) for key, item in value.content.items()}
    if isinstance(value.content, tuple):
        return [plain(item) for item in value.content]
    return value.content


PLAIN = {
    "a: b\n": {"a": "b"},
    "---\na: b\n": {"a": "b"},
    "a:\n- b\n- c: d\n  e: 'f: #'\ng: \"\"\n": {"a": ["b", {"c": "d", "e": "f: #"}], "g": ""},
    "a:\n    - b:\n        c: x:1@y\n    - d\n": {"a": [{"b": {"c": "x:1@y"}}, "d"]},
    "a:\n-   b: 1\n    c: 0x10\n": {"a": [{"b": "1", "c": "16"}]},
    "- - a\n  - b\n- c\n": [["a", "b"], "c"],
    "a: |\n  - x: 1 # y\n     z\nb: |-\n  \\\n": {"a": "- x: 1 # y\n   z\n", "b": "\\"},
    "a:\n  true\nb: true\nc: 'true'\n": {"a": "true", "b": "true", "c": "true"},
}
NOT_PLAIN = [
    *(
        "",
        "\n",
        "---\n",
        "a",
        "a: b",
        "a: b\n\n",
        "# c\na: b\n",
        "a: b # c\n",
        "a:\n",
        "a: \n",
        "- \n",
        "-\n",
    ),
    *("a: b\na: c\n", "on: a\n", "null: a\n", "<<: a\n", "'a': b\n", "1: a\n", "? a\n", "a : b\n"),
    *(
        "a: b\n  c\n",
        "a: b\n  c: d\n",
        "a:\n- b\n  c\n",
        "a:\n- b\n c\n",
        "a:\n    b: c\n  d: e\n",
        "a: b\n- c\n",
    ),
    *(
        "a: b: c\n",
        "a: b:\n",
        "a: - b\n",
        "a: &x b\n",
        "a: *x\n",
        "a: !!str b\n",
        "a: [b]\n",
        "a: {}\n",
        "{}\n",
    ),
    *(
        "a: >\n  b\n",
        "a: |+\n  b\n",
        "a: |2\n   b\n",
        "a: |\nb: c\n",
        "a: |\n  b\n\n  c\n",
        "a: |\n  b\n c\n",
    ),
    *(
        "a: 'b''c'\n",
        'a: "\\n"\n',
        "a: 'b\n",
        "a: 'b' c\n",
        "a: b c\n",
        "a: é\n",
        "a:\tb\n",
        "a: b\r\n",
        "\ufeffa: b\n",
    ),
    *("a: b\n---\na: c\n", "a: b\n...\n", "...\n", "%YAML 1.1\n---\na: b\n", "a: ?b\n", "a: ~\n", "a: .b\n"),
]


@pytest.mark.parametrize(("text", "expected"), PLAIN.items())
def test_what_is_plain_is_what_the_parser_reads(text, expected):
    value = read_block(text.encode())
    assert plain(value) == expected
    # The comment needs the parser.
    for strict in (True, False):
        assert read_document(f"{text}# c\n".encode(), "some.yml", strict=strict) == value


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_everything_else_is_left_to_the_parser(text):
    assert read_block(text.encode()) is None


def test_values_have_their_kinds_lines_and_sizes():
    value = read_block(b"---\na: 1\nb:\n- no\n- c: |\n    d\n")
    (no, literal), one = value.content["b"].content, value.content["a"]
    assert (one.kind, one.line, no.kind, no.line) == (ValueKind.NUMBER, 2, ValueKind.BOOL, 4)
    assert (literal.line, literal.content["c"].line, value.line, value.size) == (5, 5, 2, 9)


def test_what_is_deep_or_long_is_left_to_the_parser():
    deep = "".join(f"{' ' * level}a:\n" for level in range(40))
    assert read_block(f"{deep}{' ' * 40}b\n".encode()) is None
    assert read_block(b"- " * 40 + b"a\n") is None
    assert read_block(b"a: b\n" + b"k" * 101 + b": c\n") is None
    assert read_block(b"".join(b"k%d: v\n" % number for number in range(200_000))) is None
