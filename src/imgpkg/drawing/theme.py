"""The colours of pictures, for light and dark pages, and the signs of the parts of a bundle."""

from __future__ import annotations

from string import Template
from typing import TYPE_CHECKING

from imgpkg.operations.breakdown import PartKind

if TYPE_CHECKING:
    from imgpkg.drawing.sharing import Sharing
    from imgpkg.oci.descriptor import Descriptor

# How many shared layers have a colour of their own.
HUES = 8
# What a shape can be filled with, by its class.
FILLS = ("own", "shared", *(f"hue{number}" for number in range(HUES)))
# Each can be told from the ground and from its neighbours; letters tell them apart where colours do not.
_LIGHT = ("#0969da", "#c27c00", "#1a7f37", "#8250df", "#cf222e", "#0b7f8f", "#bc4c00", "#bf3989")
_DARK = ("#539bf5", "#d9a13a", "#57ab5a", "#b083f0", "#f0716b", "#3fb6c4", "#e8894a", "#e275ad")
_LIGHT_PAGE = {
    "ground": "#ffffff",
    "raised": "#f6f8fa",
    "edge": "#d1d9e0",
    "text": "#1f2328",
    "quiet": "#59636e",
    "own": "#b3bcc7",
    "shared": "#6e7781",
    "problem": "#c2212c",
    "accent": "#0969da",
    "letter": "#ffffff",
}
_DARK_PAGE = {
    "ground": "#0d1117",
    "raised": "#161b22",
    "edge": "#3d444d",
    "text": "#f0f6fc",
    "quiet": "#9198a1",
    "own": "#5b6570",
    "shared": "#9aa4ae",
    "problem": "#ff7b72",
    "accent": "#4493f8",
    "letter": "#0d1117",
}
# Lines in a square of 16 pixels.
ICONS = {
    PartKind.BUNDLE: '<path d="M2 5 8 2l6 3v6.500L8 14.500l-6-3zM2 5l6 3 6-3M8 8v6.500"/>',
    PartKind.IMAGE: '<path d="M8 2l6 3-6 3-6-3zM2 8l6 3 6-3M2 11l6 3 6-3"/>',
    PartKind.PLATFORM: (
        '<path d="M4 4h8v8H4zM6.500 6.500h3v3h-3zM6 4V2M10 4V2M6 14v-2M10 14v-2'
        'M4 6H2M4 10H2M14 6h-2M14 10h-2"/>'
    ),
    PartKind.SIGNATURE: '<path d="M8 2l5 2v4c0 3-2 5-5 6-3-1-5-3-5-6V4zM5.500 8l2 2 3.500-4"/>',
    PartKind.ATTESTATION: '<path d="M4 2h6l3 3v9H4zM10 2v3h3M6 9.500l1.500 1.500L11 7.500"/>',
    PartKind.SBOM: '<path d="M4 2h6l3 3v9H4zM10 2v3h3M6 8h5M6 11h5"/>',
    PartKind.REFERRER: '<path d="M4 2h6l3 3v9H4zM10 2v3h3M6 8h5M6 11h3"/>',
    PartKind.LOCATIONS: '<path d="M8 14C5 10 4 8 4 6.500a4 4 0 0 1 8 0C12 8 11 10 8 14zM8 5v3"/>',
}
FONT = "-apple-system,BlinkMacSystemFont,'Segoe UI','Noto Sans','DejaVu Sans',Helvetica,Arial,sans-serif"


def themed(rules: str) -> str:
    """Return CSS with colours in place of their names, `$text` or `$hue0`: for light pages, then for dark.

    Without custom properties, which many programs that show SVG do not know.
    """
    template = Template(rules)
    light = template.substitute(_LIGHT_PAGE, **_hues(_LIGHT))
    dark = template.substitute(_DARK_PAGE, **_hues(_DARK))
    return f"{light}@media(prefers-color-scheme:dark){{{dark}}}"


def _hues(colours: tuple[str, ...]) -> dict[str, str]:
    return {f"hue{number}": colour for number, colour in enumerate(colours)}


def properties() -> str:
    """Return the rules that set a custom property for each colour, such as `--text` and `--hue0`."""
    names = (*_LIGHT_PAGE, *_hues(_LIGHT))
    return themed(f":root{{{''.join(f'--{name}:${name};' for name in names)}}}")


class Colours:
    """The class and the letter of each layer of a bundle.

    The shared layers that save most have a colour and a letter of their own, other shared layers have one
    colour, and those of one image have another one.
    """

    def __init__(self, sharing: Sharing) -> None:
        self._sharing = sharing
        self._hues = {blob.descriptor.digest: hue for hue, blob in enumerate(sharing.largest_shared[:HUES])}

    def of(self, layer: Descriptor) -> str:
        """Return the class that fills the shape of a layer."""
        if layer.digest in self._hues:
            return f"hue{self._hues[layer.digest]}"
        return "shared" if self._sharing.blobs[layer.digest].is_shared else "own"

    def letter(self, layer: Descriptor) -> str:
        """Return the letter of a layer; empty for most."""
        hue = self._hues.get(layer.digest)
        return "" if hue is None else chr(ord("A") + hue)
