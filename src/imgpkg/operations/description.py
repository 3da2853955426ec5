"""The description of a bundle: the images and bundles that it names, and what is attached to them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum

import imgpkg
from imgpkg.dataclass import dataclass, field
from imgpkg.oci.descriptor import Digest
from imgpkg.values import FrozenDict


class ImageType(Enum):
    """Why an image is in the description of a bundle.

    The images lock names an IMAGE. A SIGNATURE, an ATTESTATION and an SBOM are found by cosign's tags, a
    REFERRER by its `subject` field. INTERNAL is the record of locations that a copy writes.
    """

    IMAGE = "Image"
    SIGNATURE = "Signature"
    INTERNAL = "Internal"
    REFERRER = "Referrer"
    ATTESTATION = "Attestation"
    SBOM = "SBOM"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image of a bundle: `image` is the reference where it is, `origin` the one in the images lock.

    `key` is the digest. If the registry denied access to a signature, `key` is the tag of the signature,
    `image` is empty, and `error` is set. `error` is also set for an image that a tar file or layout lacks.
    `cut_from` is the digest of the index that was copied with the `platforms` only; empty for all others.
    """

    key: str
    image: str
    image_type: ImageType
    origin: str = ""
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)
    layers: tuple[Digest, ...] = ()
    error: str = ""
    cut_from: str = ""
    platforms: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))


@dataclass(frozen=True, slots=True)
class Description:
    """A bundle with its images and nested bundles, in ascending order of digest, each once.

    A bundle that is inside several others is described in each of them. Once there are ten thousand entries,
    repeated descriptions have `is_repeated` set and no content. `bases` say without which blobs the file was
    made that the bundle was read from.
    """

    digest: Digest
    image: str
    origin: str
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)
    layers: tuple[Digest, ...] = ()
    bundles: tuple[Description, ...] = ()
    images: tuple[ImageInfo, ...] = ()
    is_repeated: bool = False
    bases: tuple[imgpkg.Base, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict(self.annotations))
