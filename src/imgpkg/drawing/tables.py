"""What the page of a bundle shows beside its tree: sizes as areas, and tables of layers and attachments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.drawing.labels import ATTACHED, full_name, human_size, kind_of, layers_counted, markup, short
from imgpkg.drawing.treemap import Rectangle, divided

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.drawing.sharing import SharedBlob, Sharing
    from imgpkg.drawing.theme import Colours
    from imgpkg.oci.descriptor import Descriptor
    from imgpkg.operations.breakdown import BundlePart

_AREA = Rectangle(0, 0, 1000, 400)
# More rectangles than this are too small to be seen.
_MOST_CELLS = 500
# In units of the area: what a name and a size need.
_NAME_WIDTH, _NAME_HEIGHT, _SIZE_HEIGHT = 55, 22, 42
_SECTION = '<section><h2 id="{0}">{1}</h2>'
_TABLE = '<div class="scroll"><table><thead><tr>{}</tr></thead><tbody>'
_TABLE_END = "</tbody></table></div></section>"


class Anchors:
    """The ids on the page: `p3` is that of the fourth part in the tree, `l0` that of the largest layer."""

    def __init__(self, sharing: Sharing) -> None:
        parts = [part for part, _ in sharing.root.walk()]
        self._count = len(parts)
        self._parts: dict[str, str] = {}
        for at, part in enumerate(parts):
            # A bundle that is repeated is broken down where it is first.
            self._parts.setdefault(_key(part), f"p{at}")
        self.layers = sorted(
            sharing.layers, key=lambda blob: (-blob.descriptor.size, str(blob.descriptor.digest))
        )
        self._layers = {blob.descriptor.digest: f"l{at}" for at, blob in enumerate(self.layers)}

    def __len__(self) -> int:
        return self._count

    def of(self, part: BundlePart) -> str:
        """Return the id of the first entry of a part."""
        return self._parts[_key(part)]

    def layer(self, layer: Descriptor) -> str:
        """Return the id of a layer."""
        return self._layers[layer.digest]

    def link(self, layer: Descriptor) -> str:
        """Return a link to the row of a layer."""
        at = self.layer(layer)
        return f'<a class="digest" href="#{at}" data-layer="{at}">{short(layer.digest)}</a>'


def _key(part: BundlePart) -> str:
    return str(part.digest or part.reference)


def bar(part: BundlePart, longest: int, colours: Colours, anchors: Anchors) -> str:
    """Return the layers of a part side by side; `longest` is the number of bytes in the longest bar."""
    if not part.layers or not longest:
        return ""
    shapes, x = [], 0.0
    for layer in part.layers:
        width = 100 * layer.size / longest
        kind, at = colours.of(layer), anchors.layer(layer)
        # Between two layers is a gap that has the same width in every bar.
        shown = max(width - 0.5, 0.3)
        shapes.append(
            f'<rect class="{kind}" data-layer="{at}" x="{x:.2f}%" width="{shown:.2f}%" height="100%" rx="2"/>'
        )
        x += width
    return f'<svg class="bar" aria-hidden="true">{"".join(shapes)}</svg>'


def swatch(layer: Descriptor, colours: Colours) -> str:
    """Return the colour and the letter of a layer."""
    letter = colours.letter(layer)
    text = f'<text x="8" y="12">{letter}</text>' if letter else ""
    square = f'<rect class="{colours.of(layer)}" width="16" height="16" rx="3"/>'
    return f'<svg class="swatch" viewBox="0 0 16 16" aria-hidden="true">{square}{text}</svg>'


def treemap(colours: Colours, anchors: Anchors) -> Iterator[str]:
    """Yield the section with a rectangle for each layer; nothing where there are none.

    Layers that several images have are together, and so are those of one image.
    """
    blobs = [blob for blob in anchors.layers if blob.descriptor.size][:_MOST_CELLS]
    if not blobs:
        return
    groups: dict[str, list[SharedBlob]] = {}
    for blob in blobs:
        groups.setdefault("" if blob.is_shared else _key(blob.parts[0]), []).append(blob)
    sized = sorted(((_total(group), group) for group in groups.values()), key=lambda one: -one[0])
    yield _SECTION.format("sizes", "Sizes")
    yield '<svg class="map" role="img" aria-label="Layers; their areas are in proportion to their sizes">'
    for area, (_, group) in zip(divided([size for size, _ in sized], _AREA), sized, strict=True):
        cells = divided([blob.descriptor.size for blob in group], area)
        yield from (_cell(blob, cell, colours, anchors) for blob, cell in zip(group, cells, strict=True))
    yield "</svg>"
    left = len(anchors.layers) - len(blobs)
    smaller = f" {layers_counted(left).capitalize()} are too small to be shown." if left else ""
    yield (
        '<p class="quiet">Each layer once: in colours those that several images have, in grey those that one'
        f" image has.{smaller}</p></section>"
    )


def _total(group: list[SharedBlob]) -> int:
    return sum(blob.descriptor.size for blob in group)


def _cell(blob: SharedBlob, cell: Rectangle, colours: Colours, anchors: Anchors) -> str:
    layer = blob.descriptor
    names = ", ".join(map(full_name, blob.parts))
    name = f"{colours.letter(layer)} {_users_counted(blob)}".strip() if blob.is_shared else names
    size = human_size(layer.size)
    words = ""
    if cell.width >= _NAME_WIDTH and cell.height >= _NAME_HEIGHT:
        words += f'<text x="8" y="19">{markup(name)}</text>'
        if cell.height >= _SIZE_HEIGHT:
            words += f'<text class="small" x="8" y="36">{size}</text>'
    x, y = 100 * cell.x / _AREA.width, 100 * cell.y / _AREA.height
    width, height = 100 * cell.width / _AREA.width, 100 * cell.height / _AREA.height
    dark = "" if blob.is_shared else ' class="dark"'
    at = anchors.layer(layer)
    return (
        f'<a href="#{at}"><svg{dark} x="{x:.3f}%" y="{y:.3f}%" width="{width:.3f}%" height="{height:.3f}%">'
        f"<title>{markup(f'{short(layer.digest)}, {size}: {names}')}</title>"
        f'<rect class="{colours.of(layer)}" data-layer="{at}" width="100%" height="100%"/>{words}</svg></a>'
    )


def _users_counted(blob: SharedBlob) -> str:
    return f"in {len(blob.parts)} images"


def layers_table(colours: Colours, anchors: Anchors) -> Iterator[str]:
    """Yield the section with all layers, the largest first."""
    if not anchors.layers:
        return
    yield _SECTION.format("layers", f'Layers <span class="quiet">{len(anchors.layers):,}</span>')
    yield _TABLE.format(
        '<th><th data-sort="text">Digest<th class="number" data-sort="number">Size'
        '<th class="number" data-sort="number">Images<th class="wide" data-sort="text">Media type<th>In'
    )
    for blob in anchors.layers:
        layer = blob.descriptor
        users = ", ".join(
            f'<a href="#{anchors.of(part)}">{markup(full_name(part))}</a>' for part in blob.parts
        )
        yield (
            f'<tr id="{anchors.layer(layer)}" data-words="{layer.digest}"><td>{swatch(layer, colours)}'
            f'<td class="digest" title="{layer.digest}">{short(layer.digest)}'
            f'<td class="number" data-value="{layer.size}">{human_size(layer.size)}'
            f'<td class="number">{len(blob.parts)}<td class="wide type">{markup(layer.media_type)}'
            f'<td class="users">{users}</tr>'
        )
    yield _TABLE_END


def attachments_table(sharing: Sharing, anchors: Anchors) -> Iterator[str]:
    """Yield the section with all that is attached; nothing where there is nothing."""
    attached = [
        (below, part) for part, _ in sharing.root.walk() for below in part.parts if below.kind in ATTACHED
    ]
    if not attached:
        return
    yield _SECTION.format("attachments", f'Attachments <span class="quiet">{len(attached):,}</span>')
    yield _TABLE.format(
        '<th data-sort="text">Kind<th data-sort="text">Type<th data-sort="text">Digest'
        '<th class="number" data-sort="number">Size<th data-sort="text">Attached to'
    )
    for below, part in attached:
        size = sharing.size_below(below)
        shown = f'<span class="problem">{markup(below.problem)}</span>' if below.problem else human_size(size)
        yield (
            f'<tr><td>{markup(kind_of(below))}<td class="type">{markup(below.artifact_type)}'
            f'<td><a class="digest" href="#{anchors.of(below)}">{short(below.digest) or "unknown"}</a>'
            f'<td class="number" data-value="{size}">{shown}'
            f'<td><a href="#{anchors.of(part)}">{markup(full_name(part))}</a></tr>'
        )
    yield _TABLE_END
