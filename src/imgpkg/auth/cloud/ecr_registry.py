"""Which AWS account, region and endpoint a host name of an ECR registry means."""

from __future__ import annotations

import re
from dataclasses import dataclass

PUBLIC_HOSTS = frozenset({"public.ecr.aws", "ecr-public.aws.com"})
PUBLIC_REGION = "us-east-1"

_COMMERCIAL = "amazonaws.com"
_SUFFIXES = (
    _COMMERCIAL,
    "amazonaws.com.cn",
    "amazonaws.eu",
    "on.aws",
    "on.amazonwebservices.com.cn",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "cloud.adc-e.uk",
    "csp.hci.ic.gov",
)
# Names of dual-stack endpoints are below other domains than those of their partition.
_PLAIN = {"on.aws": _COMMERCIAL, "on.amazonwebservices.com.cn": "amazonaws.com.cn"}
_PRIVATE = re.compile(
    r"(?P<account>[0-9]{12})\.dkr(?P<style>[.-])ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9][a-z0-9-]*)"
    rf"\.(?P<domain>{'|'.join(map(re.escape, _SUFFIXES))})"
)


@dataclass(frozen=True, slots=True)
class EcrRegistry:
    """A registry of AWS; the public one has no account. `domain` is that of its partition."""

    account: str
    region: str
    is_fips: bool = False
    is_dual_stack: bool = False
    domain: str = _COMMERCIAL

    @classmethod
    def of(cls, host: str) -> EcrRegistry | None:
        """Read a lower-case host name without port; None when it belongs to no registry of AWS."""
        if host in PUBLIC_HOSTS:
            return cls("", PUBLIC_REGION)
        match = _PRIVATE.fullmatch(host)
        if match is None:
            return None
        is_fips, is_dual_stack = match["fips"] is not None, match["style"] == "-"
        domain = _PLAIN.get(match["domain"], match["domain"])
        return cls(match["account"], match["region"], is_fips, is_dual_stack, domain)

    @property
    def is_public(self) -> bool:
        """True for the registry that everybody shares."""
        return not self.account

    @property
    def service(self) -> str:
        """The name of the API that gives its tokens."""
        return "ecr-public" if self.is_public else "ecr"

    @property
    def host(self) -> str:
        """The plain name of the registry, as the API and the shared cache file call it."""
        return "public.ecr.aws" if self.is_public else f"{self.account}.dkr.ecr.{self.region}.{self.domain}"
