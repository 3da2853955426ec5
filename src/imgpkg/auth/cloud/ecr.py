"""The keychain `ecr`: authorization tokens of AWS for its registries, through botocore."""

from __future__ import annotations

import binascii
import os
import time
from base64 import b64decode
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from imgpkg.auth.address import Address
from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.ecr_cache import CachedToken, EcrCache
from imgpkg.auth.cloud.ecr_registry import EcrRegistry
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.cloud.renewal import Grant, Nothing, Renewal
from imgpkg.auth.credential import Credential
from imgpkg.auth.keychain import Finding, Outcome
from imgpkg.auth.program import Programs
from imgpkg.errors import CredentialError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from imgpkg.oci.reference import Repository

CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 5, 15, 3
# Less than a keychain has altogether, so that an old token can serve when the API says nothing.
API_SECONDS = 20.0


class EcrSource:
    """Gives an authorization token to each private registry of AWS and to public.ecr.aws.

    Account and region come from the host name, AWS credentials from botocore's whole chain. Tokens are kept
    on disk too, see `EcrCache`. Without AWS credentials public.ecr.aws stays anonymous. `warn` hears once per
    registry why there is no token.
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
        """Answer for `repository`; see `CredentialSource.lookup`."""
        registry = EcrRegistry.of(Address.of(repository).host)
        if registry is None:
            return Finding(self.name, Outcome.NO_MATCH, f"{repository.registry} is no registry of AWS")
        return self._renewal.finding(registry, repository)

    def _acquire(self, registry: EcrRegistry) -> Grant | Nothing:
        # The last place for keys is the metadata service: without it there are none at all.
        if self._machine.absence.is_known:
            return _without_keys(registry)
        question = {
            "registry": asdict(registry),
            "now": self._clock(),
            "api_seconds": self._api_seconds,
        }
        said = sdk.call("ecr", question, self._environ, self._machine, programs=self._programs)
        if said is None:
            return _without_keys(registry)
        return Grant(_decode(said["token"]), said["origin"], said["expires_at"])


def _without_keys(registry: EcrRegistry) -> Nothing:
    if not registry.is_public:
        raise CredentialError("Unable to locate credentials")
    return Nothing("there are no AWS credentials, and public.ecr.aws can be read without")


def ask(question: Mapping[str, Any], machine: Machine) -> dict[str, Any] | None:
    """Return the token of a registry, None without AWS credentials; runs in a process of botocore's."""
    import botocore.session  # noqa: PLC0415 - only for a registry of AWS

    session = botocore.session.get_session()
    _look_first(session, machine.metadata)
    keys = session.get_credentials()
    if keys is None:
        # botocore has looked for metadata last.
        machine.absence.learn()
        return None
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
    """Take the token from the cache, or from the API; an old one serves when the API fails."""
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
    if token.expires_at > now:
        cache.put(registry, token)
    return token, ""


class _RoleOfMachine:
    """A provider of botocore in place of its last one, which waits for whole seconds, twice."""

    METHOD = "iam-role-if-there"

    def __init__(self, provider: Any, metadata: MetadataService) -> None:
        self._provider = provider
        self._metadata = metadata

    def load(self) -> Any:
        """Give the credentials of the machine's role, None where there is no metadata service."""
        return None if self._metadata.is_absent else self._provider.load()


def _look_first(session: Any, metadata: MetadataService) -> None:
    """Have botocore ask the metadata service for a role only where one was found, or was named by hand."""
    named = ("ec2_metadata_service_endpoint", "ec2_metadata_service_endpoint_mode")
    if any(session.get_config_variable(name) for name in named):
        return
    chain = session.get_component("credential_provider")
    name = "iam-role"
    chain.insert_after(name, _RoleOfMachine(chain.get_provider(name), metadata))
    chain.remove(name)


def _ask_api(session: Any, registry: EcrRegistry, now: float) -> CachedToken:
    from botocore.config import Config  # noqa: PLC0415 - only for a registry of AWS

    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        # A number of attempts that is given here would beat the variable.
        retries=None
        if os.environ.get("AWS_MAX_ATTEMPTS")
        else {"total_max_attempts": ATTEMPTS, "mode": "standard"},
        use_fips_endpoint=registry.is_fips or None,
        use_dualstack_endpoint=registry.is_dual_stack or None,
    )
    client = session.create_client(registry.service, region_name=registry.region, config=config)
    try:
        asked = {} if registry.is_public else {"registryIds": [registry.account]}
        said = client.get_authorization_token(**asked)["authorizationData"]
        data = said if registry.is_public else said[0]
        return CachedToken(data["authorizationToken"], now, data["expiresAt"].timestamp())
    except LookupError as error:
        raise CredentialError(f"the answer of {client.meta.endpoint_url} has no token") from error
    finally:
        client.close()


def _decode(token: str) -> Credential:
    try:
        username, colon, password = b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        username = colon = password = ""
    if not (username and colon and password):
        # Outside of the handler, and without the text: it may be half a secret.
        raise CredentialError("the authorization token is not base64 of a user name and a password")
    return Credential(username, password)
