"""Fetch a bundle's own documents from its repository: the images lock and the locations record."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imgpkg.bundle.layer import LOCATIONS, check_single_layer, read_image_locations, read_images_lock
from imgpkg.bundle.locations import ImageLocations
from imgpkg.bundle.tagging import locations_tag
from imgpkg.errors import Forbidden, NotFound, Unauthorized, doing
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.bundle.image import Image, Reader
    from imgpkg.bundle.lock import ImagesLock
    from imgpkg.oci.descriptor import Descriptor, Readable
    from imgpkg.oci.reference import Repository


@dataclass(frozen=True, slots=True)
class FoundLocations:
    """A locations record, and the image that it was found in."""

    reference: Reference
    manifest: Manifest
    record: ImageLocations


def fetch_images_lock(client: Reader, bundle: Image) -> ImagesLock:
    """Read the images lock in the one layer of `bundle`; raise InvalidLock, or what reading raises."""
    layer = check_single_layer(bundle.manifest)
    with _opened(client, bundle.reference.repository, layer, "bundle image") as stream:
        return read_images_lock(stream, bundle.manifest.digest)


def fetch_locations(client: Reader, bundle: Image) -> FoundLocations | None:
    """Read the record beside `bundle`; None when there is none that may be seen.

    Raises InvalidLock for a record that is damaged, or what reading raises.
    """
    repository = bundle.reference.repository
    tag = locations_tag(bundle.manifest.digest)
    try:
        with doing("Fetching location image"):
            manifest = client.manifest(repository.tag(tag))
    except (NotFound, Unauthorized, Forbidden):
        return None
    with doing("Reading fetched location image"):
        layer = check_single_layer(manifest, LOCATIONS)
        with _opened(client, repository, layer, "locations image") as stream:
            record = read_image_locations(stream)
    return FoundLocations(repository.digest(manifest.digest), manifest, record)


@contextmanager
def _opened(client: Reader, repository: Repository, layer: Descriptor, what: str) -> Iterator[Readable]:
    with ExitStack() as stack:
        with doing(f"Could not read {what} layer contents"):
            stream = stack.enter_context(client.blob(repository, layer))
        yield stream
