"""Which certificates sets of variables, flags and plain variables name for a host."""

from __future__ import annotations

import pytest
import trustme

from imgpkg.auth.certificates import named_certificates
from imgpkg.auth.environment import EnvironmentSource, read_sets
from imgpkg.auth.keychain import Outcome
from imgpkg.errors import CredentialError, InvalidSettings, UsageError
from imgpkg.oci.reference import Repository
from imgpkg.settings import Settings, Side
from imgpkg.transport.message import Origin
from imgpkg.transport.pem import TLSFiles


def a_set(suffix="0", hostname="r.example", **values):
    names = {"HOSTNAME": hostname, **{name.upper(): value for name, value in values.items()}}
    return {f"IMGPKG_REGISTRY_{name}_{suffix}": value for name, value in names.items()}


def found(environ, url="https://r.example/", *, is_registry=True, **settings):
    named = named_certificates(Settings(environ=environ, **settings))
    return named(Origin.of(url), is_registry)


@pytest.fixture
def pair(tmp_path, monkeypatch):
    """`client.pem`, which has a certificate and its key, and `ci.pem`, another one."""
    monkeypatch.chdir(tmp_path)
    authority = trustme.CA()
    for name in ("client.pem", "ci.pem"):
        authority.issue_cert("ci@example.com").private_key_and_cert_chain_pem.write_to_path(name)


def test_nothing_named_is_nothing_to_look_up():
    assert named_certificates(Settings(environ=a_set(username="u", password="p"))) is None


class TestSets:
    @pytest.mark.parametrize("is_registry", [True, False])
    def test_a_set_names_the_files_of_its_host_whatever_the_host_is(self, is_registry):
        environ = a_set(client_cert="c.pem", client_key="k.pem", ca_cert="ca.pem")
        files = found(environ, is_registry=is_registry)
        assert files == TLSFiles(("ca.pem",), "c.pem", "k.pem", "$IMGPKG_REGISTRY_CLIENT_CERT_0")

    def test_a_set_without_suffix_is_a_set_too(self):
        environ = {"IMGPKG_REGISTRY_HOSTNAME": "r.example", "IMGPKG_REGISTRY_CLIENT_CERT": "c.pem"}
        assert found(environ).origin == "$IMGPKG_REGISTRY_CLIENT_CERT"

    @pytest.mark.parametrize(
        ("hostname", "url"),
        [
            ("r.example:443", "https://r.example/"),
            ("*.example", "https://r.example/"),
            ("r.example/team", "https://r.example/"),
            ("r.example:5000", "https://r.example:5000/"),
            ("[::1]:5000", "https://[::1]:5000/"),
            ("docker.io", "https://index.docker.io/"),
            ("index.docker.io/library", "https://registry-1.docker.io/"),
        ],
    )
    def test_the_host_decides_and_no_path(self, hostname, url):
        assert found(a_set(hostname=hostname, client_cert="c.pem"), url).certificate == "c.pem"

    @pytest.mark.parametrize("url", ["https://s.example/", "https://r.example:5000/", "https://a.r.example/"])
    def test_other_hosts_get_none(self, url):
        assert found(a_set(client_cert="c.pem"), url) == TLSFiles()

    def test_the_most_specific_set_with_files_counts(self):
        environ = {
            **a_set("1", "*.example", client_cert="wild.pem"),
            **a_set("2", client_cert="own.pem"),
            **a_set("3", "r.example/team", username="u", password="p"),
        }
        assert found(environ).certificate == "own.pem"

    def test_an_unknown_variable_is_an_error(self):
        environ = {**a_set(client_cert="c.pem"), "IMGPKG_REGISTRY_CLIENT_CRT_0": "x"}
        with pytest.raises(CredentialError, match="Unknown env variable") as caught:
            found(environ)
        assert caught.value.hints == (
            "Did you mean IMGPKG_REGISTRY_CLIENT_CERT_0 instead of IMGPKG_REGISTRY_CLIENT_CRT_0?",
        )

    def test_a_key_alone_is_an_error(self):
        environ = a_set(client_key="k.pem")
        with pytest.raises(InvalidSettings) as caught:
            found(environ)
        assert (
            str(caught.value) == "IMGPKG_REGISTRY_CLIENT_KEY_0 is set without IMGPKG_REGISTRY_CLIENT_CERT_0"
        )


class TestLogins:
    """A set with certificates and no login leaves the login to others; one with only a host is anonymous."""

    def look_up(self, environ):
        warnings = []
        source = EnvironmentSource(environ, warnings.append)
        return source.lookup(Repository.parse("r.example/team/app")), warnings

    @pytest.mark.parametrize("kind", ["client_cert", "client_key", "ca_cert"])
    def test_a_set_with_certificates_leaves_the_login_to_other_sources(self, kind):
        finding, warnings = self.look_up(a_set(**{kind: "x.pem"}))
        assert finding.outcome is Outcome.NO_MATCH
        assert finding.detail == "IMGPKG_REGISTRY_HOSTNAME_0=r.example: names certificates and no login"
        assert warnings == []

    def test_it_leaves_the_login_to_other_sets_too(self):
        environ = {
            **a_set("1", client_cert="c.pem"),
            **a_set("2", "*.example", username="u", password="p"),
        }
        finding, warnings = self.look_up(environ)
        assert finding.origin == "IMGPKG_REGISTRY_HOSTNAME_2=*.example"
        assert finding.detail.endswith(
            "IMGPKG_REGISTRY_HOSTNAME_1=r.example: names certificates and no login"
        )
        assert warnings == []

    def test_a_set_with_both_gives_both(self):
        environ = a_set(client_cert="c.pem", username="u", password="p")
        finding, _ = self.look_up(environ)
        assert finding.credential.username == "u"
        assert found(environ).certificate == "c.pem"

    def test_half_a_login_beside_certificates_is_anonymous_with_a_warning(self):
        finding, warnings = self.look_up(a_set(client_cert="c.pem", username="u"))
        assert finding.outcome is Outcome.MATCHED
        assert finding.credential.is_anonymous
        assert warnings[0].startswith("IMGPKG_REGISTRY_USERNAME_0 is set without IMGPKG_REGISTRY_PASSWORD_0")

    def test_certificates_without_a_host_are_warned_about(self):
        (warning,) = read_sets({"IMGPKG_REGISTRY_CLIENT_CERT_0": "c.pem"}).warnings
        assert warning == (
            "IMGPKG_REGISTRY_CLIENT_CERT_0: there is no IMGPKG_REGISTRY_HOSTNAME_0, so this set is ignored; "
            "for all registries use IMGPKG_USERNAME/IMGPKG_PASSWORD"
        )


class TestFlags:
    @pytest.mark.usefixtures("pair")
    def test_the_pair_of_the_settings_is_for_registries_alone(self):
        options = {"client_certificate": "client.pem", "client_key": "client.pem"}
        assert found({}, **options) == TLSFiles((), "client.pem", "client.pem", "--registry-client-cert")
        assert found({}, is_registry=False, **options) == TLSFiles()

    @pytest.mark.usefixtures("pair")
    def test_a_set_precedes_the_flags_and_its_authority_adds_to_them(self):
        options = {"client_certificate": "client.pem"}
        assert found(a_set(client_cert="c.pem"), **options).certificate == "c.pem"
        files = found(a_set(ca_cert="ca.pem"), **options)
        assert (files.authorities, files.certificate) == (("ca.pem",), "client.pem")

    @pytest.mark.usefixtures("pair")
    @pytest.mark.parametrize(
        ("side", "expected"),
        [(None, "client.pem"), (Side.TO, "client.pem"), (Side.FROM, "ci.pem")],
    )
    def test_variables_replace_flags_and_those_of_a_side_come_first(self, side, expected):
        environ = {
            "IMGPKG_CLIENT_CERT": "client.pem",
            "IMGPKG_CLIENT_KEY": "client.pem",
            "IMGPKG_FROM_CLIENT_CERT": "ci.pem",
        }
        files = found(environ, side=side)
        assert files.certificate == expected
        # The key of one pair is never used with the certificate of another.
        assert files.key == ("" if side is Side.FROM else "client.pem")

    @pytest.mark.usefixtures("pair")
    def test_an_empty_flag_turns_the_variable_off(self):
        environ = {"IMGPKG_CLIENT_CERT": "client.pem"}
        assert named_certificates(Settings(environ=environ, client_certificate="")) is None

    @pytest.mark.parametrize(
        ("environ", "options"), [({"IMGPKG_CLIENT_KEY": "k.pem"}, {}), ({}, {"client_key": "k.pem"})]
    )
    def test_a_key_alone_is_an_error(self, environ, options):
        with pytest.raises(UsageError) as caught:
            named_certificates(Settings(environ=environ, **options))
        assert str(caught.value) == (
            "the client key 'k.pem' is given without a certificate; give --registry-client-cert or "
            "$IMGPKG_CLIENT_CERT as well"
        )

    def test_a_bad_file_is_an_error_before_any_request(self):
        with pytest.raises(InvalidSettings) as caught:
            named_certificates(Settings(environ={"IMGPKG_CLIENT_CERT": "absent.pem"}))
        assert str(caught.value) == (
            "Creating registry HTTP transport: Client certificate from $IMGPKG_CLIENT_CERT: "
            "reading the client certificate: open absent.pem: no such file or directory"
        )
