"""`auth login`, `logout`, `list` and `token` as they are typed: prompts, streams, texts and documents."""

from __future__ import annotations

import base64
import json
import os
import pty
import re
import select
import shlex
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.auth.programs import write_helper
from tests.cli.running import start
from tests.operations.making import make_image
from tests.servers.fixtures import PASSWORD, USERNAME

from imgpkg.cli.commands import find

pytestmark = pytest.mark.measured

PROGRAMS = f"{Path(sys.executable).parent}:{os.environ['PATH']}"


@pytest.fixture
def config():
    return Path(os.environ["HOME"]) / ".docker" / "config.json"


def log_in(run, place, *words, stdin=PASSWORD + "\n"):
    return run("auth", "login", place, "-u", USERNAME, "--password-stdin", *words, stdin=stdin)


def test_login_prints_where_the_login_is(run, embedded_login, config):
    done = log_in(run, embedded_login.address)
    assert done.code == 0
    assert done.out == f"Stored the login of '{USERNAME}' for {embedded_login.address} in {config}\n"
    clear = f"{config} holds the secret in clear (base64); a credential helper would keep it elsewhere"
    assert done.err == f"imgpkg: warning: {clear}\n"
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert run("tag", "list", "-i", f"{embedded_login.address}/none").err.count("401") == 0


def test_login_has_a_document(run, embedded_login, config):
    done = log_in(run, embedded_login.address, "--json")
    document = json.loads(done.out)
    (warning,) = document.pop("warnings")
    assert "base64" in warning
    assert document == {
        "registry": embedded_login.address,
        "username": USERNAME,
        "file": str(config),
        "key": embedded_login.address,
        "helper": None,
        "checked": True,
    }


def test_login_and_logout_name_the_helper(run, config, tmp_path, monkeypatch):
    answer = '{"ServerURL": "host.example", "Username": "me", "Secret": "s3cret"}'
    helper = write_helper(tmp_path / "bin", "keeping", f"test $1 != get || echo '{answer}'")
    monkeypatch.setenv("PATH", helper.environ["PATH"])
    config.parent.mkdir()
    config.write_text('{"credsStore": "keeping"}')
    program = "docker-credential-keeping"
    done = log_in(run, "host.example", "--check=false")
    assert (
        done.out == f"Stored the login of '{USERNAME}' for host.example in {program}, which {config} names\n"
    )
    done = run("auth", "logout", "host.example")
    removed = f"Removed host.example from {config}\nRemoved the login for host.example from {program}\n"
    assert done.out == removed
    assert [call.split()[0] for call in helper.calls] == ["store", "get", "get", "erase", "get"]


def test_a_wrong_password_is_an_error_and_nothing_is_stored(run, embedded_login, config):
    done = log_in(run, embedded_login.address, stdin="not-the-password")
    assert (done.code, done.out) == (4, "")
    assert f"Logging in to {embedded_login.address} as '{USERNAME}'" in done.err
    assert "\nhint: Nothing was stored. Check the username and the password: " in done.err
    assert "not-the-password" not in done.err
    assert not config.exists()


@pytest.mark.parametrize("newline", ["", "\n", "\r\n"])
def test_the_line_end_after_the_password_is_no_part_of_it(run, embedded_login, newline):
    assert log_in(run, embedded_login.address, stdin=PASSWORD + newline).code == 0


def test_an_identity_token_needs_no_user(run, docker_registry_token, config):
    token = docker_registry_token.server.issue_refresh_token(USERNAME)
    done = run("auth", "login", docker_registry_token.address, "--identity-token-stdin", stdin=token)
    assert done.out == f"Stored the identity token for {docker_registry_token.address} in {config}\n"
    assert token not in done.out + done.err
    assert json.loads(run("auth", "list", "--json").out)["Tables"][0]["Rows"][0]["kind"] == "identity token"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-u", "me", "-ps3cret"], "--password is refused, since other users can see it"),
        (["-u", "me", "--password=s3cret"], "--password is refused, since other users can see it"),
        (["--password-stdin"], "--password-stdin needs --username"),
        (["--password-stdin", "--identity-token-stdin"], "Expected only one of"),
        (["-u", "me"], "standard input is no terminal to ask for the password: give --password-stdin"),
        (["-u", "a:b", "--password-stdin"], "the user name must not contain a colon"),
    ],
)
def test_what_cannot_be_right_is_refused(refused, words, why):
    text = refused("auth", "login", "host.example", *words, stdin="s3cret")
    assert text.startswith(why)
    assert "s3cret" not in text


def test_a_login_in_the_address_is_refused_and_not_shown(refused):
    text = refused("auth", "login", "https://me:s3cret@host.example", "--username", "me")
    assert text == "HOST[/PATH] holds neither a login nor a digest: give --username"


def test_a_login_can_be_stored_unchecked(run, config):
    done = log_in(run, "unreachable.example", "--check=false")
    assert done.code == 0
    assert list(json.loads(config.read_text())["auths"]) == ["unreachable.example"]


def test_flags_of_the_network_count(run, docker_registry_tls):
    done = log_in(run, docker_registry_tls.address, "--registry-ca-cert-path", docker_registry_tls.ca_path)
    assert done.code == 0
    assert "answers without a login, so the login could not be checked" in done.err


def test_half_a_login_for_every_registry_is_no_trouble(run, embedded_login, monkeypatch):
    monkeypatch.setenv("IMGPKG_USERNAME", "half")
    assert log_in(run, embedded_login.address).code == 0
    assert run("auth", "logout", embedded_login.address).code == 0


class TestAtATerminal:
    def talk(self, *words, answers):
        """Run at a pseudo terminal; wait for each prompt before its answer is typed; return all it shows."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, *words],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            # getpass asks at the controlling terminal, which only a new session can get.
            start_new_session=True,
        )
        os.close(follower)
        shown, waiting = "", list(answers)
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([leader], [], [], 0.2)[0]:
                if process.poll() is not None:
                    break
                continue
            try:
                piece = os.read(leader, 65536)
            except OSError:
                break
            if not piece:
                break
            shown += piece.decode()
            if waiting and shown.endswith(": "):
                answer = waiting.pop(0)
                if answer is None:
                    os.kill(process.pid, signal.SIGINT)
                else:
                    os.write(leader, f"{answer}\n".encode())
        os.close(leader)
        assert waiting == [], shown
        return process.wait(60), shown.replace("\r\n", "\n")

    def test_the_password_is_asked_for_and_not_shown(self, embedded_login, config):
        code, shown = self.talk("auth", "login", embedded_login.address, answers=[USERNAME, PASSWORD])
        assert code == 0
        where = embedded_login.address
        assert shown.startswith(f"User name for {where}: {USERNAME}\nPassword of {USERNAME} for {where}: \n")
        assert f"Stored the login of '{USERNAME}' for {where} in {config}\n" in shown
        assert PASSWORD not in shown

    def test_no_password_is_no_login(self, embedded_login, config):
        code, shown = self.talk("auth", "login", embedded_login.address, "-u", "me", answers=[""])
        assert code == 4
        assert "a user name and a password, or an identity token, are needed to log in" in shown
        assert not config.exists()

    def test_an_interruption_stores_nothing(self, embedded_login, config):
        code, shown = self.talk("auth", "login", embedded_login.address, "-u", "me", answers=[None])
        assert code == 130
        assert shown.endswith("imgpkg: Error: interrupted\n")
        assert not config.exists()


_ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "imgpkg", *sys.argv[1:]])
"""


def test_logout_prints_what_was_removed_and_what_is_left(run, config, monkeypatch):
    assert log_in(run, "host.example", "--check=false").code == 0
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME_0", "*.example")
    monkeypatch.setenv("IMGPKG_REGISTRY_USERNAME_0", "me")
    monkeypatch.setenv("IMGPKG_REGISTRY_PASSWORD_0", "s3cret")
    done = run("auth", "logout", "https://host.example/v2/")
    assert (done.code, done.out) == (0, f"Removed host.example from {config}\n")
    left = "host.example still gets a credential from environment: IMGPKG_REGISTRY_HOSTNAME_0=*.example"
    assert done.err == f"imgpkg: warning: {left}\n"
    again = run("auth", "logout", "host.example", "--json")
    assert json.loads(again.out) == {
        "registry": "host.example",
        "file": str(config),
        "removedKeys": [],
        "helper": None,
        "left": [left],
    }
    assert run("auth", "logout", "host.example").out == f"No login for host.example is in {config}\n"


def test_list_is_a_table(run, config, monkeypatch):
    assert log_in(run, "host.example/team", "--check=false").code == 0
    monkeypatch.setenv("IMGPKG_REGISTRY_HOSTNAME", "open.example")
    monkeypatch.setenv("IMGPKG_ACTIVE_KEYCHAINS", "github")
    done = run("auth", "list")
    assert [re.split(r"\s*\t", line) for line in done.out.splitlines()] == [
        ["open.example", "-", "anonymous", "environment", "$IMGPKG_REGISTRY_HOSTNAME", ""],
        ["ghcr.io", "-", "unknown", "github", "keychain github", ""],
        ["host.example/team", USERNAME, "login", "docker config", f'{config}: auths "host.example/team"', ""],
    ]
    assert (done.code, done.err) == (0, "")
    only = run("auth", "ls", "--column", "registry", "--json")
    assert [row["registry"] for row in json.loads(only.out)["Tables"][0]["Rows"]] == [
        "open.example",
        "ghcr.io",
        "host.example/team",
    ]


def test_list_goes_on_after_a_broken_file(run, config):
    config.parent.mkdir()
    config.write_text('{"auths": {"host.example": {"auth": "c2VjcmV0"}}')
    done = run("auth", "list")
    assert (done.code, done.out.strip()) == (0, "")
    assert done.err.startswith(f"imgpkg: warning: loading config file: {config}: line 1 column 49: ")
    assert "c2VjcmV0" not in done.err


def flags_of(server):
    return ("--registry-username", server.username, "--registry-password", server.password)


def test_token_is_for_curl(docker_registry_token, open_session, monkeypatch):
    server = docker_registry_token
    session = open_session(username=server.username, password=server.password)
    make_image(session, f"{server.address}/curl/app", tag="v1")
    example = find(("auth",), "token").example.splitlines()[1].strip()
    command = example.replace("registry.example.com", server.address).replace("team/app", "curl/app")
    command = command.replace("https://", "http://")
    monkeypatch.setenv("IMGPKG_USERNAME", server.username)
    monkeypatch.setenv("IMGPKG_PASSWORD", server.password)
    done = subprocess.run(
        ["bash", "--norc", "-euc", command.replace("curl -H", "curl -sS -H")],
        env={**os.environ, "PATH": PROGRAMS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert json.loads(done.stdout) == {"name": "curl/app", "tags": ["v1"]}, done.stderr


def test_token_is_all_that_is_printed(run, docker_registry_token):
    done = run("auth", "token", f"{docker_registry_token.address}/a/b", *flags_of(docker_registry_token))
    assert (done.code, done.err) == (0, "")
    assert re.fullmatch(r"[\w-]+\.[\w-]+\.[\w-]+\n", done.out)


def test_token_has_a_document(run, docker_registry_token):
    words = ("auth", "token", f"{docker_registry_token.address}/a/b:v1", "--json")
    scopes = ("--scope", "repository:a/b:pull,push", "--scope", "repository:c/d:pull")
    document = json.loads(run(*words, *scopes, *flags_of(docker_registry_token)).out)
    assert document["token"].count(".") == 2
    assert document["scopes"] == document["granted"] == ["repository:a/b:pull,push", "repository:c/d:pull"]
    assert document["service"] == "test-service"
    assert document["repository"] == f"{docker_registry_token.address}/a/b"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", document["expiresAt"])


def test_token_of_a_credential_is_printed_as_it_is(run, embedded_registry):
    words = ("auth", "token", f"{embedded_registry.address}/a/b", "--registry-token", "given")
    assert run(*words).out == "given\n"
    assert json.loads(run(*words, "--json").out)["expiresAt"] is None


def test_token_needs_a_scope_that_is_one(refused):
    assert refused("auth", "token", "host.example/a/b", "--scope", " ").startswith("a scope is empty")


def test_no_token_where_the_login_itself_is_wanted(run, docker_registry_htpasswd):
    server = docker_registry_htpasswd
    done = run("auth", "token", f"{server.address}/a/b", *flags_of(server))
    assert (done.code, done.out) == (4, "")
    assert f"{server.address} wants the login itself (Basic) and takes no token" in done.err
    assert f"curl -u {server.username} http://{server.address}/v2/a/b/tags/list" in done.err


def test_the_examples_of_the_help_run(run, embedded_login, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "password").write_text(PASSWORD)
    asked, given = re.findall(r"^  imgpkg (.+)$", find(("auth",), "login").example, re.MULTILINE)
    assert asked.endswith("registry.example.com -u me")
    words, _, file = given.replace("registry.example.com", embedded_login.address).partition(" < ")
    words = [USERNAME if word == "robot" else word for word in shlex.split(words)]
    done = run(*words, stdin=(tmp_path / file).read_text())
    assert done.code == 0, done.err
    assert list(json.loads((tmp_path / "auth.json").read_text())["auths"]) == [
        f"{embedded_login.address}/team"
    ]


def test_logins_at_the_same_time_are_all_kept(embedded_login, config):
    places = [f"{embedded_login.address}/team-{number}" for number in range(6)]
    words = ("-u", USERNAME, "--password-stdin")
    running = [start("auth", "login", place, *words) for place in places]
    for process in running:
        _, err = process.communicate(PASSWORD.encode(), timeout=100)
        assert process.returncode == 0, err
    assert sorted(json.loads(config.read_text())["auths"]) == places


def test_nothing_that_is_printed_holds_a_secret(
    run, docker_registry_token, embedded_login, config, monkeypatch
):
    encoded = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
    printed = ""
    for server in (docker_registry_token, embedded_login):
        for words in ((), ("--json",), ("--debug",), ("--authfile", "auth.json")):
            monkeypatch.chdir(config.parent.parent)
            done = log_in(run, server.address, *words)
            assert done.code == 0
            printed += done.out + done.err
        for words in (("list", "--json"), ("list",), ("logout", server.address, "--debug")):
            done = run("auth", *words)
            printed += done.out + done.err
    assert PASSWORD not in printed
    assert encoded not in printed
