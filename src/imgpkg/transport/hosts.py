"""TLS with hosts that have files of their own: certificates that are named for them, and certs.d folders."""

from __future__ import annotations

import os
import time
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from imgpkg.errors import CertificateRejected, InvalidSettings, doing
from imgpkg.transport.authorities import client_context
from imgpkg.transport.pem import (
    TLSFiles,
    described,
    load_client_certificate,
    read_certificates,
    warnings_about,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from imgpkg.transport.authorities import ClientContext
    from imgpkg.transport.failure import AlertReceived
    from imgpkg.transport.message import Origin

# Returns the files that are named for a host; the second argument is True for a registry.
NamedFiles: TypeAlias = "Callable[[Origin, bool], TLSFiles]"
Stamp: TypeAlias = "tuple[tuple[int, int, int], ...]"

_SET = "IMGPKG_REGISTRY_CLIENT_CERT_x and IMGPKG_REGISTRY_CLIENT_KEY_x beside IMGPKG_REGISTRY_HOSTNAME_x={}"
_HTTPS_PORT = 443
# Its names in addresses; in certs.d the folder has the name that people type.
_DOCKER_HUB = frozenset({"index.docker.io", "registry-1.docker.io"})
_DOCKER_HUB_FOLDER = "docker.io"
# Alerts about the certificate of the client (RFC 8446 section 6.2).
_ABOUT_CLIENT = frozenset(
    {
        "certificate required",
        "bad certificate",
        "unsupported certificate",
        "certificate revoked",
        "certificate expired",
        "certificate unknown",
        "unknown ca",
        "access denied",
    }
)
# This one is also sent where no cipher is common, for example.
_MAYBE_ABOUT_CLIENT = "handshake failure"


class HostContexts:
    """The TLS contexts of hosts, each read again when one of its files has changed.

    `named` has precedence over the folders of `certs_dirs` for the certificate of the client; authorities of
    both are trusted, and so are the certificates in `authorities`. `warn` gets a sentence for each doubt.
    """

    def __init__(
        self,
        *,
        certs_dirs: tuple[str, ...],
        named: NamedFiles | None,
        authorities: tuple[str, ...],
        verify: bool,
        environ: Mapping[str, str],
        warn: Callable[[str], None],
    ) -> None:
        self._certs_dirs = certs_dirs
        self._named = named
        self._authorities = authorities
        self._verify = verify
        self._environ = environ
        self._warn = warn
        self._lock = Lock()
        self._made: dict[TLSFiles, tuple[Stamp, ClientContext]] = {}

    def find(self, origin: Origin, *, is_registry: bool) -> TLSFiles:
        """Return the files for a host; raise InvalidSettings for a folder with half a pair."""
        named = self._named(origin, is_registry) if self._named else TLSFiles()
        found = self._found(origin)
        first = named if named.certificate else found
        authorities = (*named.authorities, *found.authorities)
        return TLSFiles(authorities, first.certificate, first.key, first.origin, first.is_guarded)

    def context(self, origin: Origin, *, is_registry: bool) -> ClientContext:
        """Return the context for a new connection to a host; raise InvalidSettings for bad files."""
        files = self.find(origin, is_registry=is_registry)
        stamp = _stamp(files)
        with self._lock:
            held = self._made.get(files)
            if held is not None and held[0] == stamp:
                return held[1]
            try:
                with doing(f"TLS with {origin.authority}"):
                    context = self._make(files)
            except InvalidSettings:
                # Of a pair that is being renewed, one file may be new and the other still old.
                if held is None:
                    raise
                return held[1]
            self._made[files] = (stamp, context)
            return context

    def _make(self, files: TLSFiles) -> ClientContext:
        added = (*self._authorities, *read_certificates(files.authorities))
        context = client_context(added, verify=self._verify, environ=self._environ)
        if files.certificate:
            load_client_certificate(context, files)
            for text in warnings_about(files, time.time()):
                self._warn(text)
        return context

    def _found(self, origin: Origin) -> TLSFiles:
        """Return the files of the first folder of the host that exists: folders are not merged."""
        for folder in (os.path.join(parent, name) for parent in self._certs_dirs for name in _names(origin)):
            try:
                return read_folder(folder)
            except PermissionError:  # noqa: PERF203 - the next folder may exist
                self._warn(f"the folder {folder!r} cannot be read and is passed over")
            except OSError:
                continue
        return TLSFiles()


def read_folder(folder: str) -> TLSFiles:
    """Return the files of a folder for one host, `*.crt` and the first pair of `X.cert` and `X.key`.

    Raises InvalidSettings for half a pair, and OSError.
    """
    names = sorted(os.listdir(folder))
    stems = {
        suffix: [name.removesuffix(suffix) for name in names if name.endswith(suffix)]
        for suffix in (".cert", ".key")
    }
    for suffix, other in ((".cert", ".key"), (".key", ".cert")):
        for stem in stems[suffix]:
            if stem not in stems[other]:
                raise _half(os.path.join(folder, stem), suffix, other)
    authorities = tuple(os.path.join(folder, name) for name in names if name.endswith(".crt"))
    if not stems[".cert"]:
        return TLSFiles(authorities)
    pair = os.path.join(folder, stems[".cert"][0])
    return TLSFiles(authorities, f"{pair}.cert", f"{pair}.key", folder, is_guarded=True)


def explained(
    error: AlertReceived, files: TLSFiles, origin: Origin, *, is_registry: bool
) -> CertificateRejected:
    """Return the error for an alert, with its meaning for the certificate of the client."""
    is_certain = error.alert in _ABOUT_CLIENT
    if not is_certain and error.alert != _MAYBE_ABOUT_CLIENT:
        return error
    host = origin.authority
    if files.certificate:
        what = f"the client certificate {described(files, time.time())}"
        said, doubt = f"{host} refused {what}", f"{host} may have refused {what}."
        hint = "Renew it, or ask the operator which authorities may sign client certificates."
    else:
        said = f"{host} wants a client certificate, and none was given for it"
        doubt, hint = f"{host} may want a client certificate.", _how(origin, is_registry=is_registry)
    if is_certain:
        return CertificateRejected(error.method, error.url, f"{error.reason}: {said}", hints=(hint,))
    return CertificateRejected(error.method, error.url, error.reason, hints=(doubt, hint))


def _how(origin: Origin, *, is_registry: bool) -> str:
    ways = [
        _SET.format(origin.authority),
        f"X.cert and X.key in ~/.config/containers/certs.d/{next(_names(origin))}",
    ]
    if is_registry:
        ways.insert(0, "--registry-client-cert FILE and --registry-client-key FILE")
        return f"Give a certificate and its key with {', '.join(ways[:-1])}, or as {ways[-1]}."
    return (
        f"Give a certificate and its key with {ways[0]}, or as {ways[1]}; the flags are for registries alone."
    )


def _names(origin: Origin) -> Iterator[str]:
    # From a URL: a name like `..` would leave the folder.
    if origin.host.startswith("."):
        return
    if origin.host in _DOCKER_HUB and origin.port == _HTTPS_PORT:
        yield _DOCKER_HUB_FOLDER
    yield origin.authority
    # The name is what people type, and some type the port of https.
    if origin.port == _HTTPS_PORT:
        yield origin.address


def _stamp(files: TLSFiles) -> Stamp:
    return tuple(map(_stamp_of, files.paths))


def _stamp_of(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0)
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _half(stem: str, suffix: str, other: str) -> InvalidSettings:
    hint = (
        "A certificate of an authority must have a name that ends in .crt."
        if suffix == ".cert"
        else "Put the certificate of the client beside its key."
    )
    return InvalidSettings(f"{stem}{suffix} has no {stem}{other} beside it", hints=(hint,))
