"""Reading YAML: no tag runs code, size, depth and aliases are limited, and errors name the line."""

from __future__ import annotations

import pytest
import yaml

from imgpkg.bundle.yaml_reader import MAX_DEPTH, MAX_SIZE, read_document
from imgpkg.bundle.yaml_value import ValueKind
from imgpkg.errors import InvalidLock

PREFIX = "error converting YAML to JSON: yaml: "


def plain(value):
    """Return nested dicts, lists and texts."""
    if isinstance(value.content, dict):
        return {key: plain(item) for key, item in value.content.items()}
    if isinstance(value.content, tuple):
        return [plain(item) for item in value.content]
    return value.content


def read(text, *, strict=True):
    data = text if isinstance(text, bytes) else text.encode()
    return plain(read_document(data, "some.yml", strict=strict))


def refusal(text, *, strict=True):
    with pytest.raises(InvalidLock) as caught:
        read(text, strict=strict)
    return str(caught.value).removeprefix(PREFIX), caught.value.hints


class TestADocument:
    def test_nests(self):
        assert read("a: {b: [c, 1, ~]}\nd:\n- e: f\n") == {"a": {"b": ["c", "1", ""]}, "d": [{"e": "f"}]}

    def test_ends_where_the_next_begins(self):
        assert read("a: b\n---\nc: [\n") == {"a": "b"}
        assert read("--- \na: b\n...\n%what: [\n") == {"a": "b"}

    @pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "---\n", "~"])
    def test_that_is_empty_is_null(self, text):
        assert read_document(text.encode(), "some.yml", strict=True).kind is ValueKind.NULL

    @pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
    def test_may_have_a_byte_order_mark(self, encoding):
        assert read("é: ü".encode(encoding)) == {"é": "ü"}

    def test_remembers_lines(self):
        document = read_document(b"a: b\nc:\n- d\n-\n  e: f\n", "some.yml", strict=True)
        items = document.content["c"].content
        assert (document.line, document.content["a"].line, items[0].line, items[1].line) == (1, 1, 3, 5)

    def test_has_keys_as_text(self):
        text = "1: a\ntrue: b\nn: c\n1.10: d\n0x10: e\n2001-1-1: f\n'~': g\n"
        assert read(text) == {
            "1": "a",
            "true": "b",
            "false": "c",
            "1.1": "d",
            "16": "e",
            "2001-1-1": "f",
            "~": "g",
        }

    def test_quoted_scalars_are_text(self):
        assert read("a: 'yes'\nb: \"1.10\"\nc: |-\n  0x10\nd: >-\n  ~\n") == {
            "a": "yes",
            "b": "1.10",
            "c": "0x10",
            "d": "~",
        }


class TestATag:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("!!str yes", "yes"),
            ("! yes", "yes"),
            ("!mine yes", "yes"),
            ("!!python/object/apply:os.system [id]", ["id"]),
            ("!!int '0x10'", "16"),
            ("!!float '1.10'", "1.1"),
            ("!!bool 'on'", "true"),
            ("!!null ''", ""),
            ("!!binary aGVs\\\n bG8=", None),
            ("!!binary aGVsbG8=", "hello"),
            ("!!binary /w==", "\ufffd"),
            ("!!timestamp 2001-1-1", "2001-1-1"),
        ],
    )
    def test_says_what_a_scalar_is(self, text, value):
        if value is None:
            assert "base64" in refusal(f"a: {text}")[0]
        else:
            assert read(f"a: {text}") == {"a": value}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("!!int abc", "cannot decode !!str `abc` as a !!int"),
            ("!!bool '1'", "cannot decode !!float `1` as a !!bool"),
            ("!!null yes", "cannot decode !!bool `yes` as a !!null"),
            ("!!bool ''", "cannot decode !!null `` as a !!bool"),
            ("!!bool '<<'", "cannot decode !!merge `<<` as a !!bool"),
            ("!!binary a", "!!binary value contains invalid base64 data"),
        ],
    )
    def test_that_is_wrong_is_an_error(self, text, reason):
        assert refusal(f"x: 1\na: {text}") == (reason, ("Look at line 2 of some.yml.",))


class TestAMergeKey:
    @pytest.mark.parametrize("key", ["<<", "!!merge '<<'"])
    def test_brings_what_is_not_there(self, key):
        text = f"base: &b {{x: 1, w: 2}}\nmore: &m {{w: 3, z: 4}}\nc:\n  {key}: [*b, *m]\n  x: own\n"
        assert read(text)["c"] == {"x": "own", "w": "2", "z": "4"}
        assert read(f"base: &b {{x: 1}}\nc: {{w: 2, {key}: *b}}")["c"] == {"x": "1", "w": "2"}

    def test_is_text_when_quoted_or_a_value(self):
        assert read("'<<': a\nb: <<") == {"<<": "a", "b": "<<"}

    @pytest.mark.parametrize("value", ["a", "[a]", "[[]]", "~"])
    def test_needs_mappings(self, value):
        reason, hints = refusal(f"a: b\n<<: {value}")
        assert reason == "map merge requires map or sequence of maps as the value"
        assert hints == ("Look at line 2 of some.yml.",)


class TestARepeatedKey:
    def test_is_an_error_with_its_line(self):
        reason, hints = refusal('kind: a\n\nkind: b\n1: c\n1: d\n"q\\"": e\n\'q"\': f\n')
        assert reason == (
            'unmarshal errors:\n  line 3: key "kind" already set in map\n'
            "  line 5: key 1 already set in map\n"
            '  line 7: key "q\\"" already set in map'
        )
        assert hints == ("Look at line 3 of some.yml.",)

    def test_is_one_however_it_is_spelled(self):
        assert refusal("yes: a\ntrue: b")[0] == "unmarshal errors:\n  line 2: key true already set in map"
        assert "already set" in refusal("1: a\n'1': b")[0]

    def test_is_none_in_another_mapping(self):
        assert read("a: {k: 1}\nb: {k: 2}") == {"a": {"k": "1"}, "b": {"k": "2"}}

    def test_wins_where_files_are_read_leniently(self):
        assert read("kind: a\nkind: b", strict=False) == {"kind": "b"}


class TestAKey:
    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("[a]: b", "invalid map key: array"),
            ("{a: b}: c", "invalid map key: object"),
            ("~: b", "unsupported map key: null"),
            ("? \n: b", "unsupported map key: null"),
        ],
    )
    def test_is_a_scalar(self, text, reason):
        assert refusal(text) == (reason, ("Look at line 1 of some.yml.",))


class TestWhatIsNoYaml:
    @pytest.mark.parametrize(
        ("text", "reason", "place"),
        [
            ("a: b: c", "mapping values are not allowed in this context", "line 1, column 5"),
            ("a: b\nc: d: e\n", "line 2: mapping values are not allowed in this context", "line 2, column 5"),
            ("a: b\n@c: d", "line 2: found character that cannot start any token", "line 2, column 1"),
            ("a: [b\n", "line 2: did not find expected ',' or ']'", "line 2, column 1"),
            ("a: 'b", "found unexpected end of stream", "line 1, column 6"),
            ("- a\nb: c", "line 2: did not find expected '-' indicator", "line 2, column 1"),
        ],
    )
    def test_fails_with_the_text_of_libyaml(self, text, reason, place):
        assert refusal(text) == (reason, (f"Look at {place} of some.yml.",))

    @pytest.mark.parametrize(
        ("data", "reason"),
        [(b"a: \x01", "control characters are not allowed"), (b"a: b\xff", "invalid leading UTF-8 octet")],
    )
    def test_fails_when_it_is_not_text(self, data, reason):
        found, (hint,) = refusal(data)
        assert found == reason
        assert hint.startswith("some.yml must be text in UTF-8 or UTF-16; look at byte ")

    def test_fails_for_half_a_character(self):
        assert refusal('a: "\\ud800"')[0] == "found invalid Unicode character escape code"

    def test_is_refused_when_too_large(self):
        with pytest.raises(InvalidLock) as caught:
            read(b"#" * (MAX_SIZE + 1))
        assert str(caught.value) == f"some.yml has {MAX_SIZE + 1} bytes; at most {MAX_SIZE} are read"


class TestAnAlias:
    def test_stands_for_its_anchor(self):
        assert read("a: &x {b: c}\nd: *x\ne: &y f\ng: *y") == {
            "a": {"b": "c"},
            "d": {"b": "c"},
            "e": "f",
            "g": "f",
        }

    def test_means_the_latest_anchor_of_that_name(self):
        assert read("[&x a, *x, &x b, *x]") == ["a", "a", "b", "b"]

    def test_of_nothing_is_an_error(self):
        reason = "unknown anchor 'x' referenced"
        assert refusal("a: b\nc: *x") == (reason, ("Look at line 2 of some.yml.",))

    def test_of_itself_is_an_error(self):
        assert refusal("a: &x [*x]")[0] == "anchor 'x' value contains itself"

    def test_may_be_used_often(self):
        text = "a: &x {k: v}\nb: [" + "*x, " * 2000 + "]"
        assert len(read(text)["b"]) == 2000

    def test_that_laughs_a_billion_times_is_refused(self):
        lines = ["l0: &l0 [a, a, a, a, a, a, a, a, a, a]"]
        lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 30)]
        assert refusal("\n".join(lines))[0] == "document contains excessive aliasing"

    @pytest.mark.parametrize("use", ["[{}]", "{{<<: [{}]}}"])
    def test_that_squares_the_file_is_refused(self, use):
        big = ", ".join(f"k{n}: v" for n in range(2000))
        many = ", ".join(["*big"] * 2000)
        assert (
            refusal(f"a: &big {{{big}}}\nb: {use.format(many)}")[0] == "document contains excessive aliasing"
        )


class TestDepth:
    def test_is_bounded(self):
        deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
        read(deepest)
        assert refusal(f"[{deepest}]")[0] == f"exceeded max depth of {MAX_DEPTH}"
        assert "max" in refusal("[" * 100_000)[0]


class TestWithoutLibyaml:
    """PyYAML is built without its C extension on some machines."""

    @pytest.fixture(autouse=True)
    def own_scanner(self, monkeypatch):
        monkeypatch.delattr(yaml, "CSafeLoader")

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("a: {b: [yes, 1, ~]}\n", {"a": {"b": ["true", "1", ""]}}),
            ("? &x a\n: *x\n", {"a": "a"}),
            ("'q': |\n  l\n", {"q": "l\n"}),
            ("! 1: !!str 1", {"1": "1"}),
            ("", ""),
            ("a: b\n---\nc: [\n", {"a": "b"}),
        ],
    )
    def test_the_same_is_read(self, text, value):
        assert read(text) == value

    def test_half_a_character_is_refused_too(self):
        assert refusal('a: "\\ud800"')[0] == "found invalid Unicode character escape code"

    @pytest.mark.parametrize("text", ['a: "\\U00110000"', 'a: "\\Uffffffff"', f"%YAML 1.{'9' * 5000}\n--- a"])
    def test_numbers_out_of_range_are_refused(self, text):
        reason, hints = refusal(text)
        assert reason == "found a number that is out of range"
        assert hints == ("Look at the escape codes and the %YAML directive of some.yml.",)

    def test_errors_name_the_same_place(self):
        reason, hints = refusal("x: y\na: b: c")
        assert reason.startswith("line 2: mapping values are not allowed")
        assert hints == ("Look at line 2, column 5 of some.yml.",)

    def test_depth_is_bounded_too(self):
        assert refusal("[" * 100_000)[0] == f"exceeded max depth of {MAX_DEPTH}"
