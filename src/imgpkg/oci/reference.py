"""Image references: parse, normalise, print.

A value in hand is valid and has every default filled in; `str()` is the canonical name and parses to the
same value again. Nothing here says whether a registry is reached by http or https.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from urllib.parse import urlsplit

from imgpkg.errors import InvalidReference
from imgpkg.oci.descriptor import Digest

DOCKER_HUB = "index.docker.io"
DEFAULT_TAG = "latest"

_TAG_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PATH_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-./"
_MAX_TAG = 128
_MIN_PATH, _MAX_PATH = 2, 255
# RFC 3986 authority without user information; an empty port would let `http://host` pass as a registry.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NO_LOGIN = (
    "a reference has no scheme and no login: write HOST/REPOSITORY, and give the login with "
    "--registry-username and --registry-password-stdin"
)
_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=-]+)(:[0-9]+)?")
# The full stops of RFC 3490 section 3.1.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
# What IDNA2003 maps to other letters or to nothing, and IDNA2008 does not: two names, maybe of two owners.
_KEPT, _REFUSED = re.compile("([\u00df\u03c2])"), re.compile("[\u200c\u200d]")
_LABEL = re.compile(r"[a-z0-9_-]*")
_MAX_LABEL = 63


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository of a registry, such as `index.docker.io` and `library/nginx`.

    Docker Hub has its defaults filled in, as `parse` does it. Names that `parse` would not give raise
    InvalidReference.
    """

    registry: str
    path: str

    def __post_init__(self) -> None:
        _check("repository", self.path, _PATH_CHARACTERS, _MIN_PATH, _MAX_PATH)
        object.__setattr__(self, "registry", _registry(self.registry))
        if self.registry == DOCKER_HUB and "/" not in self.path:
            object.__setattr__(self, "path", f"library/{self.path}")
            _check("repository", self.path, _PATH_CHARACTERS, _MIN_PATH, _MAX_PATH)
        if _split_registry(str(self)) != (self.registry, self.path):
            raise InvalidReference(f"no registry is called {self.registry}: it has neither a dot nor a port")

    @classmethod
    def parse(cls, text: str) -> Repository:
        """Read `[registry/]path` with Docker Hub's defaults; raise InvalidReference naming the bad part."""
        if not text:
            raise InvalidReference("a repository name must be specified")
        _refuse_login(text)
        return cls(*_split_registry(text))

    def tag(self, tag: str) -> Reference:
        """Name `tag` in this repository."""
        return Reference(self, tag=tag)

    def digest(self, digest: Digest) -> Reference:
        """Name `digest` in this repository."""
        return Reference(self, digest=digest)

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@total_ordering
@dataclass(frozen=True, slots=True)
class Reference:
    """A tag or a digest in a repository: exactly one of the two is set; ordered by canonical name.

    Any other use raises InvalidReference.
    """

    repository: Repository
    tag: str | None = None
    digest: Digest | None = None

    def __post_init__(self) -> None:
        if (self.tag is None) == (self.digest is None):
            raise InvalidReference(f"{self.repository}: expected either a tag or a digest")
        if self.tag is not None:
            _check_tag(self.tag)

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read any reference; a tag beside a digest is dropped, no tag means `latest`."""
        return cls.parse_digest(text) if "@" in text else cls.parse_tag(text)

    @classmethod
    def parse_tag(cls, text: str) -> Reference:
        """Read a tag reference, `latest` when there is no tag; a digest is an error."""
        _refuse_login(text)
        base, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            base, tag = text, ""
        tag = tag or DEFAULT_TAG
        _check_tag(tag)
        return cls(Repository.parse(base), tag=tag)

    @classmethod
    def parse_digest(cls, text: str) -> Reference:
        """Read a digest reference; the tag of `repository:tag@digest` is dropped unread."""
        _refuse_login(text)
        base, at, digest = text.partition("@")
        if not at or "@" in digest:
            raise InvalidReference(
                "a digest must contain exactly one '@' separator (e.g. registry/repository@digest) "
                f"saw: {text}"
            )
        if not digest.startswith("sha256:"):
            raise InvalidReference(f"unsupported digest algorithm: {digest}")
        parsed = Digest.parse(digest)
        try:
            repository = cls.parse_tag(base).repository
        except InvalidReference:
            repository = Repository.parse(base)
        return cls(repository, digest=parsed)

    @property
    def identifier(self) -> str:
        """The tag or digest, as it stands in a manifest URL."""
        return str(self.digest) if self.digest is not None else str(self.tag)

    def __lt__(self, other: object) -> bool:
        return str(self) < str(other) if isinstance(other, Reference) else NotImplemented

    def __str__(self) -> str:
        separator = "@" if self.digest is not None else ":"
        return f"{self.repository}{separator}{self.identifier}"


def parse_any(text: str) -> Reference:
    """Read a reference as the original does for everything it only reads: any failure has one text."""
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        shown = without_login(text)
        raise InvalidReference(f"could not parse reference: {shown}", hints=(str(error),)) from error


def without_login(text: str) -> str:
    """Return what may be shown of a text that should be a reference: without scheme and login."""
    scheme = _SCHEME.match(text)
    parts = (text[scheme.end() :] if scheme else text).split("@")
    digests = []
    while len(parts) > 1 and parts[-1].startswith("sha"):
        digests.append(parts.pop())
    *before, named = parts
    has_login = bool(before) and ("/" in named or any(":" in part for part in before))
    return "@".join([*([] if has_login else before), named, *reversed(digests)])


def _refuse_login(text: str) -> None:
    if without_login(text) != text:
        raise InvalidReference(_NO_LOGIN)


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    if slash and ("." in first or ":" in first):
        return first, rest
    return "", text


def _registry(text: str) -> str:
    if text in ("", "docker.io"):
        return DOCKER_HUB
    authority = _ascii_authority(text)
    if not _AUTHORITY.fullmatch(authority) or not _is_authority(authority):
        raise InvalidReference(f"registries must be valid RFC 3986 URI authorities: {text}")
    return authority


def _ascii_authority(text: str) -> str:
    host, colon, port = text.rpartition(":")
    try:
        return f"{ascii_host(host)}:{port}" if colon else ascii_host(port)
    except InvalidReference:
        return text


def ascii_host(host: str) -> str:
    """Return the form that DNS has for a host in letters of the world (IDNA), and other hosts as they are.

    Raises InvalidReference when there is no such form.
    """
    if host.isascii():
        return host
    try:
        return ".".join(map(_ascii_label, _DOTS.split(host)))
    except UnicodeError as error:
        raise InvalidReference(f"no host can be called {host}: it has no form for DNS (IDNA)") from error


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    if len(label) > _MAX_LABEL or _REFUSED.search(label):
        raise UnicodeError(label)
    from encodings.idna import nameprep  # noqa: PLC0415 - few hosts need its tables

    parts = _KEPT.split(label)
    prepared = "".join(part if _KEPT.fullmatch(part) else nameprep(part) for part in parts)
    encoded = prepared if prepared.isascii() else f"xn--{prepared.encode('punycode').decode('ascii')}"
    # Compatible forms may hold dots and slashes: U+2100 is three letters, the second of them a slash.
    if len(encoded) > _MAX_LABEL or not _LABEL.fullmatch(encoded):
        raise UnicodeError(label)
    return encoded


def _is_authority(text: str) -> bool:
    try:
        split = urlsplit(f"//{text}")
        if text.startswith("["):
            from ipaddress import IPv6Address  # noqa: PLC0415 - slow to load and seldom needed

            # Python 3.10 takes any text between the brackets.
            IPv6Address(split.hostname or "")
        return split.netloc == text and (split.port or 0) >= 0
    except ValueError:
        return False


def _check_tag(tag: str) -> None:
    _check("tag", tag, _TAG_CHARACTERS, 1, _MAX_TAG)


def _check(name: str, text: str, characters: str, shortest: int, longest: int) -> None:
    if not shortest <= len(text) <= longest:
        raise InvalidReference(
            f"{name} must be between {shortest} and {longest} characters in length: {text}"
        )
    if text.strip(characters):
        raise InvalidReference(f"{name} can only contain the characters `{characters}`: {text}")
