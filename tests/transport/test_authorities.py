"""Authorities are loaded once, when a server shows a certificate, and of a folder those that are needed."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess

import pytest
import trustme
from tests.servers.raw import RawServer, answering

from imgpkg.errors import CertificateRejected, NotTLS
from imgpkg.transport.authorities import _HashedFolder, _load_bundle, client_context
from imgpkg.transport.message import Request
from imgpkg.transport.pool import Pool

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="names files by their hash")


@pytest.fixture
def authority():
    return trustme.CA(organization_name="ours")


@pytest.fixture
def folder(authority, tmp_path):
    """A folder in the form of distributions, and a bundle of the same certificates beside it."""
    made = tmp_path / "certs"
    made.mkdir()
    others = [trustme.CA(organization_name=f"other {number}") for number in range(3)]
    certificates = [each.cert_pem.bytes() for each in (authority, *others)]
    for number, certificate in enumerate(certificates):
        (made / f"{number}.pem").write_bytes(certificate)
        link(made, f"{number}.pem")
    (tmp_path / "bundle.crt").write_bytes(b"".join(certificates))
    return made


def link(folder, name):
    command = ["openssl", "x509", "-noout", "-subject_hash", "-in", str(folder / name)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    os.symlink(name, folder / f"{done.stdout.strip()}.0")


def unlink(folder, name):
    os.remove(next(path for path in folder.iterdir() if os.path.islink(path) and os.readlink(path) == name))


def environment(folder):
    return {"SSL_CERT_DIR": str(folder), "SSL_CERT_FILE": str(folder.parent / "bundle.crt")}


def loaded(environ):
    """Count the certificates that are in memory before and after the authorities are loaded."""
    context = client_context((), verify=True, environ=environ)
    before = context.cert_store_stats()["x509"]
    context.load_authorities()
    context.load_authorities()
    return before, context.cert_store_stats()["x509"]


@pytest.fixture
def server(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(answering(b"ok"), context=context) as running:
        yield running


def get(server, environ):
    with Pool(environ=environ) as pool, pool.send(Request("GET", server.url)) as response:
        return response.read()


def test_a_bundle_of_what_is_in_the_folder_is_not_read(folder, server):
    assert loaded(environment(folder)) == (0, 0)
    assert get(server, environment(folder)) == b"ok"


def test_of_a_bundle_only_what_the_folder_has_not_is_loaded(folder, server):
    unlink(folder, "0.pem")
    assert loaded(environment(folder)) == (0, 1)
    assert get(server, environment(folder)) == b"ok"


def test_a_renewed_certificate_of_the_same_length_is_loaded(folder, server, authority, tmp_path):
    """As a bundle that is mounted over the one of an image, whose folder has the old certificate."""
    new = authority.cert_pem.bytes()
    old = new.replace(b"\nMII", b"\nMIJ", 1)
    assert old != new
    assert len(old) == len(new)
    (folder / "0.pem").write_bytes(old)
    assert loaded(environment(folder)) == (0, 1)
    assert get(server, environment(folder)) == b"ok"


@pytest.mark.parametrize(
    "hide",
    [
        lambda link: link.rename(link.with_suffix(".1")),
        lambda link: link.rename(link.with_name("GGGGGGGG.0")),
        lambda link: link.rename(link.with_name("0.0")),
        lambda link: (link.rename(link.with_suffix(".1")), os.symlink("absent", link)),
        lambda link: link.write_bytes(trustme.CA().cert_pem.bytes() + link.read_bytes()),
        lambda link: link.write_bytes(link.read_bytes()[:-30]),
    ],
    ids=["number 1 first", "no hexadecimal", "too short", "0 leads nowhere", "second in a file", "cut off"],
)
def test_what_openssl_does_not_find_in_the_folder_is_loaded(folder, hide):
    hide(next(path for path in folder.iterdir() if path.is_symlink() and os.readlink(path) == "0.pem"))
    # Of the folder of the system nothing else is loaded, as of those that a user names.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _load_bundle(context, str(folder.parent / "bundle.crt"), [_HashedFolder(str(folder))])
    assert context.cert_store_stats()["x509"] == 1


def test_words_and_other_blocks_of_a_bundle_do_not_hide_its_certificates(folder, server, tmp_path):
    unlink(folder, "0.pem")
    bundle = tmp_path / "bundle.crt"
    other = b"-----BEGIN OTHER-----\nAAAA\n-----END OTHER-----\n"
    words = "# é\n".encode()
    bundle.write_bytes(
        words + bundle.read_bytes().replace(b"-----BEGIN", other + words + b"-----BEGIN") + words
    )
    assert loaded(environment(folder))[1] >= 1
    assert get(server, environment(folder)) == b"ok"


def test_a_bundle_is_read_where_there_is_no_folder(folder, server, tmp_path):
    environ = {**environment(folder), "SSL_CERT_DIR": "/absent"}
    assert loaded(environ) == (0, 4)
    assert get(server, environ) == b"ok"


def test_a_file_that_no_hash_leads_to_is_read(folder, server, tmp_path):
    os.remove(tmp_path / "bundle.crt")
    unlink(folder, "0.pem")
    environ = {"SSL_CERT_DIR": str(folder), "SSL_CERT_FILE": "/absent"}
    assert loaded(environ) == (0, 1)
    assert get(server, environ) == b"ok"


def test_a_bundle_inside_of_the_folder_is_read_once_and_only_where_it_has_more(folder):
    inside = folder / "ca-certificates.crt"
    shutil.copy(folder.parent / "bundle.crt", inside)
    environ = {"SSL_CERT_DIR": str(folder), "SSL_CERT_FILE": str(inside)}
    assert loaded(environ) == (0, 0)
    inside.write_bytes(inside.read_bytes() + trustme.CA().cert_pem.bytes())
    assert loaded(environ) == (0, 1)


def test_a_server_of_plain_http_makes_nothing_load(folder):
    os.remove(folder.parent / "bundle.crt")
    shutil.copy(folder / "0.pem", folder.parent / "bundle.crt")

    def talk(conversation):
        conversation.sock.recv(1 << 16)
        conversation.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")

    with RawServer(talk) as plain, Pool(environ=environment(folder)) as pool:
        with pytest.raises(NotTLS):
            pool.send(Request("GET", plain.url.replace("http:", "https:")))
        assert pool._context.cert_store_stats()["x509"] == 0


def test_an_authority_that_is_nowhere_is_rejected(folder):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(answering(b"ok"), context=context) as server, pytest.raises(CertificateRejected):
        get(server, environment(folder))
