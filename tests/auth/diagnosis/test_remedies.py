"""Remedies: the keychain of a cloud's registry, a login elsewhere, never what cannot help."""

from __future__ import annotations

import pytest

from imgpkg.auth.diagnosis.remedies import remedies_for
from imgpkg.auth.keychain import ANONYMOUS, Decision, Finding, Outcome
from imgpkg.oci.reference import Repository

ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"


def remedies(registry, *active):
    trail = tuple(Finding(name, Outcome.NO_MATCH, "not for it") for name in ("environment", *active))
    return remedies_for(Decision(Repository(registry, "team/app"), ANONYMOUS, trail))


@pytest.mark.parametrize(
    ("registry", "keychain"),
    [(ECR, "ecr"), ("europe-docker.pkg.dev", "gke"), ("team.azurecr.io", "aks"), ("ghcr.io", "github")],
)
def test_the_keychain_of_a_cloud_comes_first_unless_it_is_active(registry, keychain):
    first = f"Activate the keychain of this registry: IMGPKG_ACTIVE_KEYCHAINS={keychain}"
    assert remedies(registry)[0] == first
    assert "IMGPKG_ACTIVE_KEYCHAINS" not in " ".join(remedies(registry, keychain))
    assert remedies(registry, keychain) == remedies(registry)[1:]


def test_the_keychains_that_are_active_stay_active():
    other = "Activate the keychain of this registry: IMGPKG_ACTIVE_KEYCHAINS=gke,ecr,github"
    assert remedies("ghcr.io", "gke", "ecr")[0] == other


def test_a_registry_of_aws_is_not_advised_to_be_given_a_login_that_ends():
    assert "auth login" not in " ".join(remedies(ECR))


@pytest.mark.parametrize("registry", ["ghcr.io", "gcr.io", "team.azurecr.io", "registry.example.com:5000"])
def test_others_accept_a_login(registry):
    assert remedies(registry)[-1] == (
        f"To log in: imgpkg auth login {registry}, or set IMGPKG_REGISTRY_HOSTNAME_0={registry} "
        "with IMGPKG_REGISTRY_USERNAME_0 and IMGPKG_REGISTRY_PASSWORD_0."
    )


def test_docker_hub_wants_an_access_token():
    (only,) = remedies("docker.io")
    assert only.startswith(
        "To log in: with an access token as the password, imgpkg auth login index.docker.io"
    )
