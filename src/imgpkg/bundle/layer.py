"""Read imgpkg's own files from the one layer of a bundle or of a locations image."""

from __future__ import annotations

import posixpath
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from imgpkg.bundle.image import locations_tag, places_tag
from imgpkg.bundle.locations import FILE_NAME, ImageLocations
from imgpkg.bundle.lock import ImagesLock
from imgpkg.bundle.yaml_reader import MAX_SIZE
from imgpkg.content.inflate import decompressed
from imgpkg.content.tar.reader import REGULAR, Pieces, read_entries
from imgpkg.dataclass import dataclass
from imgpkg.errors import Forbidden, InvalidLock, NotFound, NotInFile, Unauthorized, doing
from imgpkg.oci import media
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference, Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.bundle.image import Image, Reader
    from imgpkg.content.tar.reader import TarStream
    from imgpkg.oci.descriptor import ByteReader, Descriptor, Digest

BUNDLE, LOCATIONS = "bundle", "locations OCI Image"
IMAGES_FILE = ".imgpkg/images.yml"

_PIECE = 1 << 20
# The bytes of a non-distributable layer may be missing from the registry (image-spec, layer.md).
_LAYERS = media.LAYERS - media.NON_DISTRIBUTABLE


@dataclass(frozen=True, slots=True)
class FoundLocations:
    """A locations record, and the image that contains it."""

    reference: Reference
    manifest: Manifest
    record: ImageLocations


def fetch_images_lock(client: Reader, bundle: Image) -> ImagesLock:
    """Fetch the images lock of `bundle`; raise InvalidLock, UnpackError or an error of the registry."""
    layer = check_single_layer(bundle.manifest)
    with _opened(client, bundle.reference.repository, layer, "bundle image") as stream:
        return read_images_lock(stream, bundle.manifest.digest)


def fetch_locations(client: Reader, bundle: Image) -> FoundLocations | None:
    """Fetch the locations record of `bundle`; return None where there is none, or none that may be read.

    A record that all images are in the repository of the bundle comes before one that they are in several.
    Raises InvalidLock or UnpackError for a damaged record, or an error of the registry.
    """
    digest = bundle.manifest.digest
    return _fetch_record(client, bundle, locations_tag(digest)) or fetch_places(client, bundle)


def fetch_places(client: Reader, bundle: Image) -> FoundLocations | None:
    """Fetch the record of a `bundle` whose images are not all as a whole in its repository."""
    return _fetch_record(client, bundle, places_tag(bundle.manifest.digest))


def _fetch_record(client: Reader, bundle: Image, tag: str) -> FoundLocations | None:
    repository = bundle.reference.repository
    try:
        with doing("Fetching location image"):
            manifest = client.manifest(repository.tag(tag))
    except (NotFound, NotInFile, Unauthorized, Forbidden):
        # Some registries refuse access to a tag that does not exist, and the record only saves requests.
        return None
    with doing("Reading fetched location image"):
        layer = check_single_layer(manifest, LOCATIONS)
        with _opened(client, repository, layer, "locations image") as stream:
            record = read_image_locations(stream)
        # Checked here, where the error names the record.
        record.places()
    return FoundLocations(repository.digest(manifest.digest), manifest, record)


@contextmanager
def _opened(client: Reader, repository: Repository, layer: Descriptor, what: str) -> Iterator[ByteReader]:
    # Only errors of opening get the words in front: the caller describes what it reads itself.
    with ExitStack() as stack:
        with doing(f"Could not read {what} layer contents"):
            stream = stack.enter_context(client.blob(repository, layer))
        yield stream


def check_single_layer(manifest: Manifest, what: str = BUNDLE) -> Descriptor:
    """Return the only layer of `manifest`, which errors call `what`; raise InvalidLock where it is not alone.

    Its media type may be any of those of a tar file, compressed or not; raises InvalidLock for another one.
    """
    if len(manifest.layers) != 1:
        raise InvalidLock(f"Expected {what} to only have a single layer, got {len(manifest.layers)}")
    (layer,) = manifest.layers
    if layer.media_type not in _LAYERS:
        raise InvalidLock(f"Expected layer to have docker layer media type, was {layer.media_type}")
    return layer


def has_bundle_layer(manifest: Manifest, size: int) -> bool:
    """Return True if the image has the one layer of a bundle, and this has at most `size` bytes."""
    return (
        len(manifest.layers) == 1
        and manifest.layers[0].media_type in _LAYERS
        and manifest.layers[0].size <= size
    )


def read_images_lock(layer: ByteReader, image: Digest | None = None) -> ImagesLock:
    """Read the images lock of a bundle from its layer; `image` is the bundle's digest, for errors.

    Raises InvalidLock, UnpackError, or the errors of `layer`.
    """
    with doing("Could not read bundle image layer contents"):
        plain = decompressed(layer)
    with doing("reading tar"):
        data = _find(plain, lambda name: posixpath.normpath(name) == IMAGES_FILE)
    with doing("Could not read bundle image layer contents"):
        _read_to_end(layer)
    if data is None:
        raise InvalidLock(f"Expected to find {IMAGES_FILE} in bundle image")
    if image is None:
        return ImagesLock.parse(data, IMAGES_FILE)
    with doing(f"Unmarshalling ImagesLock from image with Digest '{image}'"):
        return ImagesLock.parse(data, IMAGES_FILE)


def read_image_locations(layer: ByteReader) -> ImageLocations:
    """Read the record from the layer of a locations image, where it may be in any folder.

    Raises as `read_images_lock`.
    """
    with doing("Could not read locations image layer contents"):
        plain = decompressed(layer)
    with doing("Reading tar"):
        data = _find(plain, lambda name: posixpath.basename(name) == FILE_NAME)
    with doing("Could not read locations image layer contents"):
        _read_to_end(layer)
    if data is None:
        raise InvalidLock(f"Expected to find {FILE_NAME} in location image")
    return ImageLocations.parse(data)


def _find(tar: TarStream, is_wanted: Callable[[str], bool]) -> bytes | None:
    """Return the content of the first file whose name is wanted."""
    stream = Pieces(tar)
    for entry in read_entries(stream):
        # Bundles that were packed on Windows have backslashes in their names.
        name = entry.name.decode(errors="replace").replace("\\", "/")
        if entry.kind != REGULAR or not is_wanted(name):
            continue
        if entry.size > MAX_SIZE:
            raise InvalidLock(f"{name} has {entry.size} bytes; at most {MAX_SIZE} are read")
        return b"".join(bytes(part) for part in stream.content(entry.size))
    return None


def _read_to_end(layer: ByteReader) -> None:
    # A verified stream compares the digest at its end; no content is parsed before that.
    while layer.read(_PIECE):
        pass
