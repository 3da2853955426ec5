"""The command itself pulls from each cloud's own host name, through a CONNECT proxy and a private CA."""

from __future__ import annotations

import json

import pytest
from tests.auth.cloud.azure_access import AcrAccess
from tests.auth.cloud.commands import ECR_HOST, KEYS, SECRET
from tests.servers.client import basic
from tests.servers.cloud import AzureRegistry, Ecr, EntraId, GoogleMetadata, GoogleTokens

from imgpkg.auth.activation import DEPRECATION
from imgpkg.embedded.access import Account
from imgpkg.embedded.tokens import TokenAccess

NOWHERE = {"NO_GCE_CHECK": "true", "PATH": "/nowhere"}


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
    # On a busy machine an SDK may take so long to load that the user is told.
    assert [line for line in done.stderr.splitlines() if "no answer for 5 s" not in line] == []
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
    done = cloud.pull("team.azurecr.io", "aks", **SECRET, IMGPKG_REGISTRY_AZURE_CR_CONFIG="/etc/azure.json")
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


def test_anonymous_access_by_flag_leaves_a_keychain_on(cloud):
    cloud.demand("ghcr.io", "unset", "ghs_token")
    variables = {"IMGPKG_ACTIVE_KEYCHAINS": "github", "GITHUB_TOKEN": "ghs_token"}
    done = cloud.run("pull", "-i", "ghcr.io/team/app:v1", "-o", "out", "--registry-anon", **variables)
    assert cloud.has_arrived(done)
    assert cloud.shown == {basic("unset", "ghs_token")}


@pytest.mark.parametrize(
    ("name", "host", "login"),
    [("gke", "gcr.io", ("_token", "ya29.metadata")), ("github", "ghcr.io", ("unset", "ghs_token"))],
)
def test_a_token_service_alone_is_shown_the_login(name, host, login, cloud, here):
    """The registries of Google and GitHub ask for tokens of their own; so does this one."""
    cloud.stock(host, TokenAccess([Account(*login)]))
    variables = {"GCE_METADATA_HOST": here(GoogleMetadata()).address, "GITHUB_TOKEN": "ghs_token"}
    assert cloud.has_arrived(cloud.pull(host, name, **variables))
    by_path = {
        record.path == "/token": record.authorization for record in cloud.requests if record.authorization
    }
    assert by_path[True] == basic(*login)
    assert by_path[False].startswith("Bearer ")
    assert [record.authorization for record in cloud.requests].count(basic(*login)) == 1


def test_an_environment_set_comes_before_a_keychain_and_a_keychain_before_flags(cloud):
    cloud.demand("ghcr.io", "octocat", "ghs_token")
    flags = {"IMGPKG_USERNAME": "flag", "IMGPKG_PASSWORD": "flag-secret"}
    variables = {"GITHUB_TOKEN": "ghs_token", "GITHUB_ACTOR": "octocat", **flags}
    done = cloud.pull("ghcr.io", "github", **variables)
    assert cloud.has_arrived(done)
    named = {"HOSTNAME": "ghcr.io", "USERNAME": "set", "PASSWORD": "set-secret"}
    sets = {f"IMGPKG_REGISTRY_{kind}_0": value for kind, value in named.items()}
    done = cloud.pull("ghcr.io", "github", **variables, **sets)
    assert done.returncode == 4
    assert cloud.shown == {basic("octocat", "ghs_token"), basic("set", "set-secret")}


def test_without_an_active_keychain_no_request_is_sent(cloud, here):
    cloud.demand("gcr.io", "_token", "ya29.metadata")
    metadata = here(GoogleMetadata())
    done = cloud.pull("gcr.io", "", GCE_METADATA_HOST=metadata.address)
    assert done.returncode == 4
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
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        "imgpkg: Error: Creating registry keychain:\n"
        "  Unable to load keychain for ghcr, available keychains [aks, ecr, gke, github]\n"
        "hint: $IMGPKG_ACTIVE_KEYCHAINS takes a list "
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
    assert (done.returncode, done.stdout) == (4, "")
    lines = done.stderr.splitlines()
    warnings = [line for line in lines if line.startswith("imgpkg: warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"imgpkg: warning: keychain '{name}' gave no credential for {host}: ")
    assert 401 in cloud.statuses
    assert "UNAUTHORIZED: authentication required" in done.stderr
    refused, remedy = lines[len(warnings) :][:2]
    assert f"no credential was sent to the registry {host}: none was found for {host}/team/app" in refused
    assert remedy.startswith(f"hint: The keychain '{name}' is active and gave nothing: ")
    assert ("imgpkg auth login" in done.stderr) == (name != "ecr")
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
    lines = [line for line in done.stdout.splitlines() if not line.startswith("  fingerprint: ")]
    assert lines == [
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
