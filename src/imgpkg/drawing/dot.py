"""A bundle as a graph in the DOT language of Graphviz: its parts, and the layers that several have."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.drawing.labels import heading_of, human_size, layers_counted, name_of, place_of, short, summary_of
from imgpkg.drawing.sharing import SharedBlob, Sharing
from imgpkg.errors import printable
from imgpkg.expression import expression
from imgpkg.operations.breakdown import BundlePart, PartKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SURROGATES = expression("[\ud800-\udfff]")
# A colour is that of the frame or of the ground; all are readable on white.
_LOOKS = {
    PartKind.BUNDLE: 'shape=box3d, style="filled", fillcolor="#ddf4ff", color="#0969da"',
    PartKind.IMAGE: 'shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#59636e"',
    PartKind.PLATFORM: 'shape=box, style="rounded", color="#818b98"',
}
_ATTACHED = 'shape=note, color="#818b98"'
_LAYER = 'shape=cylinder, style="filled", fillcolor="#fff8c5", color="#9a6700"'
_PROBLEM = 'fontcolor="#c2212c", color="#c2212c"'
# Parts that are named, listed or attached; what a part consists of; what is broken down elsewhere.
_BELOW, _CONSISTS = "", ' [color="#9a6700", arrowhead=none]'
_ATTACHES = ' [style=dashed, dir=back, color="#818b98"]'


def draw_dot(root: BundlePart) -> str:
    """Return the graph of a bundle for `dot`.

    An image that several bundles name is one node, as is a layer that several images have. The layers that
    one image has are counted in its label.
    """
    sharing = Sharing(root)
    parts = [part for part, _ in root.walk()]
    nodes = _nodes(parts)
    layers = {f"layer{at}": blob for at, blob in enumerate(sharing.largest_shared)}
    lines = [
        "digraph bundle {",
        f"  label={_quoted(heading_of(root), ', '.join(summary_of(sharing)))};",
        '  labelloc=t; fontname="Helvetica"; rankdir=LR; nodesep=0.15; ranksep=0.6;',
        '  node [fontname="Helvetica", fontsize=11]; edge [color="#59636e", arrowsize=0.7];',
        *(f"  {name} {_node(part, sharing)};" for name, part in nodes.items()),
        *(f"  {name} {_layer(blob)};" for name, blob in layers.items()),
        *dict.fromkeys(_edges(parts, {_key(part): name for name, part in nodes.items()})),
        *_consists(layers, {_key(part): name for name, part in nodes.items()}),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _key(part: BundlePart) -> str:
    return str(part.digest or part.reference)


def _nodes(parts: list[BundlePart]) -> dict[str, BundlePart]:
    """Return a part for each node: where a bundle is repeated, the one that is broken down."""
    whole: dict[str, BundlePart] = {}
    for part in parts:
        if not part.is_repeated:
            whole.setdefault(_key(part), part)
    return {f"part{at}": part for at, part in enumerate(whole.values())}


def _node(part: BundlePart, sharing: Sharing) -> str:
    look = _LOOKS.get(part.kind, _ATTACHED)
    if part.problem:
        return f"[{look}, {_PROBLEM}, label={_quoted(name_of(part), part.problem)}]"
    about = f"{short(part.digest)}  {human_size(sharing.size_below(part))}"
    lines = [name_of(part), about, *_own(part, sharing)]
    return f"[{look}, label={_quoted(*lines)}, tooltip={_quoted(f'{place_of(part)}@{part.digest}')}]"


def _own(part: BundlePart, sharing: Sharing) -> Iterator[str]:
    own = [layer for layer in part.layers if not sharing.blobs[layer.digest].is_shared]
    if own and part.kind is not PartKind.BUNDLE:
        yield f"{layers_counted(len(own))} of its own, {human_size(sum(layer.size for layer in own))}"


def _layer(blob: SharedBlob) -> str:
    descriptor = blob.descriptor
    size = human_size(descriptor.size)
    said = _quoted(f"layer {short(descriptor.digest)}", f"{size}, in {len(blob.parts)} images")
    return f"[{_LAYER}, label={said}, tooltip={_quoted(str(descriptor.digest))}]"


def _edges(parts: list[BundlePart], names: Mapping[str, str]) -> Iterator[str]:
    for part in parts:
        for below in part.parts:
            is_named = below.kind in _LOOKS
            look = _BELOW if is_named else _ATTACHES
            yield f"  {names[_key(part)]} -> {names[_key(below)]}{look};"


def _consists(layers: Mapping[str, SharedBlob], names: Mapping[str, str]) -> Iterator[str]:
    for layer, blob in layers.items():
        yield from (f"  {names[_key(part)]} -> {layer}{_CONSISTS};" for part in blob.parts)


def _quoted(*lines: str) -> str:
    """Return a string of DOT with these lines, in which nothing is an escape or an entity."""
    return '"' + "\\n".join(map(_plain, lines)) + '"'


def _plain(text: str) -> str:
    text = _SURROGATES.sub("\ufffd", printable(text))
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("&", "&amp;")
