"""What goes wrong on request, seen by a bare client and by our own."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time

import pytest
from tests.servers.client import ask, ask_on, connection

import imgpkg
from imgpkg.testing import Fault, faults, make_image, serve

TAGS, NAMES = "/v2/team/app/tags/list", b'{"name":"team/app","tags":["v1"]}'
MANIFEST = "/v2/team/app/manifests/v1"
SMALL = random.Random(0).randbytes(1000)
# So large that the kernel sends it from its file.
LARGE = random.Random(0).randbytes(200_000)
IMAGE = make_image(SMALL, LARGE)


@pytest.fixture
def served(registry):
    """A registry with an image."""
    registry.add("team/app:v1", IMAGE)
    return registry


def blob_path(data):
    return f"/v2/team/app/blobs/{imgpkg.Digest.of(data)}"


class TestAnswers:
    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            (faults.refused(404, "NAME_UNKNOWN"), 404, "NAME_UNKNOWN"),
            (faults.unauthorized(), 401, "UNAUTHORIZED"),
            (faults.too_many_requests(), 429, "TOOMANYREQUESTS"),
            (faults.unavailable(), 503, "UNAVAILABLE"),
            (faults.unavailable(502), 502, "UNAVAILABLE"),
        ],
    )
    def test_are_errors_of_the_specification(self, served, fault, status, code):
        served.fail(fault)
        reply = ask(served.address, "GET", TAGS)
        assert (reply.status, reply.code) == (status, code)
        assert served.requests[-1].status == status
        assert ask(served.address, "GET", TAGS).body == NAMES

    @pytest.mark.parametrize(
        ("value", "header"),
        [
            (None, None),
            (0, "0"),
            (1.2, "2"),
            ("Fri, 27 Nov 2026 10:00:00 GMT", "Fri, 27 Nov 2026 10:00:00 GMT"),
        ],
    )
    def test_say_when_to_come_again(self, served, value, header):
        for fault in (faults.too_many_requests(value), faults.unavailable(retry_after=value)):
            served.fail(fault)
            assert ask(served.address, "GET", TAGS).headers.get("retry-after") == header

    def test_ask_for_a_login(self, served):
        served.fail(faults.unauthorized())
        assert ask(served.address, "GET", TAGS).headers["www-authenticate"] == 'Basic realm="test"'
        served.fail(faults.unauthorized('Bearer realm="http://a.example/token"'))
        assert "a.example" in ask(served.address, "GET", TAGS).headers["www-authenticate"]

    def test_ask_for_another_scope(self, served):
        served.fail(faults.insufficient_scope("repository:a/b:pull"))
        challenge = ask(served.address, "GET", TAGS).headers["www-authenticate"]
        assert 'scope="repository:a/b:pull"' in challenge
        assert 'error="insufficient_scope"' in challenge

    def test_ask_for_a_new_token_when_the_login_is_ignored(self, registry_with_tokens):
        registry_with_tokens.add("team/app:v1", IMAGE)
        with registry_with_tokens.session() as session:
            for _ in range(2):
                imgpkg.resolve(f"{registry_with_tokens.address}/team/app:v1", session=session)
                registry_with_tokens.forget_requests()
                registry_with_tokens.fail(faults.ignored_login(), path="/manifests/")
            imgpkg.resolve(f"{registry_with_tokens.address}/team/app:v1", session=session)
        assert list(map(str, registry_with_tokens.requests)) == [
            "HEAD /v2/team/app/manifests/v1 401 bearer",
            "GET /token 200 basic",
            "HEAD /v2/team/app/manifests/v1 200 bearer",
        ]

    def test_are_as_usual_where_no_login_is_needed_when_it_is_ignored(self, served):
        served.fail(faults.ignored_login())
        assert ask(served.address, "GET", TAGS, authorization="Bearer x").body == NAMES

    @pytest.mark.parametrize("end", ["", "/"])
    def test_lead_to_the_same_path_elsewhere(self, served, end):
        served.fail(faults.redirected("http://blobs.example:81" + end), times=2)
        where = ask(served.address, "GET", "/v2/team/app/tags/list?n=1&last=a%20b").headers["location"]
        assert where == "http://blobs.example:81/v2/team/app/tags/list?n=1&last=a+b"
        assert ask(served.address, "HEAD", "/v2/a%20b/").headers["location"].endswith(":81/v2/a%20b/")
        assert [request.status for request in served.requests] == [307, 307]

    def test_are_survived_by_a_client_that_tries_again(self, served):
        served.fail(faults.too_many_requests(retry_after=0))
        served.fail(faults.unavailable(retry_after=0))
        with served.session() as session:
            assert imgpkg.resolve(f"{served.address}/team/app:v1", session=session)
        assert [request.status for request in served.requests] == [429, 503, 200]


class TestConnections:
    def test_stall_before_a_response(self, served):
        served.fail(faults.stalled(0.2))
        before = time.monotonic()
        assert ask(served.address, "GET", TAGS).body == NAMES
        assert time.monotonic() - before >= 0.2

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    def test_stall_in_a_body(self, served, data):
        served.fail(faults.stalled(0.2, after=300))
        with connection(served.address) as connected:
            before = time.monotonic()
            connected.request("GET", blob_path(data))
            response = connected.getresponse()
            assert response.read(300) == data[:300]
            assert response.read() == data[300:]
            assert time.monotonic() - before >= 0.2
            assert ask_on(connected, "GET", TAGS).body == NAMES

    @pytest.mark.parametrize("fault", [faults.stalled(), faults.stalled(after=3)])
    @pytest.mark.parametrize("tls", [False, True])
    def test_that_stall_do_not_stop_a_registry_from_stopping(self, fault, tls):
        with serve(tls=tls) as registry:
            registry.add("team/app:v1", IMAGE)
            registry.fail(fault)
            settings = registry.settings(retry_count=1)
            asking = threading.Thread(target=_list_tags, args=(registry.address, settings))
            asking.start()
            registry.wait_for_request(path="/tags/list")
            before = time.monotonic()
        # A registry waits for five seconds for a response that is being sent.
        assert time.monotonic() - before < 4.5
        asking.join(10)
        assert not asking.is_alive()

    def test_that_stall_end_with_their_client(self, served):
        served.fail(faults.stalled(after=3))
        with connection(served.address) as connected:
            connected.request("GET", blob_path(SMALL))
            assert connected.getresponse().read(3) == SMALL[:3]
        for _ in range(200):
            if not served._server._listener._open:
                return
            time.sleep(0.01)
        raise AssertionError("the thread of the connection still waits")

    @pytest.mark.parametrize("data", [SMALL, LARGE])
    def test_end_in_a_body(self, served, data):
        served.fail(faults.truncated(300))
        with pytest.raises(http.client.IncompleteRead) as caught:
            ask(served.address, "GET", blob_path(data))
        assert caught.value.partial == data[:300]

    def test_that_end_in_a_body_are_survived_by_a_client_that_resumes(self, served):
        served.fail(faults.truncated(300), path=blob_path(LARGE))
        assert _read_blob(served, LARGE) == LARGE
        assert [request.status for request in served.requests] == [200, 206]

    def test_end_without_a_response(self, served):
        served.fail(faults.disconnected())
        with pytest.raises(http.client.RemoteDisconnected):
            ask(served.address, "GET", TAGS)
        assert served.requests[-1].status == 0

    def test_end_in_the_body_of_a_request(self, served):
        served.fail(faults.disconnected(after=2), method="PUT")
        path, kind = MANIFEST.replace("v1", "v9"), IMAGE.media_type
        with pytest.raises(ConnectionError):
            ask(served.address, "PUT", path, IMAGE.manifest, content_type=kind)
        assert served.tags("team/app") == ("v1",)


class TestContent:
    @pytest.mark.parametrize("data", [SMALL, LARGE])
    def test_has_another_last_byte(self, served, data):
        served.fail(faults.corrupted())
        body = ask(served.address, "GET", blob_path(data)).body
        assert body[:-1] == data[:-1]
        assert body[-1] != data[-1]

    def test_that_is_empty_stays_empty(self, served):
        served.fail(faults.corrupted(), method="PUT")
        reply = ask(served.address, "PUT", MANIFEST, IMAGE.manifest, content_type=IMAGE.media_type)
        assert (reply.status, reply.body) == (201, b"")

    def test_that_is_wrong_is_refused_by_a_client_that_verifies(self, served):
        served.fail(faults.corrupted(), times=None, path="/blobs/")
        with pytest.raises(imgpkg.errors.VerificationError):
            _read_blob(served, SMALL)

    def test_has_another_digest_in_its_header(self, served):
        served.fail(faults.wrong_digest(), times=2)
        reply = ask(served.address, "GET", MANIFEST)
        assert reply.body == IMAGE.manifest
        assert reply.headers["docker-content-digest"] == str(imgpkg.Digest.of(b""))
        assert len([header for header in reply.headers if "digest" in header]) == 1
        with served.session() as session:
            found = imgpkg.resolve(f"{served.address}/team/app:v1", session=session)
        assert found.digest == imgpkg.Digest.of(b"")


class TestTheChoiceOfRequests:
    def statuses(self, served, count=3, method="GET", path=TAGS):
        return [ask(served.address, method, path).status for _ in range(count)]

    def test_is_the_next_one(self, served):
        served.fail(faults.unavailable())
        assert self.statuses(served) == [503, 200, 200]

    def test_is_a_number_or_all_of_them(self, served):
        served.fail(faults.unavailable(), times=2)
        assert self.statuses(served) == [503, 503, 200]
        served.fail(faults.unavailable(), times=None)
        assert self.statuses(served) == [503, 503, 503]

    def test_lets_requests_through_before_a_fault(self, served):
        served.fail(Fault(), times=2)
        served.fail(faults.unavailable())
        assert self.statuses(served, 4) == [200, 200, 503, 200]

    def test_is_made_by_method_and_path(self, served):
        served.fail(faults.unavailable(), method="head", path=r"/manifests/v\d$")
        assert self.statuses(served) == [200, 200, 200]
        assert self.statuses(served, 1, path=MANIFEST) == [200]
        assert self.statuses(served, 2, "HEAD", MANIFEST) == [503, 200]

    def test_takes_the_oldest_fault_first(self, served):
        served.fail(faults.too_many_requests())
        served.fail(faults.unavailable())
        assert self.statuses(served) == [429, 503, 200]

    def test_ends_when_faults_are_forgotten(self, served):
        served.fail(faults.unavailable(), times=None)
        served.forget_faults()
        assert self.statuses(served, 1) == [200]

    def test_may_be_made_by_a_function(self, serve_registry):
        wanted = faults.any_of(
            faults.first(1, faults.unavailable(), path="/v2/$"),
            faults.always(faults.refused(418), path="/_catalog$"),
            lambda request: faults.refused(400) if "x-test" in request.headers else None,
        )
        registry = serve_registry(faults=wanted)
        registry.fail(faults.too_many_requests())
        registry.forget_faults()
        asked = [("/v2/", "1"), ("/v2/", "1"), ("/v2/", None), ("/v2/_catalog", "1"), ("/v2/_catalog", None)]
        replies = [ask(registry.address, "GET", path, x_test=value).status for path, value in asked]
        assert replies == [503, 400, 200, 418, 418]

    @pytest.mark.parametrize("pattern", ["(", "["])
    def test_is_refused_for_a_pattern_that_is_none(self, served, pattern):
        with pytest.raises(imgpkg.errors.UsageError, match="no regular expression"):
            served.fail(faults.unavailable(), path=pattern)


def _list_tags(address, settings):
    # Answered or not: what is awaited here is the end.
    with contextlib.suppress(imgpkg.ImgpkgError), imgpkg.Session(settings) as session:
        imgpkg.list_tags(f"{address}/team/app", session=session)


def _read_blob(registry, data):
    """Return the blob as our client reads it, which verifies it."""
    layer = imgpkg.Descriptor("application/octet-stream", imgpkg.Digest.of(data), len(data))
    where = imgpkg.Repository.parse(f"{registry.address}/team/app")
    with registry.session() as session, session.client.blob(where, layer) as stream:
        return b"".join(iter(lambda: stream.read(1 << 20), b""))
