"""The differences of registries in use, on real sockets."""

from __future__ import annotations

import io
import json
import re

import pytest
from tests.registry.scripted import Said, Server

from imgpkg.errors import Forbidden, InvalidManifest, NotFound, RegistryError, Unauthorized
from imgpkg.events import BlobOutcome
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository

DATA = bytes(range(256)) * 40
BLOB = Descriptor(media.OCI_LAYER, Digest.of(DATA), len(DATA))
CONFIG = {"mediaType": media.OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}


def where(server):
    return Repository.parse(f"{server.address}/a/b")


def read(client, server):
    with client.blob(where(server), BLOB) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


def image(name="image", **more):
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": CONFIG,
        "layers": [],
        "annotations": {"name": name},
        **more,
    }
    return Manifest.parse(json.dumps(document).encode(), document["mediaType"])


SUBJECT = image("subject")


def artifact(name="artifact"):
    return image(name, subject=entry(SUBJECT))


def entry(manifest):
    return {"mediaType": manifest.media_type, "digest": str(manifest.digest), "size": len(manifest.raw)}


class Manifests:
    """A handler that keeps manifests under their paths, and has no referrers API unless it is given one.

    `missing` is what it says of what is not there; `reads_tags_as_digests` is what GitLab does.
    """

    def __init__(self, *held, missing=404, reads_tags_as_digests=False, api=None):
        self.held = {str(manifest.digest): (manifest.media_type, manifest.raw) for manifest in held}
        self.missing = missing
        self.reads_tags_as_digests = reads_tags_as_digests
        self.api = api or (lambda asked: Said(404))

    def __call__(self, asked):
        if "/referrers/" in asked.path:
            return self.api(asked)
        name = asked.path.rpartition("/")[2]
        if self.reads_tags_as_digests:
            name = re.sub(r"^sha256-([0-9a-f]{64})$", r"sha256:\1", name)
        if asked.method == "PUT":
            return self.put(name, asked)
        if name not in self.held:
            return Said(self.missing)
        kind, raw = self.held[name]
        return Said(200, raw, {"Content-Type": kind, "Docker-Content-Digest": str(Digest.of(raw))})

    def put(self, name, asked):
        digest = str(Digest.of(asked.body))
        if name.startswith("sha256:") and name != digest:
            return Said(400, {"errors": [{"code": "DIGEST_INVALID", "message": "not its digest"}]})
        self.held[name] = self.held[digest] = (asked.headers["Content-Type"], asked.body)
        return Said(201)

    def put_list(self, document):
        raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, **document}).encode()
        self.held[f"sha256-{SUBJECT.digest.hex}"] = (media.OCI_INDEX, raw)

    @property
    def listed(self):
        """The digests that the list of the subject has now."""
        document = json.loads(self.held[f"sha256-{SUBJECT.digest.hex}"][1])
        return [item["digest"] for item in document["manifests"]]


class Checking(Manifests):
    """Takes an index only with all that it lists, as docker-registry does; `misses_all` takes none."""

    def __init__(self, *held, misses_all=False):
        super().__init__(*held)
        self.misses_all = misses_all

    def put(self, name, asked):
        listed = json.loads(asked.body).get("manifests")
        if listed and (self.misses_all or any(one["digest"] not in self.held for one in listed)):
            return Said(404, {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"}]})
        return super().put(name, asked)


def record(client, server, manifest):
    client.push_manifest(where(server).digest(manifest.digest), manifest)


class TestWhereAMissingTagIsForbidden:
    """Virtual repositories of Artifactory answer 403 to what is not there."""

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_tag_is_not_known_to_be_there(self, client, status):
        with Server(Manifests(missing=status)) as server:
            assert client.names(where(server).tag("v1"), SUBJECT.digest) is False
            # A 401 that names no scheme is asked about at /v2/; the question itself is not repeated.
            asked = [(asked.method, asked.target) for asked in server.asked if asked.target != "/v2/"]
            assert [method for method, _ in asked] == ["HEAD"]
            with pytest.raises((Unauthorized, Forbidden)):
                client.exists(where(server).tag("v1"))

    def test_a_tag_that_is_there_is_known(self, client):
        with Server(Manifests(SUBJECT, missing=403)) as server:
            reference = where(server).digest(SUBJECT.digest)
            assert client.names(reference, SUBJECT.digest)
            assert not client.names(reference, Digest.of(b"another"))

    def test_a_registry_that_is_out_of_order_is_still_told(self, client):
        with Server(Manifests(missing=503)) as server, pytest.raises(RegistryError, match="503"):
            client.names(where(server).tag("v1"), SUBJECT.digest)

    def test_a_blob_is_sent(self, client):
        def handle(asked):
            if asked.method == "HEAD":
                return Said(403)
            return Said(202, headers={"Location": "/up"}) if asked.method == "POST" else Said(201)

        with Server(handle) as server:
            outcome = client.push_blob(where(server), BLOB, lambda: io.BytesIO(DATA))
            assert outcome is BlobOutcome.MOVED
            assert server.asked[-1].body == DATA

    def test_nothing_refers_to_a_subject_that_may_be_read(self, client):
        with Server(Manifests(SUBJECT, missing=403)) as server:
            assert client.referrers(where(server), SUBJECT.digest) == ()

    def test_a_list_that_may_not_be_read_is_not_taken_for_an_empty_one(self, client):
        with Server(Manifests(missing=403)) as server, pytest.raises(Forbidden):
            client.referrers(where(server), SUBJECT.digest)

    @pytest.mark.parametrize("api", [403, 404])
    def test_a_list_is_begun(self, client, api):
        registry = Manifests(SUBJECT, missing=403, api=lambda asked: Said(api))
        with Server(registry) as server:
            record(client, server, artifact())
            assert registry.listed == [str(artifact().digest)]

    def test_a_list_that_may_not_be_read_is_not_written_again(self, client):
        def handle(asked):
            return Said(201) if asked.method == "PUT" else Said(404 if "/referrers/" in asked.path else 403)

        with Server(handle) as server:
            with pytest.raises(Forbidden):
                record(client, server, artifact())
            assert [asked.method for asked in server.asked].count("PUT") == 1

    def test_a_refused_api_is_reported_to_a_reader_of_the_list(self, client):
        with Server(Manifests(SUBJECT, api=lambda asked: Said(403))) as server, pytest.raises(Forbidden):
            client.referrers(where(server), SUBJECT.digest)

    def test_an_api_that_is_out_of_order_is_reported_to_a_writer(self, client):
        registry = Manifests(api=lambda asked: Said(500))
        with Server(registry) as server, pytest.raises(RegistryError, match="500"):
            record(client, server, artifact())


class TestWhereATagIsReadAsADigest:
    """GitLab takes the tag `sha256-HEX` for the digest `sha256:HEX`, and answers with the subject itself."""

    INDEX = Manifest.parse(
        json.dumps(
            {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [entry(image("child"))]}
        ).encode()
    )

    @pytest.mark.parametrize("subject", [SUBJECT, INDEX], ids=["image", "index"])
    def test_nothing_refers_to_it(self, client, subject):
        with Server(Manifests(subject, reads_tags_as_digests=True)) as server:
            assert client.referrers(where(server), subject.digest) == ()

    @pytest.mark.parametrize("held", [[SUBJECT], []], ids=["subject first", "subject later"])
    def test_an_artifact_is_written_and_its_list_is_missed_aloud(self, client, warnings, held):
        registry = Manifests(*held, reads_tags_as_digests=True)
        with Server(registry) as server:
            record(client, server, artifact())
            assert str(artifact().digest) in registry.held
            (warning,) = warnings
            assert warning == (
                f"{server.address} takes the tag sha256-{SUBJECT.digest.hex} for a digest and keeps no list "
                f"there: {where(server)}@{artifact().digest} was written, and is found by its digest only"
            )
            # A copy writes it again under its tag.
            record(client, server, artifact())
            assert len(warnings) == 1

    def test_another_refusal_of_the_list_is_reported(self, client, warnings):
        def handle(asked):
            if asked.method == "PUT" and asked.path.endswith(SUBJECT.digest.hex):
                return Said(403)
            return registry(asked)

        registry = Manifests(SUBJECT)
        with Server(handle) as server, pytest.raises(Forbidden):
            record(client, server, artifact())
        assert warnings == []


class TestListsOfReferrers:
    """What stands where a list should: `null` is what programs in Go write for an empty one."""

    WRONG = (
        ({}, "has no list `manifests`"),
        ({"manifests": {}}, "manifests is not a list"),
        ({"manifests": "x"}, "manifests is not a list"),
        ({"manifests": False}, "manifests is not a list"),
    )

    def test_that_are_null_are_empty(self, client):
        registry = Manifests(SUBJECT)
        registry.put_list({"manifests": None})
        with Server(registry) as server:
            assert client.referrers(where(server), SUBJECT.digest) == ()
            record(client, server, artifact())
            assert registry.listed == [str(artifact().digest)]

    @pytest.mark.parametrize(("document", "text"), WRONG)
    def test_that_are_none_are_an_error_at_the_source_and_at_the_destination(self, client, document, text):
        registry = Manifests(SUBJECT)
        registry.put_list(document)
        with Server(registry) as server:
            with pytest.raises(InvalidManifest, match=text) as caught:
                client.referrers(where(server), SUBJECT.digest)
            assert f"{where(server)}:sha256-{SUBJECT.digest.hex}" in str(caught.value)
            with pytest.raises(InvalidManifest, match=text):
                record(client, server, artifact())

    @pytest.mark.parametrize("kept", [(), (image("kept"),)], ids=["alone", "with others"])
    def test_that_name_what_was_deleted_are_written_without_it(self, client, kept):
        registry = Checking(SUBJECT, *kept)
        registry.put_list({"manifests": [entry(image("deleted")), *map(entry, kept)], "mine": 1})
        with Server(registry) as server:
            record(client, server, artifact())
            assert registry.listed == sorted(str(one.digest) for one in (artifact(), *kept))
            assert json.loads(registry.held[f"sha256-{SUBJECT.digest.hex}"][1])["mine"] == 1

    def test_that_are_refused_for_another_blob_are_an_error(self, client):
        registry = Checking(SUBJECT, misses_all=True)
        with Server(registry) as server, pytest.raises(RegistryError, match="MANIFEST_BLOB_UNKNOWN"):
            record(client, server, artifact())
        assert len([asked for asked in server.asked if asked.method == "PUT"]) == 2

    def test_of_the_api_that_are_null_are_empty(self, client):
        said = Said(200, {"manifests": None}, {"Content-Type": media.OCI_INDEX})
        with Server(Manifests(api=lambda asked: said)) as server:
            assert client.referrers(where(server), SUBJECT.digest) == ()

    @pytest.mark.parametrize(("document", "text"), WRONG)
    def test_of_the_api_that_are_none_are_an_error(self, client, document, text):
        said = Said(200, document, {"Content-Type": media.OCI_INDEX})
        with Server(Manifests(api=lambda asked: said)) as server:
            with pytest.raises(InvalidManifest, match=text) as caught:
                client.referrers(where(server), SUBJECT.digest)
            assert f"GET {server.url}/v2/a/b/referrers/{SUBJECT.digest}: " in str(caught.value)


class TestTheReferrersApi:
    def test_is_asked_again_where_only_the_repository_was_unknown(self, client):
        unknown = Said(404, {"errors": [{"code": "NAME_UNKNOWN", "message": "no such repository"}]})
        listed = Said(200, {"manifests": [entry(artifact())]}, {"Content-Type": media.OCI_INDEX})
        waiting = [unknown, listed]
        with Server(Manifests(api=lambda asked: waiting.pop(0))) as server:
            assert client.referrers(where(server), SUBJECT.digest) == ()
            assert len(client.referrers(where(server), SUBJECT.digest)) == 1

    def test_is_asked_again_when_the_registry_says_that_it_has_one(self, client):
        def handle(asked):
            if asked.method == "PUT":
                return Said(201, headers={"OCI-Subject": str(SUBJECT.digest)})
            return registry(asked)

        listed = Said(200, {"manifests": [entry(artifact())]}, {"Content-Type": media.OCI_INDEX})
        waiting = [Said(404), listed]
        registry = Manifests(api=lambda asked: waiting.pop(0))
        with Server(handle) as server:
            assert client.referrers(where(server), SUBJECT.digest) == ()
            record(client, server, artifact())
            assert len(client.referrers(where(server), SUBJECT.digest)) == 1


class TestRanges:
    def blob(self, *refused):
        """Serve the blob, broken off at first, and answer 416 to ranges that match one of `refused`."""

        def handle(asked):
            text = asked.headers.get("Range", "")
            if not text:
                return Said(200, DATA, cut=3000 if len(server.asked) == 1 else None)
            if any(re.fullmatch(pattern, text) for pattern in refused):
                return Said(416)
            start = int(re.search("[0-9]+", text)[0])
            return Said(206, DATA[start:], {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"})

        server = Server(handle)
        return server

    @pytest.mark.parametrize(
        ("refused", "ranges"),
        [
            ((), [None, "bytes=3000-"]),
            (("bytes=[0-9]+-",), [None, "bytes=3000-", "bytes=3000-10239"]),
            ((".*",), [None, "bytes=3000-", "bytes=3000-10239", None]),
        ],
        ids=["none", "open", "all"],
    )
    def test_that_a_registry_refuses_are_done_without(self, client, refused, ranges):
        with self.blob(*refused) as server:
            assert read(client, server) == DATA
            assert [asked.headers.get("Range") for asked in server.asked] == ranges


class TestNumbersOfTags:
    def limited(self, status):
        def handle(asked):
            if asked.query.get("n") == ["1000"]:
                return Said(status, {"errors": [{"code": "PAGINATION_NUMBER_INVALID", "message": "no"}]})
            if "last" in asked.query:
                return Said(200, {"tags": ["c"]})
            return Said(200, {"tags": ["a", "b"]}, [("Link", '</v2/a/b/tags/list?last=b>; rel="next"')])

        return Server(handle)

    @pytest.mark.parametrize("status", [400, 405, 406, 413, 416, 422, 501])
    def test_that_a_registry_refuses_are_done_without(self, client, status):
        with self.limited(status) as server:
            assert list(client.tags(where(server))) == ["a", "b", "c"]
            targets = [asked.url.partition("/tags/")[2] for asked in server.asked]
            assert targets == ["list?n=1000", "list", "list?last=b"]

    def test_are_not_the_reason_where_there_is_no_such_repository(self, client):
        with Server(lambda asked: Said(404)) as server:
            with pytest.raises(NotFound):
                list(client.tags(where(server)))
            assert len(server.asked) == 1

    def test_are_not_the_reason_where_it_fails_without_them_too(self, client):
        with Server(lambda asked: Said(400)) as server:
            with pytest.raises(RegistryError, match=r"/tags/list: unexpected status code 400"):
                list(client.tags(where(server)))
            assert len(server.asked) == 2


class TestARegistryThatSaysThatItHasWhatIsDeleted:
    """docker's registry answers from a cache that its garbage collection did not reach."""

    IMAGE = image(layers=[{"mediaType": BLOB.media_type, "digest": str(BLOB.digest), "size": BLOB.size}])

    class Registry:
        """Claims to have the blob, or mounts it, and refuses the manifest until the bytes came."""

        def __init__(self, refusal):
            self.refusal = refusal
            self.sent = []

        def __call__(self, asked):
            if "/manifests/" in asked.path:
                return Said(201) if self.sent else self.refusal
            if asked.method == "HEAD":
                return Said(200)
            if asked.method == "POST":
                is_mount = "mount" in asked.query
                return Said(201) if is_mount else Said(202, headers={"Location": "/up"})
            self.sent.append(asked.body)
            return Said(201)

    @pytest.mark.parametrize(
        "refusal",
        [
            Said(404, {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown"}]}),
            Said(400, {"errors": [{"code": "BLOB_UNKNOWN", "message": "blob unknown"}]}),
            Said(404),
        ],
        ids=["manifest", "blob", "status"],
    )
    @pytest.mark.parametrize("mount", [False, True], ids=["asked", "mounted"])
    def test_gets_it_once_more(self, client, warnings, refusal, mount):
        registry = self.Registry(refusal)
        with Server(registry) as server:
            source = Repository.parse(f"{server.address}/other") if mount else None
            outcome = client.push_blob(where(server), BLOB, lambda: io.BytesIO(DATA), mount_from=source)
            assert outcome is (BlobOutcome.MOUNTED if mount else BlobOutcome.PRESENT)
            client.push_manifest(where(server).tag("v1"), self.IMAGE)
            assert registry.sent == [DATA]
            (warning,) = warnings
            said = f"{where(server)} said that it has blobs of {self.IMAGE.digest}"
            assert warning == f"{said}, and then missed them: sent again"

    def test_gets_what_another_process_saw_there(self, client):
        registry = self.Registry(Said(404))
        with Server(registry) as server:
            client.claim(where(server), BLOB, lambda: io.BytesIO(DATA))
            client.push_manifest(where(server).tag("v1"), self.IMAGE)
            assert registry.sent == [DATA]

    def test_is_reported_when_that_does_not_help(self, client):
        def handle(asked):
            if asked.method == "PUT" and "/manifests/" in asked.path:
                return Said(404)
            return Said(201) if asked.method == "POST" else Said(200)

        with Server(handle) as server:
            client.push_blob(where(server), BLOB, lambda: io.BytesIO(DATA))
            for _ in range(2):
                with pytest.raises(NotFound):
                    client.push_manifest(where(server).tag("v1"), self.IMAGE)
            methods = [asked.method for asked in server.asked]
            assert methods == ["HEAD", "PUT", "POST", "PUT", "PUT", "PUT"]

    @pytest.mark.parametrize("refusals", [1, 2])
    def test_is_given_a_moment_if_it_was_sent(self, client, warnings, refusals):
        refused = iter([Said(404)] * refusals)

        def handle(asked):
            if "/manifests/" in asked.path:
                return next(refused, Said(201))
            if asked.method == "HEAD":
                return Said(404)
            return Said(202, headers={"Location": "/up"}) if asked.method == "POST" else Said(201)

        with Server(handle) as server:
            sent = client.push_blob(where(server), BLOB, lambda: io.BytesIO(DATA))
            assert sent is BlobOutcome.MOVED
            if refusals == 1:
                client.push_manifest(where(server).tag("v1"), self.IMAGE)
            else:
                with pytest.raises(NotFound):
                    client.push_manifest(where(server).tag("v1"), self.IMAGE)
            methods = [asked.method for asked in server.asked]
            assert methods == ["HEAD", "POST", "PUT", "PUT", "PUT"]
        assert warnings == []

    def test_gets_nothing_for_another_refusal(self, client):
        registry = self.Registry(Said(400, {"errors": [{"code": "MANIFEST_INVALID", "message": "no"}]}))
        with Server(registry) as server:
            client.push_blob(where(server), BLOB, lambda: io.BytesIO(DATA))
            with pytest.raises(RegistryError, match="MANIFEST_INVALID"):
                client.push_manifest(where(server).tag("v1"), self.IMAGE)
            assert registry.sent == []

    def test_gets_nothing_that_was_not_offered(self, client):
        registry = self.Registry(Said(404))
        with Server(registry) as server:
            with pytest.raises(NotFound):
                client.push_manifest(where(server).tag("v1"), self.IMAGE)
            assert registry.sent == []

    def test_is_believed_again_after_the_manifest_was_taken(self, client):
        registry = self.Registry(Said(404))
        registry.sent.append(b"before")
        with Server(registry) as server:
            client.push_blob(where(server), BLOB, lambda: io.BytesIO(DATA))
            client.push_manifest(where(server).tag("v1"), self.IMAGE)
            registry.sent.clear()
            with pytest.raises(NotFound):
                client.push_manifest(where(server).tag("v1"), self.IMAGE)
            assert registry.sent == []


class TestManifestsThatAreTwoThings:
    """CVE-2021-41190: one digest, and two programs that see two different things."""

    @pytest.mark.parametrize("kind", [media.OCI_MANIFEST, media.OCI_INDEX, "application/json"])
    def test_are_refused_when_they_list_layers_and_manifests(self, client, kind):
        both = {"schemaVersion": 2, "config": CONFIG, "layers": [], "manifests": []}
        text = "can be read as an image and as an index"
        with (
            Server(lambda asked: Said(200, both, {"Content-Type": kind})) as server,
            pytest.raises(InvalidManifest, match=text),
        ):
            client.manifest(where(server).tag("v1"))

    def test_are_refused_when_they_come_as_another_type_than_their_own(self, client):
        said = {"Content-Type": media.DOCKER_MANIFEST}
        with Server(lambda asked: Said(200, SUBJECT.raw, said)) as server:
            with pytest.raises(InvalidManifest) as caught:
                client.manifest(where(server).tag("v1"))
            assert str(caught.value) == (
                f"GET {server.url}/v2/a/b/manifests/v1: malformed manifest {SUBJECT.digest}: it was "
                f"received as {media.DOCKER_MANIFEST}, but its mediaType is {media.OCI_MANIFEST}"
            )
