"""The tag beside an image where cosign keeps its signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from imgpkg.oci.descriptor import Digest


def signature_tag(digest: Digest) -> str:
    """Name the tag of the signatures of `digest`: `sha256-HEX.sig`."""
    return f"{digest.algorithm}-{digest.hex}.sig"
