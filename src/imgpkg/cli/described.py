"""The forms in which `imgpkg describe` prints a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.errors import printable
from imgpkg.operations.describe import Description, ImageInfo, ImageType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.bundle.yaml_writer import Node
    from imgpkg.oci.digest import Digest

_INDENT = "  "
# What branches and what ends, with what stands below each.
_BRANCH, _LAST = ("├── ", "│   "), ("└── ", "    ")
_SHORT = 12


def text(description: Description, *, layers: bool) -> Iterator[str]:
    """Yield the lines of the original's form, newlines included; `layers` tells whether they were read."""
    yield f"Bundle SHA: {description.digest}\n"
    yield "\n"
    yield from _content(description, 0, layers=layers)


def _content(bundle: Description, level: int, *, layers: bool) -> Iterator[str]:
    if not bundle.bundles and not bundle.images:
        return
    # Nested levels begin as deep as their heading; only those of the root are one step further in.
    heading = _INDENT * (level + 1 if level else 0)
    entry = _INDENT * (level + 1)
    yield f"{heading}Images:\n"
    for position, inner in enumerate(bundle.bundles):
        if position:
            yield "\n"
        yield f"{entry}- Image: {inner.image}\n"
        yield f"{entry}  Type: Bundle\n"
        yield f"{entry}  Origin: {inner.origin}\n"
        yield from _details(inner.layers, inner.annotations, f"{entry}  ", layers=layers)
        if inner.is_repeated:
            yield f"{entry}  Images: (listed above)\n"
        yield from _content(inner, level + 1, layers=layers)
    for image in bundle.images:
        yield from _image(image, entry, layers=layers)


def _image(image: ImageInfo, entry: str, *, layers: bool) -> Iterator[str]:
    yield f"{entry}- Image: {image.image}\n"
    yield f"{entry}  Type: {image.image_type.value}\n"
    if image.error:
        yield f"{entry}  Error: {printable(image.error)}\n"
        return
    if image.image_type is ImageType.IMAGE:
        yield f"{entry}  Origin: {image.origin}\n"
    yield from _details(image.layers, image.annotations, f"{entry}  ", layers=layers)


def _details(
    digests: Iterable[Digest], annotations: Mapping[str, str], indent: str, *, layers: bool
) -> Iterator[str]:
    if layers:
        yield f"{indent}Layers:\n"
        yield from (f"{indent}  - Digest: {digest}\n" for digest in digests)
    if annotations:
        yield f"{indent}Annotations:\n"
        lines = (f"{indent}  {key}: {annotations[key]}" for key in sorted(annotations))
        yield from (f"{printable(line)}\n" for line in lines)


def yaml(description: Description) -> str:
    """Return the original's YAML, with the digest of the bundle before it."""
    from imgpkg.bundle.yaml_writer import dump  # noqa: PLC0415 - the other forms do without YAML

    return f"sha: {description.digest}\n{dump(_bundle(description))}"


def json(description: Description) -> dict[str, Node]:
    """Return what JSON is to show: the fields of the YAML form, the digest among them."""
    return {"sha": str(description.digest), **_bundle(description)}


def _bundle(bundle: Description) -> dict[str, Node]:
    content: dict[str, Node] = {}
    if bundle.bundles:
        content["bundles"] = {str(inner.digest): _bundle(inner) for inner in bundle.bundles}
    if bundle.images:
        content["images"] = {image.key: _fields(image) for image in bundle.images}
    document: dict[str, Node] = {
        "annotations": dict(bundle.annotations),
        "image": bundle.image,
        "layers": _layers(bundle.layers),
        "origin": bundle.origin,
    }
    repeated: dict[str, Node] = {"repeated": True} if bundle.is_repeated else {}
    return {**_filled(document), "content": content, "metadata": {}, **repeated}


def _fields(image: ImageInfo) -> dict[str, Node]:
    return _filled(
        {
            "annotations": dict(image.annotations),
            "error": image.error,
            "image": image.image,
            "imageType": image.image_type.value,
            "layers": _layers(image.layers),
            "origin": image.origin,
        }
    )


def _layers(digests: Iterable[Digest]) -> list[Node]:
    return [{"digest": str(digest)} for digest in digests]


def _filled(fields: Mapping[str, Node]) -> dict[str, Node]:
    return {key: value for key, value in fields.items() if value}


def tree(description: Description) -> Iterator[str]:
    """Yield the lines of a drawing: the bundle, and below each bundle what it names, digests cut short."""
    yield f"Bundle {_name(description.image)}\n"
    yield from _branches(description, "")


def _branches(bundle: Description, indent: str) -> Iterator[str]:
    entries: list[Description | ImageInfo] = [*bundle.bundles, *bundle.images]
    for position, entry in enumerate(entries, 1):
        joint, below = _LAST if position == len(entries) else _BRANCH
        yield f"{indent}{joint}{printable(_label(entry, bundle))}\n"
        if isinstance(entry, Description):
            yield from _branches(entry, f"{indent}{below}")


def _label(entry: Description | ImageInfo, bundle: Description) -> str:
    kind = "Bundle" if isinstance(entry, Description) else entry.image_type.value
    if isinstance(entry, ImageInfo) and entry.error:
        return f"{kind} {entry.key} ({entry.error})"
    is_here = _repository(entry.image) == _repository(bundle.image)
    is_moved = is_here and _repository(entry.origin) != _repository(entry.image)
    is_repeated = isinstance(entry, Description) and entry.is_repeated
    notes = f"{' (copied here)' if is_moved else ''}{' (listed above)' if is_repeated else ''}"
    return f"{kind} {_name(entry.origin)}{notes}"


def _repository(reference: str) -> str:
    return reference.partition("@")[0]


def _name(reference: str) -> str:
    """Return a digest reference with its digest as short as people say it."""
    repository, _, digest = reference.partition("@sha256:")
    return f"{repository}@{digest[:_SHORT]}" if digest else repository
