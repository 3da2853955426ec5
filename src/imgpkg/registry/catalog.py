"""The catalog `/v2/_catalog`, the repositories of a registry: docker-registry has it, no specification."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from imgpkg.errors import Forbidden, RegistryError, Unauthorized, Unsupported
from imgpkg.oci.reference import WholeRegistry
from imgpkg.registry.auth.challenge import CATALOG, Access
from imgpkg.registry.listing import list_names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.registry.exchange import Exchange

_WITHOUT = frozenset({404, 405, 501})
_UNSUPPORTED = "UNSUPPORTED"
_INSTEAD = (
    "Its repositories are listed on its web page, or by a program or an API of its own; a repository whose "
    "name is known can be read all the same."
)
_FEW_MAY = (
    "A catalog has all repositories of a registry: many show it to administrators alone, and some, such as "
    "Docker Hub, to nobody."
)


def list_catalog(exchange: Exchange, registry: str) -> Iterator[str]:
    """See `RegistryClient.catalog`."""
    access = Access(WholeRegistry(registry), (CATALOG,))
    names = list_names(exchange, "/v2/_catalog", access, "repositories")
    try:
        # Whether there is a catalog is decided with its first page.
        first = next(names, None)
    except (Unauthorized, Forbidden) as error:
        error.hints = (*error.hints, _FEW_MAY)
        raise
    except RegistryError as error:
        if error.status not in _WITHOUT and _UNSUPPORTED not in error.codes:
            raise
        raise _unsupported(error, access.repository.registry) from error
    yield from () if first is None else chain((first,), names)


def _unsupported(error: RegistryError, registry: str) -> Unsupported:
    return Unsupported(
        f"the registry {registry} has no catalog: {error.message} (status {error.status})",
        method=error.method,
        url=error.url,
        status=error.status,
        diagnostics=error.diagnostics,
        hints=(_INSTEAD,),
        retry_after=error.retry_after,
    )
