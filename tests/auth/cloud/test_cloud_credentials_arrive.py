"""Credentials of clouds as they arrive at registries under their cloud names, through a proxy and TLS."""

from __future__ import annotations

import base64
import io

import pytest
from tests.auth.cloud.azure_access import AcrAccess
from tests.servers.cloud import AzureRegistry, Clock, Ecr, EntraId, GoogleMetadata, serving

from imgpkg.auth.cloud.ecr import EcrSource
from imgpkg.auth.keychain import Keychain
from imgpkg.embedded.access import Account, LoginAccess
from imgpkg.errors import Unauthorized
from imgpkg.events import BlobOutcome
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.registry.client import RegistryClient
from imgpkg.session import Session
from imgpkg.settings import Settings
from imgpkg.transport.pool import Pool

ECR_HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
BLOB = b"a layer"
LAYER = Descriptor("application/vnd.oci.image.layer.v1.tar", Digest.of(BLOB), len(BLOB))
KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIDTEST",
    "AWS_SECRET_ACCESS_KEY": "secret-key",
    "AWS_EC2_METADATA_DISABLED": "true",
}
SECRET = {
    "AZURE_TENANT_ID": "tenant-id",
    "AZURE_CLIENT_ID": "client-id",
    "AZURE_CLIENT_SECRET": "client-secret",
}


@pytest.fixture
def session(internet, tmp_path):
    """Open sessions whose active keychain is `name`."""

    def open_session(name, environ, warned=None):
        full = {**internet.environ, "HOME": str(tmp_path), **environ, "IMGPKG_ACTIVE_KEYCHAINS": name}
        settings = Settings(environ=full, ca_cert_paths=(str(internet.ca_file),), retry_count=1)
        said = warned if warned is not None else []
        return internet.stack.enter_context(Session(settings, on_event=said.append))

    return open_session


def basic(username, password):
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def push(client, repository):
    return client.push_blob(repository, LAYER, lambda: io.BytesIO(BLOB))


def shown(server):
    """Every Authorization that the registry has seen."""
    return {record.authorization for record in server.requests} - {""}


def test_the_token_of_a_workflow_arrives_as_a_login(registry, session):
    server = registry("ghcr.io", login=("octocat", "ghs_token"))
    run = session("github", {"GITHUB_TOKEN": "ghs_token", "GITHUB_ACTOR": "octocat"})
    assert push(run.client, Repository("ghcr.io", "team/app")) is BlobOutcome.MOVED
    assert shown(server) == {basic("octocat", "ghs_token")}


def test_an_access_token_of_google_arrives_as_a_login(registry, session):
    server = registry("europe-docker.pkg.dev", login=("_token", "ya29.metadata"))
    metadata = GoogleMetadata()
    with serving(metadata) as place:
        run = session("gke", {"GCE_METADATA_HOST": place.address, "PATH": ""})
        for path in ("project/one", "project/two"):
            assert push(run.client, Repository("europe-docker.pkg.dev", path)) is not None
    assert shown(server) == {basic("_token", "ya29.metadata")}
    assert metadata.tokens == 1


def test_an_authorization_token_of_aws_arrives_as_a_login(registry, session):
    server = registry(ECR_HOST, login=("AWS", "ecr-password"))
    with serving(Ecr()) as api:
        run = session("ecr", {**KEYS, "AWS_ENDPOINT_URL_ECR": api.url})
        assert push(run.client, Repository(ECR_HOST, "team/app")) is BlobOutcome.MOVED
    assert shown(server) == {basic("AWS", "ecr-password")}


def test_a_refresh_token_of_azure_arrives_at_the_token_service_only(registry, session, internet):
    access = AcrAccess(AzureRegistry())
    server = registry("team.azurecr.io", access=access)
    internet.host("login.microsoftonline.com", EntraId())
    run = session("aks", SECRET)
    assert push(run.client, Repository("team.azurecr.io", "team/app")) is BlobOutcome.MOVED
    assert len(access.exchange.calls) == 1
    assert all(value.startswith("Bearer ") for value in shown(server))
    assert not any(access.exchange.refresh_token in value for value in shown(server))
    assert {"/oauth2/exchange", "/token"} < {record.path for record in server.requests}


@pytest.mark.parametrize(
    ("name", "host", "environ"),
    [
        ("github", "ghcr.io.example.com", {"GITHUB_TOKEN": "ghs_token"}),
        ("ecr", f"{ECR_HOST}.example.com", KEYS),
        ("aks", "team.azurecr.io.example.com", SECRET),
        ("gke", "gcr.io.example.com", {"GCE_METADATA_HOST": "127.0.0.1:1", "PATH": ""}),
    ],
)
def test_a_look_alike_host_receives_nothing(name, host, environ, registry, session):
    server = registry(host, login=("somebody", "else"))
    with pytest.raises(Unauthorized) as caught:
        push(session(name, environ).client, Repository(host, "team/app"))
    assert shown(server) == set()
    assert not any(record.path.startswith("/oauth2") for record in server.requests)
    assert any(f"{name}: no match" in hint for hint in caught.value.hints)


def test_a_keychain_that_fails_is_reported_by_the_401_and_warned_about_once(registry, session):
    registry(ECR_HOST, login=("AWS", "ecr-password"))
    warned = []
    with serving(Ecr(failing="You are not authorized")) as api:
        run = session("ecr", {**KEYS, "AWS_ENDPOINT_URL_ECR": api.url}, warned)
        for path in ("team/one", "team/two"):
            with pytest.raises(Unauthorized) as caught:
                push(run.client, Repository(ECR_HOST, path))
    assert any(hint.startswith("ecr: failed: ") and "not authorized" in hint for hint in caught.value.hints)
    texts = [event.text for event in warned]
    assert len(texts) == 1
    assert texts[0].startswith(f"keychain 'ecr' gave no credential for {ECR_HOST}: ")


def test_a_token_that_ends_in_mid_copy_is_replaced_before_a_request_is_lost(registry, internet, tmp_path):
    clock = Clock()

    class Now:
        """A registry that takes only the password of the hour."""

        def check(self, request, needs):
            LoginAccess([Account("AWS", ecr.password)]).check(request, needs)

        def endpoint(self, request):
            return None

    ecr = Ecr(clock=clock)
    server = registry(ECR_HOST, access=Now())
    with serving(ecr) as api, Pool(ca_cert_paths=[str(internet.ca_file)], environ=internet.environ) as pool:
        environ = {**KEYS, "HOME": str(tmp_path), "AWS_ENDPOINT_URL_ECR": api.url}
        keychain = Keychain([EcrSource(environ, print, clock=clock)])
        client = RegistryClient(pool, keychain, retry_count=1, clock=clock)
        push(client, Repository(ECR_HOST, "team/one"))
        before = len(server.requests)
        clock.now += 12 * 3600 - 299
        ecr.password = "second"
        push(client, Repository(ECR_HOST, "team/one-more"))
        push(client, Repository(ECR_HOST, "team/one"))
        has = [
            client.has_blob(Repository(ECR_HOST, path), LAYER.digest)
            for path in ("team/one", "team/one-more")
        ]
    assert has == [True, True]
    assert len(ecr.calls) == 2
    assert {record.status for record in server.requests[before:]}.isdisjoint({401})
    assert {record.authorization for record in server.requests[before:]} == {basic("AWS", "second")}


def test_an_identity_token_is_renewed_in_mid_copy(registry, internet, tmp_path):
    from imgpkg.auth.cloud.aks import AksSource

    clock = Clock()
    access = AcrAccess(AzureRegistry())
    registry("team.azurecr.io", access=access)
    internet.host("login.microsoftonline.com", EntraId())
    environ = {**internet.environ, **SECRET}
    with Pool(ca_cert_paths=[str(internet.ca_file)], environ=environ) as pool:
        keychain = Keychain([AksSource(environ, pool, print, clock=clock)])
        client = RegistryClient(pool, keychain, retry_count=1, clock=clock)
        push(client, Repository("team.azurecr.io", "team/one"))
        clock.now += 3 * 3600 - 240
        push(client, Repository("team.azurecr.io", "team/two"))
    assert len(access.exchange.calls) == 2
