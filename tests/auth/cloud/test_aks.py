"""Azure identities against counterparts of Entra ID, of metadata services and of the exchange."""

from __future__ import annotations

import logging
import ssl
import threading
import time
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from tests.servers.cloud import (
    Answer,
    AzureRegistry,
    EntraId,
    ManagedIdentity,
    form_of,
    query_of,
    serving,
)
from tests.servers.raw import RawServer

from imgpkg.auth.cloud.aks import AksSource
from imgpkg.auth.cloud.azure import PROBE_SECONDS
from imgpkg.auth.environment import EnvironmentSource
from imgpkg.auth.keychain import Keychain, Outcome
from imgpkg.oci.reference import Repository
from imgpkg.transport.pool import Pool

pytestmark = pytest.mark.measured

HOST = "team.azurecr.io"
HERE = Repository(HOST, "team/app")
APPLICATION = {"AZURE_TENANT_ID": "tenant-id", "AZURE_CLIENT_ID": "client-id"}
SECRET = {**APPLICATION, "AZURE_CLIENT_SECRET": "client-secret"}
ARM, OWN = "https://management.azure.com", "https://containerregistry.azure.net"


class Azure:
    """Everything that a lookup needs, on the internet of the test."""

    def __init__(self, internet, clock):
        self.internet = internet
        self.clock = clock
        self.warnings = []
        self.slept = []
        self.entra = EntraId()
        internet.host("login.microsoftonline.com", self.entra)

    def registry(self, host=HOST, **options):
        registry = AzureRegistry(host, clock=self.clock, **options)
        self.internet.host(host, registry)
        return registry

    def source(self, environ, **options):
        environ = {**self.internet.environ, **environ}
        self.pool = self.internet.stack.enter_context(
            Pool(environ=environ, ca_cert_paths=[str(self.internet.ca_file)])
        )
        options = {"clock": self.clock, "sleep": self.slept.append, **options}
        return AksSource(environ, self.pool, self.warnings.append, **options)


@pytest.fixture
def azure(internet, clock):
    return Azure(internet, clock)


def test_a_client_secret_becomes_the_identity_token_of_the_registry(azure, clock):
    registry = azure.registry(refresh_token="refresh-token")
    finding = azure.source(SECRET).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert finding.credential.identity_token == "refresh-token"
    assert finding.credential.username == finding.credential.password == ""
    assert finding.origin == "$AZURE_CLIENT_SECRET"
    assert [form["scope"] for form in azure.entra.calls] == [f"{ARM}/.default"]
    assert len(registry.calls) == 1
    # A token that is no JSON web token is trusted for an hour.
    assert finding.credential.expires_at == clock.now + 3600 - 300


def test_the_end_of_the_identity_token_is_read_from_it(azure, clock):
    azure.registry(lifetime=3 * 3600)
    finding = azure.source(SECRET).lookup(HERE)
    assert abs(finding.credential.expires_at - (clock.now + 3 * 3600 - 300)) < 2


def test_a_port_is_part_of_the_service(azure):
    registry = AzureRegistry(f"{HOST}:8443")
    server = azure.internet.host(HOST, registry)
    azure.internet.names[f"{HOST}:8443"] = ("127.0.0.1", server.port)
    finding = azure.source(SECRET).lookup(Repository("Team.AzureCR.io:8443", "team/app"))
    assert finding.outcome is Outcome.MATCHED, finding.detail


@pytest.mark.parametrize("variable", ["AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_CERTIFICATE_PATH"])
def test_a_certificate_signs_for_the_application(variable, azure, tmp_path, rsa_key, rsa_pem):
    from datetime import datetime, timedelta, timezone

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "application")])
    now = datetime.now(timezone.utc)
    builder = x509.CertificateBuilder(name, name, rsa_key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(rsa_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    (tmp_path / "application.pem").write_text(rsa_pem + certificate)
    azure.registry()
    azure.entra.certificate_key = rsa_key.public_key()
    finding = azure.source({**APPLICATION, variable: str(tmp_path / "application.pem")}).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert finding.origin == f"${variable}"


def test_a_workload_identity_shows_the_token_of_its_pod(azure, tmp_path):
    (tmp_path / "token").write_text("token-of-the-pod")
    azure.registry()
    finding = azure.source({**APPLICATION, "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token")}).lookup(
        HERE
    )
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert finding.origin == "workload identity"
    assert azure.entra.calls[0]["client_assertion"] == "token-of-the-pod"


def test_a_secret_comes_before_a_certificate_before_a_workload_identity(azure, tmp_path):
    azure.registry()
    environ = {**SECRET, "AZURE_CERTIFICATE_PATH": "missing", "AZURE_FEDERATED_TOKEN_FILE": "missing"}
    assert azure.source(environ).lookup(HERE).origin == "$AZURE_CLIENT_SECRET"
    del environ["AZURE_CLIENT_SECRET"]
    assert "missing" in azure.source(environ).lookup(HERE).detail


@pytest.mark.parametrize(
    ("client", "origin"), [("", "managed identity"), ("user-assigned", "managed identity user-assigned")]
)
def test_a_managed_identity_is_asked_for_at_the_metadata_service(client, origin, azure):
    identity = ManagedIdentity()
    azure.registry(tenant=None)
    with serving(identity) as server:
        environ = {"AZURE_POD_IDENTITY_AUTHORITY_HOST": server.url, "AZURE_CLIENT_ID": client}
        finding = azure.source(environ).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert finding.origin == origin
    asked = query_of(identity.calls[-1])
    assert asked["resource"] == ARM
    assert asked.get("client_id", "") == client


@pytest.mark.parametrize(
    "kind", ["IDENTITY_ENDPOINT and IDENTITY_HEADER", "MSI_ENDPOINT and MSI_SECRET", "MSI_ENDPOINT"]
)
def test_a_managed_identity_is_asked_for_where_the_platform_says(kind, azure):
    identity = ManagedIdentity()
    azure.registry(tenant=None)
    with serving(identity) as server:
        values = {
            "IDENTITY_ENDPOINT": f"{server.url}/token",
            "IDENTITY_HEADER": "identity-header",
            "MSI_ENDPOINT": f"{server.url}/token",
            "MSI_SECRET": "msi-secret",
        }
        finding = azure.source({name: values[name] for name in kind.split(" and ")}).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert (query_of(identity.calls[0]) or form_of(identity.calls[0]))["resource"] == ARM


def test_off_the_cloud_the_metadata_service_is_looked_for_once_for_all_images(azure):
    """The address of the service is fixed, so a proxy that hangs up stands in for the network around it."""

    def hang_up(conversation):
        conversation.receive()
        conversation.reset()

    with RawServer(hang_up) as nobody:
        source = azure.source({"HTTP_PROXY": nobody.url, "NO_PROXY": ""})
        findings = [source.lookup(Repository(HOST, f"team/app{n}")) for n in range(20)]
    assert {finding.outcome for finding in findings} == {Outcome.FAILED}
    assert "no response from the IMDS endpoint" in findings[0].detail
    assert nobody.requests[0].target.startswith("http://169.254.169.254/metadata/identity/oauth2/token?")
    assert nobody.connections == 1
    assert len(azure.warnings) == 1


def test_a_metadata_service_that_says_nothing_is_given_up_soon_for_all_registries(azure, clock):
    """A proxy accepts every connection; without a limit of its own only the deadline would end the wait."""

    def silent(conversation):
        conversation.receive()
        conversation.pause()

    with RawServer(silent) as nobody:
        source = azure.source({"HTTP_PROXY": nobody.url, "NO_PROXY": ""})
        registries = ["one.azurecr.io", "two.azurecr.io", "three.azurecr.us"]
        findings = [source.lookup(Repository(host, "team/app")) for host in registries]
        connections = nobody.connections
        clock.now += 61
        source.lookup(HERE)
        again = nobody.connections
    assert {finding.outcome for finding in findings} == {Outcome.FAILED}
    assert all("no response from the IMDS endpoint" in finding.detail for finding in findings)
    # azure-identity limits the time to connect to one second; the time to answer is ours.
    assert connections * (1 + PROBE_SECONDS) <= 2
    assert (connections, again) == (1, 2)


def test_a_metadata_service_that_was_found_may_take_its_time(azure):
    """The first request only looks whether there is one; the second one brings the token."""
    identity, asked = ManagedIdentity(), []

    def service(received):
        asked.append(received.header("Metadata"))
        return identity(received)

    azure.registry(tenant=None)
    with serving(service) as proxy:
        finding = azure.source({"HTTP_PROXY": proxy.url, "NO_PROXY": ""}).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert asked == [None, "true"]


def test_a_registry_that_wants_its_own_audience_gets_it(azure):
    registry = azure.registry(audiences=(OWN,))
    finding = azure.source(SECRET).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert [form["scope"] for form in azure.entra.calls] == [f"{ARM}/.default", f"{OWN}/.default"]
    assert len(registry.calls) == 2


def test_a_registry_that_takes_no_audience_is_a_failure(azure):
    azure.registry(audiences=())
    finding = azure.source(SECRET).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert (
        finding.detail == f"POST https://{HOST}/oauth2/exchange: the registry refused the token: status 401"
    )


@pytest.mark.parametrize(
    "host",
    [
        "team.azurecr.io.example.com",
        "azurecr.io",
        "teamazurecr.io",
        "team.azurecr.io.",
        "team.azurecr.com",
        "mcr.microsoft.com",
        "team.azurecr.io.evil:443",
        ".azurecr.io",
    ],
)
def test_a_look_alike_host_gets_nothing_and_no_request_is_sent(host, azure):
    finding = azure.source(SECRET).lookup(Repository(host, "team/app"))
    assert finding.outcome is Outcome.NO_MATCH
    assert azure.internet.asked == []


@pytest.mark.parametrize(
    ("host", "authority", "resource"),
    [
        ("team.azurecr.us", "login.microsoftonline.us", "https://management.usgovcloudapi.net"),
        ("team.azurecr.cn", "login.chinacloudapi.cn", "https://management.chinacloudapi.cn"),
    ],
)
def test_the_suffix_of_the_registry_chooses_the_cloud(host, authority, resource, azure):
    entra = EntraId(f"https://{authority}")
    azure.internet.host(authority, entra)
    azure.registry(host, audiences=(resource,))
    finding = azure.source(SECRET).lookup(Repository(host, "team/app"))
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert {urlsplit(f"//{asked}").hostname for asked in azure.internet.asked} == {authority, host}


def test_an_authority_of_ones_own_is_trusted_without_asking_microsoft(azure, internet):
    entra = EntraId("https://login.stack.example")
    internet.host("login.stack.example", entra)
    azure.registry()
    environ = {**SECRET, "AZURE_AUTHORITY_HOST": "https://login.stack.example"}
    finding = azure.source(environ).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert "login.microsoftonline.com:443" not in internet.asked


def test_an_authority_without_tls_is_refused(azure):
    finding = azure.source({**SECRET, "AZURE_AUTHORITY_HOST": "http://127.0.0.1:1"}).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "https" in finding.detail


def test_a_wrong_secret_is_a_failure_whose_reason_is_microsofts_and_shows_no_secret(azure):
    registry = azure.registry()
    environ = {**SECRET, "AZURE_CLIENT_SECRET": "hunter2-never-shown"}
    decision = Keychain([azure.source(environ)]).resolve(HERE)
    assert decision.credential.is_anonymous
    assert "aks: failed: Authentication failed: AADSTS7000215: Invalid client secret" in decision.explain()
    assert "hunter2" not in f"{decision.explain()} {azure.warnings}"
    assert registry.calls == []


def test_an_incomplete_application_is_a_failure(azure):
    finding = azure.source({"AZURE_CLIENT_SECRET": "client-secret"}).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "client_id" in finding.detail


def test_an_unknown_cloud_is_a_failure(azure):
    finding = azure.source({**SECRET, "AZURE_ENVIRONMENT": "AzureMoonCloud"}).lookup(HERE)
    assert (finding.outcome, finding.detail) == (
        Outcome.FAILED,
        "AZURE_ENVIRONMENT names no cloud: 'AzureMoonCloud'",
    )


def test_what_may_pass_is_tried_again(azure):
    azure.registry(before=[Answer(503), Answer(429)])
    finding = azure.source(SECRET).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED, finding.detail
    assert azure.slept == [1.0, 2.0]


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([Answer(503)] * 3, "unexpected status 503"),
        ([Answer(400)], "unexpected status 400"),
        (
            [Answer(307, headers=(("Location", "https://evil.example/oauth2/exchange"),))],
            "unexpected status 307",
        ),
        ([Answer(200, b"<html>")], "no refresh token in the answer"),
        ([Answer(200, [])], "no refresh token in the answer"),
        ([Answer(200, {"refresh_token": ""})], "no refresh token in the answer"),
        ([Answer(200, {"refresh_token": 5})], "no refresh token in the answer"),
        ([Answer(200, b"[" * 100_000)], "no refresh token in the answer"),
    ],
)
def test_an_exchange_that_fails_has_the_reason(answers, why, azure):
    azure.registry(before=list(answers))
    finding = azure.source(SECRET).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert finding.detail == f"POST https://{HOST}/oauth2/exchange: {why}"
    assert "evil.example:443" not in azure.internet.asked


def test_a_registry_that_cannot_be_reached_is_named(azure):
    def reset(conversation):
        conversation.reset()

    server = RawServer(reset)
    azure.internet.put(HOST, server)
    finding = azure.source(SECRET).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert f'Post "https://{HOST}/oauth2/exchange": ' in finding.detail
    assert server.connections == 3


@pytest.mark.parametrize(
    "token",
    ["a.b.c", "a.e30.c", "a.eyJleHAiOiAieCJ9.c", "a.eyJleHAiOiBudWxsfQ.c", "é.é", f"a.{'W1tb' * 30_000}.c"],
    ids=lambda token: token[:12],
)
def test_a_token_that_does_not_say_its_end_is_trusted_for_an_hour(token, azure, clock):
    azure.registry(refresh_token=token)
    finding = azure.source(SECRET).lookup(HERE)
    assert finding.credential.expires_at == clock.now + 3600 - 300


def test_a_registry_that_says_nothing_is_given_up_in_the_time_of_a_keychain(azure):
    def silent(conversation):
        conversation.receive()
        conversation.pause()

    registry = azure.registry()
    assert azure.source(SECRET).lookup(HERE).outcome is Outcome.MATCHED  # the SDK is loaded
    assert len(registry.calls) == 1
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    azure.internet.authority.issue_cert(HOST).configure_cert(context)
    azure.internet.put(HOST, RawServer(silent, context=context))
    before = time.monotonic()
    finding = azure.source(SECRET, seconds=4.0).lookup(HERE)
    assert time.monotonic() - before < 6
    assert finding.outcome is Outcome.FAILED
    assert finding.detail.startswith(f"POST https://{HOST}/oauth2/exchange: no answer within ")


def test_the_token_is_renewed_in_a_long_copy_and_many_threads_ask_once(azure, clock):
    registry = azure.registry()
    source = azure.source(SECRET)
    first = source.lookup(HERE)
    assert source.lookup(Repository(HOST, "team/other")).credential == first.credential
    assert len(registry.calls) == 1
    clock.now = first.credential.expires_at
    given = []
    threads = [threading.Thread(target=lambda: given.append(source.lookup(HERE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(registry.calls) == 2
    assert {finding.credential.expires_at > clock.now for finding in given} == {True}


def test_the_old_variable_for_a_configuration_of_azure_is_accepted(azure):
    registry = azure.registry(refresh_token="refresh-token")
    environ = {**SECRET, "IMGPKG_REGISTRY_AZURE_CR_CONFIG": "/etc/azure.json"}
    sources = [EnvironmentSource(environ, print), azure.source(environ)]
    assert Keychain(sources).resolve(HERE).credential.identity_token == "refresh-token"
    assert len(registry.calls) == 1


def test_nothing_secret_is_logged_even_when_everything_is(azure, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    azure.registry(refresh_token="refresh-token")
    assert azure.source(SECRET).lookup(HERE).outcome is Outcome.MATCHED
    for secret in ("client-secret", "aad for", "refresh-token"):
        assert secret not in caplog.text
    assert capfd.readouterr() == ("", "")
