"""Tags and images deleted by their names, and what must not be deleted with them."""

from __future__ import annotations

import threading
import uuid

import pytest
from tests.operations.making import make_bundle, make_image, make_index
from tests.servers.faults import refusing as refused

import imgpkg
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.errors import (
    Forbidden,
    ImmutableTag,
    InUse,
    InvalidReference,
    NotFound,
    Unauthorized,
    Unsupported,
)
from imgpkg.operations.delete import (
    DeletionOutcome,
    delete_blob,
    delete_image,
    delete_manifest,
    delete_tag,
)
from imgpkg.session import Session

NOTHING = imgpkg.Digest.of(b"nothing")


@pytest.fixture(scope="module")
def by_digest_only():
    """The small registry where tags go only with their manifest."""
    with serve(features=Features(delete_tags=False)) as server:
        yield server


@pytest.fixture(params=["embedded_registry", "docker_registry", "by_digest_only"])
def where(request):
    """A new repository."""
    return f"{request.getfixturevalue(request.param).address}/delete/{uuid.uuid4().hex}"


@pytest.fixture
def small(embedded_registry):
    """A new repository of a registry that deletes tags."""
    return f"{embedded_registry.address}/delete/{uuid.uuid4().hex}"


@pytest.fixture
def stiff(docker_registry):
    """A new repository of a registry that deletes manifests only."""
    return f"{docker_registry.address}/delete/{uuid.uuid4().hex}"


def tags(session, where):
    return sorted(session.client.tags(imgpkg.Repository.parse(where)))


def tag(session, image, *names):
    for name in names:
        session.client.push_manifest(image.repository.tag(name), session.client.manifest(image))


class TestATag:
    def test_goes_alone(self, small, session):
        image = make_image(session, small, tag="v1")
        tag(session, image, "v2")
        deleted = delete_tag(f"{small}:v1", session=session)
        assert (deleted.outcome, deleted.digest, deleted.tags) == (DeletionOutcome.TAG, image.digest, ("v1",))
        assert tags(session, small) == ["v2"]
        assert session.client.exists(image).digest == image.digest

    def test_goes_alone_also_with_permission_to_delete_the_image(self, small, session):
        image = make_image(session, small, tag="v1")
        assert delete_tag(f"{small}:v1", session=session, with_image=True).outcome is DeletionOutcome.TAG
        assert session.client.exists(image).digest == image.digest

    def test_may_take_the_image_with_it_at_some_registries(self, session):
        """Some registries free what has no tag at once."""

        def watch(record):
            if record.method == "DELETE" and record.path.endswith("/v1"):
                other.client.delete_manifest(image.repository, image.digest)

        with serve(on_request=watch) as server, Session() as other:
            image = make_image(session, f"{server.address}/a/b", tag="v1")
            make_image(session, f"{server.address}/a/b", ["two"], tag="v2")
            deleted = delete_tag(f"{server.address}/a/b:v1", session=session)
            assert (deleted.outcome, deleted.digest) == (DeletionOutcome.IMAGE, image.digest)

    def test_is_gone_also_where_the_image_cannot_be_seen(self, open_session):
        session = open_session(retry_count=1)

        def faults(request):
            is_asked = request.method != "DELETE" and "sha256:" in request.path
            return Fault(answer=ServerResponse(403)) if is_asked and request.path in hidden else None

        hidden = []
        with serve(faults=faults) as server:
            image = make_image(session, f"{server.address}/a/b", tag="v1")
            hidden.append(f"/v2/a/b/manifests/{image.digest}")
            assert delete_tag(f"{server.address}/a/b:v1", session=session).outcome is DeletionOutcome.TAG

    def test_that_is_not_there_is_no_error(self, where, session):
        make_image(session, where, tag="v1")
        deleted = delete_tag(f"{where}:v2", session=session)
        assert (deleted.outcome, deleted.digest, deleted.tags) == (DeletionOutcome.ABSENT, None, ())
        assert tags(session, where) == ["v1"]

    @pytest.mark.parametrize("delete", [delete_tag, delete_image])
    def test_in_a_repository_that_is_not_there_is_one(self, where, session, delete):
        with pytest.raises(NotFound, match="is not there"):
            delete(f"{where}:v1", session=session)

    @pytest.mark.parametrize("delete", [delete_tag, delete_image])
    @pytest.mark.parametrize("name", ["", ":"])
    def test_is_written_out(self, small, session, delete, name):
        make_image(session, small, tag="latest")
        with pytest.raises(InvalidReference):
            delete(f"{small}{name}", session=session)
        assert tags(session, small) == ["latest"]

    def test_is_no_digest(self, small, session):
        with pytest.raises(InvalidReference, match="names no tag"):
            delete_tag(f"{small}@{NOTHING}", session=session)

    def test_stays_where_it_cannot_go_alone(self, stiff, session):
        image = make_image(session, stiff, tag="v1")
        with pytest.raises(Unsupported) as caught:
            delete_tag(f"{stiff}:v1", session=session)
        assert "--with-image" in caught.value.hints[0]
        assert tags(session, stiff) == ["v1"]
        assert session.client.exists(image).digest == image.digest

    def test_goes_there_with_the_image_if_it_is_its_only_one(self, stiff, session):
        image = make_image(session, stiff, tag="v1")
        deleted = delete_tag(f"{stiff}:v1", session=session, with_image=True)
        assert (deleted.outcome, deleted.tags) == (DeletionOutcome.IMAGE, ("v1",))
        assert session.client.exists(image) is None

    def test_stays_there_with_the_other_tags_of_the_image(self, stiff, session):
        image = make_image(session, stiff, tag="v1")
        tag(session, image, "v1.0", "stable")
        with pytest.raises(InUse, match=r"which would go with it: stable, v1\.0"):
            delete_tag(f"{stiff}:v1", session=session, with_image=True)
        assert tags(session, stiff) == ["stable", "v1", "v1.0"]

    def test_goes_there_with_others_that_are_named_with_it(self, stiff, session):
        image = make_image(session, stiff, tag="v1")
        tag(session, image, "v2")
        named = (f"{stiff}:v1", f"{stiff}:v2", f"{stiff}-other:v3")
        deleted = delete_tag(named[0], session=session, with_image=True, together_with=named)
        assert (deleted.outcome, deleted.tags) == (DeletionOutcome.IMAGE, ("v1", "v2"))
        assert tags(session, stiff) == []

    def test_stays_where_nothing_can_be_deleted(self, docker_registry_without_deletion, session):
        where = f"{docker_registry_without_deletion.address}/delete/kept"
        make_image(session, where, tag="v1")
        for with_image in (False, True):
            with pytest.raises(Unsupported) as caught:
                delete_tag(f"{where}:v1", session=session, with_image=with_image)
            assert any("storage.delete.enabled" in hint for hint in caught.value.hints)
        assert tags(session, where) == ["v1"]


class TestAnImage:
    def test_goes_with_its_tag(self, where, session):
        image, kept = make_image(session, where, tag="v1"), make_image(session, where, ["kept"], tag="v2")
        deleted = delete_image(f"{where}:v1", session=session)
        assert (deleted.outcome, deleted.digest, deleted.tags) == (
            DeletionOutcome.IMAGE,
            image.digest,
            ("v1",),
        )
        assert tags(session, where) == ["v2"]
        assert session.client.exists(image) is None
        assert session.client.exists(kept).digest == kept.digest

    def test_without_a_tag_goes_by_its_digest(self, where, session):
        make_image(session, where, tag="v1")
        image = make_image(session, where, ["untagged"])
        assert delete_image(str(image), session=session).tags == ()
        assert session.client.exists(image) is None

    @pytest.mark.parametrize("form", ["{0}:v1", "{0}@{1}"])
    def test_with_other_tags_stays_unless_they_may_go(self, where, session, form):
        image = make_image(session, where, tag="v1")
        tag(session, image, "v2")
        name = form.format(where, image.digest)
        with pytest.raises(InUse) as caught:
            delete_image(name, session=session)
        assert "v2" in str(caught.value)
        assert "--all-tags" in caught.value.hints[0]
        assert tags(session, where) == ["v1", "v2"]
        deleted = delete_image(name, session=session, all_tags=True)
        assert deleted.tags == ("v1", "v2")
        assert tags(session, where) == []

    def test_that_is_not_there_is_no_error(self, where, session):
        make_image(session, where, tag="v1")
        for name in (f"{where}:v2", f"{where}@{NOTHING}"):
            assert delete_image(name, session=session).outcome is DeletionOutcome.ABSENT

    def test_that_a_tagged_index_lists_stays(self, where, session):
        image = make_image(session, where, ["amd64"])
        make_index(session, where, {"linux/amd64": image}, tag="v1")
        with pytest.raises(InUse, match=f"is part of {where}:v1"):
            delete_image(str(image), session=session, all_tags=True)
        assert session.client.exists(image).digest == image.digest
        assert delete_image(f"{where}:v1", session=session).outcome is DeletionOutcome.IMAGE
        assert delete_image(str(image), session=session).outcome is DeletionOutcome.IMAGE

    def test_that_a_copied_bundle_names_stays(self, where, small, session, tmp_path):
        image = make_image(session, f"{small}/app")
        make_bundle(session, f"{small}:v1", {image: {}}, tmp_path / "bundle")
        imgpkg.copy(imgpkg.CopySource(bundle=f"{small}:v1"), to_repo=where, session=session)
        here = imgpkg.Repository.parse(where).digest(image.digest)
        with pytest.raises(InUse, match=f"the bundle {where}@sha256:[0-9a-f]+ names {image.digest}"):
            delete_image(str(here), session=session)
        # The internal tag of the bundle itself needs no permission.
        deleted = delete_image(f"{where}:v1", session=session)
        assert [name.endswith(".imgpkg") for name in deleted.tags] == [True, False]
        assert delete_image(str(here), session=session).outcome is DeletionOutcome.IMAGE

    def test_leaves_the_list_of_referrers(self, session):
        with serve(features=Features(referrers=False)) as server:
            where = f"{server.address}/a/b"
            subject = make_image(session, where, tag="v1")
            found = session.client.manifest(subject)
            about = {
                "mediaType": found.media_type,
                "digest": str(subject.digest),
                "size": found.descriptor.size,
            }
            referrer = make_image(session, where, ["sbom"], subject=about)
            assert len(session.client.referrers(subject.repository, subject.digest)) == 1
            assert delete_image(str(referrer), session=session).outcome is DeletionOutcome.IMAGE
            assert session.client.referrers(subject.repository, subject.digest) == ()
            assert tags(session, where) == ["v1"]


class TestRaces:
    """What another client does between the look and the deletion."""

    @pytest.fixture
    def during(self):
        """Run an action when the first GET for a manifest arrives, which is after the first look."""
        done = threading.Event()

        def started(action):
            def watch(record):
                if record.method == "GET" and "/manifests/" in record.path and not done.is_set():
                    done.set()
                    action()

            return watch

        return started

    def test_a_tag_that_moves_meanwhile_keeps_its_image(self, session, during):
        other = Session()

        def move():
            make_image(other, where, ["other"], tag="v1")

        with serve(on_request=during(move)) as server, other:
            where = f"{server.address}/a/b"
            image = make_image(session, where, tag="v1")
            with pytest.raises(InUse, match="was changed a moment ago"):
                delete_image(f"{where}:v1", session=session)
            assert session.client.exists(image).digest == image.digest

    def test_a_tag_that_is_new_meanwhile_keeps_its_image(self, session, during):
        other = Session()

        def add():
            tag(other, image, "new")

        with serve(on_request=during(add)) as server, other:
            where = f"{server.address}/a/b"
            image = make_image(session, where, tag="v1")
            with pytest.raises(InUse, match="would go with it: new"):
                delete_image(f"{where}:v1", session=session)
            assert tags(session, where) == ["new", "v1"]


@pytest.mark.parametrize("kind", ["docker_registry_token", "docker_registry_htpasswd", "embedded_token"])
def test_a_wrong_login_deletes_nothing(kind, request, open_session):
    registry = request.getfixturevalue(kind)
    right = open_session(username=registry.username, password=registry.password)
    where = f"{registry.address}/delete/{uuid.uuid4().hex}"
    image = make_image(right, where, tag="v1")
    for options in ({}, {"username": registry.username, "password": "wrong"}):
        with pytest.raises(Unauthorized):
            delete_image(f"{where}:v1", session=open_session(**options))
    assert right.client.exists(image).digest == image.digest
    assert delete_image(f"{where}:v1", session=right).outcome is DeletionOutcome.IMAGE


class TestAManifest:
    def test_goes_with_all_its_tags_and_what_lists_it_stays(self, where, session):
        image = make_image(session, where, tag="v1")
        tag(session, image, "v2")
        index = make_index(session, where, {"linux/amd64": image}, tag="all")
        deleted = delete_manifest(f"{where}:v1", session=session)
        assert (deleted.outcome, deleted.digest) == (DeletionOutcome.IMAGE, image.digest)
        assert tags(session, where) == ["all"]
        assert session.client.exists(image) is None
        assert session.client.exists(index) is not None

    def test_goes_after_a_few_requests_by_its_digest(self, embedded_registry, small, session):
        image = make_image(session, small, tag="v1")
        tag(session, image, *(f"t{number}" for number in range(20)))
        before = len(embedded_registry.requests)
        delete_manifest(str(image), session=session)
        assert [each.method for each in embedded_registry.requests[before:]] == ["HEAD", "GET", "DELETE"]

    @pytest.mark.parametrize("has_api", [True, False])
    def test_leaves_the_list_of_its_subject(self, session, has_api):
        with serve(features=Features(referrers=has_api)) as server:
            image = make_image(session, f"{server.address}/a/b")
            one, two = (
                imgpkg.attach(data, image=str(image), artifact_type="a/b", session=session).reference
                for data in (b"1", b"2")
            )
            delete_manifest(str(one), session=session)
            found = imgpkg.referrers(str(image), session=session).referrers
            assert [each.reference for each in found] == [two]

    def test_that_is_not_there_is_told(self, where, session):
        make_image(session, where, tag="v1")
        place = f"{where}@{NOTHING}"
        assert delete_manifest(place, session=session).outcome is DeletionOutcome.ABSENT
        with pytest.raises(NotFound):
            delete_manifest(f"{where}-misspelt@{NOTHING}", session=session)

    def test_is_written_out(self, session):
        with pytest.raises(InvalidReference, match="write out what is to be deleted"):
            delete_manifest("127.0.0.1:1/a/b", session=session)

    def test_stays_at_a_registry_that_deletes_nothing(self, docker_registry_without_deletion, session):
        image = make_image(session, f"{docker_registry_without_deletion.address}/delete/kept", tag="v1")
        with pytest.raises(Unsupported, match="did not delete"):
            delete_manifest(str(image), session=session)

    @pytest.mark.parametrize(
        ("status", "code", "said", "kind"),
        [
            (403, "DENIED", "no", Forbidden),
            (412, "PRECONDITION", "'v1' configured as immutable.", ImmutableTag),
        ],
    )
    def test_stays_where_the_registry_refuses(self, session, status, code, said, kind):
        def refuse(request):
            return refused(status, code, said) if request.method == "DELETE" else None

        with serve(faults=refuse) as server:
            image = make_image(session, f"{server.address}/a/b", tag="v1")
            with pytest.raises(kind):
                delete_manifest(str(image), session=session)


class TestABlob:
    def test_goes_from_its_repository(self, where, session):
        image = make_image(session, where)
        layer = session.client.manifest(image).layers[0]
        place = f"{image.repository}@{layer.digest}"
        assert delete_blob(place, session=session) is True
        assert not session.client.has_blob(image.repository, layer.digest)
        assert delete_blob(place, session=session) is False

    def test_is_named_by_its_digest(self, session):
        with pytest.raises(InvalidReference, match="has no digest"):
            delete_blob("127.0.0.1:1/a/b:v1", session=session)

    def test_stays_at_a_registry_that_deletes_nothing(self, docker_registry_without_deletion, session):
        image = make_image(session, f"{docker_registry_without_deletion.address}/delete/blob")
        layer = session.client.manifest(image).layers[0]
        with pytest.raises(Unsupported, match=f"did not delete the blob {layer.digest}"):
            delete_blob(f"{image.repository}@{layer.digest}", session=session)
