"""Keys, certificates and clocks for the keychains of clouds."""

from __future__ import annotations

import ssl
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.auth.cloud.commands import Cloud
from tests.servers.cloud import Clock, measured, serving
from tests.servers.raw import RawServer, proxying

from imgpkg.embedded.server import serve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="session")
def rsa_key():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def rsa_pem(rsa_key):
    return rsa_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="session")
def certificates():
    return trustme.CA()


@dataclass
class Internet:
    """Hosts under their real names: `environ` leads to them through a CONNECT proxy, with a CA of our own."""

    authority: trustme.CA
    ca_file: Path
    stack: ExitStack
    names: dict[str, tuple[str, int]] = field(default_factory=dict)
    proxy: RawServer | None = None

    def host(self, name, answer):
        """Put a host on it, which answers as `serving` says."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(name).configure_cert(context)
        return self.put(name, serving(answer, context=context))

    def put(self, name, server):
        """Put a server of any kind on it."""
        self.stack.enter_context(server)
        self.names[f"{name}:443"] = ("127.0.0.1", server.port)
        return server

    @property
    def environ(self):
        return {
            **measured(),
            "HTTPS_PROXY": self.proxy.url,
            "NO_PROXY": "127.0.0.1,localhost,169.254.169.254",
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
            "AWS_CA_BUNDLE": str(self.ca_file),
            "SSL_CERT_FILE": str(self.ca_file),
        }

    @property
    def asked(self):
        """The hosts that somebody wanted to reach, in order."""
        return [request.target for request in self.proxy.requests]


@pytest.fixture
def internet(certificates, tmp_path):
    ca_file = tmp_path / "ca.pem"
    certificates.cert_pem.write_to_path(str(ca_file))
    with ExitStack() as stack:
        net = Internet(certificates, ca_file, stack)
        net.proxy = stack.enter_context(RawServer(proxying(names=net.names)))
        yield net


@pytest.fixture
def registry(internet, tmp_path):
    """Put embedded registries on the internet of the test."""

    def put(host, **options):
        certificate = internet.authority.issue_cert(host)
        chain, key = tmp_path / f"{host}.pem", tmp_path / f"{host}.key"
        chain.write_bytes(b"".join(blob.bytes() for blob in certificate.cert_chain_pems))
        certificate.private_key_pem.write_to_path(str(key))
        return internet.put(host, serve(tls=(str(chain), str(key)), **options))

    return put


@pytest.fixture
def cloud(internet, registry, tmp_path):
    """The command, and registries of clouds that it reaches."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Cloud(internet, registry, folder)


@pytest.fixture
def here():
    """Put servers on loopback for the time of a test."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(answer))
