"""What a credential is for: addresses of registries and repositories, and patterns `registry[/path]`."""

from __future__ import annotations

import re
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import CredentialError, InvalidReference
from imgpkg.expression import expression
from imgpkg.oci.reference import DOCKER_HUB, WholeRegistry, ascii_host

if TYPE_CHECKING:
    from imgpkg.oci.reference import Repository

# The name in references, the short name that people write, and the host that answers.
DOCKER_HUB_HOSTS = (DOCKER_HUB, "docker.io", "registry-1.docker.io")

_SCHEME = expression(r"https?://", re.IGNORECASE)
_API_VERSIONS = (("v1",), ("v2",))
# RFC 1035 section 2.3.4: 63 octets, and 255 with the length octets, which is 253 characters.
_LONGEST_LABEL, _LONGEST_HOST = 63, 253
_ANY_SCHEME = expression(r"[A-Za-z][A-Za-z0-9+.-]*://|//")
# Not a full grammar of addresses: it only keeps the brackets apart from those of a wildcard.
_IPV6 = expression(r"\[[0-9a-f.]*:[0-9a-f:.]*\]")
_CLASS = expression(r"\[[!^]?[a-z0-9_-]+\]")
_RANGE = expression(r"([a-z0-9_])-([a-z0-9_])")
_WILDCARD = expression(rf"[*?]|{_CLASS.pattern}")
_LITERAL = expression(r"[a-z0-9_.-]*")
_MAX_PORT = 65535
# Characters that a URL never has in its host, encoded or not.
_NO_URL = expression(r"[ \\^`{|}%]")
ANOTHER_HOST = "another host"


@dataclass(frozen=True, slots=True)
class Address:
    """A registry, or a part of it.

    `host` is lower-case, an IPv6 address is in brackets; `port` is empty for none and for 443; without
    `segments` it is the whole registry. Paths keep their case.
    """

    host: str
    port: str = ""
    segments: tuple[str, ...] = ()

    @classmethod
    def of(cls, repository: Repository) -> Address:
        """Return the address of `repository`; a first path segment `v1` or `v2` is part of its name.

        That of a whole registry has no segments.
        """
        host, port = split_authority(repository.registry)
        is_whole = isinstance(repository, WholeRegistry)
        return cls(host, port, () if is_whole else tuple(repository.path.split("/")))

    @classmethod
    def read(cls, text: str) -> Address:
        """Parse `[http[s]://]host[:port][/v1|/v2][/path][/]` without checking it; never fails.

        An internationalized host is converted to its form for DNS, if it has one.
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

    @property
    def registry(self) -> str:
        """The registry as references name it: a host without a dot would be a part of the path there."""
        # `localhost/app` would be the repository of that name on Docker Hub.
        port = self.port or ("" if "." in self.host else "443")
        return f"{self.host}:{port}" if port else self.host

    def canonical(self) -> Address:
        """Return the address with the one name `index.docker.io` for Docker Hub."""
        return replace(self, host=DOCKER_HUB) if self.is_docker_hub else self

    def covers(self, other: Address) -> bool:
        """Return whether the path of `other` is this path or below it, by whole segments."""
        return other.segments[: len(self.segments)] == self.segments

    def holds(self, other: Address) -> bool:
        """Return whether `other` is this place or a part of it, on the same host and port."""
        return (self.host, self.port) == (other.host, other.port) and self.covers(other)


def docker_hub_aliases(address: Address) -> tuple[Address, ...]:
    """Return all spellings of an address on Docker Hub; none for another registry."""
    if not address.is_docker_hub:
        return ()
    # Docker Hub keeps official images, which people name without a path, below `library/`.
    paths = [address.segments]
    if address.segments[:1] == ("library",):
        paths.append(address.segments[1:])
    return tuple(Address(host, "", path) for host in DOCKER_HUB_HOSTS for path in paths)


def split_scheme(text: str) -> tuple[str, str]:
    """Split `http://` or `https://`, in any case, from the rest."""
    scheme = _SCHEME.match(text)
    return (text[: scheme.end()], text[scheme.end() :]) if scheme else ("", text)


def split_authority(authority: str) -> tuple[str, str]:
    """Split `host[:port]`; the port is the text after the last colon outside of brackets."""
    host, colon, port = authority.rpartition(":")
    if not colon or (authority.startswith("[") and authority.endswith("]")):
        return authority.lower(), ""
    # The default port of HTTPS: with and without it is the same registry.
    return host.lower(), "" if port == "443" else port


def split_path(path: str) -> tuple[str, ...]:
    """Split a path into segments, without the API version that people copy from a URL."""
    segments = tuple(segment for segment in path.split("/") if segment)
    return segments[1:] if segments[:1] in _API_VERSIONS else segments


def why_no_host(host: str) -> str:
    """Return why no host can have this name, apart from its characters; empty when one can."""
    labels = host.removesuffix(".").split(".")
    if not host.isascii():
        return "its letters have no form for DNS (IDNA)"
    if not all(labels):
        return "a dot comes first, or follows another one"
    if len(host) > _LONGEST_HOST or max(map(len, labels)) > _LONGEST_LABEL:
        return "it is longer than a host name can be"
    return ""


class NoHost(CredentialError):
    """A pattern with a host name that cannot exist: it is well-formed, and matches nothing."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern as written and as an address whose host may hold the wildcards `*`, `?` and `[set]`.

    A wildcard stays within one label of the host; port and path are literal.
    """

    text: str
    address: Address

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Parse a pattern; raise CredentialError with a reason that never repeats the text.

        The text may hold a login that was written into the wrong variable. An internationalized host is
        converted to its form for DNS. Raises NoHost for a host that cannot exist.
        """
        text = text.strip()
        if not text.isprintable():
            raise CredentialError("control characters are not allowed")
        authority, path = _without_scheme(text).partition("/")[::2]
        _refuse_what_is_no_place(authority, path)
        host, port = split_authority(authority)
        _check_port(host, port)
        host = _checked_host(host)
        # Go negates a set with ^, fnmatch with an exclamation mark.
        return cls(text, Address(host.replace("[^", "[!"), port, split_path(path)))

    @property
    def has_wildcard(self) -> bool:
        """True when the host is not literal."""
        return not _IPV6.fullmatch(self.address.host) and bool(_WILDCARD.search(self.address.host))

    @property
    def rank(self) -> tuple[bool, int, int, int]:
        """Sort more specific patterns first: literal host, longer path, fewer wildcards."""
        if not self.has_wildcard:
            return (False, -len(self.address.segments), 0, 0)
        labels = self.address.host.split(".")
        # Fewer labels with wildcards first, then more literal letters: `a*.example.com` before
        # `*.example.com`.
        wild = sum(1 for label in labels if _WILDCARD.search(label))
        literal = len(_WILDCARD.sub("", self.address.host))
        return (True, -len(self.address.segments), wild, -literal)

    def matches(self, target: Address) -> bool:
        """Return whether host, port and path match `target`."""
        return not self.mismatch(target)

    def mismatch(self, target: Address) -> str:
        """Return why `target` does not match, in words; empty when it does."""
        if not self._host_matches(target.host):
            return self._host_mismatch(target.host)
        if self.address.port != target.port:
            return f"its port is {self.address.port or 443}, not {target.port or 443}"
        if not target.segments and self.address.segments:
            return f"it is for {self.address.path!r} and below, not for the whole registry"
        if not self.address.covers(target):
            return f"{target.path!r} is not below {self.address.path!r}, compared by whole segments"
        return ""

    def _host_matches(self, host: str) -> bool:
        if not self.has_wildcard:
            return self.address.host == host
        # Label by label: `*.example.com` must not match `a.b.example.com`, as in a TLS certificate.
        wanted, labels = self.address.host.split("."), host.split(".")
        return len(wanted) == len(labels) and all(map(fnmatchcase, labels, wanted))

    def _host_mismatch(self, host: str) -> str:
        if self.has_wildcard and fnmatchcase(host, self.address.host):
            return "a wildcard stays within one label of the host"
        return ANOTHER_HOST

    def __str__(self) -> str:
        return self.text


def _without_scheme(text: str) -> str:
    scheme, rest = split_scheme(text)
    if not scheme and _ANY_SCHEME.match(text):
        raise CredentialError("only http:// and https:// may stand in front of the host")
    return rest


def _refuse_what_is_no_place(authority: str, path: str) -> None:
    if "@" in authority:
        raise CredentialError("a login belongs into the USERNAME and PASSWORD variables")
    if not authority:
        raise CredentialError("the host is missing")
    if "?" in path or ("?" in authority and {"=", "&"} & set(authority)):
        raise CredentialError("a query is not allowed")
    if "#" in authority + path:
        raise CredentialError("a fragment is not allowed")
    if "@" in path or ":" in path:
        raise CredentialError("a tag or digest is not allowed")


def _check_port(host: str, port: str) -> None:
    if ":" in host and not host.startswith("["):
        raise CredentialError("more than one colon: an IPv6 address stands in brackets")
    # The length is checked before `int`, which takes quadratic time for many digits.
    is_number = port.isascii() and port.isdecimal() and len(port) <= len(str(_MAX_PORT))
    if port and not (is_number and int(port) <= _MAX_PORT):
        raise CredentialError("the port is not a number up to 65535 (wildcards match hosts only)")


def _checked_host(host: str) -> str:
    if not host:
        raise CredentialError("the host is missing")
    if _IPV6.fullmatch(host):
        return host
    rest = _WILDCARD.sub("", host)
    if "[" in rest or "]" in rest or any(map(_has_backward_range, _CLASS.findall(host))):
        raise CredentialError("syntax error in pattern: a bracket without its partner, or an odd set")
    if _NO_URL.search(rest):
        raise CredentialError("the host has a character that no host name has")
    host = _for_dns(host)
    # With wildcards replaced by the shortest name that they can match.
    problem = why_no_host(_WILDCARD.sub("x", host))
    if not problem and not _LITERAL.fullmatch(_WILDCARD.sub("", host)):
        problem = "it has a character that no host name has"
    if problem:
        raise NoHost(f"no host can be called so: {problem}")
    return host


def _for_dns(host: str) -> str:
    if not host.isascii() and _WILDCARD.search(host):
        # IDNA is defined for whole labels: one with a wildcard stays as it is, the others are converted.
        return ".".join(label if _WILDCARD.search(label) else _for_dns(label) for label in host.split("."))
    try:
        return ascii_host(host)
    except InvalidReference:
        return host


def _has_backward_range(wildcard: str) -> bool:
    return any(first > last for first, last in _RANGE.findall(wildcard))
