"""A page of HTML about a bundle: its tree, its sizes as areas, its layers and what is attached, in one file.

It loads nothing, and works without its script, which adds the search. Its own style and script are allowed by
their digests (Content Security Policy Level 3, §8.2), so that nothing a registry says can ever be run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.drawing.labels import (
    heading_of,
    human_size,
    kind_of,
    layers_counted,
    markup,
    name_of,
    place_of,
    summary_of,
)
from imgpkg.drawing.sharing import Sharing
from imgpkg.drawing.tables import Anchors, attachments_table, bar, layers_table, swatch, treemap
from imgpkg.drawing.theme import FILLS, FONT, ICONS, Colours, properties
from imgpkg.operations.breakdown import BundlePart, PartKind

if TYPE_CHECKING:
    from collections.abc import Iterator

_FOOTER = (
    "<footer>Made by <code>imgpkg describe -o html</code>. Sizes are those of layers as they are moved, with"
    " manifests and configurations, each once.</footer>"
)
_SEARCH = (
    '<div class="search" role="search" hidden><input type="search" aria-label="Search"'
    ' placeholder="Search names, digests, annotations  ( / )">'
    '<button type="button" aria-pressed="false">Open all</button>'
    '<output class="quiet" aria-live="polite"></output></div>'
)


def draw_page(root: BundlePart) -> str:
    """Return the page of a bundle: a whole HTML document."""
    sharing = Sharing(root)
    colours, anchors = Colours(sharing), Anchors(sharing)
    style = _asset("page.css").replace("FONT", FONT) + properties()
    style += "".join(f".{name}{{fill:var(--{name})}}" for name in FILLS)
    script = _asset("page.js")
    facts = "".join(f"<li>{markup(phrase)}</li>" for phrase in summary_of(sharing))
    blocks = [
        "<!DOCTYPE html>",
        '<html lang="en">',
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        '<link rel="icon" href="data:,">',
        f"<title>{markup(heading_of(root))}</title>",
        f"<style>{style}</style>",
        f"<header><h1>{markup(heading_of(root))}</h1>",
        f"<code>{markup(root.reference)}</code>",
        f'<ul class="facts">{facts}</ul></header>',
        f"<main>{_SEARCH}",
        '<section><h2 id="contents">Contents</h2>',
        *_Tree(sharing, colours, anchors).lines(),
        "</section>",
        *treemap(colours, anchors),
        *layers_table(colours, anchors),
        *attachments_table(sharing, anchors),
        "</main>",
        _FOOTER,
        f"<script>{script}</script>",
        "</html>",
    ]
    return "\n".join(blocks) + "\n"


def _asset(name: str) -> str:
    # Not importlib.resources: it imports archives, and takes longer than all else here.
    with open(os.path.join(os.path.dirname(__file__), name), encoding="utf-8") as asset:
        return asset.read()


def _policy(style: str, script: str) -> str:
    sources = f"style-src {_source(style)}; script-src {_source(script)}; img-src data:"
    return f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"


def _source(text: str) -> str:
    import base64
    import hashlib

    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


class _Tree:
    """The entries of all parts, each within that of the part above it."""

    def __init__(self, sharing: Sharing, colours: Colours, anchors: Anchors) -> None:
        self._sharing = sharing
        self._colours = colours
        self._anchors = anchors
        self._longest = max(sum(layer.size for layer in part.layers) for part, _ in sharing.root.walk())
        self._numbers = iter(range(len(anchors)))

    def lines(self) -> Iterator[str]:
        """Yield the list of entries."""
        yield '<ul class="tree">'
        yield from self._entry(self._sharing.root)
        yield "</ul>"

    def _entry(self, part: BundlePart) -> Iterator[str]:
        kind = ' class="bundle"' if part.kind is PartKind.BUNDLE else ""
        yield f'<li{kind} id="p{next(self._numbers)}"><details><summary>{self._summary(part)}</summary>'
        yield f'<div class="about"><dl>{"".join(self._facts(part))}</dl></div></details>'
        if part.parts:
            yield "<ul>"
            for below in part.parts:
                yield from self._entry(below)
            yield "</ul>"
        yield "</li>"

    def _summary(self, part: BundlePart) -> str:
        size = "" if part.problem or part.is_repeated else human_size(self._sharing.size_below(part))
        name, kind = name_of(part), kind_of(part)
        note = f'<span class="kind">{markup(kind)}</span>' if kind != name else ""
        if part.problem:
            note += f'<span class="kind problem">{markup(part.problem)}</span>'
        return (
            f'<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{ICONS[part.kind]}</svg>'
            f'<span><span class="name">{markup(name)}</span>{note}</span>'
            f'<span class="share">{bar(part, self._longest, self._colours, self._anchors)}</span>'
            f'<span class="size">{size}</span>'
        )

    def _facts(self, part: BundlePart) -> Iterator[str]:
        yield _fact("Repository", f"<code>{markup(place_of(part))}</code>")
        if part.digest is not None:
            yield _fact("Digest", f"<code>{part.digest}</code>")
        if part.origin and part.origin != part.reference:
            yield _fact("Origin", f"<code>{markup(part.origin)}</code>")
        if part.artifact_type:
            yield _fact("Type", f"<code>{markup(part.artifact_type)}</code>")
        if part.manifest is not None:
            yield _fact("Media type", f"<code>{markup(part.manifest.media_type)}</code>")
        yield from (_fact(markup(key), markup(value)) for key, value in sorted(part.annotations.items()))
        if part.is_repeated:
            above = self._anchors.of(part)
            yield _fact("Contents", f'<a href="#{above}">shown above</a>')
        if part.layers:
            yield _fact(layers_counted(len(part.layers)).capitalize(), f"<ol>{self._layers(part)}</ol>")

    def _layers(self, part: BundlePart) -> str:
        return "".join(
            f"<li>{swatch(layer, self._colours)} {self._anchors.link(layer)} {human_size(layer.size)}</li>"
            for layer in part.layers
        )


def _fact(name: str, value: str) -> str:
    return f"<dt>{name}</dt><dd>{value}</dd>"
