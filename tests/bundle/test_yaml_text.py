"""YAML and JSON text: where its scalars are, and the text with some of them replaced."""

from __future__ import annotations

import json

import pytest
import yaml

from imgpkg.bundle.yaml_reader import MAX_DEPTH, MAX_SIZE
from imgpkg.bundle.yaml_text import Edit, MappingNode, MarkedText, ScalarNode, SequenceNode, scalar_text
from imgpkg.bundle.yaml_value import ValueKind
from imgpkg.errors import InvalidDocument


@pytest.fixture(params=["libyaml", "python"])
def parser(request, monkeypatch):
    """Each test with both of PyYAML's parsers."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader")


def marked(text):
    return MarkedText(text if isinstance(text, bytes) else text.encode(), "some.yml")


def plain(node):
    if isinstance(node, ScalarNode):
        return node.text
    if isinstance(node, SequenceNode):
        return [plain(item) for item in node.items]
    return {plain(key): plain(value) for key, value in node.entries}


def scalars(node):
    if isinstance(node, ScalarNode):
        return [node]
    if isinstance(node, SequenceNode):
        return [found for item in node.items for found in scalars(item)]
    return [found for pair in node.entries for item in pair for found in scalars(item)]


def replaced(text, old, new):
    """Replace the last scalar with the text `old`."""
    source = marked(text)
    found = [one for document in source.documents() for one in scalars(document) if one.text == old]
    return source.replaced([source.edit(found[-1], new)]).decode()


def refusal(text):
    with pytest.raises(InvalidDocument) as caught:
        list(marked(text).documents())
    return str(caught.value), (caught.value.line, caught.value.column)


@pytest.mark.usefixtures("parser")
class TestADocument:
    def test_is_read_with_all_others(self):
        text = "a: {b: [c, 1, ~]}\n---\n- d\n---\n# nothing\n...\n--- e\n"
        assert [plain(one) for one in marked(text).documents()] == [
            {"a": {"b": ["c", "1", "~"]}},
            ["d"],
            "",
            "e",
        ]

    def test_may_have_keys_twice_and_keys_that_are_no_scalars(self):
        (document,) = marked("a: b\na: c\n? [d]\n: e\n").documents()
        assert [plain(value) for _, value in document.entries] == ["b", "c", "e"]
        assert plain(document.get("a")) == "c"
        assert document.get("nosuch") is None

    def test_has_the_kinds_of_plain_scalars(self):
        (document,) = marked("[a, 1.10, '1', ~, yes, !!str 2, <<, 2001-01-01]").documents()
        kinds = [node.kind for node in document.items]
        assert kinds == [
            ValueKind.STRING,
            ValueKind.NUMBER,
            ValueKind.STRING,
            ValueKind.NULL,
            ValueKind.BOOL,
            ValueKind.STRING,
            ValueKind.MERGE,
            ValueKind.STRING,
        ]

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_has_places_in_any_encoding(self, encoding, end):
        text = marked(f"# é😀{end}é: 😀 {end}b: &anchor 'c'{end}".encode(encoding))
        (document,) = text.documents()
        _, first, _, second = scalars(document)
        assert str(text.place_of(first)) == "some.yml:2:4"
        assert str(text.place_of(second)) == "some.yml:3:13"

    @pytest.mark.parametrize(
        ("text", "said", "place"),
        [
            ("a: b\n  c: d\n", "mapping values are not allowed", (2, 4)),
            ("a: [\n", "", (2, 1)),
            ("a: *b\n", "the alias *b has no anchor, or is inside of it", (1, 4)),
            ("a: &b [*b]\n", "the alias *b has no anchor, or is inside of it", (1, 8)),
            ("- &a a\n---\n- *a\n", "the alias *a has no anchor", (3, 3)),
            ('{"a": "b" "c": 1}', "", (1, 11)),
            ("[" * 65, "nests more than 64 levels deep", (1, 65)),
        ],
    )
    def test_that_is_none_is_refused_with_its_place(self, text, said, place):
        message, found = refusal(text)
        assert said in message
        assert found == place
        assert message.startswith(f"some.yml:{place[0]}:{place[1]}: ")

    def test_nests_as_deep_as_is_allowed(self):
        text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
        assert next(marked(text).documents()).height == MAX_DEPTH

    def test_does_not_nest_deeper_by_its_aliases(self):
        lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, MAX_DEPTH))]
        message, place = refusal("\n".join(lines))
        assert "nests more than 64 levels deep" in message
        # One level is that of the mapping around them.
        assert place == (1, 1)

    def test_may_repeat_itself_without_a_cost(self):
        lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 50))]
        (document,) = marked("\n".join(lines)).documents()
        assert len(document.entries) == 50

    def test_merges_mappings_without_a_cost(self):
        lines = ["a0: &a0 {k: v}", *(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}]}}" for n in range(1, 31))]
        (document,) = marked("\n".join(lines)).documents()
        last = document.get("a30")
        assert isinstance(last, MappingNode)
        assert plain(last.get("k")) == "v"
        assert last.get("nosuch") is None


class TestText:
    def test_that_is_none_is_refused(self):
        assert refusal(b"a: \xff\n")[0] == "some.yml is no text in UTF-8 or UTF-16: look at byte 3"

    @pytest.mark.usefixtures("parser")
    @pytest.mark.parametrize("letter", ["\x00", "\x1b", "\x7f", "\ufffe"])
    def test_with_characters_that_yaml_does_not_have_is_refused(self, letter):
        text, place = refusal(f"é: b\n# 😀{letter}\n")
        assert text.startswith("some.yml:2:4: ")
        assert "characters are not allowed" in text
        assert place == (2, 4)

    def test_that_is_too_large_is_refused(self):
        with pytest.raises(InvalidDocument, match="at most"):
            MarkedText(b" " * (MAX_SIZE + 1), "some.yml")

    def test_with_an_escape_code_out_of_range_is_refused(self, monkeypatch):
        monkeypatch.delattr(yaml, "CSafeLoader")
        assert "out of range" in refusal('"\\UFFFFFFFF"')[0]


class TestJSON:
    @pytest.mark.parametrize(
        "value",
        [{}, [], {"a": {"b": [1, -2.5e3, True, None, 'c\n\\"é']}}, [[], [{}]]],
    )
    @pytest.mark.parametrize("indent", [None, 2, "\t"])
    def test_is_read_as_the_standard_library_does(self, value, indent):
        text = json.dumps(value, indent=indent)
        read = [plain(one) for one in marked(text).documents()]

        def in_text(one):
            if isinstance(one, dict):
                return {key: in_text(item) for key, item in one.items()}
            if isinstance(one, list):
                return [in_text(item) for item in one]
            return one if isinstance(one, str) else text_of(one)

        def text_of(one):
            return json.dumps(one)

        assert read == [in_text(value)]

    def test_may_have_documents_one_after_the_other(self):
        assert [plain(one) for one in marked('{"a": "b"}\n{"c": []}').documents()] == [{"a": "b"}, {"c": []}]

    def test_may_have_surrogate_pairs(self):
        assert plain(next(marked('{"a": "\\ud83d\\ude00"}').documents())) == {"a": "😀"}

    def test_that_nests_too_deep_is_refused(self):
        assert "nests more than 64 levels deep" in refusal("[" * 100 + "]" * 100)[0]

    @pytest.mark.parametrize("text", ["{a: b}", "{'a': b}", "[a, b,]", "{a}", "[a: b]", "{[a]: b}"])
    def test_that_is_none_is_read_as_yaml(self, text):
        assert len(list(marked(text).documents())) == 1

    @pytest.mark.parametrize("text", ['{"a": "b"', '["a" "b"]', '{"a" "b"}', '{"a": }}', "{1: 2", "[", "{"])
    def test_with_a_mistake_is_refused(self, text):
        assert refusal(text)[0].startswith("some.yml:1:")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a: old # old\n", "a: new/x:1 # old\n"),
        ("a: 'old'\n", "a: 'new/x:1'\n"),
        ('a: "old"\n', 'a: "new/x:1"\n'),
        ('a: "ol\\x64"\n', 'a: "new/x:1"\n'),
        ("a: &old old\nb: *old\n", "a: &old old\nb: new/x:1\n"),
        ('a: &old "ol\\x64" # c\n', 'a: &old "new/x:1" # c\n'),
        ("a: &b !!str old\n", "a: &b !!str new/x:1\n"),
        ("a: |-\n  old\n# c\nb: d\n", "a: |-\n  new/x:1\n# c\nb: d\n"),
        ("a: >-\n  old\n\n# c\n", "a: >-\n  new/x:1\n\n# c\n"),
        ("a:\n  old\nb: d\n", "a:\n  new/x:1\nb: d\n"),
        ("{a: old, b: [old]}", "{a: old, b: [new/x:1]}"),
        ('{"a": "old"}', '{"a": "new/x:1"}'),
        ('{"a":\t"ol\\u0064"}', '{"a":\t"new/x:1"}'),
        ("? a\n: old\n", "? a\n: new/x:1\n"),
        ("- old\r\n- b\r\n", "- new/x:1\r\n- b\r\n"),
        ("--- old\n", "--- new/x:1\n"),
    ],
)
def test_a_scalar_is_replaced_and_nothing_else(text, after):
    assert replaced(text, "old", "new/x:1") == after


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a:\nb: c\n", "a: new\nb: c\n"),
        ("a:   # c\n", "a: new   # c\n"),
        ("a:", "a: new"),
        ("{a: , b: c}", "{a: new , b: c}"),
        ("{a}", "{a: new}"),
        ("a: ''\n", 'a: "new"\n'),
        ('a: ""\n', 'a: "new"\n'),
        ('{"a": ""}', '{"a": "new"}'),
        ("a: ~\n", "a: new\n"),
    ],
)
def test_an_empty_scalar_is_filled(text, after):
    (document,) = marked(text).documents()
    source = marked(text)
    node = document.get("a")
    assert source.replaced([source.edit(node, "new")]).decode() == after


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    "new", ["1.5", "[::1]:5000/a", "yes", "a: b", "a'b", 'a"b', "é", "a #b", "x\\y", "a:"]
)
@pytest.mark.parametrize(
    "text", ["a: old\n", "a: 'old'\n", 'a: "old"\n', "[old]", "a: &x old\nb: *x\n", '{"a": "old"}']
)
def test_what_is_written_is_read_as_that_text(text, new):
    (document,) = marked(replaced(text, "old", new)).documents()
    last = scalars(document)[-1]
    assert (last.text, last.kind) == (new, ValueKind.STRING)


def test_two_edits_of_one_range_must_be_equal():
    text = marked("a: b\n")
    assert text.replaced([Edit(3, 4, "c"), Edit(3, 4, "c")]) == b"a: c\n"
    with pytest.raises(InvalidDocument, match=r"some\.yml:1:4: is part of two images"):
        text.replaced([Edit(3, 4, "c"), Edit(3, 4, "d")])


def test_text_is_plain_where_that_is_safe():
    assert [scalar_text(text) for text in ("a/b:1@c", "1.27", "[::1]/a", "a:")] == [
        "a/b:1@c",
        '"1.27"',
        '"[::1]/a"',
        '"a:"',
    ]
