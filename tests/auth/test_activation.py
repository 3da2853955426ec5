"""Which keychains are active, by which variable, and what they cost before they are asked."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from imgpkg.auth.activation import DEPRECATION, InactiveKeychains, active_sources, keychain_of
from imgpkg.auth.keychain import ANONYMOUS, Decision, Finding, NearMiss, Outcome
from imgpkg.errors import InvalidSettings
from imgpkg.oci.reference import Repository
from imgpkg.transport.pool import Pool

ALL = ["gke", "ecr", "aks", "github"]


def names(**environ):
    said = []
    with Pool() as pool:
        return [source.name for source in active_sources(environ, lambda: pool, said.append)], said


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, []),
        ("", []),
        (" ", []),
        (",", []),
        ("gke,", ["gke"]),
        ("gke,aks", ["gke", "aks"]),
        (" gke , ecr ", ["gke", "ecr"]),
        ("GKE,Ecr", ["gke", "ecr"]),
        ("github,github", ["github"]),
        ("github,aks,ecr,gke", ALL[::-1]),
    ],
)
def test_the_variable_lists_keychains_in_their_order(value, expected):
    environ = {} if value is None else {"IMGPKG_ACTIVE_KEYCHAINS": value}
    assert names(**environ) == (expected, [])


@pytest.mark.parametrize(("value", "name"), [("gcr", "gcr"), ("gke;ecr", "gke;ecr"), ("gke, Nope ", "Nope")])
def test_an_unknown_name_is_an_error_in_the_originals_words(value, name):
    with pytest.raises(InvalidSettings) as caught:
        names(IMGPKG_ACTIVE_KEYCHAINS=value)
    assert str(caught.value) == (
        f"Creating registry keychain: Unable to load keychain for {name}, "
        "available keychains [aks, ecr, gke, github]"
    )


@pytest.mark.parametrize("value", ["true", "TRUE", "True"])
def test_the_old_variable_activates_all_and_says_that_it_is_old(value):
    expected = (ALL, [DEPRECATION])
    assert names(IMGPKG_ENABLE_IAAS_AUTH=value, IMGPKG_ACTIVE_KEYCHAINS="nonsense") == expected
    assert DEPRECATION.startswith(
        "IMGPKG_ENABLE_IAAS_AUTH environment variable will be deprecated, please use "
    )


@pytest.mark.parametrize("value", ["", "1", "yes", "false", " true"])
def test_any_other_value_of_the_old_variable_means_nothing(value):
    assert names(IMGPKG_ENABLE_IAAS_AUTH=value, IMGPKG_ACTIVE_KEYCHAINS="ecr") == (["ecr"], [])


def test_no_sdk_is_loaded_by_the_process_that_asks_one():
    """Only a process of its own shows which modules it has loaded."""
    program = """
import json, sys
from imgpkg.auth.activation import active_sources
from imgpkg.oci.reference import Repository
from imgpkg.transport.pool import Pool
def loaded():
    heads = {name.split(".")[0] for name in sys.modules}
    return sorted(heads & {"google", "botocore", "azure", "msal", "requests", "subprocess"})
with Pool() as pool:
    none = active_sources({}, lambda: pool, print)
    own = sorted(name for name in sys.modules if name.startswith("imgpkg.auth.cloud"))
    some = active_sources({"IMGPKG_ENABLE_IAAS_AUTH": "true"}, lambda: pool, lambda text: None)
    for source in some:
        source.lookup(Repository("registry.example.com", "team/app"))
    before = loaded()
    environ = {"IMGPKG_ACTIVE_KEYCHAINS": "ecr", "AWS_EC2_METADATA_DISABLED": "true"}
    active_sources(environ, lambda: pool, lambda text: None)[0].lookup(Repository("public.ecr.aws", "a/b"))
print(json.dumps([own, before, loaded()]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[], [], ["subprocess"]]


@pytest.mark.parametrize(
    ("host", "keychain"),
    [
        ("gcr.io", "gke"),
        ("europe-docker.pkg.dev", "gke"),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "ecr"),
        ("public.ecr.aws", "ecr"),
        ("team.azurecr.io", "aks"),
        ("ghcr.io", "github"),
        ("ghcr.io.example.com", ""),
        ("registry.example.com", ""),
    ],
)
def test_a_host_has_at_most_one_keychain_whether_it_is_active_or_not(host, keychain):
    assert keychain_of(host) == keychain


@pytest.mark.parametrize(
    ("active", "remedy"),
    [
        ("", "IMGPKG_ACTIVE_KEYCHAINS=github"),
        ("gke, ECR", "IMGPKG_ACTIVE_KEYCHAINS=gke,ecr,github"),
    ],
)
def test_a_keychain_that_is_not_active_is_named_with_the_variable_that_activates_it(active, remedy):
    inactive = InactiveKeychains({"IMGPKG_ACTIVE_KEYCHAINS": active})
    (miss,) = inactive.near_misses(Decision(Repository.parse("ghcr.io/team/app"), ANONYMOUS))
    assert miss == NearMiss("github", "keychain 'github' handles ghcr.io and is not active", remedy)


@pytest.mark.parametrize(
    ("environ", "repository"),
    [
        ({"IMGPKG_ACTIVE_KEYCHAINS": "github"}, "ghcr.io/team/app"),
        ({"IMGPKG_ENABLE_IAAS_AUTH": "true"}, "ghcr.io/team/app"),
        ({}, "registry.example.com/team/app"),
    ],
)
def test_an_active_keychain_or_none_is_no_near_miss(environ, repository):
    decision = Decision(Repository.parse(repository), ANONYMOUS)
    assert list(InactiveKeychains(environ).near_misses(decision)) == []


def test_a_keychain_that_a_set_would_overrule_is_no_near_miss():
    won = Finding("environment", Outcome.MATCHED, "matches", "IMGPKG_REGISTRY_HOSTNAME=ghcr.io", ANONYMOUS)
    decision = Decision(Repository.parse("ghcr.io/team/app"), ANONYMOUS, (won,))
    assert list(InactiveKeychains({}).near_misses(decision)) == []
