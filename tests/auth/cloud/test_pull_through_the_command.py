"""The command itself pulls from each cloud's own host name, through a CONNECT proxy and a private CA."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from tests.auth.cloud.azure_access import AcrAccess
from tests.servers.client import basic
from tests.servers.cloud import AzureRegistry, Ecr, EntraId, GoogleMetadata, GoogleTokens, serving
from tests.servers.images import make_image, tar_layer, upload

from imgpkg.auth.activation import DEPRECATION
from imgpkg.embedded.access import Account, LoginAccess, OpenAccess
from imgpkg.embedded.faults import NO_FAULT, Fault

ECR_HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
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
NOWHERE = {"NO_GCE_CHECK": "true", "PATH": "/nowhere"}
HALF_A_LIFE = 1.0


class Stocking:
    """Lets everything pass while the test fills the shelves, then leaves it to another access."""

    def __init__(self, access):
        self.access = access
        self.is_open = True

    def check(self, request, needs):
        (OpenAccess() if self.is_open else self.access).check(request, needs)

    def endpoint(self, request):
        return self.access.endpoint(request)


class Cloud:
    """A cloud on the internet of the test: its registries have an image `team/app:v1`."""

    def __init__(self, internet, registry, folder):
        self.internet, self.registry, self.folder = internet, registry, folder
        self.context = ssl.create_default_context(cafile=str(internet.ca_file))
        # The test puts its images in under the number of the host, not under its name.
        self.context.check_hostname = False

    def stock(self, host, access, image=None, **options):
        """Start a registry; what it is asked from now on is in `shown` and `statuses`."""
        stocking = Stocking(access)
        self.server = self.registry(host, access=stocking, **options)
        upload(image or make_image(), self.server.address, "team/app", "v1", context=self.context)
        stocking.is_open = False
        self.seen = len(self.server.requests)

    def demand(self, host, username, password):
        """Start a registry that wants a login."""
        self.stock(host, LoginAccess([Account(username, password)]))

    @property
    def requests(self):
        return self.server.requests[self.seen :]

    @property
    def shown(self):
        """Every Authorization that the registry has seen."""
        return {record.authorization for record in self.requests} - {""}

    @property
    def statuses(self):
        return [record.status for record in self.requests]

    def run(self, *arguments, **variables):
        """Run the command; only its flag tells it about the authority of the registries."""
        known = {name: value for name, value in self.internet.environ.items() if name != "SSL_CERT_FILE"}
        return subprocess.run(
            [sys.executable, "-m", "imgpkg", *arguments, "--registry-ca-cert-path", self.internet.ca_file],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, **known, **variables},
            timeout=120,
            check=False,
        )

    def pull(self, host, keychains, **variables):
        active = {"IMGPKG_ACTIVE_KEYCHAINS": keychains} if keychains else {}
        return self.run("pull", "-i", f"{host}/team/app:v1", "-o", "out", **active, **variables)

    def has_arrived(self, done):
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
        return {path.name: path.read_text() for path in (self.folder / "out").iterdir()} == {
            "hello.txt": "hello\n"
        }


@pytest.fixture
def cloud(internet, registry, tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return Cloud(internet, registry, folder)


@pytest.fixture
def here():
    """Put servers on loopback for the time of a test."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(serving(answer))


@pytest.mark.parametrize("host", ["gcr.io", "eu.gcr.io", "europe-docker.pkg.dev"])
def test_gke_pulls_with_the_token_of_the_machine(host, cloud, here):
    cloud.demand(host, "_token", "ya29.metadata")
    metadata = GoogleMetadata()
    done = cloud.pull(host, "gke", GCE_METADATA_HOST=here(metadata).address)
    assert cloud.has_arrived(done)
    assert done.stderr == ""
    assert cloud.shown == {basic("_token", "ya29.metadata")}
    assert metadata.tokens == 1


def test_gke_pulls_with_the_signature_of_a_service_account(cloud, here, tmp_path, rsa_key, rsa_pem):
    cloud.demand("gcr.io", "_token", "ya29.tokens")
    key = {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key": rsa_pem,
        "private_key_id": "key-1",
        "token_uri": f"{here(GoogleTokens(rsa_key.public_key())).url}/token",
    }
    (tmp_path / "key.json").write_text(json.dumps(key))
    done = cloud.pull("gcr.io", "gke", GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "key.json"))
    assert cloud.has_arrived(done)
    assert cloud.shown == {basic("_token", "ya29.tokens")}


def test_gke_pulls_with_the_account_of_gcloud(cloud, tmp_path):
    cloud.demand("gcr.io", "_token", "ya29.gcloud")
    answer = {"credential": {"access_token": "ya29.gcloud", "token_expiry": "2099-01-01T00:00:00Z"}}
    (tmp_path / "gcloud").write_text(f"#!/bin/sh\necho '{json.dumps(answer)}'\n")
    (tmp_path / "gcloud").chmod(0o755)
    done = cloud.pull("gcr.io", "gke", NO_GCE_CHECK="true", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert cloud.has_arrived(done)
    assert cloud.shown == {basic("_token", "ya29.gcloud")}


def test_ecr_pulls_with_a_token_of_its_account_and_region(cloud, internet):
    cloud.demand(ECR_HOST, "AWS", "ecr-password")
    api = Ecr()
    internet.host("api.ecr.eu-west-1.amazonaws.com", api)
    done = cloud.pull(ECR_HOST, "ecr", **KEYS)
    assert cloud.has_arrived(done)
    assert done.stderr == ""
    assert cloud.shown == {basic("AWS", "ecr-password")}
    assert api.asked == [("eu-west-1", "ecr", {"registryIds": ["123456789012"]})]


def test_ecr_takes_the_second_pulls_token_from_the_disk(cloud, here):
    cloud.demand(ECR_HOST, "AWS", "ecr-password")
    api = Ecr()
    variables = {**KEYS, "AWS_ENDPOINT_URL_ECR": here(api).url}
    assert all(cloud.has_arrived(cloud.pull(ECR_HOST, "ecr", **variables)) for _ in range(2))
    assert len(api.calls) == 1


def test_ecr_pulls_from_the_public_registry(cloud, here):
    cloud.demand("public.ecr.aws", "AWS", "ecr-password")
    api = Ecr()
    done = cloud.pull("public.ecr.aws", "ecr", **KEYS, AWS_ENDPOINT_URL_ECR_PUBLIC=here(api).url)
    assert cloud.has_arrived(done)
    assert cloud.shown == {basic("AWS", "ecr-password")}
    assert api.asked == [("us-east-1", "ecr-public", {})]


def test_aks_pulls_with_a_token_for_its_refresh_token(cloud, internet):
    access = AcrAccess(AzureRegistry())
    cloud.stock("team.azurecr.io", access)
    internet.host("login.microsoftonline.com", EntraId())
    done = cloud.pull("team.azurecr.io", "aks", **SECRET)
    assert cloud.has_arrived(done)
    assert done.stderr == ""
    refresh_token = access.exchange.refresh_token
    assert len(access.exchange.calls) == 1
    assert {value.partition(" ")[0] for value in cloud.shown} == {"Bearer"}
    assert not any(refresh_token in value for value in cloud.shown)
    asked = {path for record in cloud.requests if (path := record.path).startswith(("/oauth2", "/token"))}
    assert asked == {"/oauth2/exchange", "/token"}


def test_github_pulls_with_the_token_of_the_workflow(cloud):
    cloud.demand("ghcr.io", "octocat", "ghs_token")
    done = cloud.pull("ghcr.io", "github", GITHUB_TOKEN="ghs_token", GITHUB_ACTOR="octocat")
    assert cloud.has_arrived(done)
    assert done.stderr == ""
    assert cloud.shown == {basic("octocat", "ghs_token")}


def test_an_environment_set_comes_before_a_keychain_and_a_keychain_before_flags(cloud):
    cloud.demand("ghcr.io", "octocat", "ghs_token")
    flags = {"IMGPKG_USERNAME": "flag", "IMGPKG_PASSWORD": "flag-secret"}
    variables = {"GITHUB_TOKEN": "ghs_token", "GITHUB_ACTOR": "octocat", **flags}
    done = cloud.pull("ghcr.io", "github", **variables)
    assert cloud.has_arrived(done)
    named = {"HOSTNAME": "ghcr.io", "USERNAME": "set", "PASSWORD": "set-secret"}
    sets = {f"IMGPKG_REGISTRY_{kind}_0": value for kind, value in named.items()}
    done = cloud.pull("ghcr.io", "github", **variables, **sets)
    assert done.returncode == 1
    assert cloud.shown == {basic("octocat", "ghs_token"), basic("set", "set-secret")}


def test_without_an_active_keychain_nobody_is_asked(cloud, here):
    cloud.demand("gcr.io", "_token", "ya29.metadata")
    metadata = here(GoogleMetadata())
    done = cloud.pull("gcr.io", "", GCE_METADATA_HOST=metadata.address)
    assert done.returncode == 1
    assert cloud.shown == set()
    assert metadata.connections == 0


def test_the_old_variable_activates_all_and_is_noted_once_on_standard_error(cloud):
    cloud.demand("ghcr.io", "unset", "ghs_token")
    variables = {"IMGPKG_ENABLE_IAAS_AUTH": "true", "GITHUB_TOKEN": "ghs_token"}
    done = cloud.pull("ghcr.io", "nonsense", **variables)
    assert cloud.has_arrived(done)
    assert done.stderr == f"imgpkg: warning: {DEPRECATION}\n"
    listed = cloud.run("tag", "list", "-i", "ghcr.io/team/app", "--json", **variables)
    assert json.loads(listed.stdout)["Tables"][0]["Rows"][0]["name"] == "v1"
    assert listed.stderr.count(DEPRECATION) == 1


@pytest.mark.parametrize("arguments", [("pull", "-o", "out", "-i"), ("auth", "explain")])
def test_an_unknown_keychain_is_refused_before_anything_is_asked(arguments, cloud):
    done = cloud.run(*arguments, "ghcr.io/team/app", IMGPKG_ACTIVE_KEYCHAINS="github,ghcr")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "imgpkg: Error: Creating registry keychain:\n"
        "  Unable to load keychain for ghcr, available keychains [aks, ecr, gke, github]\n"
    )
    assert cloud.internet.asked == []
    assert not (cloud.folder / "out").exists()


FAILURES = [
    ("gke", "gcr.io", NOWHERE, "there is no gcloud on PATH"),
    ("ecr", ECR_HOST, {"AWS_EC2_METADATA_DISABLED": "true"}, "Unable to locate credentials"),
    ("aks", "team.azurecr.io", {**SECRET, "AZURE_CLIENT_SECRET": "hunter2"}, "Invalid client secret"),
]


@pytest.mark.parametrize(("name", "host", "environ", "why"), FAILURES)
def test_a_keychain_that_fails_is_in_the_trail_of_the_401(name, host, environ, why, cloud, internet):
    cloud.demand(host, "somebody", "else")
    internet.host("login.microsoftonline.com", EntraId())
    done = cloud.pull(host, name, **environ)
    assert (done.returncode, done.stdout) == (1, "")
    lines = done.stderr.splitlines()
    warnings = [line for line in lines if line.startswith("imgpkg: warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"imgpkg: warning: keychain '{name}' gave no credential for {host}: ")
    assert 401 in cloud.statuses
    assert "UNAUTHORIZED: authentication required" in done.stderr
    assert f"hint: no credential found for {host}/team/app; requests are anonymous" in lines
    assert any(line.startswith(f"hint: {name}: failed: ") and why in line for line in lines)
    assert any(line.startswith("hint: flags: not applicable: ") for line in lines)
    assert any(line.startswith("hint: docker config: no match: ") for line in lines)
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(("name", "host", "environ", "why"), FAILURES)
def test_the_chain_goes_on_after_a_keychain_that_fails(name, host, environ, why, cloud, internet):
    cloud.demand(host, "me", "s3cret")
    internet.host("login.microsoftonline.com", EntraId())
    done = cloud.pull(host, name, **environ, IMGPKG_USERNAME="me", IMGPKG_PASSWORD="s3cret")
    assert cloud.has_arrived(done)
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "host", "environ", "why"), FAILURES)
def test_explain_shows_what_a_keychain_found_out(name, host, environ, why, cloud, internet):
    internet.host("login.microsoftonline.com", EntraId())
    done = cloud.run("auth", "explain", f"{host}/team/app", **environ, IMGPKG_ACTIVE_KEYCHAINS=name)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0] == f"no credential found for {host}/team/app; requests are anonymous"
    assert any(line.startswith(f"  {name}: failed: ") and why in line for line in lines)
    assert f"{host}:443" not in internet.asked


def test_explain_shows_the_keychain_that_answers_and_no_secret(cloud, here):
    variables = {**KEYS, "AWS_ENDPOINT_URL_ECR": here(Ecr()).url, "IMGPKG_ACTIVE_KEYCHAINS": "github,ecr"}
    done = cloud.run("auth", "explain", f"{ECR_HOST}/team/app", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"credential for {ECR_HOST}/team/app from ecr: AWS credentials (env) (user 'AWS')",
        "  environment: no match: no IMGPKG_REGISTRY_HOSTNAME variable is set",
        f"  github: no match: {ECR_HOST} is not ghcr.io",
        "  ecr: matched: gives the login",
    ]


def test_debug_shows_requests_and_no_secret(cloud, internet):
    access = AcrAccess(AzureRegistry())
    cloud.stock("team.azurecr.io", access)
    internet.host("login.microsoftonline.com", EntraId())
    reference = "team.azurecr.io/team/app:v1"
    variables = {**SECRET, "IMGPKG_ACTIVE_KEYCHAINS": "aks"}
    done = cloud.run("pull", "-i", reference, "-o", "out", "--debug", **variables)
    assert done.returncode == 0
    printed = done.stdout + done.stderr
    assert "https://team.azurecr.io/oauth2/exchange" in printed
    sent = {value.removeprefix("Bearer ") for value in cloud.shown}
    sent |= {"client-secret", "aad for", access.exchange.refresh_token}
    assert not any(secret in printed for secret in sent)


class Living:
    """Takes each password until its end; `issued` has them all, oldest first."""

    def __init__(self, username):
        self.username = username
        self.issued = []

    def issue(self, lifetime):
        self.issued.append((f"password-{len(self.issued)}", time.time() + lifetime))
        return self.issued[-1][0]

    def check(self, request, needs):
        live = [Account(self.username, password) for password, end in self.issued if time.time() < end]
        LoginAccess(live).check(request, needs)

    def endpoint(self, request):
        return None


class AgingMetadata(GoogleMetadata):
    """A metadata server whose every token is another one."""

    def __init__(self, living):
        super().__init__(lifetime=int(2 * HALF_A_LIFE))
        self.living = living

    def __call__(self, received):
        if "/token" in received.target:
            self.token = self.living.issue(self.lifetime)
        return super().__call__(received)


class AgingEcr(Ecr):
    """An API of AWS whose every token is another one."""

    def __init__(self, living):
        super().__init__(lifetime=2 * HALF_A_LIFE)
        self.living = living

    def __call__(self, received):
        self.password = self.living.issue(self.lifetime)
        return super().__call__(received)


@pytest.mark.parametrize(
    ("name", "host", "username", "aging"),
    [("gke", "gcr.io", "_token", AgingMetadata), ("ecr", ECR_HOST, "AWS", AgingEcr)],
)
def test_a_copy_that_outlives_its_token_is_never_refused(
    name, host, username, aging, cloud, here, embedded_registry
):
    living, waited = Living(username), []

    def slow(request):
        """Give the first layers only when half of the life of a token is over."""
        if request.method != "GET" or "/blobs/" not in request.path or len(waited) == 3:
            return NO_FAULT
        waited.append(request.path)
        return Fault(delay=1.1 * HALF_A_LIFE)

    layers = [tar_layer({f"{name}-{n}.txt": str(n).encode()}) for n in range(6)]
    cloud.stock(host, living, make_image(layers), faults=slow)
    service = here(aging(living))
    places = {
        "gke": {"GCE_METADATA_HOST": service.address},
        "ecr": {**KEYS, "AWS_ENDPOINT_URL_ECR": service.url},
    }
    target = f"{embedded_registry.address}/{name}/copy"
    copying = ("copy", "-i", f"{host}/team/app:v1", "--to-repo", target, "--concurrency", "1")
    done = cloud.run(*copying, **places[name], IMGPKG_ACTIVE_KEYCHAINS=name)
    assert done.returncode == 0, done.stderr
    assert len(waited) == 3
    # Only the very first request came without a token, to learn that one is wanted.
    assert cloud.statuses.count(401) == 1
    assert cloud.requests[0].status == 401
    assert len(living.issued) >= 4
    assert cloud.requests[-1].authorization == basic(username, living.issued[-1][0])
