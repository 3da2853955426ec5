"""TLS: authorities, verification, proxies that are reached over TLS."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import subprocess
import sys
import threading

import pytest
import trustme
from tests.servers.raw import RawServer, answering

from imgpkg.errors import (
    CertificateRejected,
    ConnectionFailed,
    ConnectionTimedOut,
    InvalidSettings,
    NotTLS,
    TransportError,
)
from imgpkg.transport.message import Request
from imgpkg.transport.pool import Pool

PRESENT = dt.datetime.now(dt.timezone.utc)


def get(url, **options):
    with Pool(**options) as pool, pool.send(Request("GET", url)) as response:
        return response.read()


def failure(url, **options):
    with pytest.raises(TransportError) as caught:
        get(url, **options)
    return caught.value


class TestBelievedCertificates:
    def test_the_authority_of_a_file_is_believed(self, authority):
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            assert get(server.url, ca_cert_paths=[authority.path]) == b"ok"

    def test_a_kept_tls_connection_carries_the_next_request(self, authority):
        with (
            RawServer(answering(b"ok"), context=authority.context()) as server,
            Pool(ca_cert_paths=[authority.path]) as pool,
        ):
            for _ in range(3):
                pool.send(Request("GET", server.url)).read()
        assert (server.connections, len(server.requests)) == (1, 3)

    def test_a_kept_tls_connection_that_was_closed_is_replaced(self, authority):
        def talk(conversation):
            conversation.receive()
            conversation.respond(b"ok")
            if conversation.number == 1:
                conversation.receive_head()

        with (
            RawServer(talk, context=authority.context()) as server,
            Pool(ca_cert_paths=[authority.path]) as pool,
        ):
            for _ in range(2):
                assert pool.send(Request("GET", server.url)).read() == b"ok"
        assert server.connections == 2

    def test_the_last_body_of_a_tls_connection_is_read_to_its_end(self, authority):
        talk = answering(b"x" * 3_000_000, headers=[("Connection", "close")])
        with RawServer(talk, context=authority.context()) as server:
            assert len(get(server.url, ca_cert_paths=[authority.path])) == 3_000_000

    def test_one_good_certificate_is_enough_among_other_text_and_bad_ones(self, authority, tmp_path):
        bundle = tmp_path / "bundle.pem"
        bad = "-----BEGIN CERTIFICATE-----\nTm90aGluZw==\n-----END CERTIFICATE-----\n"
        with open(authority.path) as file:
            bundle.write_text(f"# Größe\n{bad}{file.read()}", encoding="utf-8")
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            assert get(server.url, ca_cert_paths=[str(bundle)]) == b"ok"

    def test_the_server_s_own_certificate_may_be_the_one_believed(self, tmp_path):
        certificate = trustme.CA().issue_cert("127.0.0.1")
        path = str(tmp_path / "leaf.pem")
        certificate.cert_chain_pems[0].write_to_path(path)
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        with RawServer(answering(b"ok"), context=context) as server:
            assert get(server.url, ca_cert_paths=[path]) == b"ok"

    def test_ssl_cert_file_of_the_given_environment_counts(self, authority):
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            assert get(server.url, environ={"SSL_CERT_FILE": authority.path}) == b"ok"

    def test_ssl_cert_dir_of_the_given_environment_counts_whatever_the_files_are_called(
        self, authority, tmp_path
    ):
        folder = tmp_path / "authorities"
        (folder / "sub").mkdir(parents=True)
        (folder / "notes.txt").write_text("nothing")
        with open(authority.path) as file:
            (folder / "mine.crt").write_text(file.read())
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            assert get(server.url, environ={"SSL_CERT_DIR": f"/absent:{folder}"}) == b"ok"

    def test_the_environment_of_the_process_does_not_count(self, authority, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", authority.path)
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            assert isinstance(failure(server.url), CertificateRejected)

    def test_without_verification_everybody_is_believed(self, authority):
        with RawServer(answering(b"ok"), context=authority.context("other.example")) as server:
            assert get(server.url, verify_certs=False) == b"ok"


class TestRejectedCertificates:
    def test_an_unknown_authority_is_rejected_with_the_way_out(self, authority):
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            error = failure(f"{server.url}/v2/")
        assert isinstance(error, CertificateRejected)
        assert str(error).startswith(
            f'Get "{server.url}/v2/": tls: failed to verify certificate: '
            "x509: certificate signed by unknown authority"
        )
        assert any("--registry-ca-cert-path" in hint for hint in error.hints)
        assert server.requests == []

    def test_another_host_s_certificate_is_rejected(self, authority):
        with RawServer(answering(b"ok"), context=authority.context("other.example")) as server:
            error = failure(server.url, ca_cert_paths=[authority.path])
        assert isinstance(error, CertificateRejected)
        assert "127.0.0.1" in error.reason
        assert "reissued" in error.hints[0]

    def test_a_common_name_is_no_name(self, authority):
        context = authority.context("other.example", common_name="127.0.0.1")
        with RawServer(answering(b"ok"), context=context) as server:
            assert isinstance(failure(server.url, ca_cert_paths=[authority.path]), CertificateRejected)

    def test_an_expired_certificate_is_rejected(self, authority):
        context = authority.context("127.0.0.1", not_after=PRESENT - dt.timedelta(days=1))
        with RawServer(answering(b"ok"), context=context) as server:
            error = failure(server.url, ca_cert_paths=[authority.path])
        assert isinstance(error, CertificateRejected)
        assert "x509: certificate has expired or is not yet valid" in error.reason
        assert "clock" in error.hints[0]

    def test_a_server_that_wants_our_certificate_still_uses_tls(self, authority):
        context = authority.context()
        context.verify_mode = 2
        context.load_verify_locations(authority.path)
        context.maximum_version = context.minimum_version = 0x0303
        with RawServer(answering(b"ok"), context=context) as server:
            error = failure(server.url, ca_cert_paths=[authority.path])
        assert isinstance(error, CertificateRejected)
        assert error.reason == "remote error: tls: handshake failure"

    def test_a_server_with_old_tls_only_still_uses_tls(self, authority):
        import warnings

        context = authority.context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            context.minimum_version = context.maximum_version = 0x0302
        context.set_ciphers("ALL:@SECLEVEL=0")
        with RawServer(answering(b"ok"), context=context) as server:
            error = failure(server.url, ca_cert_paths=[authority.path])
        assert isinstance(error, CertificateRejected)


class TestPeersThatDoNotSpeakTLS:
    """Only a peer without TLS allows a client to continue without it; a rejected certificate does not."""

    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\nClient sent an HTTP request",
            b"<!DOCTYPE HTML>\n<html>What?</html>\n" * 100,
            b"220 mail.example ESMTP\r\n",
        ],
    )
    def test_an_answer_in_plain_text_is_not_tls(self, said):
        def talk(conversation):
            conversation.sock.recv(1 << 16)
            conversation.send(said)

        with RawServer(talk) as server:
            error = failure(f"https://{server.address}/v2/")
        assert type(error) is NotTLS
        assert error.reason == "http: server gave HTTP response to HTTPS client"

    def test_hanging_up_on_the_handshake_is_a_failed_connection(self):
        def talk(conversation):
            conversation.sock.recv(1 << 16)

        with RawServer(talk) as server:
            error = failure(f"https://{server.address}")
        assert isinstance(error, ConnectionFailed)
        assert error.reason == "EOF"

    def test_resetting_the_handshake_is_a_failed_connection(self):
        def talk(conversation):
            conversation.sock.recv(1 << 16)
            conversation.reset()

        with RawServer(talk) as server:
            error = failure(f"https://{server.address}")
        assert isinstance(error, ConnectionFailed)
        assert error.reason == "connection reset by peer"

    def test_a_handshake_without_answer_times_out(self):
        with RawServer(lambda conversation: conversation.pause()) as server:
            error = failure(f"https://{server.address}", connect_timeout=0.2)
        assert isinstance(error, ConnectionTimedOut)
        assert error.reason == "net/http: TLS handshake timeout"

    def test_tls_asked_in_plain_text_is_no_http(self, authority):
        with RawServer(answering(), context=authority.context()) as server:
            error = failure(f"http://{server.address}")
        assert isinstance(error, ConnectionFailed)

    def test_bytes_that_no_key_made_break_the_body(self, authority):
        started = threading.Event()

        def talk(conversation):
            conversation.receive()
            conversation.respond(b"abc", length=100)
            started.wait(10)
            plain = socket.socket(fileno=conversation.sock.fileno())
            plain.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            plain.detach()
            with contextlib.suppress(OSError):
                conversation.sock.recv(1)

        with (
            RawServer(talk, context=authority.context()) as server,
            Pool(ca_cert_paths=[authority.path]) as pool,
            pool.send(Request("GET", server.url)) as response,
        ):
            assert response.read(3) == b"abc"
            started.set()
            with pytest.raises(ConnectionFailed, match=r"tls: (decryption failed|record layer failure)"):
                response.read(3)


class TestAuthorityFiles:
    def test_one_without_end_is_refused(self):
        with pytest.raises(InvalidSettings, match="more than 64 MiB"):
            Pool(ca_cert_paths=["/dev/zero"])

    def test_a_missing_file_is_reported_when_the_pool_is_made(self):
        with pytest.raises(InvalidSettings) as caught:
            Pool(ca_cert_paths=["a"])
        assert str(caught.value) == (
            "Creating registry HTTP transport: Reading CA certificates from 'a': "
            "open a: no such file or directory"
        )

    def test_a_folder_is_no_file(self, tmp_path):
        with pytest.raises(InvalidSettings) as caught:
            Pool(ca_cert_paths=[str(tmp_path)])
        assert str(caught.value).endswith(f"read {tmp_path}: is a directory")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "key: value\n",
            "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\nTm90aGluZw==\n-----END CERTIFICATE-----\n",
            "-----BEGIN CERTIFICATE-----\n",
        ],
    )
    def test_a_file_without_certificate_is_reported_when_the_pool_is_made(self, tmp_path, monkeypatch, text):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "x.yml").write_text(text)
        with pytest.raises(InvalidSettings) as caught:
            Pool(ca_cert_paths=["x.yml"])
        assert str(caught.value) == (
            "Creating registry HTTP transport: Adding CA certificates from 'x.yml': failed"
        )


def test_plain_http_builds_no_tls_context():
    code = (
        "import ssl, sys\n"
        "made = []\n"
        "class Counted(ssl.SSLContext):\n"
        "    def __new__(cls, *arguments):\n"
        "        made.append(arguments)\n"
        "        return super().__new__(cls, *arguments)\n"
        "ssl.SSLContext = Counted\n"
        "from imgpkg.transport.pool import Pool\n"
        "from imgpkg.transport.message import Request\n"
        "with Pool() as pool:\n"
        "    print(pool.send(Request('GET', sys.argv[1])).read(), made)\n"
    )
    with RawServer(answering(b"ok")) as server:
        command = [sys.executable, "-c", code, server.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "b'ok' []\n"
