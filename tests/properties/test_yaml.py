"""YAML: what is written reads as the same value, and as libyaml writes it wherever both agree."""

from __future__ import annotations

import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from imgpkg.bundle.yaml_block import read_block
from imgpkg.bundle.yaml_reader import read_document
from imgpkg.bundle.yaml_value import ValueKind, reads_as_itself, resolve
from imgpkg.bundle.yaml_writer import dump, natural_order
from imgpkg.errors import InvalidLock

characters = st.characters(exclude_categories=["Cs"])
odd = st.text(" ab:#'\"\\-\n?,[]{}&*!|>%@`~=<.\u2028\u2029\x85\r\tAé\U0001f600\ufeff019+_", max_size=30)
sentences = st.lists(st.text("abc'\"", max_size=30), max_size=15).map(" ".join)
texts = odd | sentences | st.text(characters, max_size=15)
documents = st.recursive(
    st.dictionaries(texts, texts, max_size=3),
    lambda inner: st.dictionaries(texts, inner | st.lists(inner | texts, max_size=3), max_size=3),
    max_leaves=6,
)
# Texts for which libyaml's emitter writes the same: no newlines, nothing to quote for its type, short keys.
common = st.text("abcd '\"-?,[]{}&*!|>%@`~:#é", max_size=40) | sentences
common_texts = common.map(lambda text: f"{text}z")
common_keys = st.text("abcd.-/_ :#'é", max_size=60).map(lambda text: f"{text}k")
common_documents = st.dictionaries(
    common_keys,
    st.recursive(
        common_texts | st.booleans() | st.none(),
        lambda inner: st.dictionaries(common_keys, inner, max_size=3) | st.lists(inner, max_size=3),
        max_leaves=6,
    ),
    max_size=4,
)

# As tools write lock files, and what may stand there.
indents = st.sampled_from(["", "  ", "  ", "    ", "- ", "  - ", "- - ", " "])
keys = st.sampled_from(["a: ", "b: ", "c/d.e: ", "on: ", "a:", "b:", "c: |", "d: |-", ""])
harmless = ["x", "nginx:1.14.2", "a/b@sha256:00", "1_0", "0x1F", "false", "~", "'x: y'", '"#"', "", "", ""]
special = [
    "'",
    "x:",
    "x y",
    "-",
    "...",
    "---",
    "2001-01-01",
    "&a x",
    "*a",
    "!!str 1",
    ">",
    "# c",
    "\t",
    "é",
    "<<",
]
scalars = st.sampled_from([*harmless, *special])
lines = st.lists(st.tuples(indents, keys, scalars).map("".join), min_size=1, max_size=8)
LOCK = """---
apiVersion: imgpkg.carvel.dev/v1alpha1
images:
- annotations:
    kbld.carvel.dev/id: nginx:1.14.2
    kbld.carvel.dev/origins: |
      - resolved:
          tag: 1.14.2
          url: nginx:1.14.2
  image: index.docker.io/library/nginx@sha256:f7988fb6c02e0ce69257d9bd9cf37ae20a60f1df7563c3a2a6abe24160306b8d
- image: "a.example:5000/b@sha256:00"
  isBundle: false
kind: ImagesLock
"""
changes = st.tuples(st.integers(0, len(LOCK)), st.integers(0, 4), st.text(" \n-:|'\"#ab1.", max_size=4))


def plain(value):
    if isinstance(value.content, dict):
        return {key: plain(item) for key, item in value.content.items()}
    if isinstance(value.content, tuple):
        return [plain(item) for item in value.content]
    return value.content


def ordered(value):
    """Put the keys of every mapping into natural order."""
    if isinstance(value, dict):
        return {key: ordered(value[key]) for key in natural_order(value)}
    return [ordered(item) for item in value] if isinstance(value, list) else value


@given(documents)
def test_what_is_written_is_read_again(document):
    """The normal form loses nothing."""
    assert plain(read_document(f"---\n{dump(document)}".encode(), "x.yml", strict=True)) == document


def changed(change):
    at, count, text = change
    return f"{LOCK[:at]}{text}{LOCK[at + count :]}"


@given(lines.map("\n".join).map(lambda text: f"{text}\n") | changes.map(changed))
def test_what_needs_no_parser_is_what_the_parser_reads(text):
    """Values, their kinds, their lines and their sizes."""
    found = read_block(text.encode())
    assume(found is not None)
    # A comment needs the parser, and changes nothing.
    assert read_document(f"{text}# read by PyYAML\n".encode(), "x.yml", strict=True) == found


@given(st.lists(st.from_regex(r"[a-z]{1,9}(:[a-z0-9@./-]{1,9}){0,2}", fullmatch=True), min_size=1))
def test_what_is_written_of_an_images_lock_needs_no_parser(names):
    items = [{"annotations": {f"k.{len(name)}/id": name}, "image": f"a.example/{name}"} for name in names]
    text = dump({"apiVersion": "imgpkg.carvel.dev/v1alpha1", "images": items, "kind": "ImagesLock"})
    assert plain(read_block(f"---\n{text}".encode()))["images"] == items


@given(documents)
def test_every_reader_of_yaml_reads_the_same(document):
    """PyYAML's two parsers are independent implementations of YAML 1.1."""
    text = dump(document)
    assert yaml.load(text, Loader=yaml.CBaseLoader) == document
    # PyYAML's own parser knows neither explicit keys of many lines nor a line separator in quotes as written.
    if not any(mark in text for mark in ("? ", "\u2028", "\u2029")):
        assert yaml.load(text, Loader=yaml.BaseLoader) == document


@given(common_documents)
def test_libyaml_writes_the_same(document):
    """yaml.v2 is a translation of libyaml; both emitters agree on common documents."""
    theirs = yaml.dump(
        ordered(document),
        Dumper=yaml.CSafeDumper,
        default_flow_style=False,
        allow_unicode=True,
        width=80,
        sort_keys=False,
    )
    assert dump(document) == theirs


@given(st.text("ab \u0007é'\"", max_size=200).map(lambda text: f"{text}\u0007z"))
def test_libyaml_escapes_and_folds_the_same(text):
    """Special characters are double-quoted, and lines are folded at spaces after column 80."""
    theirs = yaml.dump(
        {"k": text}, Dumper=yaml.CSafeDumper, default_flow_style=False, allow_unicode=True, width=80
    )
    assert dump({"k": text}) == theirs


@given(st.lists(texts, max_size=6))
def test_natural_order_loses_and_invents_nothing(keys):
    """Sorting is a permutation."""
    assert sorted(natural_order(keys)) == sorted(keys)


@given(st.text("0123456789_+-.:xobeEinfTZaAnyt ~", max_size=12))
def test_a_plain_scalar_has_one_meaning(text):
    """A text that a YAML 1.1 reader takes for another type is quoted."""
    kind, value = resolve(text)
    assert (kind is ValueKind.STRING) >= reads_as_itself(text)
    assert kind is not ValueKind.STRING or value == text
    assert kind is not ValueKind.NUMBER or resolve(value)[0] in (ValueKind.NUMBER, ValueKind.STRING)


@given(st.integers(-(1 << 63), (1 << 64) - 1))
def test_integers_read_as_decimal_in_every_notation(number):
    """Decimal, 0x, 0o, a leading 0 for octal, and 0b; underscores are ignored."""
    sign, size = ("-" if number < 0 else ""), abs(number)
    for form in (f"{size:d}", f"{size:_d}", f"0x{size:x}", f"0o{size:o}", f"0{size:o}", f"0b{size:b}"):
        assert resolve(f"{sign}{form}") == (ValueKind.NUMBER, str(number))


@given(st.binary(max_size=40) | st.text("ab:-[]{}&*!|>'\"\n #?,%@<", max_size=30).map(str.encode))
def test_any_bytes_are_a_document_or_an_invalid_lock(data):
    """Each error is one of conversion, with the prefix of the original."""
    try:
        outcome = read_document(data, "x.yml", strict=True).kind.value
    except InvalidLock as error:
        outcome = str(error)
    assert outcome in {kind.value for kind in ValueKind} or outcome.startswith(
        "error converting YAML to JSON: yaml: "
    )
