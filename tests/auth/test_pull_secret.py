"""Pull secrets of Kubernetes: mounted as folders, named by variables, updated while a session runs."""

from __future__ import annotations

import base64
import json

import pytest
from tests.auth.mounts import Mount
from tests.auth.programs import answering

from imgpkg.auth.docker import DockerConfigSource
from imgpkg.auth.keychain import Keychain, Outcome
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository

IMAGE = "registry.example.com/team/app"


def entry(name):
    return {"auth": base64.b64encode(f"{name}:s3cret".encode()).decode(), "email": "me@example.com"}


def config(**names):
    return json.dumps({"auths": {key: entry(name) for key, name in names.items()}})


def look_up(environ, repository=IMAGE, warnings=None):
    said = [] if warnings is None else warnings
    return DockerConfigSource(environ, said.append).lookup(Repository.parse(repository))


def at(keys, repository=IMAGE):
    """Look up among entries, each of which has its own key as the user name."""
    text = json.dumps({"auths": {key: {"username": key, "password": "s3cret"} for key in keys}})
    return text, repository


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("_dockerconfigjson", config(**{"registry.example.com": "me"})),
        ("_dockercfg", json.dumps({"registry.example.com": entry("me")})),
        ("_dockercfg", json.dumps({"https://registry.example.com/v1/": entry("me")})),
        ("config_json", config(**{"registry.example.com": "me"})),
        ("config_json", json.dumps({"registry.example.com": entry("me")})),
    ],
)
@pytest.mark.parametrize("as_file", [False, True])
def test_a_mounted_secret_of_either_type_is_found(tmp_path, name, text, as_file):
    Mount(tmp_path / "pull", **{name: text})
    path = tmp_path / "pull" / name.replace("_", ".")
    named = path if as_file else tmp_path / "pull"
    finding = look_up({"IMGPKG_PULL_SECRETS": str(named)})
    assert (finding.credential.username, finding.credential.password) == ("me", "s3cret")
    assert finding.origin.startswith(f"pull secret {path}: auths ")


@pytest.mark.parametrize("name", ["_dockerconfigjson", "_dockercfg", "config_json"])
def test_docker_config_may_name_the_folder_of_a_secret(tmp_path, name):
    entries = {"registry.example.com": entry("me")}
    text = json.dumps(entries if name == "_dockercfg" else {"auths": entries})
    Mount(tmp_path / "pull", **{name: text})
    assert look_up({"DOCKER_CONFIG": str(tmp_path / "pull")}).credential.username == "me"


def test_only_a_named_folder_holds_pull_secrets(tmp_path):
    Mount(tmp_path / ".docker", _dockerconfigjson=config(**{"registry.example.com": "me"}))
    finding = look_up({"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    assert finding.outcome is Outcome.NO_MATCH


def test_several_secrets_are_asked_in_their_order_and_before_the_docker_config(tmp_path):
    for name in ("first", "second"):
        Mount(tmp_path / name, _dockerconfigjson=config(**{f"{name}.io": name, "both.io": name}))
    docker = {"auths": {host: entry("docker") for host in ("first.io", "docker.io", "own.io")}}
    environ = {
        "IMGPKG_PULL_SECRETS": f"{tmp_path}/first::{tmp_path}/second:",
        "DOCKER_AUTH_CONFIG": json.dumps(docker),
    }
    hosts = ("first.io", "second.io", "both.io", "own.io")
    found = [look_up(environ, f"{host}/a/b").credential.username for host in hosts]
    assert found == ["first", "second", "first", "docker"]


@pytest.mark.parametrize(
    ("keys", "repository", "winner"),
    [
        (["*.example.com"], IMAGE, "*.example.com"),
        (["registry.*.com:443"], IMAGE, "registry.*.com:443"),
        (["*.example.com", "registry.example.com"], IMAGE, "registry.example.com"),
        (["registry.example.com", "*.example.com/team"], IMAGE, "*.example.com/team"),
        (["*.example.com/team", "*.example.com/team/app"], IMAGE, "*.example.com/team/app"),
        (["*.example.com", "reg*.example.com"], IMAGE, "reg*.example.com"),
        (["*.*.com", "*.example.com"], IMAGE, "*.example.com"),
        (["[p-r]egistry.example.com"], IMAGE, "[p-r]egistry.example.com"),
        (["https://*.example.com/v2/"], IMAGE, "https://*.example.com/v2/"),
        (["*.docker.io"], "ubuntu", "*.docker.io"),
        (["*.example.com", "*.com", "*"], "a.b.example.com/x/y", None),
        (["*.example.com"], "registry.example.com:5000/x/y", None),
        (["*.example.com:5000"], IMAGE, None),
        (["*.example.com/tea"], IMAGE, None),
        (["*.example.com[", "user@*.example.com"], IMAGE, None),
    ],
)
def test_keys_may_have_wildcards_within_a_label_and_the_longest_wins(tmp_path, keys, repository, winner):
    (tmp_path / ".dockerconfigjson").write_text(at(keys)[0])
    finding = look_up({"IMGPKG_PULL_SECRETS": str(tmp_path)}, repository)
    assert (finding.credential and finding.credential.username) == winner


def test_a_wildcard_that_almost_matched_is_in_the_trail(tmp_path):
    (tmp_path / ".dockerconfigjson").write_text(at(["*.example.com/other", "*.com"])[0])
    finding = look_up({"IMGPKG_PULL_SECRETS": str(tmp_path)})
    assert finding.detail == (
        f"pull secret {tmp_path}/.dockerconfigjson: auths \"*.example.com/other\": 'team/app' is not below "
        "'other', compared by whole segments; auths \"*.com\": a wildcard stays within one label of the host"
    )


def test_a_docker_config_has_no_wildcards():
    environ = {"DOCKER_AUTH_CONFIG": at(["*.example.com"])[0]}
    assert look_up(environ).outcome is Outcome.NO_MATCH


def test_helpers_of_a_mounted_config_are_asked(tmp_path):
    program = answering(tmp_path / "bin", "vault", "from-vault", "s3cret")
    (tmp_path / "config.json").write_text('{"credHelpers": {"*.example.com": "vault"}}')
    finding = look_up({**program.environ, "IMGPKG_PULL_SECRETS": str(tmp_path)})
    assert finding.credential.username == "from-vault"


class TestNothing:
    def test_there_is_warned_about_once(self, tmp_path):
        warnings = []
        source = DockerConfigSource({"IMGPKG_PULL_SECRETS": f"{tmp_path}/no"}, warnings.append)
        for _ in range(2):
            finding = source.lookup(Repository.parse(IMAGE))
        assert finding.detail == f"pull secret {tmp_path}/no is not there"
        assert warnings == [f"IMGPKG_PULL_SECRETS names {tmp_path}/no, which is not there; it is passed over"]

    def test_in_a_folder_is_warned_about_with_the_names_that_count(self, tmp_path):
        warnings = []
        look_up({"IMGPKG_PULL_SECRETS": str(tmp_path)}, warnings=warnings)
        assert warnings == [
            (
                f"IMGPKG_PULL_SECRETS names {tmp_path}, a folder without .dockerconfigjson, .dockercfg and "
                "config.json; it is passed over"
            )
        ]

    def test_but_a_login_of_the_type_basic_auth_names_the_variables_for_it(self, tmp_path):
        Mount(tmp_path / "login", username="me", password="s3cret")
        warnings = []
        look_up({"IMGPKG_PULL_SECRETS": f"{tmp_path}/login"}, warnings=warnings)
        assert "a login in a folder names no registry" in warnings[0]
        assert "IMGPKG_REGISTRY_PASSWORD_FILE_0" in warnings[0]

    @pytest.mark.parametrize("text", ["", "{}", '{"auths": {}}', '{"auths": null}', '{"x": 1}'])
    def test_in_a_file_is_no_error(self, tmp_path, text):
        (tmp_path / ".dockerconfigjson").write_text(text)
        assert look_up({"IMGPKG_PULL_SECRETS": str(tmp_path)}).outcome is Outcome.NO_MATCH


@pytest.mark.parametrize(
    ("text", "has_hint"),
    [
        (base64.b64encode(config(a="b").encode()).decode(), True),
        ("apiVersion: v1\nkind: Secret\n", True),
        ('{"auths": ', False),
    ],
)
def test_what_is_no_json_is_an_error_that_explains_how_secrets_are_mounted(tmp_path, text, has_hint):
    (tmp_path / ".dockerconfigjson").write_text(text)
    with pytest.raises(CredentialError) as caught:
        look_up({"IMGPKG_PULL_SECRETS": str(tmp_path)})
    assert str(caught.value).startswith(f"loading config file: {tmp_path}/.dockerconfigjson: line ")
    assert any("base64 -d" in hint for hint in caught.value.hints) is has_hint


class TestUpdate:
    def test_is_seen_at_the_next_lookup(self, tmp_path):
        mount = Mount(tmp_path / "pull", _dockerconfigjson=config(**{"registry.example.com": "first"}))
        source = DockerConfigSource({"IMGPKG_PULL_SECRETS": str(tmp_path / "pull")}, print)
        assert source.lookup(Repository.parse(IMAGE)).credential.username == "first"
        mount.update(_dockerconfigjson=config(**{"registry.example.com": "again"}))
        assert source.lookup(Repository.parse(IMAGE)).credential.username == "again"

    def test_to_what_is_broken_keeps_what_was_there_and_reports_it(self, tmp_path):
        mount = Mount(tmp_path / "pull", _dockerconfigjson=config(**{"registry.example.com": "first"}))
        source = DockerConfigSource({"IMGPKG_PULL_SECRETS": str(tmp_path / "pull")}, print)
        source.lookup(Repository.parse(IMAGE))
        mount.update(_dockerconfigjson='{"auths": hunter2')
        decision = Keychain([source]).resolve(Repository.parse(IMAGE))
        assert decision.credential.username == "first"
        assert "it cannot be read again, its last content is used: loading config file" in decision.explain()
        assert "hunter2" not in decision.explain()
