"""Log in to a registry or a part of one, log out, and get a bearer token for another program."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.auth import configfile
from imgpkg.auth.configfile import ConfigFile, Form
from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.flags import ExplicitSource
from imgpkg.auth.helper import Helpers
from imgpkg.auth.keychain import Credential, CredentialSource, Decision, Finding, Keychain, Outcome
from imgpkg.auth.pattern import Address, Pattern
from imgpkg.auth.program import Programs
from imgpkg.cancellation import ignore
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import CredentialError, ImgpkgError, InvalidReference, RegistryError, UsageError, doing
from imgpkg.oci.reference import Repository, WholeRegistry, listed, parse_any
from imgpkg.registry.auth.challenge import Access, Scope, merge, parse_scopes
from imgpkg.session import Session, operation
from imgpkg.settings import Login
from imgpkg.values import hiding

if TYPE_CHECKING:
    from imgpkg.auth.authfile import Key

_NOTHING_STORED = "Nothing was stored."
_CHECK = "Check the username and the password: many registries want an access token as the password."


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """A login that was stored: in `file` under `key`, or in the program `helper` that the file names.

    `is_checked` is True when the registry accepted it. `warnings` are whole sentences: that it is readable,
    or that imgpkg uses another credential for this place.
    """

    registry: str
    username: str
    file: str
    key: str
    helper: str = ""
    is_checked: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RemovedLogin:
    """What a logout removed: the `keys` of entries in `file`, and the login in the program `helper`.

    `left` are whole sentences about what still gives a credential for this place.
    """

    registry: str
    file: str
    keys: tuple[str, ...] = ()
    helper: str = ""
    left: tuple[str, ...] = ()


@hiding("value")
@dataclass(frozen=True)
class IssuedToken:
    """A bearer token for `repository`; `ends_at` is a Unix time in seconds, None if it is unknown.

    `scopes` were asked for; `granted` are those that the token names, None for a token that names none.
    """

    repository: Repository
    value: str = field(repr=False)
    ends_at: float | None = None
    service: str = ""
    scopes: tuple[str, ...] = ()
    granted: tuple[str, ...] | None = None


@operation
def login(
    registry: str,
    credential: Credential,
    *,
    session: Session,
    authfile: str = "",
    check: bool = True,
    origin: str = "the login",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> StoredLogin:
    """Store `credential` for `registry`, `host[:port][/path]`, once the registry has accepted it.

    It is stored where docker stores it, in the helper that docker's configuration names or in the file, or in
    the podman file `authfile`. Without `check` the registry is not asked. `origin` names the place of the
    credential in errors. Sessions that are open use the new login once they look for a credential again.

    Raises InvalidReference for `registry`, Unauthorized or another error of the registry, CredentialError for
    a malformed file or a helper that fails, and LocalIOError; nothing is stored then.
    """
    place = _LoginPlace.parse(registry)
    # Before anything is read or sent: some values cannot be stored in either form.
    configfile.check(credential)
    file = ConfigFile.choose(session.settings.environ, authfile)
    who = f" as {credential.username!r}" if credential.username else ""
    with doing(f"Logging in to {place}{who}"):
        # Before the password is sent: it would be sent for nothing if the file cannot be read.
        helper = file.helper_for(place.address)
        is_accepted = check and _is_accepted(place, credential, session, origin)
        _store(file, place, credential, helper, session)
    stored = StoredLogin(
        str(place),
        credential.username,
        file.path,
        file.key_of(place.address),
        f"docker-credential-{helper[0]}" if helper else "",
        is_accepted,
    )
    return replace(stored, warnings=tuple(_warnings(stored, place, file, session, check=check)))


def check_registry(registry: str) -> None:
    """Raise InvalidReference unless one can log in to `registry`."""
    _LoginPlace.parse(registry)


@operation
def logout(
    registry: str,
    *,
    session: Session,
    authfile: str = "",
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> RemovedLogin:
    """Remove the login for `registry` from the file, and from the helper, in which `login` stores one.

    A login for a part of `registry` stays. Raises InvalidReference, CredentialError or LocalIOError.
    """
    place = _LoginPlace.parse(registry)
    file = ConfigFile.choose(session.settings.environ, authfile)
    with doing(f"Logging out of {place}"):
        keys, helper = file.keys_of(place.address), file.helper_for(place.address)
        erased = _erase(helper, keys, session) if helper else ""
        file.erase(place.address)
    # A logout that leaves access surprises, so that what is left is named.
    left = (*_parts(file.keys_below(place.address), file), *_still_given(place, session))
    return RemovedLogin(str(place), file.path, tuple(key.written for key in keys), erased, left)


@operation
def get_token(
    reference: str,
    *,
    session: Session,
    scopes: Iterable[str] = (),
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> IssuedToken:
    """Return a token to pull from the repository of `reference`, or one for `scopes`.

    A scope is `repository:NAME:pull,push` or any other text that the token service accepts; one text
    may hold several, separated by blanks. Raises InvalidReference, UsageError for an empty scope,
    ChallengeError for a registry that takes no tokens, Unauthorized, and all other errors of a request.
    """
    repository = parse_any(reference).repository
    given = listed("scopes", scopes)
    if any(not scope.split() for scope in given):
        raise UsageError("a scope is empty; write it as repository:NAME:pull")
    wanted: tuple[Scope, ...] = merge(scope for text in given for scope in parse_scopes(text))
    access = Access(repository, wanted) if wanted else Access.read(repository)
    token = session.client.token(access)
    return IssuedToken(
        repository,
        token.value,
        token.ends_at,
        token.service,
        tuple(map(str, token.scopes)),
        None if token.granted is None else tuple(map(str, token.granted)),
    )


@dataclass(frozen=True, slots=True)
class _LoginPlace:
    """A registry, or a part of one: its address, and a repository that stands for all that are in it."""

    address: Address
    repository: Repository

    @classmethod
    def parse(cls, text: str) -> _LoginPlace:
        """Parse `[http[s]://]host[:port][/v1|/v2][/path]`; raise InvalidReference, without the text."""
        # `user@host` is a login in an address, and `name@sha256:…` an image.
        if "@" in text:
            raise InvalidReference("HOST[/PATH] holds neither a login nor a digest: give --username")
        try:
            pattern = Pattern.parse(text)
        except CredentialError as error:
            raise InvalidReference(
                f"expected HOST[/PATH], such as registry.example.com: {error.message}"
            ) from error
        if pattern.has_wildcard:
            raise InvalidReference(f"{text}: a login is for one host, without wildcards")
        address = pattern.address
        if not address.segments:
            return cls(address, WholeRegistry(address.registry))
        # Below the place, so that the two forms of a name on Docker Hub, with and without library/, are one.
        return cls(address, Repository(address.registry, f"{address.path}/-"))

    @property
    def access(self) -> Access:
        """The access with which a login for this place is checked: none to a whole registry."""
        if not self.address.segments:
            return Access(self.repository, ())
        scope = Scope("repository", self.address.path, frozenset({"pull"}))
        try:
            named = Repository(self.address.registry, self.address.path)
        except InvalidReference:
            # A namespace may have a name of one letter.
            named = self.repository
        return Access(named, (scope,))

    def __str__(self) -> str:
        host = f"{self.address.host}:{self.address.port}" if self.address.port else self.address.host
        return "/".join((host, *self.address.segments))


@dataclass(frozen=True)
class _Proposed:
    """The source of one credential, for every repository."""

    credential: Credential
    origin: str
    name: str = "login"

    def lookup(self, repository: Repository) -> Finding:
        """Return the credential; see `CredentialSource.lookup`."""
        detail = f"gives the {self.credential.kind} for {repository}"
        return Finding(self.name, Outcome.MATCHED, detail, self.origin, self.credential)


def _is_accepted(place: _LoginPlace, credential: Credential, session: Session, origin: str) -> bool:
    # With this credential alone: another source must not answer for it.
    client = session.client_for(Keychain([_Proposed(credential, origin)]))
    try:
        return client.accepts(place.access)
    except RegistryError as error:
        # The trail has one source only, which the user has just given.
        error.hints = (f"{_NOTHING_STORED} {_CHECK}",)
        raise
    except ImgpkgError as error:
        # The registry could not be asked at all, for which the flag is meant.
        error.hints = (*error.hints, f"{_NOTHING_STORED} --check=false stores a login without this check.")
        raise


def _store(
    file: ConfigFile,
    place: _LoginPlace,
    credential: Credential,
    helper: tuple[str, str] | None,
    session: Session,
) -> None:
    if helper is None:
        file.store(place.address, configfile.entry_of(credential))
        return
    name, server = helper
    _helpers(session).store(name, server, credential)
    # docker leaves an empty entry there; an older one with a secret must not stay beside the helper.
    if file.form is Form.DOCKER and not place.address.segments:
        file.store(place.address, {})
    else:
        file.erase(place.address)


def _erase(helper: tuple[str, str], keys: tuple[Key, ...], session: Session) -> str:
    """Remove the server from the helper in each spelling; return its name if one was there."""
    name, server = helper
    helpers = _helpers(session)
    known = [
        one
        for one in dict.fromkeys((server, *(key.written for key in keys)))
        if helpers.get(name, one) is not None
    ]
    for one in known:
        helpers.erase(name, one)
    return f"docker-credential-{name}" if known else ""


def _helpers(session: Session) -> Helpers:
    return Helpers(session.settings.environ, programs=Programs(session.cancellation))


def _warnings(
    stored: StoredLogin, place: _LoginPlace, file: ConfigFile, session: Session, *, check: bool
) -> Iterator[str]:
    if check and not stored.is_checked:
        yield f"{place} answers without a login, so the login could not be checked"
    if not stored.helper:
        yield f"{file.path} holds the secret in clear (base64); a credential helper would keep it elsewhere"
        # docker and podman create it with 0600; copies and backups often lose that.
        if file.is_readable_for_others:
            yield f"other users of this machine can read {file.path}: chmod 600 it"
    if file.form is Form.DOCKER and place.address.segments:
        yield "docker itself uses no login for a part of a registry; imgpkg, podman and skopeo do"
    yield from _not_used(stored, place, session)


def _not_used(stored: StoredLogin, place: _LoginPlace, session: Session) -> Iterator[str]:
    """Yield why imgpkg would send another credential to this place than the one that was stored."""
    try:
        # The chain of the next command, which decides what the login is good for.
        decision = _chain(session).resolve(place.repository)
    except ImgpkgError as error:
        yield f"imgpkg does not come to this login: {error}"
        return
    winner = decision.winner
    if winner is None:
        yield f"imgpkg does not read {stored.file}: set REGISTRY_AUTH_FILE to it"
    elif not winner.origin.startswith(f"{stored.file}: "):
        yield f"imgpkg does not use this login for {place}, since another comes first: {_shown(decision)}"


def _parts(keys: tuple[Key, ...], file: ConfigFile) -> Iterator[str]:
    for key in keys:
        yield f"{file.path} still holds a login for a part of it, {key.quoted}"


def _still_given(place: _LoginPlace, session: Session) -> Iterator[str]:
    """Yield each source that still has a credential for the place."""
    # Each source alone: in the chain, the first one would hide the others.
    for source in _chain(session).sources:
        try:
            decision = Keychain([source]).resolve(place.repository)
        except ImgpkgError as error:
            yield f"{source.name} could not be asked: {error}"
            continue
        if not decision.credential.is_anonymous:
            yield f"{place} still gets a credential from {_shown(decision)}"


def _shown(decision: Decision) -> str:
    winner = decision.winner
    return f"{winner.source}: {winner.origin}" if winner else "no source"


def _chain(session: Session) -> Keychain:
    """Return the credential sources of a new command, which read files and variables again."""
    environ = session.settings.environ
    # Environment sets and keychains are kept: their answers are cached in the session.
    kept = (source for source in session.keychain.sources if not isinstance(source, _ReadAgain))
    sources: list[CredentialSource] = list(kept)
    # Half a login in IMGPKG_USERNAME is an error of every other command.
    with suppress(UsageError):
        sources.append(ExplicitSource(Login(), environ))
    return Keychain([*sources, DockerConfigSource(environ, ignore, helpers=_helpers(session))])


_ReadAgain = (ExplicitSource, DockerConfigSource)
