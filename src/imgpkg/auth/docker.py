"""Credentials that docker and podman keep: the last source of the chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.auth.address import Address
from imgpkg.auth.helper import Helpers
from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.auth.places import places
from imgpkg.errors import CredentialError, doing
from imgpkg.locks import Once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.auth.authfile import AuthFile, Entry
    from imgpkg.auth.credential import Credential
    from imgpkg.oci.reference import Repository

DOCKER_HUB_SERVER = "https://index.docker.io/v1/"
_NAME = "docker config"


class DockerConfigSource:
    """Answers from the first place that has a usable entry, or a helper that knows the registry.

    Each place is read at most once, when a lookup reaches it; `warn` hears about a missing file that a
    variable names and about trailing commas. Raises CredentialError for a file that cannot be read, an
    entry that was selected and cannot be decoded, and a helper that fails.
    """

    name = _NAME

    def __init__(
        self, environ: Mapping[str, str], warn: Callable[[str], None], *, helpers: Helpers | None = None
    ) -> None:
        self._helpers = helpers or Helpers(environ)
        self._files = [(place.name, Once(partial(place.load, warn))) for place in places(environ)]

    def lookup(self, repository: Repository) -> Finding:
        """Answer from the first place that can; see `CredentialSource.lookup`."""
        looked: list[str] = []
        for name, load in self._files:
            file = load()
            if file is None:
                looked.append(f"{name} is not there")
                continue
            search = _Search(name, file, self._helpers, repository)
            found = search.run()
            if found is not None:
                return found
            looked.append(f"{name}: {'; '.join(search.notes) or 'no entry for this registry'}")
        return Finding(_NAME, Outcome.NO_MATCH, "; ".join(looked) or "the environment names no place to look")


@dataclass(frozen=True, slots=True)
class _Search:
    """One lookup in one file, in the order that docker and podman have; `notes` tell what was passed over."""

    name: str
    file: AuthFile
    helpers: Helpers
    repository: Repository
    notes: list[str] = field(default_factory=list)

    def run(self) -> Finding | None:
        target = Address.of(self.repository).canonical()
        server = DOCKER_HUB_SERVER if target.is_docker_hub else self.repository.registry
        spellings = (server, str(self.repository))
        entries = self.file.entries_for(target, spellings)
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
            hint = f"{field_name} in {self.name} says to ask {program} for {server}."
            raise CredentialError(error.message, hints=(hint, *error.hints)) from error
        if credential is None:
            self.notes.append(f"{program} has nothing for {server}")
            return None
        return self._found(f"{field_name} ({program})", f"{program} answered for {server}", credential)

    def _entry(self, entries: list[Entry]) -> Finding | None:
        for entry in entries:
            with doing(f"loading config file: {self.name}"):
                credential = entry.credential()
            label = f"auths {entry.key.quoted}"
            if credential is not None:
                return self._found(label, f"the key is for {self.repository}", credential)
            self.notes.append(f"{label} is empty")
        return None

    def _found(self, where: str, why: str, credential: Credential) -> Finding:
        gives = "has no complete credential, so the access is anonymous"
        if not credential.is_anonymous:
            gives = f"gives the {credential.kind}"
        detail = "; ".join((*self.notes, why, gives))
        return Finding(_NAME, Outcome.MATCHED, detail, f"{self.name}: {where}", credential)

    def _note_near_misses(self, target: Address) -> None:
        keys = [("auths", entry.key) for entry in self.file.entries]
        keys += [("credHelpers", key) for key, _ in self.file.helpers]
        for field_name, key in keys:
            reason = key.mismatch(target)
            if reason and key.address.host == target.host:
                self.notes.append(f"{field_name} {key.quoted}: {reason}")
