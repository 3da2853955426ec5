"""Documents whose image references are replaced: nothing else changes, and what was found is what changes."""

from __future__ import annotations

import json

import yaml
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.bundle.kubernetes import Occurrence, find_references
from imgpkg.bundle.yaml_text import MarkedText, ScalarNode, SequenceNode, scalar_text
from imgpkg.errors import InvalidDocument
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference

DIGEST = Digest.of(b"")
names = st.sampled_from(
    ["nginx", "nginx:1.27", "r.example/a/b", "r.example:5000/a/b:v1", f"a/b@{DIGEST}", "a/b:1.10"]
)
texts = st.text("ab :#'\"\\-\n?,[]{}&*!|>%@`~=<.{{}}$é😀\t", max_size=12)
tags = st.sampled_from(["v1", "1.27", "latest", ""])
values = st.fixed_dictionaries(
    {"repository": names, "tag": tags}, optional={"digest": st.just(""), "registry": st.just("")}
)
keys = st.sampled_from(["image", "images", "name", "newTag", "spec", "status", "kind", "apiVersion", "tag"])
documents = st.recursive(
    names | texts | st.none() | st.booleans() | st.floats() | values,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=15,
)
styles = st.sampled_from(
    [{}, {"default_flow_style": True}, {"default_style": "'"}, {"default_style": '"'}, {"width": 10}]
)


def marked(text):
    return MarkedText(text.encode("utf-8", "surrogatepass"), "some.yml")


def scalars(node):
    if isinstance(node, ScalarNode):
        return [node]
    inside = (
        node.items if isinstance(node, SequenceNode) else [item for pair in node.entries for item in pair]
    )
    return [found for item in inside for found in scalars(item)]


def written(document, style):
    return yaml.safe_dump(document, allow_unicode=True, **style)


def edits(text, found, target):
    return [
        edit
        for one in found
        if isinstance(one, Occurrence)
        for edit in one.form.edits(
            text, target or one.reference.repository.digest(DIGEST), keeps_name=target is None
        )
    ]


def plain(text):
    return list(yaml.safe_load_all(text.decode()))


@given(documents, styles)
def test_the_identity_changes_no_byte(document, style):
    """Each scalar, given its own text, stays as it is written."""
    text = marked(written(document, style))
    for top in text.documents():
        for node in scalars(top):
            content = text.content(node)
            # What has escapes or line breaks in it is written anew, with the same meaning.
            if content is not None and text.text[slice(*content)] == scalar_text(node.text):
                edit = text.edit(node, node.text)
                assert text.replaced([edit]) == text.text.encode()
    assert text.replaced([]) == text.text.encode()


@given(documents, styles)
def test_a_rewrite_changes_what_was_found_and_nothing_else(document, style):
    """Found again, each reference is the one that was written; the document is otherwise the same."""
    text = marked(written(document, style))
    found = find_references(text)
    after = text.replaced(edits(text, found, None))
    again = find_references(MarkedText(after, "some.yml"))
    expected = [
        one.reference.repository.digest(DIGEST) if isinstance(one, Occurrence) else one.reason
        for one in found
    ]
    assert [one.reference if isinstance(one, Occurrence) else one.reason for one in again] == expected
    # A second time nothing is left to change.
    twice = MarkedText(after, "some.yml")
    assert twice.replaced(edits(twice, again, None)) == after
    if not any(isinstance(one, Occurrence) for one in found):
        assert after == text.text.encode()


@given(documents, styles)
def test_bytes_outside_of_the_edits_stay(document, style):
    """What is between the edits is the same text before and after."""
    text = marked(written(document, style))
    target = Reference.parse(f"inside.example/apps/bundle@{DIGEST}")
    made = sorted(set(edits(text, find_references(text), target)))
    rest, at = [], 0
    for edit in made:
        rest.append(text.text[at : edit.start])
        at = edit.end
    rest.append(text.text[at:])
    after, position = text.replaced(made).decode(), 0
    for piece, edit in zip(rest, [*made, None], strict=True):
        assert after.startswith(piece, position)
        position += len(piece) + (len(edit.new) if edit else 0)
    assert position == len(after)
    assert {one.reference for one in find_references(marked(after)) if isinstance(one, Occurrence)} <= {
        target
    }


@given(documents, st.sampled_from([None, 1, "\t"]), st.booleans())
def test_json_has_the_same_references_as_yaml(document, indent, ascii_only):
    """JSON is found by a scanner of its own."""
    # A scalar alone is read as YAML, and names no image.
    document = [document]
    as_json = marked(json.dumps(document, indent=indent, ensure_ascii=ascii_only))
    as_yaml = marked(written(document, {"sort_keys": False}))

    def all_of(text):
        return [(one.text, one.reference) for one in find_references(text) if isinstance(one, Occurrence)]

    assert all_of(as_json) == all_of(as_yaml)
    after = as_json.replaced(edits(as_json, find_references(as_json), None))
    json.loads(after)


@given(st.text("ab:-#'\"\n {}[],&*!|>%?~.imageé\t", max_size=60))
def test_any_text_is_read_or_refused(text):
    """No other error than that of an invalid document."""
    source = marked(text)
    try:
        found = find_references(source)
    except InvalidDocument:
        return
    after = MarkedText(source.replaced(edits(source, found, None)), "some.yml")
    assert all(one.reference.digest for one in find_references(after) if isinstance(one, Occurrence))


@given(st.text("abc/:@.[]'\" #\\é019-", min_size=1, max_size=20))
def test_a_text_is_read_as_itself(text):
    """In a flow collection and in block style."""
    for template in ("a: {}\n", "[{}, b]\n"):
        assert yaml.safe_load(template.replace("{}", scalar_text(text))) in ({"a": text}, [text, "b"])
