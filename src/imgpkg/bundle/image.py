"""An image in a repository, and the tags that are derived from its digest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

import imgpkg
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import ImgpkgError, InvalidManifest, IsABundle, UsageError, doing
from imgpkg.expression import expression
from imgpkg.oci import media
from imgpkg.oci.descriptor import ByteReader, Descriptor, Digest
from imgpkg.oci.manifest import Manifest, labels_of
from imgpkg.oci.reference import Reference, Repository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

T = TypeVar("T")
R = TypeVar("R")

BUNDLE_LABEL = "dev.carvel.imgpkg.bundle"
_SCHEMA_1 = frozenset({media.DOCKER_SCHEMA_1, media.DOCKER_SCHEMA_1_SIGNED})
# A configuration is held in memory as a whole.
MAX_CONFIG = 32 << 20
_NOT_IN_A_TAG = expression(r"^[^a-zA-Z0-9_]+|[^a-zA-Z0-9._-]+")
_COSIGN_TAG = expression(r"sha256-[0-9a-f]{64}\.(?:sig|att|sbom)")
# A tag has at most 128 characters (distribution-spec, "Pulling manifests"), of which 79 are a hyphen and the
# internal tag of a SHA-256 digest.
_KEPT = 49


class Reader(Protocol):
    """The part of a registry client that reads manifests and blobs."""

    def manifest(self, reference: Reference) -> Manifest:
        """Return a verified manifest."""
        ...

    def blob(self, repository: Repository, blob: Descriptor) -> AbstractContextManager[ByteReader]:
        """Open a blob as a stream that is verified at its end."""
        ...


class Workers(Protocol):
    """A pool that runs a function on several things at a time."""

    def map(self, act: Callable[[T], R], things: Iterable[T], /) -> Iterable[R]:
        """Return the results of `act` for all things, in their order; raise the first failure."""
        ...


class Starter(Workers, Protocol):
    """A pool that also runs a function beside everything else."""

    def start(self, act: Callable[[], R], /) -> Callable[[], R]:
        """Begin `act`; return how to wait for its result, which raises what `act` raised."""
        ...


_INDEX = (
    "{} is an index, which lists an image for each platform: pull one of these by its digest; imgpkg copy "
    "takes the index as it is."
)


@dataclass(frozen=True, slots=True)
class Image:
    """An image or index; `reference` is its digest reference in the repository where it was found.

    `config_raw` holds the exact bytes of the configuration. It is empty where the manifest is not an image's.
    """

    reference: Reference
    manifest: Manifest
    config_raw: bytes = field(default=b"", repr=False)

    @property
    def config(self) -> imgpkg.ImageConfig:
        """The parsed configuration, which is empty where the manifest is not an image's; see ImageConfig."""
        from imgpkg.oci.config import ImageConfig

        return ImageConfig.parse(self.config_raw)

    @property
    def is_bundle(self) -> bool:
        """True when the configuration has the bundle label, with any value."""
        return BUNDLE_LABEL in labels_of(self.config_raw)


def fetch_image(client: Reader, reference: Reference) -> Image:
    """Fetch the manifest that `reference` names and, for an image, its configuration.

    Raises the errors of the client, with `Fetching image` in front, and InvalidManifest for a configuration
    over 32 MiB.
    """
    with doing("Fetching image"):
        return with_config(client, reference.repository, client.manifest(reference), reference)


def with_config(
    client: Reader, repository: Repository, manifest: Manifest, named: Reference | None = None
) -> Image:
    """Return the image of a manifest that was found in `repository`; its configuration is fetched.

    `named` is the reference by which it was found, which is kept if it is that of the digest.
    """
    is_kept = named is not None and named.digest == manifest.digest
    found = named if named is not None and is_kept else repository.digest(manifest.digest)
    if not manifest.is_image or manifest.config is None:
        return Image(found, manifest)
    return Image(found, manifest, read_config(client, repository, manifest.config))


def read_config(client: Reader, repository: Repository, config: Descriptor) -> bytes:
    """Return the verified bytes of a configuration blob of at most 32 MiB."""
    with client.blob(repository, config) as stream:
        return read_stream(stream, config)


def read_stream(stream: ByteReader, config: Descriptor) -> bytes:
    """Return all bytes of an opened configuration; raise InvalidManifest for more than 32 MiB."""
    # A verified stream never has more bytes than its descriptor, so this check limits the memory.
    if config.size > MAX_CONFIG:
        raise InvalidManifest(f"configuration {config.digest} of {config.size} bytes is too large")
    return b"".join(iter(lambda: stream.read(1 << 20), b""))


def refuse_schema_1(found: Image, kind: type[ImgpkgError]) -> None:
    """Raise `kind` for a manifest of schema 1: the error "not an image" alone would not help."""
    if found.manifest.media_type in _SCHEMA_1:
        raise kind(
            f"Unable to pull '{found.reference}': it is an image of Docker's manifest schema 1 "
            f"({found.manifest.media_type}), which has been given up and is not supported "
            "(hint: build or push the image again with a current tool, which writes schema 2 or OCI)"
        )


def refuse_all_but_images(found: Image, *, refuse_bundles: bool) -> None:
    """Raise UsageError for what cannot be pulled as an image, or IsABundle with `refuse_bundles`."""
    refuse_schema_1(found, UsageError)
    if not found.manifest.is_image:
        raise UsageError(
            "Unable to pull non-images, such as image indexes. "
            "(hint: provide a specific digest to the image instead)",
            hints=(_INDEX.format(found.reference),),
        )
    if found.is_bundle and refuse_bundles:
        raise IsABundle(
            "Expected bundle flag when pulling a bundle (hint: Use -b instead of -i for bundles)",
            hints=(f"{found.reference} is a bundle: write -b in place of -i.",),
        )


def artifact_type(manifest: Manifest) -> str:
    """Return the type of an artifact, and empty for an image; its layers are usually no file systems."""
    kind = manifest.referrer_type
    return "" if kind in (media.OCI_CONFIG, media.DOCKER_CONFIG) else kind


def internal_tag(digest: Digest) -> str:
    """Return the tag that protects a manifest from garbage collection: `sha256-HEX.imgpkg`."""
    return f"{digest.algorithm}-{digest.hex}.imgpkg"


def locations_tag(bundle: Digest) -> str:
    """Return the tag of a bundle's locations record: `sha256-HEX.image-locations.imgpkg`."""
    return f"{bundle.algorithm}-{bundle.hex}.image-locations.imgpkg"


def places_tag(bundle: Digest) -> str:
    """Return the tag of a bundle's record if its images are in several repositories.

    It is `sha256-HEX.image-places.imgpkg`. The original takes a record under the other tag to mean that all
    images are in the repository of the bundle; it does not look for this one.
    """
    return f"{bundle.algorithm}-{bundle.hex}.image-places.imgpkg"


def signature_tag(digest: Digest) -> str:
    """Return the tag at which cosign stores the signatures of an image: `sha256-HEX.sig`."""
    return f"{digest.algorithm}-{digest.hex}.sig"


def attestation_tag(digest: Digest) -> str:
    """Return the tag at which cosign stores the attestations of an image: `sha256-HEX.att`."""
    return f"{digest.algorithm}-{digest.hex}.att"


def sbom_tag(digest: Digest) -> str:
    """Return the tag at which cosign stores the SBOM of an image: `sha256-HEX.sbom`."""
    return f"{digest.algorithm}-{digest.hex}.sbom"


def cosign_tags(digest: Digest) -> tuple[str, ...]:
    """Return all tags at which cosign stores something about an image."""
    return signature_tag(digest), attestation_tag(digest), sbom_tag(digest)


def is_cosign_tag(tag: str) -> bool:
    """Return whether `tag` is one of cosign's, for any image."""
    return tag.endswith((".sig", ".att", ".sbom")) and _COSIGN_TAG.fullmatch(tag) is not None


def repository_based_tag(origin: str, digest: Digest) -> str:
    """Return the tag of `--repo-based-tags`: the last 49 characters of the path of `origin`, and the digest.

    `origin` is a canonical digest reference.
    """
    path = origin.partition("@")[0].partition("/")[2].replace("/", "-")
    # The cut may leave a character in front with which no tag begins, so the start is cleaned a second time.
    kept = _NOT_IN_A_TAG.sub("", _NOT_IN_A_TAG.sub("", path)[-_KEPT:])
    return f"{kept}-{internal_tag(digest)}".removeprefix("-")
