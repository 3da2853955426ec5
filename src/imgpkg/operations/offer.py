"""Offer other tools the credential for a registry, as far as it was set for that registry by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.auth.address import Address
from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.explicit import ExplicitSource
from imgpkg.auth.keychain import Keychain
from imgpkg.oci.reference import Repository

if TYPE_CHECKING:
    from imgpkg.auth.keychain import Decision
    from imgpkg.session import Session

# No repository is called so: sets for a part of a registry do not match where nobody says which part it is.
_ANY_REPOSITORY = "-"


def offer(server: str, *, session: Session) -> Decision:
    """Decide for `server`, a host with or without `https://` and a path, as docker names what it asks for.

    Environment sets and keychains are asked. Logins given by hand are not, for they name no registry, nor is
    the docker config: it is where whoever asks has looked already. Raises CredentialError.
    """
    address = Address.read(server).canonical()
    registry = f"{address.host}:{address.port}" if address.port else address.host
    repository = Repository(registry, address.path or _ANY_REPOSITORY)
    sources = session.keychain.sources
    named = [source for source in sources if not isinstance(source, (ExplicitSource, DockerConfigSource))]
    return Keychain(named).resolve(repository)
