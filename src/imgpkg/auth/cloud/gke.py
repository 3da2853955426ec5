"""The keychain `gke`: Google's Application Default Credentials, then gcloud."""

from __future__ import annotations

import os
import time
from calendar import timegm
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from imgpkg.auth.address import Address
from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.gcloud import access_token
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.cloud.renewal import Grant, Renewal
from imgpkg.auth.credential import Credential
from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.auth.program import Programs, search_path
from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.reference import Repository

# gcloud has what is left of the time of a keychain.
DEFAULT_SECONDS = 20.0
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
        metadata: MetadataService | None = None,
        programs: Programs | None = None,
    ) -> None:
        self._environ = environ
        self._machine = Machine(Absence(clock), metadata or MetadataService(clock))
        self._programs = programs or Programs()
        self._renewal: Renewal[str] = Renewal(self.name, self._acquire, warn=warn, clock=clock)

    def lookup(self, repository: Repository) -> Finding:
        """Answer for `repository`; see `CredentialSource.lookup`."""
        if not is_google(Address.of(repository).host):
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is no registry of Google")
        return self._renewal.finding(SCOPE, repository)

    def _acquire(self, scope: str) -> Grant:
        ends = time.monotonic() + sdk.DEADLINE
        try:
            return self._default(scope)
        except CredentialError as error:
            problem = f"Application Default Credentials: {error}"
        try:
            return self._from_gcloud(max(ends - time.monotonic(), sdk.DEADLINE - DEFAULT_SECONDS))
        except CredentialError as error:
            raise CredentialError(f"{problem}; gcloud: {error}") from error

    def _default(self, scope: str) -> Grant:
        said = sdk.call(
            "gke",
            {"scope": scope},
            _for_google(self._environ),
            self._machine,
            programs=self._programs,
            deadline=DEFAULT_SECONDS,
        )
        return Grant(Credential(USERNAME, said["token"]), said["origin"], said["expires_at"])

    def _from_gcloud(self, seconds: float) -> Grant:
        is_absent = self._machine.absence.is_known or self._environ.get("NO_GCE_CHECK") == "true"
        token, expires_at = access_token(
            self._environ, has_metadata=not is_absent, deadline=seconds, programs=self._programs
        )
        return Grant(Credential(USERNAME, token), "gcloud", expires_at)


def is_google(host: str) -> bool:
    """Tell whether a lower-case host name without port belongs to a registry of Google."""
    return host == _HOST or host.endswith(_SUFFIXES)


def ask(question: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Return the access token of the Application Default Credentials; runs in a process of google-auth's."""
    from imgpkg.auth.cloud.google_request import GoogleRequest  # noqa: PLC0415 - only for Google

    with closing(GoogleRequest(os.environ, machine)) as request:
        credentials = _find(os.environ, request, question["scope"])
        credentials.refresh(request)
    if not credentials.token or credentials.expiry is None:
        raise CredentialError(f"{type(credentials).__name__} gave no token with its time of expiry")
    return {
        "token": credentials.token,
        "origin": f"Application Default Credentials ({type(credentials).__module__})",
        # google-auth's times are in UTC and do not say so.
        "expires_at": float(timegm(credentials.expiry.utctimetuple())),
    }


def _for_google(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Keep google-auth from running programs that are anywhere."""
    if environ.get("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") != "1":
        return environ
    # Not empty: that would be the current folder.
    return {**environ, "PATH": search_path(environ) or os.devnull}


def _find(environ: Mapping[str, str], request: Any, scope: str) -> Any:
    """Give the Application Default Credentials.

    Those of a file are not asked for through `google.auth.default`, which would also look for a project: a
    registry has no use for one, and it takes a request, or a run of gcloud without an end.
    """
    import google.auth  # noqa: PLC0415 - only for a registry of Google
    from google.auth._cloud_sdk import get_application_default_credentials_path  # noqa: PLC0415 - likewise
    from google.auth.credentials import with_scopes_if_required  # noqa: PLC0415 - likewise

    well_known = cast(Any, get_application_default_credentials_path)()
    path = environ.get("GOOGLE_APPLICATION_CREDENTIALS") or (os.path.isfile(well_known) and well_known)
    if path:
        found = cast(Any, google.auth).load_credentials_from_file(path, request=request)
        return cast(Any, with_scopes_if_required)(found[0], [scope])
    return google.auth.default(scopes=[scope], request=request)[0]
