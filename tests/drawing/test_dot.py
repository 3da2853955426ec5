"""The graph in DOT, read by Graphviz itself."""

from __future__ import annotations

import json
import subprocess

import pytest
from tests.drawing.making import bundle, deep, hostile, image, shop, wide

from imgpkg.dataclass import replace
from imgpkg.drawing.dot import draw_dot
from imgpkg.drawing.labels import name_of


def read(root):
    """Return the labels of nodes, and pairs of labels for edges, as Graphviz has understood them."""
    # Its own JSON has the strings before entities and escapes are applied, its SVG what is shown.
    done = subprocess.run(
        ["dot", "-Tdot_json"], input=draw_dot(root).encode(), capture_output=True, check=True
    )
    assert done.stderr == b""
    graph = json.loads(done.stdout)
    labels = {node["_gvid"]: node["label"] for node in graph["objects"]}
    edges = [(labels[edge["tail"]], labels[edge["head"]]) for edge in graph["edges"]]
    first = {key: label.split("\\n")[0] for key, label in labels.items()}
    return list(labels.values()), [(first[e["tail"]], first[e["head"]]) for e in graph["edges"]], edges


@pytest.mark.parametrize("root", [shop(), wide(12), deep(5)], ids=["shop", "wide", "deep"])
def test_graphviz_reads_it_without_a_word(root):
    nodes, edges, _ = read(root)
    names = {label.split("\\n")[0] for label in nodes}
    assert {name_of(part) for part, _ in root.walk()} <= names
    assert len(edges) >= len(nodes) - 1


def test_what_bundles_and_images_have_are_edges():
    nodes, edges, _ = read(shop())
    assert ("shop/shop", "shop/database") in edges
    assert ("shop/api", "linux/amd64") in edges
    assert ("shop/worker", "signature") in edges
    assert ("shop/worker", "layer cae662172fd4") in edges
    assert "layer cae662172fd4\\n5.0 MB, in 3 images" in nodes
    assert any(
        label.startswith("shop/worker\\n") and "1 layer of its own, 600.0 kB" in label for label in nodes
    )


def test_an_image_in_two_bundles_is_one_node():
    shared = image("shared", ("l", 5))
    inner = bundle("inner", shared)
    again = replace(inner, parts=(), is_repeated=True)
    nodes, edges, _ = read(bundle("outer", bundle("between", inner), again, shared))
    assert [label.split("\\n")[0] for label in nodes].count("shared") == 1
    assert {("outer", "inner"), ("between", "inner"), ("outer", "shared"), ("inner", "shared")} <= set(edges)


def test_a_hostile_name_is_a_label():
    drawn = subprocess.run(
        ["dot", "-Tsvg"], input=draw_dot(hostile()).encode(), capture_output=True, check=True
    )
    assert drawn.stderr == b""
    assert b"<script" not in drawn.stdout
    # An entity in a name is shown as it is, and so is an escape.
    assert b"&amp;amp;" in drawn.stdout
    assert b"\\x00" in drawn.stdout
