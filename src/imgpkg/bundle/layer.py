"""Find imgpkg's own files in the one layer of a bundle or a locations image."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from imgpkg.bundle.locations import FILE_NAME, ImageLocations
from imgpkg.bundle.lock import ImagesLock
from imgpkg.bundle.yaml_reader import MAX_SIZE
from imgpkg.content.inflate import decompressed
from imgpkg.content.pieces import Pieces
from imgpkg.content.tar_reader import REGULAR, read_entries
from imgpkg.errors import InvalidLock, doing
from imgpkg.oci import media

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.oci.descriptor import Descriptor, Digest, Readable
    from imgpkg.oci.manifest import Manifest

BUNDLE, LOCATIONS = "bundle", "locations OCI Image"
IMAGES_FILE = ".imgpkg/images.yml"

_PIECE = 1 << 20
_LAYERS = media.LAYERS - media.NON_DISTRIBUTABLE


def check_single_layer(manifest: Manifest, what: str = BUNDLE) -> Descriptor:
    """Return the one layer of `manifest`, which errors call `what`; raise InvalidLock.

    Every layer type that is a tar is good, compressed or not.
    """
    if len(manifest.layers) != 1:
        raise InvalidLock(f"Expected {what} to only have a single layer, got {len(manifest.layers)}")
    (layer,) = manifest.layers
    if layer.media_type not in _LAYERS:
        raise InvalidLock(f"Expected layer to have docker layer media type, was {layer.media_type}")
    return layer


def read_images_lock(layer: Readable, image: Digest | None = None) -> ImagesLock:
    """Read the images lock of a bundle out of its layer; `image` is the bundle's digest, for errors.

    `layer` is read to its end, so that a verified stream has proved itself before anything is believed.
    Raises InvalidLock, UnpackError, or what `layer` raises.
    """
    with doing("Could not read bundle image layer contents"):
        plain = decompressed(layer)
    with doing("reading tar"):
        data = _find(plain, lambda name: posixpath.normpath(name) == IMAGES_FILE)
    with doing("Could not read bundle image layer contents"):
        _drain(layer)
    if data is None:
        raise InvalidLock(f"Expected to find {IMAGES_FILE} in bundle image")
    if image is None:
        return ImagesLock.parse(data, IMAGES_FILE)
    with doing(f"Unmarshalling ImagesLock from image with Digest '{image}'"):
        return ImagesLock.parse(data, IMAGES_FILE)


def read_image_locations(layer: Readable) -> ImageLocations:
    """Read the record out of the layer of a locations image, whatever folder it is in.

    Reads and raises as `read_images_lock`.
    """
    with doing("Could not read locations image layer contents"):
        plain = decompressed(layer)
    with doing("Reading tar"):
        data = _find(plain, lambda name: posixpath.basename(name) == FILE_NAME)
    with doing("Could not read locations image layer contents"):
        _drain(layer)
    if data is None:
        raise InvalidLock(f"Expected to find {FILE_NAME} in location image")
    return ImageLocations.parse(data)


def _find(tar: Readable, is_wanted: Callable[[str], bool]) -> bytes | None:
    """Return the content of the first file whose name is wanted; both separators count as one."""
    stream = Pieces(tar)
    for entry in read_entries(stream):
        name = entry.name.decode(errors="replace").replace("\\", "/")
        if entry.kind != REGULAR or not is_wanted(name):
            continue
        if entry.size > MAX_SIZE:
            raise InvalidLock(f"{name} has {entry.size} bytes; at most {MAX_SIZE} are read")
        return b"".join(bytes(part) for part in stream.content(entry.size))
    return None


def _drain(layer: Readable) -> None:
    while layer.read(_PIECE):
        pass
