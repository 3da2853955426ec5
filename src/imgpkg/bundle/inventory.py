"""Inventories: files that list the manifests and blobs of a place, so that a copy need not carry them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from imgpkg.bundle.document import API_VERSION
from imgpkg.content.output import output_file
from imgpkg.content.temporary import written_file
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import ImgpkgError, InvalidDocument, doing, local_io
from imgpkg.oci.descriptor import Digest
from imgpkg.values import FrozenDict, StrPath

_KIND = "Inventory"
# In bytes: a line takes about a hundred, so that there is room for half a million blobs.
_MAX_SIZE = 64 << 20
# JSON has no largest number; sizes of files have one.
_MAX_BLOB = 1 << 63


@dataclass(frozen=True, slots=True)
class Base:
    """What others are made without, because its `blobs` are where they go: digests, with sizes in bytes.

    `name` is the file or repository, and `release` the image or bundle that it was made of, each as text for
    people. `repository` is where the blobs are, empty for a file, of which nobody knows where it was copied.
    """

    name: str
    release: str = ""
    repository: str = ""
    blobs: Mapping[str, int] = field(default_factory=FrozenDict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "blobs", FrozenDict(self.blobs))

    @property
    def shown(self) -> str:
        """The name, and the release where that says more."""
        return f"{self.name} ({self.release})" if self.release not in ("", self.name) else self.name

    def fields(self) -> dict[str, Any]:
        """Return the JSON form; empty fields are left out."""
        texts = {"name": self.name, "release": self.release, "repository": self.repository}
        return {**{key: text for key, text in texts.items() if text}, "blobs": _listed(self.blobs)}

    @classmethod
    def read(cls, document: Any) -> Base:
        """Return the base of a JSON form; raise InvalidDocument."""
        fields = _object(document, "a base")
        name, release, repository = (_text(fields, key) for key in ("name", "release", "repository"))
        return cls(name, release, repository, _sizes(fields, "blobs"))


@dataclass(frozen=True, slots=True)
class Inventory:
    """What a tar file, a layout or a repository has: digests, with sizes in bytes.

    `images` are the references that it was made of, or the tags of a repository, with their digests. `bases`
    have those of the `blobs` that a file itself was made without; whoever has imported it has them too.
    """

    name: str
    repository: str = ""
    images: Mapping[str, str] = field(default_factory=FrozenDict)
    manifests: Mapping[str, int] = field(default_factory=FrozenDict)
    blobs: Mapping[str, int] = field(default_factory=FrozenDict)
    bases: tuple[Base, ...] = ()

    def __post_init__(self) -> None:
        for name in ("images", "manifests", "blobs"):
            object.__setattr__(self, name, FrozenDict(getattr(self, name)))

    @classmethod
    def parse(cls, data: bytes, name: str = "inventory.json") -> Inventory:
        """Parse an inventory; errors name the file `name`. Raises InvalidDocument."""
        with doing(f"Reading inventory {name}"):
            return _inventory(_json(data))

    @classmethod
    def from_path(cls, path: StrPath) -> Inventory:
        """Read the file `path`; raise LocalIOError or InvalidDocument."""
        with local_io("open", path), open(path, "rb") as file:
            data = file.read(_MAX_SIZE + 1)
        return cls.parse(data, os.fspath(path))

    @property
    def size(self) -> int:
        """The size of all blobs."""
        return sum(self.blobs.values())

    def as_base(self) -> Base:
        """Return what a copy may be made without because of this inventory, apart from its own `bases`."""
        others = {digest for base in self.bases for digest in base.blobs}
        own = {digest: size for digest, size in self.blobs.items() if digest not in others}
        return Base(self.name, next(iter(self.images), ""), self.repository, own)

    def document(self) -> dict[str, object]:
        """Return the JSON form; empty fields at the end are left out."""
        place: dict[str, object] = {"repository": self.repository} if self.repository else {}
        bases: dict[str, object] = {"bases": [base.fields() for base in self.bases]} if self.bases else {}
        return {
            "apiVersion": API_VERSION,
            "kind": _KIND,
            "name": self.name,
            **place,
            "images": dict(self.images),
            "manifests": _listed(self.manifests),
            "blobs": _listed(self.blobs),
            **bases,
        }

    def to_bytes(self) -> bytes:
        """Return the file: JSON with a line for each digest, in ascending order."""
        return json.dumps(self.document(), indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

    def write(self, path: StrPath) -> None:
        """Write `path`, a file atomically; raise LocalIOError."""
        with doing("Writing inventory"):
            target = output_file(path)
            with local_io("write", path), written_file(target) as file:
                file.write(self.to_bytes())


def read_bases(text: str) -> tuple[Base, ...]:
    """Return the bases of a JSON list; raise InvalidDocument."""
    return _bases(_json(text.encode("utf-8", "replace")))


def bases_text(bases: tuple[Base, ...]) -> str:
    """Return `bases` as a JSON list without spaces, which `read_bases` reads."""
    return json.dumps([base.fields() for base in bases], separators=(",", ":"))


def _inventory(document: Any) -> Inventory:
    fields = _object(document, "the document")
    if (fields.get("apiVersion"), fields.get("kind")) != (API_VERSION, _KIND):
        raise InvalidDocument(
            f"this is no inventory of version {API_VERSION}",
            hints=("`imgpkg inventory` writes one, of a tar file, a layout or a repository.",),
        )
    images = _object(fields.get("images") or {}, "images")
    return Inventory(
        _text(fields, "name"),
        _text(fields, "repository"),
        {name: _checked(digest) for name, digest in images.items()},
        _sizes(fields, "manifests"),
        _sizes(fields, "blobs"),
        _bases(fields.get("bases") or []),
    )


def _bases(items: Any) -> tuple[Base, ...]:
    if not isinstance(items, list):
        raise InvalidDocument("the bases are no list")
    return tuple(map(Base.read, items))


def _json(data: bytes) -> Any:
    if len(data) > _MAX_SIZE:
        raise InvalidDocument(f"more than {_MAX_SIZE >> 20} MiB, which is too large")
    try:
        return json.loads(data)
    # A number of thousands of digits is a ValueError too.
    except (ValueError, RecursionError) as error:
        raise InvalidDocument(f"it is not JSON: {error}") from error


def _object(document: Any, what: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise InvalidDocument(f"{what} is no JSON object")
    return document


def _text(fields: dict[str, Any], key: str) -> str:
    text = fields.get(key) or ""
    if not isinstance(text, str):
        raise InvalidDocument(f"{key} is no text")
    return text


def _sizes(fields: dict[str, Any], key: str) -> dict[str, int]:
    listed = _object(fields.get(key) or {}, key)
    for digest, size in listed.items():
        # JSON has no integers of its own: `true` and `1.5` arrive here as well.
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _MAX_BLOB:
            raise InvalidDocument(f"{key}: {digest} has no count of bytes")
    return {_checked(digest): size for digest, size in listed.items()}


def _checked(digest: Any) -> str:
    try:
        return str(Digest.parse(digest if isinstance(digest, str) else ""))
    except ImgpkgError as error:
        raise InvalidDocument(str(error)) from error


def _listed(sizes: Mapping[str, int]) -> dict[str, int]:
    return {digest: sizes[digest] for digest in sorted(sizes)}
