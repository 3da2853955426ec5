"""The JSON and YAML form of the description of a bundle, which has the fields of the original."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from imgpkg.bundle.inventory import Base
    from imgpkg.bundle.yaml_writer import Node
    from imgpkg.oci.descriptor import Digest
    from imgpkg.operations.description import Description, ImageInfo


def described(description: Description) -> dict[str, Node]:
    """Return the form of a description: the digest of the bundle, then its content."""
    return {"sha": str(description.digest), **content_of(description)}


def content_of(description: Description) -> dict[str, Node]:
    """Return a bundle, and below it what it names, and without which blobs its file was made."""
    return {**_bundle(description), **_bases(description.bases)}


def _bases(bases: Iterable[Base]) -> dict[str, Node]:
    # New: left out where there is none, so that other descriptions are those of the original.
    listed: list[Node] = [base.fields() for base in bases]
    return {"bases": listed} if listed else {}


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
            "cutFrom": image.cut_from,
            "error": image.error,
            "image": image.image,
            "imageType": image.image_type.value,
            "layers": _layers(image.layers),
            "origin": image.origin,
            "platforms": list(image.platforms),
        }
    )


def _layers(digests: Iterable[Digest]) -> list[Node]:
    return [{"digest": str(digest)} for digest in digests]


def _filled(fields: Mapping[str, Node]) -> dict[str, Node]:
    # Go omits empty fields that are tagged `omitempty`.
    return {key: value for key, value in fields.items() if value}
