"""Client certificates and authorities that sets of variables, flags and plain variables name for a host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from imgpkg.auth.environment import (
    CA_CERT,
    CERTIFICATE_KINDS,
    CLIENT_CERT,
    CLIENT_KEY,
    PREFIX,
    ranked,
    read_sets,
    variable,
)
from imgpkg.auth.pattern import Address, split_authority
from imgpkg.dataclass import dataclass, replace
from imgpkg.errors import InvalidSettings, UsageError
from imgpkg.locks import Once
from imgpkg.transport.pem import TLSFiles, check_client_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from imgpkg.auth.environment import EnvironmentSet, EnvironmentSets
    from imgpkg.settings import Settings
    from imgpkg.transport.message import Origin
    from imgpkg.values import StrPath


@dataclass(frozen=True, slots=True)
class NamedCertificates:
    """Find the files for a host: those of the most specific set, then those of flags and plain variables.

    `for_registries` is offered only to registries: a client certificate identifies its owner, so a host that
    a server named, such as a token service, gets only what is named for this host.
    """

    sets: Callable[[], EnvironmentSets]
    for_registries: TLSFiles

    def __call__(self, origin: Origin, is_registry: bool) -> TLSFiles:
        """Return the files for the host of `origin`; raise CredentialError for unknown variables."""
        host, port = split_authority(origin.authority)
        files = files_of(self.sets().sets, Address(host, port))
        # A set that names a certificate for this host replaces that of the flags, with its key.
        if files.certificate or not is_registry:
            return files
        plain = self.for_registries
        # Authorities add up: the set may trust a registry that requires the certificate of the flags.
        return TLSFiles(files.authorities, plain.certificate, plain.key, plain.origin)


def files_of(sets: Iterable[EnvironmentSet], host: Address) -> TLSFiles:
    """Return the files of the most specific set that names any for `host`; paths do not count.

    The handshake comes before the request, so that no path is known then. Raises InvalidSettings for a key
    without a certificate.
    """
    # The whole set counts: a certificate of one set is not mixed with the authority of a less specific one.
    found = ranked((_for_host(one) for one in sets if one.certificates), host)
    if not found:
        return TLSFiles()
    named, suffix = dict(found[0].certificates), found[0].suffix
    certificate, key = named.get(CLIENT_CERT, ""), named.get(CLIENT_KEY, "")
    if key and not certificate:
        there, missing = variable(CLIENT_KEY, suffix), variable(CLIENT_CERT, suffix)
        raise InvalidSettings(f"{there} is set without {missing}")
    authorities = (named[CA_CERT],) if CA_CERT in named else ()
    return TLSFiles(authorities, certificate, key, f"${variable(CLIENT_CERT, suffix)}")


def _for_host(one: EnvironmentSet) -> EnvironmentSet:
    pattern = replace(one.pattern, address=replace(one.pattern.address, segments=()))
    return replace(one, pattern=pattern)


def named_certificates(settings: Settings) -> NamedCertificates | None:
    """Return what finds the files that `settings` name; None when they name none.

    Raises UsageError for a key without a certificate, and InvalidSettings for files of flags and plain
    variables that cannot be used.
    """
    environ = settings.environ
    plain = _of_flags(settings)
    if plain.certificate:
        # At once, not at the first handshake: a wrong key must not look like a failure of the registry.
        check_client_certificate(plain)
    names = tuple(f"{PREFIX}{kind}" for kind in CERTIFICATE_KINDS)
    if not plain.certificate and not any(name.startswith(names) for name in environ):
        return None
    # Read at the first host and not now: commands without a request need no valid variables.
    return NamedCertificates(Once(lambda: read_sets(environ)), plain)


def _of_flags(settings: Settings) -> TLSFiles:
    """Return the pair of the settings, else that of the variables of a side, else of the plain ones."""
    environ = settings.environ
    prefixes = ["IMGPKG_"] if settings.side is None else [f"IMGPKG_{settings.side.name}_", "IMGPKG_"]
    found = [prefix for prefix in prefixes if environ.get(f"{prefix}{CLIENT_CERT}")]
    # The key of a side never goes with the plain certificate, nor the other way round.
    prefix = (found or prefixes)[0]
    certificate, origin = _text(settings.client_certificate), "--registry-client-cert"
    if certificate is None:
        certificate, origin = environ.get(f"{prefix}{CLIENT_CERT}", ""), f"${prefix}{CLIENT_CERT}"
    key = _text(settings.client_key)
    if key is None:
        key = environ.get(f"{prefix}{CLIENT_KEY}", "")
    if key and not certificate:
        raise UsageError(
            f"the client key {key!r} is given without a certificate; give --registry-client-cert or "
            f"${prefix}{CLIENT_CERT} as well"
        )
    return TLSFiles((), certificate, key, origin) if certificate else TLSFiles()


def _text(path: StrPath | None) -> str | None:
    return None if path is None else os.fspath(path)
