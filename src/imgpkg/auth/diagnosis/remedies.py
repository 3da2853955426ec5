"""How to give a registry a credential, which depends on the service that it belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.activation import AVAILABLE, keychain_of
from imgpkg.auth.diagnosis.secret import login_command
from imgpkg.auth.pattern import Address
from imgpkg.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.auth.keychain import Decision

# What an active keychain needs, and another way to log in.
_SOURCES = {
    "ecr": (
        "The keychain ecr uses the AWS credentials of this machine, see aws sts get-caller-identity.",
        "They need the permission ecr:GetAuthorizationToken; a registry of AWS has no lasting passwords.",
    ),
    "gke": (
        "The keychain gke uses the credentials of gcloud auth application-default login, or the machine.",
        "Without it, _json_key is the user name for the text of a service account's key file.",
    ),
    "aks": (
        "The keychain aks uses the identity of this machine, or that of AZURE_CLIENT_ID; it needs AcrPull.",
        "Without it, az acr token create makes a user name and a password.",
    ),
    "github": (
        "GITHUB_TOKEN needs packages:read in its workflow, and the package must allow the repository.",
        "Outside of workflows, a personal access token (classic) with read:packages is the password.",
    ),
}


def remedies_for(decision: Decision) -> tuple[str, ...]:
    """Return how to give the registry of `decision` another credential, in sentences safe to print.

    The most useful comes first: the keychain of its cloud, where there is one, and a login otherwise. No
    remedy is one that the registry cannot accept.
    """
    return tuple(map(printable, _sentences(decision)))


def _sentences(decision: Decision) -> Iterator[str]:
    address = Address.of(decision.repository).canonical()
    keychain = keychain_of(address.host)
    if not keychain:
        yield _login(decision)
        return
    active = [finding.source for finding in decision.trail if finding.source in AVAILABLE]
    if keychain not in active:
        names = ",".join((*active, keychain))
        yield f"Activate the keychain of this registry: IMGPKG_ACTIVE_KEYCHAINS={names}"
    needs, otherwise = _SOURCES[keychain]
    yield needs
    yield otherwise
    # The passwords of AWS end too soon to be stored.
    if keychain != "ecr":
        yield _login(decision)


def _login(decision: Decision) -> str:
    registry = decision.repository.registry
    # Docker Hub refuses the password of accounts with two-factor authentication.
    which = "with an access token as the password, " if Address.of(decision.repository).is_docker_hub else ""
    return (
        f"To log in: {which}{login_command(registry)}, or set IMGPKG_REGISTRY_HOSTNAME_0={registry} "
        "with IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0."
    )
