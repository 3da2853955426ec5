"""The locations record of a copied bundle, which lists its images and which of them are bundles.

Where a record exists, every image of the bundle is in the repository of the bundle, or where its entry says.
Readers use the record to leave out the requests that find out which images are bundles. A bundle that was
copied without some of its images has a record that says so, under the tag that the original does not read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.document import API_VERSION, HEADER, Field, Header
from imgpkg.bundle.yaml_reader import look_at, read_document
from imgpkg.bundle.yaml_writer import dump
from imgpkg.dataclass import dataclass
from imgpkg.errors import ImgpkgError, InvalidLock, InvalidReference, doing
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference

if TYPE_CHECKING:
    from imgpkg.bundle.yaml_writer import Node
    from imgpkg.oci.cut import Cut

FILE_NAME = "image-locations.yml"
# What was kept of an index, and the index: see `Cut`.
_CUT_FIELDS = ("keptDigests", "wholeIndexes")


@dataclass(frozen=True, slots=True)
class Location:
    """An image, as the images lock of the bundle names it, and whether it is a bundle.

    `place` is the digest reference where a copy has put it, empty for the repository of the bundle. `cut` is
    set if the copy has put a part of an index there, which has another digest.
    """

    image: str
    is_bundle: bool
    place: str = ""
    cut: imgpkg.Cut | None = None


@dataclass(frozen=True, slots=True)
class ImageLocations:
    """The images that a bundle names directly, without those of nested bundles.

    A record that `is_partial` has only those of them that were copied with the bundle.
    """

    images: tuple[Location, ...] = ()
    is_partial: bool = False

    @classmethod
    def parse(cls, data: bytes, name: str = FILE_NAME) -> ImageLocations:
        """Parse a record; unknown fields are ignored, and references are not checked.

        Raises InvalidLock; hints name the line in `name`.
        """
        images: tuple[Location, ...] = ()
        is_partial = False
        with doing("Unmarshaling image locations config"):
            value = read_document(data, name, strict=False)
            header = Header(look_at(name, value.line))
            known = (*HEADER, "images", "isPartial")
            for key, found in Field(value, name).fields("bundle.ImageLocationsConfig", known, strict=False):
                if key == "images":
                    images = tuple(_location(item) for item in found.items("bundle.ImageLocation"))
                elif key == "isPartial":
                    is_partial = found.boolean()
                else:
                    header.take(key, found)
        header.check("ImageLocations")
        return cls(images, is_partial)

    def plain_images(self) -> frozenset[str]:
        """Return the references of the images that are not bundles."""
        return frozenset(location.image for location in self.images if not location.is_bundle)

    def digests(self) -> frozenset[str]:
        """Return the digests of the images, as they are written."""
        return frozenset(location.image.rpartition("@")[2] for location in self.images)

    @property
    def is_spread(self) -> bool:
        """True if there are images that are not in the repository of the bundle, or not as a whole."""
        return any(location.place for location in self.images)

    def places(self) -> Mapping[Digest, Reference]:
        """Return the places of the images that are not in the repository of the bundle, or not as a whole.

        The digests are those of the images lock. Raises InvalidLock for a place with another digest, unless
        the cut proves it to be a part of that image.
        """
        return dict(_placed(location) for location in self.images if location.place)

    def cuts(self) -> Mapping[Digest, imgpkg.Cut]:
        """Return how the indexes were cut that were copied in part, by the digests of the images lock."""
        return {found.cut.whole.digest: found.cut for found in self.images if found.cut is not None}

    def to_bytes(self) -> bytes:
        """Return the record with one entry per digest, the first of several, sorted by reference.

        The bytes are those of the original, so that equal records have equal digests in all registries.
        """
        first: dict[str, Location] = {}
        # References are not parsed here: a record from elsewhere may contain any text.
        for location in self.images:
            first.setdefault(location.image.rpartition("@")[2], location)
        images: list[Node] = [
            {
                "image": location.image,
                "isBundle": location.is_bundle,
                **({"location": location.place} if location.place else {}),
                **_cut_fields(location.cut),
            }
            for location in sorted(first.values(), key=lambda location: location.image)
        ]
        document: dict[str, Node] = {
            "apiVersion": API_VERSION,
            # Go writes a nil slice as null.
            "images": images or None,
            **({"isPartial": True} if self.is_partial else {}),
            "kind": "ImageLocations",
        }
        return f"---\n{dump(document)}".encode()


def _location(item: Field) -> Location:
    texts, is_bundle = {"image": "", "location": ""}, False
    cut: dict[str, list[str]] = {}
    known = ("image", "isBundle", "location", *_CUT_FIELDS)
    for key, found in item.fields("bundle.ImageLocation", known, strict=False):
        if key == "isBundle":
            is_bundle = found.boolean()
        elif key in _CUT_FIELDS:
            cut[key] = [text.string() for text in found.items("string")]
        else:
            texts[key] = found.string()
    return Location(texts["image"], is_bundle, texts["location"], _cut(texts["image"], cut))


def _cut(image: str, fields: Mapping[str, list[str]]) -> Cut | None:
    if not fields:
        return None
    from imgpkg.oci.cut import Cut

    try:
        return Cut.parse(*(fields.get(name, []) for name in _CUT_FIELDS))
    except ImgpkgError as error:
        raise InvalidLock(f"Location of {image}: {error}") from error


def _cut_fields(cut: Cut | None) -> dict[str, Node]:
    if cut is None:
        return {}
    values: Iterable[list[Node]] = map(list, cut.texts())
    return dict(zip(_CUT_FIELDS, values, strict=True))


def _placed(location: Location) -> tuple[Digest, Reference]:
    """Return the digest by which the images lock names an image, and its place."""
    try:
        place = Reference.parse_digest(location.place)
    except InvalidReference as error:
        raise InvalidLock(f"Location of {location.image}: {error}") from error
    assert place.digest is not None  # noqa: S101 - a digest reference was parsed
    cut = location.cut
    named, there = (place.digest, place.digest) if cut is None else (cut.whole.digest, cut.result.digest)
    if place.digest != there or not location.image.endswith(f"@{named}"):
        raise InvalidLock(f"Location of {location.image}: {place} is another image")
    return named, place
