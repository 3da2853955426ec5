"""Paths that name places in documents."""

from __future__ import annotations

import pytest

from imgpkg.bundle.kubernetes import find_references
from imgpkg.bundle.node_path import NodePath, PathState
from imgpkg.bundle.yaml_text import MarkedText
from imgpkg.errors import UsageError

DOCUMENT = """\
spec:
  runner: a/runner:1
  sidecars:
  - {name: one, ref: a/one:1}
  - {name: two, ref: a/two:1}
  list: [a/three:1, a/four:1]
  "dotted.key": a/five:1
  deep: {er: {ref: a/six:1}}
  env:
  - {name: RELATED_IMAGE_X, value: a/x:1}
  - {name: OTHER, value: no image}
  helm: {repository: a/helm, tag: "1"}
  tagged: [{kind: yes, ref: a/seven:1}]
  odd: [[{ref: a/eight:1}]]
"""


def found(*paths):
    text = MarkedText(DOCUMENT.encode(), "some.yml")
    parsed = [NodePath.parse(path) for path in paths]
    return [one.text.removeprefix("a/") for one in find_references(text, parsed)]


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("spec.runner", ["runner:1"]),
        (".spec.runner", ["runner:1"]),
        ("$.spec.runner", ["runner:1"]),
        ("spec.sidecars.ref", ["one:1", "two:1"]),
        ("spec.sidecars[name=two].ref", ["two:1"]),
        ("spec.sidecars[nosuch=two].ref", []),
        ("spec.list", ["three:1", "four:1"]),
        ('spec."dotted.key"', ["five:1"]),
        ("spec.dotted.key", []),
        ("**.ref", ["one:1", "two:1", "six:1", "seven:1", "eight:1"]),
        ("spec.**.er.ref", ["six:1"]),
        ("spec.**.deep.er.ref", ["six:1"]),
        ("spec.*.ref", ["one:1", "two:1", "seven:1", "eight:1"]),
        ("spec.side*.r*f", ["one:1", "two:1"]),
        ("**.env[name=RELATED_IMAGE_*].value", ["x:1"]),
        ("spec.helm", ["helm:1"]),
        ("spec.helm[tag=1]", ["helm:1"]),
        ("spec.helm[tag=2]", []),
        ("spec.list[name=x]", []),
        ("runner", []),
        ("spec.runner.more", []),
    ],
)
def test_a_path_selects(path, texts):
    assert found(path) == texts


def test_several_paths_select_what_each_does():
    assert found("spec.runner", "**.runner", "**.er.ref") == ["runner:1", "six:1"]


@pytest.mark.parametrize(
    "path", ["", ".", "a..b", "a.", "a[b]", "a[0]", 'a"b"', "a[b=c", "**", "a.**", "a.b]", '"a', "[a=b]", "$"]
)
def test_what_is_no_path_is_refused(path):
    with pytest.raises(UsageError, match="is no path of a document") as caught:
        NodePath.parse(path)
    assert "env[name=IMAGE_*]" in caught.value.hints[0]


def test_states_with_the_same_paths_left_are_equal():
    path = NodePath.parse("**.a.b")
    start = PathState.start([path])
    assert start.into("x") == PathState.start([path])
    assert hash(start.into("x")) == hash(start)
    assert start.into("a") != start
    assert start != "start"
    assert start.into("a").into("b").is_selected
