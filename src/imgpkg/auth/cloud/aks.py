"""The keychain `aks`: an Azure identity, exchanged for a refresh token of its registry (auth-spec 3.5)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from imgpkg.auth.address import Address
from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.absence import Absence
from imgpkg.auth.cloud.azure_cloud import REGISTRY_SCOPE, cloud_of, is_azure
from imgpkg.auth.cloud.azure_exchange import Refused, exchange, exchange_url
from imgpkg.auth.cloud.metadata import MetadataService
from imgpkg.auth.cloud.renewal import Grant, Renewal
from imgpkg.auth.credential import Credential
from imgpkg.auth.keychain import Finding, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.auth.cloud.azure_cloud import AzureCloud
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
        sleep: Callable[[float], None] = time.sleep,
        seconds: float = sdk.DEADLINE,
        metadata: MetadataService | None = None,
    ) -> None:
        self._environ = environ
        self._transport = transport
        self._clock = clock
        self._sleep = sleep
        self._seconds = seconds
        self._absence = Absence(clock)
        self._metadata = metadata or MetadataService(clock)
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
        work = partial(self._access_token, cloud, scope)
        token, origin = sdk.call(self._environ, work, deadline=self._left(ends))
        asking = f"POST {exchange_url(registry)}: "
        refresh = sdk.within(self._left(ends), partial(self._exchange, registry, token), asking=asking)
        return Grant(Credential(identity_token=refresh.token), origin, refresh.expires_at)

    def _left(self, ends: float) -> float:
        # Another keychain may have been waited for first.
        return max(ends - time.monotonic(), self._seconds / 6)

    def _exchange(self, registry: str, access_token: str) -> RefreshToken:
        tenant = self._environ.get("AZURE_TENANT_ID", "")
        return exchange(self._transport, registry, access_token, tenant, sleep=self._sleep, now=self._clock())

    def _access_token(self, cloud: AzureCloud, scope: str) -> tuple[str, str]:
        from imgpkg.auth.cloud.azure_identity import choose_identity  # noqa: PLC0415 - in the SDK's time

        identity = choose_identity(self._environ, cloud, self._absence, self._metadata)
        with identity.credential as credential:
            return credential.get_token(scope).token, identity.origin
