"""The keychain `aks`: an Azure identity, exchanged for a refresh token of its registry."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from imgpkg.auth.address import Address
from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.azure_cloud import REGISTRY_SCOPE, AzureCloud, cloud_of, is_azure
from imgpkg.auth.cloud.azure_exchange import Refused, exchange, exchange_url
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.cloud.renewal import Grant, Renewal
from imgpkg.auth.credential import Credential
from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.auth.program import Programs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.auth.cloud.azure_exchange import RefreshToken
    from imgpkg.oci.reference import Repository
    from imgpkg.transport.message import Transport


class AksSource:
    """Gives an identity token to registries of Azure: hosts that end in azurecr.io, .cn, .us or .de.

    The exchange goes through `transport`, with its certificates and proxies. `warn` hears once per registry
    why there is no token.
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
        """Answer for `repository`; see `CredentialSource.lookup`."""
        if not is_azure(Address.of(repository).host):
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is no registry of Azure")
        return self._renewal.finding(repository.registry.lower(), repository)

    def _acquire(self, registry: str) -> Grant:
        cloud = cloud_of(Address.read(registry).host, self._environ)
        ends = time.monotonic() + self._seconds
        try:
            return self._authorize(registry, cloud, cloud.scope, ends)
        except Refused:
            # Registries can be set to take tokens only for their own audience.
            return self._authorize(registry, cloud, REGISTRY_SCOPE, ends)

    def _authorize(self, registry: str, cloud: AzureCloud, scope: str, ends: float) -> Grant:
        said = sdk.call(
            "aks",
            {"cloud": asdict(cloud), "scope": scope},
            self._environ,
            self._machine,
            programs=self._programs,
            deadline=self._left(ends),
        )
        refresh = sdk.within(
            self._left(ends),
            partial(self._exchange, registry, said["token"]),
            asking=f"POST {exchange_url(registry)}: ",
            programs=self._programs,
        )
        return Grant(Credential(identity_token=refresh.token), said["origin"], refresh.expires_at)

    def _left(self, ends: float) -> float:
        # Another keychain may have been waited for first.
        return max(ends - time.monotonic(), self._seconds / 6)

    def _exchange(self, registry: str, access_token: str) -> RefreshToken:
        tenant = self._environ.get("AZURE_TENANT_ID", "")
        return exchange(self._transport, registry, access_token, tenant, sleep=self._sleep, now=self._clock())


def ask(question: Mapping[str, Any], machine: Machine) -> dict[str, Any]:
    """Return an access token of the identity of the workload; runs in a process of azure-identity's."""
    from imgpkg.auth.cloud.azure_identity import choose_identity  # noqa: PLC0415 - only for Azure

    identity = choose_identity(os.environ, AzureCloud(**question["cloud"]), machine)
    with identity.credential as credential:
        return {"token": credential.get_token(question["scope"]).token, "origin": identity.origin}
