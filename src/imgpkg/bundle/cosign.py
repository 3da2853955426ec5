"""The tags beside an image where cosign keeps what it says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.oci.digest import Digest


def signature_tag(digest: Digest) -> str:
    """Name the tag of the signatures of `digest`: `sha256-HEX.sig`."""
    return _tag(digest, "sig")


def attestation_tag(digest: Digest) -> str:
    """Name the tag of the attestations of `digest`: `sha256-HEX.att`."""
    return _tag(digest, "att")


def sbom_tag(digest: Digest) -> str:
    """Name the tag of the bill of materials of `digest`: `sha256-HEX.sbom`."""
    return _tag(digest, "sbom")


def _tag(digest: Digest, suffix: str) -> str:
    return f"{digest.algorithm}-{digest.hex}.{suffix}"
