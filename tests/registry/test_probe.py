"""Requests that check access: which are sent, what is found out, and that nothing is left behind."""

from __future__ import annotations

import time
from email.utils import formatdate

import jwt
import pytest
from tests.registry.scripted import Said, Wire
from tests.servers.faults import always, refusing
from tests.servers.raw import RawServer

from imgpkg.auth.keychain import Keychain
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.errors import ConnectionFailed, Forbidden, NotFound, RegistryError
from imgpkg.oci.reference import Reference, Repository
from imgpkg.registry.client import RegistryClient
from imgpkg.registry.probe import Probe
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

NOWHERE = Repository("127.0.0.1:1", "team/app")
LOGIN = Login("user", "pass-word")


def opened(server, login=LOGIN):
    session = Session(Settings(login=login, retry_count=1))
    return Probe(session.client, Repository(server.address, "team/app"))


def sent(server):
    return [
        (record.method, record.path.rpartition("/uploads/")[0] or record.path) for record in server.requests
    ]


@pytest.fixture
def answers():
    """Run a registry whose answers are `handle(received)`, (status, headers, body)."""
    servers = []

    def started(handle):
        def talk(conversation):
            while (received := conversation.receive()) is not None:
                status, headers, body = handle(received)
                conversation.respond(body, status=f"{status} Said", headers=headers)

        servers.append(RawServer(talk).__enter__())
        return servers[-1]

    yield started
    for server in servers:
        server.__exit__(None, None, None)


class TestAnUpload:
    def test_is_opened_and_cancelled(self):
        with serve() as server:
            assert opened(server).write() == ""
            assert sent(server) == [("POST", "/v2/team/app/blobs"), ("DELETE", "/v2/team/app/blobs")]
            assert [record.status for record in server.requests] == [202, 204]

    def test_that_cannot_be_cancelled_is_reported(self):
        with serve(faults=always(refusing(405, "UNSUPPORTED"), method="DELETE")) as server:
            assert opened(server).write() == "the registry answered 405 to DELETE"

    def test_of_which_the_registry_hangs_up_is_reported(self):
        with serve(faults=always(Fault(hang_up=True), method="DELETE")) as server:
            assert opened(server).write().endswith("EOF")

    def test_without_a_location_is_reported(self, answers):
        server = answers(lambda received: (202, [], b""))
        assert opened(server).write() == "the registry named no place to cancel it at"
        assert "DELETE" not in [received.method for received in server.requests]

    def test_is_not_cancelled_at_a_place_that_no_registry_may_name(self, answers):
        server = answers(lambda received: (202, [("Location", "http://169.254.169.254/")], b""))
        assert "no business" in opened(server).write()

    def test_that_is_refused_is_an_error(self):
        with serve(faults=always(refusing(403, "DENIED"), method="POST")) as server:
            with pytest.raises(Forbidden):
                opened(server, Login()).write()
            assert [record.method for record in server.requests] == ["POST"]

    def test_answered_with_a_page_is_an_error(self, answers):
        server = answers(lambda received: (202, [("Content-Type", "text/html")], b"<html>"))
        probe = opened(server)
        with pytest.raises(RegistryError, match="a web page came back"):
            probe.write()
        assert probe.page == f"{server.url}/v2/team/app/blobs/uploads/"


class TestReading:
    def test_of_a_repository_is_one_page_of_one_tag(self):
        with serve() as server:
            with pytest.raises(NotFound):
                opened(server, Login()).list()
            assert [(record.path, record.query) for record in server.requests] == [
                ("/v2/team/app/tags/list", (("n", "1"),))
            ]

    @pytest.mark.parametrize(("body", "tag"), [(b'{"tags":["v1"]}', "v1"), (b'{"tags":null}', "")])
    def test_of_a_repository_names_a_tag(self, answers, body, tag):
        assert opened(answers(lambda received: (200, [], body))).list() == tag

    def test_of_an_image_is_a_head(self, session):
        digest = "sha256:" + "0" * 64
        headers = [
            ("Content-Type", "application/vnd.oci.image.manifest.v1+json"),
            ("Docker-Content-Digest", digest),
        ]
        answer = Fault(answer=ServerResponse(200, tuple(headers)))
        with serve(faults=always(answer)) as server:
            reference = Reference.parse(f"{server.address}/team/app:v1")
            assert str(opened(server).read(reference).digest) == digest
            assert sent(server) == [("HEAD", "/v2/team/app/manifests/v1")]

    def test_of_a_whole_registry_is_one_request(self):
        with serve() as server:
            opened(server).ping()
            assert sent(server) == [("GET", "/v2/")]


class TestSurroundings:
    def test_are_empty_before_an_answer(self):
        probe = Probe(Session(Settings(retry_count=1)).client, NOWHERE)
        with pytest.raises(ConnectionFailed):
            probe.ping()
        assert probe.surroundings() == type(probe.surroundings())()

    def test_have_scheme_challenge_and_service(self):
        with serve(login=("user", "pass-word"), token_service=True) as server:
            probe = opened(server)
            probe.ping()
            known = probe.surroundings()
        assert (known.url, known.challenges, known.service) == (
            server.url,
            ("bearer",),
            f"{server.url}/token",
        )
        assert abs(known.clock_skew) < 60
        assert known.tls is None

    @pytest.mark.parametrize("ahead", [3600, -3600])
    def test_have_the_skew_of_the_clocks(self, answers, ahead):
        date = ("Date", formatdate(time.time() + ahead, usegmt=True))
        probe = opened(answers(lambda received: (200, [date], b"{}")))
        probe.ping()
        assert abs(probe.surroundings().clock_skew - ahead) < 60

    @pytest.mark.parametrize("headers", [[], [("Date", "soon")], [("Date", "")]])
    def test_have_no_skew_without_a_date(self, answers, headers):
        probe = opened(answers(lambda received: (200, headers, b"{}")))
        probe.ping()
        assert probe.surroundings().clock_skew is None

    def test_have_no_service_whose_realm_is_refused(self, answers):
        challenge = ("WWW-Authenticate", 'Bearer realm="http://169.254.169.254/token"')
        probe = opened(answers(lambda received: (401, [challenge], b"")))
        with pytest.raises(Exception, match="no business"):
            probe.ping()
        assert probe.surroundings().service == ""

    def test_have_no_service_with_basic(self):
        with serve(login=("user", "pass-word")) as server:
            probe = opened(server)
            probe.ping()
            assert (probe.surroundings().challenges, probe.surroundings().service) == (("basic",), "")

    def test_have_no_certificate_where_none_can_be_seen(self):
        probe = Probe(Session(Settings(retry_count=1)).client, NOWHERE)
        assert probe.surroundings(look=True).tls is None

    def test_have_no_certificate_of_a_transport_that_cannot_look(self):
        client = RegistryClient(Wire(lambda asked: Said(200)), Keychain(()))
        probe = Probe(client, Repository("registry.example.com", "team/app"))
        assert probe.surroundings(look=True).tls is None


def token_service(reply):
    """Return a handler of a registry with a token service that answers with `reply`, a JSON text."""

    def handle(received):
        if received.target.startswith("/token"):
            return 200, [], reply.encode()
        if received.header("Authorization"):
            return 200, [], b'{"tags":[]}'
        return 401, [("WWW-Authenticate", f'Bearer realm="http://{received.header("Host")}/token"')], b""

    return handle


def signed(**claims):
    return jwt.encode(claims, "k" * 32, algorithm="HS256")


def access(name, actions):
    return {"type": "repository", "name": name, "actions": actions}


class TestTheGrantOfAToken:
    def of(self, server):
        probe = opened(server)
        probe.list()
        return probe.grant()

    def test_that_is_opaque_is_unknown(self, answers):
        grant = self.of(answers(token_service('{"token":"abc","expires_in":300}')))
        assert (grant.asked, grant.granted, grant.is_opaque) == (("repository:team/app:pull",), None, True)
        assert (grant.missing, grant.issuer) == (frozenset(), "")

    def test_is_in_the_reply_of_oauth2(self, answers):
        grant = self.of(answers(token_service('{"access_token":"abc","scope":"repository:team/app:pull"}')))
        assert (grant.granted, grant.missing) == (("repository:team/app:pull",), frozenset())

    @pytest.mark.parametrize(
        ("access", "granted", "missing"),
        [
            ([access("team/app", ["pull"])], ("repository:team/app:pull",), set()),
            ([access("team/app", ["*"])], ("repository:team/app:*",), set()),
            ([access("other", ["pull"])], ("repository:other:pull",), {"pull"}),
            ([], (), {"pull"}),
            (["odd", access("team/app", 7)], ("repository:team/app:",), {"pull"}),
            ("odd", None, set()),
        ],
    )
    def test_is_in_the_claims(self, answers, access, granted, missing):
        token = signed(iss="me", access=access)
        grant = self.of(answers(token_service(f'{{"token":"{token}"}}')))
        assert (grant.granted, set(grant.missing), grant.is_opaque) == (granted, missing, False)
        assert grant.issuer == "me"

    def test_of_nothing_is_that_of_the_whole_registry(self, answers):
        probe = opened(answers(token_service('{"token":"abc"}')))
        probe.ping()
        assert probe.grant() is None
        assert probe.grant(nothing=True).asked == ()

    def test_to_push_is_another_one(self, answers):
        probe = opened(answers(token_service('{"token":"abc"}')))
        probe.list()
        assert probe.grant(push=True) is None

    def test_to_push_is_not_that_with_which_an_upload_was_cancelled(self):
        with serve(login=("user", "pass-word"), token_service=True) as server:
            probe = opened(server)
            probe.write()
            assert probe.grant(push=True).asked == ("repository:team/app:pull,push",)

    def test_that_the_registry_refuses_is_still_known(self, answers):
        def handle(received):
            if received.target.startswith("/token"):
                return 200, [], b'{"token":"abc"}'
            return 401, [("WWW-Authenticate", f'Bearer realm="http://{received.header("Host")}/token"')], b""

        probe = opened(answers(handle))
        with pytest.raises(RegistryError):
            probe.list()
        assert probe.grant().asked == ("repository:team/app:pull",)


class TestAFailureAtTheTokenService:
    def test_is_distinguished_from_one_at_the_registry(self):
        with serve(login=("user", "another"), token_service=True) as server:
            probe = opened(server)
            with pytest.raises(RegistryError) as first:
                probe.ping()
            with pytest.raises(RegistryError) as second:
                probe.list()
            assert probe.is_of_token_service(first.value)
            # It was not sent again: the error is that of the first time.
            assert probe.is_of_token_service(second.value)
            assert [record.path for record in server.requests].count("/token") == 1

    def test_is_none_at_a_registry_without_one(self):
        with serve(faults=always(refusing(500))) as server:
            probe = opened(server)
            with pytest.raises(RegistryError) as caught:
                probe.ping()
            assert not probe.is_of_token_service(caught.value)
