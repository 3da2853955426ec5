"""The token of a workflow, for ghcr.io and no other registry."""

from __future__ import annotations

import pytest

from imgpkg.auth.cloud.github import GithubSource
from imgpkg.auth.keychain import Keychain, Outcome
from imgpkg.oci.reference import Repository


@pytest.mark.parametrize("host", ["ghcr.io", "GHCR.io", "ghcr.io:443", "ghcr.io:8443"])
@pytest.mark.parametrize(("actor", "username"), [("octocat", "octocat"), ("", "unset"), (None, "unset")])
def test_the_token_goes_to_ghcr(host, actor, username):
    environ = {"GITHUB_TOKEN": "ghs_token"} | ({} if actor is None else {"GITHUB_ACTOR": actor})
    finding = GithubSource(environ).lookup(Repository(host, "team/app"))
    assert (finding.credential.username, finding.credential.password) == (username, "ghs_token")
    assert finding.origin == "$GITHUB_TOKEN"


@pytest.mark.parametrize("host", ["ghcr.io.example.com", "xghcr.io", "x.ghcr.io", "github.com", "ghcr.io."])
def test_a_look_alike_host_gets_nothing(host):
    finding = GithubSource({"GITHUB_TOKEN": "ghs_token"}).lookup(Repository(host, "team/app"))
    assert (finding.outcome, finding.credential) == (Outcome.NO_MATCH, None)


def test_without_a_token_the_chain_goes_on():
    finding = GithubSource({"GITHUB_ACTOR": "octocat", "GITHUB_TOKEN": ""}).lookup(
        Repository("ghcr.io", "a/b")
    )
    assert (finding.outcome, finding.detail) == (Outcome.NOT_APPLICABLE, "GITHUB_TOKEN is not set")


def test_a_user_whom_nobody_named_is_shown_with_the_reason():
    keychain = Keychain([GithubSource({"GITHUB_TOKEN": "ghs_token"})])
    decision = keychain.resolve(Repository("ghcr.io", "team/app"))
    assert decision.user == "user 'unset' because GITHUB_ACTOR is not set"
    assert decision.summary() == (
        "credential for ghcr.io/team/app from github: $GITHUB_TOKEN "
        "(user 'unset' because GITHUB_ACTOR is not set)"
    )
