"""Unpack the layers of one image from a registry into a folder, streaming."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.content.unpack import unpack_layers
from imgpkg.events import BlobAdvanced, BlobFinished, BlobOutcome, BlobStarted, Message, Planned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.bundle.image import Image
    from imgpkg.events import Hook
    from imgpkg.oci.digest import Readable
    from imgpkg.oci.manifest import Descriptor
    from imgpkg.registry.client import RegistryClient


def extract(client: RegistryClient, image: Image, directory: str, on_event: Hook, indent: str = "") -> None:
    """Unpack the layers of `image`, base to top, into the empty folder `directory`.

    Raises UnpackError, VerificationError, LocalIOError or an error of the registry; the folder may then hold
    anything and is the caller's to remove.
    """
    layers = image.manifest.layers
    on_event(Planned(len(layers), sum(layer.size for layer in layers)))
    unpack_layers(_opened(client, image, on_event, indent), directory)


def _opened(
    client: RegistryClient, image: Image, on_event: Hook, indent: str
) -> Iterator[tuple[Descriptor, Readable]]:
    layers = image.manifest.layers
    for number, layer in enumerate(layers, 1):
        on_event(Message(f"{indent}Extracting layer '{layer.digest}' ({number}/{len(layers)})\n"))
        on_event(BlobStarted(layer.digest, layer.size, "pull"))
        with client.blob(image.reference.repository, layer) as stream:
            yield layer, Counted(stream, layer, on_event)
        on_event(BlobFinished(layer.digest, BlobOutcome.MOVED))


class Counted:
    """A stream that reports every piece that passes."""

    def __init__(self, stream: Readable, blob: Descriptor, on_event: Hook) -> None:
        self._stream = stream
        self._blob = blob
        self._on_event = on_event

    def read(self, size: int = 1 << 20, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        data = self._stream.read(size)
        if data:
            self._on_event(BlobAdvanced(self._blob.digest, len(data)))
        return data
