"""The YAML normal form, byte for byte as the original writes it."""

from __future__ import annotations

import pytest

from imgpkg.bundle.yaml_writer import dump, natural_order

EXAMPLE = ["", "_", "1", "9", "10", "A", "a", "a b", "a-b", "a.b", "a/b", "a1", "a01", "a9", "a10", "b"]


def value(text):
    """Return the YAML of `text` as a value."""
    return dump({"k": text}).removeprefix("k: ").removesuffix("\n")


class TestADocument:
    def test_is_in_blocks_of_two_spaces(self):
        document = {"b": {"d": {"e": "f"}, "c": []}, "a": [{"y2": "z", "x": {}}, "t", ["u", []], {}]}
        assert dump(document) == (
            "a:\n- x: {}\n  y2: z\n- t\n- - u\n  - []\n- {}\nb:\n  c: []\n  d:\n    e: f\n"
        )

    def test_has_its_keys_in_natural_order(self):
        assert dump({"a10": "x", "a9": "x"}) == "a9: x\na10: x\n"

    def test_of_nothing_is_an_empty_mapping(self):
        assert dump({}) == "{}\n"

    def test_has_words_for_what_is_no_text(self):
        assert dump({"a": True, "b": False, "c": None, "d": -7}) == "a: true\nb: false\nc: null\nd: -7\n"


class TestText:
    @pytest.mark.parametrize(
        "text",
        [
            *[
                "a",
                "a b",
                "é",
                "a:b",
                "a#b",
                "-a",
                "?a",
                ":a",
                "a'b",
                'a"b',
                "=",
                "yEs",
                "1e",
                "0.1.2",
                "NaN",
            ],
            *["a, b", "a]", "a{b}", "http://x:1/y", "--a", "..", "\ufffd", "\u00a0", "2001-02-29"],
        ],
    )
    def test_is_plain_when_it_can_be(self, text):
        assert value(text) == text

    @pytest.mark.parametrize(
        "text",
        [
            *["", "~", "null", "yes", "n", "Y", "off", "1", "0o7", "1_000", "08", "1e3", ".5", "1.", "+1"],
            *[".inf", "-.INF", ".nan", "2001-1-1", "2001-12-14 21:59:43.10", "12:30", "190:20:30", "<<"],
        ],
    )
    def test_that_reads_as_something_else_is_double_quoted(self, text):
        assert value(text) == f'"{text}"'

    @pytest.mark.parametrize(
        "text",
        [
            *[
                "- a",
                "-",
                "? a",
                "?",
                ": a",
                ":",
                "#a",
                "a #b",
                "a: b",
                "a:",
                "a :",
                ",a",
                "[a",
                "]",
                "{",
                "}",
            ],
            *["&a", "*a", "!a", "|", ">", '"a"', "%a", "@a", "`a", " a", "a ", " ", "---", "--- a", "...a"],
        ],
    )
    def test_that_cannot_be_plain_is_single_quoted(self, text):
        assert value(text) == f"'{text}'"

    def test_doubles_single_quotes(self):
        assert value("'a'b") == "'''a''b'"

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("\U0001f600", '"\\U0001F600"'),
            ("a\tb", '"a\\tb"'),
            ("\r", '"\\r"'),
            ('\0"\\\a\b\v\f\x1b', '"\\0\\"\\\\\\a\\b\\v\\f\\e"'),
            ("\x01\x7f\x9f", '"\\x01\\x7F\\x9F"'),
            ("\x85", '"\\N"'),
            ("\ufeff\uffff", '"\\uFEFF\\uFFFF"'),
            ("\u2028 a", '"\\L a"'),
            ("a \u2029", '"a \\P"'),
            ("\ud800", '"\\uD800"'),
        ],
    )
    def test_with_special_characters_is_escaped(self, text, written):
        assert value(text) == written

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("a\nb\n", "|\n  a\n  b"),
            ("a\nb", "|-\n  a\n  b"),
            ("a\n\n", "|+\n  a\n"),
            ("\n", "|2+\n"),
            (" a\n", "|2\n   a"),
            ("\na", "|2-\n\n  a"),
            ("a\n\n  b\n", "|\n  a\n\n    b"),
            ("yes\n", "|\n  yes"),
            ("# a: b\n", "|\n  # a: b"),
            ("a\n---\n", "|\n  a\n  ---"),
        ],
    )
    def test_with_newlines_is_literal(self, text, written):
        assert value(text) == written

    @pytest.mark.parametrize(
        ("text", "written"),
        [
            ("a\nb ", '"a\\nb "'),
            ("a \nb", '"a \\nb"'),
            ("a\n\tb", '"a\\n\\tb"'),
            ("a\n\U0001f600", '"a\\n\\U0001F600"'),
            ("a\n\u2028", '"a\\n\\L"'),
        ],
    )
    def test_with_newlines_that_no_literal_can_hold_is_escaped(self, text, written):
        assert value(text) == written

    def test_with_a_literal_is_followed_by_the_next_key(self):
        assert dump({"a": "x\n\n", "b": ["y\n", "z"]}) == "a: |+\n  x\n\nb:\n- |\n  y\n- z\n"

    def test_with_a_line_separator_goes_on_indented(self):
        assert value("a\u2028b\u2029") == "'a\u2028  b\u2029'"


class TestALongLine:
    def test_ends_at_the_first_space_after_column_80(self):
        at_80 = "x" * (80 - len("k: "))
        assert value(f"{at_80} a b") == f"{at_80} a\n  b"
        assert value(f"{at_80}x a b") == f"{at_80}x\n  a b"
        assert value(f"{'x' * 200} a") == f"{'x' * 200}\n  a"
        assert value("x" * 200) == "x" * 200

    def test_ends_again_and_again(self):
        first, second, third = "a" * 80, "b" * 80, "c"
        assert value(f"{first} {second} {third}") == f"{first}\n  {second}\n  {third}"

    def test_never_ends_at_two_spaces_unless_double_quoted(self):
        text = "x" * 90
        assert value(f"{text}  a b") == f"{text}  a\n  b"
        assert value(f"{text}  a\a") == f'"{text}\n  \\ a\\a"'
        assert value(f"{text} a\a") == f'"{text}\n  a\\a"'

    def test_keeps_spaces_at_the_ends_of_quotes(self):
        text = "'" + "x" * 90
        assert value(f"{text} ") == f"''{text} '"
        assert value(f" {'x' * 90} a") == f"' {'x' * 90}\n  a'"
        assert value("x" * 90 + "\a ") == '"' + "x" * 90 + '\\a "'

    def test_goes_on_indented_as_its_block_asks(self):
        head, tail = "a" * 80, "b" * 80
        text = f"{head} {tail}"
        assert dump({"a": [{"b": text}, text], "c": {"d": text}}) == (
            f"a:\n- b: {head}\n    {tail}\n- {head}\n  {tail}\nc:\n  d: {head}\n    {tail}\n"
        )


class TestAKey:
    @pytest.mark.parametrize(
        ("key", "written"),
        [
            ("yes", '"yes"'),
            ("", '""'),
            ("1", '"1"'),
            ("a: b", "'a: b'"),
            ("\U0001f600", '"\\U0001F600"'),
            ("a" * 60 + " " + "b" * 60, "a" * 60 + " " + "b" * 60),
            ("k" * 128, "k" * 128),
        ],
    )
    def test_is_quoted_as_text_and_never_folded(self, key, written):
        assert dump({key: "v"}) == f"{written}: v\n"

    @pytest.mark.parametrize(
        ("key", "written"),
        [
            ("k" * 129, "k" * 129),
            ("é" * 65, "é" * 65),
            ("a\nb", "|-\n  a\n  b"),
            ("\r", '"\\r"'),
            ("a" * 90 + " " + "b" * 60, "a" * 90 + "\n  " + "b" * 60),
        ],
    )
    def test_that_is_long_or_has_lines_stands_alone(self, key, written):
        assert dump({key: "v"}) == f"? {written}\n: v\n"
        assert dump({key: {"a": "b", "c": "d"}}) == f"? {written}\n: a: b\n  c: d\n"
        assert dump({key: ["a", "b"]}) == f"? {written}\n: - a\n  - b\n"
        assert dump({key: {}}) == f"? {written}\n: {{}}\n"


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
