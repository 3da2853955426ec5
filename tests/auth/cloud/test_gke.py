"""Application Default Credentials against a metadata server and token endpoints, gcloud as a real program."""

from __future__ import annotations

import json
import logging
import os
import threading

import pytest
from tests.servers.cloud import (
    CLOUD_PLATFORM,
    WORKLOAD_POOL,
    Answer,
    GoogleMetadata,
    GoogleTokens,
    measured,
    serving,
)
from tests.servers.raw import RawServer

from imgpkg.auth.cloud.gke import GkeSource, is_google
from imgpkg.auth.cloud.google import PROBE_SECONDS
from imgpkg.auth.keychain import Keychain, Outcome
from imgpkg.oci.reference import Repository

pytestmark = pytest.mark.measured

HERE = Repository.parse("europe-docker.pkg.dev/project/team/app")


def metadata_environ(server):
    return {**measured(), "GCE_METADATA_HOST": server.address, "PATH": ""}


def service_account(folder, pem, token_uri, **more):
    path = folder / "key.json"
    key = {
        "type": "service_account",
        "client_email": "robot@project.iam.gserviceaccount.com",
        "private_key": pem,
        "private_key_id": "key-1",
        "token_uri": token_uri,
        **more,
    }
    path.write_text(json.dumps(key))
    return {**measured(), "GOOGLE_APPLICATION_CREDENTIALS": str(path), "PATH": ""}


def gcloud(folder, body):
    folder.mkdir(exist_ok=True)
    program = folder / "gcloud"
    program.write_text(f'#!/bin/sh\necho "$*" >> "{folder}/calls"\n{body}\n')
    program.chmod(0o755)
    return {**measured(), "PATH": f"{folder}:/usr/bin:/bin", "NO_GCE_CHECK": "true"}


def printing(token, expiry="2099-01-01T00:00:00Z"):
    return f"""echo '{{"credential": {{"access_token": "{token}", "token_expiry": "{expiry}"}}}}'"""


@pytest.mark.parametrize(
    "host",
    [
        "gcr.io",
        "eu.gcr.io",
        "a.b.gcr.io",
        "europe-docker.pkg.dev",
        "x.google.com",
        "GCR.io",
        "gcr.io:443",
        "gcr.io:8443",
    ],
)
def test_a_registry_of_google_is_recognised(host):
    source = GkeSource({"PATH": "", "NO_GCE_CHECK": "true"}, lambda _: None)
    assert source.lookup(Repository(host, "team/app")).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    "host",
    [
        "gcr.io.example.com",
        "xgcr.io",
        "pkg.dev",
        "google.com",
        "evilpkg.dev",
        "eu.gcr.io.example.com:443",
        "gcr.io.",
        "docker.io",
        "europe-docker.pkg.dev.example.com",
    ],
)
def test_a_look_alike_host_is_not_and_no_request_is_sent(host):
    with serving(GoogleMetadata()) as server:
        finding = GkeSource(metadata_environ(server), print).lookup(Repository(host, "team/app"))
    assert finding.outcome is Outcome.NO_MATCH
    assert server.connections == 0
    assert not is_google(host)


def test_the_metadata_server_gives_the_token_of_the_machine(clock):
    with serving(GoogleMetadata()) as server:
        finding = GkeSource(metadata_environ(server), print, clock=clock).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED
    assert (finding.credential.username, finding.credential.password) == ("_token", "ya29.metadata")
    assert clock.now + 3200 < finding.credential.expires_at < clock.now + 3400
    assert "compute_engine" in finding.origin
    assert all(request.header("Metadata-Flavor") == "Google" for request in server.requests)
    assert not any("project-id" in request.target for request in server.requests)


def test_a_metadata_server_found_by_its_address_is_probed_once():
    with serving(GoogleMetadata()) as server:
        environ = {**metadata_environ(server), "GCE_METADATA_IP": server.address}
        assert GkeSource(environ, print).lookup(HERE).outcome is Outcome.MATCHED
    assert [request.target for request in server.requests].count("/") == 1


def test_two_environments_of_one_process_have_metadata_servers_of_their_own():
    with serving(GoogleMetadata("ya29.one")) as one, serving(GoogleMetadata("ya29.two")) as two:
        given = [GkeSource(metadata_environ(server), print).lookup(HERE) for server in (one, two, one)]
    assert [finding.credential.password for finding in given] == ["ya29.one", "ya29.two", "ya29.one"]


def test_off_the_cloud_one_probe_is_made_for_all_images():
    def silent(conversation):
        conversation.receive()
        conversation.pause()

    warnings = []
    with RawServer(silent) as nobody:
        source = GkeSource({**measured(), "GCE_METADATA_IP": nobody.address, "PATH": ""}, warnings.append)
        findings = [source.lookup(Repository("gcr.io", f"team/app{n}")) for n in range(20)]
        other = source.lookup(HERE)
    assert nobody.connections * sum(PROBE_SECONDS) <= 2
    assert nobody.connections == 1
    assert {finding.outcome for finding in (*findings, other)} == {Outcome.FAILED}
    assert "default credentials were not found" in findings[0].detail
    assert "there is no gcloud on PATH" in findings[0].detail
    assert [text.partition(": ")[0] for text in warnings] == [
        "keychain 'gke' gave no credential for gcr.io",
        "keychain 'gke' gave no credential for europe-docker.pkg.dev",
    ]


def test_a_service_account_signs_its_request(tmp_path, rsa_key, rsa_pem):
    tokens = GoogleTokens(rsa_key.public_key())
    with serving(tokens) as server:
        environ = service_account(tmp_path, rsa_pem, f"{server.url}/token")
        finding = GkeSource(environ, print).lookup(HERE)
    assert finding.credential.password == "ya29.tokens"
    assert "service_account" in finding.origin


def test_a_service_account_with_another_key_is_refused_and_the_reason_is_reported(tmp_path, rsa_pem):
    from cryptography.hazmat.primitives.asymmetric import rsa

    tokens = GoogleTokens(rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key())
    with serving(tokens) as server:
        environ = service_account(tmp_path, rsa_pem, f"{server.url}/token")
        finding = GkeSource(environ, print).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "the assertion does not verify: Signature verification failed" in finding.detail
    assert tokens.tokens == 0


def test_a_user_is_asked_for_at_google_through_the_proxy(tmp_path, internet):
    server = internet.host("oauth2.googleapis.com", GoogleTokens())
    path = tmp_path / "application_default_credentials.json"
    user = {
        "type": "authorized_user",
        "client_id": "client",
        "client_secret": "client-secret",
        "refresh_token": "refresh",
        "token_uri": "https://evil.example/token",
    }
    path.write_text(json.dumps(user))
    environ = {**internet.environ, "CLOUDSDK_CONFIG": str(tmp_path), "PATH": ""}
    finding = GkeSource(environ, print).lookup(HERE)
    assert finding.credential.password == "ya29.tokens"
    assert internet.asked == ["oauth2.googleapis.com:443"]
    assert len(server.requests) == 1


def test_the_login_of_a_user_needs_no_gcloud(tmp_path, internet, monkeypatch):
    """google-auth would run one, from the current folder too, to learn a project that nobody asks for."""
    internet.host("oauth2.googleapis.com", GoogleTokens())
    environ = gcloud(tmp_path / "bin", "echo project")
    monkeypatch.chdir(tmp_path / "bin")
    fields = {"client_id": "client", "client_secret": "client-secret", "refresh_token": "refresh"}
    config = tmp_path / "application_default_credentials.json"
    config.write_text(json.dumps({"type": "authorized_user", **fields}))
    places = [{"PATH": environ["PATH"]}, {"PATH": ""}, {"PATH": "."}, {}]
    programs = {"PATH": ".:bin", "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": "1"}
    for place in (*places, programs):
        given = {**internet.environ, "CLOUDSDK_CONFIG": str(tmp_path), **place}
        assert GkeSource(given, print).lookup(HERE).credential.password == "ya29.tokens"
    assert not (tmp_path / "bin" / "calls").exists()


@pytest.mark.parametrize(("allowed", "outcome"), [("1", Outcome.MATCHED), ("0", Outcome.FAILED)])
def test_a_workload_may_get_its_token_from_a_program(allowed, outcome, tmp_path, internet):
    internet.host("sts.googleapis.com", GoogleTokens())
    program = tmp_path / "give-token"
    answer = {
        "version": 1,
        "success": True,
        "token_type": "urn:ietf:params:oauth:token-type:jwt",
        "id_token": "token-of-the-workload",
        "expiration_time": 4_000_000_000,
    }
    program.write_text(f"#!/bin/sh\ncat {tmp_path}/answer\n")
    program.chmod(0o755)
    (tmp_path / "answer").write_text(json.dumps(answer))
    account = {
        "type": "external_account",
        "audience": WORKLOAD_POOL,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"executable": {"command": str(program), "timeout_millis": 10000}},
    }
    (tmp_path / "external.json").write_text(json.dumps(account))
    environ = {
        **internet.environ,
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "external.json"),
        "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES": allowed,
        "PATH": f".:{tmp_path}:/usr/bin:/bin",
    }
    finding = GkeSource(environ, lambda _: None).lookup(HERE)
    assert finding.outcome is outcome, finding.detail


def workload(folder, internet, name):
    """Write the account of a workload elsewhere, and serve who exchanges its token; return its path."""
    internet.host("sts.googleapis.com", GoogleTokens())
    (folder / "subject").write_text("token-of-the-workload")
    account = {
        "type": "external_account",
        "audience": WORKLOAD_POOL,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"file": str(folder / "subject")},
    }
    path = folder / name
    path.write_text(json.dumps(account))
    return path


def test_a_workload_of_another_cloud_exchanges_its_token(tmp_path, internet):
    path = workload(tmp_path, internet, "external.json")
    environ = {**internet.environ, "GOOGLE_APPLICATION_CREDENTIALS": str(path), "PATH": ""}
    finding = GkeSource(environ, print).lookup(HERE)
    assert finding.credential.password == "ya29.tokens", finding.detail
    assert internet.asked == ["sts.googleapis.com:443"]


def test_a_service_account_is_impersonated_by_a_user(tmp_path, internet):
    robot = "robot@project.iam.gserviceaccount.com"
    asked = []

    def iam(received):
        asked.append((received.header("Authorization"), json.loads(received.body)["scope"]))
        return Answer(200, {"accessToken": "ya29.robot", "expireTime": "2099-01-01T00:00:00Z"})

    internet.host("oauth2.googleapis.com", GoogleTokens())
    internet.host("iamcredentials.googleapis.com", iam)
    user = {
        "type": "authorized_user",
        "client_id": "client",
        "client_secret": "client-secret",
        "refresh_token": "refresh",
    }
    url = f"https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{robot}:generateAccessToken"
    account = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": url,
        "source_credentials": user,
    }
    path = tmp_path / "impersonated.json"
    path.write_text(json.dumps(account))
    environ = {**internet.environ, "GOOGLE_APPLICATION_CREDENTIALS": str(path), "PATH": ""}
    finding = GkeSource(environ, print).lookup(HERE)
    assert finding.credential is not None, finding.detail
    assert finding.credential.password == "ya29.robot"
    assert asked == [("Bearer ya29.tokens", [CLOUD_PLATFORM])]


def test_a_key_file_that_is_not_there_stops_the_search_before_the_metadata_server(tmp_path):
    with serving(GoogleMetadata()) as server:
        environ = {
            **metadata_environ(server),
            "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing.json"),
        }
        finding = GkeSource(environ, print).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "missing.json was not found" in finding.detail
    assert server.connections == 0


def test_gcloud_gives_the_token_when_there_are_no_default_credentials(tmp_path):
    environ = gcloud(tmp_path / "bin", printing("ya29.gcloud"))
    finding = GkeSource(environ, print).lookup(HERE)
    assert (finding.credential.username, finding.credential.password) == ("_token", "ya29.gcloud")
    assert finding.origin == "gcloud"
    calls = (tmp_path / "bin" / "calls").read_text().splitlines()
    assert calls == ["config config-helper --force-auth-refresh --format=json(credential)"]


def test_default_credentials_come_before_gcloud(tmp_path):
    with serving(GoogleMetadata()) as server:
        environ = {**gcloud(tmp_path / "bin", printing("ya29.gcloud")), **metadata_environ(server)}
        environ.update(PATH=f"{tmp_path}/bin", NO_GCE_CHECK="")
        assert GkeSource(environ, print).lookup(HERE).credential.password == "ya29.metadata"
    assert not (tmp_path / "bin" / "calls").exists()


def test_a_token_is_renewed_before_it_ends(clock):
    metadata = GoogleMetadata()
    with serving(metadata) as server:
        source = GkeSource(metadata_environ(server), print, clock=clock)
        first = source.lookup(HERE)
        # The SDK counts from when it was answered, in whole seconds.
        assert int(clock.now) + 3300 <= first.credential.expires_at < clock.now + 3420
        clock.now = first.credential.expires_at - 1
        assert source.lookup(HERE) == first
        clock.now = first.credential.expires_at
        metadata.token, metadata.lifetime = "ya29.second", 2 * 3600
        assert source.lookup(HERE).credential.password == "ya29.second"
    assert metadata.tokens == 2


def test_many_threads_ask_once(clock):
    metadata = GoogleMetadata()
    with serving(metadata) as server:
        source = GkeSource(metadata_environ(server), print, clock=clock)
        threads = [threading.Thread(target=source.lookup, args=(HERE,)) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert metadata.tokens == 1


def test_nothing_is_logged_and_no_warning_printed(tmp_path, rsa_key, rsa_pem, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    tokens = GoogleTokens(rsa_key.public_key())
    with serving(tokens) as server:
        environ = service_account(tmp_path, rsa_pem, f"{server.url}/token")
        finding = GkeSource(environ, print).lookup(HERE)
    assert finding.outcome is Outcome.MATCHED
    assert "ya29" not in caplog.text
    assert "assertion" not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_an_answer_without_a_token_is_a_failure_that_shows_none_of_it(clock):
    def odd(received):
        said = GoogleMetadata()(received)
        return (
            Answer(200, {"id_token": "eyJhbGciOi.secret.x", "expires_in": 1})
            if "token?" in received.target
            else said
        )

    warnings = []
    with serving(odd) as server:
        finding = GkeSource(metadata_environ(server), warnings.append, clock=clock).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "secret" not in f"{finding} {warnings}"


def test_credentials_without_an_end_are_not_used(tmp_path, rsa_pem):
    """A service account of another scheme gives a token that says nothing about its end."""
    with serving(lambda received: Answer(200, {"access_token": "ya29.x", "token_type": "Bearer"})) as server:
        environ = service_account(tmp_path, rsa_pem, f"{server.url}/token")
        finding = GkeSource(environ, print).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "gave no token with its time of expiry" in finding.detail


def test_a_failure_is_in_the_trail_and_the_chain_goes_on():
    source = GkeSource({"PATH": "", "NO_GCE_CHECK": "true"}, lambda _: None)
    decision = Keychain([source]).resolve(HERE)
    assert decision.credential.is_anonymous
    assert "gke: failed: Application Default Credentials: " in decision.explain()
    assert CLOUD_PLATFORM not in decision.explain()


def test_gcloud_does_not_look_for_a_metadata_server_that_was_not_there(tmp_path, clock):
    """Where names are not answered, gcloud takes a minute to find out."""
    asked = tmp_path / "asked"
    body = f'echo "$CLOUDSDK_CORE_CHECK_GCE_METADATA" >> {asked}\n{printing("ya29.gcloud")}'
    with RawServer(lambda conversation: conversation.reset()) as nobody:
        off_cloud = {**gcloud(tmp_path / "bin", body), "NO_GCE_CHECK": "", "GCE_METADATA_IP": nobody.address}
        for environ in (
            off_cloud,
            {**off_cloud, "NO_GCE_CHECK": "true"},
            {**off_cloud, "CLOUDSDK_CORE_CHECK_GCE_METADATA": "True"},
            {**off_cloud, "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "missing.json")},
        ):
            assert GkeSource(environ, print, clock=clock).lookup(HERE).outcome is Outcome.MATCHED
    assert asked.read_text().splitlines() == ["false", "false", "True", ""]


def test_other_threads_see_the_environment_as_it_is(tmp_path, internet, rsa_key, rsa_pem, monkeypatch):
    """They may run programs, and have projects of their own."""
    seen = []

    def looking(received):
        seen.append(dict(os.environ))
        return GoogleTokens(rsa_key.public_key())(received)

    with serving(looking) as server:
        for name, value in service_account(tmp_path, rsa_pem, f"{server.url}/token").items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PATH", "/usr/bin:/bin")
        before = dict(os.environ)
        GkeSource(before, print).lookup(HERE)
    assert seen == [before]


@pytest.mark.parametrize("named", [True, False])
def test_the_project_of_a_workload_is_not_asked_for(named, tmp_path, internet):
    path = workload(tmp_path, internet, "application_default_credentials.json")
    place = {"GOOGLE_APPLICATION_CREDENTIALS": str(path)} if named else {"CLOUDSDK_CONFIG": str(tmp_path)}
    finding = GkeSource({**internet.environ, **place, "PATH": ""}, print).lookup(HERE)
    assert finding.credential is not None, finding.detail
    assert internet.asked == ["sts.googleapis.com:443"]
