"""What to do about answers that are about no credential, and what there is in place of a tag."""

from __future__ import annotations

import time

import pytest
from tests.registry.scripted import LOGIN, Bench, Said, Source, Wire
from tests.servers.faults import always, any_of, refusing

from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.errors import ImgpkgError, NotFound, RegistryError
from imgpkg.oci.reference import Reference, Repository
from imgpkg.registry.remedy import is_about_quota, misread, remedies

A = Repository.parse("r.example/a/b")
MISSING = Said(404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]})


def answer(status, code="", message="no", method="PUT"):
    """Return the error for an answer of a registry."""
    made = Bench(Wire(lambda asked: Said(status, {"errors": [{"code": code, "message": message}]})))
    with pytest.raises(RegistryError) as caught:
        made.client._exchange.call(_request(method), _access(), ())
    return caught.value


def _request(method):
    from imgpkg.transport.message import Request

    return Request(method, "/v2/a/b/manifests/v1")


def _access():
    from imgpkg.registry.auth.challenge import Access

    return Access.write(A)


@pytest.mark.parametrize(
    ("error", "begin"),
    [
        ((429, "TOOMANYREQUESTS"), "r.example limits the number of requests"),
        ((403, "DENIED", "quota exceeded"), "The quota of r.example/a/b at r.example is used up"),
        ((507, "", "full"), "The quota of r.example/a/b"),
        (
            (403, "DENIED", "adding 3 MiB of storage resource, which will exceed the configured upper limit"),
            "The quota of",
        ),
        ((400, "TAG_INVALID", "the tag is immutable"), "r.example keeps this tag as it is, by a rule"),
        ((403, "DENIED", "Tag immutability is enabled."), "r.example keeps this tag as it is"),
        ((413,), "A proxy before r.example, or the registry itself, limits the size of a request"),
        ((405, "UNSUPPORTED"), "r.example can only be read"),
        ((400, "UNSUPPORTED"), "r.example can only be read"),
        ((415,), "r.example does not take this kind of manifest"),
        ((400, "MANIFEST_INVALID"), "r.example does not take this kind of manifest"),
        ((404, "NAME_UNKNOWN"), "r.example has no project or repository a/b: create it there first"),
        ((503,), "A proxy or load balancer answered for r.example"),
        ((500,), "r.example failed itself"),
    ],
)
def test_each_answer_has_a_next_step(error, begin):
    (hint,) = answer(*error).hints
    assert hint.startswith(begin)


@pytest.mark.parametrize("error", [(400, "BLOB_UPLOAD_INVALID"), (405, "UNSUPPORTED", "no", "DELETE")])
def test_others_have_none(error):
    assert answer(*error).hints == ()


@pytest.mark.parametrize(
    ("status", "begin"), [(400, "A web page came back"), (413, "A proxy before r.example")]
)
def test_a_page_of_the_registry_s_own_proxy_is_no_login_page(status, begin):
    made = Bench(Wire(lambda asked: Said(status, b"<html>")))
    with pytest.raises(RegistryError) as caught:
        made.client._exchange.call(_request("PUT"), _access(), ())
    (hint,) = caught.value.hints
    assert hint.startswith(begin)


def test_a_question_is_never_about_a_quota():
    error = answer(403, "DENIED", "quota exceeded", "GET")
    assert is_about_quota(error)
    assert list(remedies(error, A)) == []
    assert "no credential was sent" in error.refusal.sentence


def looked_for(text, tags, *, manifest=MISSING):
    """Return the error for `text`, and what was requested; `tags` is the answer to the list of tags."""
    made = Bench(Wire(lambda asked: tags if "/tags/list" in asked.path else manifest), retry_count=3)
    with pytest.raises(NotFound) as caught:
        made.client.manifest(Reference.parse(f"r.example/a/b{text}"))
    before = len(made.transport.lines)
    hints = caught.value.hints
    return hints, before, len(made.transport.lines)


class TestATagThatIsNotThere:
    @pytest.mark.parametrize(
        ("tags", "end"),
        [
            (["v1", "v2", "main"], "has 3 tags and not v3; the nearest: v2, v1."),
            (["main"], "has one tag and not v3: main."),
            (list("abcdefgh"), "has 8 tags and not v3; some: d, e, f, g, h."),
            (["sha256-" + "0" * 64 + ".sig", "v2"], "has one tag and not v3; the nearest: v2."),
            (["team-app-sha256-" + "0" * 64 + ".imgpkg", "v2"], "has one tag and not v3; the nearest: v2."),
            ([], "is there and has no tags."),
        ],
    )
    def test_is_answered_with_those_that_are(self, tags, end):
        hints, before, after = looked_for(":v3", Said(200, {"tags": tags}))
        (hint,) = hints
        assert hint.endswith(end)
        assert (before, after) == (1, 2)

    def test_costs_no_request_before_somebody_reads_the_hints(self):
        made = Bench(Wire(lambda asked: MISSING))
        with pytest.raises(NotFound):
            made.client.manifest(A.tag("v3"))
        assert len(made.transport.lines) == 1

    def test_in_a_repository_that_cannot_be_seen_may_be_private(self):
        hints, _, after = looked_for(":v3", Said(404, {"errors": [{"code": "NAME_UNKNOWN"}]}))
        assert hints[0] == "There is no repository a/b at r.example that can be seen."
        assert hints[1].startswith("If the repository is private: no credential was sent")
        assert after == 2

    def test_in_a_repository_that_a_login_does_not_show_has_no_other_words(self):
        asks = Said(401, headers=[("WWW-Authenticate", "Basic")])
        made = Bench(Wire(lambda asked: MISSING if asked.authorization else asks), source=Source(LOGIN))
        with pytest.raises(NotFound) as caught:
            made.client.manifest(A.tag("v3"))
        assert caught.value.hints == ("There is no repository a/b at r.example that can be seen.",)

    @pytest.mark.parametrize("tags", [Said(401), Said(403), Said(503), Said(200, b"<html>"), Said(429)])
    def test_is_all_that_is_said_where_the_tags_cannot_be_listed(self, tags):
        hints, before, after = looked_for(":v3", tags)
        assert hints[0].startswith("If the repository is private")
        # Once, whatever the error, and without a login that is not there.
        assert after - before <= 2


def test_a_list_of_tags_that_does_not_come_is_not_waited_for(open_session):
    answer = refusing(404, "MANIFEST_UNKNOWN")
    faults = any_of(always(answer, path="manifests"), always(Fault(delay=60), path="tags"))
    with serve(faults=faults) as server, open_session() as session:
        with pytest.raises(NotFound) as caught:
            session.client.manifest(Reference.parse(f"{server.address}/a/b:v1"))
        start = time.monotonic()
        assert caught.value.hints[0].startswith("If the repository is private")
        assert time.monotonic() - start < 30


def test_a_digest_that_is_not_there_is_no_tag():
    hints, *_ = looked_for(f"@sha256:{'0' * 64}", Said(200, {"tags": ["v1", "v2"]}))
    assert hints[0].startswith("The repository r.example/a/b is there, with 2 tags, and has no image")


@pytest.mark.parametrize(("code", "has_words"), [("NAME_UNKNOWN", True), ("OTHER", False)])
def test_a_list_of_tags_that_is_not_there_says_that_of_the_repository(code, has_words):
    made = Bench(Wire(lambda asked: Said(404, {"errors": [{"code": code}]})))
    with pytest.raises(NotFound) as caught:
        list(made.client.tags(A))
    assert caught.value.hints[0].startswith("There is no repository a/b") is has_words


@pytest.mark.parametrize(
    ("text", "begin"),
    [
        ("registry.example.com", "registry.example.com is read as an image of Docker Hub"),
        ("localhost/app", "localhost has no dot and no port"),
        ("registry/team/app", "registry has no dot and no port"),
        ("r.example/v2/team/app", "r.example/v2/team/app is a URL of the API"),
        ("r.example/team/app/manifests/v1", "r.example/team/app/manifests/v1 is a URL of the API"),
    ],
)
def test_a_name_that_was_meant_otherwise_is_explained(text, begin):
    (hint,) = misread(Repository.parse(text))
    assert hint.startswith(begin)


@pytest.mark.parametrize("text", ["nginx", "team/app", "library/nginx", "r.example/team/app", "r.example/aa"])
def test_a_usual_name_is_not(text):
    assert list(misread(Repository.parse(text))) == []


def test_what_is_missing_at_docker_hub_is_explained_first():
    made = Bench(Wire(lambda asked: Said(401)))
    with pytest.raises(ImgpkgError) as caught:
        made.client.manifest(Reference.parse("registry.example.com"))
    assert caught.value.hints[0].startswith("registry.example.com is read as an image of Docker Hub")
