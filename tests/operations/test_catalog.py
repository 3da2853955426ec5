"""The repositories of a registry."""

from __future__ import annotations

import pytest
from tests.operations.making import make_image
from tests.servers.faults import always, refusing
from tests.servers.fixtures import PASSWORD, USERNAME

from imgpkg import errors
from imgpkg.embedded.access import Account, LoginAccess
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.oci.reference import Repository
from imgpkg.operations.catalog import Catalog, catalog

NAMES = [f"cat/app{number}" for number in range(7)]


@pytest.mark.parametrize("name", ["docker_registry", "embedded_registry"])
def test_has_the_repositories_in_which_something_was_pushed(request, session, name):
    address = request.getfixturevalue(name).address
    for path in NAMES:
        make_image(session, f"{address}/{path}", ["x"], tag="v1")
    found = catalog(address, match="cat/*", session=session)
    assert found == Catalog(address, tuple(Repository(address, path) for path in NAMES))
    wanted = catalog(
        f"http://{address}/", match=["cat/app[12]", "x"], where=lambda path: "1" in path, session=session
    )
    assert [each.path for each in wanted.repositories] == ["cat/app1"]


def test_is_read_to_its_end(session):
    with serve(features=Features(page_size=2)) as server:
        for path in NAMES:
            make_image(session, f"{server.address}/{path}", ["x"])
        found = catalog(server.address, session=session)
        assert [repository.path for repository in found.repositories] == NAMES
        assert len([each for each in server.requests if each.path == "/v2/_catalog"]) == 4


def test_may_have_names_that_no_reference_can_have(session):
    listed = Fault(answer=ServerResponse(200, (), b'{"repositories": ["a", "a/b", "A/B", "c"]}'))
    with serve(faults=always(listed)) as server:
        found = catalog(server.address, session=session)
    assert found == Catalog(server.address, (Repository(server.address, "a/b"),), ("a", "A/B", "c"))


@pytest.mark.parametrize("name", ["embedded_login", "embedded_token", "docker_registry_htpasswd"])
def test_needs_the_login(request, open_session, session, name):
    address = request.getfixturevalue(name).address
    assert catalog(address, session=open_session(username=USERNAME, password=PASSWORD)).registry == address
    with pytest.raises(errors.Unauthorized) as caught:
        catalog(address, session=session)
    assert "administrators alone" in caught.value.hints[-1]


def test_is_refused_to_a_login_for_some_repositories(open_session):
    reader = Account(USERNAME, PASSWORD, repositories="cat/*")
    with serve(access=LoginAccess((reader,))) as server, pytest.raises(errors.Forbidden) as caught:
        catalog(server.address, session=open_session(username=USERNAME, password=PASSWORD))
    assert "administrators alone" in caught.value.hints[-1]


def test_may_be_missing(session):
    with serve(features=Features(catalog=False)) as server, pytest.raises(errors.Unsupported):
        catalog(server.address, session=session)
    with (
        serve(faults=always(refusing(405, "UNSUPPORTED", "no"))) as server,
        pytest.raises(errors.Unsupported, match="has no catalog"),
    ):
        catalog(server.address, session=session)


@pytest.mark.parametrize("text", ["registry.example.com/team/app", "ubuntu", "", "a b"])
def test_is_that_of_a_registry(session, text):
    with pytest.raises(errors.InvalidReference):
        catalog(text, session=session)
