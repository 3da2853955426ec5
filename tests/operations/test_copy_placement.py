"""Copies into several repositories: what is where, what the records and locks say, what is sent."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.operations.making import make_bundle, make_image, make_index, put_blob, put_manifest
from tests.servers.docker import docker_registry_process, token_section
from tests.servers.faults import refusing
from tests.servers.token_service import TokenService, User

from imgpkg.bundle.image import Image
from imgpkg.bundle.lock import BundleLock, ImagesLock
from imgpkg.bundle.placement import KeptNames, MapRule, Placement
from imgpkg.embedded.server import serve
from imgpkg.errors import UsageError
from imgpkg.events import Message, Warned
from imgpkg.oci import media
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.access import check_copy
from imgpkg.operations.copy.collection import Collected
from imgpkg.operations.copy.copy import copy, copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.places import places_of
from imgpkg.operations.copy.plan import Item, Node, OpenedSource, Root, TransferPlan
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.pull import pull
from imgpkg.session import Session
from imgpkg.settings import Login, Settings

KEEP = CopyOptions(placement=Placement(keep=KeptNames.PATHS))
WRITES = ("PUT", "POST", "PATCH")


def mapping(*rules, keep=KeptNames.NONE, **more):
    return CopyOptions(placement=Placement(tuple(map(MapRule.parse, rules)), keep), **more)


class Made:
    """An outer bundle that names two images and an inner bundle, which names one of them again."""

    def __init__(self, session, address, folder):
        self.app = make_image(session, f"{address}/team/app", ["shared", "app"])
        self.db = make_image(session, f"{address}/other/db", ["shared", "db"])
        self.inner = make_bundle(session, f"{address}/team/inner:v3", {self.db: {}}, folder / "inner")
        named = {self.app: {"note": "first"}, self.inner: {}, self.db: {}}
        self.outer = make_bundle(session, f"{address}/team/outer:v1", named, folder / "outer")
        self.source = CopySource(bundle=f"{self.outer.repository}:v1")
        self.all = (self.app, self.db, self.inner, self.outer)


@pytest.fixture
def made(embedded_registry, session, tmp_path):
    return Made(session, embedded_registry.address, tmp_path)


@pytest.fixture(params=["small registry", "docker-registry"])
def inside(request, another_registry, tmp_path):
    """The repository to copy to; no other test uses it."""
    found = another_registry
    if request.param == "docker-registry":
        found = request.getfixturevalue("docker_registry")
    return f"{found.address}/mirror/{tmp_path.name.replace('_', '-')[-40:].strip('-')}"


@pytest.fixture
def to(another_registry, tmp_path):
    return f"{another_registry.address}/m/{tmp_path.name.replace('_', '-')[-60:].strip('-')}"


def tags(session, where):
    return set(session.client.tags(Repository.parse(where)))


def lock_of(folder):
    return [str(image.reference) for image in ImagesLock.from_path(folder / ".imgpkg" / "images.yml").images]


def from_file(source, way, session, tmp_path):
    if way == "tar":
        copy_to_tar(source, tmp_path / "x.tar", session=session)
        return CopySource(tar=tmp_path / "x.tar")
    if way == "layout":
        copy_to_layout(source, tmp_path / "layout", session=session)
        return CopySource(layout=tmp_path / "layout")
    return source


class Counting:
    """Counts the requests that a registry receives while the block runs."""

    def __init__(self, registry):
        self._registry = registry

    def __enter__(self):
        self._before = len(self._registry.requests)
        return self

    def __exit__(self, *exception):
        self.requests = self._registry.requests[self._before :]
        self.methods = Counter(request.method for request in self.requests)


@pytest.mark.parametrize("way", ["registry", "tar", "layout"])
class TestABundle:
    def test_is_pulled_with_the_references_of_the_new_places(self, made, inside, session, tmp_path, way):
        source = from_file(made.source, way, session, tmp_path)
        lock = tmp_path / "lock.yml"
        result = copy_to_repository(source, inside, session=session, options=KEEP, lock_output=lock)
        names = {
            made.app: "team/app",
            made.db: "other/db",
            made.inner: "team/inner",
            made.outer: "team/outer",
        }
        expected = {image: f"{inside}/{name}@{image.digest}" for image, name in names.items()}
        assert {copied.source: str(copied.destination) for copied in result.images} == expected
        written = BundleLock.from_path(lock)
        assert (str(written.reference), written.tag) == (expected[made.outer], "v1")
        pulled = pull(tmp_path / "out", lock=lock, recursive=True, session=session)
        assert lock_of(tmp_path / "out") == [expected[made.app], expected[made.inner], expected[made.db]]
        (nested,) = pulled.nested
        assert str(nested.reference) == expected[made.inner]
        assert lock_of(tmp_path / "out" / ".imgpkg" / "bundles" / f"sha256-{made.inner.digest.hex}") == [
            expected[made.db]
        ]

    def test_is_described_where_it_is(self, made, inside, session, tmp_path, way):
        source = from_file(made.source, way, session, tmp_path)
        result = copy_to_repository(source, inside, session=session, options=KEEP)
        found = describe(str(result.bundle.destination), session=session)
        images = {image.image for image in found.images if image.image_type.value == "Image"}
        assert images == {f"{inside}/team/app@{made.app.digest}", f"{inside}/other/db@{made.db.digest}"}
        assert [inner.image for inner in found.bundles] == [f"{inside}/team/inner@{made.inner.digest}"]

    def test_has_no_record_that_the_original_takes_for_one_repository(
        self, made, inside, session, tmp_path, way
    ):
        source = from_file(made.source, way, session, tmp_path)
        copy_to_repository(source, inside, session=session, options=KEEP)
        assert {tag.partition(".")[2] for tag in tags(session, f"{inside}/team/outer")} == {
            "",
            "imgpkg",
            "image-places.imgpkg",
        }

    def test_is_not_written_again(self, made, to, another_registry, session, tmp_path, way):
        source = from_file(made.source, way, session, tmp_path)
        options = mapping(keep=KeptNames.PATHS, to_tags=("stable",))
        copy_to_repository(source, to, session=session, options=options)
        with Counting(another_registry) as again:
            copy_to_repository(source, to, session=session, options=options)
        assert again.methods.keys() <= {"HEAD", "GET"}


def written_blobs(requests):
    """Return the digests that were uploaded, and those that were mounted, with where from."""
    uploads, mounts = [], []
    for request in requests:
        query = dict(request.query)
        if request.method == "PUT" and "/blobs/uploads/" in request.path:
            uploads.append(query["digest"])
        if request.method == "POST" and "mount" in query and request.status == 201:
            mounts.append((query["mount"], query["from"]))
    return uploads, mounts


class TestBlobs:
    @pytest.mark.parametrize("way", ["registry", "tar", "layout"])
    def test_are_sent_once_and_mounted_into_the_other_repositories(
        self, made, to, another_registry, session, tmp_path, way
    ):
        source = from_file(made.source, way, session, tmp_path)
        with Counting(another_registry) as requests:
            copy_to_repository(source, to, session=session, options=KEEP)
        uploads, mounts = written_blobs(requests.requests)
        shared = str(session.client.manifest(made.app).layers[0].digest)
        assert uploads.count(shared) == 1
        assert [digest for digest, _ in mounts] == [shared]
        # Two bundles and the image of one each have a record with a configuration of its own.
        assert len(uploads) == len(set(uploads))

    def test_are_mounted_from_the_source_within_one_registry(
        self, made, embedded_registry, session, tmp_path
    ):
        to = f"{embedded_registry.address}/within/{tmp_path.name[-20:].replace('_', '-').strip('-')}"
        with Counting(embedded_registry) as requests:
            copy_to_repository(made.source, to, session=session, options=KEEP)
        uploads, mounts = written_blobs(requests.requests)
        layers = [str(blob.digest) for image in made.all for blob in session.client.manifest(image).layers]
        assert not set(layers) & set(uploads)
        assert sorted(digest for digest, _ in mounts if digest in layers) == sorted(layers)

    def test_are_sent_where_a_mount_is_refused(self, made, session, tmp_path):
        def refuse(request):
            is_mount = request.method == "POST" and request.parameter("mount")
            return refusing(403, "DENIED", "no mounts") if is_mount else None

        with serve(faults=refuse) as server:
            result = copy_to_repository(made.source, f"{server.address}/mm", session=session, options=KEEP)
            pulled = pull(
                tmp_path / "out", bundle=str(result.bundle.destination), recursive=True, session=session
            )
        assert pulled.images_lock.is_spread


class TestARule:
    def test_puts_images_into_another_registry(self, made, embedded_registry, to, session, tmp_path):
        with serve() as third:
            rule = f"{embedded_registry.address}/other={third.address}/db"
            result = copy_to_repository(made.source, to, session=session, options=mapping(rule))
            assert {copied.source: str(copied.destination.repository) for copied in result.images} == {
                made.app: to,
                made.inner: to,
                made.outer: to,
                made.db: f"{third.address}/db/db",
            }
            pull(tmp_path / "out", bundle=f"{to}:v1", session=session)
        assert lock_of(tmp_path / "out") == [
            f"{to}@{made.app.digest}",
            f"{to}@{made.inner.digest}",
            f"{third.address}/db/db@{made.db.digest}",
        ]

    def test_that_puts_all_into_one_repository_leaves_the_record_of_the_original(
        self, made, embedded_registry, to, session
    ):
        rules = [
            f"{embedded_registry.address}/{name}={to}/one"
            for name in ("team/app", "other/db", "team/inner", "team/outer")
        ]
        copy_to_repository(made.source, to, session=session, options=mapping(*rules))
        assert f"sha256-{made.outer.digest.hex}.image-locations.imgpkg" in tags(session, f"{to}/one")

    def test_finds_the_names_of_a_bundle_that_was_copied_before(
        self, made, embedded_registry, to, session, tmp_path
    ):
        """From one repository and from several: the names are those of the images lock."""
        first = f"{embedded_registry.address}/staging/{tmp_path.name.replace('_', '-')[-30:].strip('-')}"
        for number, options in enumerate((CopyOptions(), KEEP)):
            staged = copy_to_repository(made.source, f"{first}{number}", session=session, options=options)
            result = copy_to_repository(
                CopySource(bundle=str(staged.bundle.destination)),
                f"{to}{number}",
                session=session,
                options=mapping(f"{embedded_registry.address}/other={to}{number}/o", keep=KeptNames.PATHS),
            )
            places = {copied.source.digest: str(copied.destination.repository) for copied in result.images}
            assert places[made.app.digest] == f"{to}{number}/team/app"
            assert places[made.db.digest] == f"{to}{number}/o/db"

    def test_places_the_images_of_a_lock(self, made, embedded_registry, to, session, tmp_path):
        lock, output = tmp_path / "images.yml", tmp_path / "new.yml"
        lock.write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
            f"- image: {made.db}\n  annotations:\n    a: b\n- image: {made.app}\n"
        )
        copy_to_repository(CopySource(lock=lock), to, session=session, options=KEEP, lock_output=output)
        written = ImagesLock.from_path(output).images
        assert [str(image.reference) for image in written] == [
            f"{to}/other/db@{made.db.digest}",
            f"{to}/team/app@{made.app.digest}",
        ]
        assert dict(written[0].annotations) == {"a": "b"}

    def test_places_one_digest_of_two_names_in_both(self, embedded_registry, to, session, tmp_path):
        address = embedded_registry.address
        one, two = (make_image(session, f"{address}/twin/{name}", ["twin"]) for name in ("a", "b"))
        inner = make_bundle(session, f"{address}/twin/inner", {two: {}}, tmp_path / "inner")
        outer = make_bundle(session, f"{address}/twin/outer", {one: {}, inner: {}}, tmp_path / "outer")
        result = copy_to_repository(CopySource(bundle=str(outer)), to, session=session, options=KEEP)
        pull(tmp_path / "out", bundle=str(result.bundle.destination), recursive=True, session=session)
        assert lock_of(tmp_path / "out")[0] == f"{to}/twin/a@{one.digest}"
        nested = tmp_path / "out" / ".imgpkg" / "bundles" / f"sha256-{inner.digest.hex}"
        assert lock_of(nested) == [f"{to}/twin/b@{two.digest}"]


class TestWhatIsAttached:
    @pytest.mark.parametrize("way", ["registry", "tar", "layout"])
    def test_goes_where_its_subject_goes(self, embedded_registry, inside, session, tmp_path, way):
        where = f"{embedded_registry.address}/signed/app"
        child = make_image(session, where, ["child"])
        index = make_index(session, where, {"linux/amd64": child}, tag="v1")
        signature = f"sha256-{index.digest.hex}.sig"
        make_image(session, where, ["signature"], tag=signature)
        repository = Repository.parse(where)
        document = {
            "schemaVersion": 2,
            "mediaType": media.OCI_MANIFEST,
            "config": put_blob(session, repository, b"{}", "application/vnd.oci.empty.v1+json"),
            "layers": [put_blob(session, repository, b"sbom", "text/spdx+json")],
            "artifactType": "text/spdx+json",
        }
        manifest = session.client.manifest(child)
        about = {"mediaType": manifest.media_type, "digest": str(child.digest), "size": len(manifest.raw)}
        sbom = put_manifest(session, repository, {**document, "subject": about})
        options = mapping(
            f"{where}={inside}/chosen", keep=KeptNames.PATHS, cosign_signatures=True, referrers=True
        )
        source = CopySource(image=f"{where}:v1")
        if way != "registry":
            both = CopyOptions(cosign_signatures=True, referrers=True)
            write = copy_to_tar if way == "tar" else copy_to_layout
            write(source, tmp_path / "file", session=session, options=both)
            source = CopySource(**{way: tmp_path / "file"})
        copy_to_repository(source, inside, session=session, options=options)
        chosen = Repository.parse(f"{inside}/chosen")
        assert {"v1", signature} <= tags(session, str(chosen))
        assert session.client.exists(chosen.digest(sbom.digest)) is not None
        assert session.client.exists(chosen.digest(child.digest)) is not None

    @pytest.mark.parametrize("way", ["registry", "tar", "layout"])
    def test_goes_along_to_any_depth(self, embedded_registry, to, session, tmp_path, way):
        where = f"{embedded_registry.address}/deep/app"
        image = make_image(session, where, ["image"], tag="v1")
        attestation = f"sha256-{image.digest.hex}.att"
        found = make_image(session, where, ["attestation"], tag=attestation)
        signature = f"sha256-{found.digest.hex}.sig"
        make_image(session, where, ["signature of the attestation"], tag=signature)
        source = from_attached(CopySource(image=f"{where}:v1"), way, session, tmp_path)
        options = mapping(f"{where}={to}/chosen", attachments=True, to_tags=("stable",))
        copy_to_repository(source, to, session=session, options=options)
        assert {"v1", "stable", attestation, signature} <= tags(session, f"{to}/chosen")

    def test_to_each_other_in_a_circle_is_placed_by_its_name(self, embedded_registry, session):
        """Manifests cannot contain each other's digest; tags of cosign can name anything."""
        where = f"{embedded_registry.address}/circle/app"
        one, two = (make_image(session, where, [text]) for text in ("one", "two"))
        roots = tuple(
            Root(
                Item(image, f"sha256-{other.digest.hex}.sig"),
                Node(Image(image, session.client.manifest(image))),
            )
            for image, other in ((one, two), (two, one))
        )
        opened = OpenedSource(Collected(tuple(root.item for root in roots)), TransferPlan(roots, {}), open)
        home = Repository.parse("inside.example/mirror")
        places = places_of(opened, home, Placement(keep=KeptNames.PATHS))
        assert [str(place.repository) for place in places.places] == ["inside.example/mirror/circle/app"]


def from_attached(source, way, session, tmp_path):
    """Return the source, or a file that was made of it with all that is attached."""
    if way == "registry":
        return source
    write = copy_to_tar if way == "tar" else copy_to_layout
    write(source, tmp_path / "attached", session=session, options=CopyOptions(attachments=True))
    return CopySource(**{way: tmp_path / "attached"})


class TestNames:
    def test_of_many_that_would_become_one_are_counted(self, session, tmp_path):
        with serve() as one, serve() as two, serve() as inside:
            images = [
                make_image(session, f"{server.address}/many/app{number}", [f"{server.address} {number}"])
                for server in (one, two)
                for number in range(7)
            ]
            bundle = make_bundle(
                session, f"{one.address}/many/b", {image: {} for image in images}, tmp_path / "b"
            )
            with pytest.raises(UsageError, match="and 2 more"):
                copy_to_repository(
                    CopySource(bundle=str(bundle)), f"{inside.address}/mm", session=session, options=KEEP
                )

    def test_that_would_become_one_are_refused_before_anything_is_written(self, session, tmp_path):
        with serve() as one, serve() as two, serve() as inside:
            images = [
                make_image(session, f"{server.address}/team/app", [server.address]) for server in (one, two)
            ]
            bundle = make_bundle(
                session, f"{one.address}/team/b", {image: {} for image in images}, tmp_path / "b"
            )
            to, source = f"{inside.address}/mm", CopySource(bundle=str(bundle))
            for act in (copy_to_repository, preview_copy, check_copy):
                with pytest.raises(UsageError) as caught:
                    act(source, to, session=session, options=KEEP)
                first, second = sorted((one.address, two.address))
                assert f"{first}/team/app, {second}/team/app in {to}/team/app" in str(caught.value)
            assert not [request for request in inside.requests if request.method in WRITES]
            copy_to_repository(source, to, session=session, options=mapping(keep=KeptNames.HOSTS))
            host = one.address.replace(":", "-")
            assert tags(session, f"{to}/{host}/team/app")
            rules = mapping(f"{one.address}/team/app={to}/x", f"{two.address}/team/app={to}/x")
            copy_to_repository(source, to, session=session, options=rules)

    def test_are_for_repositories_only(self, made, session, tmp_path):
        with pytest.raises(UsageError, match="are for copies to a repository only"):
            copy(made.source, to_tar=tmp_path / "x.tar", session=session, options=KEEP)


class TestThePreview:
    def test_shows_each_place_and_its_credential(self, made, to, session):
        preview = preview_copy(made.source, to, session=session, options=KEEP)
        places = {image.reference: str(image.destination) for image in preview.images}
        assert places[made.db] == f"{to}/other/db@{made.db.digest}"
        written = [str(d.repository) for d in preview.credentials if str(d.repository).startswith(to)]
        assert sorted(written) == [
            f"{to}/{name}" for name in ("other/db", "team/app", "team/inner", "team/outer")
        ]
        assert preview.mountable == 1
        copy_to_repository(made.source, to, session=session, options=KEEP)
        after = preview_copy(made.source, to, session=session, options=KEEP)
        assert all(image.is_there for image in after.images)
        assert after.blobs == 0


class TestTheCheck:
    @pytest.mark.parametrize("way", ["registry", "tar"])
    def test_is_of_each_place(self, made, to, session, tmp_path, way):
        source = from_file(made.source, way, session, tmp_path)
        reports = check_copy(source, to, session=session, options=KEEP)
        pushed = [str(report.repository) for report in reports if report.push]
        assert sorted(pushed) == [
            f"{to}/{name}" for name in ("other/db", "team/app", "team/inner", "team/outer")
        ]
        assert all(report.is_ok for report in reports)


class TestAnOldRecord:
    def test_of_one_repository_goes_on_and_is_named(self, made, embedded_registry, to, session, tmp_path):
        rule = f"{embedded_registry.address}/team/outer={to}"
        copy_to_repository(made.source, to, session=session)
        seen = []
        options = mapping(rule, keep=KeptNames.PATHS)
        copy_to_repository(made.source, to, session=session, options=options, on_event=seen.append)
        (warning,) = [event.text for event in seen if isinstance(event, Warned)]
        assert f"sha256-{made.outer.digest.hex}.image-locations.imgpkg" in warning
        pull(tmp_path / "out", bundle=f"{to}:v1", session=session)
        assert lock_of(tmp_path / "out")[0] == f"{to}@{made.app.digest}"


class TestAPull:
    def test_says_that_the_images_are_in_several_repositories(self, made, to, session, tmp_path):
        result = copy_to_repository(made.source, to, session=session, options=KEEP)
        seen = []
        pulled = pull(
            tmp_path / "out", bundle=str(result.bundle.destination), session=session, on_event=seen.append
        )
        assert pulled.images_lock.is_spread
        assert pulled.is_cacheable
        last = [event.text for event in seen if isinstance(event, Message)][-1]
        assert last.startswith(f"The images of the bundle ({to}/team/outer) are in the repositories that ")


RIGHTS = {
    "mirror/team/*": "pull,push",
    "mirror/other/*": "pull,push",
}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """docker-registry with a token service that knows who may do what where."""
    folder = tmp_path_factory.mktemp("rights")
    users = {
        "both": User("pass-both", RIGHTS),
        "one": User("pass-one", {"mirror/team/*": "pull,push"}),
    }
    with (
        TokenService(users) as service,
        docker_registry_process(folder, auth=token_section(folder, service)) as address,
    ):
        yield address, service


class TestRights:
    """A login for each repository: a token service that knows who may do what, and docker-registry."""

    @pytest.mark.parametrize("way", ["registry", "tar"])
    def test_of_each_repository_are_asked_for(self, made, guarded, session, tmp_path, way):
        address, service = guarded
        source = from_file(made.source, way, session, tmp_path)
        with Session(Settings(login=Login("both", "pass-both"))) as writer:
            result = copy_to_repository(
                source, f"{address}/mirror", session=writer, source_session=session, options=KEEP
            )
            pull(tmp_path / "out", bundle=str(result.bundle.destination), recursive=True, session=writer)
        assert lock_of(tmp_path / "out")[0] == f"{address}/mirror/team/app@{made.app.digest}"
        scopes = {scope for request in service.requests for scope in request.scopes}
        pushed = {scope.split(":")[1] for scope in scopes if "push" in scope}
        assert {f"mirror/{name}" for name in ("team/app", "other/db", "team/inner", "team/outer")} <= pushed

    @pytest.mark.parametrize("way", ["registry", "tar"])
    def test_come_from_the_login_of_each_path(self, made, session, tmp_path, way):
        """No login may read what the other one writes, so that nothing is mounted between them."""
        users = {
            "team": User("pass-team", {"mirror/team/*": "pull,push"}),
            "other": User("pass-other", {"mirror/other/*": "pull,push"}),
        }
        source = from_file(made.source, way, session, tmp_path)
        (tmp_path / "registry").mkdir()
        with (
            TokenService(users) as service,
            docker_registry_process(
                tmp_path / "registry", auth=token_section(tmp_path / "registry", service)
            ) as address,
        ):
            environ = {"HOME": str(tmp_path)}
            for user, found in users.items():
                environ[f"IMGPKG_REGISTRY_HOSTNAME_{user}"] = f"{address}/mirror/{user}"
                environ[f"IMGPKG_REGISTRY_USERNAME_{user}"] = user
                environ[f"IMGPKG_REGISTRY_PASSWORD_{user}"] = found.password
            with Session(Settings(environ=environ)) as writer:
                to = f"{address}/mirror"
                preview = preview_copy(source, to, session=writer, source_session=session, options=KEEP)
                names = {str(d.repository): d.credential.username for d in preview.credentials}
                result = copy_to_repository(source, to, session=writer, source_session=session, options=KEEP)
                pull(tmp_path / "out", bundle=str(result.bundle.destination), recursive=True, session=writer)
        assert (names[f"{to}/team/app"], names[f"{to}/other/db"]) == ("team", "other")
        assert lock_of(tmp_path / "out")[2] == f"{to}/other/db@{made.db.digest}"

    def test_that_are_missing_fail_the_check_by_name(self, made, guarded, session):
        address, _ = guarded
        with Session(Settings(login=Login("one", "pass-one"))) as writer:
            reports = check_copy(
                made.source, f"{address}/mirror", session=writer, source_session=session, options=KEEP
            )
        failed = [str(report.repository) for report in reports if not report.is_ok]
        assert failed == [f"{address}/mirror/other/db"]
