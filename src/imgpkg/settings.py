"""Every option once, frozen: what the command line and a library user set alike."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Unpack

_EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials given by hand for every registry; None means not given, empty means cleared.

    What is not given falls back to `IMGPKG_USERNAME`, `IMGPKG_PASSWORD`, `IMGPKG_TOKEN` and `IMGPKG_ANON` of
    the settings' environment (auth-spec 4).
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    anonymous: bool | None = None


class Options(TypedDict, total=False):
    """The fields of Settings besides the environment."""

    login: Login
    ca_cert_paths: tuple[str, ...]
    verify_certs: bool
    insecure: bool
    response_header_timeout: float
    idle_timeout: float
    retry_count: int
    concurrency: int


@dataclass(frozen=True, slots=True)
class Settings:
    """How registries are reached and where credentials come from.

    `environ` is the only environment that any part of the package looks at; it is empty by default, so that
    a library user decides. `Settings.from_environment()` takes the process's own. `insecure` allows http.
    `response_header_timeout` is in seconds, 0 and less wait for ever; `idle_timeout` is how many seconds a
    body may stand still in either direction; `retry_count` is the number of attempts, at least one is made;
    `concurrency` is how many workers a copy has.
    """

    login: Login = Login()
    environ: Mapping[str, str] = field(default_factory=lambda: _EMPTY, repr=False)
    ca_cert_paths: tuple[str, ...] = ()
    verify_certs: bool = True
    insecure: bool = False
    response_header_timeout: float = 30.0
    idle_timeout: float = 60.0
    retry_count: int = 5
    concurrency: int = 5

    @classmethod
    def from_environment(cls, **options: Unpack[Options]) -> Settings:
        """Take the process's environment as it is now, and `options` by their field names.

        Where it has no HOME, as under cron, that of the user database stands in.
        """
        environ = dict(os.environ)
        environ["HOME"] = environ.get("HOME") or _home_of_user()
        return cls(environ=MappingProxyType(environ), **options)


def _home_of_user() -> str:
    import pwd  # noqa: PLC0415 - hardly ever needed

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""
