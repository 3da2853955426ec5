"""YAML: what is written reads as the same value, and as libyaml writes it wherever both agree."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.bundle.yaml_reader import ValueKind, read_document, reads_as_itself, resolve
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
