"""Hypothesis strategies for the values of registries: references, digests, descriptors, manifests, platforms.

They need `hypothesis`, which is not installed with imgpkg.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.platform import Platform
from imgpkg.oci.reference import DOCKER_HUB, Reference, Repository

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError(
        "imgpkg.testing.strategies needs hypothesis: pip install 'imgpkg-py[testing]'"
    ) from error

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

# Bytes.
_LENGTHS = {"sha256": 32, "sha512": 64}
# distribution-spec, "Pulling manifests": the grammars of names and tags, with lengths that stay readable.
_COMPONENT = r"[a-z0-9]{1,8}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}"
_PATH = rf"{_COMPONENT}(/{_COMPONENT}){{0,3}}"
_TAG = r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,40}"
_HOST = r"([a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?\.){1,3}(example|test)(:[1-9][0-9]{0,3})?"
_HOSTS = (DOCKER_HUB, "localhost:5000", "127.0.0.1:5000", "[::1]:5000")
_PLATFORMS = (
    *("linux/amd64", "linux/arm64", "linux/arm64/v8", "linux/arm/v7", "linux/386", "linux/s390x"),
    *("windows/amd64", "darwin/arm64", "freebsd/amd64"),
)
_LARGEST = 1 << 40
_ASCII = st.characters(max_codepoint=127)
# RFC 6838 §4.2, without the rarer characters.
_MEDIA_TYPE = r"application/vnd\.[a-z][a-z0-9]{0,8}(\.[a-z][a-z0-9-]{0,8}){0,2}(\+(json|gzip|zstd))?"


def _matching(pattern: str) -> SearchStrategy[str]:
    # Of all characters hypothesis would first find those of UTF-8, for a second.
    return st.from_regex(pattern, fullmatch=True, alphabet=_ASCII)


def digests(algorithm: str = "") -> SearchStrategy[Digest]:
    """Return a strategy for digests, of sha256 and sha512, or of the one `algorithm`."""
    algorithms = [algorithm] if algorithm else sorted(_LENGTHS)
    return st.sampled_from(algorithms).flatmap(_digests_of)


def _digests_of(algorithm: str) -> SearchStrategy[Digest]:
    length = _LENGTHS[algorithm]
    # One draw for all bytes: a text would be one for each digit.
    contents = st.binary(min_size=length, max_size=length)
    return st.builds(Digest, st.just(algorithm), contents.map(bytes.hex))


def repositories() -> SearchStrategy[Repository]:
    """Return a strategy for repositories: of Docker Hub, of local registries, and of others."""
    hosts = st.sampled_from(_HOSTS) | _matching(_HOST)
    # A name of one character is one by the specification, and not for go-containerregistry.
    paths = _matching(_PATH).filter(lambda path: len(path) > 1)
    official = _matching(_COMPONENT).filter(lambda path: len(path) > 1)
    return st.builds(Repository, st.just(DOCKER_HUB), official) | st.builds(Repository, hosts, paths)


def tags() -> SearchStrategy[str]:
    """Return a strategy for tags."""
    return _matching(_TAG)


def references() -> SearchStrategy[Reference]:
    """Return a strategy for references, by tag and by SHA-256 digest."""
    by_tag = st.builds(Reference, repositories(), tag=tags())
    return by_tag | st.builds(Reference, repositories(), digest=digests("sha256"))


def platforms() -> SearchStrategy[Platform]:
    """Return a strategy for platforms that images are built for."""
    return st.sampled_from(_PLATFORMS).map(Platform.parse)


def media_types() -> SearchStrategy[str]:
    """Return a strategy for media types that are none of manifests."""
    return st.sampled_from(sorted(media.LAYERS)) | _matching(_MEDIA_TYPE)


def annotation_maps() -> SearchStrategy[dict[str, str]]:
    """Return a strategy for annotations: keys in reverse domain notation, values of any text."""
    keys = _matching(r"[a-z]{2,5}(\.[a-z]{1,8}){1,3}")
    values = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    return st.dictionaries(keys, values, max_size=3)


def descriptors(media_type: SearchStrategy[str] | None = None) -> SearchStrategy[Descriptor]:
    """Return a strategy for descriptors of blobs, or of the types of the strategy `media_type`.

    The content that they describe does not exist.
    """
    return st.builds(
        Descriptor,
        media_type=media_types() if media_type is None else media_type,
        digest=digests("sha256"),
        size=st.integers(0, _LARGEST),
        annotations=annotation_maps(),
    )


def manifests() -> SearchStrategy[Manifest]:
    """Return a strategy for image manifests: images and artifacts of OCI, and images of Docker."""
    plain = st.builds(Descriptor, media_types(), digests("sha256"), st.integers(0, _LARGEST))
    layers = st.lists(descriptors(), min_size=1, max_size=4)
    image = st.builds(Manifest.build, _config(media.OCI_CONFIG), layers, **_more())
    artifact = st.builds(Manifest.build, st.none(), layers, **_more(artifact_type=media_types()))
    docker = st.builds(
        Manifest.build,
        _config(media.DOCKER_CONFIG),
        st.lists(plain, min_size=1, max_size=4),
        media_type=st.just(media.DOCKER_MANIFEST),
    )
    return image | artifact | docker


def indexes() -> SearchStrategy[Manifest]:
    """Return a strategy for indexes of OCI, and for manifest lists of Docker, of images for platforms."""
    return _indexes(media.OCI_MANIFEST, _more()) | _indexes(
        media.DOCKER_MANIFEST, {"media_type": st.just(media.DOCKER_LIST)}
    )


def _indexes(listed: str, more: dict[str, SearchStrategy[Any]]) -> SearchStrategy[Manifest]:
    entries = st.builds(
        Descriptor,
        st.just(listed),
        digests("sha256"),
        st.integers(0, _LARGEST),
        platform=platforms().map(str) | st.just(""),
    )
    return st.builds(Manifest.build_index, st.lists(entries, max_size=4), **more)


def _config(media_type: str) -> SearchStrategy[Descriptor]:
    return st.builds(Descriptor, st.just(media_type), digests("sha256"), st.integers(0, _LARGEST))


def _more(**chosen: SearchStrategy[Any]) -> dict[str, SearchStrategy[Any]]:
    subject = st.none() | _config(media.OCI_MANIFEST)
    return {
        "artifact_type": st.just("") | media_types(),
        "subject": subject,
        "annotations": annotation_maps(),
        **chosen,
    }
