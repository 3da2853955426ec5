"""Tags, manifests and blobs deleted, at registries that do so, partly or not at all."""

from __future__ import annotations

import json
import uuid

import pytest
from tests.operations.making import make_image
from tests.registry.scripted import Bench, Said, Wire
from tests.servers.docker import RunningRegistry, docker_registry_process, token_section
from tests.servers.fixtures import PASSWORD, USERNAME
from tests.servers.token_service import TokenService, User

from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.errors import (
    Forbidden,
    ImmutableTag,
    NotFound,
    RegistryError,
    Unauthorized,
    Unsupported,
    UsageError,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository

A = Repository.parse("r.example/a/b")
CONFIG = {"mediaType": media.OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
DIGEST, SUBJECT, OTHER = Digest.of(b"manifest"), Digest.of(b"subject"), Digest.of(b"other")
REFUSED = {"errors": [{"code": "UNSUPPORTED", "message": "The operation is unsupported."}]}
MALFORMED = {"errors": [{"code": "DIGEST_INVALID", "message": "provided digest did not match"}]}
UNKNOWN = {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}
HEAD = {
    "Content-Type": media.OCI_MANIFEST,
    "Docker-Content-Digest": str(DIGEST),
    "Content-Length": "9",
}


def bench(*answers, **options):
    waiting = list(answers)
    return Bench(Wire(lambda asked: waiting.pop(0)), **options)


def lines(made):
    made.transport.assert_all_closed()
    return [line.replace("https://r.example/v2/a/b/", "") for line in made.transport.lines]


def delete_tag(made):
    return made.client.delete_tag(A.tag("v1"))


def delete_manifest(made):
    return made.client.delete_manifest(A, DIGEST)


def delete_blob(made):
    return made.client.delete_blob(A, DIGEST)


ALL = pytest.mark.parametrize(
    ("delete", "path"),
    [
        (delete_tag, "manifests/v1"),
        (delete_manifest, f"manifests/{DIGEST}"),
        (delete_blob, f"blobs/{DIGEST}"),
    ],
)


class TestAnswers:
    @ALL
    @pytest.mark.parametrize("status", [200, 202, 204])
    def test_an_accepted_deletion_is_one_request(self, delete, path, status):
        made = bench(Said(status))
        assert delete(made) is True
        assert lines(made) == [f"DELETE {path}"]

    @ALL
    def test_what_is_not_there_is_not_deleted(self, delete, path):
        made = bench(Said(404, UNKNOWN), Said(404))
        assert delete(made) is False
        assert lines(made) == [f"DELETE {path}", f"HEAD {path}"]

    @ALL
    def test_a_server_that_does_not_know_the_method_deletes_nothing(self, delete, path):
        made = bench(Said(404, b"no such page"), Said(200, headers=HEAD))
        with pytest.raises(Unsupported) as caught:
            delete(made)
        assert caught.value.status == 404

    @ALL
    @pytest.mark.parametrize(
        "answer",
        [Said(405, REFUSED), Said(405), Said(501), Said(400, REFUSED), Said(403, REFUSED), Said(400)],
        ids=["405 in words", "405", "501", "400 in words", "403 in words", "400"],
    )
    def test_a_registry_without_deletion_is_named_with_what_it_said(self, delete, path, answer):
        made = bench(Said(answer.status, answer.body))
        with pytest.raises(Unsupported) as caught:
            delete(made)
        error = caught.value
        assert str(error).startswith("the registry r.example did not delete ")
        assert f"DELETE https://r.example/v2/a/b/{path}: " in str(error)
        assert f"(status {answer.status})" in str(error)
        assert any("storage.delete.enabled" in hint for hint in error.hints)
        assert (error.method, error.status) == ("DELETE", answer.status)
        assert error.codes == ({"UNSUPPORTED"} if answer.body else set())

    def test_a_registry_that_takes_each_reference_for_a_digest_deletes_no_tags(self):
        with pytest.raises(Unsupported) as caught:
            delete_tag(bench(Said(400, MALFORMED)))
        assert "the tag v1 of r.example/a/b" in str(caught.value)
        assert "by its digest only" in caught.value.hints[0]

    @pytest.mark.parametrize("delete", [delete_manifest, delete_blob])
    def test_a_malformed_request_does_not_mean_that_it_deletes_nothing(self, delete):
        with pytest.raises(RegistryError) as caught:
            delete(bench(Said(400, MALFORMED)))
        assert not isinstance(caught.value, Unsupported)

    @ALL
    @pytest.mark.parametrize(
        ("status", "kind"), [(401, Unauthorized), (403, Forbidden), (409, RegistryError)]
    )
    def test_another_refusal_is_raised_as_it_is(self, delete, path, status, kind):
        with pytest.raises(kind) as caught:
            delete(bench(Said(status), Said(status)))
        assert type(caught.value) is kind

    @ALL
    def test_a_temporary_failure_is_tried_again(self, delete, path):
        made = bench(Said(503), Said(202), retry_count=2)
        assert delete(made) is True
        assert lines(made) == [f"DELETE {path}"] * 2

    @pytest.mark.parametrize("delete", [delete_tag, delete_manifest])
    @pytest.mark.parametrize("status", [400, 405, 412])
    def test_a_tag_that_stays_does_not_mean_that_it_deletes_nothing(self, delete, status):
        said = {"errors": [{"code": "UNSUPPORTED", "message": "the tag is immutable"}]}
        with pytest.raises(ImmutableTag):
            delete(bench(Said(status, said)))

    def test_a_digest_is_no_tag(self):
        with pytest.raises(UsageError, match="names no tag"):
            bench().client.delete_tag(A.digest(DIGEST))


def index_of(*digests):
    entries = [{"mediaType": media.OCI_MANIFEST, "digest": str(digest), "size": 1} for digest in digests]
    return {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries, "kept": "by us"}


TYPED = {"Content-Type": media.OCI_INDEX}
TAG = f"manifests/sha256-{SUBJECT.hex}"


class TestReferrers:
    def delete(self, made):
        return made.client.delete_manifest(A, DIGEST, SUBJECT)

    def test_a_registry_with_the_api_keeps_the_list_itself(self):
        made = bench(Said(200, index_of(), TYPED), Said(202))
        assert self.delete(made) is True
        assert lines(made) == [f"GET referrers/{SUBJECT}", f"DELETE manifests/{DIGEST}"]

    def test_elsewhere_the_index_loses_the_entry_before_the_manifest_goes(self):
        made = bench(Said(404), Said(200, index_of(DIGEST, OTHER), TYPED), Said(201), Said(202))
        assert self.delete(made) is True
        assert lines(made) == [
            f"GET referrers/{SUBJECT}",
            f"GET {TAG}",
            f"PUT {TAG}",
            f"DELETE manifests/{DIGEST}",
        ]
        assert json.loads(made.transport.asked[2].body) == index_of(OTHER)

    def test_an_index_that_would_be_empty_is_deleted(self):
        index = json.dumps(index_of(DIGEST)).encode()
        made = bench(Said(404), Said(200, index, TYPED), Said(202), Said(202))
        assert self.delete(made) is True
        assert lines(made)[2:] == [f"DELETE manifests/{Digest.of(index)}", f"DELETE manifests/{DIGEST}"]

    def test_an_index_without_the_entry_stays_as_it_is(self):
        made = bench(Said(404), Said(200, index_of(OTHER), TYPED), Said(202))
        assert self.delete(made) is True
        assert lines(made)[2:] == [f"DELETE manifests/{DIGEST}"]

    def test_without_an_index_there_is_nothing_to_keep(self):
        made = bench(Said(404), Said(404, UNKNOWN), Said(202))
        assert self.delete(made) is True
        assert lines(made)[2:] == [f"DELETE manifests/{DIGEST}"]

    def test_the_api_alone_can_be_asked(self):
        made = bench(Said(404))
        assert made.client.referrers(A, SUBJECT, tag_scheme=False) == ()
        assert lines(made) == [f"GET referrers/{SUBJECT}"]


@pytest.mark.parametrize("kind", ["docker_registry", "docker_registry_htpasswd", "docker_registry_token"])
class TestAtDockerRegistry:
    @pytest.fixture
    def place(self, kind, request, open_session):
        registry = request.getfixturevalue(kind)
        session = open_session(username=registry.username or None, password=registry.password or None)
        repository = Repository.parse(f"{registry.address}/deletion/{uuid.uuid4().hex}")
        image = make_image(session, str(repository), tag="v1")
        session.client.push_manifest(repository.tag("v2"), session.client.manifest(image))
        return session.client, repository, image.digest

    def test_a_manifest_goes_with_its_tags(self, place):
        client, repository, digest = place
        assert client.delete_manifest(repository, digest) is True
        assert list(client.tags(repository)) == []
        assert client.exists(repository.digest(digest)) is None
        assert client.delete_manifest(repository, digest) is False

    def test_a_tag_alone_cannot_go(self, place):
        client, repository, digest = place
        with pytest.raises(Unsupported):
            client.delete_tag(repository.tag("v1"))
        assert sorted(client.tags(repository)) == ["v1", "v2"]
        assert client.exists(repository.digest(digest)).digest == digest

    def test_a_blob_goes(self, place):
        client, repository, digest = place
        (layer, *_) = client.manifest(repository.digest(digest)).layers
        assert client.delete_blob(repository, layer.digest) is True
        assert client.delete_blob(repository, layer.digest) is False


def test_docker_registry_without_deletion_keeps_everything(docker_registry_without_deletion, session):
    repository = Repository.parse(f"{docker_registry_without_deletion.address}/a/b")
    image = make_image(session, str(repository), tag="v1")
    (layer, *_) = session.client.manifest(image).layers
    for delete in (
        lambda: session.client.delete_tag(repository.tag("v1")),
        lambda: session.client.delete_manifest(repository, image.digest),
        lambda: session.client.delete_blob(repository, layer.digest),
    ):
        with pytest.raises(Unsupported) as caught:
            delete()
        assert caught.value.codes == {"UNSUPPORTED"}
    assert session.client.resolve(repository.tag("v1")).digest == image.digest


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    users = {
        USERNAME: User(PASSWORD),
        "reader": User(PASSWORD, {"*": "pull,push"}),
        "remover": User(PASSWORD, {"*": "pull,delete"}),
    }
    folder = tmp_path_factory.mktemp("deletion_token")
    with (
        TokenService(users) as service,
        docker_registry_process(folder, auth=token_section(folder, service), secrets=(PASSWORD,)) as address,
    ):
        yield RunningRegistry(address, USERNAME, PASSWORD, server=service)


class TestTokens:
    @pytest.fixture
    def image(self, registry, open_session):
        session = open_session(username=USERNAME, password=PASSWORD)
        return make_image(session, f"{registry.address}/tokens/{uuid.uuid4().hex}", tag="v1")

    def test_a_deletion_asks_for_the_action_delete(self, registry, open_session, image):
        client = open_session(username="remover", password=PASSWORD).client
        before = len(registry.requests)
        assert client.delete_manifest(image.repository, image.digest) is True
        (asked,) = [request.scopes for request in registry.requests[before:] if request.scopes]
        assert asked == (f"repository:{image.repository.path}:delete,pull",)

    def test_who_may_only_push_is_told_so(self, registry, open_session, image):
        client = open_session(username="reader", password=PASSWORD).client
        with pytest.raises(Unauthorized) as caught:
            client.delete_manifest(image.repository, image.digest)
        error = caught.value
        assert f"may not delete from {image.repository}" in str(error)
        assert "grants pull only" in str(error)
        assert f"the permission to delete from {image.repository}" in error.refusal.remedy
        assert client.exists(image).digest == image.digest

    def test_the_token_for_a_deletion_is_used_for_reads_too(self, registry, open_session, image):
        client = open_session(username=USERNAME, password=PASSWORD).client
        client.delete_manifest(image.repository, image.digest)
        before = len(registry.requests)
        assert client.exists(image) is None
        assert len(registry.requests) == before


class TestAtTheSmallRegistry:
    def test_tags_go_alone(self, embedded_registry, session):
        repository = Repository.parse(f"{embedded_registry.address}/deletion/tags")
        image = make_image(session, str(repository), tag="v1")
        assert session.client.delete_tag(repository.tag("v1")) is True
        assert session.client.delete_tag(repository.tag("v1")) is False
        assert session.client.exists(image).digest == image.digest

    def test_unless_it_has_no_deletion_of_tags(self, session):
        with serve(features=Features(delete_tags=False)) as server:
            repository = Repository.parse(f"{server.address}/a/b")
            image = make_image(session, str(repository), tag="v1")
            with pytest.raises(Unsupported):
                session.client.delete_tag(repository.tag("v1"))
            assert session.client.delete_manifest(repository, image.digest) is True

    def test_a_referrer_leaves_the_index_of_a_registry_without_the_api(self, session):
        with serve(features=Features(referrers=False)) as server:
            repository = Repository.parse(f"{server.address}/a/b")
            subject = make_image(session, str(repository), tag="v1")
            made = [referrer(session, repository, subject.digest, name) for name in ("one", "two")]
            listed = session.client.referrers(repository, subject.digest)
            assert {entry.digest for entry in listed} == set(made)
            for gone in made:
                assert session.client.delete_manifest(repository, gone, subject.digest) is True
                listed = session.client.referrers(repository, subject.digest)
                assert gone not in {entry.digest for entry in listed}
            assert list(session.client.tags(repository)) == ["v1"]


def referrer(session, repository, subject, name):
    """Put an artifact about `subject`; return its digest."""
    found = session.client.manifest(repository.digest(subject))
    document = json.loads(found.raw)
    about = {"mediaType": found.media_type, "digest": str(subject), "size": len(found.raw)}
    document = {**document, "subject": about, "annotations": {"name": name}}
    manifest = Manifest.parse(json.dumps(document).encode(), found.media_type)
    session.client.push_manifest(repository.digest(manifest.digest), manifest)
    return manifest.digest


def test_a_deletion_is_never_sent_to_a_mirror(embedded_registry, another_registry, open_session, tmp_path):
    place, mirror = f"{embedded_registry.address}/deletion/mirrored", another_registry.address
    conf = tmp_path / "registries.conf"
    conf.write_text(
        f'[[registry]]\nlocation = "{embedded_registry.address}"\n'
        f'[[registry.mirror]]\nlocation = "{mirror}"\ninsecure = true\n'
    )
    plain = open_session()
    image = make_image(plain, place, tag="v1")
    make_image(plain, place.replace(embedded_registry.address, mirror), tag="v1")
    client = open_session(registries_conf=conf).client
    before = len(another_registry.requests)
    assert client.delete_manifest(image.repository, image.digest) is True
    assert client.delete_manifest(image.repository, image.digest) is False
    assert len(another_registry.requests) == before
    with pytest.raises(NotFound):
        plain.client.resolve(image)
