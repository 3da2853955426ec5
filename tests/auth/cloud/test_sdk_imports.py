"""What a command imports: an SDK of a cloud only for a registry of that cloud, with its keychain active."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from tests.servers.images import make_image, upload

from imgpkg.auth.cloud import sdk

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


def imported_by_the_process_of(keychain, question, **variables):
    """Be the process in which a keychain calls its SDK, and return the names of what it has imported."""
    nothing_known = {"host": "127.0.0.1", "port": 1, "is_absent": True, "has_none": True}
    told = {"path": sys.path, "seconds": 100, "machine": nothing_known}
    done = subprocess.run(
        [sys.executable, "-I", "-X", "importtime", "-c", sdk.PROGRAM],
        input=json.dumps({**told, "keychain": keychain, "question": question}),
        capture_output=True,
        text=True,
        env=variables,
        timeout=120,
        check=True,
    )
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


REGISTRY = {"account": "123456789012", "region": "eu-west-1"}
OWN = [
    ("gke", "gcr.io", "google", {"scope": "s"}, {"NO_GCE_CHECK": "true", "PATH": "/nowhere"}),
    (
        "ecr",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com",
        "botocore",
        {"registry": REGISTRY, "now": 0, "api_seconds": 1},
        {"AWS_EC2_METADATA_DISABLED": "true"},
    ),
    (
        "aks",
        "team.azurecr.io",
        "azure",
        {"cloud": {"authority": "https://login.example", "resource": "r"}, "scope": "s"},
        {"AZURE_CLIENT_SECRET": "without an application"},
    ),
]


@pytest.mark.parametrize(("keychain", "host", "vendor", "question", "variables"), OWN)
def test_for_a_registry_of_its_own_only_a_process_of_its_own_imports_one(
    keychain, host, vendor, question, variables
):
    active = {"IMGPKG_ACTIVE_KEYCHAINS": KEYCHAINS}
    modules = imported("auth", "explain", f"{host}/team/app", **active, **variables)
    assert f"imgpkg.auth.cloud.{keychain}" in modules
    assert sdks_of(modules) == set()
    others = {"azure", "botocore", "google"} - {vendor}
    modules = imported_by_the_process_of(keychain, question, **variables)
    assert vendor in sdks_of(modules)
    assert not sdks_of(modules) & others
    assert not any(name.startswith("imgpkg.registry") for name in modules)


def test_none_for_the_token_of_a_workflow():
    variables = {"IMGPKG_ACTIVE_KEYCHAINS": KEYCHAINS, "GITHUB_TOKEN": "ghs_token"}
    assert sdks_of(imported("auth", "explain", "ghcr.io/team/app", **variables)) == set()
