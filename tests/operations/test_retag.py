"""Further tags for an image, within its repository."""

from __future__ import annotations

import json
import uuid

import pytest
from tests.operations.making import make_image, make_index
from tests.operations.test_copy_trouble import KeepsTags
from tests.servers.fixtures import PASSWORD, USERNAME

from imgpkg import errors
from imgpkg.embedded.access import Account, LoginAccess
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.oci import media
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository
from imgpkg.operations.push import push
from imgpkg.operations.retag import retag
from imgpkg.operations.tag import list_tags, resolve


@pytest.fixture(params=["embedded_registry", "docker_registry"])
def where(request):
    return f"{request.getfixturevalue(request.param).address}/retagged/{uuid.uuid4().hex}"


def writes(server, start=0):
    return [each.path for each in server.requests[start:] if each.method == "PUT"]


class TestAnImageGetsATag:
    def test_by_its_digest(self, where, session):
        image = make_image(session, where, ["x"])
        made = retag(str(image), "stable", session=session)
        assert (made.reference, made.tags, made.replaced) == (image, ("stable",), {})
        assert resolve(f"{image.repository}:stable", session=session) == image

    def test_of_another_tag_and_leaves_that(self, where, session):
        image = make_image(session, where, ["x"], tag="v1")
        assert retag(f"{where}:v1", ["v2", "latest", "v2"], session=session).tags == ("v2", "latest")
        tags = list_tags(where, digests=True, session=session).tags
        assert {tag.name: tag.digest for tag in tags} == dict.fromkeys(("latest", "v1", "v2"), image.digest)

    def test_in_place_of_another_image_which_is_told(self, where, session):
        old = make_image(session, where, ["old"], tag="stable")
        new = make_image(session, where, ["new"], tag="v2")
        assert retag(str(new), ["stable", "v2"], session=session).replaced == {"stable": old.digest}
        assert resolve(f"{where}:stable", session=session) == new

    @pytest.mark.parametrize("kind", [media.DOCKER_LIST, media.OCI_INDEX])
    def test_with_the_very_bytes_and_media_type(self, where, session, kind):
        child = make_index(session, where, {"linux/amd64": make_image(session, where, ["x"])})
        document = json.loads(session.client.manifest(child).raw)
        raw = json.dumps({**document, "mediaType": kind}, indent=3).encode() + b"\n\n"
        manifest = Manifest.parse(raw, kind)
        repository = Repository.parse(where)
        session.client.push_manifest(repository.tag("odd"), manifest)
        retag(f"{where}:odd", "also-odd", session=session)
        found = session.client.manifest(repository.tag("also-odd"))
        assert (found.raw, found.media_type) == (raw, kind)


class TestNothingIsWritten:
    def test_where_the_tag_names_the_image(self, embedded_registry, session):
        image = make_image(session, f"{embedded_registry.address}/retagged/same", ["x"], tag="v1")
        before = len(embedded_registry.requests)
        assert retag(str(image), "v1", session=session).replaced == {}
        assert writes(embedded_registry, before) == []

    def test_without_leave_to_overwrite(self, embedded_registry, session):
        where = f"{embedded_registry.address}/retagged/kept"
        old, new = (make_image(session, where, [tag], tag=tag) for tag in ("old", "new"))
        before = len(embedded_registry.requests)
        with pytest.raises(errors.InUse, match=f"nothing was tagged: {where}:old names {old.digest}"):
            retag(str(new), ["fresh", "old"], overwrite=False, session=session)
        assert writes(embedded_registry, before) == []
        retag(str(new), ["fresh", "new"], overwrite=False, session=session)
        assert resolve(f"{where}:fresh", session=session) == new

    @pytest.mark.parametrize(
        ("tags", "kind"),
        [
            ("a/b", errors.InvalidReference),
            (["ok", "r.example/a:v1"], errors.InvalidReference),
            ([], errors.UsageError),
        ],
    )
    def test_for_what_is_no_tag_not_even_asked(self, embedded_registry, session, tags, kind):
        before = len(embedded_registry.requests)
        with pytest.raises(kind):
            retag(f"{embedded_registry.address}/retagged/any:v1", tags, session=session)
        assert len(embedded_registry.requests) == before

    def test_of_an_image_that_is_not_there(self, where, session):
        make_image(session, where, ["x"], tag="v1")
        with pytest.raises(errors.NotFound, match="Tagging '"):
            retag(f"{where}:nosuch", "v2", session=session)


def test_a_registry_may_keep_its_tags(session):
    with serve(faults=KeepsTags()) as server:
        where = f"{server.address}/kept/app"
        make_image(session, where, ["old"], tag="v1")
        new = make_image(session, where, ["new"])
        with pytest.raises(errors.ImmutableTag, match="the tag is immutable") as caught:
            retag(str(new), "v1", session=session)
        assert "keeps this tag as it is" in caught.value.hints[0]


def test_a_tag_that_was_accepted_and_not_kept_is_an_error(session):
    def forgetful(request):
        if request.method == "PUT" and request.path.endswith("/manifests/v2"):
            return Fault(answer=ServerResponse(201))
        return None

    with serve(faults=forgetful) as server:
        image = make_image(session, f"{server.address}/a/b", ["x"], tag="v1")
        with pytest.raises(errors.VerificationError, match="does not have it"):
            retag(str(image), "v2", session=session)


def test_a_login_that_may_only_read_is_refused_at_the_write(open_session, tmp_path):
    reader = Account("reader", PASSWORD, actions=frozenset({"pull"}))
    with serve(access=LoginAccess((Account(USERNAME, PASSWORD), reader))) as server:
        image = f"{server.address}/a/b:v1"
        writer = open_session(username=USERNAME, password=PASSWORD)
        (tmp_path / "file").write_text("x")
        push([tmp_path / "file"], image=image, session=writer)
        with pytest.raises((errors.Forbidden, errors.Unauthorized)) as caught:
            retag(image, "v2", session=open_session(username="reader", password=PASSWORD))
        assert caught.value.refusal is not None


def test_a_tag_that_may_not_be_looked_at_is_written(session):
    def secretive(request):
        is_asked = request.method in ("HEAD", "GET") and request.path.endswith("/manifests/v2")
        return Fault(answer=ServerResponse(403)) if is_asked else None

    with serve(faults=secretive) as server:
        image = make_image(session, f"{server.address}/a/b", ["x"])
        assert retag(str(image), "v2", session=session).replaced == {}
        assert "/v2/a/b/manifests/v2" in writes(server)
