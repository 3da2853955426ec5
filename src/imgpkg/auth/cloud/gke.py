"""The keychain `gke`: Google's Application Default Credentials, then gcloud."""

from __future__ import annotations

import json
import os
import time
from calendar import timegm
from contextlib import closing
from typing import TYPE_CHECKING, Any

from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.cloud.renewal import Renewal, TemporaryCredential
from imgpkg.auth.keychain import Credential, Finding, Outcome, parse_time
from imgpkg.auth.pattern import Address
from imgpkg.auth.program import Programs, find, search_path
from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.reference import Repository

# gcloud gets the rest of the deadline of a keychain.
DEFAULT_SECONDS = 20.0
# Google's registries accept any access token as the password of a fixed user name.
USERNAME = "_token"
SCOPE = "https://www.googleapis.com/auth/cloud-platform"

_HOST = "gcr.io"
_SUFFIXES = (".gcr.io", ".pkg.dev", ".google.com")
# A forced refresh: gcloud may print a token that ends within seconds.
ARGUMENTS = ("config", "config-helper", "--force-auth-refresh", "--format=json(credential)")
DEADLINE = 30.0

_LOOK_FOR_METADATA = "CLOUDSDK_CORE_CHECK_GCE_METADATA"


class GkeSource:
    """Return a Google access token for gcr.io and for hosts below gcr.io, pkg.dev and google.com.

    All of them share one token. `warn` gets the reason, once per registry, when there is none.
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
        """Return the finding for `repository`; see `CredentialSource.lookup`."""
        if not is_google(Address.of(repository).host):
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is no registry of Google")
        # One key for all hosts, so that all of them share the token.
        return self._renewal.finding(SCOPE, repository)

    def _acquire(self, scope: str) -> TemporaryCredential:
        ends = time.monotonic() + sdk.DEADLINE
        try:
            return self._default(scope)
        except CredentialError as error:
            problem = f"Application Default Credentials: {error}"
        try:
            # gcloud has what the first attempt has left, and never less than its own share.
            return self._from_gcloud(max(ends - time.monotonic(), sdk.DEADLINE - DEFAULT_SECONDS))
        except CredentialError as error:
            raise CredentialError(f"{problem}; gcloud: {error}") from error

    def _default(self, scope: str) -> TemporaryCredential:
        reply = sdk.call(
            "gke",
            {"scope": scope},
            _for_google(self._environ),
            self._machine,
            programs=self._programs,
            deadline=DEFAULT_SECONDS,
        )
        return TemporaryCredential(Credential(USERNAME, reply["token"]), reply["origin"], reply["expires_at"])

    def _from_gcloud(self, seconds: float) -> TemporaryCredential:
        is_absent = self._machine.absence.is_known or self._environ.get("NO_GCE_CHECK") == "true"
        token, expires_at = access_token(
            self._environ, has_metadata=not is_absent, deadline=seconds, programs=self._programs
        )
        return TemporaryCredential(Credential(USERNAME, token), "gcloud", expires_at)


def is_google(host: str) -> bool:
    """Return whether a lower-case host name without port is a registry of Google."""
    return host == _HOST or host.endswith(_SUFFIXES)


def _for_google(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return variables with which google-auth runs no program from the current folder."""
    if environ.get("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES") != "1":
        return environ
    # An empty PATH means the current folder.
    return {**environ, "PATH": search_path(environ) or os.devnull}


def access_token(
    environ: Mapping[str, str],
    *,
    has_metadata: bool = True,
    deadline: float = DEADLINE,
    programs: Programs | None = None,
) -> tuple[str, float]:
    """Run gcloud and return an access token and the Unix time of its end; raise CredentialError without one.

    `has_metadata=False` keeps gcloud from looking for the metadata server, which can take a minute.
    """
    program = find("gcloud", environ)
    if program is None:
        raise CredentialError("there is no gcloud on PATH")
    given = dict(environ) if has_metadata else {_LOOK_FOR_METADATA: "false", **environ}
    ended = (programs or Programs()).run([program, *ARGUMENTS], given, deadline, is_silent=True)
    ended.check("gcloud")
    return _parse(ended.printed)


def _parse(printed: bytes) -> tuple[str, float]:
    try:
        credential = json.loads(printed)["credential"]
        token, expires_at = credential["access_token"], parse_time(credential["token_expiry"])
    except (ValueError, TypeError, LookupError, RecursionError):
        token, expires_at = None, 0.0
    if not isinstance(token, str) or not token:
        # The output may be half a secret, so it is in no message.
        raise CredentialError("gcloud printed no access token with its time of expiry")
    return token, expires_at


def ask(question: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Return the access token of the Application Default Credentials; runs in the process of google-auth."""
    from imgpkg.auth.cloud.google import GoogleRequest, find_credentials

    with closing(GoogleRequest(os.environ, machine)) as request:
        credentials = find_credentials(os.environ, request, question["scope"])
        credentials.refresh(request)
    # A token without an end would never be renewed.
    if not credentials.token or credentials.expiry is None:
        raise CredentialError(f"{type(credentials).__name__} gave no token with its time of expiry")
    return {
        "token": credentials.token,
        "origin": f"Application Default Credentials ({type(credentials).__module__})",
        # google-auth's times are naive, in UTC.
        "expires_at": float(timegm(credentials.expiry.utctimetuple())),
    }
