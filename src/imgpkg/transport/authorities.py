"""The authorities that TLS trusts, loaded into the context of a client at the first certificate."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING

from imgpkg.transport.pem import usable_certificates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
# Bytes of one certificate; authorities have a twentieth of that.
_LONGEST = 1 << 16
_HASH = 8
_HEXADECIMAL = frozenset("0123456789abcdef")


class ClientContext(ssl.SSLContext):
    """A context whose authorities are loaded by `load_authorities`, before a certificate is verified.

    A bundle has some 150 of them, and loading it takes as long as all other steps of a handshake together: a
    server that does not speak TLS needs none.
    """

    def __init__(self, *_: object) -> None:
        # The constructor of the base class takes the protocol in __new__.
        self._loading = Lock()
        self._load: Callable[[], None] | None = None

    def defer(self, load: Callable[[], None]) -> None:
        """Have `load` called by the first call of `load_authorities`."""
        self._load = load

    @property
    def is_loaded(self) -> bool:
        """True when nothing is left to load."""
        return self._load is None

    def load_authorities(self) -> None:
        """Load what was deferred; safe from many threads."""
        with self._loading:
            if self._load is not None:
                self._load()
                # Afterwards: another thread that sees it must not verify anything before.
                self._load = None


def client_context(added: Iterable[str], *, verify: bool, environ: Mapping[str, str]) -> ClientContext:
    """Return the TLS context of a client with the authorities of the system and the certificates in `added`.

    SSL_CERT_FILE in `environ` replaces the bundle of the system, SSL_CERT_DIR (folders, separated by `:`) its
    folder. Every trusted certificate ends a chain, also an intermediate or a leaf. With `verify=False` no
    certificate is verified.
    """
    context = ClientContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    # As Go and browsers: only subjectAltName counts (RFC 6125 section 6.4.4).
    context.hostname_checks_common_name = False
    # A user may trust a registry's own certificate without the authority that signed it.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    for certificate in added:
        context.load_verify_locations(cadata=certificate)
    bundle, folders = environ.get("SSL_CERT_FILE", ""), environ.get("SSL_CERT_DIR", "")
    context.defer(lambda: _load_system(context, bundle, folders))
    return context


def _load_system(context: ssl.SSLContext, bundle: str, folders: str) -> None:
    # Not load_default_certs(): OpenSSL reads the environment of the process, and `environ` counts here.
    usual = ssl.get_default_verify_paths()
    names = folders.split(":") if folders else [usual.openssl_capath]
    found = [_HashedFolder(name) for name in filter(os.path.isdir, names)]
    loaded = {"", *(os.path.realpath(folder.name) for folder in found)}
    for folder in found:
        context.load_verify_locations(capath=folder.name)
    for path in (bundle,) if bundle else (usual.openssl_cafile, *_SYSTEM_BUNDLES):
        with suppress(OSError):
            _load_bundle(context, path, found)
            loaded.add(os.path.realpath(path))
            break
    # OpenSSL looks for names by hash in a folder; a folder that a user names may have others.
    for path in (path for folder in found if folders for path in folder.others()):
        real = os.path.realpath(path)
        if real not in loaded:
            loaded.add(real)
            _load_file(context, real)


def _load_bundle(context: ssl.SSLContext, path: str, folders: Iterable[_HashedFolder]) -> None:
    """Load what a file has and the folders have not; distributions write the same certificates to both.

    OpenSSL takes as long for the usual 150 certificates as a command for all else. Raises OSError.
    """
    with open(path, "rb") as file:
        parts = file.read().split(_END)
    there = {block for folder in folders for block in folder.blocks()}
    if not there:
        context.load_verify_locations(cafile=path)
        return
    left = [part for part in parts if b"-----BEGIN" in part and _block(part) not in there]
    if left:
        # Other kinds of blocks are in it, too, and words between them.
        context.load_verify_locations(cadata=_END.join((*left, b"")).decode("ascii", "ignore"))


def _block(part: bytes) -> bytes | None:
    """Return what is between the two markers of a certificate; None if another block comes before it."""
    before, begin, block = part.partition(_BEGIN)
    return block if begin and b"-----BEGIN" not in before else None


class _HashedFolder:
    """A folder of certificates; OpenSSL finds those with a link that is named by the hash of the subject.

    That the names are right is the business of `openssl rehash`: nobody could find a certificate otherwise.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._names: set[str] = set()
        with suppress(OSError):
            self._names = set(os.listdir(name))
        self._stems = [entry[:-2] for entry in self._names if entry.endswith(".0") and _is_hash(entry[:-2])]

    def _numbered(self, stem: str) -> Iterator[str]:
        """Yield the names of one hash: OpenSSL counts from 0 until there is none."""
        number = 0
        while (entry := f"{stem}.{number}") in self._names:
            yield entry
            number += 1

    def blocks(self) -> Iterator[bytes]:
        """Yield the certificates that OpenSSL finds, without their markers, from files of exactly one."""
        for stem in self._stems:
            # As OpenSSL, which goes no further than to a file that it cannot read.
            with suppress(OSError):
                for entry in self._numbered(stem):
                    with open(os.path.join(self.name, entry), "rb", buffering=0) as file:
                        block, *after = file.read(_LONGEST).split(_END)
                    # The hash is that of the first certificate, and what is cut off is none.
                    if len(after) == 1 and (found := _block(block)):
                        yield found

    def others(self) -> list[str]:
        """Return the paths that no hash leads to, in the order of their names."""
        hashed = {entry for stem in self._stems for entry in self._numbered(stem)}
        targets = set()
        for entry in hashed:
            with suppress(OSError):
                targets.add(os.readlink(os.path.join(self.name, entry)))
        return [os.path.join(self.name, entry) for entry in sorted(self._names - hashed - targets)]


def _is_hash(stem: str) -> bool:
    return len(stem) == _HASH and _HEXADECIMAL.issuperset(stem)


def _load_file(context: ssl.SSLContext, path: str) -> None:
    if not os.path.isfile(path):
        return
    try:
        context.load_verify_locations(cafile=path)
    except OSError:
        # OpenSSL refuses the whole file for one bad certificate; the others are used all the same.
        with suppress(OSError), open(path, encoding="ascii", errors="replace") as file:
            for certificate in usable_certificates(file.read()):
                context.load_verify_locations(cadata=certificate)
