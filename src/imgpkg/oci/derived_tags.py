"""Tags that are made from the digest of an image, read back: whose they are, and what they name."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass
from imgpkg.expression import expression
from imgpkg.oci.descriptor import Digest

if TYPE_CHECKING:
    from imgpkg.oci.manifest import Manifest

# At most 49 characters of a repository stand in front of the internal tag with `--repo-based-tags`. SHA-512
# has more digits than a tag has characters.
_DERIVED = expression(
    r"(?:[A-Za-z0-9_][A-Za-z0-9._-]{0,48}-)?sha256-([0-9a-f]{64})"
    r"(\.imgpkg|\.image-(?:locations|places)\.imgpkg|\.sig|\.att|\.sbom|)"
)
_PREFIX = "sha256-"


class TagKind(Enum):
    """What a tag names of the digest in it; the value is its end.

    The image itself or the locations record of the bundle, the second one if its images are in several
    repositories (imgpkg); the signatures, the attestations or the
    SBOM (cosign); the index of referrers (distribution-spec, "Referrers Tag Schema").
    """

    IMAGE = ".imgpkg"
    LOCATIONS = ".image-locations.imgpkg"
    PLACES = ".image-places.imgpkg"
    SIGNATURES = ".sig"
    ATTESTATIONS = ".att"
    SBOM = ".sbom"
    REFERRERS = ""


_ATTACHED = (TagKind.SIGNATURES, TagKind.ATTESTATIONS, TagKind.SBOM)


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


def attached_to(tag: str, manifest: Manifest) -> Digest | None:
    """Return the digest of the image that a manifest with this tag is attached to; None for one of its own.

    It is attached by cosign's tag or by its subject. With a tag that people have chosen it is one of its own.
    """
    derived = DerivedTag.parse(tag)
    if derived is not None and derived.kind in _ATTACHED:
        return derived.digest
    return manifest.subject.digest if manifest.subject is not None and not tag else None
