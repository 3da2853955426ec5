"""The keychain `aks`: an Azure access token, exchanged for a refresh token of the registry."""

from __future__ import annotations

import json
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.cloud.renewal import Renewal, TemporaryCredential
from imgpkg.auth.keychain import Credential, Finding, Outcome, claims_of
from imgpkg.auth.pattern import Address
from imgpkg.auth.program import Programs
from imgpkg.dataclass import dataclass, field, replace
from imgpkg.errors import CredentialError, TransportError
from imgpkg.transport.message import Request, bytes_body, read_at_most

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.reference import Repository
    from imgpkg.transport.message import Transport

# The audience of registries that have `azureADAuthenticationAsArmPolicy` disabled.
REGISTRY_SCOPE = "https://containerregistry.azure.net/.default"

_LARGEST = 1 << 20
ATTEMPTS = 3
# Of a refresh token without a readable end; those of Azure last three hours.
LIFETIME = 3600.0

_OK, _REFUSED, _TEMPORARY = 200, (401, 403), (408, 429, 500, 502, 503, 504)
_LARGEST_ANSWER = 1 << 20


class AksSource:
    """Return an identity token for registries of Azure: hosts that end in azurecr.io, .cn, .us or .de.

    The token is exchanged through `transport`, with its certificates and proxies. `warn` gets the reason,
    once per registry, when there is no token.
    """

    name = "aks"

    def __init__(
        self,
        environ: Mapping[str, str],
        transport: Transport,
        warn: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] | None = None,
        seconds: float = sdk.DEADLINE,
        metadata: MetadataService | None = None,
        programs: Programs | None = None,
    ) -> None:
        self._environ = environ
        self._transport = transport
        self._clock = clock
        self._programs = programs or Programs()
        self._sleep = sleep or self._programs.sleep
        self._seconds = seconds
        self._machine = Machine(Absence(clock), metadata or MetadataService(clock))
        self._renewal: Renewal[str] = Renewal(self.name, self._acquire, warn=warn, clock=clock)

    def lookup(self, repository: Repository) -> Finding:
        """Return the finding for `repository`; see `CredentialSource.lookup`."""
        if not is_azure(Address.of(repository).host):
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is no registry of Azure")
        return self._renewal.finding(repository.registry.lower(), repository)

    def _acquire(self, registry: str) -> TemporaryCredential:
        cloud = cloud_of(Address.read(registry).host, self._environ)
        ends = time.monotonic() + self._seconds
        try:
            return self._authorize(registry, cloud, cloud.scope, ends)
        except TokenRefused:
            # A registry may be configured to accept only tokens for its own audience.
            return self._authorize(registry, cloud, REGISTRY_SCOPE, ends)

    def _authorize(self, registry: str, cloud: AzureCloud, scope: str, ends: float) -> TemporaryCredential:
        from dataclasses import asdict

        reply = sdk.call(
            "aks",
            {"cloud": asdict(cloud), "scope": scope},
            self._environ,
            self._machine,
            programs=self._programs,
            deadline=self._left(ends),
        )
        refresh = sdk.within(
            self._left(ends),
            partial(self._exchange, registry, reply["token"]),
            asking=f"POST {exchange_url(registry)}: ",
            programs=self._programs,
        )
        return TemporaryCredential(
            Credential(identity_token=refresh.token), reply["origin"], refresh.expires_at
        )

    def _left(self, ends: float) -> float:
        # The exchange gets a sixth of the time even if the SDK has used all of it.
        return max(ends - time.monotonic(), self._seconds / 6)

    def _exchange(self, registry: str, access_token: str) -> RefreshToken:
        tenant = self._environ.get("AZURE_TENANT_ID", "")
        return exchange(self._transport, registry, access_token, tenant, sleep=self._sleep, now=self._clock())


def ask(question: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Return an access token of the workload's identity; runs in the process of azure-identity."""
    from imgpkg.auth.cloud.azure import choose_identity

    identity = choose_identity(os.environ, AzureCloud(**question["cloud"]), machine)
    with identity.credential as credential:
        return {"token": credential.get_token(question["scope"]).token, "origin": identity.origin}


@dataclass(frozen=True, slots=True)
class AzureCloud:
    """The URLs of a cloud: `authority` issues tokens, `resource` is their audience.

    `is_known` is False for an authority that is not in Microsoft's list, such as that of an Azure Stack. It
    is then used without looking it up at Microsoft, because the environment names it.
    """

    authority: str
    resource: str
    is_known: bool = True

    @property
    def scope(self) -> str:
        """The audience as the scope of a token request."""
        return f"{self.resource.rstrip('/')}/.default"


_PUBLIC = AzureCloud("https://login.microsoftonline.com", "https://management.azure.com/")
_GOVERNMENT = AzureCloud("https://login.microsoftonline.us", "https://management.usgovcloudapi.net/")
_CHINA = AzureCloud("https://login.chinacloudapi.cn", "https://management.chinacloudapi.cn/")
_GERMANY = AzureCloud("https://login.microsoftonline.de", "https://management.microsoftazure.de/")
_BY_SUFFIX = {
    ".azurecr.io": _PUBLIC,
    ".azurecr.us": _GOVERNMENT,
    ".azurecr.cn": _CHINA,
    ".azurecr.de": _GERMANY,
}
_BY_NAME = {
    "azurepubliccloud": _PUBLIC,
    "azurecloud": _PUBLIC,
    "azureusgovernmentcloud": _GOVERNMENT,
    "azureusgovernment": _GOVERNMENT,
    "azurechinacloud": _CHINA,
    "azuregermancloud": _GERMANY,
}


def is_azure(host: str) -> bool:
    """Return whether a lower-case host name without port is a registry of Azure."""
    name, dot, suffix = host.partition(".")
    return bool(name) and f"{dot}{suffix}".endswith(tuple(_BY_SUFFIX))


def cloud_of(host: str, environ: Mapping[str, str]) -> AzureCloud:
    """Return the cloud of a registry: by its suffix, unless `AZURE_ENVIRONMENT` names one.

    `AZURE_AUTHORITY_HOST` replaces the authority, `AZURE_AD_RESOURCE` the audience. Raises CredentialError
    for an unknown name or a malformed `AZURE_ENVIRONMENT_FILEPATH`.
    """
    cloud = _named(environ) or _BY_SUFFIX[host[host.rindex(".azurecr.") :]]
    if resource := environ.get("AZURE_AD_RESOURCE"):
        cloud = replace(cloud, resource=resource)
    authority = environ.get("AZURE_AUTHORITY_HOST", "").rstrip("/")
    if not authority:
        return cloud
    authority = authority if "://" in authority else f"https://{authority}"
    # azure-identity looks an unknown authority up at login.microsoftonline.com, which an Azure Stack lacks.
    known = {one.authority for one in _BY_NAME.values()}
    return replace(cloud, authority=authority, is_known=authority in known)


def _named(environ: Mapping[str, str]) -> AzureCloud | None:
    name = environ.get("AZURE_ENVIRONMENT", "")
    if not name:
        return None
    if name.lower() == "azurestackcloud":
        return _stack(environ.get("AZURE_ENVIRONMENT_FILEPATH", ""))
    if name.lower() not in _BY_NAME:
        raise CredentialError(f"AZURE_ENVIRONMENT names no cloud: {name!r}")
    return _BY_NAME[name.lower()]


def _stack(path: str) -> AzureCloud:
    """Read the endpoints of an Azure Stack from a file."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            document = json.loads(file.read(_LARGEST))
        authority, resource = document["activeDirectoryEndpoint"], document["resourceManagerEndpoint"]
        audience = document.get("tokenAudience") or resource
        return AzureCloud(authority.rstrip("/"), audience.rstrip("/"), is_known=False)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CredentialError(
            f"AZURE_ENVIRONMENT_FILEPATH={path}: this is no description of an Azure Stack"
        ) from error


class TokenRefused(CredentialError):
    """The registry refused this token; it may accept one for another audience."""


@dataclass(frozen=True, slots=True)
class RefreshToken:
    """A refresh token of a registry, and the Unix time of its end."""

    token: str = field(repr=False)
    expires_at: float


def exchange(
    transport: Transport,
    registry: str,
    access_token: str,
    tenant: str,
    *,
    sleep: Callable[[float], None],
    now: float,
) -> RefreshToken:
    """Post the token to `https://REGISTRY/oauth2/exchange` and return the refresh token; follow no redirect.

    A failure that may be temporary is tried three times. Raises TokenRefused for 401 and 403, CredentialError
    for any other failure.
    """
    request = _request(registry, access_token, tenant)
    for attempt in range(1, ATTEMPTS):
        try:
            status, body = _send(transport, request)
        except TransportError:
            # A broken connection counts as the first of the temporary statuses.
            status, body = _TEMPORARY[0], b""
        if status not in _TEMPORARY:
            return _parse(request.url, status, body, now)
        sleep(float(attempt))
    try:
        return _parse(request.url, *_send(transport, request), now)
    except TransportError as error:
        raise CredentialError(str(error)) from error


def exchange_url(registry: str) -> str:
    """Return the URL at which a registry exchanges tokens."""
    return f"https://{registry}/oauth2/exchange"


def _request(registry: str, access_token: str, tenant: str) -> Request:
    # The exchange of Azure Container Registry: POST /oauth2/exchange.
    form = {"grant_type": "access_token", "service": registry, "access_token": access_token}
    if tenant:
        form["tenant"] = tenant
    return Request(
        "POST",
        exchange_url(registry),
        {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        bytes_body(urlencode(form).encode(), secret=True),
        secret=True,
    )


def _send(transport: Transport, request: Request) -> tuple[int, bytes]:
    with transport.send(request) as response:
        return response.status, read_at_most(response, _LARGEST_ANSWER)


def _parse(url: str, status: int, body: bytes, now: float) -> RefreshToken:
    if status in _REFUSED:
        raise TokenRefused(f"POST {url}: the registry refused the token: status {status}")
    if status != _OK:
        raise CredentialError(f"POST {url}: unexpected status {status}")
    try:
        token = json.loads(body)["refresh_token"]
    except (ValueError, LookupError, TypeError, RecursionError):
        token = None
    if not isinstance(token, str) or not token:
        # Outside of the handler and without the body, which may hold a secret.
        raise CredentialError(f"POST {url}: no refresh token in the answer")
    ends_at = claims_of(token).ends_at
    # The end is in the token, a JSON web token.
    return RefreshToken(token, now + LIFETIME if ends_at is None else ends_at)
