"""Where a repository is: host, port and path segments, in the one spelling that comparisons use."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imgpkg.errors import InvalidReference
from imgpkg.oci.reference import DOCKER_HUB, ascii_host

if TYPE_CHECKING:
    from imgpkg.oci.reference import Repository

DOCKER_HUB_HOSTS = (DOCKER_HUB, "docker.io", "registry-1.docker.io")

_SCHEME = re.compile(r"https?://", re.IGNORECASE)
_API_VERSIONS = (("v1",), ("v2",))
_LONGEST_LABEL, _LONGEST_HOST = 63, 253


@dataclass(frozen=True, slots=True)
class Address:
    """A registry, or a part of it.

    `host` is lower-case, an IPv6 address stands in brackets; `port` is empty for none and for 443; no
    `segments` means the whole registry. Paths keep their case.
    """

    host: str
    port: str = ""
    segments: tuple[str, ...] = ()

    @classmethod
    def of(cls, repository: Repository) -> Address:
        """Say where `repository` is; a first path segment `v1` or `v2` is part of its name."""
        host, port = split_authority(repository.registry)
        return cls(host, port, tuple(repository.path.split("/")))

    @classmethod
    def read(cls, text: str) -> Address:
        """Read `[http[s]://]host[:port][/v1|/v2][/path][/]` without judging it; never fails.

        A host in letters of the world takes its form for DNS, if it has one.
        """
        authority, path = split_scheme(text)[1].partition("/")[::2]
        host, port = split_authority(authority)
        with suppress(InvalidReference):
            host = ascii_host(host)
        return cls(host, port, split_path(path))

    @property
    def is_docker_hub(self) -> bool:
        """True for each of the three names of Docker Hub."""
        return self.host in DOCKER_HUB_HOSTS and not self.port

    @property
    def path(self) -> str:
        """The segments as they are written."""
        return "/".join(self.segments)

    def canonical(self) -> Address:
        """Give Docker Hub the one name `index.docker.io`."""
        return replace(self, host=DOCKER_HUB) if self.is_docker_hub else self

    def covers(self, other: Address) -> bool:
        """Tell whether the path of `other` is this path or goes on below it, by whole segments."""
        return other.segments[: len(self.segments)] == self.segments


def docker_hub_aliases(address: Address) -> tuple[Address, ...]:
    """List the other spellings of an image on Docker Hub; nothing for another registry."""
    if not address.is_docker_hub:
        return ()
    paths = [address.segments]
    if address.segments[:1] == ("library",):
        paths.append(address.segments[1:])
    return tuple(Address(host, "", path) for host in DOCKER_HUB_HOSTS for path in paths)


def split_scheme(text: str) -> tuple[str, str]:
    """Cut `http://` or `https://` off, in any case."""
    scheme = _SCHEME.match(text)
    return (text[: scheme.end()], text[scheme.end() :]) if scheme else ("", text)


def split_authority(authority: str) -> tuple[str, str]:
    """Cut `host[:port]`; the port is whatever follows the last colon outside of brackets."""
    host, colon, port = authority.rpartition(":")
    if not colon or (authority.startswith("[") and authority.endswith("]")):
        return authority.lower(), ""
    return host.lower(), "" if port == "443" else port


def split_path(path: str) -> tuple[str, ...]:
    """Cut a path into its segments, without the API version that people copy from a URL."""
    segments = tuple(segment for segment in path.split("/") if segment)
    return segments[1:] if segments[:1] in _API_VERSIONS else segments


def why_no_host(host: str) -> str:
    """Say why DNS can know no host of this name, whatever its characters are; empty when it can."""
    labels = host.removesuffix(".").split(".")
    if not host.isascii():
        return "its letters have no form for DNS (IDNA)"
    if not all(labels):
        return "a dot comes first, or follows another one"
    if len(host) > _LONGEST_HOST or max(map(len, labels)) > _LONGEST_LABEL:
        return "it is longer than a host name can be"
    return ""
