"""List the repositories of a registry."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import imgpkg
from imgpkg.dataclass import dataclass
from imgpkg.errors import InvalidReference
from imgpkg.oci.reference import Repository, WholeRegistry, parse_place
from imgpkg.operations.tag_filter import wanted_names
from imgpkg.session import Session, operation


@dataclass(frozen=True, slots=True)
class Catalog:
    """The repositories of a registry, in its order.

    `others` are names that no reference can have, such as those of one letter.
    """

    registry: str
    repositories: tuple[Repository, ...]
    others: tuple[str, ...] = ()


@operation
def catalog(
    registry: str,
    *,
    session: Session,
    match: str | Iterable[str] = (),
    where: Callable[[str], bool] | None = None,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Catalog:
    """Return the repositories of `registry`, `host[:port]`, or those that are wanted.

    `match` is a pattern of their paths or several of them, one of which has to match, such as `team/*`, as in
    `fnmatch.fnmatchcase`: `*` is any text, slashes included. `where` gets a path and returns whether it is
    wanted. The list comes in pages, and all of it is read.

    No specification has this list (`/v2/_catalog`). Raises Unsupported for a registry without it, Forbidden
    or Unauthorized where the credential may not read it, as most may not, InvalidReference for what is no
    registry alone, TransportError or RegistryError.
    """
    place = parse_place(registry)
    if not isinstance(place, WholeRegistry):
        raise InvalidReference(f"{registry} is no registry alone: expected host[:port]")
    names = list(wanted_names(session.client.catalog(place.registry), match, where))
    read = [_repository(place.registry, name) for name in names]
    found = tuple(repository for repository in read if repository is not None)
    others = tuple(name for name, repository in zip(names, read, strict=True) if repository is None)
    return Catalog(place.registry, found, others)


def _repository(registry: str, name: str) -> Repository | None:
    try:
        return Repository(registry, name)
    except InvalidReference:
        return None
