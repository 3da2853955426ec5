"""Every option once, frozen: what the command line and a library user set alike."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypedDict

from imgpkg.values import FrozenDict, StrPath, hiding

if sys.version_info >= (3, 11):
    from typing import Unpack
else:
    from typing_extensions import Unpack  # noqa: TC002 - a program may look it up


@hiding("password", "token")
@dataclass(frozen=True)
class Login:
    """Credentials given by hand for every registry; None means not given, empty means cleared.

    What is not given falls back to `IMGPKG_USERNAME`, `IMGPKG_PASSWORD`, `IMGPKG_TOKEN` and `IMGPKG_ANON` of
    the settings' environment. Secrets are in no `repr` and no `dataclasses.asdict`.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    anonymous: bool | None = None


class Options(TypedDict, total=False):
    """The fields of Settings besides the environment."""

    login: Login
    ca_cert_paths: tuple[StrPath, ...] | StrPath
    verify_certs: bool
    insecure: bool
    response_header_timeout: float
    idle_timeout: float
    retry_count: int
    concurrency: int


@hiding("environ")
@dataclass(frozen=True)
class Settings:
    """How registries are reached and where credentials come from.

    `environ` is the only environment that any part of the package looks at; it is empty by default, so that
    a library user decides. `Settings.from_environment()` takes the process's own. `insecure` allows http.
    `response_header_timeout` is in seconds, 0 and less wait for ever; `idle_timeout` is how many seconds a
    body may stand still in either direction; `retry_count` is the number of attempts, at least one is made;
    `concurrency` is how many workers a copy has. The environment, which may hold secrets, is in no `repr` and
    no `dataclasses.asdict`.
    """

    login: Login = Login()
    environ: Mapping[str, str] = field(default=FrozenDict(), repr=False)
    ca_cert_paths: tuple[StrPath, ...] | StrPath = ()
    verify_certs: bool = True
    insecure: bool = False
    response_header_timeout: float = 30.0
    idle_timeout: float = 60.0
    retry_count: int = 5
    concurrency: int = 5

    def __post_init__(self) -> None:
        object.__setattr__(self, "environ", FrozenDict(self.environ))
        object.__setattr__(self, "ca_cert_paths", self.authorities)

    @property
    def authorities(self) -> tuple[str, ...]:
        """The files of `ca_cert_paths`."""
        given = self.ca_cert_paths
        paths = (given,) if isinstance(given, (str, os.PathLike)) else given
        return tuple(os.fspath(path) for path in paths)

    @classmethod
    def from_environment(cls, **options: Unpack[Options]) -> Settings:
        """Take the process's environment as it is now, and `options` by their field names.

        Where it has no HOME, as under cron, that of the user database stands in.
        """
        environ = dict(os.environ)
        environ["HOME"] = environ.get("HOME") or _home_of_user()
        return cls(environ=environ, **options)


def _home_of_user() -> str:
    import pwd  # noqa: PLC0415 - hardly ever needed

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
