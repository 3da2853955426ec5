"""What a command imports: an SDK of a cloud only for a registry of that cloud, with its keychain active."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from tests.servers.images import make_image, upload

SDKS = {"azure", "boto3", "botocore", "google", "msal", "requests"}
KEYCHAINS = "gke,ecr,aks,github"


def imported(*arguments, status=0, **variables):
    """Run the command and return the names of all modules that its process has imported."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "imgpkg", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **variables},
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return set(re.findall(r"^import time:[ \d|]+\|\s+(\S+)$", done.stderr, re.MULTILINE))


def sdks_of(modules):
    return {name.partition(".")[0] for name in modules} & SDKS


@pytest.fixture
def pulling(embedded_registry, tmp_path):
    upload(make_image(), embedded_registry.address, "imports/app", "v1")
    return ("pull", "-i", f"{embedded_registry.address}/imports/app:v1", "-o", tmp_path / "out")


def test_none_without_an_active_keychain(pulling):
    for command in (("version",), pulling):
        modules = imported(*command)
        assert "imgpkg.cli.main" in modules
        assert sdks_of(modules) == set()
        assert not any(name.startswith("imgpkg.auth.cloud") for name in modules)


def test_none_for_a_foreign_registry_when_all_keychains_are_active(pulling):
    modules = imported(*pulling, IMGPKG_ACTIVE_KEYCHAINS=KEYCHAINS)
    assert {"imgpkg.auth.cloud.gke", "imgpkg.auth.cloud.ecr", "imgpkg.auth.cloud.aks"} <= modules
    assert sdks_of(modules) == set()


@pytest.mark.parametrize(
    "host",
    [
        "gcr.io.example.com",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.com",
        "team.azurecr.io.example.com",
        "ghcr.io.example.com",
    ],
)
def test_none_for_a_registry_that_only_looks_like_one_of_a_cloud(host):
    modules = imported("auth", "explain", f"{host}/team/app", IMGPKG_ACTIVE_KEYCHAINS=KEYCHAINS)
    assert sdks_of(modules) == set()


@pytest.mark.parametrize(
    ("host", "sdk", "others", "variables"),
    [
        ("gcr.io", "google", {"azure", "botocore"}, {"NO_GCE_CHECK": "true", "PATH": "/nowhere"}),
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
            "botocore",
            {"azure", "google"},
            {"AWS_EC2_METADATA_DISABLED": "true"},
        ),
        (
            "team.azurecr.io",
            "azure",
            {"botocore", "google"},
            {"AZURE_CLIENT_SECRET": "without an application"},
        ),
    ],
)
def test_only_that_of_the_cloud_for_a_registry_of_its_own(host, sdk, others, variables):
    active = {"IMGPKG_ACTIVE_KEYCHAINS": KEYCHAINS}
    modules = imported("auth", "explain", f"{host}/team/app", **active, **variables)
    assert sdk in sdks_of(modules)
    assert not sdks_of(modules) & others
    assert sdks_of(imported("auth", "explain", f"{host}/team/app", **variables)) == set()


def test_none_for_the_token_of_a_workflow():
    variables = {"IMGPKG_ACTIVE_KEYCHAINS": KEYCHAINS, "GITHUB_TOKEN": "ghs_token"}
    assert sdks_of(imported("auth", "explain", "ghcr.io/team/app", **variables)) == set()
