"""The identity of the workload in Azure, through azure-identity; loaded only in the process of an SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport
from azure.identity import (
    CertificateCredential,
    ChainedTokenCredential,
    ClientSecretCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)

from imgpkg.dataclass import dataclass

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.auth.cloud.aks import AzureCloud
    from imgpkg.auth.cloud.metadata import Machine

    AnyCredential: TypeAlias = (
        ClientSecretCredential | CertificateCredential | WorkloadIdentityCredential | ChainedTokenCredential
    )

# Three attempts end before the deadline of a keychain, so that the error names their reason.
_LIMITS = {"connection_timeout": 5, "read_timeout": 15, "retry_total": 2}
# Each of these variables names the service that issues tokens, which then need not be probed.
_NAMED_SERVICES = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")
PROBE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Identity:
    """A credential of azure-identity and its origin, for people."""

    credential: AnyCredential
    origin: str


def choose_identity(environ: Mapping[str, str], cloud: AzureCloud, machine: Machine) -> Identity:
    """Return a client secret, else a certificate, else a workload identity, else a managed identity.

    Identities of developers (`az`, browsers, editors) are not used: the keychain is for workloads.
    azure-identity reads more variables by itself, so `environ` must be that of the process. Raises ValueError
    for an incomplete identity.
    """
    options: dict[str, Any] = {**_LIMITS, "authority": cloud.authority}
    if not cloud.is_known:
        # The endpoint for it is that of the public cloud.
        options["disable_instance_discovery"] = True
    tenant, client = environ.get("AZURE_TENANT_ID", ""), environ.get("AZURE_CLIENT_ID", "")
    if secret := environ.get("AZURE_CLIENT_SECRET"):
        return Identity(ClientSecretCredential(tenant, client, secret, **options), "$AZURE_CLIENT_SECRET")
    # The second name is that of go-autorest, the older SDK for Go.
    for variable in ("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CERTIFICATE_PATH"):
        if path := environ.get(variable):
            return Identity(_certificate(environ, tenant, client, path, options), f"${variable}")
    if environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        return Identity(WorkloadIdentityCredential(**options), "workload identity")
    return _managed(environ, client, machine)


def _certificate(
    environ: Mapping[str, str], tenant: str, client: str, path: str, options: dict[str, Any]
) -> CertificateCredential:
    password = environ.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or environ.get("AZURE_CERTIFICATE_PASSWORD")
    chain = environ.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true")
    return CertificateCredential(
        tenant, client, path, password=password or None, send_certificate_chain=chain, **options
    )


def _managed(environ: Mapping[str, str], client: str, machine: Machine) -> Identity:
    options: dict[str, Any] = {"retry_total": _LIMITS["retry_total"]}
    if not any(environ.get(variable) for variable in _NAMED_SERVICES):
        options["transport"] = ProbingTransport(machine, read_timeout=_LIMITS["read_timeout"])
    managed = ManagedIdentityCredential(client_id=client or None, **options)
    # azure-identity probes for the metadata service only when the credential is in a chain.
    return Identity(ChainedTokenCredential(managed), f"managed identity {client}".rstrip())


class ProbingTransport(RequestsTransport):  # type: ignore[misc]  # named lazily, so untyped
    """Wait `PROBE_SECONDS` for the response to the first request; send none if `machine` has no service.

    The first request of azure-identity only probes for the metadata service. It limits the time to connect,
    but then waits for minutes: a proxy, or a network that accepts connections for every address, connects at
    once and sends no response.
    """

    def __init__(self, machine: Machine, **options: Any) -> None:
        super().__init__(**options)
        self._machine = machine
        self._has_probed = False

    def send(self, request: Any, **options: Any) -> Any:
        """Send one request; see `HttpTransport.send` of azure-core."""
        if self._has_probed:
            return super().send(request, **options)
        if self._machine.absence.is_known:
            raise ServiceRequestError("there was no answer a short time ago")
        if self._machine.metadata.is_absent:
            raise ServiceRequestError("this machine has no metadata service")
        self._has_probed = True
        try:
            return super().send(request, **{**options, "read_timeout": PROBE_SECONDS})
        except AzureError:
            self._machine.absence.learn()
            raise
