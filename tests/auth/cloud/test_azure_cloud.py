"""Which authority and which audience a registry of Azure means."""

from __future__ import annotations

import json

import pytest

from imgpkg.auth.cloud.aks import AzureCloud, cloud_of
from imgpkg.errors import CredentialError


def urls(host, **environ):
    cloud = cloud_of(host, environ)
    return cloud.authority, cloud.scope, cloud.is_known


@pytest.mark.parametrize(
    ("host", "authority", "scope"),
    [
        ("a.azurecr.io", "login.microsoftonline.com", "management.azure.com"),
        ("a.b.azurecr.io", "login.microsoftonline.com", "management.azure.com"),
        ("a.azurecr.us", "login.microsoftonline.us", "management.usgovcloudapi.net"),
        ("a.azurecr.cn", "login.chinacloudapi.cn", "management.chinacloudapi.cn"),
        ("a.azurecr.de", "login.microsoftonline.de", "management.microsoftazure.de"),
        ("a.azurecr.us.azurecr.io", "login.microsoftonline.com", "management.azure.com"),
    ],
)
def test_the_suffix_decides(host, authority, scope):
    assert urls(host) == (f"https://{authority}", f"https://{scope}/.default", True)


@pytest.mark.parametrize("name", ["AzureChinaCloud", "AZURECHINACLOUD", "azurechinacloud"])
def test_a_named_cloud_beats_the_suffix(name):
    assert urls("a.azurecr.io", AZURE_ENVIRONMENT=name)[0] == "https://login.chinacloudapi.cn"


@pytest.mark.parametrize(
    ("name", "authority"),
    [
        ("AzurePublicCloud", "login.microsoftonline.com"),
        ("AzureCloud", "login.microsoftonline.com"),
        ("AzureUSGovernmentCloud", "login.microsoftonline.us"),
        ("AzureUSGovernment", "login.microsoftonline.us"),
        ("AzureGermanCloud", "login.microsoftonline.de"),
    ],
)
def test_every_name_of_a_cloud_is_known(name, authority):
    assert urls("a.azurecr.cn", AZURE_ENVIRONMENT=name)[0] == f"https://{authority}"


@pytest.mark.parametrize("given", ["https://login.microsoftonline.us/", "login.microsoftonline.us"])
def test_an_authority_given_by_hand_beats_both(given):
    assert urls("a.azurecr.io", AZURE_AUTHORITY_HOST=given) == (
        "https://login.microsoftonline.us",
        "https://management.azure.com/.default",
        True,
    )
    assert not cloud_of("a.azurecr.io", {"AZURE_AUTHORITY_HOST": "https://login.stack.example"}).is_known


def test_an_audience_given_by_hand_is_asked_for():
    assert urls("a.azurecr.io", AZURE_AD_RESOURCE="https://x.example/")[1] == "https://x.example/.default"


def test_a_stack_is_described_by_a_file(tmp_path):
    path = tmp_path / "stack.json"
    about = {
        "activeDirectoryEndpoint": "https://login.stack/",
        "resourceManagerEndpoint": "https://arm.stack/",
    }
    environ = {"AZURE_ENVIRONMENT": "AzureStackCloud", "AZURE_ENVIRONMENT_FILEPATH": str(path)}
    path.write_text(json.dumps(about))
    assert cloud_of("a.azurecr.io", environ) == AzureCloud(
        "https://login.stack", "https://arm.stack", is_known=False
    )
    path.write_text(json.dumps({**about, "tokenAudience": "https://audience.stack"}))
    assert cloud_of("a.azurecr.io", environ).scope == "https://audience.stack/.default"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "{",
        "[" * 100_000,
        "[]",
        "{}",
        '{"activeDirectoryEndpoint": 5, "resourceManagerEndpoint": 6}',
        '{"activeDirectoryEndpoint": "https://login.stack/", "resourceManagerEndpoint": 6}',
    ],
    ids=lambda text: str(text)[:30],
)
def test_a_file_that_describes_no_stack_is_an_error_with_its_name(text, tmp_path):
    path = tmp_path / "stack.json"
    if text is not None:
        path.write_text(text)
    environ = {"AZURE_ENVIRONMENT": "AZURESTACKCLOUD", "AZURE_ENVIRONMENT_FILEPATH": str(path)}
    with pytest.raises(CredentialError, match=r"stack\.json: this is no description of an Azure Stack"):
        cloud_of("a.azurecr.io", environ)
