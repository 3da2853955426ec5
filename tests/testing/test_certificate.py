"""Certificates that are made on the spot: strict clients accept them, for their hosts alone."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import threading

import pytest

from imgpkg.testing.certificate import issue_certificate


@pytest.fixture
def files(tmp_path):
    return issue_certificate(str(tmp_path), ["registry.example", "127.0.0.1", "::1"])


def shake_hands(files, host, context):
    """Return the names that a client finds in the certificate."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    left, right = socket.socketpair()
    with left, right:
        serving = threading.Thread(target=_serve, args=(server, left))
        serving.start()
        try:
            with context.wrap_socket(right, server_hostname=host) as wrapped:
                return wrapped.getpeercert()["subjectAltName"]
        finally:
            right.close()
            serving.join(10)


def _serve(server, sock):
    try:
        server.wrap_socket(sock, server_side=True).close()
    except OSError:
        sock.close()


@pytest.mark.parametrize("host", ["registry.example", "127.0.0.1", "::1"])
def test_a_strict_client_accepts_each_host(files, host):
    context = ssl.create_default_context(cafile=files.authority)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    names = shake_hands(files, host, context)
    assert [kind for kind, _ in names] == ["DNS", "IP Address", "IP Address"]


def test_another_host_is_not_accepted(files):
    context = ssl.create_default_context(cafile=files.authority)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake_hands(files, "other.example", context)


def test_another_authority_is_not_accepted(files, tmp_path):
    (tmp_path / "other").mkdir()
    other = issue_certificate(str(tmp_path / "other"), ["registry.example"])
    context = ssl.create_default_context(cafile=other.authority)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(files, "registry.example", context)


def test_only_the_user_can_read_the_key(files):
    assert stat.S_IMODE(os.stat(files.key).st_mode) == 0o600
