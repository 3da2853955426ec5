"""TLS files of hosts: client certificates, certs.d, and the alerts of servers without them."""

from __future__ import annotations

import datetime as dt
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from tests.servers.raw import RawServer, answering, proxying

from imgpkg.errors import CertificateRejected, InvalidSettings
from imgpkg.transport.failure import AlertReceived
from imgpkg.transport.hosts import HostContexts, explained, read_folder
from imgpkg.transport.message import Origin, Request
from imgpkg.transport.pem import TLSFiles
from imgpkg.transport.pool import Pool

AS_NOBODY = """
import os, sys
from imgpkg.transport.hosts import HostContexts
from imgpkg.transport.message import Origin

os.setuid(54321)
contexts = HostContexts(
    certs_dirs=tuple(sys.argv[1:]), named=None, authorities=(), verify=True, environ={}, warn=print
)
print(*contexts.find(Origin("https", "r.example", 443), is_registry=True).authorities)
"""
ORIGIN = "--registry-client-cert"
TLS_VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


def get(url, *, to_registry=True, **options):
    with Pool(**options) as pool, pool.send(Request("GET", url, to_registry=to_registry)) as response:
        return response.read()


def failure(url, **options):
    with pytest.raises(CertificateRejected) as caught:
        get(url, **options)
    assert type(caught.value) is CertificateRejected
    return caught.value


def named(*files):
    return lambda origin, is_registry: TLSFiles((), *files, ORIGIN)


def for_registries(*files):
    return lambda origin, is_registry: TLSFiles((), *files, ORIGIN) if is_registry else TLSFiles()


def contexts_of(folder):
    return HostContexts(
        certs_dirs=(str(folder),),
        named=None,
        authorities=(),
        verify=True,
        environ={},
        warn=lambda text: None,
    )


@pytest.fixture
def server(authority):
    """A server that demands a client certificate."""
    with RawServer(answering(b"ok"), context=authority.demanding()) as server:
        yield server


class TestOfferedCertificates:
    @TLS_VERSIONS
    def test_a_certificate_is_offered_to_whoever_demands_it(self, authority, tmp_path, version):
        files = authority.client(tmp_path)
        with RawServer(answering(b"ok"), context=authority.demanding(version=version)) as server:
            assert get(server.url, ca_cert_paths=[authority.path], named_files=named(*files)) == b"ok"

    def test_it_is_offered_also_without_verification(self, authority, tmp_path, server):
        files = authority.client(tmp_path)
        assert get(server.url, verify_certs=False, named_files=named(*files)) == b"ok"

    def test_a_host_that_is_no_registry_is_not_offered_what_is_for_registries(
        self, authority, tmp_path, server
    ):
        options = {
            "ca_cert_paths": [authority.path],
            "named_files": for_registries(*authority.client(tmp_path)),
        }
        assert get(server.url, **options) == b"ok"
        error = failure(server.url, to_registry=False, **options)
        assert "the flags are for registries alone" in error.hints[0]

    def test_a_host_is_a_registry_for_all_later_requests(self, authority, tmp_path, server):
        files = for_registries(*authority.client(tmp_path))
        with Pool(ca_cert_paths=[authority.path], named_files=files) as pool:
            for is_registry in (True, False):
                assert pool.send(Request("GET", server.url, to_registry=is_registry)).read() == b"ok"
        assert server.connections == 1

    def test_a_connection_without_certificate_is_not_used_for_a_registry(self, authority, tmp_path):
        context = authority.demanding()
        context.verify_mode = ssl.CERT_OPTIONAL
        seen = []

        def talk(conversation):
            seen.append(bool(conversation.sock.getpeercert()))
            answering(b"ok")(conversation)

        files = for_registries(*authority.client(tmp_path))
        with RawServer(talk, context=context) as server, Pool(verify_certs=False, named_files=files) as pool:
            for is_registry in (False, True):
                pool.send(Request("GET", server.url, to_registry=is_registry)).read()
        assert seen == [False, True]

    def test_a_proxy_is_not_offered_the_certificate_of_the_server(self, authority, tmp_path):
        context, seen = authority.demanding("127.0.0.1"), []
        context.verify_mode = ssl.CERT_OPTIONAL

        with RawServer(answering(b"ok"), context=authority.demanding("registry.example")) as server:
            tunnel = proxying(names={"registry.example:443": ("127.0.0.1", server.port)})

            def talk(conversation):
                seen.append(bool(conversation.sock.getpeercert()))
                tunnel(conversation)

            with RawServer(talk, context=context) as proxy:
                options = {
                    "ca_cert_paths": [authority.path],
                    "named_files": named(*authority.client(tmp_path)),
                    "environ": {"HTTPS_PROXY": proxy.url},
                }
                assert get("https://registry.example/", **options) == b"ok"
        assert seen == [False]


class TestRefusals:
    @TLS_VERSIONS
    def test_a_server_that_is_offered_none_says_that_it_wants_one(self, authority, version):
        with RawServer(answering(b"ok"), context=authority.demanding(version=version)) as server:
            error = failure(server.url, ca_cert_paths=[authority.path])
        ways = (
            "with --registry-client-cert FILE and --registry-client-key FILE, "
            "IMGPKG_REGISTRY_CLIENT_CERT_x and IMGPKG_REGISTRY_CLIENT_KEY_x beside "
            f"IMGPKG_REGISTRY_HOSTNAME_x={server.address}, or as X.cert and X.key in "
            f"~/.config/containers/certs.d/{server.address}."
        )
        if version == ssl.TLSVersion.TLSv1_3:
            assert error.reason == (
                f"remote error: tls: certificate required: {server.address} wants a client certificate, "
                "and none was given for it"
            )
            assert error.hints == (f"Give a certificate and its key {ways}",)
        else:
            assert error.reason == "remote error: tls: handshake failure"
            assert error.hints == (
                f"{server.address} may want a client certificate.",
                f"Give a certificate and its key {ways}",
            )

    def test_a_certificate_of_another_authority_is_named_when_it_is_refused(
        self, authority, another_authority, tmp_path, server
    ):
        certificate, key = another_authority.client(tmp_path)
        error = failure(server.url, ca_cert_paths=[authority.path], named_files=named(certificate, key))
        assert error.reason == (
            f"remote error: tls: unknown ca: {server.address} refused the client certificate "
            f"{certificate!r} (from {ORIGIN})"
        )
        assert error.hints[0].startswith("Renew it")

    def test_an_expired_certificate_is_refused_with_its_date(self, authority, tmp_path, server):
        warnings = []
        end = dt.datetime(2020, 1, 2, tzinfo=dt.timezone.utc)
        files = authority.client(tmp_path, not_after=end)
        error = failure(
            server.url, ca_cert_paths=[authority.path], named_files=named(*files), on_wait=warnings.append
        )
        assert "expired at 2020-01-02 00:00:00 UTC" in error.reason
        assert warnings == [
            f"the client certificate {files[0]!r} ({ORIGIN}) expired at 2020-01-02 00:00:00 UTC"
        ]

    def test_an_alert_that_may_be_about_a_certificate_says_which_was_offered(self, authority, tmp_path):
        files = TLSFiles((), *authority.client(tmp_path), ORIGIN)
        alert = AlertReceived("GET", "https://r.example/v2/", "handshake failure")
        error = explained(alert, files, Origin("https", "r.example", 443), is_registry=True)
        assert error.reason == "remote error: tls: handshake failure"
        assert error.hints[0] == (
            f"r.example may have refused the client certificate {files.certificate!r} (from {ORIGIN})."
        )

    @pytest.mark.parametrize("files", [TLSFiles(), TLSFiles((), "a", "b", ORIGIN)])
    def test_other_alerts_are_not_about_a_certificate(self, files):
        alert = AlertReceived("GET", "https://r.example/v2/", "protocol version")
        error = explained(alert, files, Origin("https", "r.example", 443), is_registry=True)
        assert (error.reason, error.hints) == ("remote error: tls: protocol version", ())


class TestRenewal:
    def test_a_certificate_is_read_again_when_its_file_changed(
        self, authority, another_authority, tmp_path, server
    ):
        files = another_authority.client(tmp_path)
        with Pool(ca_cert_paths=[authority.path], named_files=named(*files)) as pool:
            with pytest.raises(CertificateRejected):
                pool.send(Request("GET", server.url)).read()
            authority.client(tmp_path)
            assert pool.send(Request("GET", server.url)).read() == b"ok"

    def test_the_old_pair_is_used_while_only_half_of_the_new_one_is_there(
        self, authority, another_authority, tmp_path
    ):
        files = authority.client(tmp_path)
        talk = answering(b"ok", headers=[("Connection", "close")])
        with (
            RawServer(talk, context=authority.demanding()) as server,
            Pool(ca_cert_paths=[authority.path], named_files=named(*files)) as pool,
        ):
            pool.send(Request("GET", server.url)).read()
            another_authority.client(tmp_path / "new")
            os.replace(tmp_path / "new" / "client.key", files[1])
            assert pool.send(Request("GET", server.url)).read() == b"ok"


class TestFolders:
    def test_the_folder_of_a_host_has_its_authorities_and_the_certificate_of_the_client(
        self, authority, tmp_path, server
    ):
        folder = tmp_path / "certs.d" / server.address
        authority.client(folder)
        (folder / "ca.crt").write_bytes(Path(authority.path).read_bytes())
        (folder / "README").write_text("nothing")
        assert get(server.url, to_registry=False, certs_dirs=(str(tmp_path / "certs.d"),)) == b"ok"

    def test_folders_are_not_merged(self, authority, tmp_path, server):
        first, second = tmp_path / "first", tmp_path / "second"
        (first / server.address).mkdir(parents=True)
        authority.client(second / server.address)
        options = {"ca_cert_paths": [authority.path]}
        error = failure(server.url, certs_dirs=(str(first), str(second)), **options)
        assert "none was given" in error.reason
        assert get(server.url, certs_dirs=(str(tmp_path / "absent"), str(second)), **options) == b"ok"

    def test_the_folder_of_another_host_or_port_does_not_count(self, authority, tmp_path, server):
        for name in ("127.0.0.1", "localhost", f"{server.address}0"):
            authority.client(tmp_path / name)
        failure(server.url, ca_cert_paths=[authority.path], certs_dirs=(str(tmp_path),))

    def test_what_is_named_precedes_the_folder(self, authority, another_authority, tmp_path, server):
        another_authority.client(tmp_path / server.address)
        files = authority.client(tmp_path / "named")
        options = {"ca_cert_paths": [authority.path], "certs_dirs": (str(tmp_path),)}
        assert get(server.url, named_files=named(*files), **options) == b"ok"
        failure(server.url, **options)

    def test_a_folder_that_cannot_be_read_is_passed_over_with_a_warning(self, tmp_path):
        if os.getuid():
            pytest.skip("root reads every folder, and only root can become somebody else")
        first, second = tmp_path / "first", tmp_path / "second"
        for folder in (first, second):
            (folder / "r.example").mkdir(parents=True)
            (folder / "r.example" / "ca.crt").touch()
        (first / "r.example").chmod(0o700)
        for folder in (tmp_path, *tmp_path.parents):
            if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
                folder.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", AS_NOBODY, str(first), str(second)],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == [
            f"the folder '{first}/r.example' cannot be read and is passed over",
            f"{second}/r.example/ca.crt",
        ]

    @pytest.mark.parametrize(("there", "missing"), [("cert", "key"), ("key", "cert")])
    def test_half_a_pair_is_an_error(self, authority, tmp_path, server, there, missing):
        folder = tmp_path / server.address
        authority.client(folder)
        (folder / f"client.{missing}").unlink()
        with pytest.raises(InvalidSettings) as caught:
            get(server.url, certs_dirs=(str(tmp_path),))
        assert str(caught.value) == (f"{folder}/client.{there} has no {folder}/client.{missing} beside it")
        assert len(caught.value.hints) == 1

    def test_a_bad_authority_is_named(self, tmp_path, server):
        folder = tmp_path / server.address
        folder.mkdir()
        (folder / "ca.crt").write_text("nothing")
        with pytest.raises(InvalidSettings) as caught:
            get(server.url, certs_dirs=(str(tmp_path),))
        assert str(caught.value) == (
            f"TLS with {server.address}: Adding CA certificates from '{folder}/ca.crt': failed"
        )

    def test_the_first_of_several_pairs_counts(self, authority, tmp_path):
        for name in ("b", "a"):
            authority.client(tmp_path, name)
        files = read_folder(str(tmp_path))
        assert (files.certificate, files.key) == (f"{tmp_path}/a.cert", f"{tmp_path}/a.key")

    @pytest.mark.parametrize(
        ("url", "names"),
        [
            ("https://index.docker.io/", ["docker.io", "index.docker.io", "index.docker.io:443"]),
            ("https://registry-1.docker.io/", ["docker.io", "registry-1.docker.io"]),
            ("https://r.example/", ["r.example", "r.example:443"]),
            ("https://r.example:5000/", ["r.example:5000"]),
            ("https://[::1]:5000/", ["[::1]:5000"]),
        ],
    )
    def test_the_names_of_folders(self, tmp_path, url, names):
        contexts = contexts_of(tmp_path)
        for name in names:
            folder = tmp_path / name
            folder.mkdir()
            (folder / "ca.crt").touch()
            found = contexts.find(Origin.of(url), is_registry=True)
            assert found.authorities == (f"{folder}/ca.crt",)
            (folder / "ca.crt").unlink()
            folder.rmdir()

    def test_a_host_named_like_a_parent_folder_has_none(self, tmp_path):
        (tmp_path / "certs.d").mkdir()
        (tmp_path / "ca.crt").touch()
        contexts = contexts_of(tmp_path / "certs.d")
        assert contexts.find(Origin("https", "..", 443), is_registry=True) == TLSFiles()


def test_a_folder_for_a_host_that_is_a_file_is_passed_over(tmp_path):
    (tmp_path / "r.example").touch()
    assert contexts_of(tmp_path).find(Origin("https", "r.example", 443), is_registry=True) == TLSFiles()


def test_a_named_file_that_vanished_is_an_error_when_it_is_needed(authority, tmp_path, server):
    files = authority.client(tmp_path)
    for path in files:
        os.unlink(path)
    with pytest.raises(InvalidSettings) as caught:
        get(server.url, named_files=named(*files))
    assert str(caught.value).startswith(f"TLS with {server.address}: Client certificate from {ORIGIN}: ")
