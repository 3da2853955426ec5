"""Mirrors of `registries.conf`: where an image is read from, in place of the registry in its name."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

from imgpkg.dataclass import dataclass
from imgpkg.errors import (
    ChallengeError,
    CredentialError,
    InvalidManifest,
    InvalidReference,
    InvalidSettings,
    NotFound,
    RegistryError,
    TransportError,
    UsageError,
    VerificationError,
)
from imgpkg.oci.reference import DOCKER_HUB, Reference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.errors import ImgpkgError
    from imgpkg.oci.descriptor import Descriptor, Readable
    from imgpkg.oci.reference import Repository
    from imgpkg.registry.client import RegistryClient

Result = TypeVar("Result")

# What the files call Docker Hub.
_DOCKER_HUB_NAME = "docker.io"
_ENDS_OF_PREFIX = ("/", ":", "@")
# After these the next source is asked; other errors do not depend on the source.
_GOING_ON = (
    TransportError,
    RegistryError,
    ChallengeError,
    CredentialError,
    InvalidManifest,
    InvalidSettings,
    VerificationError,
)


class PullFrom(Enum):
    """Which references a mirror is for."""

    ALL = "all"
    DIGEST_ONLY = "digest-only"
    TAG_ONLY = "tag-only"


@dataclass(frozen=True, slots=True)
class Mirror:
    """A place that has the images of a prefix under other names; with `insecure` it needs no valid TLS."""

    location: str
    insecure: bool = False
    pull_from: PullFrom = PullFrom.ALL

    def is_for(self, reference: Reference) -> bool:
        """Return whether `reference` may be read from here."""
        if self.pull_from is PullFrom.DIGEST_ONLY:
            return reference.digest is not None
        return self.pull_from is PullFrom.ALL or reference.digest is None


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[registry]]`: the references that begin with `prefix` are at `location`, and on its mirrors.

    An empty location stands for the prefix. `path` is the file with the rule.
    """

    prefix: str
    location: str = ""
    insecure: bool = False
    blocked: bool = False
    mirrors: tuple[Mirror, ...] = ()
    path: str = ""

    def match(self, name: str) -> str | None:
        """Return the part of `name`, a whole reference, that the prefix covers; None when it does not."""
        # containers-registries.conf(5): `*.example.com` covers all hosts below, at any depth.
        if self.prefix.startswith("*."):
            host = name.partition("/")[0]
            return host if host.partition(":")[0].endswith(self.prefix[1:]) else None
        rest = name.removeprefix(self.prefix)
        is_covered = name.startswith(self.prefix) and (not rest or rest.startswith(_ENDS_OF_PREFIX))
        return self.prefix if is_covered else None


@dataclass(frozen=True, slots=True)
class ImageSource:
    """A place to read an image from: the reference there, which is for requests and never shown as a name."""

    reference: Reference
    insecure: bool = False
    is_mirror: bool = False

    def __str__(self) -> str:
        return str(self.reference)


@dataclass(frozen=True, slots=True)
class Mirrors:
    """The rules of all files, for reading single images; nothing is written to or listed on a mirror."""

    rules: tuple[Rule, ...] = ()

    def sources(self, reference: Reference) -> tuple[ImageSource, ...]:
        """Return where to read `reference` from, in order: its mirrors, then its location.

        Raises UsageError for a blocked reference, and InvalidSettings for a location that is no repository.
        """
        name = _name(reference)
        found = [(len(rule.prefix), rule, part) for rule in self.rules if (part := rule.match(name))]
        if not found:
            return (ImageSource(reference),)
        # The longest prefix wins, as in podman.
        _, rule, part = max(found, key=lambda item: item[0])
        if rule.blocked:
            raise UsageError(f"reading {reference} is blocked by the rule {rule.prefix!r} of {rule.path}")
        places = [(mirror.location, mirror.insecure) for mirror in rule.mirrors if mirror.is_for(reference)]
        mirrors = (
            ImageSource(_moved(reference, rule, part, location), insecure, is_mirror=True)
            for location, insecure in places
        )
        return (*mirrors, ImageSource(_moved(reference, rule, part, rule.location or part), rule.insecure))


def _anything(_: object) -> bool:
    return True


class MirroredReads:
    """Read images from the first source that has them; safe from many threads.

    What belongs to an image, such as its blobs, is asked for first where the last manifest of its repository
    was. `insecure` returns the client for sources without valid TLS, which has no mirrors. `warn` gets a
    sentence for each source that failed before another one had the image.
    """

    def __init__(
        self,
        mirrors: Mirrors,
        *,
        insecure: Callable[[], RegistryClient],
        warn: Callable[[str], None],
    ) -> None:
        self.mirrors = mirrors
        self._insecure = insecure
        self._warn = warn
        self._used: dict[Repository, str] = {}

    def sources(self, reference: Reference) -> tuple[Reference, ...]:
        """Return where `reference` is read from, in order; see `Mirrors.sources`."""
        return tuple(source.reference for source in self.mirrors.sources(reference))

    def read(
        self,
        client: RegistryClient,
        reference: Reference,
        act: Callable[[RegistryClient, Reference], Result],
        is_found: Callable[[Result], bool] = _anything,
    ) -> Result:
        """Return the first result that is found, else that of the last source; raise the last source's error.

        The error has a line for each other source that failed.
        """
        failures: list[tuple[ImageSource, ImgpkgError]] = []
        *first, last = self._ordered(reference)
        # Any failure of a mirror leads to the next source: the registry itself is the last one.
        for source in first:
            try:
                result = act(self._client(client, source), source.reference)
            except _GOING_ON as error:
                failures.append((source, error))
                continue
            if is_found(result):
                return self._kept(reference, source, failures, result)
        try:
            result = act(self._client(client, last), last.reference)
        except _GOING_ON as error:
            # The error of the last source is raised; those before it may be the reason that it was asked at
            # all.
            error.lines = (*error.lines, *(f"before that, {place}: {why}" for place, why in failures))
            raise
        return self._kept(reference, last, failures, result)

    @contextmanager
    def open_blob(
        self, client: RegistryClient, repository: Repository, blob: Descriptor, *, use_urls: bool
    ) -> Iterator[Readable]:
        """Open a blob at the first source that has it; see `RegistryClient.blob`."""
        with ExitStack() as opened:
            yield self.read(
                client,
                repository.digest(blob.digest),
                lambda client, place: opened.enter_context(
                    client.blob(place.repository, blob, use_urls=use_urls)
                ),
            )

    def _kept(
        self,
        reference: Reference,
        source: ImageSource,
        failures: list[tuple[ImageSource, ImgpkgError]],
        result: Result,
    ) -> Result:
        self._used[reference.repository] = source.reference.repository.registry
        for failed, why in failures:
            # One sentence for a mirror that does not answer, and not one for each blob of each image.
            if not isinstance(why, NotFound):
                self._warn(f"the mirror {failed.reference.repository.registry} is passed over: {why}")
        return result

    def _client(self, client: RegistryClient, source: ImageSource) -> RegistryClient:
        return self._insecure() if source.insecure else client

    def _ordered(self, reference: Reference) -> tuple[ImageSource, ...]:
        """Return the sources, the one that was used last for the repository at the front for a digest."""
        sources = self.mirrors.sources(reference)
        used = self._used.get(reference.repository)
        # A tag may differ between mirrors, so that it is always read in the order of the rule.
        if used is None or reference.digest is None:
            return sources
        return tuple(sorted(sources, key=lambda source: source.reference.repository.registry != used))


def _name(reference: Reference) -> str:
    """Return the reference as the files write it."""
    name = str(reference)
    hub = f"{DOCKER_HUB}/"
    return f"{_DOCKER_HUB_NAME}/{name.removeprefix(hub)}" if name.startswith(hub) else name


def _moved(reference: Reference, rule: Rule, part: str, location: str) -> Reference:
    """Return `reference` with the `part` that the prefix covers replaced by `location`."""
    if location == part:
        return reference
    text = f"{location}{_name(reference).removeprefix(part)}"
    try:
        return Reference.parse(text)
    except InvalidReference as error:
        raise InvalidSettings(
            f"the rule {rule.prefix!r} of {rule.path} makes {text!r} of {reference}: {error.message}"
        ) from error
