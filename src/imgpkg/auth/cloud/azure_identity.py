"""Who the workload is for Azure: the first identity that the environment describes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.identity import (
        CertificateCredential,
        ChainedTokenCredential,
        ClientSecretCredential,
        WorkloadIdentityCredential,
    )

    from imgpkg.auth.cloud.azure_cloud import AzureCloud
    from imgpkg.auth.cloud.metadata import Machine

    AnyCredential: TypeAlias = (
        ClientSecretCredential | CertificateCredential | WorkloadIdentityCredential | ChainedTokenCredential
    )

# Three attempts end well before the deadline of a keychain, so that their reason is heard.
_LIMITS = {"connection_timeout": 5, "read_timeout": 15, "retry_total": 2}
# Where the platform names the service, nobody has to look for it.
_NAMED_SERVICES = ("IDENTITY_ENDPOINT", "MSI_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST")


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity of azure-identity, with words for it."""

    credential: AnyCredential
    origin: str


def choose_identity(environ: Mapping[str, str], cloud: AzureCloud, machine: Machine) -> Identity:
    """Take a client secret, else a certificate, else a workload identity, else a managed identity.

    Identities of developers (`az`, browsers, editors) are left out: the keychain is for workloads.
    azure-identity reads more variables by itself, so `environ` is that of the process. Raises ValueError for
    what is incomplete.
    """
    options: dict[str, Any] = {**_LIMITS, "authority": cloud.authority}
    if not cloud.is_known:
        options["disable_instance_discovery"] = True
    tenant, client = environ.get("AZURE_TENANT_ID", ""), environ.get("AZURE_CLIENT_ID", "")
    if secret := environ.get("AZURE_CLIENT_SECRET"):
        from azure.identity import ClientSecretCredential  # noqa: PLC0415 - one of four

        return Identity(ClientSecretCredential(tenant, client, secret, **options), "$AZURE_CLIENT_SECRET")
    for variable in ("AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CERTIFICATE_PATH"):
        if path := environ.get(variable):
            return Identity(_certificate(environ, tenant, client, path, options), f"${variable}")
    if environ.get("AZURE_FEDERATED_TOKEN_FILE"):
        from azure.identity import WorkloadIdentityCredential  # noqa: PLC0415 - one of four

        return Identity(WorkloadIdentityCredential(**options), "workload identity")
    return _managed(environ, client, machine)


def _certificate(
    environ: Mapping[str, str], tenant: str, client: str, path: str, options: dict[str, Any]
) -> CertificateCredential:
    from azure.identity import CertificateCredential  # noqa: PLC0415 - one of four

    password = environ.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or environ.get("AZURE_CERTIFICATE_PASSWORD")
    chain = environ.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true")
    return CertificateCredential(
        tenant, client, path, password=password or None, send_certificate_chain=chain, **options
    )


def _managed(environ: Mapping[str, str], client: str, machine: Machine) -> Identity:
    from azure.identity import ChainedTokenCredential, ManagedIdentityCredential  # noqa: PLC0415 - one of four

    options: dict[str, Any] = {"retry_total": _LIMITS["retry_total"]}
    if not any(environ.get(variable) for variable in _NAMED_SERVICES):
        from imgpkg.auth.cloud.azure_probe import ProbingTransport  # noqa: PLC0415 - it loads azure-core

        options["transport"] = ProbingTransport(machine, read_timeout=_LIMITS["read_timeout"])
    managed = ManagedIdentityCredential(client_id=client or None, **options)
    # Only as part of a chain it looks for the metadata service before it waits for it.
    return Identity(ChainedTokenCredential(managed), f"managed identity {client}".rstrip())
