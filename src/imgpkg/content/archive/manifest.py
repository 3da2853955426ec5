"""The `manifest.json` of a tar file of images: values, their decoding, and the original's bytes for them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from imgpkg.dataclass import dataclass, field
from imgpkg.errors import ArchiveError, ImgpkgError, doing
from imgpkg.oci import media
from imgpkg.oci.descriptor import EMPTY, Digest, verify
from imgpkg.oci.encoding import encode_json
from imgpkg.oci.manifest import Manifest, diff_ids_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgpkg.oci.descriptor import Descriptor

    # Is called with what is wrong with a file that is read as far as it can be.
    OnDamage: TypeAlias = Callable[[ImgpkgError], object]

T = TypeVar("T")

MANIFEST = "manifest.json"
# In bytes: enough for thousands of images. The file is read into memory, so it needs a limit.
LARGEST_MANIFEST = 1 << 30
_NOT_A_LIST = "file manifest.json in tar is damaged: not a list of images"


@dataclass(frozen=True, slots=True)
class Marks:
    """Data of an item beside its content; the items below an index have those of the index.

    `reference` is the digest reference it was read from, `origin` the reference in the bundle's lock.
    """

    reference: str
    tag: str = ""
    origin: str = ""
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """An image: its manifest and configuration, with their exact bytes."""

    manifest: Manifest
    config_raw: bytes = field(repr=False)
    marks: Marks

    def walk(self) -> Iterator[ArchiveItem]:
        """Yield this image."""
        yield self

    @property
    def sort_key(self) -> str:
        """The sort key among the items: manifest digest and configuration digest."""
        return f"{self.manifest.digest}/{_config(self.manifest).digest}"


@dataclass(frozen=True, slots=True)
class ArchiveIndex:
    """An index with the images and indexes it lists."""

    manifest: Manifest
    images: tuple[ArchiveImage, ...]
    indexes: tuple[ArchiveIndex, ...]
    marks: Marks

    def walk(self) -> Iterator[ArchiveItem]:
        """Yield the items below, children first, then this index."""
        children: tuple[ArchiveItem, ...] = (*self.images, *self.indexes)
        for child in children:
            yield from child.walk()
        yield self

    @property
    def sort_key(self) -> str:
        """The sort key among the items: the digest."""
        return str(self.manifest.digest)


ArchiveItem: TypeAlias = ArchiveImage | ArchiveIndex


def encode(items: Iterable[ArchiveItem], *, most: int = LARGEST_MANIFEST) -> bytes:
    """Return manifest.json for `items` in any order.

    Raise ArchiveError for manifests that are not UTF-8, and for more than `most` bytes.
    """
    # The order of the original, so that the same images give the same file.
    ordered = sorted(items, key=lambda item: (item.sort_key, item.marks.reference, item.marks.tag))
    document = [
        {
            "ImageIndex": _index_object(item) if isinstance(item, ArchiveIndex) else None,
            "Image": _image_object(item) if isinstance(item, ArchiveImage) else None,
        }
        for item in ordered
    ]
    # Go writes a nil slice as null, here and in the other lists and maps.
    data = encode_json(document or None)
    if len(data) > most:
        raise ArchiveError(f"file manifest.json would have {len(data)} bytes; at most {most} are read")
    return data


def decode(data: bytes, on_damage: OnDamage | None = None) -> tuple[ArchiveItem, ...]:
    """Decode manifest.json and verify all digests; ignore unknown keys and, as Go does, the case of keys.

    Raise ArchiveError for another document, VerificationError for a wrong digest; with `on_damage`, call it
    with each of them, and return the items that are not damaged.
    """
    try:
        # The original writes null for no images.
        items = json.loads(data) or []
    except (ValueError, RecursionError) as error:
        damage = ArchiveError(f"file manifest.json in tar is damaged: {error}")
        if on_damage is None:
            raise damage from error
        on_damage(damage)
        return ()
    return _each(items, _item, on_damage)


def _each(
    entries: Any, read: Callable[[dict[str, Any], OnDamage | None], T], report: OnDamage | None
) -> tuple[T, ...]:
    """Return what `read` makes of each entry of a list; damage is raised, or reported if there is a hook."""
    found: list[T] = []
    try:
        for entry in entries or ():
            with _damage(report):
                found.append(read(_folded(entry), report))
    except TypeError as error:
        with _damage(report):
            raise ArchiveError(_NOT_A_LIST) from error
    return tuple(found)


@contextmanager
def _damage(report: OnDamage | None) -> Iterator[None]:
    try:
        yield
    except (ImgpkgError, ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
        # The errors of digests and manifests have texts of their own.
        damage = error if isinstance(error, ImgpkgError) else ArchiveError(_NOT_A_LIST)
        if report is None:
            raise damage from (None if damage is error else error)
        report(damage)


def _image_object(image: ArchiveImage) -> dict[str, Any]:
    manifest, config = image.manifest, _config(image.manifest)
    return {
        "Refs": [image.marks.reference],
        "Layers": _layer_objects(image) or None,
        "Config": {"Digest": str(config.digest), "Raw": _text(image.config_raw, config.digest)},
        "Manifest": {
            "MediaType": manifest.media_type,
            "Digest": str(manifest.digest),
            "Raw": _text(manifest.raw, manifest.digest),
        },
        **_marks_object(image.marks),
    }


def _layer_objects(image: ArchiveImage) -> list[dict[str, Any]]:
    diff_ids = diff_ids_of(image.config_raw)
    return [
        {
            "MediaType": layer.media_type,
            "Digest": str(layer.digest),
            # Other kinds of layers, as WebAssembly modules, have no diff ID in the original.
            "DiffID": diff_ids[at] if at < len(diff_ids) and layer.media_type in media.LAYERS else "",
            "Size": layer.size,
        }
        for at, layer in enumerate(image.manifest.layers)
    ]


def _index_object(index: ArchiveIndex) -> dict[str, Any]:
    return {
        "Refs": [index.marks.reference],
        "Images": [_image_object(image) for image in index.images] or None,
        "Indexes": [_index_object(child) for child in index.indexes] or None,
        "MediaType": index.manifest.media_type,
        "Digest": str(index.manifest.digest),
        "Raw": _text(index.manifest.raw, index.manifest.digest),
        **_marks_object(index.marks),
    }


def _marks_object(marks: Marks) -> dict[str, Any]:
    return {"Tag": marks.tag, "OrigRef": marks.origin, "Labels": dict(sorted(marks.labels.items())) or None}


def _config(manifest: Manifest) -> Descriptor:
    if manifest.config is None:
        raise ArchiveError(f'unsupported MediaType: "{manifest.media_type}" of {manifest.digest}')
    return manifest.config


def _text(raw: bytes, digest: Digest) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"{digest} is not UTF-8 text and cannot be kept in a tar") from error


def _folded(item: dict[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in item.items()}


def _item(item: dict[str, Any], report: OnDamage | None) -> ArchiveItem:
    if item.get("imageindex") is not None:
        return _index(_folded(item["imageindex"]), report)
    if item.get("image") is not None:
        return _image(_folded(item["image"]), report)
    raise ArchiveError("file manifest.json in tar is damaged: an entry has neither image nor index")


def _index(item: dict[str, Any], report: OnDamage | None) -> ArchiveIndex:
    # The parts first: what is wrong with them is of interest although the index itself is damaged.
    images = _each(item.get("images"), _image, report)
    indexes = _each(item.get("indexes"), _index, report)
    return ArchiveIndex(_manifest(item), images, indexes, _marks(item))


def _image(item: dict[str, Any], report: OnDamage | None) -> ArchiveImage:  # noqa: ARG001 - as an index is read
    manifest = _manifest(_folded(item["manifest"]))
    # A lone surrogate cannot be encoded; its replacement makes the digest wrong, which is the error.
    config_raw = _folded(item["config"])["raw"].encode("utf-8", "replace")
    with doing("file manifest.json in tar", f"configuration of {manifest.digest}"):
        verify(config_raw, _config(manifest).digest)
    return ArchiveImage(manifest, config_raw, _marks(item))


def _manifest(item: dict[str, Any]) -> Manifest:
    raw = item["raw"].encode("utf-8", "replace")
    with doing("file manifest.json in tar"):
        digest = Digest.parse(item["digest"])
        verify(raw, digest)
        return Manifest.parse(raw, item.get("mediatype") or "", digest)


def _marks(item: dict[str, Any]) -> Marks:
    # The original writes exactly one reference.
    references = item.get("refs") or [""]
    labels = {str(key): str(value) for key, value in (item.get("labels") or {}).items()}
    return Marks(
        str(references[0]),
        str(item.get("tag") or ""),
        str(item.get("origref") or ""),
        MappingProxyType(labels),
    )
