"""What refers to an image: listed, filtered, attached."""

from __future__ import annotations

import json
import threading
import uuid

import pytest
from tests.operations.making import make_image, make_index, put_manifest
from tests.servers.fixtures import PASSWORD, USERNAME

from imgpkg import errors
from imgpkg.embedded.access import Account, LoginAccess
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.oci import media
from imgpkg.oci.reference import Repository
from imgpkg.operations.artifact.pull import pull_artifact
from imgpkg.operations.push import push
from imgpkg.operations.referrers import attach, referrers
from imgpkg.operations.tag import list_tags, resolve
from imgpkg.session import Session

SBOM, REPORT = "application/spdx+json", "application/vnd.example.report+json"


@pytest.fixture(scope="module")
def without_api():
    with serve(features=Features(referrers=False)) as server:
        yield server


@pytest.fixture(params=["embedded_registry", "without_api", "docker_registry"])
def where(request):
    return f"{request.getfixturevalue(request.param).address}/referred/{uuid.uuid4().hex}"


@pytest.fixture
def image(where, session):
    return make_image(session, where, ["x"], tag="v1")


class TestWhatIsAttached:
    def test_is_listed_by_tag_and_digest_and_is_pulled(self, image, where, session, tmp_path):
        made = attach(
            {"sbom.json": b'{"a": 1}'},
            image=f"{where}:v1",
            artifact_type=SBOM,
            annotations={"k": "v"},
            session=session,
        )
        for name in (f"{where}:v1", str(image)):
            found = referrers(name, session=session)
            assert found.subject == image
            (one,) = found.referrers
            assert (one.reference, one.artifact_type) == (made.reference, SBOM)
            assert (dict(one.annotations), one.descriptor.size) == ({"k": "v"}, len(made.manifest.raw))
        pull_artifact(tmp_path, image=str(one.reference), session=session)
        assert (tmp_path / "sbom.json").read_bytes() == b'{"a": 1}'

    def test_has_no_tag_of_its_own(self, image, where, session):
        attach(b"x", image=str(image), artifact_type=SBOM, session=session)
        names = {tag.name for tag in list_tags(where, session=session).tags}
        assert names - {f"sha256-{image.digest.hex}"} == {"v1"}
        assert resolve(f"{where}:v1", session=session) == image

    def test_takes_the_place_of_what_another_program_has_deleted(self, image, session):
        first, second, third = (
            attach(name, image=str(image), artifact_type=SBOM, session=session).reference
            for name in (b"1", b"2", b"3")
        )
        # Nobody has taken it out of the list.
        session.client.delete_manifest(first.repository, first.digest)
        new = attach(b"4", image=str(image), artifact_type=SBOM, session=session).reference
        found = {one.reference for one in referrers(str(image), session=session).referrers}
        assert found == {second, third, new}
        session.client.delete_manifest(second.repository, second.digest)
        # Out of a list with another one that is gone.
        session.client.delete_manifest(third.repository, third.digest, image.digest)
        found = {one.reference for one in referrers(str(image), session=session).referrers}
        assert found == {new}

    def test_is_filtered_by_one_type_or_several(self, image, session):
        made = {
            kind: attach(kind.encode(), image=str(image), artifact_type=kind, session=session).reference
            for kind in (SBOM, REPORT, "a/b")
        }

        def found(kinds):
            listed = referrers(str(image), artifact_type=kinds, session=session).referrers
            return {one.artifact_type: one.reference for one in listed}

        assert found(REPORT) == {REPORT: made[REPORT]}
        assert found([SBOM, "a/b", "c/d"]) == {SBOM: made[SBOM], "a/b": made["a/b"]}
        assert found(()) == found("") == made
        assert found("c/d") == {}

    def test_may_be_about_an_index_and_about_an_attachment(self, image, where, session):
        index = make_index(session, where, {"linux/amd64": image})
        first = attach(b"1", image=str(index), artifact_type=SBOM, session=session)
        second = attach(b"2", image=str(first.reference), artifact_type=REPORT, session=session)
        subjects = {
            name: [one.reference for one in referrers(str(name), session=session).referrers]
            for name in (image, index, first.reference)
        }
        assert subjects == {image: [], index: [first.reference], first.reference: [second.reference]}
        assert first.manifest.subject.media_type == media.OCI_INDEX

    def test_a_second_time_is_the_same(self, image, session):
        one, two = (
            attach({"a": b"x"}, image=str(image), artifact_type=SBOM, session=session) for _ in range(2)
        )
        assert one == two
        assert len(referrers(str(image), session=session).referrers) == 1

    def test_by_several_clients_at_once_is_listed_whole(self, image):
        made, failed = [], []

        def work(number):
            try:
                with Session() as own:
                    made.append(
                        attach(b"%d" % number, image=str(image), artifact_type=SBOM, session=own).reference
                    )
            except errors.ImgpkgError as error:
                failed.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Session() as own:
            found = {one.reference for one in referrers(str(image), session=own).referrers}
        assert failed == []
        assert found == set(made)


def test_an_entry_that_was_lost_is_written_again(without_api, session):
    where = f"{without_api.address}/referred/lost"
    image = make_image(session, where, ["x"])
    made = attach(b"x", image=str(image), artifact_type=SBOM, session=session)
    # Another client, which had read the list before.
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
    put_manifest(session, Repository.parse(where), document, f"sha256-{image.digest.hex}")
    assert referrers(str(image), session=session).referrers == ()
    attach(b"x", image=str(image), artifact_type=SBOM, session=session)
    assert [one.reference for one in referrers(str(image), session=session).referrers] == [made.reference]


def test_what_a_registry_stores_and_never_lists_is_an_error(session):
    def forgetful(request):
        is_list = "/referrers/" in request.path
        empty = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}).encode()
        answer = ServerResponse(200, (("Content-Type", media.OCI_INDEX),), empty)
        return Fault(answer=answer) if is_list else None

    with serve(faults=forgetful) as server:
        image = make_image(session, f"{server.address}/a/b", ["x"])
        with pytest.raises(errors.VerificationError, match="is not listed as a referrer of") as caught:
            attach(b"x", image=str(image), artifact_type=SBOM, session=session)
    assert "by its digest" in caught.value.hints[0]


def test_a_login_that_may_only_read_attaches_nothing(open_session, tmp_path):
    reader = Account("reader", PASSWORD, actions=frozenset({"pull"}))
    with serve(access=LoginAccess((Account(USERNAME, PASSWORD), reader))) as server:
        image = f"{server.address}/a/b:v1"
        (tmp_path / "file").write_text("x")
        push([tmp_path / "file"], image=image, session=open_session(username=USERNAME, password=PASSWORD))
        session = open_session(username="reader", password=PASSWORD)
        with pytest.raises(errors.Forbidden) as caught:
            attach(b"x", image=image, artifact_type=SBOM, session=session)
        assert caught.value.refusal is not None
        assert referrers(image, session=session).referrers == ()


def test_an_image_that_is_not_there_has_none(where, session):
    make_image(session, where, ["x"], tag="v1")
    with pytest.raises(errors.NotFound, match="Listing what refers to"):
        referrers(f"{where}:nosuch", session=session)
    with pytest.raises(errors.NotFound):
        attach(b"x", image=f"{where}:nosuch", artifact_type=SBOM, session=session)


def test_a_type_is_needed(session):
    with pytest.raises(errors.UsageError, match="Expected an artifact type"):
        attach(b"x", image="127.0.0.1:1/a/b", artifact_type="", session=session)
