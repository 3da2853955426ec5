"""Image references: a registry, a repository, and a tag or digest.

Every value is valid and has all defaults filled in. `str()` returns the canonical name, which parses to an
equal value. A reference does not determine whether the registry is reached over http or https.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache, total_ordering
from typing import TypeVar
from urllib.parse import urlsplit

from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidReference, UsageError
from imgpkg.expression import expression
from imgpkg.oci.descriptor import Digest

T = TypeVar("T")

DOCKER_HUB = "index.docker.io"
DEFAULT_TAG = "latest"
# No repository has this name.
_ANY_PATH = "-/-"

_TAG_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-.ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PATH_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-./"
_MAX_TAG = 128
_MIN_PATH, _MAX_PATH = 2, 255
_SCHEME = expression(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HTTP = expression(r"https?://", re.IGNORECASE)
_NO_LOGIN = "a reference has no scheme and no login"
# RFC 3986 §3.2, without user information. An empty port would make `http:` in `http://host` a registry.
_AUTHORITY = expression(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=-]+)(:[0-9]+)?")
# The characters that RFC 3490 §3.1 treats as dots.
_DOTS = expression("[.\u3002\uff0e\uff61]")
# IDNA2003 maps or removes these, IDNA2008 does not (UTS 46, "deviation characters"): the two resulting names
# may have two owners.
_KEPT, _REFUSED = expression("([\u00df\u03c2])"), expression("[\u200c\u200d]")
_LABEL = expression(r"[a-z0-9_-]*")
_MAX_LABEL = 63
_KEPT_REPOSITORIES = 1 << 10


@dataclass(frozen=True, slots=True, order=True)
class Repository:
    """A repository of a registry: `registry` is `host[:port]`, `path` a name such as `library/nginx`.

    An empty registry and `docker.io` become `index.docker.io`, where a path of one component gets the prefix
    `library/`. Raises InvalidReference for a registry or path that no text can name.
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
        """Parse `[registry/]path`; raise InvalidReference, which names the invalid part.

        The first component is a registry if it contains a dot or a colon.
        """
        if not _written(text):
            raise InvalidReference("a repository name must be specified")
        try:
            _refuse_login(text)
            return cls(*_split_registry(text))
        except InvalidReference as error:
            raise _correctable(error, text, is_repository=True) from error.__cause__

    def tag(self, tag: str) -> Reference:
        """Return the reference of `tag` in this repository; raise InvalidReference."""
        return Reference(self, tag=tag)

    def digest(self, digest: Digest) -> Reference:
        """Return the reference of `digest` in this repository."""
        return Reference(self, digest=digest)

    def __str__(self) -> str:
        return f"{self.registry}/{self.path}"


@dataclass(frozen=True, slots=True)
class WholeRegistry(Repository):
    """A registry where a repository is expected: its text is the host, and its path is that of no repository.

    Credentials for a part of the registry are not for it. A host needs no dot here.
    """

    path: str = _ANY_PATH

    def __post_init__(self) -> None:
        is_word = not {".", ":"} & set(self.registry)
        checked = Repository(f"{self.registry}:443" if is_word else self.registry, self.path)
        if not is_word:
            object.__setattr__(self, "registry", checked.registry)

    def __str__(self) -> str:
        return self.registry


@total_ordering
@dataclass(frozen=True, slots=True)
class Reference:
    """A tag or a digest in a repository; references are ordered by their canonical names.

    Raises InvalidReference unless exactly one of `tag` and `digest` is set.
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
        """Parse a reference; raise InvalidReference.

        The tag is `latest` if there is neither tag nor digest. A tag beside a digest is ignored.
        """
        try:
            return cls.parse_digest(text) if "@" in _written(text) else cls._parse_tag(text)
        except InvalidReference as error:
            raise _correctable(error, text) from error.__cause__

    @classmethod
    def parse_tag(cls, text: str) -> Reference:
        """Parse `repository[:tag]`, by default with `latest`; raise InvalidReference, also for a digest."""
        try:
            return cls._parse_tag(text)
        except InvalidReference as error:
            raise _correctable(error, text) from error.__cause__

    @classmethod
    def _parse_tag(cls, text: str) -> Reference:
        _refuse_login(text)
        base, colon, tag = text.rpartition(":")
        if not colon or "/" in tag:
            base, tag = text, ""
        tag = tag or DEFAULT_TAG
        _check_tag(tag)
        return cls(Repository.parse(base), tag=tag)

    @classmethod
    def parse_digest(cls, text: str) -> Reference:
        """Parse `repository[:tag]@digest`; raise InvalidReference. The tag is ignored."""
        _refuse_login(text)
        base, at, digest = text.partition("@")
        if not at or "@" in digest:
            raise InvalidReference(
                "a digest must contain exactly one '@' separator (e.g. registry/repository@digest) "
                f"saw: {text}"
            )
        if not digest.startswith("sha256:"):
            raise InvalidReference(f"unsupported digest algorithm: {digest}")
        return cls(digest=Digest.parse(digest), repository=_repository_before(base))

    @classmethod
    def parse_docker(cls, text: str) -> Reference:
        """Parse `[registry/]path[:tag][@digest]` as Docker does; raise InvalidReference.

        Names and tags have the grammar of the distribution-spec ("Pulling manifests"), where `parse` accepts
        more, and a digest may be of SHA-512. A name has at least two characters, as for `parse`. `localhost`
        is a registry, and needs a port like every registry without a dot. The tag is `latest` if there is
        neither tag nor digest; one beside a digest is ignored.
        """
        from imgpkg.oci.grammar import split_docker

        _refuse_login(text)
        registry, path, tag, digest = split_docker(text)
        repository = Repository(registry, path)
        return repository.tag(tag or DEFAULT_TAG) if digest is None else repository.digest(digest)

    @property
    def identifier(self) -> str:
        """The tag or digest, as in the path of a manifest (distribution-spec, "Pulling manifests")."""
        return str(self.digest) if self.digest is not None else str(self.tag)

    def __lt__(self, other: object) -> bool:
        return str(self) < str(other) if isinstance(other, Reference) else NotImplemented

    def __str__(self) -> str:
        separator = "@" if self.digest is not None else ":"
        return f"{self.repository}{separator}{self.identifier}"


@lru_cache(_KEPT_REPOSITORIES)
def _repository_before(base: str) -> Repository:
    """Return the repository that stands before a digest; most images of a lock are in few of them."""
    try:
        return Reference.parse_tag(base).repository
    except InvalidReference:
        # Go's error for an invalid name before the digest is that of a repository, not of a tag.
        return Repository.parse(base)


def parse_any(text: str) -> Reference:
    """Parse the reference of an image to read; raise InvalidReference, with the reason as its hint.

    The error has the one text that Go's `name.ParseReference` returns for every failure: scripts compare it.
    """
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        shown, hints = without_login(text), (str(error), *error.hints)
        raise InvalidReference(f"could not parse reference: {shown}", hints=hints) from error


def _correctable(error: InvalidReference, text: str, *, is_repository: bool = False) -> InvalidReference:
    """Let the hints of `error` say how to write `text`, once somebody looks at them."""

    def explain() -> None:
        from imgpkg.oci.correction import Written, advice

        error.hints = advice(Written(text, without_login(text), Reference.parse), is_repository=is_repository)

    error.explain_later(explain)
    return error


def parse_place(text: str) -> Repository:
    """Parse the reference of an image, a registry alone, or the URL of either; raise InvalidReference.

    A word without a slash is a registry if it has a dot or a port, or is `localhost`: no official image of
    Docker Hub, which such a word would otherwise name, is called so.
    """
    scheme = _HTTP.match(_written(text))
    named = _without_api(text[scheme.end() :]) if scheme else text
    word = named.rstrip("/")
    if "/" not in word and "@" not in word:
        host, port = _split_port(word)
        is_host = scheme is not None or "." in host or host == "localhost" or host.startswith("[")
        if port.isdecimal() or (is_host and not port):
            return _whole(word)
        if is_host:
            hint = f"{host} is a registry: a tag stands behind a repository, such as {host}/team/app:{port}"
            raise InvalidReference(f"could not parse reference: {text}", hints=(hint,))
    return parse_any(named).repository


def _whole(registry: str) -> WholeRegistry:
    try:
        return WholeRegistry(registry)
    except InvalidReference as error:
        raise InvalidReference(f"could not parse reference: {registry}", hints=(str(error),)) from error


def _split_port(word: str) -> tuple[str, str]:
    host, colon, port = word.rpartition(":")
    return (host, port) if colon and not word.endswith("]") else (word, "")


def _without_api(text: str) -> str:
    """Return what a URL without scheme names, also one of the API (distribution-spec, "Endpoints")."""
    host, *segments = text.rstrip("/").split("/")
    if segments[:1] in (["v1"], ["v2"]):
        del segments[0]
    # `/v2/team/app/manifests/v1` is the URL that people copy from a log.
    if segments[-2:-1] in (["manifests"], ["blobs"], ["tags"]):
        del segments[-2:]
    return "/".join((host, *segments))


def without_login(text: str) -> str:
    """Return `text`, which should be a reference, without scheme and login, so that it can be printed."""
    scheme = _SCHEME.match(text)
    # A password may contain `@`, and so may a wrong reference with two digests: digests are split off first.
    parts = (text[scheme.end() :] if scheme else text).split("@")
    digests = []
    while len(parts) > 1 and parts[-1].startswith("sha"):
        digests.append(parts.pop())
    # What is left has at most a login before the last `@`.
    *before, named = parts
    has_login = bool(before) and ("/" in named or any(":" in part for part in before))
    return "@".join([*([] if has_login else before), named, *reversed(digests)])


def listed(what: str, given: Iterable[T]) -> tuple[T, ...]:
    """Return what a program gave as a list of `what`; raise UsageError for a text, a list of its letters."""
    if isinstance(given, str):
        raise UsageError(
            f"Expected a list of {what}, and not the text '{without_login(given)}'",
            hints=("Put it into a list.",),
        )
    return tuple(given)


def _written(given: object) -> str:
    # Programs without a type checker give the references of results back as they are.
    if isinstance(given, str):
        return given
    remedy = ": str() returns it" if isinstance(given, (Reference, Repository)) else ""
    raise TypeError(f"Expected the text of a reference, and not a {type(given).__name__}{remedy}")


def _refuse_login(text: str) -> None:
    if without_login(_written(text)) != text:
        raise InvalidReference(_NO_LOGIN)


def _split_registry(text: str) -> tuple[str, str]:
    first, slash, rest = text.partition("/")
    # The rule of go-containerregistry: any other first part is a namespace of Docker Hub.
    if slash and ("." in first or ":" in first):
        return first, rest
    return "", text


def _registry(text: str) -> str:
    # The API of Docker Hub answers under another name than its references.
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
    """Return the ASCII form of an internationalised host name (IDNA), and other hosts unchanged.

    Raises InvalidReference for a name without such a form.
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
    from encodings.idna import nameprep

    parts = _KEPT.split(label)
    prepared = "".join(part if _KEPT.fullmatch(part) else nameprep(part) for part in parts)
    encoded = prepared if prepared.isascii() else f"xn--{prepared.encode('punycode').decode('ascii')}"
    # Compatibility forms may contain dots and slashes: that of U+2100 is `a/c`.
    if len(encoded) > _MAX_LABEL or not _LABEL.fullmatch(encoded):
        raise UnicodeError(label)
    return encoded


def _is_authority(text: str) -> bool:
    try:
        split = urlsplit(f"//{text}")
        if text.startswith("["):
            from ipaddress import IPv6Address

            # urlsplit of Python 3.10 accepts any text between the brackets.
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
