"""Hostile and broken registries on real sockets: which secrets they get, and how many requests."""

from __future__ import annotations

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.registry.scripted import LOGIN, Said, Server, Source, TokenRegistry, www
from tests.servers.raw import RawServer

from imgpkg.auth.keychain import Credential, Keychain
from imgpkg.errors import ChallengeError, ConnectionTimedOut, ImgpkgError, NotFound, Unauthorized
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.registry.client import RegistryClient
from imgpkg.transport.message import Request
from imgpkg.transport.pool import Pool

DATA = b"0123456789" * 500
BLOB = Descriptor(media.OCI_LAYER, Digest.of(DATA), len(DATA))
SECRETS = ("pass-word", "dXNlcjpwYXNzLXdvcmQ=", "RTOK", "R0")


@pytest.fixture
def pool():
    with Pool() as pool:
        yield pool


def client(pool, credential=LOGIN, **options):
    source = credential if isinstance(credential, Source) else Source(credential)
    options = {"retry_count": 1, "sleep": lambda seconds: None, **options}
    return RegistryClient(pool, Keychain([source]), **options)


def repository(server, path="a/b"):
    return Repository.parse(f"{server.address}/{path}")


def read(made, where, blob=BLOB, **options):
    with made.blob(where, blob, **options) as stream:
        data = b""
        while block := stream.read(1000):
            data += block
        return data


def assert_sees_no_secret(server):
    for asked in server.asked:
        text = f"{asked.line} {asked.headers.pairs} {asked.body!r}"
        assert not [secret for secret in SECRETS if secret in text], text
        assert not asked.authorization


def basic(content):
    """Return the handler of a registry with a Basic login."""

    def handle(asked):
        if asked.authorization != "Basic dXNlcjpwYXNzLXdvcmQ=":
            return Said(401, headers=www('Basic realm="registry"'))
        return content(asked)

    return handle


def test_a_plain_registry_on_this_machine_costs_one_request_per_question(pool):
    with Server(lambda asked: Said(200, {"tags": ["a"]})) as server:
        made = client(pool)
        assert list(made.tags(repository(server))) == ["a"]
        assert server.lines == [f"GET {server.url}/v2/a/b/tags/list?n=1000"]


def test_a_login_is_learnt_once_for_a_whole_registry(pool):
    with Server(basic(lambda asked: Said(200, {"tags": []}))) as server:
        made = client(pool)
        for path in ("a/b", "c/d", "e/f"):
            assert list(made.tags(repository(server, path))) == []
        assert [bool(asked.authorization) for asked in server.asked] == [False, True, True, True]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_target_of_a_redirect_sees_no_credential(pool, status):
    with (
        Server(lambda asked: Said(200, DATA)) as other,
        Server(basic(lambda asked: Said(status, headers={"Location": f"{other.url}/x"}))) as server,
    ):
        assert read(client(pool), repository(server)) == DATA
        assert len(other.asked) == 1
        assert_sees_no_secret(other)


def test_the_target_of_a_redirect_that_asks_for_a_login_gets_none(pool):
    challenge = www('Basic realm="give it to me"')
    with (
        Server(lambda asked: Said(401, headers=challenge)) as other,
        Server(basic(lambda asked: Said(307, headers={"Location": f"{other.url}/x"}))) as server,
    ):
        with pytest.raises(Unauthorized):
            read(client(pool), repository(server))
        assert len(other.asked) == 1
        assert_sees_no_secret(other)


def test_a_redirect_target_cannot_widen_the_registry_s_token(pool):
    """Scope injection: a foreign challenge is never answered with the registry's credential."""
    with Server(lambda asked: None) as server, Server(lambda asked: None) as evil:
        registry = TokenRegistry(f"{server.url}/token")
        registry.content = lambda asked: Said(307, headers={"Location": f"{evil.url}/x"})
        server.handle = registry
        scope = "repository:victim/secret:pull,push"
        evil.handle = lambda asked: Said(
            401, headers=www(f'Bearer realm="{server.url}/token",scope="{scope}"')
        )
        with pytest.raises(Unauthorized):
            read(client(pool), repository(server))
        shown = [asked for asked in server.asked if "victim" in asked.url]
        assert not [asked for asked in shown if asked.authorization]
        tokens = {token for token, held in registry.tokens.items() if ("victim/secret", "push") in held}
        later = [asked.authorization.removeprefix("Bearer ") for asked in server.asked]
        assert not tokens & set(later)
        assert "T1" not in [asked.authorization.removeprefix("Bearer ") for asked in evil.asked]


def test_an_upload_location_on_another_host_sees_no_credential(pool):
    def start(asked):
        return Said(202, headers={"Location": f"{other.url}/up?state=1"})

    with Server(lambda asked: Said(201)) as other, Server(basic(start)) as server:
        client(pool).push_blob(repository(server), BLOB, lambda: io.BytesIO(DATA), check=False)
        assert [(asked.method, asked.body) for asked in other.asked] == [("PUT", DATA)]
        assert_sees_no_secret(other)


def test_urls_in_a_manifest_see_no_credential_and_their_401_is_final(pool):
    """CVE-2020-15157."""
    challenge = www('Basic realm="x"', 'Bearer realm="/token",service="s"')
    with (
        Server(lambda asked: Said(401, headers=challenge)) as other,
        Server(basic(lambda asked: Said(404))) as server,
    ):
        blob = Descriptor(media.DOCKER_FOREIGN_LAYER, BLOB.digest, BLOB.size, urls=(f"{other.url}/layer",))
        made = client(pool)
        with pytest.raises(NotFound):
            read(made, repository(server), blob)
        assert other.asked == []
        with pytest.raises(NotFound):
            read(made, repository(server), blob, use_urls=True)
        assert other.lines == [f"GET {other.url}/layer"]
        assert_sees_no_secret(other)


@pytest.mark.parametrize(
    "realm",
    [
        "http://169.254.169.254/latest/meta-data/iam",
        "http://[fe80::1]/token",
        "http://0.0.0.0:{port}/token",
        "http://user:pw@127.0.0.1:{port}/token",
        "http:///token",
        "ftp://127.0.0.1:{port}/token",
        "http://metadata.google.internal/token",
    ],
)
@pytest.mark.parametrize("credential", [LOGIN, Credential(identity_token="R0")])
def test_a_realm_that_must_not_be_asked_sees_nothing(pool, realm, credential):
    """CVE-2026-24845 and its kin."""
    with Server(lambda asked: Said(200)) as other, Server(lambda asked: None) as server:
        port = other.address.rpartition(":")[2]
        server.handle = TokenRegistry(realm.format(port=port))
        with pytest.raises(ChallengeError, match="refusing the realm"):
            read(client(pool, credential), repository(server))
        assert other.asked == []
        assert_sees_no_secret(server)


@pytest.mark.parametrize("credential", [LOGIN, Credential(identity_token="R0")])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_token_request_with_a_secret_is_not_redirected_to_another_origin(pool, credential, status):
    with Server(lambda asked: Said(200, {"token": "x"})) as other, Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token")
        registry.refuses = lambda asked: Said(status, headers={"Location": f"{other.url}/token"})
        server.handle = registry
        with pytest.raises(ChallengeError, match="refusing the redirect of a token request"):
            read(client(pool, credential), repository(server))
        assert other.asked == []


def test_service_and_scope_of_a_challenge_cannot_change_the_token_request(pool):
    with Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token?fixed=1", service="s&account=root&scope=x:y:z #")
        registry.content = lambda asked: Said(200, DATA)
        server.handle = registry
        assert read(client(pool), repository(server)) == DATA
        (asked,) = [asked for asked in server.asked if asked.path == "/token"]
        assert asked.query == {
            "fixed": ["1"],
            "account": ["user"],
            "scope": ["repository:a/b:pull"],
            "service": ["s&account=root&scope=x:y:z #"],
        }


def test_a_foreign_token_service_is_named_when_it_says_no(pool):
    with Server(lambda asked: Said(403)) as other, Server(lambda asked: None) as server:
        realm = other.url.replace("127.0.0.1", "localhost") + "/token"
        server.handle = TokenRegistry(realm)
        with pytest.raises(ImgpkgError) as caught:
            read(client(pool), repository(server))
        assert f"{server.address} sends its clients to the token service {realm}" in caught.value.hints
        assert not [secret for secret in SECRETS if secret in f"{caught.value} {caught.value.hints}"]


def test_a_registry_that_says_a_secret_again_does_not_get_it_into_the_error(pool):
    def echo(asked):
        message = f"bad login {asked.authorization} pass-word"
        return Said(403, {"errors": [{"code": "DENIED", "message": message}]})

    with Server(basic(echo)) as server:
        with pytest.raises(ImgpkgError) as caught:
            list(client(pool).tags(repository(server)))
        assert "pass-word" not in str(caught.value)
        assert "dXNlcjpwYXNzLXdvcmQ=" not in str(caught.value)


def test_rotating_refresh_tokens_are_used_once_each_by_many_threads(pool):
    """A second use of an old refresh token revokes the family."""
    with Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token")
        registry.content = lambda asked: Said(200, {"tags": []})
        issue, current, lock, misused = registry.token, ["R0"], threading.Lock(), []

        def rotate(asked):
            with lock:
                if asked.form["refresh_token"] != current[-1]:
                    misused.append(asked.form["refresh_token"])
                    return Said(400)
                current.append(f"R{len(current)}")
                registry.reply = {"refresh_token": current[-1]}
                return issue(asked)

        registry.token = rotate
        server.handle = registry
        made = client(pool, Credential(identity_token="R0"))
        with ThreadPoolExecutor(8) as workers:
            list(workers.map(lambda n: list(made.tags(repository(server, f"repo/{n % 4}"))), range(24)))
        assert misused == []
        assert len(current) == 5


def test_many_threads_cost_one_challenge_and_one_token(pool):
    with Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token")
        registry.content = lambda asked: Said(200, {"tags": ["x"]})
        server.handle = registry
        source, ready = Source(LOGIN), threading.Barrier(16)
        made = client(pool, source)

        def work(_):
            ready.wait(10)
            return list(made.tags(repository(server)))

        with ThreadPoolExecutor(16) as workers:
            assert list(workers.map(work, range(16))) == [["x"]] * 16
        assert sum(asked.path == "/token" for asked in server.asked) == 1
        assert sum(not asked.authorization for asked in server.asked) == 1
        assert len(server.asked) == 18


def test_threads_that_waited_for_a_token_in_vain_try_themselves(pool):
    with Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token")
        registry.content = lambda asked: Said(200, {"tags": ["x"]})
        answers = [Said(503)]
        registry.refuses = lambda asked: answers.pop() if answers else None
        server.handle = registry
        made, ready = client(pool), threading.Barrier(4)

        def work(_):
            ready.wait(10)
            try:
                return list(made.tags(repository(server)))
            except ImgpkgError as error:
                return str(error)

        with ThreadPoolExecutor(4) as workers:
            results = list(workers.map(work, range(4)))
        assert results.count(["x"]) == 3
        assert sum(asked.path == "/token" for asked in server.asked) == 2


def test_a_token_service_that_is_busy_is_asked_again(pool):
    with Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token")
        registry.content = lambda asked: Said(200, {"tags": ["x"]})
        answers, slept = [Said(429, headers={"Retry-After": "2"}), Said(503)], []
        registry.refuses = lambda asked: answers.pop() if answers else None
        server.handle = registry
        made = client(pool, retry_count=3, sleep=slept.append, random=lambda: 0.0)
        assert list(made.tags(repository(server))) == ["x"]
        assert slept[1] == 2.0


def test_a_token_that_ends_in_the_middle_of_the_work_is_replaced_without_a_word(pool):
    with Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token")
        registry.content = lambda asked: Said(200, {"tags": ["x"]})
        server.handle = registry
        made = client(pool)
        for _ in range(3):
            assert list(made.tags(repository(server))) == ["x"]
            registry.tokens = {f"gone{n}": set() for n in range(len(registry.tokens) + 1)}
        assert sum(asked.path == "/token" for asked in server.asked) == 3


def test_a_credential_that_ends_in_the_middle_of_the_work_is_looked_up_again(pool):
    now = [1000.0]
    source = Source(Credential("user", "old", expires_at=1500.0), LOGIN)
    with Server(lambda asked: None) as server:
        shown = []

        def handle(asked):
            shown.append(asked.authorization)
            return Said(200, {"tags": []}) if asked.authorization else Said(401, headers=www("Basic realm=x"))

        server.handle = handle
        made = client(pool, source, clock=lambda: now[0])
        list(made.tags(repository(server)))
        now[0] = 1500.0
        list(made.tags(repository(server)))
        assert shown[-1] == "Basic dXNlcjpwYXNzLXdvcmQ="
        assert source.count == 2


def test_a_broken_download_goes_on_where_it_stopped(pool):
    def handle(asked):
        start = int(asked.headers.get("Range", "bytes=0-")[6:-1])
        if start == 0:
            return Said(200, DATA, cut=1234)
        part = f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"
        return Said(206, DATA[start:], {"Content-Range": part})

    with Server(handle) as server:
        assert read(client(pool, retry_count=2), repository(server)) == DATA
        assert [asked.headers.get("Range") for asked in server.asked] == [None, "bytes=1234-"]


def test_the_session_id_goes_to_registry_and_token_service_and_nowhere_else(pool):
    with Server(lambda asked: Said(200, DATA)) as cdn, Server(lambda asked: None) as server:
        registry = TokenRegistry(f"{server.url}/token")
        registry.content = lambda asked: Said(307, headers={"Location": f"{cdn.url}/x"})
        server.handle = registry
        read(client(pool), repository(server))
        assert len({asked.headers["Imgpkg-Session-Id"] for asked in server.asked}) == 1
        assert len(server.asked) == 3
        assert "Imgpkg-Session-Id" not in cdn.asked[0].headers
        agents = {asked.headers["User-Agent"].partition("/")[0] for asked in [*server.asked, *cdn.asked]}
        assert agents == {"imgpkg-py"}


def test_a_registry_that_is_not_there_is_reported_with_both_attempts(pool):
    with Server(lambda asked: Said(200)) as server:
        gone = repository(server)
    with pytest.raises(ImgpkgError) as caught:
        list(client(pool).tags(gone))
    url = f"{gone.registry}/v2/a/b/tags/list?n=1000"
    refused = f"dial tcp {gone.registry}: connect: connection refused"
    assert str(caught.value) == f'Get "https://{url}": {refused}; Get "http://{url}": {refused}'


def test_a_port_that_never_says_a_word_keeps_a_guess_at_https_only_for_its_time_limit(pool):
    with RawServer(lambda conversation: conversation.pause()) as server:
        request = Request("GET", server.url.replace("http:", "https:"), connect_timeout=0.05)
        with pytest.raises(ConnectionTimedOut, match="TLS handshake timeout"):
            pool.send(request)
