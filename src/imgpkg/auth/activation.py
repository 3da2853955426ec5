"""The active keychains of clouds: none, unless a variable names them; and what explains decisions unasked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from imgpkg.auth.keychain import NearMiss
from imgpkg.auth.pattern import Address
from imgpkg.errors import InvalidSettings, doing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from imgpkg.auth.cloud.metadata import MetadataService
    from imgpkg.auth.keychain import CredentialSource, Decision
    from imgpkg.auth.program import Programs
    from imgpkg.transport.message import Transport

    Warn = Callable[[str], None]

AVAILABLE = ("gke", "ecr", "aks", "github")
_WHICH = (
    "$IMGPKG_ACTIVE_KEYCHAINS takes a list with commas of aks (Azure), ecr (AWS), gke (Google: gcr.io, "
    "pkg.dev) and github (ghcr.io)."
)
DEPRECATION = (
    "IMGPKG_ENABLE_IAAS_AUTH environment variable will be deprecated, please use IMGPKG_ACTIVE_KEYCHAINS "
    "to activate the needed keychains"
)


def active_sources(
    environ: Mapping[str, str],
    transport: Callable[[], Transport],
    warn: Warn,
    *,
    programs: Programs | None = None,
) -> tuple[CredentialSource, ...]:
    """Return the sources of the active keychains in the order of the variable; send nothing, load no SDK.

    `IMGPKG_ACTIVE_KEYCHAINS` is a list with commas, in any case; blanks, empty parts and repetitions are
    ignored. `IMGPKG_ENABLE_IAAS_AUTH=true` activates all keychains instead, with a warning that it is
    deprecated. `transport` is called where a keychain sends requests. `programs` runs the processes of SDKs.
    Raises InvalidSettings for an unknown name.
    """
    names = active_names(environ, warn)
    if not names:
        return ()
    from imgpkg.auth.cloud.metadata import MetadataService

    # Shared by all keychains: outside of a cloud, each would wait for the metadata service by itself.
    metadata = MetadataService(time.time)
    return tuple(
        _source(name, environ, transport, warn, metadata=metadata, programs=programs) for name in names
    )


class AskedAndSent:
    """Explains oddities of the reference and of the secret that is sent, for every source."""

    def near_misses(self, decision: Decision) -> Iterator[NearMiss]:
        """Yield oddities; see `ExplainsNearMisses.near_misses`."""
        from imgpkg.auth.diagnosis.lookalike import reference_misses
        from imgpkg.auth.diagnosis.secret import secret_misses

        yield from reference_misses(decision.repository)
        yield from secret_misses(decision, time.time())


class InactiveKeychains:
    """Find the keychain that handles a registry and is not active, by the host name alone."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ

    def near_misses(self, decision: Decision) -> Iterator[NearMiss]:
        """Yield the keychain of the registry if it is not active; see `ExplainsNearMisses.near_misses`."""
        host = Address.of(decision.repository).host
        name, active = keychain_of(host), active_names(self._environ, lambda _: None)
        # A set comes before the keychains, so that another one would change nothing.
        is_late = decision.winner is not None and decision.winner.source == "environment"
        # The keychain is only named: asking it here could start an SDK for a message.
        if name and name not in active and not is_late:
            text = f"keychain '{name}' handles {decision.repository.registry} and is not active"
            yield NearMiss(name, text, f"IMGPKG_ACTIVE_KEYCHAINS={','.join((*active, name))}")
            # `1` or `yes` looks as if it were on.
            if self._environ.get("IMGPKG_ENABLE_IAAS_AUTH", "").lower() not in ("", "false"):
                text = "IMGPKG_ENABLE_IAAS_AUTH activates keychains only with the value true"
                yield NearMiss(name, text, f"IMGPKG_ACTIVE_KEYCHAINS={name}")


def keychain_of(host: str) -> str:
    """Return the keychain, active or not, for a lower-case host name without port; empty if there is none."""
    # Without SDKs, which these modules load only in processes of their own.
    from imgpkg.auth.cloud.aks import is_azure
    from imgpkg.auth.cloud.ecr import EcrRegistry
    from imgpkg.auth.cloud.github import HOST
    from imgpkg.auth.cloud.gke import is_google

    handles = {
        "gke": is_google(host),
        "ecr": EcrRegistry.of(host) is not None,
        "aks": is_azure(host),
        "github": host == HOST,
    }
    return next((name for name, is_its in handles.items() if is_its), "")


def active_names(environ: Mapping[str, str], warn: Warn) -> tuple[str, ...]:
    """Return the names of the active keychains; see `active_sources`."""
    if environ.get("IMGPKG_ENABLE_IAAS_AUTH", "").lower() == "true":
        warn(DEPRECATION)
        return AVAILABLE
    parts = (part.strip() for part in environ.get("IMGPKG_ACTIVE_KEYCHAINS", "").split(","))
    # The order of the variable decides, since the first source with a credential wins.
    return tuple(dict.fromkeys(_known(part) for part in parts if part))


def _known(part: str) -> str:
    if part.lower() not in AVAILABLE:
        # Sorted, and in Go's form of a list: scripts may test for the text.
        available = "[aks, ecr, gke, github]"
        with doing("Creating registry keychain"):
            text = f"Unable to load keychain for {part}, available keychains {available}"
            raise InvalidSettings(text, hints=(_WHICH,))
    return part.lower()


def _source(
    name: str,
    environ: Mapping[str, str],
    transport: Callable[[], Transport],
    warn: Warn,
    *,
    metadata: MetadataService,
    programs: Programs | None,
) -> CredentialSource:
    if name == "gke":
        from imgpkg.auth.cloud.gke import GkeSource

        return GkeSource(environ, warn, metadata=metadata, programs=programs)
    if name == "ecr":
        from imgpkg.auth.cloud.ecr import EcrSource

        return EcrSource(environ, warn, metadata=metadata, programs=programs)
    if name == "aks":
        from imgpkg.auth.cloud.aks import AksSource

        return AksSource(environ, transport(), warn, metadata=metadata, programs=programs)
    from imgpkg.auth.cloud.github import GithubSource

    return GithubSource(environ)
