"""Which logins are listed: those of sets, keychains, variables, files and helpers, and no secret."""

from __future__ import annotations

import base64
import json
import os

import pytest
from tests.auth.programs import write_helper

from imgpkg.auth.helper import Helpers
from imgpkg.auth.inventory import known_logins, named_logins
from imgpkg.errors import CredentialError, InvalidSettings

SECRET = "s3cret-of-the-list"


def auth(user="me"):
    return {"auth": base64.b64encode(f"{user}:{SECRET}".encode()).decode()}


@pytest.fixture
def listed(tmp_path):
    """Return the rows for this docker configuration and these variables, and the warnings."""

    def rows(config=None, **variables):
        environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin", **variables}
        if config is not None:
            text = config if isinstance(config, str) else json.dumps(config)
            (tmp_path / "config.json").write_text(text)
        warnings = []
        known = known_logins(environ, Helpers(environ), warnings.append)
        assert SECRET not in repr(known) + repr(warnings)
        return [(one.registry, one.username, one.kind, one.source, one.origin) for one in known], warnings

    return rows


def test_sets_are_listed_with_their_patterns(listed):
    rows, _ = listed(
        IMGPKG_REGISTRY_HOSTNAME="*.example/team",
        IMGPKG_REGISTRY_USERNAME="me",
        # The file is not read.
        IMGPKG_REGISTRY_PASSWORD_FILE="/nowhere",
        IMGPKG_REGISTRY_HOSTNAME_0="open.example",
        IMGPKG_REGISTRY_HOSTNAME_1="token.example",
        IMGPKG_REGISTRY_REGISTRY_TOKEN_1=SECRET,
    )
    assert rows == [
        ("*.example/team", "me", "login", "environment", "$IMGPKG_REGISTRY_HOSTNAME"),
        ("open.example", "", "anonymous", "environment", "$IMGPKG_REGISTRY_HOSTNAME_0"),
        ("token.example", "", "registry token", "environment", "$IMGPKG_REGISTRY_HOSTNAME_1"),
    ]


def test_active_keychains_are_listed_with_their_registries(listed):
    rows, _ = listed(IMGPKG_ACTIVE_KEYCHAINS="github,ecr")
    assert rows == [
        ("ghcr.io", "", "unknown", "github", "keychain github"),
        ("*.dkr.ecr.*.amazonaws.com, public.ecr.aws", "", "unknown", "ecr", "keychain ecr"),
    ]


@pytest.mark.parametrize(
    ("variables", "row"),
    [
        (
            {"IMGPKG_USERNAME": "me", "IMGPKG_PASSWORD": SECRET},
            ("*", "me", "login", "flags", "$IMGPKG_USERNAME, $IMGPKG_PASSWORD"),
        ),
        (
            {"IMGPKG_USERNAME": "me", "IMGPKG_PASSWORD_FILE": "/f"},
            ("*", "me", "login", "flags", "$IMGPKG_USERNAME, $IMGPKG_PASSWORD_FILE"),
        ),
        ({"IMGPKG_TOKEN_FILE": "/f"}, ("*", "", "registry token", "flags", "$IMGPKG_TOKEN_FILE")),
        ({"IMGPKG_TOKEN": SECRET}, ("*", "", "registry token", "flags", "$IMGPKG_TOKEN")),
    ],
)
def test_variables_for_every_registry_are_listed(listed, variables, row):
    assert listed(**variables) == ([row], [])


def test_entries_of_a_file_are_listed_and_markers_are_not(listed, tmp_path):
    hub = "https://index.docker.io/v1/"
    config = {
        "auths": {
            "host.example:5000/team": auth("robot"),
            hub: auth(),
            f"{hub}access-token": auth(),
            f"{hub}refresh-token": auth(),
            "in-a-helper.example": {},
            "token.example": {"identitytoken": SECRET},
            "broken.example": {"auth": "%"},
        }
    }
    rows, warnings = listed(config)
    file = f"{tmp_path}/config.json: auths"
    assert rows == [
        ("host.example:5000/team", "robot", "login", "docker config", f'{file} "host.example:5000/team"'),
        ("index.docker.io", "me", "login", "docker config", f'{file} "{hub}"'),
        ("token.example", "", "identity token", "docker config", f'{file} "token.example"'),
        (
            "broken.example",
            "",
            'unreadable: entry "broken.example": auth is not base64',
            "docker config",
            f'{file} "broken.example"',
        ),
    ]
    assert warnings == []


def test_helpers_are_asked_once_for_their_lists(listed, tmp_path):
    servers = {
        "https://index.docker.io/v1/": "me",
        "https://index.docker.io/v1/access-token": "me",
        "host.example": "you",
        "token.example": "<token>",
    }
    helper = write_helper(tmp_path / "bin", "store", f"echo '{json.dumps(servers)}'")
    config = {
        "credsStore": "store",
        "credHelpers": {"https://HOST.example/": "store", "other.example": "store", "off.example": ""},
    }
    rows, warnings = listed(config)
    file, program = f"{tmp_path}/config.json:", "(docker-credential-store)"
    assert [row[:3] for row in rows] == [
        ("host.example", "you", "login"),
        ("other.example", "", "unknown"),
        ("host.example", "you", "login"),
        ("index.docker.io", "me", "login"),
        ("token.example", "", "identity token"),
    ]
    assert rows[0][4] == f'{file} credHelpers "https://HOST.example/" {program}'
    assert rows[2][4] == f"{file} credsStore {program}"
    assert [call.strip() for call in helper.calls] == ["list"]
    assert warnings == []


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo 'not implemented'; exit 1", "exit status 1, out: `not implemented`"),
        ("echo 'nonsense'", "the helper printed no list: line 1 column 1: Expecting value"),
        ("echo '[]'", "the helper printed no list: it must be an object"),
    ],
)
def test_a_helper_without_a_list_is_reported(listed, tmp_path, body, why):
    write_helper(tmp_path / "bin", "ecr-login", body)
    rows, (warning,) = listed({"credsStore": "ecr-login", "credHelpers": {"host.example": "ecr-login"}})
    assert [row[:3] for row in rows] == [("host.example", "", "unknown")]
    assert warning.startswith(
        f"{tmp_path}/config.json: docker-credential-ecr-login: error listing credentials"
    )
    assert why in warning


def test_a_helper_that_knows_nothing_is_no_trouble(listed, tmp_path):
    write_helper(tmp_path / "bin", "empty", "echo 'credentials not found in native keychain'; exit 1")
    assert listed({"credsStore": "empty"}) == ([], [])


def test_a_broken_file_is_reported_and_others_are_listed(listed, tmp_path):
    other = tmp_path / "auth.json"
    other.write_text(json.dumps({"auths": {"host.example": auth()}}))
    rows, (warning,) = listed("{oops", REGISTRY_AUTH_FILE=str(other))
    assert [row[0] for row in rows] == ["host.example"]
    assert warning.startswith(f"loading config file: {tmp_path}/config.json: line 1 column 2: ")
    assert warning.endswith("; its logins are not listed")


def test_mistakes_in_variables_are_errors(listed):
    with pytest.raises(CredentialError):
        listed(IMGPKG_REGISTRY_NONSENSE="x")
    with pytest.raises(InvalidSettings):
        listed(IMGPKG_ACTIVE_KEYCHAINS="nonsense")


def test_sets_are_named_for_other_tools():
    environ = {
        "IMGPKG_REGISTRY_HOSTNAME": "host.example/team",
        "IMGPKG_REGISTRY_USERNAME": "me",
        "IMGPKG_REGISTRY_PASSWORD": SECRET,
        "IMGPKG_REGISTRY_HOSTNAME_0": "open.example",
        "IMGPKG_REGISTRY_HOSTNAME_1": "token.example",
        "IMGPKG_REGISTRY_REGISTRY_TOKEN_1": SECRET,
        "IMGPKG_REGISTRY_HOSTNAME_2": "identity.example",
        "IMGPKG_REGISTRY_IDENTITY_TOKEN_2": SECRET,
        "HOME": os.devnull,
    }
    assert named_logins(environ) == {"host.example/team": "me", "identity.example": "<token>"}
