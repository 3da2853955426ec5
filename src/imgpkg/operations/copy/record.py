"""The record of locations of a copied bundle: an image of its own beside the images that it lists."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

from imgpkg.bundle.image import internal_tag, locations_tag
from imgpkg.bundle.locations import FILE_NAME, ImageLocations
from imgpkg.content.image import build_image
from imgpkg.content.pack import pack_file
from imgpkg.dataclass import dataclass
from imgpkg.errors import RegistryError, doing
from imgpkg.operations.workers import Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.content.image import BuiltImage
    from imgpkg.content.pack import PackedLayer
    from imgpkg.content.store import FileRange
    from imgpkg.oci.descriptor import Descriptor, Digest
    from imgpkg.operations.copy.collection import Record
    from imgpkg.operations.copy.destination import Destination


@dataclass(frozen=True, slots=True)
class RecordImage:
    """The image of a record; the bytes are always the same, so that an equal record has the same digest."""

    bundle: Digest
    layer: PackedLayer
    image: BuiltImage

    @property
    def tag(self) -> str:
        """The tag by which the record of the bundle is found."""
        return locations_tag(self.bundle)

    @property
    def digest(self) -> Digest:
        """The digest of the image."""
        return self.image.manifest.digest

    def sending(self, to: Destination, *, is_fresh: bool) -> Iterator[Task]:
        """Yield a task for each blob, which may be there before the images: nothing refers to it yet."""
        opened = self.layer.open
        config = self.image.config_descriptor
        for blob, open_ in ((self.layer.descriptor, opened), (config, lambda: BytesIO(self.image.config))):
            name = "record", self.bundle, blob.digest
            yield Task(name, partial(self._send, blob, open_, to, check=not is_fresh))

    def tagging(self, to: Destination, *, is_fresh: bool) -> Iterator[Callable[[], None]]:
        """Yield what writes the image, whose blobs are there: under its internal tag, and the bundle's.

        A registry with immutable tags may refuse to replace a record; the old one then stays.
        """
        yield partial(self._tag, internal_tag(self.digest), to, is_fresh=is_fresh)
        # It was found before that the bundle has another record, or none.
        yield partial(self._tag, self.tag, to, is_fresh=True)

    def _send(
        self, blob: Descriptor, open_: Callable[[], FileRange | BytesIO], to: Destination, *, check: bool
    ) -> None:
        with self._pushing(to):
            to.client.push_blob(to.repository, blob, open_, check=check)

    def _tag(self, tag: str, to: Destination, *, is_fresh: bool) -> None:
        with self._pushing(to):
            try:
                to.put(to.repository.tag(tag), self.image.manifest, is_fresh=is_fresh)
            except RegistryError as error:
                # There is no code for it in the distribution-spec; registries put the word into the message.
                is_replaced = tag == self.tag and "immutable" in str(error)
                if not is_replaced or not to.has(to.repository.tag(tag)):
                    raise

    @contextmanager
    def _pushing(self, to: Destination) -> Iterator[None]:
        with (
            doing(f"Creating copy information for bundle {to.repository.digest(self.bundle)}"),
            doing(f"Pushing locations image to '{to.repository.tag(self.tag)}'"),
        ):
            yield


def pack_record(record: Record) -> RecordImage:
    """Return the image of `record`; nothing is written."""
    layer = pack_file(FILE_NAME, ImageLocations(record.images).to_bytes())
    return RecordImage(record.bundle, layer, build_image(layer, {}))
