"""Logging in and out: what is checked, where it is stored, and the warnings about other credentials."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.auth.programs import write_helper
from tests.servers.fixtures import PASSWORD, USERNAME

import imgpkg
from imgpkg.errors import (
    ChallengeError,
    ConnectionFailed,
    CredentialError,
    InvalidReference,
    RegistryError,
    Unauthorized,
    UsageError,
)

pytestmark = pytest.mark.usefixtures("written_log")

GOOD, BAD = imgpkg.Credential(USERNAME, PASSWORD), imgpkg.Credential(USERNAME, "another password")
# A helper that keeps one file for each server, as pass does.
KEEPING = """
folder="$(dirname "$0")/kept"; mkdir -p "$folder"
case "$1" in
store) name=$(printf '%s' "$server" | python3 -c 'import json,sys; print(json.load(sys.stdin)["ServerURL"])')
  printf '%s' "$server" > "$folder/$(printf '%s' "$name" | tr '/:' '__')" ;;
get) cat "$folder/$(printf '%s' "$server" | tr '/:' '__')" 2>/dev/null \\
  || { echo 'credentials not found in native keychain'; exit 1; } ;;
erase) rm "$folder/$(printf '%s' "$server" | tr '/:' '__')" ;;
esac
"""


@pytest.fixture
def home(tmp_path):
    return tmp_path


@pytest.fixture
def entered(home):
    """Open a session with this HOME and these variables, as a program does."""
    sessions = []

    def opened(**environ):
        settings = imgpkg.Settings(environ={"HOME": str(home), "XDG_RUNTIME_DIR": str(home), **environ})
        sessions.append(imgpkg.Session(settings))
        return sessions[-1]

    yield opened
    for session in sessions:
        session.close()


@pytest.fixture
def config(home):
    """The docker configuration below HOME."""
    return home / ".docker" / "config.json"


@pytest.fixture
def keeping(home):
    """A helper named by `credsStore`."""
    helper = write_helper(home / "bin", "keeping", KEEPING)
    (home / ".docker").mkdir()
    (home / ".docker/config.json").write_text('{"credsStore": "keeping"}')
    return helper


def logins(path):
    """Return {key: user:password} of a file."""
    auths = json.loads(Path(path).read_text())["auths"]
    return {key: base64.b64decode(entry["auth"]).decode() for key, entry in auths.items() if entry}


@pytest.fixture(
    params=["docker_registry_htpasswd", "docker_registry_token", "embedded_login", "embedded_token"]
)
def server(request):
    return request.getfixturevalue(request.param)


def test_an_accepted_login_is_stored_and_used(server, entered, config):
    stored = imgpkg.login(server.address, GOOD, session=entered())
    assert stored.is_checked
    assert (stored.registry, stored.username, stored.key) == (server.address, USERNAME, server.address)
    assert (stored.file, stored.helper) == (str(config), "")
    assert logins(config) == {server.address: f"{USERNAME}:{PASSWORD}"}
    (clear,) = stored.warnings
    assert (
        clear == f"{config} holds the secret in clear (base64); a credential helper would keep it elsewhere"
    )
    decision = imgpkg.explain(f"{server.address}/team/app", session=entered())
    assert decision.credential == GOOD


@pytest.mark.parametrize("path", ["", "/team", "/team/app"])
def test_a_wrong_password_is_sent_once_and_stores_nothing(server, entered, config, path):
    before = len(server.requests) if server.server else 0
    with pytest.raises(RegistryError) as caught:
        imgpkg.login(f"{server.address}{path}", BAD, session=entered())
    assert caught.value.status == 401
    assert f" refused user '{USERNAME}', " in caught.value.refusal.sentence
    assert f": Logging in to {server.address}{path} as '{USERNAME}': " in str(caught.value)
    (hint,) = caught.value.hints
    assert hint.startswith("Nothing was stored. Check the username and the password: ")
    assert not config.parent.exists()
    if server.server:
        sent = [one for one in server.requests[before:] if "another" in _login_of(one)]
        assert len(sent) == 1


def _login_of(request):
    kind, _, encoded = (request.authorization or "").partition(" ")
    return base64.b64decode(encoded).decode() if kind == "Basic" else ""


def test_a_wrong_password_leaves_an_older_login(embedded_login, entered, config):
    imgpkg.login(embedded_login.address, GOOD, session=entered())
    before = config.read_bytes()
    with pytest.raises(Unauthorized):
        imgpkg.login(embedded_login.address, BAD, session=entered())
    assert config.read_bytes() == before


@pytest.mark.parametrize("path", ["/team", "/team/app", "/t"])
def test_a_login_for_a_path_is_checked_there_and_used_below_it_alone(server, entered, config, path):
    stored = imgpkg.login(f"{server.address}{path}", GOOD, session=entered())
    assert stored.is_checked
    assert logins(config) == {f"{server.address}{path}": f"{USERNAME}:{PASSWORD}"}
    assert any("docker itself uses no login for a part" in warning for warning in stored.warnings)
    assert imgpkg.explain(f"{server.address}{path}/below", session=entered()).credential == GOOD
    assert imgpkg.explain(f"{server.address}/elsewhere", session=entered()).credential.is_anonymous


def test_the_token_of_a_path_is_for_that_path(docker_registry_token, entered):
    before = len(docker_registry_token.requests)
    imgpkg.login(f"{docker_registry_token.address}/team", GOOD, session=entered())
    scopes = [request.scopes for request in docker_registry_token.requests[before:]]
    assert scopes == [("repository:team:pull",)]


@pytest.mark.parametrize("path", ["", "/team"])
def test_a_registry_that_asks_for_no_login_cannot_check_one(embedded_registry, entered, config, path):
    stored = imgpkg.login(f"{embedded_registry.address}{path}", GOOD, session=entered())
    assert not stored.is_checked
    assert stored.warnings[0].endswith("answers without a login, so the login could not be checked")
    assert config.exists()


def test_a_registry_that_does_not_answer_stores_nothing_unless_it_is_not_asked(entered, config):
    with pytest.raises(ConnectionFailed) as caught:
        imgpkg.login("127.0.0.1:1", GOOD, session=entered())
    assert caught.value.hints[-1] == "Nothing was stored. --check=false stores a login without this check."
    assert not config.exists()
    stored = imgpkg.login("127.0.0.1:1", GOOD, session=entered(), check=False)
    assert not stored.is_checked
    assert logins(config) == {"127.0.0.1:1": f"{USERNAME}:{PASSWORD}"}


def test_an_identity_token_is_checked_and_stored_as_one(docker_registry_token, entered, config):
    token = docker_registry_token.server.issue_refresh_token(USERNAME)
    credential = imgpkg.Credential(identity_token=token)
    imgpkg.login(docker_registry_token.address, credential, session=entered())
    entry = json.loads(config.read_text())["auths"][docker_registry_token.address]
    assert entry == {"auth": base64.b64encode(b"<token>:").decode(), "identitytoken": token}
    decision = imgpkg.explain(f"{docker_registry_token.address}/a/b", session=entered())
    assert decision.credential.kind == "identity token"
    with pytest.raises(RegistryError):
        imgpkg.login(
            docker_registry_token.address, imgpkg.Credential(identity_token="wrong"), session=entered()
        )


def test_an_identity_token_at_a_registry_without_a_token_service_is_refused(embedded_login, entered, config):
    with pytest.raises(ChallengeError, match="only an identity token"):
        imgpkg.login(embedded_login.address, imgpkg.Credential(identity_token="token"), session=entered())
    assert not config.exists()


def test_a_helper_keeps_the_login_and_the_file_an_empty_entry(server, entered, config, keeping):
    config.write_text(
        json.dumps({"credsStore": "keeping", "auths": {server.address: {"auth": "b2xkOm9sZA=="}}, "x": 1})
    )
    stored = imgpkg.login(server.address, GOOD, session=entered(**keeping.environ))
    assert stored.helper == "docker-credential-keeping"
    assert stored.warnings == ()
    assert json.loads(config.read_text()) == {
        "credsStore": "keeping",
        "auths": {server.address: {}},
        "x": 1,
    }
    session = entered(**keeping.environ)
    found = imgpkg.explain(f"{server.address}/team/app", session=session).credential
    assert (found.username, found.password) == (USERNAME, PASSWORD)
    removed = imgpkg.logout(server.address, session=entered(**keeping.environ))
    assert (removed.keys, removed.helper) == ((server.address,), "docker-credential-keeping")
    assert removed.left == ()
    assert json.loads(config.read_text())["auths"] == {}
    again = imgpkg.logout(server.address, session=entered(**keeping.environ))
    assert (again.keys, again.helper) == ((), "")


def test_a_helper_keeps_identity_tokens_under_the_name_of_the_protocol(
    docker_registry_token, entered, keeping
):
    token = docker_registry_token.server.issue_refresh_token(USERNAME)
    credential = imgpkg.Credential(identity_token=token)
    imgpkg.login(docker_registry_token.address, credential, session=entered(**keeping.environ))
    session = entered(**keeping.environ)
    found = imgpkg.explain(f"{docker_registry_token.address}/a/b", session=session).credential
    assert found.identity_token == token


def test_a_file_of_podman_gets_no_empty_entry_beside_a_helper(embedded_login, entered, home, keeping):
    path = home / "auth.json"
    path.write_text('{"credsStore": "keeping", "auths": {"x": {}}}')
    session = entered(**keeping.environ)
    imgpkg.login(embedded_login.address, GOOD, session=session, authfile=str(path))
    assert path.read_text() == '{"credsStore": "keeping", "auths": {"x": {}}}'


def test_a_helper_that_fails_stores_nothing_and_shows_no_secret(embedded_login, entered, home, config):
    helper = write_helper(home / "bin", "broken", 'echo "cannot store $server"; exit 3')
    config.parent.mkdir()
    config.write_text('{"credsStore": "broken"}')
    with pytest.raises(CredentialError) as caught:
        imgpkg.login(embedded_login.address, GOOD, session=entered(**helper.environ))
    assert "error storing credentials - err: exit status 3, out: `(not shown" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert config.read_text() == '{"credsStore": "broken"}'


def test_a_broken_file_is_found_before_a_password_is_sent(embedded_login, entered, config):
    config.parent.mkdir()
    config.write_text("{\n oops")
    before = len(embedded_login.requests)
    with pytest.raises(CredentialError, match="line 2 column 2"):
        imgpkg.login(embedded_login.address, GOOD, session=entered())
    assert len(embedded_login.requests) == before
    assert config.read_text() == "{\n oops"


def test_another_credential_that_comes_first_is_reported(embedded_login, entered):
    session = entered(IMGPKG_REGISTRY_HOSTNAME_0=embedded_login.address)
    stored = imgpkg.login(embedded_login.address, GOOD, session=session)
    assert stored.warnings[-1] == (
        f"imgpkg does not use this login for {embedded_login.address}, since another comes first: "
        f"environment: IMGPKG_REGISTRY_HOSTNAME_0={embedded_login.address}"
    )


def test_variables_for_every_registry_come_first_too(embedded_login, entered):
    session = entered(IMGPKG_USERNAME="someone", IMGPKG_PASSWORD="s3cret")
    stored = imgpkg.login(embedded_login.address, GOOD, session=session)
    assert stored.warnings[-1].endswith("another comes first: flags: $IMGPKG_USERNAME, $IMGPKG_PASSWORD")


def test_a_file_that_imgpkg_does_not_read_is_reported(embedded_login, entered, home):
    path = str(home / "elsewhere.json")
    stored = imgpkg.login(embedded_login.address, GOOD, session=entered(), authfile=path)
    assert stored.warnings[-1] == f"imgpkg does not read {path}: set REGISTRY_AUTH_FILE to it"
    session = entered(REGISTRY_AUTH_FILE=path)
    assert imgpkg.explain(f"{embedded_login.address}/a/b", session=session).credential == GOOD


def test_a_source_that_fails_before_it_is_reported(embedded_login, entered):
    session = entered(DOCKER_AUTH_CONFIG="{oops")
    stored = imgpkg.login(embedded_login.address, GOOD, session=session)
    assert stored.warnings[-1].startswith("imgpkg does not come to this login: ")


def test_others_who_can_read_the_file_are_reported(embedded_login, entered, config):
    config.parent.mkdir()
    config.write_text("{}")
    config.chmod(0o644)
    stored = imgpkg.login(embedded_login.address, GOOD, session=entered())
    assert f"other users of this machine can read {config}: chmod 600 it" in stored.warnings


def test_a_logout_shows_what_still_gives_a_credential(entered, config, home):
    entry = {"auth": base64.b64encode(b"a:b").decode()}
    config.parent.mkdir()
    config.write_text(json.dumps({"auths": {"https://host.example/v2/": entry, "host.example/team": entry}}))
    other = home / ".config/containers"
    other.mkdir(parents=True)
    (other / "auth.json").write_text(json.dumps({"auths": {"host.example": entry}}))
    variables = {
        "IMGPKG_REGISTRY_HOSTNAME_0": "*.example",
        "IMGPKG_REGISTRY_USERNAME_0": "me",
        "IMGPKG_REGISTRY_PASSWORD_0": "s3cret",
    }
    removed = imgpkg.logout("host.example", session=entered(**variables))
    assert removed.keys == ("https://host.example/v2/",)
    assert removed.left == (
        f'{config} still holds a login for a part of it, "host.example/team"',
        "host.example still gets a credential from environment: IMGPKG_REGISTRY_HOSTNAME_0=*.example",
        f'host.example still gets a credential from docker config: {other}/auth.json: auths "host.example"',
    )
    assert logins(config) == {"host.example/team": "a:b"}


def test_a_source_that_fails_at_a_logout_is_reported(entered):
    removed = imgpkg.logout("host.example", session=entered(DOCKER_AUTH_CONFIG="{oops"))
    (sentence,) = removed.left
    assert sentence.startswith("docker config could not be asked: ")


@pytest.mark.parametrize(
    ("registry", "why"),
    [
        ("", "the host is missing"),
        ("https://me:secret@host.example", "neither a login nor a digest"),
        ("host.example/app@sha256:00", "neither a login nor a digest"),
        ("host.example/app:v1", "a tag or digest is not allowed"),
        ("*.example", "without wildcards"),
        ("ftp://host.example", "only http:// and https://"),
        ("host.example/Team", "can only contain the characters"),
        ("host.example:99999", "the port is not a number"),
    ],
)
def test_what_is_no_registry_is_refused(entered, config, registry, why):
    for act in (
        lambda: imgpkg.login(registry, GOOD, session=entered()),
        lambda: imgpkg.logout(registry, session=entered()),
    ):
        with pytest.raises(InvalidReference) as caught:
            act()
        assert why in str(caught.value)
        assert "secret" not in str(caught.value)
    assert not config.exists()


@pytest.mark.parametrize(
    ("registry", "key"),
    [
        ("HOST.example", "host.example"),
        ("https://host.example/v2/", "host.example"),
        ("host.example:443/", "host.example"),
        ("[::1]:5000", "[::1]:5000"),
        ("localhost", "localhost"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("registry-1.docker.io", "https://index.docker.io/v1/"),
        ("docker.io/team", "docker.io/team"),
        ("index.docker.io/library/app", "docker.io/library/app"),
    ],
)
def test_every_spelling_is_one_key_and_is_found_again(entered, config, registry, key):
    stored = imgpkg.login(registry, GOOD, session=entered(), check=False)
    assert list(logins(config)) == [stored.key] == [key]
    assert not any("does not" in warning for warning in stored.warnings[1:] if "docker itself" not in warning)
    removed = imgpkg.logout(registry, session=entered())
    assert (removed.keys, removed.left) == ((key,), ())


def test_half_a_login_is_refused_before_a_request(embedded_login, entered):
    before = len(embedded_login.requests)
    for half in (imgpkg.Credential("me"), imgpkg.Credential("a:b", "c"), imgpkg.Credential()):
        with pytest.raises((UsageError, CredentialError)):
            imgpkg.login(embedded_login.address, half, session=entered())
    assert len(embedded_login.requests) == before


class TestSkopeo:
    """containers/image reads what we write, and we read what it writes."""

    def skopeo(self, *words, environ=(), stdin=""):
        return subprocess.run(
            ["skopeo", *words],
            capture_output=True,
            text=True,
            input=stdin,
            env={**os.environ, **dict(environ)},
            check=False,
        )

    @pytest.mark.parametrize("form", ["docker", "podman"])
    @pytest.mark.parametrize("path", ["", "/team"])
    def test_reads_our_login(self, embedded_login, entered, config, home, form, path):
        authfile = str(home / "auth.json") if form == "podman" else ""
        place = f"{embedded_login.address}{path}"
        imgpkg.login(place, GOOD, session=entered(), authfile=authfile)
        image = f"docker://{embedded_login.address}/team/no-such-app"
        words = ("--tls-verify=false", "--authfile", authfile or str(config), image)
        done = self.skopeo("list-tags", *words)
        # It got past the login.
        assert "404 (Not Found)" in done.stderr
        imgpkg.logout(place, session=entered(), authfile=authfile)
        assert "authentication required" in self.skopeo("list-tags", *words).stderr

    def test_writes_what_we_read_and_remove(self, embedded_login, entered, home):
        authfile = str(home / "auth.json")
        words = ("--tls-verify=false", "--authfile", authfile, embedded_login.address)
        done = self.skopeo("login", "-u", USERNAME, "--password-stdin", *words, stdin=PASSWORD)
        assert done.returncode == 0, done.stderr
        session = entered(REGISTRY_AUTH_FILE=authfile)
        assert imgpkg.explain(f"{embedded_login.address}/a/b", session=session).credential == GOOD
        removed = imgpkg.logout(embedded_login.address, session=entered(), authfile=authfile)
        assert removed.keys == (embedded_login.address,)
        assert "not logged in" in self.skopeo("logout", "--authfile", authfile, embedded_login.address).stderr

    def test_logs_out_of_our_login(self, embedded_login, entered, home):
        authfile = str(home / "auth.json")
        imgpkg.login(embedded_login.address, GOOD, session=entered(), authfile=authfile)
        theirs = self.skopeo("logout", "--authfile", authfile, embedded_login.address)
        assert theirs.returncode == 0, theirs.stderr
        assert logins(authfile) == {}


@pytest.mark.skipif(shutil.which("docker") is None, reason="docker is not installed")
class TestDocker:
    """docker's own client, which needs no daemon for this."""

    def docker(self, config, *words, stdin=""):
        command = ["docker", "--config", str(config.parent), *words]
        return subprocess.run(command, capture_output=True, text=True, input=stdin, check=False, timeout=60)

    def test_logs_out_of_our_login(self, embedded_login, entered, config):
        imgpkg.login(embedded_login.address, GOOD, session=entered())
        before = config.read_bytes()
        done = self.docker(config, "logout", embedded_login.address)
        assert done.returncode == 0, done.stderr
        assert logins(config) == {}
        # What it wrote and what we write has the same form.
        imgpkg.login(embedded_login.address, GOOD, session=entered())
        assert config.read_bytes() == before

    def test_writes_what_we_read_and_remove(self, embedded_login, entered, config):
        words = ("login", embedded_login.address, "-u", USERNAME, "--password-stdin")
        done = self.docker(config, *words, stdin=PASSWORD)
        assert done.returncode == 0, done.stderr
        decision = imgpkg.explain(f"{embedded_login.address}/a/b", session=entered())
        assert decision.credential == GOOD
        by_docker = config.read_bytes()
        imgpkg.login(embedded_login.address, GOOD, session=entered())
        assert config.read_bytes() == by_docker
        assert imgpkg.logout(embedded_login.address, session=entered()).keys == (embedded_login.address,)
