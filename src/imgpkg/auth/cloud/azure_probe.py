"""How azure-identity looks for the metadata service of a machine: once, and not for long."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, ServiceRequestError
from azure.core.pipeline.transport import RequestsTransport

if TYPE_CHECKING:
    from imgpkg.auth.cloud.metadata import Machine

PROBE_SECONDS = 1.0


class ProbingTransport(RequestsTransport):  # type: ignore[misc]  # named lazily, so untyped
    """Waits for the answer to its first request for `PROBE_SECONDS`, where `machine` has none not at all.

    azure-identity's first request only looks whether the service is there. It limits how long it takes to
    connect, but then waits for minutes: a proxy, or a network that answers for every address, connects at
    once and has nothing to say. Has azure-core as its base, so it is imported only where that is used.
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
