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


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))
