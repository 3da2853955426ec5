"""Entries, keys and files of docker and podman: where they are, and which entry is used."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from pathlib import Path

import pytest

from imgpkg.auth.docker import DockerConfigSource, Place, places
from imgpkg.auth.keychain import Credential, Keychain, Outcome
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


def look_up(config, repository="host.io/p/i", **environ):
    inline = config if isinstance(config, str) else json.dumps(config)
    return source_of(DOCKER_AUTH_CONFIG=inline, **environ).lookup(Repository.parse(repository))


def source_of(warn=print, **environ):
    return DockerConfigSource(environ, warn)


def login(name):
    return {"username": name, "password": f"{name}-secret"}


@pytest.mark.parametrize(
    ("entry", "credential"),
    [
        ({"auth": b64("user:password")}, Credential("user", "password")),
        ({"auth": b64("user:a:b")}, Credential("user", "a:b")),
        ({"auth": b64("u:p\0\0")}, Credential("u", "p")),
        ({"auth": "dT\npw\r\n"}, Credential("u", "p")),
        ({"auth": b64("u:pp").rstrip("=")}, Credential("u", "pp")),
        ({"auth": base64.urlsafe_b64encode(b"u:\xc3\xbf\xc3\xbe?>").decode()}, Credential("u", "ÿþ?>")),
        ({"auth": b64("ü:ö = \n")}, Credential("ü", "ö = \n")),
        ({"auth": b64(b"u:\xff")}, Credential("u", "\udcff")),
        ({"auth": b64("u:")}, Credential("u")),
        ({"username": "a", "password": "b", "auth": b64("c:d")}, Credential("c", "d")),
        ({"username": "a", "password": "b", "auth": ""}, Credential("a", "b")),
        ({"username": "a", "password": "b", "auth": None}, Credential("a", "b")),
        ({"USERNAME": "a", "Password": "b"}, Credential("a", "b")),
        ({"username": "a", "password": ""}, Credential("a")),
        ({"password": "b"}, Credential(password="b")),
        ({"identitytoken": "I"}, Credential(identity_token="I")),
        ({"registrytoken": "RT"}, Credential(registry_token="RT")),
        ({"identityToken": "I", "auth": b64("u:p")}, Credential("u", "p", "I")),
    ],
)
def test_an_entry_is_decoded(entry, credential):
    finding = look_up({"auths": {"host.io": entry}})
    assert finding.outcome is Outcome.MATCHED
    assert finding.credential == credential
    assert finding.origin == '$DOCKER_AUTH_CONFIG: auths "host.io"'
    assert ("anonymous" in finding.detail) == credential.is_anonymous


@pytest.mark.parametrize("entry", [{}, None, {"email": "a@b"}, {"serveraddress": "host.io"}, {"auth": ""}])
def test_an_entry_that_says_nothing_is_passed_over_and_noted(entry):
    finding = look_up({"auths": {"host.io/p": entry, "host.io": login("root")}})
    assert finding.credential.username == "root"
    assert 'auths "host.io/p" is empty' in finding.detail
    assert look_up({"auths": {"host.io": entry}}).outcome is Outcome.NO_MATCH


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"auth": "hunter2!"}, "auth is not base64"),
        ({"auth": "hunter2ü"}, "auth is not base64"),
        ({"auth": "hunte"}, "auth is not base64"),
        ({"auth": b64("hunter2")}, "Invalid auth configuration file"),
        ({"auth": b64(":hunter2")}, "Invalid auth configuration file"),
        ({"auth": 2}, "auth must be a string"),
        ("hunter2", "must be an object"),
    ],
)
def test_a_broken_entry_is_an_error_only_when_it_is_selected_and_never_shows_its_value(entry, reason):
    config = {"auths": {"bad.io": entry, "host.io": login("good")}}
    assert look_up(config).credential.username == "good"
    with pytest.raises(CredentialError) as caught:
        look_up(config, "bad.io/p/i")
    assert str(caught.value).startswith('loading config file: $DOCKER_AUTH_CONFIG: entry "bad.io"')
    assert reason in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "config", ["", " ", "null", "{}", '{"auths": null}', '{"HttpHeaders": {"a": "b"}}', '{"x": 1}']
)
def test_a_file_without_entries_is_no_error(config):
    assert look_up(config).outcome is Outcome.NO_MATCH


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("[]", "the top level must be an object"),
        ("5", "the top level must be an object"),
        ('{"auths": []}', "auths must be an object"),
        ('{"credHelpers": "x"}', "credHelpers must be an object"),
        ('{"credHelpers": {"h": 1}}', 'credHelpers "h" must be a string'),
        ('{"credsStore": {}}', "credsStore must be a string"),
        ('{"auths": {\n"h": }}', "line 2 column 6: "),
    ],
)
def test_a_malformed_file_is_an_error_at_once(config, reason):
    with pytest.raises(CredentialError) as caught:
        look_up(config)
    assert str(caught.value).startswith(f"loading config file: $DOCKER_AUTH_CONFIG: {reason}")


def test_the_error_of_a_file_reads_the_same_each_time():
    chain = Keychain([source_of(DOCKER_AUTH_CONFIG="{")])
    texts = []
    for _ in range(3):
        with pytest.raises(CredentialError) as caught:
            chain.resolve(Repository.parse("host.io/p/i"))
        texts.append(str(caught.value))
    assert len(set(texts)) == 1
    assert texts[0].startswith(
        "Unable retrieve credentials for registry: "
        "loading config file: $DOCKER_AUTH_CONFIG: line 1 column 2: "
    )


def test_the_example_of_the_original_documentation_works_with_a_warning(tmp_path):
    (tmp_path / "config.json").write_text(
        '{\n  "auths": {\n    "https://index.docker.io/v1/": {\n'
        '      "auth": "dXNlcjpwYXNzd29yZA==",\n    },\n  },\n'
        '  "HttpHeaders": {\n    "User-Agent": "Docker-Client/18.09.6 (darwin)"\n  },\n}\n'
    )
    warnings = []
    source = source_of(warnings.append, DOCKER_CONFIG=str(tmp_path))
    for _ in range(2):
        assert source.lookup(Repository.parse("ubuntu")).credential == Credential("user", "password")
    assert warnings == [
        (
            f"{tmp_path}/config.json: line 4 column 37: "
            "a comma before a closing bracket is not JSON; it is ignored"
        )
    ]


@pytest.mark.parametrize("key", ["AUTHS", "Auths", "aUtHs"])
def test_keys_of_a_file_count_in_any_case_and_after_a_byte_order_mark(tmp_path, key):
    config = tmp_path / "config.json"
    config.write_bytes(b"\xef\xbb\xbf" + json.dumps({key: {"host.io": {"AUTH": b64("u:p")}}}).encode())
    finding = source_of(DOCKER_CONFIG=str(tmp_path)).lookup(Repository.parse("host.io/p/i"))
    assert finding.credential == Credential("u", "p")


@pytest.mark.parametrize(
    ("key", "repository"),
    [
        *[
            (key, "registry.example.com/p/i")
            for key in (
                "registry.example.com",
                "https://registry.example.com",
                "https://registry.example.com/v1/",
                "https://registry.example.com/v2/",
                "registry.example.com/v2/",
                "registry.example.com/v1",
                "registry.example.com/",
                "registry.example.com:443",
                "Registry.Example.com",
                "HTTPS://registry.example.com",
                "registry.example.com/p/i",
                "registry.example.com/p",
                "registry.example.com/p/",
            )
        ],
        ("registry.example.com", "registry.example.com:443/p/i"),
        ("http://localhost:5110", "localhost:5110/p/i"),
        ("localhost:5110", "localhost:5110/p/i"),
        ("[::1]:5110", "[::1]:5110/p/i"),
        *[
            (key, image)
            for key in (
                "https://index.docker.io/v1/",
                "index.docker.io",
                "docker.io",
                "https://index.docker.io/v2/",
                "registry-1.docker.io",
                "index.docker.io/library/ubuntu",
                "docker.io/library/ubuntu",
                "docker.io/library",
            )
            for image in ("ubuntu", "docker.io/library/ubuntu", "registry-1.docker.io/library/ubuntu")
        ],
    ],
)
def test_a_key_is_for_a_repository(key, repository):
    finding = look_up({"auths": {key: login("u")}}, repository)
    assert finding.credential == Credential("u", "u-secret")
    assert finding.origin.endswith(f'auths "{key}"')


@pytest.mark.parametrize(
    ("key", "repository", "note"),
    [
        ("registry.example.com/other/thing", "registry.example.com/p/i", "'p/i' is not below 'other/thing'"),
        ("registry.example.com/fo", "registry.example.com/foo/i", "'foo/i' is not below 'fo'"),
        ("registry.example.com/P", "registry.example.com/p/i", "'p/i' is not below 'P'"),
        ("registry.example.com:5000", "registry.example.com/p/i", "its port is 5000, not 443"),
        ("registry.example.com", "registry.example.com:5000/p/i", "its port is 443, not 5000"),
        ("registry.example.com", "quay.io/p/i", "no entry for this registry"),
        ("h.io/\x1b[2J\n", "h.io/p/i", r'$DOCKER_AUTH_CONFIG: auths "h.io/\u001b[2J\n": '),
        ("*.example.com", "registry.example.com/p/i", "no entry for this registry"),
        ("ftp://quay.io", "quay.io/p/i", "no entry for this registry"),
        ("https://index.docker.io/v1/access-token", "ubuntu", "is not below 'access-token'"),
    ],
)
def test_a_key_is_not_for_another_place(key, repository, note):
    finding = look_up({"auths": {key: login("u")}}, repository)
    assert finding.outcome is Outcome.NO_MATCH
    assert note in finding.detail


def test_the_longest_path_wins_in_any_order_of_the_file():
    keys = ("host.io", "host.io/p/i", "https://host.io/p", "host.io/p/i/x")
    for rotation in range(len(keys)):
        order = keys[rotation:] + keys[:rotation]
        config = {"auths": {key: login(key) for key in order}}
        assert look_up(config).credential.username == "host.io/p/i"
        assert look_up(config, "host.io/p/other").credential.username == "https://host.io/p"
        assert look_up(config, "host.io/q/i").credential.username == "host.io"


@pytest.mark.parametrize(
    ("keys", "repository", "winner"),
    [
        (("https://host.io", "host.io"), "host.io/p/i", "host.io"),
        (("https://host.io", "http://host.io"), "host.io/p/i", "https://host.io"),
        (("docker.io", "https://index.docker.io/v1/"), "ubuntu", "https://index.docker.io/v1/"),
        (("docker.io", "index.docker.io"), "ubuntu", "docker.io"),
        (("https://host.io/p/i", "host.io/p/i"), "host.io/p/i", "host.io/p/i"),
    ],
)
def test_of_two_spellings_the_usual_one_wins_then_the_first(keys, repository, winner):
    assert look_up({"auths": {key: login(key) for key in keys}}, repository).credential.username == winner


def test_an_environment_names_its_places_in_order():
    environ = {
        "HOME": "/home/me",
        "DOCKER_AUTH_CONFIG": "{}",
        "DOCKER_CONFIG": "/docker",
        "REGISTRY_AUTH_FILE": "/auth.json",
        "XDG_RUNTIME_DIR": "/run/user/1",
        "XDG_CONFIG_HOME": "/config",
    }
    assert [place.name for place in places(environ)] == [
        "$DOCKER_AUTH_CONFIG",
        "/docker/config.json",
        "/docker/.dockerconfigjson",
        "/docker/.dockercfg",
        "/auth.json",
        "/run/user/1/containers/auth.json",
        "/config/containers/auth.json",
    ]


@pytest.mark.parametrize("variable", ["HOME", "USERPROFILE"])
def test_a_home_names_the_usual_places(variable):
    assert [place.name for place in places({variable: "/home/me"})] == [
        "/home/me/.docker/config.json",
        f"/run/containers/{os.getuid()}/auth.json",
        "/home/me/.config/containers/auth.json",
    ]


def test_an_empty_environment_names_no_place():
    assert places({}) == ()
    assert source_of().lookup(Repository.parse("ubuntu")).detail == "the environment names no place to look"
    assert [place.name for place in places({"XDG_RUNTIME_DIR": "", "DOCKER_CONFIG": "", "HOME": ""})] == []


def written(folder, name, config):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder)


@pytest.fixture
def everywhere(tmp_path):
    """An environment that names all five places; each has a login for host.io that says where it is from."""
    entry = {
        place: {"auths": {"host.io": login(place)}} for place in ("docker", "named", "runtime", "config")
    }
    written(tmp_path / "runtime/containers", "auth.json", entry["runtime"])
    written(tmp_path / "config/containers", "auth.json", entry["config"])
    return {
        "DOCKER_AUTH_CONFIG": json.dumps({"auths": {"host.io": login("inline")}}),
        "DOCKER_CONFIG": written(tmp_path / "docker", "config.json", entry["docker"]),
        "REGISTRY_AUTH_FILE": os.path.join(
            written(tmp_path / "named", "auth.json", entry["named"]), "auth.json"
        ),
        "XDG_RUNTIME_DIR": str(tmp_path / "runtime"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def test_the_first_place_with_a_usable_entry_wins(everywhere, tmp_path):
    empty = {"auths": {"host.io": {}, "other.io": login("other")}}
    replaced = [
        ("inline", lambda: everywhere.update(DOCKER_AUTH_CONFIG=json.dumps(empty))),
        ("docker", lambda: written(tmp_path / "docker", "config.json", empty)),
        ("named", lambda: written(tmp_path / "named", "auth.json", "")),
        ("runtime", lambda: os.unlink(tmp_path / "runtime/containers/auth.json")),
        ("config", lambda: written(tmp_path / "config/containers", "auth.json", "null")),
    ]
    for winner, take_away in replaced:
        finding = source_of(**everywhere).lookup(Repository.parse("host.io/p/i"))
        assert finding.credential.username == winner
        take_away()
    finding = source_of(**everywhere).lookup(Repository.parse("host.io/p/i"))
    assert finding.outcome is Outcome.NO_MATCH
    assert finding.detail.count(";") == 4
    assert f"{tmp_path}/runtime/containers/auth.json is not there" in finding.detail
    assert '$DOCKER_AUTH_CONFIG: auths "host.io" is empty' in finding.detail


def test_a_file_that_is_not_reached_may_be_malformed(everywhere, tmp_path):
    written(tmp_path / "named", "auth.json", "{")
    source = source_of(**everywhere)
    assert source.lookup(Repository.parse("host.io/p/i")).credential.username == "inline"
    with pytest.raises(CredentialError, match=r"named/auth.json: line 1 column 2"):
        source.lookup(Repository.parse("other.io/p/i"))


def test_with_docker_config_set_the_file_in_home_does_not_matter(tmp_path):
    home = tmp_path / "home"
    written(home / ".docker", "config.json", {"auths": {"host.io": login("home")}})
    environ = {"HOME": str(home), "XDG_RUNTIME_DIR": str(tmp_path / "none")}
    finding = source_of(**environ).lookup(Repository.parse("host.io/p/i"))
    assert finding.origin == f'{home}/.docker/config.json: auths "host.io"'
    written(tmp_path / "docker", "other.json", {})
    isolated = {**environ, "DOCKER_CONFIG": str(tmp_path / "docker")}
    assert source_of(**isolated).lookup(Repository.parse("host.io/p/i")).outcome is Outcome.NO_MATCH
    written(home / ".config/containers", "auth.json", {"auths": {"host.io": login("podman")}})
    assert source_of(**isolated).lookup(Repository.parse("host.io/p/i")).credential.username == "podman"


def test_a_named_file_that_is_missing_is_warned_about_once():
    warnings = []
    source = source_of(warnings.append, REGISTRY_AUTH_FILE="/nowhere/auth.json", DOCKER_CONFIG="/nowhere")
    for _ in range(2):
        assert source.lookup(Repository.parse("host.io/p/i")).outcome is Outcome.NO_MATCH
    assert warnings == ["REGISTRY_AUTH_FILE names /nowhere/auth.json, which is not there; it is passed over"]


def test_a_folder_in_place_of_the_file_is_as_good_as_nothing(tmp_path):
    (tmp_path / "config.json").mkdir()
    (tmp_path / "file").touch()
    for folder in (tmp_path, tmp_path / "file"):
        finding = source_of(DOCKER_CONFIG=str(folder)).lookup(Repository.parse("host.io/p/i"))
        assert finding.detail == f"{folder}/config.json is not there"


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    config = tmp_path / "config.json"
    config.symlink_to(config)
    with pytest.raises(CredentialError) as caught:
        source_of(DOCKER_CONFIG=str(tmp_path)).lookup(Repository.parse("host.io/p/i"))
    assert str(caught.value) == f"loading config file: {config}: open: too many levels of symbolic links"


@pytest.fixture
def closed():
    """A readable folder with a folder and a file in it that are closed to us, root or not."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        written(folder / "inner", "config.json", {"auths": {"host.io": login("u")}})
        (folder / "config.json").write_text("{}")
        for path in ("inner", "config.json"):
            (folder / path).chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield folder
        os.seteuid(user)
        (folder / "inner").chmod(0o755)


def test_a_file_that_is_closed_to_us_is_an_error(closed):
    with pytest.raises(CredentialError) as caught:
        source_of(DOCKER_CONFIG=str(closed)).lookup(Repository.parse("host.io/p/i"))
    assert str(caught.value) == f"loading config file: {closed}/config.json: open: permission denied"


@pytest.mark.parametrize("variable", ["DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "HOME"])
def test_a_file_in_a_folder_that_is_closed_to_us_is_passed_over_with_a_warning(closed, variable):
    """HOME may be that of another user, after sudo; the original finds nothing there and goes on."""
    warnings = []
    source = source_of(warnings.append, **{variable: f"{closed}/inner"})
    assert source.lookup(Repository.parse("host.io/p/i")).outcome is Outcome.NO_MATCH
    assert len(warnings) == (2 if variable == "HOME" else 1)
    assert warnings[0].startswith(f"{closed}/inner/")
    assert warnings[0].endswith(" is in a folder that is closed to this user; it is passed over")


def test_a_place_that_no_variable_names_may_be_closed_in_silence(closed):
    """Without XDG_RUNTIME_DIR podman keeps logins below /run/containers, which often is root's alone."""
    guesses = [place.name for place in places({"HOME": "/home/me"}) if place.is_guess]
    assert guesses == [f"/run/containers/{os.getuid()}/auth.json"]
    warnings = []
    assert Place(f"{closed}/inner/config.json", is_guess=True).load(warnings.append) is None
    assert warnings == []


def test_a_file_is_read_once_and_only_when_a_lookup_needs_it(tmp_path):
    source = source_of(DOCKER_CONFIG=str(tmp_path))
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"auths": {"host.io": login("first")}}))
    for _ in range(2):
        assert source.lookup(Repository.parse("host.io/p/i")).credential.username == "first"
        config.unlink(missing_ok=True)


def test_a_file_without_end_is_refused():
    with pytest.raises(CredentialError) as caught:
        source_of(REGISTRY_AUTH_FILE="/dev/zero").lookup(Repository.parse("host.io/p/i"))
    assert str(caught.value) == "loading config file: /dev/zero: more than 16 MiB, which is too large"


def test_a_file_may_be_a_pipe(tmp_path):
    reader, writer = os.pipe()
    try:
        os.write(writer, json.dumps({"auths": {"host.io": login("piped")}}).encode())
        os.close(writer)
        finding = source_of(REGISTRY_AUTH_FILE=f"/dev/fd/{reader}").lookup(Repository.parse("host.io/p/i"))
    finally:
        os.close(reader)
    assert finding.credential.username == "piped"


@pytest.mark.parametrize("key", ["bücher.example", "https://BÜCHER.example/v2/", "xn--bcher-kva.example"])
def test_a_key_in_letters_of_the_world_is_for_the_registry_that_dns_knows(key):
    for repository in ("bücher.example/p/i", "xn--bcher-kva.example/p/i"):
        finding = look_up({"auths": {key: login("me")}}, repository)
        assert finding.credential.username == "me"


def test_keys_that_no_host_can_match_are_warned_about():
    warnings = []
    config = {"auths": {"a..b": login("x"), "host.io": login("me")}, "credHelpers": {"bü\u200d.io": "h"}}
    source = source_of(warnings.append, DOCKER_AUTH_CONFIG=json.dumps(config))
    assert source.lookup(Repository.parse("host.io/p/i")).credential.username == "me"
    assert [text.partition(": no host")[0] for text in warnings] == [
        '$DOCKER_AUTH_CONFIG: key "a..b"',
        '$DOCKER_AUTH_CONFIG: key "bü\u200d.io"',
    ]
