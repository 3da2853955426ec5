"""All logins that are found without asking a registry or a cloud, for `imgpkg auth list`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.activation import active_names
from imgpkg.auth.docker import DOCKER_HUB_SERVER, places
from imgpkg.auth.environment import HOSTNAME, read_sets, variable
from imgpkg.auth.helper import IDENTITY_TOKEN_USER
from imgpkg.auth.pattern import Address
from imgpkg.dataclass import dataclass
from imgpkg.errors import CredentialError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from imgpkg.auth.authfile import AuthFile, Entry, Key
    from imgpkg.auth.helper import Helpers
    from imgpkg.auth.keychain import Credential

    Warn = Callable[[str], None]

# `docker login` with a browser keeps its own tokens under these keys, which are no registries.
_MARKERS = frozenset(f"{DOCKER_HUB_SERVER}{name}" for name in ("access-token", "refresh-token"))
# The hosts that each keychain answers for, for people; the keychains themselves match more exactly.
_HOSTS = {
    "gke": "gcr.io, *.gcr.io, *.pkg.dev",
    "ecr": "*.dkr.ecr.*.amazonaws.com, public.ecr.aws",
    "aks": "*.azurecr.io",
    "github": "ghcr.io",
}
_ANONYMOUS, _UNKNOWN = "anonymous", "unknown"


@dataclass(frozen=True, slots=True)
class KnownLogin:
    """A login: for which registries, of which user, of which kind, and where it is kept; without secrets.

    `registry` is a host with an optional path, or a pattern. `kind` is `login`, `identity token`, `registry
    token`, `anonymous`, or `unknown` where only a registry, cloud or helper knows it.
    """

    registry: str
    username: str
    kind: str
    source: str
    origin: str


def known_logins(environ: Mapping[str, str], helpers: Helpers, warn: Warn) -> tuple[KnownLogin, ...]:
    """Return all logins in the order in which they are asked for, also those that another one hides.

    Helpers are asked for their lists. `warn` gets a sentence about each file and helper that fails. Raises
    CredentialError for environment sets, and InvalidSettings for keychains, that cannot be read.
    """
    files = (login for place in places(environ) for login in _read(place.name, place.load, helpers, warn))
    return (*_sets(environ), *_keychains(environ, warn), *_variables(environ), *files)


def named_logins(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the user name for each pattern of the environment sets, as docker's protocol lists logins.

    An identity token has the user name of the protocol; registry tokens have no form in it.
    """
    named: dict[str, str] = {}
    for one in read_sets(environ).sets:
        credential = one.stated
        if credential.is_anonymous or credential.registry_token:
            continue
        user = IDENTITY_TOKEN_USER if credential.identity_token else credential.username
        # The protocol has one user per server, and the first set is the one that is used.
        named.setdefault(str(one.pattern), user)
    return named


def _sets(environ: Mapping[str, str]) -> Iterator[KnownLogin]:
    for one in read_sets(environ).sets:
        origin = f"${variable(HOSTNAME, one.suffix)}"
        yield _known(str(one.pattern), one.stated, "environment", origin)


def _keychains(environ: Mapping[str, str], warn: Warn) -> Iterator[KnownLogin]:
    for name in active_names(environ, warn):
        # The user is unknown before the cloud is asked, which a list must not do.
        yield KnownLogin(_HOSTS[name], "", _UNKNOWN, name, f"keychain {name}")


def _variables(environ: Mapping[str, str]) -> Iterator[KnownLogin]:
    """Yield the login of the variables that replace flags, which is for every registry."""
    # The same precedence as in `ExplicitSource`: a user name before a token.
    if environ.get("IMGPKG_USERNAME"):
        password = "$IMGPKG_PASSWORD" if environ.get("IMGPKG_PASSWORD") else "$IMGPKG_PASSWORD_FILE"
        origin = f"$IMGPKG_USERNAME, {password}"
        yield KnownLogin("*", environ["IMGPKG_USERNAME"], "login", "flags", origin)
    elif environ.get("IMGPKG_TOKEN"):
        yield KnownLogin("*", "", "registry token", "flags", "$IMGPKG_TOKEN")
    elif environ.get("IMGPKG_TOKEN_FILE"):
        yield KnownLogin("*", "", "registry token", "flags", "$IMGPKG_TOKEN_FILE")


def _read(
    name: str, load: Callable[[Warn], AuthFile | None], helpers: Helpers, warn: Warn
) -> Iterator[KnownLogin]:
    try:
        file = load(warn)
    except CredentialError as error:
        warn(f"{error}; its logins are not listed")
        return
    if file is not None:
        yield from _entries(name, file.entries)
        yield from _helped(name, file, _Lists(name, helpers, warn))


def _entries(name: str, entries: Iterable[Entry]) -> Iterator[KnownLogin]:
    for entry in entries:
        if entry.key.written in _MARKERS:
            continue
        origin = f"{name}: auths {entry.key.quoted}"
        try:
            credential = entry.credential()
        except CredentialError as error:
            yield KnownLogin(_shown(entry.key), "", f"unreadable: {error.message}", "docker config", origin)
        else:
            # docker writes an empty entry when a helper keeps the login.
            if credential is not None:
                yield _known(_shown(entry.key), credential, "docker config", origin)


class _Lists:
    """The lists of helpers, each asked for once; one that fails counts as empty."""

    def __init__(self, name: str, helpers: Helpers, warn: Warn) -> None:
        self._name = name
        self._helpers = helpers
        self._warn = warn
        self._lists: dict[str, dict[str, str]] = {}

    def of(self, helper: str) -> dict[str, str]:
        """Return the user name for each server of `docker-credential-HELPER`."""
        # Several hosts often share a helper, which may ask for a password to open its store.
        if helper not in self._lists:
            self._lists[helper] = self._ask(helper)
        return self._lists[helper]

    def _ask(self, helper: str) -> dict[str, str]:
        try:
            return self._helpers.logins(helper)
        except CredentialError as error:
            self._warn(f"{self._name}: docker-credential-{helper}: {error.message}")
            return {}


def _helped(name: str, file: AuthFile, lists: _Lists) -> Iterator[KnownLogin]:
    for key, helper in file.helpers:
        if helper:
            origin = f"{name}: credHelpers {key.quoted} (docker-credential-{helper})"
            # Helpers list servers in the spelling in which they were stored, with or without https://.
            users = {Address.read(server).canonical(): user for server, user in lists.of(helper).items()}
            # Also without an entry in its list: helpers of clouds create credentials when they are asked.
            yield _listed(_shown(key), users.get(key.address, ""), origin)
    if file.store:
        origin = f"{name}: credsStore (docker-credential-{file.store})"
        for server, user in sorted(lists.of(file.store).items()):
            if server not in _MARKERS:
                yield _listed(_place(Address.read(server).canonical()), user, origin)


def _listed(registry: str, user: str, origin: str) -> KnownLogin:
    if user == IDENTITY_TOKEN_USER:
        return KnownLogin(registry, "", "identity token", "docker config", origin)
    return KnownLogin(registry, user, "login" if user else _UNKNOWN, "docker config", origin)


def _known(registry: str, credential: Credential, source: str, origin: str) -> KnownLogin:
    kind = _ANONYMOUS if credential.is_anonymous else credential.kind
    return KnownLogin(registry, credential.username, kind, source, printable(origin))


def _shown(key: Key) -> str:
    return _place(key.address)


def _place(address: Address) -> str:
    host = f"{address.host}:{address.port}" if address.port else address.host
    return "/".join((host, *address.segments))
