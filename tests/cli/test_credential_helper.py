"""`docker-credential-imgpkg` implements docker's protocol of credential helpers for other tools."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.operations.making import make_image

from imgpkg.cli.credential_helper import main

pytestmark = pytest.mark.measured

HELPER = str(Path(sys.executable).with_name("docker-credential-imgpkg"))
SECRET = "a-secret-for-helpers"
MOST_LOADED = 90


@pytest.fixture
def helper(tmp_path):
    """Run the helper with this argument, input and variables."""

    def run(*words, server="", **variables):
        return subprocess.run(
            [HELPER, *words],
            input=server,
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**os.environ, **variables},
            check=False,
        )

    return run


def login(where, user="ci", **more):
    return {
        "IMGPKG_REGISTRY_HOSTNAME_X": where,
        "IMGPKG_REGISTRY_USERNAME_X": user,
        "IMGPKG_REGISTRY_PASSWORD_X": SECRET,
        **more,
    }


@pytest.fixture
def login_of_the_environment(tmp_path):
    return {"HOME": str(tmp_path), "PATH": os.environ["PATH"], **login("registry.example")}


@pytest.mark.parametrize(
    ("where", "server"),
    [
        ("registry.example", "registry.example"),
        ("registry.example", "https://registry.example/"),
        ("https://registry.example:5000/v2/", "registry.example:5000"),
        ("*.example", "registry.example"),
        ("docker.io", "https://index.docker.io/v1/"),
        ("index.docker.io", "docker.io"),
        ("registry.example/team", "registry.example/team/app"),
    ],
)
def test_gives_the_login_of_the_server(helper, where, server):
    done = helper("get", server=server, **login(where))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"ServerURL": server, "Username": "ci", "Secret": SECRET}


@pytest.mark.parametrize(
    "variables",
    [
        {},
        login("other.example"),
        login("registry.example/team"),
        {"IMGPKG_USERNAME": "ci", "IMGPKG_PASSWORD": SECRET},
        {"IMGPKG_REGISTRY_HOSTNAME": "registry.example"},
        {"IMGPKG_REGISTRY_HOSTNAME": "registry.example", "IMGPKG_REGISTRY_REGISTRY_TOKEN": SECRET},
    ],
    ids=["nothing", "another host", "a part of it", "no host", "anonymous", "what has no words"],
)
def test_says_in_the_words_of_the_protocol_that_there_is_none(helper, variables):
    done = helper("get", server="registry.example\n", **variables)
    assert (done.returncode, done.stdout) == (1, "credentials not found in native keychain\n")


def test_loads_nothing_that_sends_requests(login_of_the_environment):
    program = """
import json, sys
bare = set(sys.modules)
from imgpkg.cli.credential_helper import main
code = main(["get"])
print(json.dumps([code, sorted(set(sys.modules) - bare)]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input="registry.example",
        env=login_of_the_environment,
        capture_output=True,
        text=True,
        check=True,
    )
    answer, counted = map(json.loads, done.stdout.splitlines())
    code, loaded = counted
    assert (code, answer["Secret"]) == (0, SECRET)
    assert [name for name in loaded if name.startswith(("imgpkg.registry", "socket", "ssl"))] == []
    assert "imgpkg.transport.pool" not in loaded
    # With Python 3.11; other releases import a few more.
    assert len(loaded) <= MOST_LOADED, loaded


def test_gives_an_identity_token_under_its_user_name(helper):
    variables = {"IMGPKG_REGISTRY_HOSTNAME": "registry.example", "IMGPKG_REGISTRY_IDENTITY_TOKEN": SECRET}
    answer = json.loads(helper("get", server="registry.example", **variables).stdout)
    assert (answer["Username"], answer["Secret"]) == ("<token>", SECRET)


def test_asks_active_keychains_and_passes_their_warnings_on(helper):
    variables = {"IMGPKG_ENABLE_IAAS_AUTH": "true", "GITHUB_TOKEN": SECRET}
    done = helper("get", server="ghcr.io", **variables)
    assert json.loads(done.stdout)["Secret"] == SECRET
    assert "docker-credential-imgpkg: warning: " in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["list"], 0, "{}"),
        (["version"], 0, "docker-credential-imgpkg (imgpkg "),
        (["get"], 1, "no credentials server URL"),
        (["store"], 1, "imgpkg keeps no credentials"),
        (["erase"], 1, "imgpkg keeps no credentials"),
        (["nonsense"], 1, "usage: "),
        ([], 1, "usage: "),
    ],
)
def test_answers_every_request(helper, words, code, said):
    done = helper(*words)
    assert (done.returncode, done.stderr) == (code, "")
    assert done.stdout.startswith(said)


@pytest.mark.parametrize("server", ["", " \n", "https://", "//", ":5000", "https:///path"])
def test_wants_the_name_of_a_server(helper, server):
    done = helper("get", server=server, **login("*"))
    assert (done.returncode, done.stdout, done.stderr) == (1, "no credentials server URL\n", "")


def test_lists_the_users_of_the_sets(helper):
    done = helper("list", **login("registry.example/team"))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"registry.example/team": "ci"}


def test_lists_nothing_for_sets_that_are_wrong_or_no_text(helper):
    done = helper("list", IMGPKG_REGISTRY_NONSENSE="x")
    assert done.returncode == 1
    assert "IMGPKG_REGISTRY_NONSENSE" in done.stdout
    assert helper("list", **login("registry.example", user="c\udcfc")).stdout == "{}\n"


def test_ends_quietly_when_it_is_interrupted(monkeypatch, capfd):
    reader, writer = os.pipe()
    interrupt = threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    with open(reader) as stdin, open(writer, "w"):
        monkeypatch.setattr(sys, "stdin", stdin)
        interrupt.start()
        assert main(["get"]) == 130
    assert capfd.readouterr() == ("", "")


def test_says_what_is_wrong_with_the_variables(helper):
    done = helper("get", server="registry.example", IMGPKG_REGISTRY_NONSENSE="x")
    assert done.returncode == 1
    assert "IMGPKG_REGISTRY_NONSENSE" in done.stdout


@pytest.mark.parametrize(
    "variables", [{"IMGPKG_USERNAME": "half"}, {"IMGPKG_USERNAME": "a:b", "IMGPKG_PASSWORD": "x"}]
)
def test_does_not_mind_a_broken_login_for_all_registries(helper, variables):
    done = helper("get", server="registry.example", **login("registry.example"), **variables)
    assert (done.returncode, json.loads(done.stdout)["Secret"]) == (0, SECRET)


def test_refuses_a_secret_that_is_not_utf8_and_does_not_show_it(helper):
    variables = login("registry.example", IMGPKG_REGISTRY_PASSWORD_X="hunter2\udcfc")
    done = helper("get", server="registry.example", **variables)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == "the credential for registry.example is not UTF-8, and JSON cannot hold it\n"


def test_logs_skopeo_in(embedded_login, open_session, tmp_path):
    server = embedded_login
    session = open_session(username=server.username, password=server.password)
    image = make_image(session, f"{server.address}/helped/app", tag="v1")
    (tmp_path / "config.json").write_text(json.dumps({"credHelpers": {server.address: "imgpkg"}}))
    done = subprocess.run(
        [
            "skopeo",
            "inspect",
            "--tls-verify=false",
            "--authfile",
            str(tmp_path / "config.json"),
            "--format",
            "{{.Digest}}",
            f"docker://{server.address}/helped/app:v1",
        ],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            "PATH": f"{Path(HELPER).parent}:{os.environ['PATH']}",
            "IMGPKG_REGISTRY_HOSTNAME": server.address,
            "IMGPKG_REGISTRY_USERNAME": server.username,
            "IMGPKG_REGISTRY_PASSWORD": server.password,
        },
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(image.digest)), done.stderr
