"""Other HTTP clients reach private registries with the credentials of a session, whichever client it is."""

from __future__ import annotations

import asyncio
import base64
import copy
import io
import json
import pickle
import subprocess
import sys
import threading
import time
from functools import partial

import aiohttp
import httpx
import pytest
from tests.adaptors.conftest import Httpx, Requests
from tests.operations.making import make_image
from tests.registry.scripted import Said, Server, TokenRegistry, www
from tests.servers.docker import docker_registry_process, token_section
from tests.servers.token_service import TokenService, User

import imgpkg
import imgpkg.adaptors.httpx
import imgpkg.aio

pytestmark = pytest.mark.usefixtures("written_log")

USER, PASSWORD = "somebody", "the-right-one-2"
TOGETHER = 24


@pytest.fixture(scope="module")
def aging(tmp_path_factory):
    """A docker-registry whose tokens end after about a second, and whose service announces a later end."""
    folder = tmp_path_factory.mktemp("aging")
    # The registry accepts a token for 60 s after its end.
    with (
        TokenService({USER: User(PASSWORD)}, lifetime=-58, announced=300) as service,
        docker_registry_process(folder, auth=token_section(folder, service)) as address,
    ):
        yield address, service


@pytest.fixture
def login(open_session):
    return open_session(username=USER, password=PASSWORD)


def tags_url(address, name="team/app"):
    return f"http://{address}/v2/{name}/tags/list"


def tags(got):
    assert got.status == 200, got.body
    return json.loads(got.body)["tags"]


class Basic:
    """A handler that is a registry with one login, and redirects blobs to `storage`."""

    def __init__(self, password=PASSWORD, storage=""):
        self.password, self.storage = password, storage

    def __call__(self, asked):
        session = asked.authorization
        if not session.startswith("Basic ") or self.password not in _decoded(session):
            return Said(401, b"{}", www('Basic realm="scripted"'))
        if "/blobs/" in asked.path and self.storage:
            return Said(307, b"", {"Location": f"{self.storage}/v2/team/app/blobs/there"})
        return Said(200, {"tags": ["v1"]})


def _decoded(header):
    return base64.b64decode(header.partition(" ")[2]).decode()


class TestARealRegistry:
    @pytest.mark.parametrize("kind", ["docker_registry_token", "docker_registry_htpasswd"])
    def test_lists_the_tags_of_a_private_repository(self, kind, client, request, open_session):
        registry = request.getfixturevalue(kind)
        session = open_session(username=registry.username, password=registry.password)
        make_image(session, f"{registry.address}/adaptors/app", ["layer"], tag="v1")
        auth = client.auth(session, registry.address)
        assert tags(client.send(auth, "GET", tags_url(registry.address, "adaptors/app"))) == ["v1"]

    @pytest.mark.parametrize("kind", ["docker_registry_token", "docker_registry_htpasswd"])
    def test_takes_an_upload_and_a_delete(self, kind, client, request, open_session):
        registry = request.getfixturevalue(kind)
        session = open_session(username=registry.username, password=registry.password)
        auth, base = client.auth(session, registry.address), f"http://{registry.address}/v2/adaptors/blobs/"
        digest = imgpkg.Digest.of(b"a blob")
        whole = f"{base}blobs/uploads/?digest={digest}"
        assert client.send(auth, "POST", whole, b"a blob").status in (201, 202)
        manifest = b'{"schemaVersion":2}'
        url = f"{base}manifests/{imgpkg.Digest.of(manifest)}"
        # After the login the registry refuses its content, or reports it as missing.
        assert client.send(auth, "PUT", url, manifest).status == 400
        assert client.send(auth, "DELETE", url).status == 404

    def test_lists_its_repositories(self, client, docker_registry_token, open_session):
        registry = docker_registry_token
        session = open_session(username=registry.username, password=registry.password)
        auth = client.auth(session, registry.address)
        assert client.send(auth, "GET", f"{registry.url}/v2/_catalog").status == 200
        assert client.send(auth, "GET", f"{registry.url}/v2/").status == 200

    def test_is_reached_with_an_identity_token(self, client, docker_registry_token, open_session):
        registry = docker_registry_token
        token = registry.server.issue_refresh_token(registry.username)

        class Identity:
            name = "identity"

            def lookup(self, repository):
                credential = imgpkg.Credential(identity_token=token)
                return imgpkg.Finding(self.name, imgpkg.Outcome.MATCHED, "has one", "test", credential)

        with imgpkg.Session(sources=[Identity()]) as session:
            make_image(session, f"{registry.address}/adaptors/identity", ["layer"], tag="v1")
            auth = client.auth(session, registry.address)
            assert tags(client.send(auth, "GET", tags_url(registry.address, "adaptors/identity"))) == ["v1"]

    def test_that_is_open_is_reached_without_a_credential(self, client, docker_registry, session):
        make_image(session, f"{docker_registry.address}/adaptors/open", ["layer"], tag="v1")
        auth = client.auth(session, docker_registry.address)
        assert tags(client.send(auth, "GET", tags_url(docker_registry.address, "adaptors/open"))) == ["v1"]

    def test_says_what_is_missing_in_the_answer(self, client, docker_registry_token, open_session):
        registry = docker_registry_token
        session = open_session(username=registry.username, password=registry.password)
        got = client.send(
            client.auth(session, registry.address), "GET", tags_url(registry.address, "no/such")
        )
        assert (got.status, json.loads(got.body)["errors"][0]["code"]) == (404, "NAME_UNKNOWN")


class TestTokens:
    def test_are_fetched_once_for_many_requests_at_once(self, client, docker_registry_token, open_session):
        registry = docker_registry_token
        session = open_session(username=registry.username, password=registry.password)
        name = f"adaptors/many-{type(client).__name__.lower()}"
        make_image(session, f"{registry.address}/{name}", ["layer"], tag="v1")
        with imgpkg.Session(session.settings) as fresh:
            before = len(registry.requests)
            auth = client.auth(fresh, registry.address)
            got = client.together(auth, [tags_url(registry.address, name)] * TOGETHER)
        assert [tags(each) for each in got] == [["v1"]] * TOGETHER
        assert len(registry.requests) - before == 1

    def test_are_renewed_once_when_the_registry_does_not_accept_them_any_more(self, client, aging, login):
        address, service = aging
        make_image(login, f"{address}/team/app", ["layer"], tag="v1")
        with imgpkg.Session(login.settings) as session:
            auth = client.auth(session, address)
            before = len(service.requests)
            assert client.send(auth, "GET", tags_url(address)).earlier == 0
            deadline = time.monotonic() + 30
            while (got := client.send(auth, "GET", tags_url(address))).earlier == 0:
                assert time.monotonic() < deadline
                time.sleep(0.2)
        assert (tags(got), got.earlier) == (["v1"], 1)
        assert len(service.requests) - before == 2

    def test_that_were_revoked_are_renewed_once_for_many_requests_at_once(self, client, login):
        registry = TokenRegistry("/token", content=lambda asked: Said(200, {"tags": ["v1"]}))
        registry.reply = {"expires_in": 300}
        with Server(registry) as server:
            auth = client.auth(login, server.address)
            client.send(auth, "GET", tags_url(server.address))
            registry.tokens.clear()
            got = client.together(auth, [tags_url(server.address)] * TOGETHER)
        assert [tags(each) for each in got] == [["v1"]] * TOGETHER
        assert [asked.path for asked in server.asked].count("/token") == 2

    def test_that_have_ended_are_renewed_for_an_upload_whose_body_is_bytes(self, client, aging, login):
        address, _ = aging
        with imgpkg.Session(login.settings) as session:
            auth = client.auth(session, address)
            url = f"http://{address}/v2/team/app/manifests/v1"
            assert client.send(auth, "PUT", url, b"no manifest").status == 400
            time.sleep(4)
            got = client.send(auth, "PUT", url, b"no manifest")
        assert (got.status, got.earlier) == (400, 1)

    def test_that_have_ended_are_given_back_for_others(self, aging, login):
        address, _ = aging
        make_image(login, f"{address}/team/app", ["layer"], tag="v1")

        async def ask(authorization):
            async with aiohttp.request("GET", tags_url(address), headers=authorization.headers) as response:
                return response.status

        async def main(session):
            authorization = await asyncio.to_thread(session.authorization, f"{address}/team/app")
            statuses = [await ask(authorization)]
            await asyncio.sleep(4)
            statuses.append(await ask(authorization))
            again = partial(session.authorization, f"{address}/team/app", refused=authorization)
            return [*statuses, await ask(await asyncio.to_thread(again))]

        with imgpkg.Session(login.settings) as session:
            assert asyncio.run(main(session)) == [200, 401, 200]


class TestABodyThatCannotBeSentAgain:
    @pytest.fixture
    def forgetful(self):
        """A registry that accepts each login once for `GET /v2/`, and then never again."""

        def handle(asked):
            if asked.path == "/v2/" and asked.authorization:
                return Said(200)
            first = sum(1 for each in server.asked if each.path != "/v2/") == 1
            return Said(401, b"", www('Basic realm="x"')) if first or not asked.authorization else Said(201)

        with Server(handle) as server:
            yield server

    @pytest.fixture
    def changing(self):
        """A session whose keychain has another password at each new lookup."""
        passwords = iter(f"password-{number}" for number in range(100))

        class Changing:
            name = "changing"

            def lookup(self, repository):
                credential = imgpkg.Credential("me", next(passwords))
                return imgpkg.Finding(self.name, imgpkg.Outcome.MATCHED, "has one", "test", credential)

        with imgpkg.Session(sources=[Changing()]) as session:
            yield session

    def put(self, client, forgetful, changing, body):
        auth = client.auth(changing, forgetful.address)
        return client.send(auth, "PUT", f"{forgetful.url}/v2/team/app/manifests/v1", body)

    def test_of_bytes_is_sent_again(self, client, forgetful, changing):
        assert self.put(client, forgetful, changing, b"bytes").status == 201
        assert [asked.body for asked in forgetful.asked if asked.method == "PUT"] == [b"bytes"] * 2

    def test_is_an_error_with_the_reason(self, client, forgetful, changing):
        async def pieces():
            yield b"piece"

        body = pieces() if "Async" in type(client).__name__ else iter([b"piece"])
        with pytest.raises(imgpkg.errors.UsageError, match="cannot be sent again") as caught:
            self.put(client, forgetful, changing, body)
        assert "password-" not in str(caught.value)
        assert len([asked for asked in forgetful.asked if asked.method == "PUT"]) == 1

    @pytest.fixture
    def file(self):
        file = io.BytesIO(b"before after")
        file.seek(7)
        return file

    def test_of_a_file_is_sent_again_by_requests_from_where_it_began(self, forgetful, changing, file):
        assert self.put(Requests(), forgetful, changing, file).status == 201
        assert [asked.body for asked in forgetful.asked if asked.method == "PUT"] == [b"after"] * 2

    def test_of_a_file_is_an_error_in_httpx_which_does_not_go_back(self, forgetful, changing):
        with pytest.raises(imgpkg.errors.UsageError, match="or give bytes"):
            self.put(Httpx(), forgetful, changing, io.BytesIO(b"from its start"))

    def test_of_a_class_of_ones_own_is_sent_again_by_httpx(self, forgetful, changing):
        class Pieces(httpx.SyncByteStream):
            def __iter__(self):
                yield b"piece"

        auth = Httpx.auth(changing, forgetful.address)
        headers = {"Host": forgetful.address, "Transfer-Encoding": "chunked"}
        url = f"{forgetful.url}/v2/team/app/manifests/v1"
        request = httpx.Request("PUT", url, headers=headers, stream=Pieces())
        with httpx.Client(trust_env=False) as client:
            assert client.send(request, auth=auth).status_code == 201


class TestCredentialsStayAtTheirRegistry:
    @pytest.fixture
    def elsewhere(self):
        with Server(lambda asked: Said(200, b"the blob")) as server:
            yield server

    def test_when_it_redirects_to_a_storage(self, client, login, elsewhere):
        with Server(Basic(storage=elsewhere.url)) as registry:
            auth = client.auth(login, registry.address)
            got = client.send(auth, "GET", f"{registry.url}/v2/team/app/blobs/here")
        assert (got.status, got.body) == (200, b"the blob")
        assert [asked.authorization for asked in elsewhere.asked] == [""]

    def test_when_the_storage_asks_for_a_login(self, client, login):
        refusal = Said(401, b"no", www('Basic realm="give it to me"'))
        with Server(lambda _: refusal) as elsewhere, Server(Basic(storage=elsewhere.url)) as registry:
            auth = client.auth(login, registry.address)
            got = client.send(auth, "GET", f"{registry.url}/v2/team/app/blobs/here")
        assert (got.status, got.body) == (401, b"no")
        assert [asked.authorization for asked in elsewhere.asked] == [""]

    def test_when_a_program_follows_a_link_to_another_origin(self, client, login, elsewhere):
        with Server(Basic()) as registry:
            auth = client.auth(login, registry.address)
            assert client.send(auth, "GET", f"{registry.url}/v2/team/app/tags/list").status == 200
            assert client.send(auth, "GET", f"{elsewhere.url}/v2/team/app/tags/list").status == 200
        assert [asked.authorization for asked in elsewhere.asked] == [""]

    def test_when_the_path_is_not_of_the_distribution_api(self, client, login):
        with Server(Basic()) as registry:
            auth = client.auth(login, registry.address)
            for path in ("/", "/metrics", "/v2/team/app", "/v2/team/../app/tags/list", "/v2/Team/tags/list"):
                client.send(auth, "GET", f"{registry.url}{path}")
            names = {asked.path for asked in registry.asked if asked.authorization}
        # A client may resolve the dots itself.
        assert names <= {"/v2/", "/v2/app/tags/list"}

    def test_when_the_scheme_is_not_that_of_the_registry(self, client, docker_registry_tls, open_session):
        registry = docker_registry_tls
        session = open_session(username=USER, password=PASSWORD, ca_cert_paths=(registry.ca_path,))
        with pytest.raises(imgpkg.errors.UsageError, match=f"is reached at https://{registry.address}"):
            client.send(client.auth(session, registry.address), "GET", tags_url(registry.address))


class TestAWrongPassword:
    def test_is_sent_once_to_a_registry_with_a_login(self, client, open_session):
        session = open_session(username=USER, password="hunter2-wrong")
        with Server(Basic()) as registry:
            auth = client.auth(session, registry.address)
            for _ in range(3):
                with pytest.raises(imgpkg.errors.Unauthorized) as caught:
                    client.together(auth, [f"{registry.url}/v2/team/app/tags/list"] * 6)
                assert "hunter2" not in str(caught.value) + repr(caught.value) + "".join(caught.value.hints)
            assert len([asked for asked in registry.asked if asked.authorization]) == 1

    def test_is_sent_once_to_a_token_service(self, client, docker_registry_token, open_session):
        registry = docker_registry_token
        session = open_session(username=USER, password="hunter2-wrong")
        before = len(registry.requests)
        auth = client.auth(session, registry.address)
        for _ in range(3):
            with pytest.raises(imgpkg.errors.Unauthorized, match="UNAUTHORIZED"):
                client.together(auth, [tags_url(registry.address)] * 6)
        assert len(registry.requests) - before == 1


class TestWaiting:
    @pytest.fixture
    def stalled(self):
        """A registry that answers nothing until `released` is set; it sets `asked` first."""
        released, asked = threading.Event(), threading.Event()

        def handle(request):
            asked.set()
            released.wait(60)
            return Said(200, {"tags": []})

        with Server(handle) as server:
            server.released, server.was_asked = released, asked
            yield server
            released.set()

    def test_ends_when_the_session_is_stopped(self, client, stalled, login):
        def stop():
            stalled.was_asked.wait(30)
            login.stop()

        thread = threading.Thread(target=stop)
        thread.start()
        with pytest.raises(imgpkg.errors.Cancelled):
            client.send(client.auth(login, stalled.address), "GET", tags_url(stalled.address))
        thread.join()

    def test_lets_other_tasks_go_on(self, stalled, session):
        auth = imgpkg.adaptors.httpx.RegistryAuth(session, stalled.address)

        async def main():
            async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
                listing = asyncio.create_task(client.get(tags_url(stalled.address)))
                await asyncio.to_thread(stalled.was_asked.wait, 30)
                await asyncio.sleep(0.05)
                assert not listing.done()
                stalled.released.set()
                return await listing

        assert asyncio.run(main()).json() == {"tags": []}

    def test_ends_with_the_task_that_waits(self, stalled, session):
        auth = imgpkg.adaptors.httpx.RegistryAuth(session, stalled.address)

        async def main():
            async with httpx.AsyncClient(auth=auth, trust_env=False) as client:
                listing = asyncio.create_task(client.get(tags_url(stalled.address)))
                await asyncio.to_thread(stalled.was_asked.wait, 30)
                listing.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await listing
                assert not stalled.released.is_set()
                session.stop()

        asyncio.run(main())


class TestAnAuth:
    def test_has_a_repr_with_its_registry_only(self, client, login):
        assert repr(client.auth(login, "docker.io")) == "RegistryAuth('index.docker.io')"

    @pytest.mark.parametrize("wanted", [pickle.dumps, copy.copy, copy.deepcopy])
    def test_is_neither_pickled_nor_copied(self, client, login, wanted):
        with pytest.raises(TypeError, match="holds an open session"):
            wanted(client.auth(login, "registry.example.com"))

    @pytest.mark.parametrize("name", ["", "a b", "https://registry.example.com", "user:secret@r.example.com"])
    def test_is_for_a_registry(self, client, login, name):
        with pytest.raises(imgpkg.errors.InvalidReference) as caught:
            client.auth(login, name)
        assert "secret" not in str(caught.value)

    def test_of_a_session_of_coroutines_says_what_it_needs(self, client):
        session = imgpkg.aio.Session()
        with pytest.raises(TypeError, match=r"RegistryAuth\(\) expected .*, whose `blocking` is one"):
            client.auth(session, "127.0.0.1:1")
        assert client.auth(session.blocking, "127.0.0.1:1")

    def test_of_a_closed_session_refuses(self, client):
        session = imgpkg.Session()
        auth = client.auth(session, "127.0.0.1:1")
        session.close()
        with pytest.raises(imgpkg.errors.UsageError, match="session is closed"):
            client.send(auth, "GET", "http://127.0.0.1:1/v2/a/b/tags/list")

    def test_of_a_stopped_session_ends(self, client, login):
        login.stop()
        with pytest.raises(imgpkg.errors.Cancelled):
            client.send(client.auth(login, "127.0.0.1:1"), "GET", "http://127.0.0.1:1/v2/a/b/tags/list")


@pytest.mark.parametrize("name", ["requests", "httpx"])
def test_a_client_that_is_not_installed_is_named(name):
    program = (
        f"import sys; sys.modules[{name!r}] = None\n"
        f"try: import imgpkg.adaptors.{name}\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == f"imgpkg.adaptors.{name} needs {name}: pip install {name}\n"
