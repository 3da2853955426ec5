"""Sets of `IMGPKG_REGISTRY_*` variables with secrets in files."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imgpkg.auth.environment import EnvironmentSource, read_sets
from imgpkg.auth.keychain import Credential
from imgpkg.errors import CredentialError
from imgpkg.oci.reference import Repository

IMAGE = "gcr.io/p/i"


def look_up(warnings=None, **environ):
    environ = {f"IMGPKG_REGISTRY_{name}": str(value) for name, value in environ.items()}
    said = [] if warnings is None else warnings
    finding = EnvironmentSource(environ, said.append).lookup(Repository.parse(IMAGE))
    if finding.credential is None:
        return finding
    return replace(finding, credential=replace(finding.credential, expires_at=None))


@pytest.fixture
def files(tmp_path):
    """Write a file and return its path."""

    def write(text, name="secret"):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


@pytest.mark.parametrize(
    ("kind", "credential"),
    [
        ("IDENTITY_TOKEN", Credential(identity_token="t")),
        ("REGISTRY_TOKEN", Credential(registry_token="t")),
        ("PASSWORD", Credential("u", "t")),
    ],
)
@pytest.mark.parametrize("tail", ["", "_", "_0", "_a_b", "_FILE", "_FILE_0", "__FILE"])
def test_any_kind_of_secret_may_be_in_a_file_of_a_set_with_any_suffix(files, kind, credential, tail):
    path = files("t\n")
    given = {f"HOSTNAME{tail}": "gcr.io", f"{kind}_FILE{tail}": path}
    if credential.username:
        given[f"USERNAME{tail}"] = credential.username
    warnings = []
    finding = look_up(warnings, **given)
    assert finding.credential == credential
    assert finding.origin == (
        f"IMGPKG_REGISTRY_HOSTNAME{tail}=gcr.io, IMGPKG_REGISTRY_{kind}_FILE{tail}={path}"
    )
    assert finding.detail == f"matches {IMAGE}; gives the {credential.kind}"
    assert len(warnings) == (tail == "_")


def test_a_username_may_be_in_a_file_too(files):
    """As in a mounted Kubernetes secret of the type basic-auth."""
    finding = look_up(
        HOSTNAME="gcr.io",
        USERNAME_FILE=files("u\n", "username"),
        PASSWORD_FILE=files("p\n", "password"),
    )
    assert finding.credential == Credential("u", "p")


@pytest.mark.parametrize("tail", ["FILE", "FILE_0", "FILE_", "FILE_FILE"])
def test_a_set_whose_suffix_begins_with_file_keeps_its_values(tail):
    finding = look_up(
        **{f"HOSTNAME_{tail}": "gcr.io", f"USERNAME_{tail}": "u", f"PASSWORD_{tail}": "no/path"}
    )
    assert finding.credential == Credential("u", "no/path")
    assert finding.origin == f"IMGPKG_REGISTRY_HOSTNAME_{tail}=gcr.io"


@pytest.mark.parametrize("tail", ["FILES", "FILE-0", "file", "PROFILE"])
def test_a_suffix_that_is_no_whole_word_file_is_a_suffix(tail):
    assert [one.suffix for one in sets(**{f"PASSWORD_{tail}": "p", f"HOSTNAME_{tail}": "gcr.io"}).sets] == [
        tail
    ]
    assert f"no IMGPKG_REGISTRY_HOSTNAME_{tail}" in sets(**{f"PASSWORD_{tail}": "p"}).lost[0]


def sets(**environ):
    return read_sets({f"IMGPKG_REGISTRY_{name}": value for name, value in environ.items()})


def test_an_empty_hostname_makes_no_set_whose_suffix_begins_with_file(files):
    finding = look_up(HOSTNAME="gcr.io", USERNAME="u", PASSWORD_FILE=files("p"), HOSTNAME_FILE=" ")
    assert finding.credential == Credential("u", "p")


@pytest.mark.parametrize(("tail", "other"), [("", "_FILE"), ("_0", "_FILE_0")])
def test_a_set_that_takes_the_file_of_another_set_is_named(tail, other):
    warnings = []
    look_up(
        warnings,
        **{f"HOSTNAME{tail}": "gcr.io", f"USERNAME{tail}": "u", f"PASSWORD_FILE{tail}": "/p"},
        **{f"HOSTNAME{other}": "r.io", f"USERNAME{other}": "u"},
    )
    assert warnings[0] == (
        f"IMGPKG_REGISTRY_USERNAME{tail} is set without IMGPKG_REGISTRY_PASSWORD{tail}: the registry of "
        f"IMGPKG_REGISTRY_HOSTNAME{tail} is accessed anonymously (IMGPKG_REGISTRY_PASSWORD{other} belongs to "
        f"IMGPKG_REGISTRY_HOSTNAME{other}: rename that set)"
    )


def test_a_secret_and_its_file_are_an_error_that_names_both():
    given = {"HOSTNAME_0": "gcr.io", "PASSWORD_0": "hunter2", "PASSWORD_FILE_0": "/p"}
    with pytest.raises(CredentialError) as caught:
        look_up(**given, IDENTITY_TOKEN_0="t", IDENTITY_TOKEN_FILE_0="/t")
    reason = "are both set, and only one of them may be: unset the other"
    assert str(caught.value).split("; ") == [
        f"IMGPKG_REGISTRY_{kind}_0 and IMGPKG_REGISTRY_{kind}_FILE_0 {reason}"
        for kind in ("PASSWORD", "IDENTITY_TOKEN")
    ]


def test_an_empty_secret_or_file_counts_as_missing(files):
    given = {"HOSTNAME": "gcr.io", "USERNAME": "u"}
    assert look_up(**given, PASSWORD="p", PASSWORD_FILE="").credential == Credential("u", "p")
    assert look_up(**given, PASSWORD="", PASSWORD_FILE=files("p")).credential == Credential("u", "p")


def test_a_file_without_hostname_is_warned_about_and_not_read():
    warnings = []
    look_up(warnings, PASSWORD_FILE_0="/p")
    assert warnings[0] == (
        "IMGPKG_REGISTRY_PASSWORD_FILE_0: there is no IMGPKG_REGISTRY_HOSTNAME_0, so this set is ignored; "
        "for all registries use IMGPKG_USERNAME/IMGPKG_PASSWORD"
    )


def test_half_a_login_in_a_file_is_not_read():
    warnings = []
    finding = look_up(warnings, HOSTNAME_0="gcr.io", PASSWORD_FILE_0="/nowhere")
    assert finding.credential.is_anonymous
    assert "there is no IMGPKG_REGISTRY_USERNAME_0, so the access is anonymous" in finding.detail
    assert warnings[0] == (
        "IMGPKG_REGISTRY_PASSWORD_FILE_0 is set without IMGPKG_REGISTRY_USERNAME_0: "
        "the registry of IMGPKG_REGISTRY_HOSTNAME_0 is accessed anonymously"
    )


def test_only_the_file_of_the_set_that_is_used_is_read(files):
    finding = look_up(
        HOSTNAME_0="*.io",
        USERNAME_0="u",
        PASSWORD_FILE_0="/nowhere",
        HOSTNAME_1="gcr.io",
        USERNAME_1="u",
        PASSWORD_FILE_1=files("p"),
    )
    assert finding.credential == Credential("u", "p")


def test_a_file_that_cannot_be_used_ends_the_search(tmp_path):
    with pytest.raises(CredentialError) as caught:
        look_up(HOSTNAME_0="gcr.io", USERNAME_0="u", PASSWORD_FILE_0=tmp_path / "nowhere")
    assert str(caught.value) == (
        f"IMGPKG_REGISTRY_PASSWORD_FILE_0 names {tmp_path}/nowhere, which is not there"
    )
    assert "IMGPKG_REGISTRY_PASSWORD_0" in caught.value.hints[0]


def test_a_file_that_changed_is_read_at_the_next_lookup(files):
    environ = {
        "IMGPKG_REGISTRY_HOSTNAME_0": "gcr.io",
        "IMGPKG_REGISTRY_USERNAME_0": "u",
        "IMGPKG_REGISTRY_PASSWORD_FILE_0": str(files("first")),
    }
    source = EnvironmentSource(environ, print)
    passwords = []
    for text in ("first", "again!", ""):
        files(text)
        finding = source.lookup(Repository.parse(IMAGE))
        passwords.append(finding.credential.password)
    assert passwords == ["first", "again!", "again!"]
    assert "IMGPKG_REGISTRY_PASSWORD_FILE_0 cannot be read again, its last content is used" in finding.detail


def test_two_sets_with_the_same_file_for_one_place_are_no_mistake(files):
    path = files("p")
    given = {
        f"{kind}_{x}": value for x in (0, 1) for kind, value in (("HOSTNAME", "gcr.io"), ("USERNAME", "u"))
    }
    warnings = []
    look_up(warnings, **given, PASSWORD_FILE_0=path, PASSWORD_FILE_1=path)
    assert warnings == []
    look_up(warnings, **given, PASSWORD_FILE_0=path, PASSWORD_FILE_1="/other")
    assert "name the same place with different credentials" in warnings[0]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("PASSWORDFILE_0", "Did you mean IMGPKG_REGISTRY_PASSWORD_FILE_0 instead"),
        ("PASSWRD_FILE", "Did you mean IMGPKG_REGISTRY_PASSWORD_FILE instead"),
        (
            "TOKEN_FILE_0",
            "IMGPKG_REGISTRY_IDENTITY_TOKEN_FILE_0 or IMGPKG_REGISTRY_REGISTRY_TOKEN_FILE_0 instead",
        ),
    ],
)
def test_a_mistyped_name_of_a_file_suggests_the_right_one(name, hint):
    with pytest.raises(CredentialError) as caught:
        look_up(**{name: "/p"})
    assert hint in caught.value.hints[0]
