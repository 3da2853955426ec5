"""The lines of a plan: one JSON object each, in the order in which a copy does them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, ClassVar, TypeAlias

import imgpkg
from imgpkg.bundle.locations import Location
from imgpkg.dataclass import dataclass, field
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Reference, Repository
from imgpkg.values import FrozenDict
from imgpkg.version import VERSION

FORMAT, FORMAT_VERSION = "imgpkg-plan", 1


@dataclass(frozen=True, slots=True)
class PlanHeader:
    """The first line: what is copied where, and the options that say how.

    `source` is for people. `destination` is the repository that was named; with `is_placed`, images go to
    others too. `platforms` are those to which indexes were cut. `root_bundle` is the one bundle that was
    asked for, with its tag. With `has_images_lock` the plan has the images of a lock. `version` is that of
    the package that wrote the plan.
    """

    kind: ClassVar[str] = "plan"
    source: str
    destination: Repository
    is_placed: bool = False
    repo_based_tags: bool = False
    include_non_distributable_layers: bool = False
    platforms: tuple[str, ...] = ()
    root_bundle: tuple[Reference, str] | None = None
    has_images_lock: bool = False
    version: str = VERSION

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON form besides its kind."""
        root = self.root_bundle
        return {
            "format": FORMAT,
            "formatVersion": FORMAT_VERSION,
            "imgpkg": self.version,
            "source": self.source,
            "destination": str(self.destination),
            "isPlaced": self.is_placed,
            "repoBasedTags": self.repo_based_tags,
            "includeNonDistributableLayers": self.include_non_distributable_layers,
            "platforms": list(self.platforms),
            "rootBundle": None if root is None else {"image": str(root[0]), "tag": root[1]},
            "hasImagesLock": self.has_images_lock,
        }


@dataclass(frozen=True, slots=True)
class PlanBlob:
    """A blob for the repository `destination`, to be read from `source`, or mounted from `mount_from`.

    The descriptor has the content if the manifest embeds it.
    """

    kind: ClassVar[str] = "blob"
    descriptor: Descriptor
    source: Repository
    destination: Repository
    mount_from: Repository | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON form besides its kind."""
        blob = self.descriptor
        return {
            "digest": str(blob.digest),
            "size": blob.size,
            "mediaType": blob.media_type,
            **({"urls": list(blob.urls)} if blob.urls else {}),
            **({} if blob.data is None else {"data": base64.b64encode(blob.data).decode()}),
            "source": str(self.source),
            "destination": str(self.destination),
            "mountFrom": [] if self.mount_from is None else [str(self.mount_from)],
        }


@dataclass(frozen=True, slots=True)
class PlanManifest:
    """A manifest or index, where it is read, and the references under which it is uploaded.

    These have a tag if it is an image of its own, and its digest if it is only a part of one.
    """

    kind: ClassVar[str] = "manifest"
    source: Reference
    media_type: str
    size: int
    destinations: tuple[Reference, ...]

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON form besides its kind."""
        return {
            "source": str(self.source),
            "digest": str(self.source.digest),
            "size": self.size,
            "mediaType": self.media_type,
            "destinations": list(map(str, self.destinations)),
        }


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """The record of locations of a bundle in the repository `destination`; see `ImageLocations`."""

    kind: ClassVar[str] = "record"
    destination: Repository
    bundle: Digest
    images: tuple[Location, ...]
    is_partial: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON form besides its kind."""
        return {
            "destination": str(self.destination),
            "bundle": str(self.bundle),
            "isPartial": self.is_partial,
            "images": [
                {
                    "image": one.image,
                    "isBundle": one.is_bundle,
                    **({"location": one.place} if one.place else {}),
                    **_cut_fields(one.cut),
                }
                for one in self.images
            ],
        }


@dataclass(frozen=True, slots=True)
class PlanLocked:
    """An entry of the lock of what is copied, in its order: for the lock of the copies."""

    kind: ClassVar[str] = "locked"
    image: Reference
    annotations: Mapping[str, str] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        if not isinstance(self.annotations, FrozenDict):
            object.__setattr__(self, "annotations", FrozenDict(self.annotations))

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON form besides its kind."""
        return {"image": str(self.image), "annotations": dict(self.annotations)}


@dataclass(frozen=True, slots=True)
class PlanImage:
    """An image that is copied: where it is read, under which tags it is uploaded, and the tag that users see.

    `image` is its name, which may be another place than `source`, where it was found. `origin` is its name in
    the lock of its bundle. `cut` is set for an index that is copied with some of its platforms.
    """

    kind: ClassVar[str] = "image"
    image: Reference
    source: Reference
    destinations: tuple[Reference, ...]
    tag: str = ""
    origin: str = ""
    is_root_bundle: bool = False
    cut: imgpkg.Cut | None = None

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON form besides its kind."""
        return {
            "image": str(self.image),
            "source": str(self.source),
            "destinations": list(map(str, self.destinations)),
            "tag": self.tag or None,
            **({"origin": self.origin} if self.origin else {}),
            "isRootBundle": self.is_root_bundle,
            **_cut_fields(self.cut),
        }


@dataclass(frozen=True, slots=True)
class PlanEnd:
    """The last line, without which a plan is not whole: how many lines of each kind there are, and bytes."""

    kind: ClassVar[str] = "end"
    blobs: int
    blob_size: int
    manifests: int
    images: int

    def fields(self) -> dict[str, Any]:
        """Return the fields of the JSON form besides its kind."""
        return {
            "blobs": self.blobs,
            "bytes": self.blob_size,
            "manifests": self.manifests,
            "images": self.images,
        }


PlanLine: TypeAlias = PlanHeader | PlanBlob | PlanManifest | PlanRecord | PlanLocked | PlanImage | PlanEnd
# In the order in which they come.
LINES: tuple[type[PlanLine], ...] = (
    PlanHeader,
    PlanBlob,
    PlanManifest,
    PlanRecord,
    PlanLocked,
    PlanImage,
    PlanEnd,
)


def _cut_fields(cut: imgpkg.Cut | None) -> dict[str, Any]:
    if cut is None:
        return {}
    kept, indexes = cut.texts()
    return {"keptDigests": kept, "wholeIndexes": indexes}
