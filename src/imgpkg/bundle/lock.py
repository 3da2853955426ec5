"""Lock files: an ImagesLock names images by digest, a BundleLock one bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from imgpkg.bundle.fields import Found
from imgpkg.bundle.header import API_VERSION, HEADER, Header
from imgpkg.bundle.lock_file import Path, read_file, write_file
from imgpkg.bundle.yaml_reader import look_at, read_document
from imgpkg.bundle.yaml_writer import dump
from imgpkg.errors import InvalidLock, InvalidReference, doing
from imgpkg.oci.descriptor import EMPTY, Digest
from imgpkg.oci.reference import Reference, Repository, without_login
from imgpkg.values import FrozenDict

if TYPE_CHECKING:
    from imgpkg.bundle.yaml_reader import Value
    from imgpkg.bundle.yaml_writer import Node

_IMAGES, _BUNDLE = "images lock", "bundle lock"


@dataclass(frozen=True, slots=True)
class LockedImage:
    """An image named by digest; any other reference raises InvalidLock."""

    reference: Reference
    annotations: Mapping[str, str] = EMPTY

    def __post_init__(self) -> None:
        object.__setattr__(self, "annotations", FrozenDict.of(self.annotations))
        if self.reference.digest is None:
            raise _not_a_digest(str(self.reference))

    @property
    def digest(self) -> Digest:
        """The digest that the image is named by."""
        assert self.reference.digest is not None  # noqa: S101 - checked when it was made
        return self.reference.digest


@dataclass(frozen=True, slots=True)
class ImagesLock:
    """The images of a bundle in the order of the file; a reference may stand in it more than once."""

    images: tuple[LockedImage, ...] = ()

    @classmethod
    def parse(cls, data: bytes, name: str = "images.yml") -> ImagesLock:
        """Read an ImagesLock; references become canonical. Raises InvalidLock; hints say where it is."""
        with doing(f"Unmarshaling {_IMAGES}"):
            value = read_document(data, name, strict=True)
        return cls._of(value, name)

    @classmethod
    def from_path(cls, path: Path, shown: Path | None = None) -> ImagesLock:
        """Read the file `path`, which errors name `shown`; raise LocalIOError or InvalidLock."""
        return cls.parse(read_file(path, shown), os.fspath(shown or path))

    @classmethod
    def _of(cls, value: Value, name: str) -> ImagesLock:
        header = Header(look_at(name, value.line))
        images: list[tuple[str, Mapping[str, str], str]] = []
        with doing(f"Unmarshaling {_IMAGES}"):
            fields = Found(value, name).fields("lockconfig.ImagesLock", (*HEADER, "images"), strict=True)
            for key, found in fields:
                if key == "images":
                    images = [_image_fields(item) for item in found.items("lockconfig.ImageRef")]
                else:
                    header.take(key, found)
        with doing(f"Validating {_IMAGES}"):
            header.check("ImagesLock")
            return cls(tuple(LockedImage(_digest_reference(image, at), notes) for image, notes, at in images))

    def relocated(self, repository: Repository) -> ImagesLock:
        """Return the same lock with every image named in `repository`."""
        return ImagesLock(
            tuple(replace(image, reference=repository.digest(image.digest)) for image in self.images)
        )

    def to_bytes(self) -> bytes:
        """Write the file in its normal form."""
        images: list[Node] = [
            {
                "image": str(image.reference),
                **({"annotations": image.annotations} if image.annotations else {}),
            }
            for image in self.images
        ]
        return _document("ImagesLock", {"images": images} if images else {})

    def write(self, path: Path, shown: Path | None = None) -> None:
        """Write the file `path`, which errors name `shown`, whole or not at all; raise LocalIOError."""
        with doing("Writing images config"):
            write_file(path, self.to_bytes(), shown)


@dataclass(frozen=True, slots=True)
class BundleLock:
    """One bundle named by digest, and the tag it had, empty when it had none.

    `text` is the reference as it stood in the file.
    """

    reference: Reference
    tag: str = ""
    text: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if self.reference.digest is None:
            raise _not_a_digest(str(self.reference))

    @classmethod
    def parse(cls, data: bytes, name: str = "bundle.lock.yml") -> BundleLock:
        """Read a BundleLock; its reference becomes canonical. Raises InvalidLock; hints say where it is."""
        with doing(f"Unmarshaling {_BUNDLE}"):
            value = read_document(data, name, strict=True)
        return cls._of(value, name)

    @classmethod
    def from_path(cls, path: Path) -> BundleLock:
        """Read the file `path`; raise LocalIOError or InvalidLock."""
        return cls.parse(read_file(path), os.fspath(path))

    @classmethod
    def _of(cls, value: Value, name: str) -> BundleLock:
        header = Header(look_at(name, value.line))
        bundle = ("", "", header.hint)
        with doing(f"Unmarshaling {_BUNDLE}"):
            fields = Found(value, name).fields("lockconfig.BundleLock", (*HEADER, "bundle"), strict=True)
            for key, found in fields:
                if key == "bundle":
                    bundle = _bundle_fields(found)
                else:
                    header.take(key, found)
        with doing(f"Validating {_BUNDLE}"):
            header.check("BundleLock")
            image, tag, hint = bundle
            return cls(_digest_reference(image, hint), tag, image)

    def to_bytes(self) -> bytes:
        """Write the file in its normal form, with the canonical reference."""
        bundle = {"image": str(self.reference), **({"tag": self.tag} if self.tag else {})}
        return _document("BundleLock", {"bundle": bundle})

    def write(self, path: Path, shown: Path | None = None) -> None:
        """Write the file `path`, which errors name `shown`, whole or not at all; raise LocalIOError."""
        with doing("Writing bundle config"):
            write_file(path, self.to_bytes(), shown)


def read_lock(path: Path) -> BundleLock | ImagesLock:
    """Read a lock file of either kind; raise LocalIOError or InvalidLock.

    What is neither fails with what is wrong with it as an ImagesLock, as the original does; a hint says
    what is wrong with it as a BundleLock.
    """
    data, name = read_file(path), os.fspath(path)
    with doing(f"Unmarshaling {_IMAGES}"):
        value = read_document(data, name, strict=True)
    try:
        return BundleLock._of(value, name)  # noqa: SLF001 - the document is read once for both
    except InvalidLock as bundle_error:
        try:
            return ImagesLock._of(value, name)  # noqa: SLF001 - likewise
        except InvalidLock as error:
            error.hints = (*error.hints, f"It is no bundle lock either: {bundle_error}.")
            raise


def _document(kind: str, content: Mapping[str, Node]) -> bytes:
    return f"---\n{dump({'apiVersion': API_VERSION, 'kind': kind, **content})}".encode()


def _image_fields(item: Found) -> tuple[str, Mapping[str, str], str]:
    image, annotations = "", EMPTY
    for key, found in item.fields("lockconfig.ImageRef", ("image", "annotations"), strict=True):
        if key == "image":
            image = found.string()
        else:
            annotations = found.strings()
    return image, annotations, item.hint()


def _bundle_fields(item: Found) -> tuple[str, str, str]:
    texts = {"image": "", "tag": ""}
    for key, found in item.fields("lockconfig.BundleRef", ("image", "tag"), strict=True):
        texts[key] = found.string()
    return texts["image"], texts["tag"], item.hint()


def _digest_reference(text: str, hint: str) -> Reference:
    try:
        return Reference.parse_digest(text)
    except InvalidReference as error:
        raise _not_a_digest(without_login(text), (f"{error}.", hint)) from error


def _not_a_digest(text: str, hints: tuple[str, ...] = ()) -> InvalidLock:
    return InvalidLock(f"Expected ref to be in digest form, got '{text}'", hints=hints)
