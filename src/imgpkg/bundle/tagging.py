"""The tags that imgpkg writes besides those it was asked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.oci.descriptor import Digest

_NOT_IN_A_TAG = re.compile(r"^[^a-zA-Z0-9_]+|[^a-zA-Z0-9._-]+")
# What is left of the 128 characters of a tag beside a SHA-256 digest.
_KEPT = 49


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
