"""Authorization tokens from a counterpart that checks signatures, from moto, with keys from every place."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from datetime import datetime, timezone

import botocore.session
import pytest
from moto.server import ThreadedMotoServer
from tests.servers.cloud import Answer, Ecr, Imds, measured, query_of, serving
from tests.servers.raw import RawServer

from imgpkg.auth.cloud.ecr import EcrSource
from imgpkg.auth.keychain import Keychain, Outcome
from imgpkg.oci.reference import Repository

pytestmark = pytest.mark.measured

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
HERE = Repository(HOST, "team/app")
PUBLIC = Repository("public.ecr.aws", "team/app")
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDTEST", "AWS_SECRET_ACCESS_KEY": "secret-key"}
OFFLINE = {"AWS_EC2_METADATA_DISABLED": "true"}


def pointing(server, home, keys=KEYS):
    return {
        **measured(),
        **OFFLINE,
        **keys,
        "HOME": str(home),
        "AWS_ENDPOINT_URL_ECR": server.url,
        "AWS_ENDPOINT_URL_ECR_PUBLIC": server.url,
    }


def login(finding):
    return finding.credential and (finding.credential.username, finding.credential.password)


def cache_of(home):
    return json.loads((home / ".ecr" / "cache.json").read_text())


def test_a_private_registry_gets_a_token_of_its_account_and_region(tmp_path, clock):
    ecr = Ecr(clock=clock)
    with serving(ecr) as server:
        finding = EcrSource(pointing(server, tmp_path), print, clock=clock).lookup(HERE)
    assert login(finding) == ("AWS", "ecr-password")
    assert finding.origin == "AWS credentials (env)"
    assert ecr.asked == [("eu-west-1", "ecr", {"registryIds": ["123456789012"]})]
    assert abs(finding.credential.expires_at - (clock.now + 12 * 3600 - 300)) < 2


def test_the_public_registry_gets_a_token_of_its_own(tmp_path):
    ecr = Ecr()
    with serving(ecr) as server:
        finding = EcrSource(pointing(server, tmp_path), print).lookup(PUBLIC)
    assert login(finding) == ("AWS", "ecr-password")
    assert ecr.asked == [("us-east-1", "ecr-public", {})]


def test_the_public_registry_stays_anonymous_and_without_a_warning_if_there_are_no_keys(tmp_path):
    warnings = []
    source = EcrSource({**measured(), **OFFLINE, "HOME": str(tmp_path)}, warnings.append)
    assert source.lookup(PUBLIC).outcome is Outcome.NOT_APPLICABLE
    assert source.lookup(PUBLIC).outcome is Outcome.NOT_APPLICABLE
    assert warnings == []


def test_without_keys_the_chain_goes_on_and_the_trail_shows_why(tmp_path):
    warnings = []
    decision = Keychain(
        [EcrSource({**measured(), **OFFLINE, "HOME": str(tmp_path)}, warnings.append)]
    ).resolve(HERE)
    assert decision.credential.is_anonymous
    assert "ecr: failed: Unable to locate credentials" in decision.explain()
    assert warnings == [f"keychain 'ecr' gave no credential for {HOST}: Unable to locate credentials"]


@pytest.mark.parametrize(
    "host",
    [
        f"{HOST}.example.com",
        f"x{HOST}",
        "public.ecr.aws.example.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.org",
        "docker.io",
    ],
)
def test_a_look_alike_host_gets_nothing_and_no_request_is_sent(host, tmp_path):
    with serving(Ecr()) as server:
        finding = EcrSource(pointing(server, tmp_path), print).lookup(Repository(host, "team/app"))
    assert finding.outcome is Outcome.NO_MATCH
    assert server.connections == 0


def test_a_wrong_key_is_refused_and_the_reason_is_reported(tmp_path):
    warnings = []
    with serving(Ecr()) as server:
        keys = {**KEYS, "AWS_SECRET_ACCESS_KEY": "another"}
        source = EcrSource(pointing(server, tmp_path, keys), warnings.append)
        findings = [source.lookup(HERE), source.lookup(Repository(HOST, "team/other"))]
    assert [finding.outcome for finding in findings] == [Outcome.FAILED] * 2
    assert "AccessDeniedException" in findings[0].detail
    assert "the signature does not match" in findings[0].detail
    assert len(warnings) == 1
    assert server.connections == 1
    assert not (tmp_path / ".ecr").exists()


def test_moto_gives_a_token_that_is_used_once_because_it_has_ended_already(tmp_path, clock):
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        port = server._server.port
        environ = {
            **measured(),
            **OFFLINE,
            **KEYS,
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL_ECR": f"http://127.0.0.1:{port}",
        }
        source = EcrSource(environ, print, clock=clock)
        findings = [source.lookup(HERE), source.lookup(HERE)]
    finally:
        server.stop()
    assert [login(finding) for finding in findings] == [("AWS", "123456789012-auth-token")] * 2
    assert findings[0].credential.expires_at < clock.now
    assert not (tmp_path / ".ecr").exists()


@pytest.mark.parametrize(
    ("registry", "endpoints"),
    [
        # Both names are AWS's own; versions of botocore differ in which they ask.
        ("dkr.ecr-fips.us-east-1.amazonaws.com", ("ecr-fips.us-east-1", "api.ecr-fips.us-east-1")),
        (
            "dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            ("ecr-fips.us-gov-west-1", "api.ecr-fips.us-gov-west-1"),
        ),
        ("dkr-ecr.us-east-1.on.aws", ("ecr.us-east-1.api.aws",)),
        ("dkr-ecr-fips.us-east-1.on.aws", ("ecr-fips.us-east-1.api.aws",)),
        ("dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", ("ecr.cn-north-1.api.amazonwebservices.com.cn",)),
        ("dkr.ecr.us-gov-west-1.amazonaws.com", ("api.ecr.us-gov-west-1",)),
        ("dkr.ecr.cn-north-1.amazonaws.com.cn", ("api.ecr.cn-north-1.amazonaws.com.cn",)),
        ("dkr.ecr.eusc-de-east-1.amazonaws.eu", ("api.ecr.eusc-de-east-1.amazonaws.eu",)),
        ("dkr.ecr.us-iso-east-1.c2s.ic.gov", ("api.ecr.us-iso-east-1.c2s.ic.gov",)),
        ("dkr.ecr.us-isob-east-1.sc2s.sgov.gov", ("api.ecr.us-isob-east-1.sc2s.sgov.gov",)),
        ("dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk", ("api.ecr.eu-isoe-west-1.cloud.adc-e.uk",)),
        ("dkr.ecr.us-isof-south-1.csp.hci.ic.gov", ("api.ecr.us-isof-south-1.csp.hci.ic.gov",)),
    ],
)
@pytest.mark.unmeasured
def test_the_host_name_chooses_partition_fips_and_dual_stack(registry, endpoints, tmp_path, internet):
    names = [name if name.count(".") > 2 else f"{name}.amazonaws.com" for name in endpoints]
    for name in names:
        internet.host(name, Ecr())
    environ = {**internet.environ, **OFFLINE, **KEYS, "HOME": str(tmp_path)}
    finding = EcrSource(environ, print).lookup(Repository(f"123456789012.{registry}", "team/app"))
    assert login(finding) == ("AWS", "ecr-password"), finding.detail
    assert len(internet.asked) == 1
    assert internet.asked[0] in [f"{name}:443" for name in names]


def test_keys_of_a_profile_are_found(tmp_path):
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[other]\naws_access_key_id = AKIDTEST\naws_secret_access_key = secret-key\n"
    )
    with serving(Ecr()) as server:
        environ = pointing(server, tmp_path, {"AWS_PROFILE": "other"})
        finding = EcrSource(environ, print).lookup(HERE)
    assert login(finding) == ("AWS", "ecr-password")
    assert "shared-credentials-file" in finding.origin


def test_keys_of_a_single_sign_on_are_fetched_with_its_token(tmp_path):
    """A process of its own: botocore looks for the home that holds the token when it is imported."""
    start = "https://team.awsapps.example/start"
    cached = tmp_path / ".aws" / "sso" / "cache"
    cached.mkdir(parents=True)
    token = {"startUrl": start, "accessToken": "token-of-the-login", "expiresAt": "2099-01-01T00:00:00Z"}
    (cached / f"{hashlib.sha1(start.encode()).hexdigest()}.json").write_text(json.dumps(token))
    (tmp_path / ".aws" / "config").write_text(
        f"[profile office]\nsso_start_url = {start}\nsso_region = eu-west-1\n"
        "sso_account_id = 123456789012\nsso_role_name = puller\n"
    )

    def portal(received):
        asked = (query_of(received), received.header("x-amz-sso_bearer_token"))
        if asked != ({"role_name": "puller", "account_id": "123456789012"}, "token-of-the-login"):
            return Answer(401, {"message": "Session token not found or invalid"})
        keys = {"accessKeyId": "AKIDROLE", "secretAccessKey": "role-key", "sessionToken": "s"}
        return Answer(200, {"roleCredentials": {**keys, "expiration": 4_000_000_000_000}})

    with serving(portal) as sso, serving(Ecr({"AKIDROLE": "role-key"})) as server:
        environ = pointing(server, tmp_path, {"AWS_PROFILE": "office", "AWS_ENDPOINT_URL_SSO": sso.url})
        done = subprocess.run(
            [sys.executable, "-m", "imgpkg", "auth", "explain", f"{HOST}/team/app"],
            capture_output=True,
            text=True,
            env={**os.environ, **environ, "IMGPKG_ACTIVE_KEYCHAINS": "ecr"},
            check=True,
            timeout=120,
        )
    first = done.stdout.splitlines()[0]
    assert first == f"credential for {HOST}/team/app from ecr: AWS credentials (sso) (user 'AWS')"
    assert "token-of-the-login" not in done.stdout + done.stderr


def test_a_missing_profile_is_a_failure_with_its_name(tmp_path):
    finding = EcrSource(
        {**measured(), **OFFLINE, "HOME": str(tmp_path), "AWS_PROFILE": "nowhere"}, print
    ).lookup(HERE)
    assert (finding.outcome, "nowhere" in finding.detail) == (Outcome.FAILED, True)


def test_the_role_of_a_machine_is_asked_from_its_metadata(tmp_path):
    imds = Imds()
    with serving(imds) as metadata, serving(Ecr({"AKIDROLE": "role-key"})) as server:
        environ = {
            **pointing(server, tmp_path, {}),
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
        }
        finding = EcrSource(environ, print).lookup(HERE)
    assert login(finding) == ("AWS", "ecr-password")
    assert "iam-role" in finding.origin
    assert imds.calls[0].method == "PUT"
    assert server.requests[0].header("X-Amz-Security-Token") == "role-session"


def test_the_role_of_a_container_is_asked_from_its_metadata(tmp_path):
    imds, ecr = Imds(container_token="container-token"), Ecr({"AKIDROLE": "role-key"})
    with serving(imds) as metadata, serving(ecr) as server:
        container = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{metadata.url}/role",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token",
        }
        finding = EcrSource(pointing(server, tmp_path, container), print).lookup(HERE)
    assert login(finding) == ("AWS", "ecr-password")
    assert "container-role" in finding.origin


def test_a_wrong_container_token_fails_without_showing_it(tmp_path):
    with serving(lambda _: Answer(403, {"message": "wrong-token is wrong"})) as metadata:
        container = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{metadata.url}/role",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "wrong-token",
        }
        environ = {**measured(), **OFFLINE, **container, "HOME": str(tmp_path)}
        finding = EcrSource(environ, lambda _: None).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "wrong-token" not in finding.detail


def test_a_web_identity_assumes_its_role(tmp_path):
    answer = b"""<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
      <AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIDROLE</AccessKeyId>
      <SecretAccessKey>role-key</SecretAccessKey><SessionToken>s</SessionToken>
      <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
      </AssumeRoleWithWebIdentityResponse>"""
    (tmp_path / "token").write_text("token-of-the-pod")

    def sts(received):
        asked = received.body.decode()
        fine = "Action=AssumeRoleWithWebIdentity" in asked and "WebIdentityToken=token-of-the-pod" in asked
        return (
            Answer(200, answer, (("Content-Type", "text/xml"),)) if fine else Answer(400, b"<ErrorResponse/>")
        )

    with serving(sts) as tokens, serving(Ecr({"AKIDROLE": "role-key"})) as server:
        identity = {
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/x",
            "AWS_ENDPOINT_URL_STS": tokens.url,
        }
        finding = EcrSource(pointing(server, tmp_path, identity), print).lookup(HERE)
    assert login(finding) == ("AWS", "ecr-password")


def test_off_the_cloud_metadata_is_looked_for_once_for_all_images_and_registries(tmp_path, clock):
    def silent(conversation):
        conversation.receive()
        conversation.pause()

    with RawServer(silent) as nobody:
        environ = {**measured(), "HOME": str(tmp_path), "AWS_EC2_METADATA_SERVICE_ENDPOINT": nobody.url}
        source = EcrSource(environ, lambda _: None, clock=clock)
        findings = [source.lookup(Repository(HOST, f"team/app{n}")) for n in range(20)]
        findings += [source.lookup(Repository(f"{n}{HOST[1:]}", "team/app")) for n in range(2, 9)]
        public = source.lookup(PUBLIC)
        connections = nobody.connections
        clock.now += 61
        source.lookup(HERE)
        again = nobody.connections
    assert {(finding.outcome, finding.detail) for finding in findings} == {
        (Outcome.FAILED, "Unable to locate credentials")
    }
    assert public.outcome is Outcome.NOT_APPLICABLE
    session = botocore.session.get_session()
    seconds = session.get_config_variable("metadata_service_timeout")
    attempts = session.get_config_variable("metadata_service_num_attempts")
    # One attempt with a session of the service, one without.
    assert connections == 2
    assert connections * seconds * attempts <= 2
    assert again == 2 * connections


def test_the_token_is_kept_on_disk_for_others_as_the_helper_of_aws_does(tmp_path, clock):
    ecr = Ecr(clock=clock)
    with serving(ecr) as server:
        environ = pointing(server, tmp_path)
        EcrSource(environ, print, clock=clock).lookup(HERE)
        EcrSource(environ, print, clock=clock).lookup(PUBLIC)
        again = [EcrSource(environ, print, clock=clock).lookup(one) for one in (HERE, PUBLIC)]
    assert [login(finding) for finding in again] == [("AWS", "ecr-password")] * 2
    assert [finding.origin for finding in again] == ["AWS credentials (env), token from cache"] * 2
    assert len(ecr.calls) == 2
    folder, file = tmp_path / ".ecr", tmp_path / ".ecr" / "cache.json"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [one.name for one in folder.iterdir()] == ["cache.json"]
    check = base64.b64encode(hashlib.sha256(b"AKIDTEST").digest()).decode()
    document = cache_of(tmp_path)
    assert document["Version"] == "1.0"
    assert set(document["Registries"]) == {f"eu-west-1-{check}-123456789012", f"ecr-public-{check}"}
    entry = document["Registries"][f"eu-west-1-{check}-123456789012"]
    assert base64.b64decode(entry["AuthorizationToken"]) == b"AWS:ecr-password"
    assert (entry["ProxyEndpoint"], entry["Service"]) == (f"https://{HOST}", "ecr")
    assert "AKIDTEST" not in file.read_text()


def test_the_disk_is_left_alone_when_the_variable_says_so(tmp_path):
    ecr = Ecr()
    with serving(ecr) as server:
        environ = {**pointing(server, tmp_path), "AWS_ECR_DISABLE_CACHE": "0"}
        findings = [EcrSource(environ, print).lookup(HERE) for _ in range(2)]
    assert len(ecr.calls) == 2
    assert {login(finding) for finding in findings} == {("AWS", "ecr-password")}
    assert not (tmp_path / ".ecr").exists()


def test_a_token_on_disk_is_replaced_shortly_before_it_ends(tmp_path, clock):
    ecr = Ecr(clock=clock)
    with serving(ecr) as server:
        environ = pointing(server, tmp_path)
        EcrSource(environ, print, clock=clock).lookup(HERE)
        clock.now += 12 * 3600 - 400
        EcrSource(environ, print, clock=clock).lookup(HERE)
        assert len(ecr.calls) == 1
        clock.now += 101
        ecr.password = "second"
        finding = EcrSource(environ, print, clock=clock).lookup(HERE)
    assert login(finding) == ("AWS", "second")
    assert len(ecr.calls) == 2


def test_an_old_token_serves_while_the_api_fails_but_not_past_its_end(tmp_path, clock):
    ecr = Ecr(clock=clock)
    with serving(ecr) as server:
        environ = pointing(server, tmp_path)
        EcrSource(environ, print, clock=clock).lookup(HERE)
        ecr.failing = "out of order"
        clock.now += 12 * 3600 - 200
        finding = EcrSource(environ, print, clock=clock).lookup(HERE)
        assert finding.origin.endswith(", token from cache because the API failed")
        assert login(finding) == ("AWS", "ecr-password")
        clock.now += 201
        finding = EcrSource(environ, lambda _: None, clock=clock).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "out of order" in finding.detail


def test_an_old_token_serves_while_the_api_says_nothing(tmp_path, clock):
    def silent(conversation):
        conversation.receive()
        conversation.pause()

    with serving(Ecr(clock=clock)) as server, RawServer(silent) as nobody:
        EcrSource(pointing(server, tmp_path), print, clock=clock).lookup(HERE)
        clock.now += 12 * 3600 - 200
        source = EcrSource(pointing(nobody, tmp_path), print, clock=clock, api_seconds=0.5)
        finding = source.lookup(HERE)
    assert login(finding) == ("AWS", "ecr-password")
    assert finding.origin.endswith(", token from cache because the API failed")


def test_in_a_long_copy_the_token_is_renewed_and_many_threads_ask_once(tmp_path, clock):
    ecr = Ecr(clock=clock)
    with serving(ecr) as server:
        source = EcrSource(pointing(server, tmp_path), print, clock=clock)
        first = source.lookup(HERE)
        clock.now = first.credential.expires_at
        ecr.password = "second"
        given = []
        threads = [threading.Thread(target=lambda: given.append(source.lookup(HERE))) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert {login(finding) for finding in given} == {("AWS", "second")}
    assert len(ecr.calls) == 2


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ({}, "has no token"),
        ({"authorizationData": []}, "has no token"),
        ({"authorizationData": [{"authorizationToken": "!!"}]}, "has no token"),
        ({"authorizationData": [{"authorizationToken": "!!", "expiresAt": 4e9}]}, "is not base64"),
        ({"authorizationData": [{"authorizationToken": "/w==", "expiresAt": 4e9}]}, "is not base64"),
        ({"authorizationData": [{"authorizationToken": "QVdT", "expiresAt": 4e9}]}, "is not base64"),
    ],
)
def test_an_answer_that_is_no_token_is_a_failure(shape, why, tmp_path):
    with serving(Ecr(shape=shape)) as server:
        environ = {**pointing(server, tmp_path), "AWS_ECR_DISABLE_CACHE": "1"}
        finding = EcrSource(environ, lambda _: None).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert why in finding.detail


def test_the_number_of_attempts_is_three_unless_a_variable_says_otherwise(tmp_path):
    ecr = Ecr()
    with serving(lambda received: (ecr.calls.append(received), Answer(500, {"message": "no"}))[1]) as server:
        environ = {**pointing(server, tmp_path), "AWS_MAX_ATTEMPTS": "1"}
        EcrSource(environ, lambda _: None).lookup(HERE)
        assert len(ecr.calls) == 1
        EcrSource(pointing(server, tmp_path), lambda _: None).lookup(HERE)
    assert len(ecr.calls) == 4


def test_nothing_secret_is_logged_even_when_everything_is(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    parsers = logging.getLogger("botocore.parsers")
    parsers.setLevel(logging.DEBUG)
    try:
        with serving(Ecr()) as server:
            finding = EcrSource(pointing(server, tmp_path), print).lookup(HERE)
        assert parsers.level == logging.DEBUG
    finally:
        parsers.setLevel(logging.NOTSET)
    assert finding.outcome is Outcome.MATCHED
    for secret in ("ecr-password", base64.b64encode(b"AWS:ecr-password").decode(), "secret-key"):
        assert secret not in caplog.text
    assert capfd.readouterr() == ("", "")


def test_the_end_of_a_token_is_the_one_that_the_api_says(tmp_path, clock):
    with serving(Ecr(clock=clock, lifetime=60)) as server:
        finding = EcrSource(pointing(server, tmp_path), print, clock=clock).lookup(HERE)
    assert clock.now + 28 <= finding.credential.expires_at <= clock.now + 31
    entry = next(iter(cache_of(tmp_path)["Registries"].values()))
    end = datetime.fromisoformat(entry["ExpiresAt"].replace("Z", "+00:00"))
    assert end.tzinfo == timezone.utc


def test_a_session_token_that_the_api_repeats_is_not_shown(tmp_path):
    said = "The Canonical String should have been 'POST / x-amz-security-token:role-session x-amz-target:T'"
    with serving(Imds(container_token="container-token")) as metadata, serving(Ecr(failing=said)) as server:
        environ = {
            **pointing(server, tmp_path, {}),
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{metadata.url}/role",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token",
        }
        finding = EcrSource(environ, lambda _: None).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "should have been" in finding.detail
    assert "role-session" not in finding.detail
