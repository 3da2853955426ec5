"""The two small documents of an OCI image layout: `oci-layout`, and `index.json` which names its images."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from imgpkg.content.temporary import is_made_for, locked, remove_left_files, replacing_file
from imgpkg.errors import ArchiveError, ImgpkgError, local_io
from imgpkg.oci import media
from imgpkg.oci.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from imgpkg.oci.descriptor import Descriptor, Digest

REFERENCE_NAME = "org.opencontainers.image.ref.name"

_MARKER = "oci-layout"
_VERSION = "1.0.0"
_INDEX = "index.json"
_MAX_SIZE = 100 << 20
_EMPTY_INDEX = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}


def check_marker(path: str) -> None:
    """Raise ArchiveError unless `path` is a layout of a version that can be read, LocalIOError."""
    document = _read(os.path.join(path, _MARKER))
    version = str(document.get("imageLayoutVersion"))
    if version.split(".", maxsplit=1)[0] != _VERSION.split(".", maxsplit=1)[0]:
        raise ArchiveError(f"{path} is an image layout of version {version}, which is unknown")


def write_marker(path: str, shown: str) -> None:
    """Make `path` a layout unless it is one; raise ArchiveError for a folder with other content."""
    with local_io("mkdir", shown):
        os.makedirs(path, exist_ok=True)
    with _locked(path):
        remove_left_files(path)
        check_content(path, shown)
        # The marker comes first, so that a process killed here leaves what can be gone on with.
        for name, document in ((_MARKER, {"imageLayoutVersion": _VERSION}), (_INDEX, _EMPTY_INDEX)):
            if not os.path.exists(os.path.join(path, name)):
                _replace(os.path.join(path, name), document)


def check_content(path: str, shown: str) -> None:
    """Raise ArchiveError for a folder with other content than a layout; one that is missing is fine."""
    with local_io("mkdir", shown), suppress(FileNotFoundError):
        names = [name for name in os.listdir(path) if not is_made_for("", name)]
        if names and _MARKER not in names:
            raise ArchiveError(f"{shown} is neither empty nor an OCI image layout")


class LayoutIndex:
    """`index.json` of the layout folder `path`; entries of others are kept as they are."""

    def __init__(self, path: str) -> None:
        self._folder = path
        self._path = os.path.join(path, _INDEX)

    def read(self) -> tuple[Descriptor, ...]:
        """List the descriptors in their order; raise ArchiveError for what is no index."""
        raw = _content(self._path)
        try:
            return Manifest.parse(raw, media.OCI_INDEX).manifests
        except ImgpkgError as error:
            raise ArchiveError(f"{self._path} is damaged: {error}") from error

    def media_type(self, digest: Digest) -> str:
        """Return the media type that the index names for `digest`, empty when it names none."""
        return next((found.media_type for found in self.read() if found.digest == digest), "")

    def name(self, manifest: Descriptor, tags: tuple[str, ...], annotations: Mapping[str, str]) -> None:
        """Let each of `tags` name `manifest` and nothing else."""
        if not tags:
            return
        with _locked(os.path.join(self._folder, _MARKER)):
            document = _read(self._path)
            kept = [entry for entry in document.get("manifests") or () if _tag(entry) not in tags]
            new = [_entry(manifest, {**annotations, REFERENCE_NAME: tag}) for tag in tags]
            _replace(self._path, {**document, "manifests": [*kept, *new]})


def _entry(manifest: Descriptor, annotations: Mapping[str, str]) -> dict[str, Any]:
    return {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": manifest.size,
        "annotations": dict(annotations),
    }


def _tag(entry: dict[str, Any]) -> str:
    return str((entry.get("annotations") or {}).get(REFERENCE_NAME, ""))


def _read(path: str) -> dict[str, Any]:
    raw = _content(path)
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error
    if not isinstance(document, dict):
        raise ArchiveError(f"{path} is damaged: not a JSON object")
    return document


def _content(path: str) -> bytes:
    with local_io("open", path), open(path, "rb") as file:
        raw = file.read(_MAX_SIZE + 1)
    if len(raw) > _MAX_SIZE:
        raise ArchiveError(f"{path} has more than {_MAX_SIZE >> 20} MiB, which is too large")
    return raw


def _replace(path: str, document: Mapping[str, Any]) -> None:
    with local_io("write", path), replacing_file(path) as file:
        file.write(json.dumps(document, separators=(",", ":")).encode())


@contextmanager
def _locked(path: str) -> Iterator[None]:
    with ExitStack() as stack:
        with local_io("lock", path):
            stack.enter_context(locked(path))
        yield
