"""How azure-identity looks for the metadata service of a machine: once, and not for long (auth-spec 3.5)."""

from __future__ import annotations

from typing import Any

from azure.core.pipeline.transport import RequestsTransport

PROBE_SECONDS = 1.0


class ProbingTransport(RequestsTransport):  # type: ignore[misc]  # named lazily, so untyped
    """Waits for the answer to its first request no longer than `PROBE_SECONDS`.

    azure-identity's first request only looks whether the service is there. It limits how long it takes to
    connect, but then waits for minutes: a proxy, or a network that answers for every address, connects at
    once and has nothing to say. Has azure-core as its base, so it is imported only where that is used.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._has_probed = False

    def send(self, request: Any, **options: Any) -> Any:
        """Send one request; see `HttpTransport.send` of azure-core."""
        if not self._has_probed:
            self._has_probed = True
            options["read_timeout"] = PROBE_SECONDS
        return super().send(request, **options)
