"""Credentials in the configuration files of docker and podman: the last source of the keychain."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.auth.authfile import MAX_SIZE, AuthFile
from imgpkg.auth.helper import Helpers
from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.auth.pattern import ANOTHER_HOST, Address
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import CredentialError, doing
from imgpkg.locks import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from imgpkg.auth.authfile import Entry
    from imgpkg.auth.keychain import Credential, Decision, NearMiss
    from imgpkg.auth.secret_file import Reread
    from imgpkg.oci.reference import Repository

DOCKER_HUB_SERVER = "https://index.docker.io/v1/"
_NAME = "docker config"
# The keys of secrets of Kubernetes, which are the names of the files of a volume.
_NAMES_OF_PULL_SECRETS = (".dockerconfigjson", ".dockercfg")


class DockerConfigSource:
    """Use the first place that has an entry for the registry, or a helper with a credential for it.

    Each place is read when a lookup reaches it, and again when its file has changed. `warn` gets a sentence
    about a missing file that a variable names, and about trailing commas. Lookups raise CredentialError for a
    file that cannot be read, an entry that is selected and cannot be decoded, and a helper that fails.
    """

    name = _NAME

    def __init__(
        self, environ: Mapping[str, str], warn: Callable[[str], None], *, helpers: Helpers | None = None
    ) -> None:
        self._helpers = helpers or Helpers(environ)
        self._environ = environ
        self._warn = warn
        self._files = Once(self._open)

    def lookup(self, repository: Repository) -> Finding:
        """Return the finding of the first place that has one; see `CredentialSource.lookup`."""
        looked: list[str] = []
        for place, load in self._files():
            file = load()
            if file is None:
                looked.extend(place.absence)
                continue
            search = _Search(place.label, file, self._helpers, repository)
            if load.problem:
                search.notes.append(f"it cannot be read again, its last content is used: {load.problem}")
            found = search.run()
            if found is not None:
                return found
            looked.append(f"{place.label}: {'; '.join(search.notes) or 'no entry for this registry'}")
        return Finding(_NAME, Outcome.NO_MATCH, "; ".join(looked) or "the environment names no place to look")

    def _open(self) -> list[tuple[Place, Reread[AuthFile | None]]]:
        from imgpkg.auth.secret_file import Reread

        return [
            (place, Reread(place.name, partial(place.load, self._warn))) for place in places(self._environ)
        ]

    def near_misses(self, decision: Decision) -> Iterator[NearMiss]:
        """Yield entries for look-alikes, or that are overruled; see `ExplainsNearMisses.near_misses`."""
        from imgpkg.auth.diagnosis.precedence import docker_misses

        files = ((place.label, file) for place in places(self._environ) if (file := _quietly(place)))
        return docker_misses(self._environ, lambda path: _quietly(Place(path)), decision, files)


def _quietly(place: Place) -> AuthFile | None:
    # A lookup that needs the file raises its error; for an explanation it counts as absent.
    with suppress(CredentialError):
        return place.load(lambda _: None)
    return None


@dataclass(frozen=True, slots=True)
class _Search:
    """One lookup in one file, in the order of docker and podman; `notes` are about what was skipped."""

    name: str
    file: AuthFile
    helpers: Helpers
    repository: Repository
    notes: list[str] = field(default_factory=list)

    def run(self) -> Finding | None:
        target = Address.of(self.repository).canonical()
        # docker login stores Docker Hub under this URL, and other registries under their host.
        server = DOCKER_HUB_SERVER if target.is_docker_hub else self.repository.registry
        spellings = (server, str(self.repository))
        entries = self.file.entries_for(target, spellings)
        # The most specific first: a helper for the registry, an entry with a path, the default store.
        found = (
            self._dedicated_helper(target, server, spellings)
            or self._entry([entry for entry in entries if entry.key.has_path])
            or self._store(target, server, spellings)
            or self._entry([entry for entry in entries if not entry.key.has_path])
        )
        if found is None:
            self._note_near_misses(target)
        return found

    def _dedicated_helper(self, target: Address, server: str, spellings: tuple[str, str]) -> Finding | None:
        for key, helper in self.file.helpers_for(target, spellings):
            if not helper:
                self.notes.append(f"credHelpers {key.quoted} is empty, so no helper is asked")
                return None
            asked = key.written if key.has_path else server
            found = self._ask(f"credHelpers {key.quoted}", helper, asked)
            if found is not None:
                return found
        return None

    def _store(self, target: Address, server: str, spellings: tuple[str, str]) -> Finding | None:
        dedicated = self.file.helpers_for(target, spellings)
        if not self.file.store or any(not helper for _, helper in dedicated):
            return None
        return self._ask("credsStore", self.file.store, server)

    def _ask(self, field_name: str, helper: str, server: str) -> Finding | None:
        program = f"docker-credential-{helper}"
        try:
            credential = self.helpers.get(helper, server)
        except CredentialError as error:
            hint = f"{field_name} in {self.name} says to ask {program} for {server}: mend or remove it."
            raise CredentialError(error.message, hints=(*error.hints, hint)) from error
        if credential is None:
            self.notes.append(f"{program} has nothing for {server}")
            return None
        kept_in = f"{program} ({field_name} in {self.name})"
        why = f"{program} answered for {server}"
        return self._found(f"{field_name} ({program})", why, credential, kept_in=kept_in)

    def _entry(self, entries: list[Entry]) -> Finding | None:
        for entry in entries:
            with doing(f"loading config file: {self.name}"):
                credential = entry.credential()
            label = f"auths {entry.key.quoted}"
            if credential is not None:
                return self._found(label, f"the key is for {self.repository}", credential)
            self.notes.append(f"{label} is empty")
        return None

    def _found(self, where: str, why: str, credential: Credential, kept_in: str = "") -> Finding:
        gives = "has no complete credential, so the access is anonymous"
        if not credential.is_anonymous:
            gives = f"gives the {credential.kind}"
        detail = "; ".join((*self.notes, why, gives))
        return Finding(_NAME, Outcome.MATCHED, detail, f"{self.name}: {where}", credential, kept_in=kept_in)

    def _note_near_misses(self, target: Address) -> None:
        keys = [("auths", entry.key) for entry in self.file.entries]
        keys += [("credHelpers", key) for key, _ in self.file.helpers]
        for field_name, key in keys:
            reason = key.mismatch(target)
            is_close = key.address.host == target.host or (key.pattern is not None and reason != ANOTHER_HOST)
            if reason and is_close:
                self.notes.append(f"{field_name} {key.quoted}: {reason}")


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or its text in `inline`; a missing one that a variable names in `named_by` causes a warning.

    A file in a folder that this user may not enter is skipped, with a warning unless it `is_guess`. A missing
    one is in the trail unless it `is_optional`. A pull secret of Kubernetes has formats of its own.
    """

    name: str
    inline: str | None = field(default=None, repr=False)
    named_by: str = ""
    is_guess: bool = False
    is_optional: bool = False
    is_pull_secret: bool = False

    @property
    def label(self) -> str:
        """The name for people."""
        return f"pull secret {self.name}" if self.is_pull_secret else self.name

    @property
    def absence(self) -> tuple[str, ...]:
        """The entry of a trail for a place without a file."""
        return () if self.is_optional else (f"{self.label} is not there",)

    def load(self, warn: Callable[[str], None]) -> AuthFile | None:
        """Read the file; None if there is none; raise CredentialError with its name, line and column."""
        with doing(f"loading config file: {self.name}"):
            data = self._bytes(warn)
            if data is None:
                return None
            try:
                return self._parse(data, lambda text: warn(f"{self.name}: {text}"))
            except CredentialError as error:
                error.hints = (
                    *error.hints,
                    f"Correct this place in {self.name}, or remove it and log in again.",
                )
                raise

    def _parse(self, data: bytes, warn: Callable[[str], None]) -> AuthFile:
        if not self.is_pull_secret:
            return AuthFile.parse(data, warn)
        from imgpkg.auth.pull_secret import config_of, hints_for

        try:
            return AuthFile.parse(data, warn, unwrap=config_of)
        except CredentialError as error:
            error.hints = (*error.hints, *hints_for(data))
            raise

    def _bytes(self, warn: Callable[[str], None]) -> bytes | None:
        if self.inline is not None:
            return self.inline.encode("utf-8", "surrogateescape")
        try:
            # One byte more than the limit, so that `decode` refuses it; a device may have no end.
            with open(self.name, "rb") as file:
                return file.read(MAX_SIZE + 1)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            if self.named_by:
                warn(f"{self.named_by} names {self.name}, {self._why_not_there()}; it is passed over")
        except OSError as error:
            # After sudo, HOME may be the folder of another user, in which Go's imgpkg finds no file either.
            if os.path.exists(self.name) or not isinstance(error, PermissionError):
                raise CredentialError(f"open: {os.strerror(error.errno or 0).lower()}") from error
            if not self.is_guess:
                warn(f"{self.name} is in a folder that is closed to this user; it is passed over")
        return None

    def _why_not_there(self) -> str:
        if not (self.is_pull_secret and os.path.isdir(self.name)):
            return "which is not there"
        from imgpkg.auth.pull_secret import why_nothing

        return why_nothing(self.name)


def places(environ: Mapping[str, str]) -> tuple[Place, ...]:
    """Return the places, first precedence first; without HOME there are no default places.

    Folders with pull secrets are looked into, for the names of their files.
    """
    return tuple(_places(environ))


def _places(environ: Mapping[str, str]) -> Iterator[Place]:
    # The variable names them for this tool, so they come before the files that all tools share.
    yield from _pull_secrets(environ.get("IMGPKG_PULL_SECRETS", ""))
    home = environ.get("HOME") or environ.get("USERPROFILE", "")
    # GitLab CI and docker have the content of a config.json in this variable.
    if inline := environ.get("DOCKER_AUTH_CONFIG"):
        yield Place("$DOCKER_AUTH_CONFIG", inline=inline)
    if docker := environ.get("DOCKER_CONFIG") or _below(home, ".docker"):
        yield Place(os.path.join(docker, "config.json"))
        for name in _NAMES_OF_PULL_SECRETS if environ.get("DOCKER_CONFIG") else ():
            yield Place(os.path.join(docker, name), is_guess=True, is_optional=True, is_pull_secret=True)
    if named := environ.get("REGISTRY_AUTH_FILE"):
        yield Place(named, named_by="REGISTRY_AUTH_FILE")
    # The order of containers-auth.json(5): the runtime folder, then the configuration folder.
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        yield Place(os.path.join(runtime, "containers", "auth.json"))
    elif home and sys.platform == "linux":
        # podman of root creates /run/containers without access for others.
        yield Place(f"/run/containers/{os.getuid()}/auth.json", is_guess=True)
    if config := environ.get("XDG_CONFIG_HOME") or _below(home, ".config"):
        yield Place(os.path.join(config, "containers", "auth.json"))


def _pull_secrets(named: str) -> Iterator[Place]:
    if named:
        from imgpkg.auth.pull_secret import paths

        for path in paths(named):
            yield Place(path, named_by="IMGPKG_PULL_SECRETS", is_pull_secret=True)


def _below(folder: str, name: str) -> str:
    return os.path.join(folder, name) if folder else ""
