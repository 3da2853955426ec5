"""Copies of some platforms of indexes: directly, by tar files and by layouts, and what follows from that."""

from __future__ import annotations

import json

import pytest
from tests.operations.making import make_bundle, make_image, make_index, put_manifest
from tests.servers import signatures as made

from imgpkg import errors
from imgpkg.bundle.image import fetch_image, places_tag, signature_tag
from imgpkg.bundle.layer import fetch_locations
from imgpkg.bundle.locations import ImageLocations, Location
from imgpkg.bundle.lock import ImagesLock
from imgpkg.bundle.selection import Selection
from imgpkg.cli.rendering import description_text, preview_text
from imgpkg.events import Message, Warned
from imgpkg.oci import media
from imgpkg.oci.cut import Cut
from imgpkg.oci.platform import entries_for, parse_platforms
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy, copy_to_repository
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.integrity.verify import verify
from imgpkg.operations.jsonform.copies import previewed
from imgpkg.operations.jsonform.descriptions import content_of
from imgpkg.operations.prune.prune import prune_plan
from imgpkg.operations.pull import pull
from imgpkg.trust.key import PublicKey
from imgpkg.trust.policy import Policy

# Where platforms are chosen: at once, when a file is written, or when it is read.
WAYS = ["repo", "to tar", "from tar", "to layout", "from layout"]
KEY = made.MAKERS["p256"]()
POLICY = Policy.signed_by([PublicKey.parse(made.public_pem(KEY), "cosign.pub")])


@pytest.fixture
def address(embedded_registry):
    return embedded_registry.address


@pytest.fixture(params=["embedded", "docker"])
def to(request, tmp_path):
    name = {"embedded": "another_registry", "docker": "docker_registry"}[request.param]
    return f"{request.getfixturevalue(name).address}/inside/{tmp_path.name.replace('_', '-').lower()}x"


@pytest.fixture
def inside(another_registry, tmp_path):
    return f"{another_registry.address}/inside/{tmp_path.name.replace('_', '-').lower()}x"


@pytest.fixture
def app(address, session, tmp_path):
    """An index of three platforms; its images have the name of the platform as content."""
    place = f"{address}/platforms/{tmp_path.name.replace('_', '-').lower()}"
    children = {
        name: make_image(session, place, [name]) for name in ("linux/amd64", "linux/arm64", "linux/s390x")
    }
    return make_index(session, place, children, tag="v1")


@pytest.fixture
def bundle(address, app, session, tmp_path):
    """A bundle of the index and of an image without platforms."""
    plain = make_image(session, f"{address}/team/plain", ["plain"])
    return make_bundle(session, f"{address}/team/bundle:v1", {app: {}, plain: {}}, tmp_path / "bundle")


def options_of(*platforms, **more):
    return CopyOptions(platforms=parse_platforms(platforms), **more)


def carried(way, source, to, session, tmp_path, *platforms, on_event=lambda _: None, lock="", **more):
    """Copy some platforms of `source` to a repository; choose them where `way` says."""
    options = options_of(*platforms, **more)
    if way == "repo":
        return copy_to_repository(
            source, to, session=session, options=options, on_event=on_event, lock_output=lock
        )
    when, _, kind = way.partition(" ")
    file = tmp_path / f"file.{kind}"
    first = options if when == "to" else CopyOptions(**more)
    copy(source, session=session, options=first, on_event=on_event, **{f"to_{kind}": file})
    last = CopyOptions(**more) if when == "to" else options
    source = CopySource(**{kind: file})
    return copy_to_repository(source, to, session=session, options=last, on_event=on_event, lock_output=lock)


def platforms_of(session, reference):
    return [child.platform for child in session.client.manifest(reference).children]


def texts(events):
    return [event.text for event in events if isinstance(event, Warned)]


@pytest.mark.parametrize("way", WAYS)
class TestAnIndex:
    def test_is_cut_to_what_was_asked_for(self, way, app, to, session, tmp_path):
        source = CopySource(image=f"{app.repository}:v1")
        result = carried(way, source, to, session, tmp_path, "linux/arm64/v8,linux/amd64")
        (copied,) = result.images
        assert copied.source == app
        assert copied.destination.digest == copied.cut.result.digest != app.digest
        assert platforms_of(session, copied.destination) == ["linux/amd64", "linux/arm64"]
        place = Repository.parse(to)
        assert session.client.resolve(place.tag("v1")).digest == copied.destination.digest
        for child in session.client.manifest(copied.destination).children:
            assert session.client.manifest(place.digest(child.digest)).is_image
        whole = session.client.manifest(app)
        (left,) = (child for child in whole.children if child.platform == "linux/s390x")
        assert session.client.exists(place.digest(left.digest)) is None

    def test_that_has_nothing_else_stays_whole(self, way, app, to, session, tmp_path):
        source = CopySource(image=str(app))
        result = carried(way, source, to, session, tmp_path, "linux/arm64", "linux/amd64", "linux/s390x")
        assert [(one.destination.digest, one.cut) for one in result.images] == [(app.digest, None)]

    def test_is_in_the_lock_by_its_new_digest(self, way, app, to, session, tmp_path):
        path = tmp_path / "lock.yml"
        source = CopySource(image=str(app))
        result = carried(way, source, to, session, tmp_path, "linux/amd64", lock=path)
        (locked,) = ImagesLock.from_path(path).images
        assert locked.reference == result.images[0].destination
        assert locked.annotations == {
            "dev.carvel.imgpkg.cut-from": str(app),
            "dev.carvel.imgpkg.platforms": "linux/amd64",
        }

    def test_in_a_lock_keeps_the_annotations_of_the_lock(self, way, app, to, session, tmp_path):
        source, path = tmp_path / "source.yml", tmp_path / "lock.yml"
        head = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
        source.write_text(f"{head}- image: {app}\n  annotations: {{a: b}}\n")
        carried(way, CopySource(lock=source), to, session, tmp_path, "linux/amd64", lock=path)
        (locked,) = ImagesLock.from_path(path).images
        assert locked.annotations["a"] == "b"
        assert locked.annotations["dev.carvel.imgpkg.cut-from"] == str(app)
        assert platforms_of(session, locked.reference) == ["linux/amd64"]

    def test_of_no_such_platform_is_an_error_that_names_what_is_there(self, way, app, to, session, tmp_path):
        with pytest.raises(errors.UsageError) as caught:
            carried(way, CopySource(image=str(app)), to, session, tmp_path, "windows/amd64")
        assert str(caught.value).split("\n")[0] == "1 image is not there for windows/amd64"
        assert f"  {app} has linux/amd64, linux/arm64, linux/s390x" in str(caught.value)
        assert session.client.exists(Repository.parse(to).digest(app.digest)) is None

    def test_of_some_platforms_only_causes_a_warning(self, way, app, to, session, tmp_path):
        seen = []
        wanted = ("linux/amd64", "windows/amd64")
        carried(way, CopySource(image=str(app)), to, session, tmp_path, *wanted, on_event=seen.append)
        assert f"{app} is not there for windows/amd64; it has linux/amd64, linux/arm64, linux/s390x" in texts(
            seen
        )


@pytest.mark.parametrize("way", WAYS)
class TestABundle:
    def test_comes_with_a_record_of_what_was_cut(self, way, bundle, app, to, session, tmp_path):
        carried(way, CopySource(bundle=str(bundle)), to, session, tmp_path, "linux/amd64")
        place = Repository.parse(to)
        assert session.client.exists(place.tag(places_tag(bundle.digest))) is not None
        out = tmp_path / "out"
        pulled = pull(out, bundle=str(place.digest(bundle.digest)), session=session)
        first, second = ImagesLock.from_path(out / ".imgpkg/images.yml").images
        assert pulled.images_lock.is_updated
        assert first.reference.repository == second.reference.repository == place
        assert platforms_of(session, first.reference) == ["linux/amd64"]

    def test_is_described_with_what_was_cut(self, way, bundle, app, to, session, tmp_path):
        carried(way, CopySource(bundle=str(bundle)), to, session, tmp_path, "linux/amd64", "linux/arm64")
        found = describe(str(Repository.parse(to).digest(bundle.digest)), session=session)
        (image,) = (one for one in found.images if one.cut_from)
        assert (image.origin, image.cut_from) == (str(app), str(app.digest))
        assert image.platforms == ("linux/amd64", "linux/arm64")
        assert image.key != str(app.digest)
        text = "".join(description_text(found, layers=False))
        assert f"  Cut From: {app.digest}\n" in text
        assert "  Platforms: linux/amd64, linux/arm64\n" in text
        fields = content_of(found)["content"]["images"][image.key]
        assert (fields["cutFrom"], fields["platforms"]) == (str(app.digest), ["linux/amd64", "linux/arm64"])

    def test_is_copied_on_as_it_is(self, way, bundle, app, to, inside, session, tmp_path):
        carried(way, CopySource(bundle=str(bundle)), f"{to}-one", session, tmp_path, "linux/amd64")
        first = Repository.parse(f"{to}-one").digest(bundle.digest)
        result = copy_to_repository(CopySource(bundle=str(first)), f"{to}-two", session=session)
        (copied,) = (one for one in result.images if one.cut is not None)
        assert copied.cut.whole.digest == app.digest
        found = describe(str(Repository.parse(f"{to}-two").digest(bundle.digest)), session=session)
        assert [one.platforms for one in found.images if one.cut_from] == [("linux/amd64",)]

    def test_is_the_same_when_it_is_copied_again(self, way, bundle, to, session, tmp_path):
        place, found = Repository.parse(to), []
        for _ in range(2):
            carried(way, CopySource(bundle=str(bundle)), to, session, tmp_path, "linux/amd64")
            names = session.client.tags(place)
            found.append({name: session.client.resolve(place.tag(name)).digest for name in names})
        assert found[0] == found[1]

    def test_is_whole_for_verify(self, way, bundle, to, session, tmp_path):
        carried(way, CopySource(bundle=str(bundle)), to, session, tmp_path, "linux/amd64")
        report = verify(bundle=str(Repository.parse(to).digest(bundle.digest)), session=session)
        assert report.defects == ()


class TestWhatWasCutBefore:
    def test_can_be_cut_further(self, bundle, app, inside, session, tmp_path):
        wanted = ("linux/amd64", "linux/arm64")
        carried("repo", CopySource(bundle=str(bundle)), f"{inside}-one", session, tmp_path, *wanted)
        first = Repository.parse(f"{inside}-one").digest(bundle.digest)
        result = carried("to tar", CopySource(bundle=str(first)), inside, session, tmp_path, "linux/arm64")
        (copied,) = (one for one in result.images if one.cut is not None)
        assert copied.cut.whole.digest == app.digest
        assert platforms_of(session, copied.destination) == ["linux/arm64"]

    def test_is_read_as_a_whole_where_the_part_was_deleted(self, bundle, app, inside, session, tmp_path):
        carried("repo", CopySource(bundle=str(bundle)), f"{inside}-one", session, tmp_path, "linux/amd64")
        place = Repository.parse(f"{inside}-one")
        record = fetch_locations(session.client, describe_root(session, place, bundle))
        (there,) = record.record.places().values()
        session.client.delete_manifest(there.repository, there.digest)
        source = CopySource(bundle=str(place.digest(bundle.digest)))
        result = copy_to_repository(source, f"{inside}-two", session=session)
        assert app.digest in {one.destination.digest for one in result.images}
        assert all(one.cut is None for one in result.images)


def describe_root(session, place, bundle):
    return fetch_image(session.client, place.digest(bundle.digest))


class TestAnIndexInAnIndex:
    def test_is_cut_too(self, address, session, inside, tmp_path):
        place = f"{address}/nested/{tmp_path.name.replace('_', '-').lower()}"
        amd, arm, power = (make_image(session, place, [name]) for name in ("amd", "arm", "power"))
        below = make_index(session, place, {"linux/amd64": amd, "linux/arm64": arm})
        gone = make_index(session, place, {"linux/ppc64le": power})
        children = [entry(session, below), entry(session, gone)]
        document = {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": children,
            "annotations": {"a": "b"},
        }
        top = put_manifest(session, Repository.parse(place), document, "v1")
        for way in WAYS:
            to, folder = f"{inside}-{way.replace(' ', '-')}", tmp_path / way.replace(" ", "-")
            folder.mkdir()
            result = carried(way, CopySource(image=str(top)), to, session, folder, "linux/arm64")
            manifest = session.client.manifest(result.images[0].destination)
            assert dict(manifest.annotations) == {"a": "b"}
            (child,) = manifest.children
            assert platforms_of(session, Repository.parse(to).digest(child.digest)) == ["linux/arm64"]


def entry(session, reference):
    found = session.client.manifest(reference)
    return {"mediaType": found.media_type, "digest": str(found.digest), "size": len(found.raw)}


class TestSignatures:
    @pytest.mark.parametrize("way", WAYS)
    @pytest.mark.parametrize("put", [made.put_signature, made.put_bundle])
    def test_of_the_whole_index_are_verified_before_and_after_the_cut(
        self, way, put, app, inside, session, tmp_path
    ):
        put(session, app, KEY)
        seen = []
        result = carried(
            way,
            CopySource(image=str(app)),
            inside,
            session,
            tmp_path,
            "linux/amd64",
            attachments=True,
            policy=POLICY,
            on_event=seen.append,
        )
        assert [one.signers for one in result.verified] == [("cosign.pub",)]
        assert any("1 index with signatures" in text for text in texts(seen))

    def test_of_another_index_are_not_enough(self, app, inside, session, tmp_path):
        source = CopySource(image=str(app))
        with pytest.raises(errors.Untrusted):
            carried("repo", source, inside, session, tmp_path, "linux/amd64", policy=POLICY)

    @pytest.mark.parametrize("way", WAYS)
    def test_of_images_that_are_left_out_stay_behind(self, way, app, inside, session, tmp_path):
        children = session.client.manifest(app).children
        by_platform = {child.platform: app.repository.digest(child.digest) for child in children}
        for reference in by_platform.values():
            made.put_signature(session, reference, KEY)
        source = CopySource(image=str(app))
        carried(way, source, inside, session, tmp_path, "linux/amd64", attachments=True)
        place = Repository.parse(inside)
        tags = {name: signature_tag(reference.digest) for name, reference in by_platform.items()}
        there = {name for name, tag in tags.items() if session.client.exists(place.tag(tag)) is not None}
        assert there == {"linux/amd64"}

    def test_of_what_is_attached_to_images_left_out_stay_behind(self, app, inside, session, tmp_path):
        (_, arm, _) = session.client.manifest(app).children
        child = app.repository.digest(arm.digest)
        attestation = made.put_attestation(session, child, KEY)
        made.put_signature(session, attestation, KEY)
        source = CopySource(image=str(app))
        for way in WAYS[:3]:
            result = carried(way, source, inside, session, tmp_path, "linux/amd64", attachments=True)
            assert [one.source for one in result.images] == [app]

    def test_of_a_whole_index_stay_when_a_repository_is_pruned(self, bundle, app, inside, session, tmp_path):
        made.put_signature(session, app, KEY)
        source = CopySource(bundle=str(bundle))
        carried("repo", source, inside, session, tmp_path, "linux/amd64", attachments=True)
        place = Repository.parse(inside)
        plan = prune_plan(str(place), keep=[str(bundle.digest)], session=session)
        tag = signature_tag(app.digest)
        assert tag in {name for one in plan.kept for name in one.tags}
        assert plan.removed == ()


class TestAFile:
    @pytest.mark.parametrize("kind", ["tar", "layout"])
    def test_is_verified_and_described(self, kind, bundle, app, session, tmp_path):
        file = tmp_path / "file"
        options = options_of("linux/amd64")
        copy(CopySource(bundle=str(bundle)), session=session, options=options, **{f"to_{kind}": file})
        report = verify(session=session, **{kind: file})
        assert report.defects == ()
        found = describe(session=session, **{kind: file})
        assert [one.platforms for one in found.images if one.cut_from] == [("linux/amd64",)]

    def test_with_a_proof_of_something_else_is_refused(self, bundle, app, inside, session, tmp_path):
        file = tmp_path / "file"
        options = options_of("linux/amd64")
        copy(CopySource(image=str(app)), session=session, options=options, to_layout=file)
        whole = json.loads((file / "index.json").read_text())
        for one in whole["manifests"]:
            label = json.loads(one["annotations"]["dev.carvel.imgpkg.copy.cut-index"])
            label["keptDigests"] = []
            one["annotations"]["dev.carvel.imgpkg.copy.cut-index"] = json.dumps(label)
        (file / "index.json").write_text(json.dumps(whole))
        with pytest.raises(
            errors.ArchiveError, match=r"the label dev.carvel.imgpkg.copy.cut-index of .* is that of"
        ):
            copy_to_repository(CopySource(layout=file), inside, session=session)

    def test_with_a_damaged_proof_has_a_defect(self, app, session, tmp_path):
        file = tmp_path / "file.tar"
        copy(CopySource(image=str(app)), session=session, options=options_of("linux/amd64"), to_tar=file)
        file.write_bytes(file.read_bytes().replace(b"keptDigests", b"lostDigests"))
        (defect,) = verify(session=session, tar=file).defects
        assert "the label dev.carvel.imgpkg.copy.cut-index" in defect.reason
        with pytest.raises(errors.ArchiveError, match=r"cut-index of .* is damaged"):
            describe(session=session, tar=file)


class TestAPreview:
    def test_names_what_would_be_cut(self, bundle, app, inside, session):
        found = preview_copy(
            CopySource(bundle=str(bundle)), inside, session=session, options=options_of("linux/arm64")
        )
        (image,) = (one for one in found.images if one.cut is not None)
        assert (image.reference, image.manifests) == (app, 2)
        assert image.destination.digest == image.cut.result.digest
        assert ", cut to linux/arm64" in "".join(preview_text(found, inside))
        (fields,) = (one for one in previewed(found)["images"] if one["platforms"])
        assert fields["platforms"] == ["linux/arm64"]


class TestARecordOfACut:
    def test_is_refused_for_another_part_than_it_proves(self, app, session):
        whole = session.client.manifest(app)
        cut = cut_to(whole, "linux/amd64")
        other = cut_to(whole, "linux/arm64")
        place = app.repository.digest(other.result.digest)
        record = ImageLocations((Location(str(app), is_bundle=False, place=str(place), cut=cut),))
        with pytest.raises(errors.InvalidLock, match="is another image"):
            ImageLocations.parse(record.to_bytes()).places()

    def test_is_read_as_it_was_written(self, app, session):
        cut = cut_to(session.client.manifest(app), "linux/amd64")
        place = app.repository.digest(cut.result.digest)
        record = ImageLocations((Location(str(app), is_bundle=False, place=str(place), cut=cut),))
        read = ImageLocations.parse(record.to_bytes())
        assert read == record
        assert read.to_bytes() == record.to_bytes()
        assert read.places() == {app.digest: place}

    def test_is_refused_without_its_index(self):
        head = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImageLocations\n"
        text = f"{head}images:\n- image: x\n  keptDigests: []\n"
        with pytest.raises(
            errors.InvalidLock, match="Location of x: Reading from which index it was cut: no index"
        ):
            ImageLocations.parse(text.encode())


def cut_to(whole, *platforms):
    kept = (one.digest for one in entries_for(whole, parse_platforms(platforms)))
    return Cut.make([whole], kept)


class TestWhatIsNoIndex:
    def test_is_copied_as_it_is(self, address, inside, session, tmp_path):
        image = make_image(session, f"{address}/team/plain", ["plain"])
        result = carried("repo", CopySource(image=str(image)), inside, session, tmp_path, "linux/arm64")
        assert result.images[0].destination.digest == image.digest

    def test_chosen_by_a_pattern_goes_with_platforms(self, bundle, app, inside, session, tmp_path):
        selection = Selection(include=("*/platforms/*",))
        source = CopySource(bundle=str(bundle))
        result = carried("repo", source, inside, session, tmp_path, "linux/amd64", selection=selection)
        assert len(result.images) == 2
        found = describe(str(Repository.parse(inside).digest(bundle.digest)), session=session)
        assert [one.platforms for one in found.images if one.cut_from] == [("linux/amd64",)]


def test_a_log_says_how_much_was_cut(app, inside, session):
    seen = []
    options = options_of("linux/amd64")
    copy_to_repository(
        CopySource(image=str(app)), inside, session=session, options=options, on_event=seen.append
    )
    assert "copy | cut 1 index to linux/amd64\n" in [one.text for one in seen if isinstance(one, Message)]
