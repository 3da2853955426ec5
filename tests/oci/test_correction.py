"""How a text that should be a reference is written right; what is proposed is a reference."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.errors import InvalidReference
from imgpkg.oci.reference import Reference, Repository, parse_any

HOST = "registry.example.com"
HEX = "0123456789abcdef" * 4


def hints(text, parse=parse_any):
    """Return what is said about a text besides the reason itself."""
    with pytest.raises(InvalidReference) as caught:
        parse(text)
    return caught.value.hints[1:] if parse is parse_any else caught.value.hints


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (f"docker://{HOST}/team/app:v1", f"Leave out docker://: {HOST}/team/app:v1."),
        (f"https://{HOST}/team/app", f"Leave out https://: {HOST}/team/app."),
        (f"{HOST}/Team/App:V1", f"The names of repositories have no capital letters: {HOST}/team/app:V1."),
        ("Nginx", "The names of repositories have no capital letters: nginx."),
        (f"{HOST}/a/b@{HEX}", f"A digest begins with its algorithm: {HOST}/a/b@sha256:{HEX}."),
        (f"{HOST}/a/b@sha256:abc", "A SHA-256 digest has 64 hexadecimal digits, and this one has 3."),
        (
            f"{HOST}/a/b@sha512:{HEX}{HEX}",
            f"Only SHA-256 digests are supported: imgpkg tag resolve -i {HOST}/a/b:TAG prints one.",
        ),
        (
            f"{HOST}:/a/b:v1",
            f"A port is missing behind the colon: {HOST}:443/a/b:v1, or {HOST}/a/b:v1 for that of https.",
        ),
        (f"{HOST}:70000/a/b", "There is no port 70000: the highest is 65535."),
        (f"{HOST}:{'9' * 5000}/a/b", f"There is no port {'9' * 5000}: the highest is 65535."),
        (f"{HOST}/a/b:v1+2", f"A tag has letters, digits, _ . and - only: {HOST}/a/b:v1_2."),
        (f"{HOST}/a/b:v1:v2", f"There are two tags, and a reference has one: {HOST}/a/b:v2."),
        (
            f"{HOST}/Team/app:v1@sha256:{HEX}",
            f"The names of repositories have no capital letters: {HOST}/team/app:v1@sha256:{HEX}.",
        ),
        (
            f"{HOST}/a/b:v1+2@sha256:{HEX}",
            f"A tag has letters, digits, _ . and - only: {HOST}/a/b:v1_2@sha256:{HEX}.",
        ),
        (
            f"{HOST}/a/b:v1:v2@sha256:{HEX}",
            f"There are two tags, and a reference has one: {HOST}/a/b:v2@sha256:{HEX}.",
        ),
        (f"{HOST}/a/b:{'x' * 129}", "A tag has at most 128 characters, and this one has 129."),
        (f" {HOST}/a/b\n", f"Take out the space: {HOST}/a/b."),
    ],
)
def test_a_mistake_is_corrected(text, hint):
    assert hints(text) == (hint,)


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{HOST}/a:v1@sha256:{HEX}",
        f"{HOST}/a/b@sha1:{HEX}",
        f"{HOST}/a/b@x:{HEX}",
        f"{HOST}/a/!",
        f"{HOST}/A/!",
        f"{HOST}:80/a/!:x+y",
    ],
)
def test_of_what_cannot_be_guessed_only_the_reason_is_said(text):
    assert hints(text) == ()


def test_a_scheme_before_another_mistake_does_not_hide_it():
    assert hints(f"https://{HOST}/Team/app") == (
        f"The names of repositories have no capital letters: {HOST}/team/app.",
    )


@pytest.mark.parametrize("scheme", ["", "https://"])
def test_a_login_is_not_repeated(scheme):
    said = hints(f"{scheme}me:s3cret@{HOST}/team/app")
    assert said[-1].startswith("Leave out the login, and give it with --registry-username")
    assert "s3cret" not in "".join(said)


@pytest.mark.parametrize("end", [":v1", f"@sha256:{HEX}"])
def test_a_repository_has_no_tag_and_no_digest(end):
    assert hints(f"{HOST}/team/app{end}", Repository.parse) == (
        f"A repository is expected here, without a tag or digest: {HOST}/team/app.",
    )


def test_a_tag_reference_is_corrected_as_well():
    assert hints(f"{HOST}/a/b:v1+2", Reference.parse_tag) == (
        f"A tag has letters, digits, _ . and - only: {HOST}/a/b:v1_2.",
    )


@given(st.text("aB:/@.+ 0", min_size=1, max_size=12))
def test_looking_for_a_correction_never_fails(text):
    caught = ()
    try:
        parse_any(text)
    except InvalidReference as error:
        caught = error.hints[1:]
    assert all(hint.endswith(".") for hint in caught)
