"""Copies of several sources in one go: directly, by tar files and by layouts."""

from __future__ import annotations

import json
import pickle
import tarfile

import pytest
from tests.operations.making import make_bundle, make_image, make_index

from imgpkg import errors
from imgpkg.bundle.image import locations_tag
from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage, read_lock
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.access import check_copy
from imgpkg.operations.copy.copy import copy, copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.pull import pull

WAYS = ["repo", "tar", "layout"]


@pytest.fixture
def address(embedded_registry):
    return embedded_registry.address


@pytest.fixture(params=["embedded", "docker"])
def to(request):
    """A repository to copy to, in the small registry and in docker-registry."""
    name = {"embedded": "another_registry", "docker": "docker_registry"}[request.param]
    return f"{request.getfixturevalue(name).address}/inside/several"


@pytest.fixture
def everything(address, session, tmp_path):
    """Two bundles that share an image and of which one names the other, an image, an index and a lock."""
    shared, one, two = (make_image(session, f"{address}/app/{name}", [name]) for name in ("s", "1", "2"))
    inner = make_bundle(session, f"{address}/bundles/inner:v2", {shared: {}, one: {}}, tmp_path / "inner")
    outer = make_bundle(session, f"{address}/bundles/outer:v1", {inner: {}, shared: {}}, tmp_path / "outer")
    index = make_index(session, f"{address}/app/2", {"linux/amd64": two}, tag="multi")
    ImagesLock((LockedImage(two, {"of": "lock"}), LockedImage(one))).write(tmp_path / "images.yml")
    BundleLock(inner, "from-lock").write(tmp_path / "bundle.yml")
    return {"outer": outer, "inner": inner, "shared": shared, "one": one, "two": two, "index": index}


def mixed(address, tmp_path):
    return CopySource(
        bundle=f"{address}/bundles/outer:v1",
        bundles=(f"{address}/bundles/inner:v2",),
        images=(f"{address}/app/2:multi",),
        locks=(tmp_path / "images.yml", tmp_path / "bundle.yml"),
    )


def carried(way, source, to, session, tmp_path, **options):
    """Copy `source` to the repository, through a file where `way` is one."""
    if way != "repo":
        file = tmp_path / f"carried.{way}"
        copy(source, session=session, **{f"to_{way}": file})
        source = CopySource(**{way: file})
    return copy_to_repository(source, to, session=session, **options)


class TestSeveralSources:
    @pytest.mark.parametrize("way", WAYS)
    def test_arrive_whole(self, way, everything, address, to, session, tmp_path):
        result = carried(way, mixed(address, tmp_path), to, session, tmp_path)
        assert {copied.destination.digest for copied in result.images} == {
            reference.digest for reference in everything.values()
        }
        assert result.bundle is None
        assert {copied.destination.digest for copied in result.bundles} == {
            everything["outer"].digest,
            everything["inner"].digest,
        }
        place = Repository.parse(to)
        tags = {"v1": "outer", "v2": "inner", "from-lock": "inner", "multi": "index"}
        for tag, name in tags.items():
            assert session.client.resolve(place.tag(tag)).digest == everything[name].digest
        for name in ("outer", "inner"):
            assert session.client.exists(place.tag(locations_tag(everything[name].digest)))

    @pytest.mark.parametrize("way", WAYS)
    def test_write_one_lock_of_what_was_asked_for(self, way, everything, address, to, session, tmp_path):
        """In the order bundles, images, locks; what a bundle names is in the bundle."""
        out = tmp_path / "out.yml"
        carried(way, mixed(address, tmp_path), to, session, tmp_path, lock_output=out)
        names = ("outer", "inner", "index", "two", "one", "inner")
        got = read_lock(out)
        places = [Repository.parse(to).digest(everything[name].digest) for name in names]
        assert [image.reference for image in got.images] == places
        assert [dict(image.annotations) for image in got.images if image.annotations] == [{"of": "lock"}]

    def test_write_the_same_lock_by_every_way(self, everything, address, another_registry, session, tmp_path):
        to = f"{another_registry.address}/inside/same"
        written = []
        for way in WAYS:
            out = tmp_path / f"{way}.yml"
            carried(way, mixed(address, tmp_path), to, session, tmp_path, lock_output=out)
            written.append(out.read_bytes())
        assert len(set(written)) == 1

    def test_are_pulled_each_from_its_new_place(self, everything, address, to, session, tmp_path):
        carried("tar", mixed(address, tmp_path), to, session, tmp_path)
        pulled = pull(tmp_path / "out", bundle=f"{to}:v1", recursive=True, session=session)
        assert pulled.images_lock.is_updated
        assert [nested.images_lock.is_updated for nested in pulled.nested] == [True]

    def test_write_nothing_the_second_time(self, everything, address, another_registry, session, tmp_path):
        to = f"{another_registry.address}/inside/again"
        carried("repo", mixed(address, tmp_path), to, session, tmp_path)
        preview = preview_copy(mixed(address, tmp_path), to, session=session)
        assert (preview.blobs, preview.size) == (0, 0)
        assert all(image.is_there for image in preview.images)

    def test_given_twice_are_copied_once(self, everything, address, session, tmp_path):
        names = [f"{address}/app/2:multi", f"{address}/app/2:multi"]
        copy_to_tar(CopySource(images=names), tmp_path / "twice.tar", session=session)
        copy_to_tar(CopySource(image=names[0]), tmp_path / "once.tar", session=session)
        assert (tmp_path / "twice.tar").read_bytes() == (tmp_path / "once.tar").read_bytes()

    def test_of_one_field_are_the_same_as_one_source(self, everything, address, session, tmp_path):
        """A list of one leaves the bytes of tar files and the kind of the lock as they are."""
        name = f"{address}/bundles/outer:v1"
        for number, source in enumerate([CopySource(bundle=name), CopySource(bundles=[name])]):
            copy_to_tar(source, tmp_path / f"{number}.tar", session=session)
            lock = tmp_path / f"{number}.yml"
            copy_to_repository(source, f"{address}/inside/one", session=session, lock_output=lock)
        assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()
        assert (tmp_path / "0.yml").read_bytes() == (tmp_path / "1.yml").read_bytes()
        assert isinstance(read_lock(tmp_path / "1.yml"), BundleLock)

    def test_in_a_tar_file_are_readable_by_the_original(self, everything, address, session, tmp_path):
        """Both root bundles have its label, and each image stands in manifest.json once per tag."""
        copy_to_tar(mixed(address, tmp_path), tmp_path / "x.tar", session=session)
        with tarfile.open(tmp_path / "x.tar") as tar:
            items = json.load(tar.extractfile("manifest.json"))
        images = [item["Image"] for item in items if item.get("Image")]
        label = "dev.carvel.imgpkg.copy.root-bundle"
        roots = {image["Tag"] for image in images if label in (image["Labels"] or {})}
        assert roots == {"v1", "v2", "from-lock"}

    def test_take_the_signatures_of_each(self, everything, address, another_registry, session, tmp_path):
        for name in ("one", "index"):
            reference = everything[name]
            tag = f"sha256-{reference.digest.hex}.sig"
            make_image(session, str(reference.repository), [name], tag=tag)
        to = f"{another_registry.address}/inside/signed"
        options = CopyOptions(cosign_signatures=True)
        carried("repo", mixed(address, tmp_path), to, session, tmp_path, options=options)
        for name in ("one", "index"):
            tag = f"sha256-{everything[name].digest.hex}.sig"
            assert session.client.exists(Repository.parse(to).tag(tag)) is not None


class TestOneTagForTwoImages:
    @pytest.fixture
    def source(self, address, session):
        for name in "ab":
            make_image(session, f"{address}/tagged/{name}", [name], tag="latest")
        return CopySource(images=[f"{address}/tagged/{name}:latest" for name in "ab"])

    def test_is_refused_before_anything_is_written(self, source, another_registry, session):
        to = f"{another_registry.address}/inside/clash"
        with pytest.raises(
            errors.UsageError, match=r"one image for the tag 'latest' in .*/inside/clash, and"
        ):
            copy_to_repository(source, to, session=session)
        with pytest.raises(errors.UsageError, match=r"tagged/a@sha256:.* and .*tagged/b@sha256:"):
            preview_copy(source, to, session=session)
        with pytest.raises(errors.NotFound):
            list(session.client.tags(Repository.parse(to)))

    def test_is_refused_in_a_layout_which_would_forget_the_first(self, source, session, tmp_path):
        with pytest.raises(errors.UsageError, match="one image for the tag 'latest'"):
            copy_to_layout(source, tmp_path / "oci", session=session)
        assert not (tmp_path / "oci").exists()

    def test_is_kept_in_a_tar_file_which_has_both_names(self, source, session, tmp_path):
        result = copy_to_tar(source, tmp_path / "x.tar", session=session)
        assert [copied.tag for copied in result.images] == ["latest", "latest"]

    def test_of_the_same_content_is_no_conflict(self, address, another_registry, session):
        for name in "cd":
            make_image(session, f"{address}/tagged/{name}", ["same"], tag="latest")
        source = CopySource(images=[f"{address}/tagged/{name}:latest" for name in "cd"])
        copy_to_repository(source, f"{another_registry.address}/inside/alike", session=session)


class TestASource:
    def test_is_a_value(self):
        source = CopySource(images=["a.io/b", "a.io/c"], locks=["x.yml"])
        assert source == pickle.loads(pickle.dumps(source))
        assert hash(source) == hash(CopySource(images=("a.io/b", "a.io/c"), locks=("x.yml",)))
        assert source.shown == "a.io/b, a.io/c, x.yml"

    @pytest.mark.parametrize("field", ["images", "bundles", "locks"])
    def test_is_not_the_letters_of_a_text(self, field):
        with pytest.raises(errors.UsageError, match=f"Expected a list of {field}, and not the text 'a.io/b'"):
            CopySource(**{field: "a.io/b"})

    @pytest.mark.parametrize("field", ["images", "bundles", "locks"])
    def test_must_not_be_empty(self, field):
        with pytest.raises(errors.UsageError, match="one is empty"):
            CopySource(image="a.io/b", **{field: ("",)}).check()

    @pytest.mark.parametrize("file", [{"tar": "x.tar"}, {"layout": "oci"}])
    def test_is_either_a_file_or_something_else(self, file):
        with pytest.raises(errors.UsageError, match=r"^Expected either --lock"):
            CopySource(images=("a.io/b",), **file).check()

    def test_shows_no_login(self):
        assert "secret" not in CopySource(images=["me:secret@a.io/b", "a.io/c"]).shown


def test_the_way_to_each_is_checked(everything, address, another_registry, session, tmp_path):
    to = f"{another_registry.address}/inside/checked"
    reports = check_copy(mixed(address, tmp_path), to, session=session)
    assert all(report.is_ok for report in reports)
    checked = {str(report.repository).partition("/")[2] for report in reports}
    assert checked == {"bundles/outer", "bundles/inner", "app/2", "app/1", "app/s", "inside/checked"}
