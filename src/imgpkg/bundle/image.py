"""An image as it was found in a repository, and the tags that are derived from its digest."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from imgpkg.errors import InvalidManifest, doing
from imgpkg.oci.descriptor import Descriptor, Digest, Readable
from imgpkg.oci.manifest import ImageConfig, Manifest
from imgpkg.oci.reference import Reference, Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

T = TypeVar("T")
R = TypeVar("R")

BUNDLE_LABEL = "dev.carvel.imgpkg.bundle"
MAX_CONFIG = 32 << 20
_NOT_IN_A_TAG = re.compile(r"^[^a-zA-Z0-9_]+|[^a-zA-Z0-9._-]+")
# What is left of the 128 characters of a tag beside a SHA-256 digest.
_KEPT = 49


class Reader(Protocol):
    """The part of a registry client that reads manifests and blobs."""

    def manifest(self, reference: Reference) -> Manifest:
        """Fetch a manifest, verified."""
        ...

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[Readable]:
        """Open a blob as a verified stream."""
        ...


class Workers(Protocol):
    """Whoever does many things of one kind, several at a time."""

    def map(self, act: Callable[[T], R], things: Iterable[T], /) -> Iterable[R]:
        """Act on each thing and return the results in order; raise the first failure."""
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """An image or index: `reference` is its digest reference where it was found.

    `config_raw` holds the configuration's exact bytes; it is empty for whatever is not an image manifest.
    """

    reference: Reference
    manifest: Manifest
    config_raw: bytes = field(default=b"", repr=False)

    @property
    def config(self) -> ImageConfig:
        """The configuration, read leniently."""
        return ImageConfig.parse(self.config_raw)

    @property
    def is_bundle(self) -> bool:
        """True when the configuration carries the bundle label, whatever its value."""
        return BUNDLE_LABEL in self.config.labels


def fetch_image(client: Reader, reference: Reference) -> Image:
    """Fetch the manifest that `reference` names, and its configuration when it is an image's.

    Raises what the client raises, with `Fetching image` in front, and InvalidManifest for a configuration
    over 32 MiB.
    """
    with doing("Fetching image"):
        return with_config(client, reference.repository, client.manifest(reference))


def with_config(client: Reader, repository: Repository, manifest: Manifest) -> Image:
    """Add the configuration to a manifest that was found in `repository`."""
    found = repository.digest(manifest.digest)
    if not manifest.is_image or manifest.config is None:
        return Image(found, manifest)
    return Image(found, manifest, read_config(client, repository, manifest.config))


def read_config(client: Reader, repository: Repository, config: Descriptor) -> bytes:
    """Return the verified bytes of a configuration blob of at most 32 MiB."""
    with client.blob(repository, config) as stream:
        return read_stream(stream, config)


def read_stream(stream: Readable, config: Descriptor) -> bytes:
    """Return all bytes of an opened configuration; raise InvalidManifest for more than 32 MiB."""
    if config.size > MAX_CONFIG:
        raise InvalidManifest(f"configuration {config.digest} of {config.size} bytes is too large")
    return b"".join(iter(lambda: stream.read(1 << 20), b""))


def internal_tag(digest: Digest) -> str:
    """Name the tag that keeps a manifest from being collected as garbage: `sha256-HEX.imgpkg`."""
    return f"{digest.algorithm}-{digest.hex}.imgpkg"


def locations_tag(bundle: Digest) -> str:
    """Name the tag of a bundle's locations record: `sha256-HEX.image-locations.imgpkg`."""
    return f"{bundle.algorithm}-{bundle.hex}.image-locations.imgpkg"


def repository_based_tag(origin: str, digest: Digest) -> str:
    """Name the tag of `--repo-based-tags`: the last 49 characters of the path of `origin`, then the digest.

    `origin` is a canonical digest reference.
    """
    path = origin.partition("@")[0].partition("/")[2].replace("/", "-")
    kept = _NOT_IN_A_TAG.sub("", _NOT_IN_A_TAG.sub("", path)[-_KEPT:])
    return f"{kept}-{internal_tag(digest)}".removeprefix("-")


def signature_tag(digest: Digest) -> str:
    """Name the tag of the signatures of `digest`: `sha256-HEX.sig`."""
    return f"{digest.algorithm}-{digest.hex}.sig"
