"""Flowcharts of pages become SVG without colours of their own, and what cannot be read stops the build."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from tools.documentation.flowcharts import Unreadable, drawn

PROJECT = Path(__file__).parent.parent.parent
SVG = "{http://www.w3.org/2000/svg}"
PAGES = [
    path
    for path in (PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md")))
    if "```mermaid" in path.read_text()
]


def figures(text):
    return [ET.fromstring(found) for found in re.findall(r"<figure.*?</figure>", drawn(text), re.DOTALL)]


def texts(figure, kind):
    groups = [each for each in figure.iter(f"{SVG}g") if each.get("class", "").startswith(kind)]
    return [" ".join("".join(text.itertext()) for text in group.iter(f"{SVG}text")) for group in groups]


def chart(*lines):
    return (
        "before\n\n```mermaid\nflowchart LR\n"
        + "\n".join(f"    {line}" for line in lines)
        + "\n```\n\nafter\n"
    )


@pytest.mark.slow
class TestFlowcharts:
    @pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
    def test_those_of_the_pages_have_all_their_texts(self, page):
        text = page.read_text()
        found = figures(text)
        sources = re.findall(r"^```mermaid\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
        assert len(found) == len(sources)
        for figure, source in zip(found, sources, strict=True):
            shown = " ".join("".join(each.itertext()) for each in figure.iter(f"{SVG}text"))
            for label in re.findall(r'[\[({]"([^"]+)"', source):
                assert label.replace("\\n", " ") in shown.replace("  ", " ")

    def test_edges_and_their_labels_are_kept(self):
        (figure,) = figures(
            chart('a["one\\ntwo"] -- push --> b[("three")]', 'b == "carried over" ==> c --> a')
        )
        assert texts(figure, "node") == ["one two", "three", "c"]
        assert [text.strip() for text in texts(figure, "edge")] == ["push", "carried over", ""]

    def test_what_is_around_them_stays(self):
        text = drawn(chart('a["one"] --> b'))
        assert text.startswith("before\n\n<figure")
        assert text.endswith("</figure>\n\nafter\n")
        # An empty line would end the block of HTML.
        assert "\n\n" not in text.removeprefix("before\n\n").removesuffix("\n\nafter\n")

    def test_marks_of_html_in_a_label_are_text(self):
        (figure,) = figures(chart('a["<b> & x"] --> b'))
        assert texts(figure, "node") == ["<b> & x", "b"]

    def test_colours_are_those_of_the_theme(self):
        assert not re.findall(r'(?:fill|stroke)="(?!none)', drawn(chart('a{"one"} -- no --> b(["two"])')))


@pytest.mark.parametrize("line", ["a -- b", "a --> ", "-->", "a --> b &", "click a call()"])
def test_what_is_not_known_stops_the_build(line):
    with pytest.raises(Unreadable):
        drawn(chart(line))


def test_another_kind_of_diagram_stops_the_build():
    with pytest.raises(Unreadable, match="sequenceDiagram"):
        drawn("```mermaid\nsequenceDiagram\n  a->>b: x\n```\n")
