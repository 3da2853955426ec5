"""Tags that are made from the digest of an image, read back: whose they are, and what they name."""

from __future__ import annotations

from enum import Enum

from imgpkg.dataclass import dataclass
from imgpkg.expression import expression
from imgpkg.oci.descriptor import Digest

# At most 49 characters of a repository stand in front of the internal tag with `--repo-based-tags`. SHA-512
# has more digits than a tag has characters.
_DERIVED = expression(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,48}-)?sha256-([0-9a-f]{64})"
    r"(\.imgpkg|\.image-locations\.imgpkg|\.sig|\.att|\.sbom|)"
)
_PREFIX = "sha256-"


class TagKind(Enum):
    """What a tag names of the digest in it; the value is its end.

    The image itself or the locations record of the bundle (imgpkg); the signatures, the attestations or the
    SBOM (cosign); the index of referrers (distribution-spec, "Referrers Tag Schema").
    """

    IMAGE = ".imgpkg"
    LOCATIONS = ".image-locations.imgpkg"
    SIGNATURES = ".sig"
    ATTESTATIONS = ".att"
    SBOM = ".sbom"
    REFERRERS = ""


@dataclass(frozen=True, slots=True)
class DerivedTag:
    """A tag that is made from `digest`."""

    kind: TagKind
    digest: Digest

    @classmethod
    def parse(cls, tag: str) -> DerivedTag | None:
        """Return what `tag` is made from; None for tags that people have chosen."""
        match = _DERIVED.fullmatch(tag)
        if match is None:
            return None
        kind = TagKind(match[2])
        # Only the tag of an image has the name of a repository in front.
        if kind is not TagKind.IMAGE and not tag.startswith(_PREFIX):
            return None
        return cls(kind, Digest("sha256", match[1]))
