"""The values of the OCI specifications: references, descriptors, manifests. Nothing here does I/O.

    from imgpkg.oci import Reference

    Reference.parse_docker("registry.example.com/team/app:v1").repository

The names are those of `imgpkg`; each is imported on first use. `imgpkg.oci.media` has the media types.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.oci.config import Healthcheck as Healthcheck
    from imgpkg.oci.config import HistoryEntry as HistoryEntry
    from imgpkg.oci.config import ImageConfig as ImageConfig
    from imgpkg.oci.cut import Cut as Cut
    from imgpkg.oci.descriptor import Descriptor as Descriptor
    from imgpkg.oci.descriptor import Digest as Digest
    from imgpkg.oci.manifest import Manifest as Manifest
    from imgpkg.oci.platform import Platform as Platform
    from imgpkg.oci.reference import Reference as Reference
    from imgpkg.oci.reference import Repository as Repository

# The module of each name.
_HOMES = {
    "Cut": "cut",
    "Descriptor": "descriptor",
    "Digest": "descriptor",
    "Healthcheck": "config",
    "HistoryEntry": "config",
    "ImageConfig": "config",
    "Manifest": "manifest",
    "Platform": "platform",
    "Reference": "reference",
    "Repository": "reference",
}
__all__ = sorted(_HOMES)  # noqa: PLE0605 - names loaded on first use


if not TYPE_CHECKING:
    # With a module `__getattr__`, type checkers would accept any name.

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'imgpkg.oci' has no attribute {name!r}")
        value = getattr(import_module(f"imgpkg.oci.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
