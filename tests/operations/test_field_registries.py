"""Whole operations at registries that hide, refuse, and delete."""

from __future__ import annotations

import io
import json
import random
import re
import shutil
import tarfile

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_bundle, make_image, make_index
from tests.servers.client import ask
from tests.servers.faults import always, refusing

from imgpkg import errors
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.embedded.storage import Storage
from imgpkg.events import Warned
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.description import ImageType
from imgpkg.operations.pull import pull
from imgpkg.operations.push import push
from imgpkg.operations.tag import resolve

# Enough that a push asks whether the layer is there.
LARGE = {"large": random.Random(1).randbytes((1 << 20) + 1000)}


class HidesWhatIsMissing:
    """A virtual repository of Artifactory: 403 to whatever was not put there."""

    def __init__(self):
        self.put = set()

    def __call__(self, request):
        if request.method == "PUT":
            self.put.add(request.path)
        elif request.method in ("GET", "HEAD") and request.path not in self.put and request.path != "/v2/":
            return refusing(403, "DENIED", "you may not see that")
        return None


class TestAPushToARegistryThatHidesWhatIsMissing:
    def test_is_decided_by_the_write(self, session, write_tree):
        with serve(faults=HidesWhatIsMissing()) as server:
            pushed = push([write_tree(LARGE)], image=f"{server.address}/virtual/app:v1", session=session)
            seen = ask(server.address, "HEAD", "/v2/virtual/app/manifests/v1")
            assert seen.headers["docker-content-digest"] == str(pushed.reference.digest)

    def test_is_made_with_the_login_that_the_question_asks_for(self, open_session, write_tree):
        session = open_session(username="u", password="p")
        with serve(login=("u", "p"), faults=HidesWhatIsMissing()) as server:
            push([write_tree(LARGE)], image=f"{server.address}/virtual/app:v1", session=session)
            assert [request.status for request in server.requests].count(401) <= 1

    def test_is_reported_as_a_refused_write_where_nothing_may_be_written(self, session, write_tree):
        text = r"Writing image: POST .*: DENIED: read only$"
        with (
            serve(faults=always(refusing(403, "DENIED", "read only"))) as server,
            pytest.raises(errors.Forbidden, match=text),
        ):
            push([write_tree({"a": "a"})], image=f"{server.address}/virtual/app:v1", session=session)


class TestAPushOfWhatIsThere:
    @pytest.mark.parametrize("command", ["image", "bundle"])
    def test_names_the_tag_that_was_asked_for_when_it_is_refused(self, session, write_tree, command):
        tree = write_tree({"a": "a"})
        if command == "bundle":
            (tree / ".imgpkg").mkdir()
            (tree / ".imgpkg" / "images.yml").write_text(
                "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
            )
        refused = always(refusing(403, "DENIED", "v2 is protected"), method="PUT", path="manifests/v2$")
        with serve(faults=refused) as server:
            push([tree], session=session, **{command: f"{server.address}/there/app:v1"})
            with pytest.raises(errors.Forbidden) as caught:
                push([tree], session=session, **{command: f"{server.address}/there/app:v2"})
            url = f"http://{server.address}/v2/there/app/manifests/v2"
            assert str(caught.value).endswith(
                f": Writing Tag '{server.address}/there/app:v2': Tagging image: PUT {url}: "
                "DENIED: v2 is protected"
            )

    def test_names_the_internal_tag_when_that_is_refused(self, session, write_tree):
        refused = always(refusing(403, "DENIED", "no"), method="PUT", path="imgpkg$")
        text = r": Writing Tag '.*:sha256-[0-9a-f]{64}\.imgpkg': "
        with serve(faults=refused) as server, pytest.raises(errors.Forbidden, match=text):
            push([write_tree({"a": "a"})], image=f"{server.address}/there/app:v1", session=session)


@pytest.fixture
def forgetful(tmp_path):
    """Start a registry from whose storage everything can be taken away: (server, forget)."""
    root = tmp_path / "storage"

    def forget():
        for folder in root.iterdir():
            if folder.name != "uploads":
                shutil.rmtree(folder)

    with serve(storage=Storage(str(root))) as server:
        yield server, forget


class TestASessionThatLivesLong:
    """The content of a registry may be deleted at any time, so that it is requested again."""

    def test_pushes_again_what_was_deleted(self, forgetful, session, write_tree, tmp_path):
        server, forget = forgetful
        image = f"{server.address}/long/app:v1"
        tree = write_tree({**LARGE, "small": "x"})
        for number in range(3):
            pushed = push([tree], image=image, session=session)
            pull(tmp_path / f"out{number}", image=str(pushed.reference), session=session)
            assert read_tree(tmp_path / f"out{number}") == read_tree(tree)
            forget()

    @pytest.mark.parametrize("is_local", [False, True], ids=["registry", "tar"])
    def test_copies_again_what_was_deleted(self, forgetful, embedded_registry, session, tmp_path, is_local):
        server, forget = forgetful
        where = f"{embedded_registry.address}/long/source"
        children = {f"linux/{n}": make_image(session, where, [n, "shared"]) for n in ("amd64", "arm64")}
        index = make_index(session, where, children, tag="v1")
        bundle = make_bundle(session, f"{where}:b1", {index: {}}, tmp_path / "b")
        source = CopySource(bundle=f"{where}:b1")
        if is_local:
            copy_to_tar(source, tmp_path / "b.tar", session=session)
            source = CopySource(tar=str(tmp_path / "b.tar"))
        to = f"{server.address}/long/copy"
        for number in range(3):
            copy_to_repository(source, to, session=session)
            out = tmp_path / f"out{number}"
            pull(out, bundle=f"{to}@{bundle.digest}", session=session)
            pull(tmp_path / f"image{number}", image=f"{to}@{children['linux/arm64'].digest}", session=session)
            forget()

    def test_does_not_resolve_what_was_deleted(self, forgetful, session, write_tree):
        server, forget = forgetful
        pushed = push([write_tree({"a": "a"})], image=f"{server.address}/long/r:v1", session=session)
        assert resolve(str(pushed.reference), session=session) == pushed.reference
        forget()
        with pytest.raises(errors.NotFound):
            resolve(str(pushed.reference), session=session)

    @pytest.mark.parametrize("is_copied", [False, True], ids=["push", "copy"])
    def test_believes_no_cache_that_a_deletion_did_not_reach(
        self, embedded_registry, open_session, write_tree, is_copied, tmp_path
    ):
        warned = []
        session = open_session(on_event=warned.append)
        with serve(faults=always(Fault(answer=ServerResponse(200)), method="HEAD", path="/blobs/")) as server:
            where = f"{server.address}/stale/app"
            if is_copied:
                image = f"{embedded_registry.address}/stale/app:v1"
                push([write_tree(LARGE)], image=image, session=session)
                copy_to_repository(CopySource(image=image), where, session=session)
            else:
                push([write_tree(LARGE)], image=f"{where}:v1", session=session)
            pull(tmp_path / "out", image=f"{where}:v1", session=session)
        assert read_tree(tmp_path / "out") == LARGE
        texts = [event.text for event in warned if isinstance(event, Warned)]
        assert len([text for text in texts if text.endswith("and then missed them: sent again")]) == 1


class ReadsTagsAsDigests:
    """GitLab: the tag `sha256-HEX` is the digest `sha256:HEX`, and there is no referrers API."""

    def __init__(self):
        self.manifests = {}

    def __call__(self, request):
        name = request.path.rpartition("/")[2]
        found = self.manifests.get(name.replace("sha256-", "sha256:"))
        if found is None or not name.startswith("sha256-"):
            return None
        if request.method == "PUT":
            return refusing(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        headers = (("Content-Type", found.media_type), ("Docker-Content-Digest", str(found.digest)))
        return Fault(answer=ServerResponse(200, headers, found.raw))


class TestReferrersWhereATagIsReadAsADigest:
    @pytest.fixture
    def gitlab(self, session, tmp_path):
        """A registry like GitLab's with a bundle of one image; (server, the bundle)."""
        faults = ReadsTagsAsDigests()
        with serve(faults=faults, features=Features(referrers=False)) as server:
            image = make_image(session, f"{server.address}/git/lab")
            bundle = make_bundle(session, f"{server.address}/git/lab:v1", {image: {}}, tmp_path / "b")
            for reference in (image, bundle):
                faults.manifests[str(reference.digest)] = session.client.manifest(reference)
            yield server, bundle

    def test_a_copy_finds_none(self, gitlab, session, embedded_registry):
        _, bundle = gitlab
        to = f"{embedded_registry.address}/from/gitlab"
        options = CopyOptions(referrers=True)
        result = copy_to_repository(CopySource(bundle=str(bundle)), to, session=session, options=options)
        assert len(result.images) == 2

    def test_a_description_finds_none(self, gitlab, session):
        _, bundle = gitlab
        found = describe(str(bundle), session=session, referrers=True)
        assert [info.image_type for info in found.images] == [ImageType.IMAGE]

    def test_a_copy_writes_what_refers_to_an_image_and_warns_that_it_is_in_no_list(
        self, gitlab, open_session, embedded_registry
    ):
        server, bundle = gitlab
        warned = []
        session = open_session(on_event=warned.append)
        where = f"{embedded_registry.address}/to/gitlab"
        subject = session.client.manifest(bundle)
        named = {
            "mediaType": subject.media_type,
            "digest": str(subject.digest),
            "size": len(subject.raw),
        }
        artifact = make_image(session, where, ["signature"], subject=named)
        to = f"{server.address}/git/lab"
        copy_to_repository(CopySource(image=str(artifact)), to, session=session)
        texts = [event.text for event in warned if isinstance(event, Warned)]
        assert [text for text in texts if "is found by its digest only" in text]
        assert (
            session.client.manifest(artifact).raw
            == ask(server.address, "GET", f"/v2/git/lab/manifests/{artifact.digest}").body
        )


class TestAnImageOfSchema1:
    """The manifests of Docker 1.9 and before: nothing here, or in the original, can unpack them."""

    @pytest.fixture
    def image(self, embedded_registry):
        document = {"schemaVersion": 1, "name": "old/app", "tag": "v1", "fsLayers": [], "history": []}
        put = ask(
            embedded_registry.address,
            "PUT",
            "/v2/old/app/manifests/v1",
            json.dumps(document).encode(),
            content_type=media.DOCKER_SCHEMA_1_SIGNED,
        )
        assert put.status == 201
        return f"{embedded_registry.address}/old/app:v1"

    @pytest.mark.parametrize(
        ("options", "kind"),
        [
            ({"kind": "image"}, errors.UsageError),
            ({"kind": "image", "image_is_bundle_check": False}, errors.UsageError),
            ({"kind": "bundle"}, errors.NotABundle),
            ({"kind": "bundle", "recursive": True}, errors.NotABundle),
        ],
        ids=["image", "any image", "bundle", "nested"],
    )
    def test_is_named_as_one(self, session, tmp_path, image, options, kind):
        source = {options.pop("kind"): image}
        with pytest.raises(kind) as caught:
            pull(tmp_path / "out", session=session, **source, **options)
        assert "is an image of Docker's manifest schema 1" in str(caught.value)
        assert media.DOCKER_SCHEMA_1_SIGNED in str(caught.value)
        assert not (tmp_path / "out").exists()


class TestAManifestThatIsTwoThings:
    """CVE-2021-41190, wherever such a manifest comes from."""

    @pytest.fixture
    def two_things(self, embedded_registry, session):
        """An image and its manifest, with a list of manifests beside the layers."""
        reference = make_image(session, f"{embedded_registry.address}/two/things", tag="v1")
        document = json.loads(session.client.manifest(reference).raw)
        return reference, json.dumps({**document, "manifests": []}).encode()

    def test_is_not_taken_by_the_registry(self, embedded_registry, two_things):
        _, raw = two_things
        for kind in (media.DOCKER_MANIFEST, media.OCI_INDEX, None):
            put = ask(embedded_registry.address, "PUT", "/v2/two/things/manifests/v2", raw, content_type=kind)
            assert (put.status, put.code) == (400, "MANIFEST_INVALID")

    def test_is_not_read_from_a_tar_file(self, session, tmp_path, two_things):
        reference, raw = two_things
        path = tmp_path / "x.tar"
        copy_to_tar(CopySource(image=str(reference)), path, session=session)
        _replace_in_tar(path, session.client.manifest(reference).raw, raw)
        with pytest.raises(errors.InvalidManifest, match="as an image and as an index"):
            copy_to_repository(CopySource(tar=str(path)), f"{reference.repository}/from-tar", session=session)

    def test_is_not_read_from_a_layout(self, session, tmp_path, two_things):
        reference, raw = two_things
        layout = tmp_path / "layout"
        copy_to_layout(CopySource(image=str(reference)), layout, session=session)
        _replace_in_layout(layout, raw)
        with pytest.raises(errors.InvalidManifest, match="as an image and as an index"):
            copy_to_repository(
                CopySource(layout=str(layout)), f"{reference.repository}/from-layout", session=session
            )

    def test_is_not_read_under_another_type_from_a_layout(self, session, tmp_path, two_things):
        reference, _ = two_things
        layout = tmp_path / "layout"
        copy_to_layout(CopySource(image=str(reference)), layout, session=session)
        index = json.loads((layout / "index.json").read_bytes())
        index["manifests"][0]["mediaType"] = media.OCI_INDEX
        (layout / "index.json").write_text(json.dumps(index))
        with pytest.raises(
            errors.InvalidManifest, match=f"it was received as {re.escape(media.OCI_INDEX)}, but"
        ):
            copy_to_repository(
                CopySource(layout=str(layout)), f"{reference.repository}/from-layout", session=session
            )


def _replace_in_tar(path, old, new):
    """Replace a manifest in the manifest.json of a tar file, with its digest."""
    with tarfile.open(path) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]
    with tarfile.open(path, "w") as tar:
        for member, data in members:
            if member.name == "manifest.json":
                text = data.decode().replace(str(Digest.of(old)), str(Digest.of(new)))
                assert json.dumps(old.decode()) in text
                written = text.replace(json.dumps(old.decode()), json.dumps(new.decode())).encode()
                member.size = len(written)
                tar.addfile(member, io.BytesIO(written))
            else:
                tar.addfile(member, io.BytesIO(data))


def _replace_in_layout(layout, new):
    index = json.loads((layout / "index.json").read_bytes())
    (entry,) = index["manifests"]
    entry.update(digest=str(Digest.of(new)), size=len(new))
    (layout / "blobs" / "sha256" / Digest.of(new).hex).write_bytes(new)
    (layout / "index.json").write_text(json.dumps(index))
