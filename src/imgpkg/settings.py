"""The settings of a session, for the command line and for programs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import Enum
from typing import TypedDict

from imgpkg.dataclass import dataclass, field
from imgpkg.values import FrozenDict, StrPath, hiding

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack  # noqa: TC002 - a program may look it up


@hiding("password", "token")
@dataclass(frozen=True)
class Login:
    """A user name with password, a registry token, or anonymous access, for every registry.

    A field that is None falls back to `IMGPKG_USERNAME`, `IMGPKG_PASSWORD`, `IMGPKG_TOKEN` or `IMGPKG_ANON`
    of the settings' environment; an empty string overrides the variable. The password or the token may be in
    a file instead, which is read when it is used, and again when it changes; `IMGPKG_PASSWORD_FILE` and
    `IMGPKG_TOKEN_FILE` are the variables. With `anonymous`, a decision has anonymous access as asked for,
    not as nothing found. `password_origin` is what errors and explanations call the place of the password, in
    place of the flag: `--registry-password-stdin`. `repr` and `dataclasses.asdict` leave out the password and
    the token.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    anonymous: bool | None = None
    password_file: StrPath | None = None
    token_file: StrPath | None = None
    password_origin: str = ""


# Variables for every registry do not count either: for what is about one login, or gives logins away.
NO_LOGIN = Login("", "", "", anonymous=False)


class Side(Enum):
    """One side of a copy: the registry to copy FROM, or the registry to copy TO."""

    FROM = "from"
    TO = "to"


class Options(TypedDict, total=False):
    """The keyword arguments of `Settings.from_environment`: the fields of Settings except `environ`."""

    login: Login
    ca_cert_paths: tuple[StrPath, ...] | StrPath
    verify_certs: bool
    insecure: bool
    response_header_timeout: float
    idle_timeout: float
    retry_count: int
    concurrency: int
    upload_chunk_size: int
    side: Side | None
    side_login: Login
    client_certificate: StrPath | None
    client_key: StrPath | None
    certs_dirs: tuple[StrPath, ...] | StrPath
    registries_conf: StrPath | None


@hiding("environ")
@dataclass(frozen=True)
class Settings:
    """How registries are reached, and where credentials come from.

    `environ` is the only environment that the package reads: variables, and HOME for configuration files. It
    is empty by default; `from_environment` takes that of the process. `repr` and `dataclasses.asdict` leave
    it out, since it may contain secrets.

    `ca_cert_paths` are files with certificates to trust besides those of the system. `verify_certs=False`
    accepts any certificate, `insecure=True` allows http. `response_header_timeout` is the time in seconds to
    wait for the head of a response, 0 or less for no limit. `idle_timeout` is the time in seconds
    without any byte of a body, in either direction. `retry_count` is the number of attempts of a request, at
    least one. `concurrency` is the number of workers of an operation, and of connections to each host.
    Blobs of more than `upload_chunk_size` bytes are sent in pieces; with 0, where a whole blob is too large.

    `side` makes them the settings of one side of a copy: `IMGPKG_FROM_USERNAME` and its kin, or
    `IMGPKG_TO_USERNAME` and its kin, then take precedence over `login` and its variables. `side_login` takes
    precedence over both; its fields that are None fall back to the variables of the side.

    `client_certificate` and `client_key` are the files of the certificate that is offered to registries that
    ask for one; the key may be in the same file. None means `IMGPKG_CLIENT_CERT`, `IMGPKG_CLIENT_KEY`.
    `certs_dirs` are folders in the form of Docker's `certs.d`, with a folder for each host. None is read by
    default; `from_environment` takes those of podman and Docker.

    `registries_conf` is a file in the form of podman's `registries.conf`, whose mirrors images are read from;
    `auto` takes the files of podman. None falls back to `IMGPKG_REGISTRIES_CONF`, then to the file that
    `CONTAINERS_REGISTRIES_CONF` names; without them, and with an empty path, there are no mirrors.
    """

    login: Login = Login()
    environ: Mapping[str, str] = field(default_factory=FrozenDict, repr=False)
    ca_cert_paths: tuple[StrPath, ...] | StrPath = ()
    verify_certs: bool = True
    insecure: bool = False
    response_header_timeout: float = 30.0
    idle_timeout: float = 60.0
    retry_count: int = 5
    concurrency: int = 5
    upload_chunk_size: int = 0
    side: Side | None = None
    side_login: Login = Login()
    client_certificate: StrPath | None = None
    client_key: StrPath | None = None
    certs_dirs: tuple[StrPath, ...] | StrPath = ()
    registries_conf: StrPath | None = None

    def __post_init__(self) -> None:
        # The mapping and the paths of the caller may change later; settings do not.
        object.__setattr__(self, "environ", FrozenDict(self.environ))
        object.__setattr__(self, "ca_cert_paths", self.authorities)
        object.__setattr__(self, "certs_dirs", self.certs_folders)
        for name, given in (("login", self.login), ("side_login", self.side_login)):
            _check_login(name, given)

    @property
    def authorities(self) -> tuple[str, ...]:
        """The paths of `ca_cert_paths` as strings."""
        return _as_strings(self.ca_cert_paths)

    @property
    def certs_folders(self) -> tuple[str, ...]:
        """The paths of `certs_dirs` as strings."""
        return _as_strings(self.certs_dirs)

    @classmethod
    def from_environment(cls, **options: Unpack[Options]) -> Settings:
        """Return settings with a copy of the environment of the process, and with `options` for other fields.

        HOME is taken from the user database if the environment has none. `certs_dirs` are by default the
        three folders `certs.d` of podman and Docker: in HOME, and in /etc/containers and /etc/docker.
        """
        environ = dict(os.environ)
        # Under cron and in some containers HOME is not set.
        environ["HOME"] = environ.get("HOME") or _home_of_user()
        # Only here: a library must not read folders of the machine that it was not given.
        options.setdefault("certs_dirs", _certs_dirs(environ["HOME"]))
        return cls(environ=environ, **options)


def _check_login(name: str, given: object) -> None:
    # A Credential looks alike, and would fail at the first request.
    if not isinstance(given, Login):
        raise TypeError(f"Expected an imgpkg.Login as {name}, and not {type(given).__name__}")


def _certs_dirs(home: str) -> tuple[str, ...]:
    own = (f"{home}/.config/containers/certs.d",) if home else ()
    # The order of podman: the first folder for a host is the one that counts.
    return (*own, "/etc/containers/certs.d", "/etc/docker/certs.d")


def _as_strings(given: tuple[StrPath, ...] | StrPath) -> tuple[str, ...]:
    # A single path is a common mistake, and iterating over a str yields its letters.
    paths = (given,) if isinstance(given, (str, os.PathLike)) else given
    return tuple(os.fspath(path) for path in paths)


def _home_of_user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
