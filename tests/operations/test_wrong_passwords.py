"""How often a wrong password reaches real registries and token services: a few of them lock an account."""

from __future__ import annotations

import contextlib

import pytest
from tests.operations.making import make_bundle, make_image
from tests.servers.docker import docker_registry_process, token_section, write_htpasswd
from tests.servers.logging_proxy import LoggingProxy
from tests.servers.token_service import TokenService, User

from imgpkg.auth.keychain import Credential, Finding, Outcome
from imgpkg.errors import ChallengeError, Unauthorized
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.describe import describe
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

pytestmark = pytest.mark.usefixtures("written_log")

USER, PASSWORD = "somebody", "the-right-one-1"
LOGIN = Login(USER, PASSWORD)
WRONG = "hunter2-is-wrong"
IMAGES = 30


class Private:
    """A docker-registry with thirty images in thirty repositories, and a record of its logins."""

    def __init__(self, proxy, service=None):
        self.address, self.proxy, self.service = proxy.address, proxy, service
        with Session(Settings(login=LOGIN)) as session:
            self.images = [
                make_image(session, f"{self.address}/app/image{number}", [str(number)])
                for number in range(IMAGES)
            ]

    def logins(self):
        """Return every login and refresh token that has arrived so far, at either."""
        seen = [passed.headers.get("Authorization", "") for passed in self.proxy.requests]
        if self.service is not None:
            for request in self.service.requests:
                seen += [request.authorization or "", *request.form.get("refresh_token", [])]
        return [secret for secret in seen if secret and not secret.startswith("Bearer ")]


@pytest.fixture(scope="module", params=["htpasswd", "token service"])
def private(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("private")
    with contextlib.ExitStack() as running:
        service = None
        if request.param == "htpasswd":
            auth = write_htpasswd(folder, USER, PASSWORD)
        else:
            service = running.enter_context(TokenService({USER: User(PASSWORD)}))
            auth = token_section(folder, service)
        address = running.enter_context(docker_registry_process(folder, auth=auth))
        proxy = running.enter_context(LoggingProxy(address))
        yield Private(proxy, service)


@pytest.fixture(scope="module")
def bundle(private, embedded_registry, tmp_path_factory):
    """A bundle that everybody may read, of images that are private."""
    where = f"{embedded_registry.address}/open/{private.address.replace(':', '-')}"
    images = {image: {} for image in private.images}
    with Session() as session:
        return make_bundle(session, where, images, tmp_path_factory.mktemp("bundle"))


def copy_within_the_registry(private, bundle, folder, session):
    copy_to_repository(CopySource(bundle=str(bundle)), f"{private.address}/copy/to", session=session)


def copy_of_a_lock(private, bundle, folder, session):
    lines = ["apiVersion: imgpkg.carvel.dev/v1alpha1", "kind: ImagesLock", "images:"]
    lines += [f"- image: {image}" for image in private.images]
    (folder / "lock.yml").write_text("\n".join(lines) + "\n")
    source = CopySource(lock=folder / "lock.yml")
    copy_to_repository(source, f"{private.address}/copy/to", session=session)


def copy_into_a_file(private, bundle, folder, session):
    copy_to_tar(CopySource(bundle=str(bundle)), folder / "x.tar", session=session)


def description(private, bundle, folder, session):
    describe(str(bundle), session=session)


@pytest.mark.parametrize("concurrency", [1, 5, 20])
@pytest.mark.parametrize(
    "operation", [copy_within_the_registry, copy_of_a_lock, copy_into_a_file, description]
)
def test_a_wrong_password_arrives_once(private, bundle, open_session, tmp_path, operation, concurrency):
    before = len(private.logins())
    session = open_session(username=USER, password=WRONG, concurrency=concurrency)
    with pytest.raises(Unauthorized, match=r"UNAUTHORIZED: ") as caught:
        operation(private, bundle, tmp_path, session)
    assert len(private.logins()) - before == 1
    assert any(
        f"from flags: --registry-username, --registry-password (user '{USER}')" in hint
        for hint in caught.value.hints
    )
    assert WRONG not in f"{caught.value}{caught.value.hints}"


class IdentityToken:
    """A source of a wrong identity token."""

    name = "the test"

    def lookup(self, repository):
        credential = Credential(identity_token=WRONG)
        return Finding(self.name, Outcome.MATCHED, "always", "the test", credential)


@pytest.mark.parametrize("concurrency", [1, 20])
def test_a_wrong_identity_token_arrives_once_where_there_is_a_use_for_it(
    private, bundle, tmp_path, concurrency
):
    before = len(private.logins())
    settings = Settings(concurrency=concurrency)
    with (
        Session(settings, sources=[IdentityToken()]) as session,
        pytest.raises((Unauthorized, ChallengeError)),
    ):
        description(private, bundle, tmp_path, session)
    assert len(private.logins()) - before == (0 if private.service is None else 1)


@pytest.mark.parametrize("concurrency", [1, 20])
def test_a_wrong_registry_token_is_not_repeated(private, bundle, tmp_path, concurrency):
    before = len(private.proxy.requests)
    settings = Settings(login=Login(token=WRONG), concurrency=concurrency)
    with Session(settings) as session, pytest.raises(Unauthorized):
        description(private, bundle, tmp_path, session)
    headers = [passed.headers.get("Authorization") for passed in private.proxy.requests[before:]]
    assert headers.count(f"Bearer {WRONG}") == 1


@pytest.mark.parametrize("concurrency", [1, 20])
def test_the_right_password_is_used_by_all(private, bundle, open_session, tmp_path, concurrency):
    before = len(private.proxy.requests)
    session = open_session(username=USER, password=PASSWORD, concurrency=concurrency)
    copy_into_a_file(private, bundle, tmp_path, session)
    description(private, bundle, tmp_path, session)
    refused = [passed for passed in private.proxy.requests[before:] if passed.status == 401]
    assert not any("Authorization" in passed.headers for passed in refused)


def ask(act, address, client):
    repository = Repository.parse(f"{address}/app/image0")
    if act == "tags":
        return list(client.tags(repository))
    return getattr(client, act)(repository.tag("v1"))


@pytest.mark.parametrize("act", ["resolve", "exists", "manifest", "tags"])
def test_one_question_sends_a_wrong_password_once(private, open_session, act):
    """Also where a HEAD is asked again as a GET, for the reason."""
    before = len(private.logins())
    client = open_session(username=USER, password=WRONG).client
    with pytest.raises(Unauthorized, match="UNAUTHORIZED: "):
        ask(act, private.address, client)
    assert len(private.logins()) - before == 1
