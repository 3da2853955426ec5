"""Which cloud of Azure a registry belongs to: who gives tokens, and for what audience."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Mapping

REGISTRY_SCOPE = "https://containerregistry.azure.net/.default"

_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class AzureCloud:
    """The URLs of a cloud: `authority` gives tokens, `resource` is the audience that they are for.

    `is_known` is False for an authority that Microsoft's list of authorities does not have, such as that of
    an Azure Stack: whoever named it trusts it.
    """

    authority: str
    resource: str
    is_known: bool = True

    @property
    def scope(self) -> str:
        """The audience in the form that a token request has it."""
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
    """Tell whether a lower-case host name without port is that of a registry of Azure."""
    name, dot, suffix = host.partition(".")
    return bool(name) and f"{dot}{suffix}".endswith(tuple(_BY_SUFFIX))


def cloud_of(host: str, environ: Mapping[str, str]) -> AzureCloud:
    """Say which cloud to ask for a registry: by its suffix, unless `AZURE_ENVIRONMENT` names one.

    `AZURE_AUTHORITY_HOST` replaces the authority, `AZURE_AD_RESOURCE` the audience. Raises CredentialError
    for an unknown name or a useless `AZURE_ENVIRONMENT_FILEPATH`.
    """
    cloud = _named(environ) or _BY_SUFFIX[host[host.rindex(".azurecr.") :]]
    if resource := environ.get("AZURE_AD_RESOURCE"):
        cloud = replace(cloud, resource=resource)
    authority = environ.get("AZURE_AUTHORITY_HOST", "").rstrip("/")
    if not authority:
        return cloud
    authority = authority if "://" in authority else f"https://{authority}"
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
    """Read the file that describes an Azure Stack."""
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
