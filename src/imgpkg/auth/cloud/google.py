"""Application Default Credentials through google-auth; loaded only in the process of an SDK."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import urlsplit, urlunsplit

from imgpkg.dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Mapping

    from imgpkg.auth.cloud.metadata import Machine

# To connect, and then to respond; outside of Google's cloud, an address may do neither.
PROBE_SECONDS = (1.0, 1.0)

Timeout: TypeAlias = "float | tuple[float, float] | None"

_FLAVOR = "metadata-flavor"
_DIRECT = {"no_proxy": "*"}
_PROJECT = "/computeMetadata/v1/project/project-id"


def find_credentials(environ: Mapping[str, str], request: Any, scope: str) -> Any:
    """Return the Application Default Credentials.

    Those of a file are loaded without `google.auth.default`, which also determines the project: a registry
    does not need it, and finding it takes a request, or a run of gcloud without a time limit.
    """
    import google.auth
    from google.auth._cloud_sdk import get_application_default_credentials_path
    from google.auth.credentials import with_scopes_if_required

    well_known = cast("Any", get_application_default_credentials_path)()
    path = environ.get("GOOGLE_APPLICATION_CREDENTIALS") or (os.path.isfile(well_known) and well_known)
    if path:
        found = cast("Any", google.auth).load_credentials_from_file(path, request=request)
        return cast("Any", with_scopes_if_required)(found[0], [scope])
    return google.auth.default(scopes=[scope], request=request)[0]


@dataclass(frozen=True, slots=True)
class GoogleResponse:
    """A response with the attributes of `google.auth.transport.Response`."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = field(default=b"", repr=False)


class GoogleRequest:
    """A `google.auth.transport.Request` that writes no logs and follows no redirects.

    google-auth probes the metadata server three times, three seconds each. Here it is probed once, and only
    if `machine` may have one; the result is recorded in `machine`. The project is not requested, because a
    registry does not need it.
    """

    def __init__(self, environ: Mapping[str, str], machine: Machine) -> None:
        from google.auth.transport.requests import Request

        self._environ = environ
        self._machine = machine
        self._owner = Request()
        self.session = self._owner.session

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: Timeout = 120.0,
        **options: Any,
    ) -> GoogleResponse:
        """Send one request; raise google-auth's TransportError when there is no response."""
        # The header marks requests to the metadata server, and keeps those of browsers out.
        if _FLAVOR in {name.lower() for name in headers or {}}:
            return self._ask_metadata(url, method, body, headers, timeout)
        return self._send(url, method, body, headers, timeout, **options)

    def close(self) -> None:
        """Close the connections."""
        self.session.close()

    def _ask_metadata(
        self, url: str, method: str, body: bytes | None, headers: Mapping[str, str] | None, timeout: Timeout
    ) -> GoogleResponse:
        path = urlsplit(url).path
        if path == _PROJECT:
            # The answer of a machine without a project, which google-auth accepts.
            return GoogleResponse(404)
        host, address = self._metadata_host(), self._environ.get("GCE_METADATA_IP", "")
        if path.strip("/"):
            return self._send(_at(host, url), method, body, headers, timeout, proxies=_DIRECT)
        if host and not address:
            # A variable names the host, so it is not probed.
            return GoogleResponse(200, {_FLAVOR: "Google"})
        return self._probe(address, url, headers)

    def _probe(self, address: str, url: str, headers: Mapping[str, str] | None) -> GoogleResponse:
        from google.auth.exceptions import TransportError

        if address or not self._machine.metadata.is_absent:
            with suppress(TransportError):
                return self._send(_at(address, url), "GET", None, headers, PROBE_SECONDS, proxies=_DIRECT)
        # A status and no error, because google-auth repeats the probe after an error.
        self._machine.absence.learn()
        return GoogleResponse(503)

    def _metadata_host(self) -> str:
        return self._environ.get("GCE_METADATA_HOST") or self._environ.get("GCE_METADATA_ROOT", "")

    def _send(
        self,
        url: str,
        method: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        timeout: Timeout,
        **options: Any,
    ) -> GoogleResponse:
        from google.auth.exceptions import TransportError

        try:
            response = self.session.request(
                method, url, data=body, headers=headers, timeout=timeout, allow_redirects=False, **options
            )
        # Errors of requests are OSErrors, too.
        except OSError as error:
            raise TransportError(error) from error  # type: ignore[no-untyped-call]
        return GoogleResponse(response.status_code, response.headers, response.content)


def _at(host: str, url: str) -> str:
    """Return `url` with its host replaced by `host`, unless that is empty."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=host or parts.netloc))
