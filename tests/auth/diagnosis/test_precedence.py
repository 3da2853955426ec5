"""What overrules flags, when it is a source of a program, and reasons that have no remedy."""

from __future__ import annotations

import pytest

from imgpkg.auth.diagnosis.precedence import flags_misses, without
from imgpkg.auth.keychain import Credential, Decision, Finding, NearMiss, Outcome
from imgpkg.oci.reference import Repository

LOGIN = Credential("ci", "s3cret")
REPOSITORY = Repository("registry.example.com", "team/app")


def won_by(source, origin):
    finding = Finding(source, Outcome.MATCHED, "has it", origin, LOGIN)
    return Decision(REPOSITORY, LOGIN, (finding,))


def test_a_source_of_a_program_is_named_and_has_no_remedy():
    finding = Finding("flags", Outcome.MATCHED, "gives the login", "$IMGPKG_TOKEN", LOGIN)
    (miss,) = flags_misses(finding, won_by("vault", "registry/ci"))
    text = "$IMGPKG_TOKEN: not used, because vault comes first (registry/ci)"
    assert miss == NearMiss("flags", text, "", LOGIN)
    assert "s3cret" not in repr(miss)


@pytest.mark.parametrize(
    ("source", "origin", "remedy"),
    [
        ("environment", "IMGPKG_REGISTRY_HOSTNAME=a=b", "unset IMGPKG_REGISTRY_HOSTNAME"),
        ("gke", "gcloud", "take gke out of IMGPKG_ACTIVE_KEYCHAINS"),
        ("flags", "$IMGPKG_USERNAME, $IMGPKG_PASSWORD", "unset IMGPKG_USERNAME"),
        ("flags", "--registry-username, $IMGPKG_PASSWORD", "leave out --registry-username"),
        ("flags", "$IMGPKG_TOKEN_FILE=/run/token", "unset IMGPKG_TOKEN_FILE"),
        ("flags", "--registry-token-file=/run/token", "leave out --registry-token-file=/run/token"),
        ("docker config", "FILE: credsStore", ""),
    ],
)
def test_each_source_has_its_way_out(source, origin, remedy):
    assert without(won_by(source, origin).winner) == remedy


def test_a_reason_without_a_remedy_is_reported_without_one():
    finding = Finding("flags", Outcome.NOT_APPLICABLE, "nothing is given; the moon is full")
    assert list(flags_misses(finding, Decision(REPOSITORY, Credential()))) == [
        NearMiss("flags", "the moon is full")
    ]


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("$IMGPKG_FROM_PASSWORD counts only with a username", "IMGPKG_FROM_USERNAME=NAME"),
        ("--registry-password counts only with a username", "--registry-username NAME"),
        ("$IMGPKG_TO_ANON is no boolean and counts for nothing", "IMGPKG_TO_ANON=true"),
    ],
)
def test_a_value_that_counts_for_nothing_is_made_to_count(reason, remedy):
    finding = Finding("flags", Outcome.NOT_APPLICABLE, f"nothing is given; {reason}")
    (miss,) = flags_misses(finding, Decision(REPOSITORY, Credential()))
    assert (miss.text, miss.remedy) == (reason, remedy)
