"""The number of requests of each operation: within a tenth of the fewest that the protocol allows."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from tests.operations.making import make_bundle, make_image, thirty
from tests.servers.helpers import write_helper

from imgpkg.operations.copy.copy import copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.tag import list_tags, resolve
from imgpkg.session import Session
from imgpkg.settings import Settings

pytestmark = pytest.mark.unmeasured


def at_most(floor):
    """A tenth above the floor."""
    return math.floor(1.1 * floor)


@pytest.fixture
def ten(embedded_registry, open_session, tmp_path):
    return thirty(open_session(), embedded_registry.address, tmp_path / "ten", count=10, layers=1)


@pytest.fixture
def cost(embedded_registry, another_registry, open_session):
    """Run an operation in a session of its own; return what the two registries were asked together."""

    def run(operation, *arguments, **options):
        registries = (embedded_registry, another_registry)
        before = sum(len(registry.requests) for registry in registries)
        operation(*arguments, session=open_session(), **options)
        return sum(len(registry.requests) for registry in registries) - before

    return run


def test_a_tar_file_of_ten_images(cost, ten, another_registry, tmp_path):
    assert cost(copy_to_tar, CopySource(bundle=str(ten)), tmp_path / "ten.tar") <= at_most(44)
    source, to = CopySource(tar=str(tmp_path / "ten.tar")), f"{another_registry.address}/floors/ten"
    assert cost(copy_to_repository, source, to) <= at_most(62)


def test_a_tag_that_the_user_named_is_asked_for_once(cost, ten, another_registry):
    to = f"{another_registry.address}/floors/named"
    before = len(another_registry.requests)
    cost(copy_to_repository, CopySource(bundle=f"{ten.repository}:v1"), to)
    asked = [r for r in another_registry.requests[before:] if r.method == "HEAD" and "/manifests/" in r.path]
    assert [r.path for r in asked] == ["/v2/floors/named/manifests/v1"]
    assert cost(copy_to_repository, CopySource(bundle=f"{ten.repository}:v1"), to) <= at_most(47)


def test_thirty_images_of_two_layers_to_another_registry(
    cost, open_session, embedded_registry, another_registry, tmp_path
):
    """The floor is the sum that benchmarks/README.md gives the reasons of."""
    bundle = thirty(open_session(), embedded_registry.address, tmp_path / "thirty")
    read, sent, written = 62 + 93, 2 * 94, 1 + 33
    to = f"{another_registry.address}/floors/thirty"
    count = cost(copy_to_repository, CopySource(bundle=str(bundle)), to)
    assert count <= at_most(read + sent + written)


@pytest.fixture
def twenty_tags(embedded_registry, session):
    where = f"{embedded_registry.address}/floors/tags"
    for number in range(20):
        make_image(session, where, ["x"], tag=f"v{number}")
    return where


@pytest.mark.parametrize(
    ("operation", "options", "floor"),
    [(list_tags, {}, 1), (list_tags, {"digests": True}, 21), (resolve, {}, 1)],
    ids=["tag list", "tag list --digests", "tag resolve"],
)
def test_twenty_tags(cost, twenty_tags, operation, options, floor):
    assert cost(operation, f"{twenty_tags}:v1", **options) <= at_most(floor)


class TestCredentials:
    """However many images a copy touches, each answer that is still valid is used again."""

    def test_no_token_is_asked_for_twice(self, embedded_token, open_session, tmp_path):
        server = embedded_token
        login = {"username": server.username, "password": server.password}
        bundle = thirty(open_session(**login), server.address, tmp_path / "b", count=10, layers=1)
        before = len(server.requests)
        session = open_session(**login)
        copy_to_repository(
            CopySource(bundle=str(bundle)), f"{server.address}/floors/guarded", session=session
        )
        describe(f"{server.address}/floors/guarded@{bundle.digest}", session=session)
        seen = server.requests[before:]
        tokens = Counter(str(sorted(request.query)) for request in seen if request.path == "/token")
        pings = [request for request in seen if request.path.rstrip("/") == "/v2"]
        refusals = [request for request in seen if request.status == 401]
        assert set(tokens.values()) == {1}
        assert len(pings) <= 1
        # One challenge; all later requests have a token.
        assert len(refusals) <= 1

    def test_a_helper_is_run_once(self, embedded_login, open_session, tmp_path, monkeypatch):
        server = embedded_login
        login = {"username": server.username, "password": server.password}
        setup = open_session(**login)
        image = make_image(setup, f"{server.address}/helped/app")
        bundle = make_bundle(setup, f"{server.address}/helped/bundle:v1", {image: {}}, tmp_path / "b")
        helper = write_helper(
            tmp_path / "bin", "counting", {server.address: (server.username, server.password)}
        )
        (tmp_path / "config.json").write_text(json.dumps({"credsStore": "counting"}))
        environ = {"DOCKER_CONFIG": str(tmp_path), "PATH": helper.path()}
        with Session(Settings(environ=environ, concurrency=10)) as session:
            to = f"{server.address}/helped/copy"
            copy_to_repository(CopySource(bundle=str(bundle)), to, session=session)
        assert helper.calls == ((("get",), server.address),)
