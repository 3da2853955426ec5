"""Flowcharts of pages, as SVG: a forge draws them with a program from elsewhere, which a site must not need.

Of the language of Mermaid it knows what the pages use: nodes of four shapes, edges with labels, subgraphs.
The layout is that of Graphviz.
"""

from __future__ import annotations

import re
import subprocess
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLOCK = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_NODE = re.compile(r'\s*(\w+)(?:(\[\(|\(\[|\[|\{)"([^"]*)"(?:\)\]|\]\)|\]|\}))?\s*')
_EDGE = re.compile(r"(--|==)(?:>|\s*(.*?)\s*(?:--|==)>)")
_SUBGRAPH = re.compile(r"\s*subgraph (\w+) \[(.*)\]")
_SHAPES = {"[": "box", "[(": "cylinder", "([": "box", "{": "hexagon"}
_STYLES = {"[": "rounded", "([": "rounded"}
# In points, the width of the text of a page; what is wider is drawn from top to bottom.
_WIDEST = 520.0
_HEAD = (
    'graph [fontname="Helvetica" fontsize=12 nodesep=0.3 ranksep=0.35 bgcolor="transparent" pad=0.05]\n'
    'node [fontname="Helvetica" fontsize=12 margin="0.14,0.08" height=0.4]\n'
    'edge [fontname="Helvetica" fontsize=11 arrowsize=0.7]\n'
)


class Unreadable(ValueError):
    """A flowchart has something that is not known here."""


def drawn(markdown: str) -> str:
    """Return the text of a page with its flowcharts as SVG; raise Unreadable, or OSError without Graphviz."""
    return _BLOCK.sub(lambda found: _figure(found[1]), markdown)


def _figure(text: str) -> str:
    source = "\n".join(_statements(text))
    svg = _layout(source, "LR")
    if _width(svg) > _WIDEST:
        svg = _layout(source, "TB")
    # Sizes are those of the page, and colours those of its theme.
    svg = re.sub(r'<svg width="(\d+)pt" height="\d+pt"', r'<svg role="img" style="max-width: \1pt"', svg)
    svg = re.sub(r' (?:fill|stroke|font-family|font-size)="(?!none)[^"]*"', "", svg)
    svg = re.sub(r"<title>.*?</title>\n?|<!--.*?-->\n?", "", svg, flags=re.DOTALL)
    return f'<figure class="flowchart">{svg.strip()}</figure>'


def _layout(source: str, direction: str) -> str:
    graph = f"digraph {{\nrankdir={direction}\n{_HEAD}{source}\n}}\n"
    done = subprocess.run(
        ["dot", "-Tsvg"],  # noqa: S607 - found by PATH, as every tool of the build
        input=graph,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Unreadable(done.stderr)
    return done.stdout[done.stdout.index("<svg") :]


def _width(svg: str) -> float:
    found = re.search(r'width="(\d+)pt"', svg)
    return float(found[1]) if found else 0.0


def _statements(text: str) -> Iterator[str]:
    """Yield the statements of Graphviz for the lines of a flowchart."""
    kind, *lines = text.strip().splitlines()
    if not kind.startswith("flowchart "):
        raise Unreadable(f"not a flowchart: {kind}")
    for line in lines:
        if subgraph := _SUBGRAPH.fullmatch(line):
            yield f"subgraph cluster_{subgraph[1]} {{ label={_quoted(subgraph[2])}"
        elif line.strip() == "end":
            yield "}"
        else:
            yield from _chain(line)


def _chain(line: str) -> Iterator[str]:
    """Yield the nodes of a line, and the edges between them."""
    name, at, declared = _node(line, 0)
    yield from declared
    while at < len(line):
        edge = _EDGE.match(line, at)
        if not edge:
            raise Unreadable(f"not an edge: {line[at:]}")
        to, at, declared = _node(line, edge.end())
        yield from declared
        label = (edge[2] or "").strip('"')
        style = " class=thick penwidth=2" if edge[1] == "==" else ""
        yield f"{name} -> {to} [label={_quoted(f' {label} ' if label else '')}{style}]"
        name = to


def _node(line: str, at: int) -> tuple[str, int, list[str]]:
    found = _NODE.match(line, at)
    if not found:
        raise Unreadable(f"not a node: {line[at:]}")
    name, bracket, label = found.groups()
    if not bracket:
        return name, found.end(), []
    style = f' style="{_STYLES[bracket]}"' if bracket in _STYLES else ""
    return name, found.end(), [f"{name} [label={_quoted(label)} shape={_SHAPES[bracket]}{style}]"]


def _quoted(text: str) -> str:
    return '"' + escape(text, quote=False).replace('"', '\\"') + '"'
