"""Host names of AWS: every partition, FIPS and dual stack, and names that only look like them."""

from __future__ import annotations

import pytest

from imgpkg.auth.cloud.ecr import EcrRegistry

ACCOUNT = "123456789012"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com", EcrRegistry(ACCOUNT, "us-east-1")),
        (
            f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn",
            EcrRegistry(ACCOUNT, "cn-north-1", domain="amazonaws.com.cn"),
        ),
        (
            f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu",
            EcrRegistry(ACCOUNT, "eusc-de-east-1", domain="amazonaws.eu"),
        ),
        (
            f"{ACCOUNT}.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
            EcrRegistry(ACCOUNT, "us-gov-west-1", is_fips=True),
        ),
        (f"{ACCOUNT}.dkr-ecr.us-east-1.on.aws", EcrRegistry(ACCOUNT, "us-east-1", is_dual_stack=True)),
        (
            f"{ACCOUNT}.dkr-ecr-fips.us-east-1.on.aws",
            EcrRegistry(ACCOUNT, "us-east-1", is_fips=True, is_dual_stack=True),
        ),
        (
            f"{ACCOUNT}.dkr-ecr.cn-north-1.on.amazonwebservices.com.cn",
            EcrRegistry(ACCOUNT, "cn-north-1", is_dual_stack=True, domain="amazonaws.com.cn"),
        ),
        (
            f"{ACCOUNT}.dkr.ecr.us-iso-east-1.c2s.ic.gov",
            EcrRegistry(ACCOUNT, "us-iso-east-1", domain="c2s.ic.gov"),
        ),
        (
            f"{ACCOUNT}.dkr.ecr.us-isob-east-1.sc2s.sgov.gov",
            EcrRegistry(ACCOUNT, "us-isob-east-1", domain="sc2s.sgov.gov"),
        ),
        (
            f"{ACCOUNT}.dkr.ecr.eu-isoe-west-1.cloud.adc-e.uk",
            EcrRegistry(ACCOUNT, "eu-isoe-west-1", domain="cloud.adc-e.uk"),
        ),
        (
            f"{ACCOUNT}.dkr.ecr.us-isof-south-1.csp.hci.ic.gov",
            EcrRegistry(ACCOUNT, "us-isof-south-1", domain="csp.hci.ic.gov"),
        ),
        ("public.ecr.aws", EcrRegistry("", "us-east-1")),
        ("ecr-public.aws.com", EcrRegistry("", "us-east-1")),
    ],
)
def test_a_host_of_aws_says_account_region_and_endpoint(host, expected):
    assert EcrRegistry.of(host) == expected


@pytest.mark.parametrize(
    "host",
    [
        "myacct.dkr.ecr.us-east-1.amazonaws.com",
        "12345678901.dkr.ecr.us-east-1.amazonaws.com",
        "1234567890123.dkr.ecr.us-east-1.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.us-east-1.extra.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.us-east-1.amazonawsxcom",
        f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com.evil.example",
        f"{ACCOUNT}.dkrxecr.us-east-1.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.-east.amazonaws.com",
        f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com\n",
        "x.public.ecr.aws",
        "ecr.aws",
        "",
    ],
)
def test_any_other_host_is_none_of_aws(host):
    assert EcrRegistry.of(host) is None


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("dkr.ecr-fips.us-gov-west-1.amazonaws.com", "dkr.ecr.us-gov-west-1.amazonaws.com"),
        ("dkr.ecr.cn-north-1.amazonaws.com.cn", "dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("dkr-ecr.cn-north-1.on.amazonwebservices.com.cn", "dkr.ecr.cn-north-1.amazonaws.com.cn"),
        ("dkr.ecr.us-iso-east-1.c2s.ic.gov", "dkr.ecr.us-iso-east-1.c2s.ic.gov"),
    ],
)
def test_the_plain_name_is_below_the_domain_of_the_partition(host, plain):
    assert EcrRegistry.of(f"{ACCOUNT}.{host}").host == f"{ACCOUNT}.{plain}"


def test_the_plain_name_and_the_service_are_those_of_the_api():
    assert (
        EcrRegistry.of(f"{ACCOUNT}.dkr-ecr-fips.us-east-1.on.aws").host
        == f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com"
    )
    assert EcrRegistry.of("ecr-public.aws.com").host == "public.ecr.aws"
    assert [EcrRegistry.of(one).service for one in (f"{ACCOUNT}.dkr-ecr.r.on.aws", "public.ecr.aws")] == [
        "ecr",
        "ecr-public",
    ]
