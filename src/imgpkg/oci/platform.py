"""Platforms, and the entries of an index that are for some of them (OCI image-spec, image-index.md)."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError
from imgpkg.expression import expression
from imgpkg.oci.descriptor import Descriptor
from imgpkg.oci.manifest import Manifest

_NAME = expression(r"[a-z0-9_.-]+")
# Other names for the architectures of Go, and the variant that an architecture has where none is written.
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "i386": "386"}
_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
_SOFT_AND_HARD_FLOAT = {"armel": "v6", "armhf": "v7"}
_SYSTEMS = {"macos": "darwin"}
# BuildKit lists an attestation beside the image that it is about, whose digest the annotation has.
_ABOUT = "vnd.docker.reference.digest"
_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True)
class Platform:
    """An operating system and an architecture, perhaps with a variant, by the names of Go's GOOS and GOARCH.

    See the OCI image-spec, image-index.md, "platform".
    """

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Parse `os/architecture` or `os/architecture/variant` in any case; raise UsageError otherwise."""
        parts = text.strip().lower().split("/")
        if len(parts) not in (2, 3) or not all(_NAME.fullmatch(part) for part in parts):
            raise UsageError(
                f"Expected a platform such as linux/amd64 or linux/arm64/v8, but was '{text.strip()}'"
            )
        return cls(*parts)

    @property
    def canonical(self) -> Platform:
        """The same platform in its one spelling: `linux/aarch64` and `linux/arm64/8` are `linux/arm64/v8`."""
        architecture = _ARCHITECTURES.get(self.architecture, self.architecture)
        variant = self.variant
        if architecture in _SOFT_AND_HARD_FLOAT:
            architecture, variant = "arm", _SOFT_AND_HARD_FLOAT[architecture]
        if variant.isdigit():
            variant = f"v{variant}"
        system = _SYSTEMS.get(self.os, self.os)
        return Platform(system, architecture, variant or _VARIANTS.get(architecture, ""))

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


def parse_platforms(texts: Iterable[str]) -> tuple[Platform, ...]:
    """Return the platforms of `texts`, each with one or several between commas; raise UsageError."""
    names = [name for text in texts for name in text.split(",")]
    return tuple(dict.fromkeys(map(Platform.parse, names)))


def platform_of(entry: Descriptor) -> Platform | None:
    """Return the platform of an entry of an index; None where none is written, or one that is unknown."""
    parts = entry.platform.lower().split("/", 2)
    if len(parts) == 1 or not all(parts) or _UNKNOWN in parts[:2]:
        return None
    return Platform(*parts)


def platforms_of(index: Manifest) -> tuple[Platform, ...]:
    """Return the platforms that `index` lists itself, each once, in its order."""
    return tuple(dict.fromkeys(filter(None, map(platform_of, index.manifests))))


def as_platform(given: Platform | str | None) -> Platform | None:
    """Return the platform that a program asks for, if it does; raise UsageError for a text that is none."""
    return Platform.parse(given) if isinstance(given, str) else given


def entries_for(index: Manifest, wanted: Collection[Platform]) -> tuple[Descriptor, ...]:
    """Return the entries of `index` that are for one of the `wanted` platforms, in its order.

    An entry without a platform is for all of them, and an attestation for the platform of the image that it
    is about. Two platforms are the same if their canonical forms are.
    """
    asked = {platform.canonical for platform in wanted}
    names = {str(entry.digest) for entry in index.manifests}
    fits: set[str] = set()
    for entry in index.manifests:
        found = platform_of(entry)
        is_attestation = entry.annotations.get(_ABOUT) in names
        if not is_attestation and (found is None or found.canonical in asked):
            fits.add(str(entry.digest))
    about = {str(entry.digest): entry.annotations.get(_ABOUT) for entry in index.manifests}
    fits |= {name for name, subject in about.items() if subject in fits}
    return tuple(entry for entry in index.manifests if str(entry.digest) in fits)
