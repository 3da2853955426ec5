"""Write the locations record of each copied bundle to its new repository."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from imgpkg.bundle.locations import FILE_NAME, ImageLocations, Location
from imgpkg.bundle.tagging import internal_tag, locations_tag
from imgpkg.content.image import build_image
from imgpkg.content.pack import pack_file
from imgpkg.errors import RegistryError, doing

if TYPE_CHECKING:
    from imgpkg.content.image import BuiltImage
    from imgpkg.oci.digest import Digest
    from imgpkg.operations.collect import Record
    from imgpkg.operations.transfer import Destination


def write_locations(record: Record, to: Destination, *, is_fresh: bool) -> None:
    """Push `record` as an image of its own under the two tags of its bundle.

    A registry whose tags are immutable may refuse to replace a record; the one it has then stays.
    """
    bundle = record.bundle
    tag = to.repository.tag(locations_tag(bundle))
    with (
        doing(f"Creating copy information for bundle {to.repository.digest(bundle)}"),
        doing(f"Pushing locations image to '{tag}'"),
    ):
        layer = pack_file(FILE_NAME, _document(record).to_bytes())
        built = build_image(layer, {})
        if not is_fresh and to.holds(tag, built.manifest.digest):
            return
        to.client.push_blob(to.repository, layer.descriptor, layer.open, check=not is_fresh)
        _push(bundle, built, to, is_fresh=is_fresh)


def _document(record: Record) -> ImageLocations:
    return ImageLocations(tuple(Location(image, is_bundle) for image, is_bundle in record.images))


def _push(bundle: Digest, built: BuiltImage, to: Destination, *, is_fresh: bool) -> None:
    to.client.push_blob(
        to.repository, built.config_descriptor, lambda: io.BytesIO(built.config), check=not is_fresh
    )
    to.put(to.repository.tag(internal_tag(built.manifest.digest)), built.manifest, is_fresh=is_fresh)
    tag = to.repository.tag(locations_tag(bundle))
    try:
        to.put(tag, built.manifest, is_fresh=True)
    except RegistryError as error:
        if "immutable" not in str(error) or not to.has(tag):
            raise
