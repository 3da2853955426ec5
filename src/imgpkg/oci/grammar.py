"""References by the letter: the grammar of the distribution-spec for names and tags, Docker's for the rest.

`Reference.parse` reads what go-containerregistry reads, which is more: empty components, any order of dots.
"""

from __future__ import annotations

from imgpkg.errors import InvalidReference
from imgpkg.expression import expression
from imgpkg.oci.descriptor import Digest

# distribution-spec, "Pulling manifests".
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = expression(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = expression(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# Docker: labels of letters, digits and hyphens between them, or an IPv6 address; then a port.
_LABEL = r"[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*"
_REGISTRY = expression(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
# Docker takes such a word for the identifier of an image.
_IDENTIFIER = expression(r"[0-9a-f]{64}")
_LOCAL = "localhost"


def split_docker(text: str) -> tuple[str, str, str, Digest | None]:
    """Return registry, path, tag and digest of a reference; see `Reference.parse_docker`.

    The registry is empty for Docker Hub, and the tag where there is none.
    """
    named, at, digest = text.partition("@")
    registry, name = _split_registry(named)
    path, colon, tag = name.partition(":")
    if not registry and _IDENTIFIER.fullmatch(path):
        raise InvalidReference(f"64 hexadecimal digits are no name, but an identifier of Docker: {path}")
    if not _NAME.fullmatch(path):
        raise InvalidReference(f"invalid name of a repository: {path}", hints=(_about(path),))
    if colon and not _TAG.fullmatch(tag):
        raise InvalidReference(f"invalid tag: {tag}")
    return registry, path, tag, Digest.parse(digest) if at else None


def _split_registry(named: str) -> tuple[str, str]:
    first, slash, rest = named.partition("/")
    is_host = "." in first or ":" in first or first == _LOCAL or first != first.lower()
    if not slash or not is_host:
        return "", named
    if not _REGISTRY.fullmatch(first):
        raise InvalidReference(
            f"invalid name of a registry: {first}",
            hints=("A registry is a host with a port, if any; an IPv6 address is in brackets.",),
        )
    if "." not in first and ":" not in first:
        raise InvalidReference(
            f"a registry without a dot needs its port: {first}",
            hints=(f"Write {first}:5000/{rest}, or :80 or :443 in place of :5000.",),
        )
    return first, rest


def _about(path: str) -> str:
    if path != path.lower():
        return f"The names of repositories have no capital letters: {path.lower()}."
    return (
        "Components of a name, between slashes, are letters and digits with one of . _ __ or any number of - "
        "between them."
    )
