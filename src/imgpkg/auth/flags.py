"""Credentials from flags, and from the variables that replace flags."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import ANONYMOUS, Credential, Finding, Outcome
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import UsageError
from imgpkg.settings import Login, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from imgpkg.auth.keychain import Decision, NearMiss
    from imgpkg.auth.secret_file import SecretFile
    from imgpkg.oci.reference import Repository
    from imgpkg.values import StrPath

_NAME = "flags"
_VARIABLES = ("USERNAME", "PASSWORD", "PASSWORD_FILE", "TOKEN", "TOKEN_FILE", "ANON")
_SIDE_VARIABLES = (*_VARIABLES, "CLIENT_CERT", "CLIENT_KEY")
# The spellings of strconv.ParseBool, in any case.
_TRUE, _FALSE = frozenset({"1", "t", "true"}), frozenset({"0", "f", "false"})


@dataclass(frozen=True, slots=True)
class _Names:
    """How the flags and variables of one login begin, and which registries the login is for, in words."""

    flag: str
    variable: str
    registries: str


_NO_LOGIN = Login()
_PLAIN = _Names("--registry-", "IMGPKG_", "every registry")
_SIDES = {
    Side.FROM: _Names("--from-registry-", "IMGPKG_FROM_", "every registry that the copy reads from"),
    Side.TO: _Names("--to-registry-", "IMGPKG_TO_", "the registry that the copy writes to"),
}


class ExplicitSource:
    """Return the same finding for every registry: a login, a token, or no credential on purpose.

    `side_login` is the login of one `side` of a copy; it and the variables of that side take precedence over
    `login` and the plain variables. The two are never mixed: a password is sent only with the username that
    it was given for. Raises UsageError when it is made from options that exclude each other, see `validate`.
    Lookups read the file of a password or token, and raise CredentialError if it cannot be used.
    """

    name = _NAME

    def __init__(
        self,
        login: Login,
        environ: Mapping[str, str],
        *,
        side: Side | None = None,
        side_login: Login = _NO_LOGIN,
    ) -> None:
        # Chosen now and not at a lookup, so that a mistake ends the command before any request.
        self._chosen = _choose(login, environ, side, side_login)

    @property
    def stated(self) -> Finding:
        """The finding, with the path of a file in place of its content; nothing is read."""
        return self._chosen.stated() if isinstance(self._chosen, _InFile) else self._chosen

    def lookup(self, repository: Repository) -> Finding:  # noqa: ARG002 - flags apply to every registry
        """Return the finding of the flags; see `CredentialSource.lookup`."""
        return self._chosen.finding() if isinstance(self._chosen, _InFile) else self._chosen

    def near_misses(self, decision: Decision) -> Iterator[NearMiss]:
        """Yield what is overruled or counts for nothing; see `ExplainsNearMisses.near_misses`."""
        from imgpkg.auth.diagnosis.precedence import flags_misses

        finding = self.stated
        if isinstance(self._chosen, _InFile):
            # A pipe can be read only once, and what is not used need not be read.
            finding = replace(finding, credential=None)
        return flags_misses(finding, decision)


def validate(
    login: Login,
    environ: Mapping[str, str],
    *,
    side: Side | None = None,
    side_login: Login = _NO_LOGIN,
) -> None:
    """Raise UsageError when flags exclude each other, or a username has no password."""
    _choose(login, environ, side, side_login)


def variables_of(side: Side) -> tuple[str, ...]:
    """Return the names of the variables for one side of a copy."""
    return tuple(f"{_SIDES[side].variable}{name}" for name in _SIDE_VARIABLES)


def _choose(
    login: Login, environ: Mapping[str, str], side: Side | None, side_login: Login
) -> Finding | _InFile:
    options = [_LoginOptions(login, environ, _PLAIN)]
    if side is not None:
        options.insert(0, _LoginOptions(side_login, environ, _SIDES[side]))
    # Flags contradict each other; a flag and a variable do not, because the flag wins.
    for given in options:
        given.check()
    # A half login of the plain flags is no error where the side has a login of its own.
    findings = (given.find() for given in options)
    found = next((finding for finding in findings if finding is not None), None)
    return found or Finding(_NAME, Outcome.NOT_APPLICABLE, _why_nothing(options))


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and its origin; `typed` if it is from a flag that is not empty.

    If the value is in a file, it is the path here, and `instead` is the flag or variable for the value.
    """

    value: str = field(repr=False)
    origin: str
    typed: bool
    instead: str = ""


@dataclass(frozen=True, slots=True)
class _InFile:
    """A credential of which the secret, its field `name`, is in a file."""

    credential: Credential
    name: str
    file: SecretFile
    origin: str
    registries: str

    def stated(self) -> Finding:
        """Return the finding with the path of the file."""
        credential = replace(self.credential, **{self.name: self.file.path}, expires_at=None)
        return _matched(credential, self.origin, self.registries, self._kept_in)

    def finding(self) -> Finding:
        """Return the finding with the content of the file; raise CredentialError if it cannot be used."""
        from imgpkg.auth.secret_file import completed

        credential, notes = completed(self.credential, {self.name: self.file})
        return _matched(credential, self.origin, self.registries, self._kept_in, *notes)

    @property
    def _kept_in(self) -> str:
        return f"{self.file.path} ({self.file.name})"


class _LoginOptions:
    """The flags and variables of one login."""

    def __init__(self, login: Login, environ: Mapping[str, str], names: _Names) -> None:
        self._login = login
        self._environ = environ
        self._names = names
        self._username = self._given("username", login.username)
        self._password = self._secret("password", login.password, login.password_file)
        if login.password_origin and self._password.typed and not self._password.instead:
            self._password = replace(self._password, origin=login.password_origin)
        self._token = self._secret("token", login.token, login.token_file)

    def _given(self, name: str, typed: str | None) -> _Given:
        if typed is None:
            variable = f"{self._names.variable}{name.upper().replace('-', '_')}"
            return _Given(self._environ.get(variable, ""), f"${variable}", typed=False)
        return _Given(typed, f"{self._names.flag}{name}", typed=bool(typed))

    def _secret(self, name: str, typed: str | None, file: StrPath | None) -> _Given:
        """Choose between a secret and its file; a flag for either takes precedence over both variables."""
        path = None if file is None else os.fspath(file)
        if typed is not None or path is not None:
            typed, path = typed or "", path or ""
        given, named = self._given(name, typed), self._given(f"{name}-file", path)
        if not named.value:
            return given
        if given.value:
            raise UsageError(f"{given.origin} and {named.origin} exclude each other: give one of them")
        return replace(named, instead=given.origin)

    def check(self) -> None:
        """Raise UsageError for flags that exclude each other."""
        flag, username, token = self._names.flag, self._username, self._token
        # Typed flags contradict each other; a variable of the environment may be left from another command.
        if username.typed and token.typed:
            raise UsageError(f"{flag}username and {token.origin} exclude each other")
        for other in (username, token):
            if self._login.anonymous and other.typed:
                raise UsageError(f"{flag}anon and {other.origin} exclude each other")
        # Without this the plain login would be sent where the user has typed another password.
        if self._names is not _PLAIN and self._password.typed and not username.value:
            raise UsageError(
                f"username missing: {self._password.origin} is given without one; give {flag}username or "
                f"${self._names.variable}USERNAME as well"
            )

    def find(self) -> Finding | _InFile | None:
        """Return what the options ask for, None when they ask for nothing; raise for half a login."""
        username, token = self._username, self._token
        if self._login.anonymous:
            return _anonymous(f"{self._names.flag}anon")
        # A token of a variable gives way to a username, whether from a flag or from a variable.
        if token.value and (token.typed or not username.value):
            return self._matched(ANONYMOUS, "registry_token", token)
        if username.value:
            return self._find_login()
        # `--registry-anon=false` overrides the variable.
        if self._login.anonymous is None and self.anonymous_variable in _TRUE:
            return _anonymous(f"${self._names.variable}ANON")
        return None

    @property
    def anonymous_variable(self) -> str:
        """The variable that asks for anonymous access, in lower case."""
        return self._environ.get(f"{self._names.variable}ANON", "").lower()

    def reasons(self) -> Iterator[str]:
        """Yield why values that are given count for nothing."""
        if self._password.value:
            yield f"{self._password.origin} counts only with a username"
        if self.anonymous_variable not in _TRUE | _FALSE | {""}:
            yield f"${self._names.variable}ANON is no boolean and counts for nothing"

    def _find_login(self) -> Finding | _InFile:
        username, password, names = self._username, self._password, self._names
        # RFC 7617 section 2: the first colon ends the user-id, so the registry would see another user.
        if ":" in username.value:
            raise UsageError(f"{username.origin} must not contain a colon (RFC 7617)")
        if not password.value:
            raise UsageError(
                f"password missing: {username.origin} is given without one; give "
                f"{names.flag}password-stdin, {names.flag}password-file, {names.flag}password or "
                f"${names.variable}PASSWORD as well",
                hints=(f"Best by a pipe, where no other user sees it: {names.flag}password-stdin < FILE.",),
            )
        return self._matched(Credential(username.value), "password", password, username.origin)

    def _matched(self, credential: Credential, name: str, secret: _Given, *origins: str) -> Finding | _InFile:
        """Return the finding for a credential whose field `name` is `secret`."""
        registries = self._names.registries
        if not secret.instead:
            whole = replace(credential, **{name: secret.value}, expires_at=None)
            return _matched(whole, ", ".join((*origins, secret.origin)), registries, secret.origin)
        from imgpkg.auth.secret_file import SecretFile

        origin = ", ".join((*origins, f"{secret.origin}={secret.value}"))
        is_password = name == "password"
        file = SecretFile(secret.value, secret.origin, secret.instead, is_password=is_password)
        return _InFile(credential, name, file, origin, registries)


def _matched(credential: Credential, origin: str, registries: str, kept_in: str, *notes: str) -> Finding:
    gives = f"gives the {credential.kind} to {registries}; the docker config is not consulted"
    detail = "; ".join((gives, *notes))
    return Finding(_NAME, Outcome.MATCHED, detail, origin, credential, kept_in=kept_in)


def _anonymous(origin: str) -> Finding:
    detail = "asks for anonymous access; the docker config is not consulted"
    return Finding(_NAME, Outcome.MATCHED, detail, origin, ANONYMOUS)


def _why_nothing(options: Iterable[_LoginOptions]) -> str:
    nothing = "neither a username nor a token is given, nor anonymous access asked for"
    return "; ".join((nothing, *(reason for given in options for reason in given.reasons())))
