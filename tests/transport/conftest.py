"""A certificate authority, and server contexts with its certificates."""

from __future__ import annotations

import ssl

import pytest
import trustme


class Authority:
    """An authority of tests: `path` is the file of its certificate, `context` a server it vouches for."""

    def __init__(self, folder):
        self._authority = trustme.CA()
        self.path = str(folder / "ca.pem")
        self._authority.cert_pem.write_to_path(self.path)

    def context(self, *names, **options):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **options).configure_cert(context)
        return context

    def demanding(self, *names, version=None):
        """Return the context of a server that accepts only clients with a certificate of this authority."""
        context = self.context(*names)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.path)
        if version is not None:
            context.maximum_version = version
        return context

    def client(self, folder, name="client", **options):
        """Write a client certificate and its key and return their paths."""
        folder.mkdir(parents=True, exist_ok=True)
        issued = self._authority.issue_cert("ci@example.com", **options)
        certificate, key = folder / f"{name}.cert", folder / f"{name}.key"
        certificate.write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
        key.write_bytes(issued.private_key_pem.bytes())
        key.chmod(0o600)
        return str(certificate), str(key)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def another_authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("another_authority"))
