"""Which credential a repository would get, and which one other tools are offered for a registry."""

from __future__ import annotations

from imgpkg.auth.address import Address
from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.explicit import ExplicitSource
from imgpkg.auth.keychain import Decision, Keychain
from imgpkg.errors import InvalidReference
from imgpkg.oci.reference import Repository, parse_any
from imgpkg.session import Session

# No repository is called so: sets for a part of a registry do not match where nobody says which part it is.
_ANY_REPOSITORY = "-/-"


def explain(reference: str, *, session: Session) -> Decision:
    """Decide for the repository of `reference`; the decision holds the whole trail and prints no secret.

    Sources may run programs and ask their cloud. Raises InvalidReference or CredentialError.
    """
    return session.keychain.resolve(parse_any(reference).repository)


def offer(server: str, *, session: Session) -> Decision:
    """Decide for `server`, a host with or without `https://` and a path, as docker names what it asks for.

    Environment sets and keychains are asked. Logins given by hand are not, for they name no registry, nor is
    the docker config: it is where whoever asks has looked already. Raises CredentialError, and
    InvalidReference for a server that is no registry.
    """
    repository = _repository(Address.read(server).canonical())
    sources = session.keychain.sources
    named = [source for source in sources if not isinstance(source, (ExplicitSource, DockerConfigSource))]
    return Keychain(named).resolve(repository)


def _repository(address: Address) -> Repository:
    # Without a dot or a port, the name of a registry would be read as a part of a path.
    port = address.port or ("" if "." in address.host else "443")
    registry = f"{address.host}:{port}" if port else address.host
    try:
        return Repository(registry, address.path)
    except InvalidReference:
        return Repository(registry, _ANY_REPOSITORY)
