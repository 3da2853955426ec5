"""The keychain `gke`: Google's Application Default Credentials, then gcloud (auth-spec 3.3)."""

from __future__ import annotations

import os
import time
from calendar import timegm
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from imgpkg.auth.address import Address
from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.gcloud import access_token
from imgpkg.auth.cloud.renewal import Grant, Renewal
from imgpkg.auth.credential import Credential
from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.reference import Repository

USERNAME = "_token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_HOST = "gcr.io"
_SUFFIXES = (".gcr.io", ".pkg.dev", ".google.com")


class GkeSource:
    """Gives a Google access token to gcr.io and to hosts below gcr.io, pkg.dev and google.com.

    One token serves all of them. `warn` hears once per registry why there is none.
    """

    name = "gke"

    def __init__(
        self,
        environ: Mapping[str, str],
        warn: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._environ = environ
        self._renewal: Renewal[str] = Renewal(self.name, self._acquire, warn=warn, clock=clock)

    def lookup(self, repository: Repository) -> Finding:
        """Answer for `repository`; see `CredentialSource.lookup`."""
        if not is_google(Address.of(repository).host):
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is no registry of Google")
        return self._renewal.finding(SCOPE, repository)

    def _acquire(self, scope: str) -> Grant:
        try:
            return sdk.call(_for_google(self._environ), lambda: _default(self._environ, scope))
        except CredentialError as error:
            problem = f"Application Default Credentials: {error}"
        try:
            token, expires_at = access_token(self._environ)
        except CredentialError as error:
            raise CredentialError(f"{problem}; gcloud: {error}") from error
        return Grant(Credential(USERNAME, token), "gcloud", expires_at)


def is_google(host: str) -> bool:
    """Tell whether a lower-case host name without port belongs to a registry of Google."""
    return host == _HOST or host.endswith(_SUFFIXES)


def _for_google(environ: Mapping[str, str]) -> dict[str, str]:
    """Keep from google-auth what it would remember for the whole process, ask the network about, or run."""
    # GoogleRequest heeds NO_GCE_CHECK itself; a registry has no use for a project.
    kept = {name: value for name, value in environ.items() if name != "NO_GCE_CHECK"}
    return {"GOOGLE_CLOUD_PROJECT": "unused", **kept, "PATH": _path(environ)}


def _path(environ: Mapping[str, str]) -> str:
    """Hide gcloud, which google-auth would ask for the project of a user, from any folder and without an end.

    Only an external account whose token comes from a program needs a search path.
    """
    if environ.get("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") != "1":
        # Not empty: that would be the current folder.
        return os.devnull
    folders = environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join(filter(os.path.isabs, folders)) or os.devnull


def _default(environ: Mapping[str, str], scope: str) -> Grant:
    import google.auth  # noqa: PLC0415 - only for a registry of Google

    from imgpkg.auth.cloud.google_request import GoogleRequest  # noqa: PLC0415 - likewise

    with closing(GoogleRequest(environ)) as request:
        found = google.auth.default(scopes=[scope], request=cast(Any, request))
        credentials = cast(Any, found[0])
        credentials.refresh(request)
    if not credentials.token or credentials.expiry is None:
        raise CredentialError(f"{type(credentials).__name__} gave no token with its time of expiry")
    # google-auth's times are in UTC and do not say so.
    expires_at = float(timegm(credentials.expiry.utctimetuple()))
    origin = f"Application Default Credentials ({type(credentials).__module__})"
    return Grant(Credential(USERNAME, credentials.token), origin, expires_at)
