"""Manifests, tags, referrers and the catalog of the embedded registry."""

from __future__ import annotations

import json
import re

import pytest
from tests.servers.client import ask
from tests.servers.images import OCI_INDEX, OCI_MANIFEST, make_image, sha256, upload

from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve

REPOSITORY = "/v2/team/app"


@pytest.fixture
def server():
    with serve() as running:
        yield running


def put(server, reference, body, media_type=OCI_MANIFEST):
    return ask(server.address, "PUT", f"{REPOSITORY}/manifests/{reference}", body, content_type=media_type)


class TestAManifest:
    def test_comes_back_as_it_went_by_tag_and_by_digest(self, server):
        image = make_image()
        upload(image, server.address, "team/app", "v1")
        for reference in ("v1", image.digest, image.digest.replace(":", "%3A")):
            reply = ask(server.address, "GET", f"{REPOSITORY}/manifests/{reference}")
            assert (reply.status, reply.body) == (200, image.manifest)
            assert reply.headers["content-type"] == image.media_type
            assert reply.headers["docker-content-digest"] == image.digest

    def test_says_where_it_is(self, server):
        image = make_image()
        upload(image, server.address, "team/app")
        reply = put(server, "v1", image.manifest)
        assert (reply.status, reply.headers["location"]) == (201, f"{REPOSITORY}/manifests/{image.digest}")
        assert reply.headers["docker-content-digest"] == image.digest

    def test_has_a_head(self, server):
        image = make_image()
        upload(image, server.address, "team/app", "v1")
        reply = ask(server.address, "HEAD", f"{REPOSITORY}/manifests/v1")
        assert (reply.status, reply.body) == (200, b"")
        assert reply.headers["content-length"] == str(len(image.manifest))

    def test_may_be_an_index_of_what_is_there(self, server):
        index = make_image(index=[make_image(), make_image(labels={"a": "b"})])
        upload(index, server.address, "team/app", "v1")
        assert ask(server.address, "GET", f"{REPOSITORY}/manifests/v1").headers["content-type"] == OCI_INDEX

    def test_may_move_a_tag(self, server):
        old, new = make_image(), make_image(labels={"a": "b"})
        upload(old, server.address, "team/app", "v1")
        upload(new, server.address, "team/app", "v1")
        assert ask(server.address, "GET", f"{REPOSITORY}/manifests/v1").body == new.manifest
        assert ask(server.address, "GET", f"{REPOSITORY}/manifests/{old.digest}").body == old.manifest

    @pytest.mark.parametrize("reference", ["v1", "sha256:" + "0" * 64, ".hidden", "sha256:12"])
    def test_that_is_not_there_is_unknown(self, server, reference):
        for method in ("GET", "DELETE"):
            reply = ask(server.address, method, f"{REPOSITORY}/manifests/{reference}")
            assert (reply.status, reply.code) == (404, "MANIFEST_UNKNOWN")
        assert ask(server.address, "HEAD", f"{REPOSITORY}/manifests/{reference}").status == 404

    def test_of_another_repository_is_unknown(self, server):
        image = make_image()
        upload(image, server.address, "team/other", "v1")
        assert ask(server.address, "GET", f"{REPOSITORY}/manifests/{image.digest}").status == 404

    def test_under_another_digest_is_refused(self, server):
        image = make_image()
        upload(image, server.address, "team/app")
        assert put(server, sha256(b"other"), image.manifest).code == "DIGEST_INVALID"

    def test_whose_parts_are_missing_is_refused(self, server):
        image = make_image()
        reply = put(server, "v1", image.manifest)
        assert (reply.status, reply.code) == (404, "MANIFEST_BLOB_UNKNOWN")
        upload(image, server.address, "team/elsewhere")
        index = make_image(index=[image])
        assert put(server, "v1", index.manifest, OCI_INDEX).code == "MANIFEST_BLOB_UNKNOWN"
        assert ask(server.address, "GET", f"{REPOSITORY}/tags/list").code == "NAME_UNKNOWN"

    def test_may_miss_layers_that_registries_do_not_pass_on(self, server):
        image = make_image()
        upload(image, server.address, "team/app")
        document = json.loads(image.manifest)
        foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        document["layers"].append({"mediaType": foreign, "digest": sha256(b"not here"), "size": 8})
        assert put(server, "v1", json.dumps(document).encode()).status == 201

    @pytest.mark.parametrize("body", [b"", b"no json", b"[]", b"{}", b'{"layers": 1}'])
    def test_that_is_none_is_refused(self, server, body):
        reply = put(server, "v1", body)
        assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")

    def test_of_another_type_than_it_says_is_refused(self, server):
        image = make_image()
        upload(image, server.address, "team/app")
        assert put(server, "v1", image.manifest, OCI_INDEX).code == "MANIFEST_INVALID"

    @pytest.mark.parametrize("kind", [OCI_MANIFEST, OCI_INDEX, None])
    def test_that_is_an_image_and_an_index_is_refused(self, server, kind):
        image = make_image()
        upload(image, server.address, "team/app")
        document = {**json.loads(image.manifest), "manifests": []}
        document.pop("mediaType")
        reply = put(server, "v1", json.dumps(document).encode(), kind)
        assert (reply.status, reply.code) == (400, "MANIFEST_INVALID")
        assert "as an image and as an index" in reply.json["errors"][0]["message"]

    def test_that_does_not_say_its_type_has_that_of_the_request(self, server):
        image = make_image()
        upload(image, server.address, "team/app")
        document = json.loads(image.manifest)
        del document["mediaType"]
        docker = "application/vnd.docker.distribution.manifest.v2+json"
        assert put(server, "v1", json.dumps(document).encode(), docker).status == 201
        assert ask(server.address, "HEAD", f"{REPOSITORY}/manifests/v1").headers["content-type"] == docker
        assert put(server, "v2", json.dumps(document).encode(), None).status == 201
        reply = ask(server.address, "HEAD", f"{REPOSITORY}/manifests/v2")
        assert reply.headers["content-type"] == OCI_MANIFEST

    def test_over_four_megabytes_is_refused(self, server):
        reply = put(server, "v1", b" " * ((4 << 20) + 1))
        assert (reply.status, reply.code) == (413, "SIZE_INVALID")

    def test_under_an_impossible_tag_is_refused(self, server):
        for tag in (".hidden", "-x", "a" * 129, "a%20b", "..", "%2e%2e"):
            assert put(server, tag, make_image().manifest).code == "TAG_INVALID"


class TestDeleting:
    def test_a_manifest_takes_its_tags_along(self, server):
        image, other = make_image(), make_image(labels={"a": "b"})
        for tag in ("v1", "latest"):
            upload(image, server.address, "team/app", tag)
        upload(other, server.address, "team/app", "v2")
        assert ask(server.address, "DELETE", f"{REPOSITORY}/manifests/{image.digest}").status == 202
        assert ask(server.address, "GET", f"{REPOSITORY}/tags/list").json["tags"] == ["v2"]
        assert ask(server.address, "GET", f"{REPOSITORY}/manifests/v1").status == 404

    def test_a_tag_leaves_its_manifest(self, server):
        image = make_image()
        upload(image, server.address, "team/app", "v1")
        assert ask(server.address, "DELETE", f"{REPOSITORY}/manifests/v1").status == 202
        assert ask(server.address, "GET", f"{REPOSITORY}/tags/list").json["tags"] == []
        assert ask(server.address, "GET", f"{REPOSITORY}/manifests/{image.digest}").status == 200

    def test_can_be_switched_off(self):
        with serve(features=Features(delete=False)) as server:
            assert ask(server.address, "DELETE", f"{REPOSITORY}/manifests/v1").status == 405


class TestTags:
    TAGS = ("a", "b", "c", "latest", "v1.0")

    @pytest.fixture
    def tagged(self, server):
        for tag in reversed(self.TAGS):
            upload(make_image(), server.address, "team/app", tag)
        return server

    def test_are_listed_in_order(self, tagged):
        reply = ask(tagged.address, "GET", f"{REPOSITORY}/tags/list")
        assert reply.json == {"name": "team/app", "tags": list(self.TAGS)}
        assert "link" not in reply.headers

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 100])
    def test_come_in_pages_that_lead_to_the_next(self, tagged, count):
        assert self.walk(tagged, f"{REPOSITORY}/tags/list?n={count}") == list(self.TAGS)

    def test_come_in_pages_of_the_registrys_own_size(self):
        with serve(features=Features(page_size=2)) as server:
            for tag in self.TAGS:
                upload(make_image(), server.address, "team/app", tag)
            for query in ("", "?n=1000"):
                assert self.walk(server, f"{REPOSITORY}/tags/list{query}") == list(self.TAGS)
            assert len(ask(server.address, "GET", f"{REPOSITORY}/tags/list?n=1000").json["tags"]) == 2

    def walk(self, server, path):
        tags = []
        for _ in range(10):
            reply = ask(server.address, "GET", path)
            tags += reply.json["tags"]
            link = re.fullmatch(r'<(.+)>; rel="next"', reply.headers.get("link", ""))
            if link is None:
                return tags
            path = link[1]
        raise AssertionError(path)

    def test_go_on_after_any_name(self, tagged):
        reply = ask(tagged.address, "GET", f"{REPOSITORY}/tags/list?last=bb")
        assert reply.json["tags"] == ["c", "latest", "v1.0"]

    def test_may_be_asked_for_none(self, tagged):
        reply = ask(tagged.address, "GET", f"{REPOSITORY}/tags/list?n=0")
        assert (reply.status, reply.json["tags"]) == (200, [])

    @pytest.mark.parametrize("count", ["-1", "x", "1.5", "", "9" * 30, "%C2%B2"])
    def test_cannot_be_asked_for_by_an_impossible_number(self, tagged, count):
        reply = ask(tagged.address, "GET", f"{REPOSITORY}/tags/list?n={count}")
        assert (reply.status, reply.code) == (400, "PAGINATION_NUMBER_INVALID")

    def test_of_an_unknown_repository_are_unknown(self, server):
        reply = ask(server.address, "GET", "/v2/nobody/here/tags/list")
        assert (reply.status, reply.code) == (404, "NAME_UNKNOWN")


class TestTheCatalog:
    def test_lists_every_repository(self, server):
        for name in ("team/app", "team", "a/b/c"):
            upload(make_image(), server.address, name, "v1")
        assert ask(server.address, "GET", "/v2/_catalog").json == {
            "repositories": ["a/b/c", "team", "team/app"]
        }
        page = ask(server.address, "GET", "/v2/_catalog?n=1")
        assert page.json == {"repositories": ["a/b/c"]}
        assert page.headers["link"] == '</v2/_catalog?last=a%2Fb%2Fc&n=1>; rel="next"'

    def test_of_nothing_is_empty(self, server):
        assert ask(server.address, "GET", "/v2/_catalog").json == {"repositories": []}

    def test_can_be_switched_off(self):
        with serve(features=Features(catalog=False)) as server:
            assert ask(server.address, "GET", "/v2/_catalog").status == 404


class TestReferrers:
    def attach(self, server, subject, **more):
        attached = make_image(layers=(), subject=subject.descriptor(), **more)
        for blob in attached.blobs:
            path = f"{REPOSITORY}/blobs/uploads/?digest={sha256(blob)}"
            assert ask(server.address, "POST", path, blob).status == 201
        reply = put(server, attached.digest, attached.manifest)
        assert reply.status == 201
        return attached, reply

    def test_of_an_image_are_an_index(self, server):
        image = make_image()
        upload(image, server.address, "team/app", "v1")
        signature, reply = self.attach(server, image, artifactType="test/signature", annotations={"a": "b"})
        assert reply.headers["oci-subject"] == image.digest
        plain, _ = self.attach(server, image)
        listed = ask(server.address, "GET", f"{REPOSITORY}/referrers/{image.digest}")
        assert (listed.status, listed.headers["content-type"]) == (200, OCI_INDEX)
        config_type = "application/vnd.oci.image.config.v1+json"
        expected = [
            signature.descriptor(artifactType="test/signature", annotations={"a": "b"}),
            plain.descriptor(artifactType=config_type),
        ]
        assert sorted(listed.json["manifests"], key=str) == sorted(expected, key=str)

    def test_may_say_what_no_utf_8_can(self, server):
        image = make_image()
        upload(image, server.address, "team/app", "v1")
        more = {"artifactType": "test/odd", "annotations": {"a": "\ud800"}}
        odd, _ = self.attach(server, image, **more)
        listed = ask(server.address, "GET", f"{REPOSITORY}/referrers/{image.digest}")
        assert listed.json["manifests"] == [odd.descriptor(**more)]

    def test_can_be_filtered_by_type(self, server):
        image = make_image()
        for kind in ("test/signature", "test/sbom"):
            self.attach(server, image, artifactType=kind)
        path = f"{REPOSITORY}/referrers/{image.digest}?artifactType=test%2Fsbom"
        reply = ask(server.address, "GET", path)
        assert [entry["artifactType"] for entry in reply.json["manifests"]] == ["test/sbom"]
        assert reply.headers["oci-filters-applied"] == "artifactType"

    def test_may_be_indexes(self, server):
        image = make_image()
        upload(image, server.address, "team/app", "v1")
        index = make_image(index=[image], subject=image.descriptor())
        put(server, index.digest, index.manifest, OCI_INDEX)
        (entry,) = ask(server.address, "GET", f"{REPOSITORY}/referrers/{image.digest}").json["manifests"]
        assert entry == index.descriptor()

    def test_of_nothing_are_none(self, server):
        reply = ask(server.address, "GET", f"/v2/nobody/here/referrers/{sha256(b'x')}")
        assert (reply.status, reply.json["manifests"]) == (200, [])

    def test_go_when_they_are_deleted(self, server):
        image = make_image()
        attached, _ = self.attach(server, image)
        assert ask(server.address, "DELETE", f"{REPOSITORY}/manifests/{attached.digest}").status == 202
        assert ask(server.address, "GET", f"{REPOSITORY}/referrers/{image.digest}").json["manifests"] == []

    def test_of_an_impossible_digest_are_refused(self, server):
        reply = ask(server.address, "GET", f"{REPOSITORY}/referrers/latest")
        assert (reply.status, reply.code) == (400, "DIGEST_INVALID")

    def test_are_unknown_to_older_registries(self):
        with serve(features=Features(referrers=False)) as server:
            image = make_image()
            upload(image, server.address, "team/app", "v1")
            _, reply = self.attach(server, image)
            assert "oci-subject" not in reply.headers
            assert ask(server.address, "GET", f"{REPOSITORY}/referrers/{image.digest}").status == 404


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "../../etc",
            "a/../b",
            "%2e%2e/%2e%2e/etc",
            "a/..%2f..",
            "_uploads",
            "a/_tags",
            "a//b",
            "A/b",
            "a/.b",
            "a\\b",
            "a%00b",
            "a%0ab",
            "a" * 256,
            "-a",
            "a/",
        ],
    )
    def test_that_are_none_are_refused_everywhere(self, server, name):
        digest = sha256(b"x")
        for method, rest in [
            ("GET", "manifests/v1"),
            ("PUT", "manifests/v1"),
            ("GET", f"blobs/{digest}"),
            ("POST", "blobs/uploads/"),
            ("PATCH", "blobs/uploads/x"),
            ("GET", "tags/list"),
            ("GET", f"referrers/{digest}"),
        ]:
            reply = ask(server.address, method, f"/v2/{name}/{rest}")
            assert (reply.status, reply.code) == (400, "NAME_INVALID")

    @pytest.mark.parametrize(
        "name", ["a", "a/b/c/d", "a.b_c__d-e---f/0", "blobs/uploads", "manifests", "tags/list"]
    )
    def test_that_are_some_work_everywhere(self, server, name):
        image = make_image()
        upload(image, server.address, name, "v1")
        assert ask(server.address, "GET", f"/v2/{name}/manifests/v1").body == image.manifest
        assert ask(server.address, "GET", f"/v2/{name}/tags/list").json["tags"] == ["v1"]


class TestEndpoints:
    @pytest.mark.parametrize("path", ["/v2/", "/v2"])
    def test_the_first_one_says_that_this_is_a_registry(self, server, path):
        reply = ask(server.address, "GET", path)
        assert (reply.status, reply.json) == (200, {})
        assert reply.headers["docker-distribution-api-version"] == "registry/2.0"

    @pytest.mark.parametrize(
        "path", ["/", "/v1/", "/v2/team/app", "/v2/team/app/x/y", "/token", "/v3/_catalog"]
    )
    def test_that_are_none_are_not_found(self, server, path):
        assert ask(server.address, "GET", path).status == 404

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("POST", "/v2/", "GET, HEAD"),
            ("PUT", "/v2/_catalog", "GET, HEAD"),
            ("PATCH", "/v2/a/manifests/v1", "DELETE, GET, HEAD, PUT"),
            ("POST", f"/v2/a/blobs/{'sha256:' + '0' * 64}", "DELETE, GET, HEAD"),
            ("GET", "/v2/a/blobs/uploads/", "POST"),
            ("DELETE", "/v2/a/tags/list", "GET, HEAD"),
        ],
    )
    def test_say_which_methods_they_know(self, server, method, path, allowed):
        reply = ask(server.address, method, path)
        assert (reply.status, reply.code, reply.headers["allow"]) == (405, "UNSUPPORTED", allowed)
