"""What a server shows in a handshake, read from its bytes and compared with what another library reads."""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, strategies
from tests.servers.raw import RawServer, answering, proxying

from imgpkg.errors import ConnectionFailed
from imgpkg.transport.certificate import Trust, read_certificate
from imgpkg.transport.pool import Pool

START, END = (
    dt.datetime(2020, 1, 2, 3, 4, 5, tzinfo=dt.timezone.utc),
    dt.datetime(2051, 6, 7, 8, 9, 10, tzinfo=dt.timezone.utc),
)


def made(subject=(), issuer=(), names=None, start=START, end=END):
    """Return a certificate in DER with these attributes, {(kind, text)}."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(*pair) for pair in subject]))
        .issuer_name(x509.Name([x509.NameAttribute(*pair) for pair in issuer]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


NO_CERTIFICATES = [b"", b"\x30", b"\x30\x00", b"\x02\x01\x00", b"\x30\x85\1\1\1\1\1", b"\x30\x80"]


class TestReading:
    def test_names_are_the_common_name_and_the_organization(self):
        der = made(
            [(NameOID.COUNTRY_NAME, "DE"), (NameOID.COMMON_NAME, "Größe")],
            [(NameOID.ORGANIZATION_NAME, "Let's Encrypt"), (NameOID.COMMON_NAME, "R11")],
        )
        found = read_certificate(der)
        assert (found.subject, found.issuer) == ("Größe", "R11 (Let's Encrypt)")

    def test_a_name_of_neither_is_empty(self):
        found = read_certificate(made(issuer=[(NameOID.COUNTRY_NAME, "DE")]))
        assert (found.subject, found.issuer) == ("", "")

    def test_hosts_and_addresses_are_listed_and_other_names_are_not(self):
        names = [
            x509.DNSName("registry.example.com"),
            x509.RFC822Name("me@example.com"),
            x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
            x509.IPAddress(ipaddress.ip_address("::1")),
        ]
        assert read_certificate(made(names=names)).names == ("registry.example.com", "127.0.0.1", "::1")

    def test_without_the_extension_no_host_is_named(self):
        assert read_certificate(made()).names == ()

    def test_at_most_twenty_names_are_kept(self):
        names = [x509.DNSName(f"{number}.example.com") for number in range(50)]
        assert len(read_certificate(made(names=names)).names) == 20

    @pytest.mark.parametrize("end", [END, END.replace(year=2049)])
    def test_both_forms_of_time_are_read(self, end):
        found = read_certificate(made(end=end))
        assert (found.starts_at, found.ends_at) == (START.timestamp(), end.timestamp())

    def test_two_digits_from_fifty_on_are_of_the_old_century(self):
        start = dt.datetime(1999, 1, 1, tzinfo=dt.timezone.utc)
        assert read_certificate(made(start=start)).starts_at == start.timestamp()

    @pytest.mark.parametrize(
        "der", [b"", b"\x30", b"\x30\x00", b"\x02\x01\x00", b"\x30\x85\1\1\1\1\1", b"\x30\x80"]
    )
    def test_other_bytes_are_an_error(self, der):
        with pytest.raises(ValueError, match="certificate"):
            read_certificate(der)

    @given(strategies.data())
    def test_damaged_bytes_are_read_or_an_error_and_nothing_else(self, data):
        der = bytearray(DER)
        for _ in range(data.draw(strategies.integers(1, 4))):
            der[data.draw(strategies.integers(0, len(der) - 1))] = data.draw(strategies.integers(0, 255))
        with contextlib.suppress(ValueError):
            read_certificate(bytes(der[: data.draw(strategies.integers(0, len(der)))]))


DER = made([(NameOID.COMMON_NAME, "x")], [(NameOID.COMMON_NAME, "y")], [x509.DNSName("registry.example.com")])


class TestLooking:
    def shown(self, server, **options):
        with Pool(**options) as pool:
            return pool.inspect(server.url)

    def test_an_added_authority_is_distinguished(self, authority):
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            shown = self.shown(server, ca_cert_paths=[authority.path])
        assert (shown.version, shown.trust) == ("TLSv1.3", Trust.ADDED)
        assert sorted(shown.certificate.names) == ["127.0.0.1", "localhost"]
        assert "trustme" in shown.certificate.issuer
        assert server.requests == []

    def test_an_authority_of_the_system_needs_no_added_one(self, authority):
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            system = {"SSL_CERT_FILE": authority.path}
            shown = self.shown(server, environ=system, ca_cert_paths=[authority.path])
        assert (shown.trust, server.connections) == (Trust.SYSTEM, 1)

    def test_an_unknown_one_is_shown_and_rejected(self, authority):
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            shown = self.shown(server)
        assert shown.trust is Trust.REJECTED
        assert shown.certificate.ends_at > shown.certificate.starts_at

    def test_without_verification_nothing_is_reported_about_trust(self, authority):
        with RawServer(answering(b"ok"), context=authority.context()) as server:
            shown = self.shown(server, verify_certs=False)
        assert (shown.trust, server.connections) == (Trust.UNVERIFIED, 1)

    def test_an_old_version_is_named(self, authority):
        context = authority.context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with RawServer(answering(b"ok"), context=context) as server:
            assert self.shown(server, ca_cert_paths=[authority.path]).version == "TLSv1.2"

    def test_a_proxy_over_tls_does_not_show_its_own(self, authority):
        inside = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inside.issue_cert("registry.example.com").configure_cert(context)
        with (
            RawServer(answering(b"ok"), context=context) as server,
            RawServer(
                proxying(names={"registry.example.com:443": ("127.0.0.1", server.port)}),
                context=authority.context(),
            ) as proxy,
            Pool(environ={"HTTPS_PROXY": proxy.url}, verify_certs=False) as pool,
        ):
            shown = pool.inspect("https://registry.example.com")
        assert shown.certificate.names == ("registry.example.com",)

    def test_a_server_that_is_not_there_is_an_error(self):
        with Pool() as pool, pytest.raises(ConnectionFailed):
            pool.inspect("https://127.0.0.1:1")
