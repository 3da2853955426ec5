"""The keychain `ecr`: authorization tokens of AWS for its registries, through botocore."""

from __future__ import annotations

import binascii
import json
import os
import re
import time
from base64 import b64decode, b64encode
from contextlib import suppress
from functools import partial
from hashlib import sha256
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.cloud.renewal import NoCredential, Renewal, TemporaryCredential, renew_at
from imgpkg.auth.keychain import Credential, Finding, Outcome, format_time, parse_time
from imgpkg.auth.pattern import Address
from imgpkg.auth.program import Programs
from imgpkg.dataclass import dataclass, field
from imgpkg.errors import CredentialError
from imgpkg.expression import expression

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.reference import Repository

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5, 15, 3
# Less than the deadline of a keychain, so that a cached token can be used when the API does not respond.
API_SECONDS = 20.0
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
# Dual-stack endpoints have another domain than their partition.
_PLAIN = {"on.aws": _COMMERCIAL, "on.amazonwebservices.com.cn": "amazonaws.com.cn"}
_PRIVATE = expression(
    r"(?P<account>[0-9]{12})\.dkr(?P<style>[.-])ecr(?P<fips>-fips)?\.(?P<region>[a-z0-9][a-z0-9-]*)"
    rf"\.(?P<domain>{'|'.join(map(re.escape, _SUFFIXES))})"
)
VERSION = "1.0"

_LARGEST = 1 << 24
# Older helpers wrote the MD5 of the empty string behind the key id, in place of a digest of it.
_OLD_DIGEST = bytes.fromhex("d41d8cd98f00b204e9800998ecf8427e")


class EcrSource:
    """Return an authorization token for each private registry of AWS and for public.ecr.aws.

    Account and region are in the host name; AWS credentials come from botocore's chain of providers. Tokens
    are cached on disk, see `EcrCache`. Without AWS credentials, requests to public.ecr.aws are anonymous.
    `warn` gets the reason, once per registry, when there is no token.
    """

    name = "ecr"

    def __init__(
        self,
        environ: Mapping[str, str],
        warn: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.time,
        api_seconds: float = API_SECONDS,
        metadata: MetadataService | None = None,
        programs: Programs | None = None,
    ) -> None:
        self._environ = environ
        self._clock = clock
        self._api_seconds = api_seconds
        self._machine = Machine(Absence(clock), metadata or MetadataService(clock))
        self._programs = programs or Programs()
        self._renewal: Renewal[EcrRegistry] = Renewal(self.name, self._acquire, warn=warn, clock=clock)

    def lookup(self, repository: Repository) -> Finding:
        """Return the finding for `repository`; see `CredentialSource.lookup`."""
        registry = EcrRegistry.of(Address.of(repository).host)
        if registry is None:
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is no registry of AWS")
        return self._renewal.finding(registry, repository)

    def _acquire(self, registry: EcrRegistry) -> TemporaryCredential | NoCredential:
        from dataclasses import asdict

        # The metadata service is the last provider in the chain; without it there are no credentials.
        if self._machine.absence.is_known:
            return _without_keys(registry)
        question = {
            "registry": asdict(registry),
            "now": self._clock(),
            "api_seconds": self._api_seconds,
        }
        reply = sdk.call("ecr", question, self._environ, self._machine, programs=self._programs)
        if reply is None:
            return _without_keys(registry)
        return TemporaryCredential(_decode(reply["token"]), reply["origin"], reply["expires_at"])


def _without_keys(registry: EcrRegistry) -> NoCredential:
    if not registry.is_public:
        raise CredentialError("Unable to locate credentials")
    return NoCredential("there are no AWS credentials, and public.ecr.aws can be read without")


def _decode(token: str) -> Credential:
    try:
        username, colon, password = b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        username = colon = password = ""
    if not (username and colon and password):
        # Outside of the handler and without the text, which may be half a secret.
        raise CredentialError("the authorization token is not base64 of a user name and a password")
    return Credential(username, password)


def ask(question: Mapping[str, Any], machine: Machine) -> dict[str, Any] | None:
    """Return the token of a registry, None without AWS credentials; runs in the process of botocore."""
    import botocore.session

    # Not boto3: it would add a dependency for a single call.
    session = botocore.session.get_session()
    _probe_first(session, machine.metadata)
    keys = session.get_credentials()
    if keys is None:
        # The metadata service is botocore's last provider, so it did not respond.
        machine.absence.learn()
        return None
    # The key id separates the tokens of different accounts and roles.
    cache = EcrCache(os.environ, keys.get_frozen_credentials().access_key)
    token, place = _token(session, EcrRegistry(**question["registry"]), cache, question)
    return {
        "token": token.token,
        "origin": f"AWS credentials ({keys.method}){place}",
        "expires_at": token.expires_at,
    }


def _token(
    session: Any, registry: EcrRegistry, cache: EcrCache, question: Mapping[str, Any]
) -> tuple[CachedToken, str]:
    """Return a token and its place: the cache, the API, or the cache again when the API fails."""
    now = question["now"]
    cached = cache.get(registry)
    if cached is not None and cached.is_fresh(now):
        return cached, ", token from cache"
    try:
        token = sdk.within(question["api_seconds"], partial(_ask_api, session, registry, now))
    except Exception:
        if cached is None or cached.expires_at <= now:
            raise
        return cached, ", token from cache because the API failed"
    # A wrong clock would fill the cache with tokens that look ended.
    if token.expires_at > now:
        cache.put(registry, token)
    return token, ""


class _RoleOfMachine:
    """A provider for the place of botocore's last one, which waits two seconds outside of AWS."""

    METHOD = "iam-role-if-there"

    def __init__(self, provider: Any, metadata: MetadataService) -> None:
        self._provider = provider
        self._metadata = metadata

    def load(self) -> Any:
        """Return the credentials of the machine's role; None without a metadata service."""
        return None if self._metadata.is_absent else self._provider.load()


def _probe_first(session: Any, metadata: MetadataService) -> None:
    """Make botocore use the metadata service only if it responds, or if the configuration names it."""
    named = ("ec2_metadata_service_endpoint", "ec2_metadata_service_endpoint_mode")
    if any(session.get_config_variable(name) for name in named):
        return
    chain = session.get_component("credential_provider")
    name = "iam-role"
    chain.insert_after(name, _RoleOfMachine(chain.get_provider(name), metadata))
    chain.remove(name)


def _ask_api(session: Any, registry: EcrRegistry, now: float) -> CachedToken:
    from botocore.config import Config

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        # Retries that are passed here would override the variable.
        retries=None
        if os.environ.get("AWS_MAX_ATTEMPTS")
        else {"total_max_attempts": ATTEMPTS, "mode": "standard"},
        # None leaves the choice to AWS_USE_FIPS_ENDPOINT and the configuration file.
        use_fips_endpoint=registry.is_fips or None,
        use_dualstack_endpoint=registry.is_dual_stack or None,
    )
    client = session.create_client(registry.service, region_name=registry.region, config=config)
    try:
        # A registry of another account is named by its id; the token would otherwise be for the own one.
        asked = {} if registry.is_public else {"registryIds": [registry.account]}
        said = client.get_authorization_token(**asked)["authorizationData"]
        data = said if registry.is_public else said[0]
        return CachedToken(data["authorizationToken"], now, data["expiresAt"].timestamp())
    except LookupError as error:
        raise CredentialError(f"the answer of {client.meta.endpoint_url} has no token") from error
    finally:
        client.close()


@dataclass(frozen=True, slots=True)
class EcrRegistry:
    """A registry of AWS; the public one has no account. `domain` is the domain of its partition."""

    account: str
    region: str
    is_fips: bool = False
    is_dual_stack: bool = False
    domain: str = _COMMERCIAL

    @classmethod
    def of(cls, host: str) -> EcrRegistry | None:
        """Parse a lower-case host name without port; None if it is no registry of AWS."""
        # The API of the public registry is in one region only.
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
        """True for public.ecr.aws."""
        return not self.account

    @property
    def service(self) -> str:
        """The name of the API that issues its tokens."""
        return "ecr-public" if self.is_public else "ecr"

    @property
    def host(self) -> str:
        """The host name that the API and the cache file use."""
        return "public.ecr.aws" if self.is_public else f"{self.account}.dkr.ecr.{self.region}.{self.domain}"


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token in the form of the API, base64 of `user:password`, and its Unix times."""

    token: str = field(repr=False)
    requested_at: float
    expires_at: float

    def is_fresh(self, now: float) -> bool:
        """Return whether it is too early to renew it."""
        return now < renew_at(self.expires_at, self.requested_at)


class EcrCache:
    """The file that docker-credential-ecr-login keeps: `cache.json` in `AWS_ECR_CACHE_DIR` or `~/.ecr`.

    Its keys differ for different AWS credentials. It is not used if `AWS_ECR_DISABLE_CACHE` is not empty, or
    without a home folder. A file that cannot be read counts as empty; a failure to write is ignored, because
    the token is valid without it.
    """

    def __init__(self, environ: Mapping[str, str], access_key_id: str) -> None:
        self._folder = _folder(environ)
        self._path = os.path.join(self._folder, "cache.json")
        self._access_key_id = access_key_id

    def get(self, registry: EcrRegistry) -> CachedToken | None:
        """Return the token for a registry, fresh or not; None without one."""
        entries = self._read()
        found = (_cached(entries.get(key)) for key in self._keys(registry))
        return next((token for token in found if token is not None), None)

    def put(self, registry: EcrRegistry, token: CachedToken) -> None:
        """Write the token for a registry."""
        if not self._folder:
            return
        entry = {
            "AuthorizationToken": token.token,
            "RequestedAt": format_time(token.requested_at),
            "ExpiresAt": format_time(token.expires_at),
            "ProxyEndpoint": f"https://{registry.host}",
            "Service": registry.service,
        }
        entries = {**self._read(), self._keys(registry)[0]: entry}
        with suppress(OSError):
            self._write(json.dumps({"Version": VERSION, "Registries": entries}))

    def _keys(self, registry: EcrRegistry) -> tuple[str, str]:
        key_id = self._access_key_id.encode()
        sums = (sha256(key_id).digest(), key_id + _OLD_DIGEST)
        checks = [b64encode(one).decode("ascii") for one in sums]
        new, old = (
            f"ecr-public-{check}" if registry.is_public else f"{registry.region}-{check}-{registry.account}"
            for check in checks
        )
        return new, old

    def _read(self) -> dict[str, object]:
        if not self._folder:
            return {}
        try:
            document = json.loads(_text(self._path))
        except (OSError, ValueError, RecursionError):
            return {}
        if not isinstance(document, dict) or document.get("Version") != VERSION:
            return {}
        entries = document.get("Registries")
        return entries if isinstance(entries, dict) else {}

    def _write(self, text: str) -> None:
        from tempfile import mkstemp

        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        # mkstemp creates the file with mode 0600; the rename keeps readers from seeing half of it.
        descriptor, path = mkstemp(prefix=".cache", suffix=".json", dir=self._folder)
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(path, self._path)
        except BaseException:
            os.unlink(path)
            raise


def _folder(environ: Mapping[str, str]) -> str:
    if environ.get("AWS_ECR_DISABLE_CACHE"):
        return ""
    home = environ.get("HOME") or environ.get("USERPROFILE", "")
    named = environ.get("AWS_ECR_CACHE_DIR", "")
    if named and not named.startswith("~/"):
        return named
    return os.path.join(home, named[2:] or ".ecr") if home else ""


def _text(path: str) -> str:
    """Read a regular file, up to a limit; a pipe or device in its place would block, or never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8") as file:
        return file.read(_LARGEST) if S_ISREG(os.fstat(descriptor).st_mode) else ""


def _cached(entry: object) -> CachedToken | None:
    if not isinstance(entry, dict):
        return None
    try:
        token = entry["AuthorizationToken"]
        requested_at, expires_at = parse_time(entry["RequestedAt"]), parse_time(entry["ExpiresAt"])
    except (LookupError, TypeError, ValueError):
        return None
    return CachedToken(token, requested_at, expires_at) if isinstance(token, str) else None
