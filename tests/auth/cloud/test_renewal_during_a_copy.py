"""A copy that takes longer than the tokens of its cloud live: the command renews them before they end."""

from __future__ import annotations

import time

import pytest
from tests.auth.cloud.azure_access import AcrAccess
from tests.auth.cloud.commands import ECR_HOST, KEYS, SECRET
from tests.servers.client import basic
from tests.servers.cloud import AzureRegistry, Ecr, EntraId, GoogleMetadata
from tests.servers.images import make_image, tar_layer

from imgpkg.embedded.access import Account, LoginAccess
from imgpkg.embedded.message import NO_FAULT, Fault

pytestmark = pytest.mark.slow

# A token lives for four seconds and is renewed when two remain, which leaves room for a busy machine.
HALF_A_LIFE = 2.0
WAITS = 2


class Living:
    """Takes each password until its end; `issued` has them all, oldest first."""

    def __init__(self, username):
        self.username = username
        self.issued = []

    def issue(self, lifetime):
        self.issued.append((f"password-{len(self.issued)}", time.time() + lifetime))
        return self.issued[-1][0]

    def check(self, request, needs):
        live = [Account(self.username, password) for password, end in self.issued if time.time() < end]
        LoginAccess(live).check(request, needs)

    def endpoint(self, request):
        return None


class AgingMetadata(GoogleMetadata):
    """A metadata server whose every token is another one."""

    def __init__(self, living):
        super().__init__(lifetime=int(2 * HALF_A_LIFE))
        self.living = living

    def __call__(self, received):
        if "/token" in received.target:
            self.token = self.living.issue(self.lifetime)
        return super().__call__(received)


class AgingEcr(Ecr):
    """An API of AWS whose every token is another one."""

    def __init__(self, living):
        super().__init__(lifetime=2 * HALF_A_LIFE)
        self.living = living

    def __call__(self, received):
        self.password = self.living.issue(self.lifetime)
        return super().__call__(received)


class Slow:
    """Gives the first layers only when half of the life of a token is over."""

    def __init__(self):
        self.waited = 0

    def __call__(self, request):
        if request.method != "GET" or "/blobs/" not in request.path or self.waited == WAITS:
            return NO_FAULT
        self.waited += 1
        return Fault(delay=1.1 * HALF_A_LIFE)


def copy(cloud, name, host, access, target, variables):
    """Copy an image of six layers, one after the other, and look at what every registry must have seen."""
    slow = Slow()
    layers = [tar_layer({f"{name}-{n}.txt": str(n).encode()}) for n in range(6)]
    cloud.stock(host, access, make_image(layers), faults=slow)
    words = ("copy", "-i", f"{host}/team/app:v1", "--to-repo", f"{target.address}/{name}/copy")
    done = cloud.run(*words, "--concurrency", "1", **variables, IMGPKG_ACTIVE_KEYCHAINS=name)
    assert done.returncode == 0, done.stderr
    assert slow.waited == WAITS
    # Only the very first question came without a credential, to learn that one is wanted.
    refused = [record.authorization for record in cloud.requests if record.status == 401]
    assert refused == [""]


@pytest.mark.parametrize(
    ("name", "host", "username", "aging"),
    [("gke", "gcr.io", "_token", AgingMetadata), ("ecr", ECR_HOST, "AWS", AgingEcr)],
)
def test_a_login_that_ends_is_replaced_before_it_is_refused(
    name, host, username, aging, cloud, here, embedded_registry
):
    living = Living(username)
    service = here(aging(living))
    places = {"gke": {"GCE_METADATA_HOST": service.address}, "ecr": {"AWS_ENDPOINT_URL_ECR": service.url}}
    copy(cloud, name, host, living, embedded_registry, {**KEYS, **places[name]})
    assert len(living.issued) > WAITS
    assert cloud.requests[-1].authorization == basic(username, living.issued[-1][0])


def test_a_refresh_token_that_ends_is_exchanged_again(cloud, internet, embedded_registry):
    access = AcrAccess(AzureRegistry(), refresh_lifetime=2 * HALF_A_LIFE)
    internet.host("login.microsoftonline.com", EntraId())
    copy(cloud, "aks", "team.azurecr.io", access, embedded_registry, SECRET)
    assert len(access.exchange.calls) > WAITS
    paths = [record.path for record in cloud.requests]
    assert paths.count("/oauth2/exchange") == paths.count("/token") == len(access.exchange.calls)
