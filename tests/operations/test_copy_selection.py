"""Copies of a part of what bundles and locks name: directly, by tar files and by layouts."""

from __future__ import annotations

import pytest
from tests.operations.making import make_bundle, make_image

from imgpkg import errors
from imgpkg.bundle.graph import distinct
from imgpkg.bundle.image import locations_tag, places_tag, signature_tag
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.bundle.selection import Selection
from imgpkg.cli.rendering import preview_text
from imgpkg.events import Message, Warned
from imgpkg.oci.reference import Reference, Repository
from imgpkg.operations.copy.access import check_copy
from imgpkg.operations.copy.copy import copy, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.delete import delete_image
from imgpkg.operations.describe import describe
from imgpkg.operations.jsonform.copies import previewed
from imgpkg.operations.pull import pull

# Where the choice is made: at once, when a file is written, or when it is read.
WAYS = ["repo", "to tar", "from tar", "to layout", "from layout"]


@pytest.fixture
def address(embedded_registry):
    return embedded_registry.address


@pytest.fixture(params=["embedded", "docker"])
def to(request, tmp_path):
    name = {"embedded": "another_registry", "docker": "docker_registry"}[request.param]
    return f"{request.getfixturevalue(name).address}/inside/{tmp_path.name.replace('_', '-').lower()}x"


@pytest.fixture
def bundle(address, session, tmp_path):
    """A bundle of a web image, a database, and a bundle with the web image and one of its own."""
    web, db, own = (make_image(session, f"{address}/team/{name}", [name]) for name in ("web", "db", "own"))
    inner = make_bundle(session, f"{address}/team/inner:v1", {own: {}, web: {}}, tmp_path / "inner")
    names = {web: {"tier": "web"}, db: {"tier": "db"}, inner: {"tier": "more"}}
    outer = make_bundle(session, f"{address}/team/outer:v1", names, tmp_path / "outer")
    return {"web": web, "db": db, "own": own, "inner": inner, "outer": outer}


def chosen(*, way, source, to, session, tmp_path, **patterns):
    """Copy what the patterns choose of `source` to a repository; choose where `way` says."""
    options = CopyOptions(selection=Selection(**patterns))
    if way == "repo":
        return copy_to_repository(source, to, session=session, options=options)
    when, _, kind = way.partition(" ")
    file = tmp_path / f"file.{kind}"
    first = options if when == "to" else CopyOptions()
    copy(source, session=session, options=first, **{f"to_{kind}": file})
    last = CopyOptions() if when == "to" else options
    return copy_to_repository(CopySource(**{kind: file}), to, session=session, options=last)


def digests(result, bundle):
    names = {reference.digest: name for name, reference in bundle.items()}
    return {names[copied.destination.digest] for copied in result.images}


@pytest.fixture
def carry(address, bundle, to, session, tmp_path):
    def carried(way, **patterns):
        source = CopySource(bundle=f"{address}/team/outer:v1")
        return chosen(way=way, source=source, to=to, session=session, tmp_path=tmp_path, **patterns)

    return carried


@pytest.mark.parametrize("way", WAYS)
class TestABundle:
    def test_comes_without_what_is_excluded(self, way, carry, bundle, address):
        result = carry(way, exclude=(f"{address}/team/db",))
        assert digests(result, bundle) == {"outer", "inner", "web", "own"}

    def test_comes_with_what_is_included_and_always_itself(self, way, carry, bundle, address):
        result = carry(way, include=(f"{address}/team/web",))
        assert digests(result, bundle) == {"outer", "web"}

    def test_comes_without_an_inner_bundle_and_what_only_that_names(self, way, carry, bundle):
        result = carry(way, exclude=("*/inner",))
        assert digests(result, bundle) == {"outer", "web", "db"}

    def test_is_chosen_from_by_the_annotations_of_its_lock(self, way, carry, bundle):
        result = carry(way, exclude_annotations=("tier=[dm]*",))
        assert digests(result, bundle) == {"outer", "web"}

    def test_keeps_the_old_places_of_what_it_lacks_in_a_pull(self, way, carry, bundle, to, session, tmp_path):
        carry(way, exclude=("*/db",))
        seen = []
        pulled = pull(
            tmp_path / "out", bundle=f"{to}:v1", recursive=True, session=session, on_event=seen.append
        )
        lock = ImagesLock.from_path(tmp_path / "out/.imgpkg/images.yml")
        place = Repository.parse(to)
        assert [image.reference for image in lock.images] == [
            place.digest(bundle["web"].digest),
            bundle["db"],
            place.digest(bundle["inner"].digest),
        ]
        assert pulled.images_lock.left_out == (bundle["db"],)
        assert pulled.images_lock.is_updated
        assert not pulled.is_cacheable
        warnings = [event.text for event in seen if isinstance(event, Warned)]
        assert [str(bundle["db"]) in text for text in warnings] == [True]
        assert [nested.images_lock.left_out for nested in pulled.nested] == [()]

    def test_has_a_record_that_other_programs_do_not_take_for_a_whole_one(
        self, way, carry, bundle, to, session
    ):
        carry(way, exclude=("*/db",))
        tags = set(session.client.tags(Repository.parse(to)))
        assert locations_tag(bundle["outer"].digest) not in tags
        assert places_tag(bundle["outer"].digest) in tags
        # The inner one is whole.
        assert locations_tag(bundle["inner"].digest) in tags
        assert places_tag(bundle["inner"].digest) not in tags


class TestWhatIsLeftOut:
    def test_is_in_the_result_and_in_the_log(self, address, bundle, another_registry, session):
        seen = []
        options = CopyOptions(selection=Selection(exclude=("*/db",)))
        result = copy_to_repository(
            CopySource(bundle=str(bundle["outer"])),
            f"{another_registry.address}/inside/listed",
            session=session,
            options=options,
            on_event=seen.append,
        )
        (left,) = result.unselected
        assert (left.reference, left.named_by) == (bundle["db"], str(bundle["outer"]))
        said = [event.text for event in seen if isinstance(event, Message)]
        assert f"copy | leaving out {bundle['db']}, which {bundle['outer']} names\n" in said

    @pytest.mark.parametrize("way", ["repo", "tar", "layout"])
    def test_is_in_the_preview(self, way, bundle, another_registry, session, tmp_path):
        source = CopySource(bundle=str(bundle["outer"]))
        if way != "repo":
            copy(source, session=session, **{f"to_{way}": tmp_path / "file"})
            source = CopySource(**{way: tmp_path / "file"})
        options = CopyOptions(selection=Selection(exclude=("*/db", "*/inner")))
        to = f"{another_registry.address}/inside/previewed"
        preview = preview_copy(source, to, session=session, options=options)
        left = {str(bundle["db"]), str(bundle["inner"])}
        assert {one["image"] for one in previewed(preview)["unselected"]} == left
        text = "".join(preview_text(preview, to))
        assert all(f"  {one} of {bundle['outer']}\n" in text for one in left)

    def test_is_never_requested(self, address, bundle, another_registry, embedded_registry, session):
        before = len(embedded_registry.requests)
        options = CopyOptions(selection=Selection(exclude=("*/db",)))
        to = f"{another_registry.address}/inside/silent"
        copy_to_repository(CopySource(bundle=str(bundle["outer"])), to, session=session, options=options)
        asked = [request.path for request in embedded_registry.requests[before:]]
        assert not any(str(bundle["db"].digest) in path for path in asked)

    def test_need_not_be_within_reach_of_a_description_or_a_pull(
        self, dead_images, another_registry, session, tmp_path
    ):
        """Behind an air gap the old place of an image is a registry that does not answer."""
        outer, gone = dead_images
        to = f"{another_registry.address}/inside/unreachable"
        options = CopyOptions(selection=Selection(exclude=(f"{gone.repository}",)))
        copy_to_repository(CopySource(bundle=str(outer)), to, session=session, options=options)
        described = describe(f"{to}@{outer.digest}", session=session)
        (missing,) = [image for image in described.images if image.key == str(gone.digest)]
        assert "left out when the bundle was copied" in missing.error
        pulled = pull(tmp_path / "out", bundle=f"{to}@{outer.digest}", recursive=True, session=session)
        assert pulled.images_lock.left_out == (gone,)

    def test_is_named_where_a_further_copy_fails_for_it(self, dead_images, another_registry, session):
        outer, gone = dead_images
        to = f"{another_registry.address}/inside/onward"
        options = CopyOptions(selection=Selection(exclude=(f"{gone.repository}",)))
        copy_to_repository(CopySource(bundle=str(outer)), to, session=session, options=options)
        again = CopySource(bundle=f"{to}@{outer.digest}")
        with pytest.raises(errors.ImgpkgError) as caught:
            copy_to_repository(again, f"{to}-again", session=session)
        assert any("was left out when" in hint for hint in caught.value.hints)
        result = copy_to_repository(again, f"{to}-again", session=session, options=options)
        assert len(result.images) == 2

    @pytest.fixture
    def dead_images(self, address, session, tmp_path):
        kept = make_image(session, f"{address}/team/kept", ["kept"])
        gone = Reference.parse(f"{address}/deleted/gone@sha256:{'0d' * 32}")
        return make_bundle(session, f"{address}/team/dead:v1", {kept: {}, gone: {}}, tmp_path / "dead"), gone


class TestAnImagesLock:
    @pytest.fixture
    def lock(self, address, bundle, tmp_path):
        images = (
            LockedImage(bundle["web"], {"tier": "web"}),
            LockedImage(bundle["db"], {"tier": "db"}),
            LockedImage(bundle["db"], {"tier": "cache"}),
        )
        ImagesLock(images).write(tmp_path / "images.yml")
        return CopySource(lock=tmp_path / "images.yml")

    @pytest.mark.parametrize("way", WAYS)
    def test_is_chosen_from_by_its_annotations(self, way, lock, bundle, to, session, tmp_path):
        result = chosen(
            way=way, source=lock, to=to, session=session, tmp_path=tmp_path, include_annotations=("tier=web",)
        )
        assert digests(result, bundle) == {"web"}

    @pytest.mark.parametrize("way", WAYS)
    def test_gives_an_image_that_one_of_its_entries_chooses(self, way, lock, bundle, to, session, tmp_path):
        patterns = {"exclude_annotations": ("tier=db", "tier=web")}
        result = chosen(way=way, source=lock, to=to, session=session, tmp_path=tmp_path, **patterns)
        assert digests(result, bundle) == {"db"}

    def test_is_written_again_without_what_was_left_out(
        self, lock, bundle, another_registry, session, tmp_path
    ):
        options = CopyOptions(selection=Selection(exclude=("*/db",)))
        to, out = f"{another_registry.address}/inside/lock", tmp_path / "out.yml"
        result = copy_to_repository(lock, to, session=session, options=options, lock_output=out)
        assert [image.digest for image in ImagesLock.from_path(out).images] == [bundle["web"].digest]
        assert [one.named_by for one in result.unselected] == [str(tmp_path / "images.yml")]


class TestARepeatedCopy:
    def test_writes_nothing(self, bundle, another_registry, session):
        source, to = CopySource(bundle=str(bundle["outer"])), f"{another_registry.address}/inside/rerun"
        options = CopyOptions(selection=Selection(exclude=("*/db",)))
        copy_to_repository(source, to, session=session, options=options)
        before = len(another_registry.requests)
        copy_to_repository(source, to, session=session, options=options)
        written = [r for r in another_registry.requests[before:] if r.method not in ("GET", "HEAD")]
        assert written == []

    def test_with_the_rest_makes_the_bundle_whole(self, bundle, another_registry, session, tmp_path):
        source, to = CopySource(bundle=str(bundle["outer"])), f"{another_registry.address}/inside/whole"
        options = CopyOptions(selection=Selection(exclude=("*/db",)))
        copy_to_repository(source, to, session=session, options=options)
        copy_to_repository(source, to, session=session)
        pulled = pull(tmp_path / "out", bundle=f"{to}@{bundle['outer'].digest}", session=session)
        assert pulled.images_lock.left_out == ()
        lock = ImagesLock.from_path(tmp_path / "out/.imgpkg/images.yml")
        assert {str(image.reference.repository) for image in lock.images} == {to}

    def test_of_the_missing_image_alone_completes_it_too(self, bundle, another_registry, session, tmp_path):
        source, to = CopySource(bundle=str(bundle["outer"])), f"{another_registry.address}/inside/later"
        options = CopyOptions(selection=Selection(exclude=("*/db",)))
        copy_to_repository(source, to, session=session, options=options)
        copy_to_repository(CopySource(image=str(bundle["db"])), to, session=session)
        pulled = pull(tmp_path / "out", bundle=f"{to}@{bundle['outer'].digest}", session=session)
        assert pulled.images_lock.left_out == ()


@pytest.mark.parametrize("way", WAYS)
def test_a_signature_goes_with_its_image(way, bundle, to, session, tmp_path):
    for name in ("web", "db"):
        reference = bundle[name]
        tag = signature_tag(reference.digest)
        make_image(session, str(reference.repository), [name, "signature"], tag=tag)
    when, _, kind = way.partition(" ")
    selected = CopyOptions(selection=Selection(exclude=("*/db",)), cosign_signatures=True)
    source = CopySource(bundle=str(bundle["outer"]))
    if kind:
        whole = CopyOptions(cosign_signatures=True)
        copy(
            source,
            session=session,
            options=selected if when == "to" else whole,
            **{f"to_{kind}": tmp_path / "f"},
        )
        source, selected = CopySource(**{kind: tmp_path / "f"}), whole if when == "to" else selected
    copy_to_repository(source, to, session=session, options=selected)
    tags = set(session.client.tags(Repository.parse(to)))
    assert signature_tag(bundle["web"].digest) in tags
    assert signature_tag(bundle["db"].digest) not in tags


def test_an_image_of_a_partial_bundle_is_not_deleted_by_mistake(bundle, another_registry, session):
    to = f"{another_registry.address}/inside/guarded"
    options = CopyOptions(selection=Selection(exclude=("*/db",)))
    copy_to_repository(CopySource(bundle=str(bundle["outer"])), to, session=session, options=options)
    with pytest.raises(errors.InUse, match=r"the bundle .* names"):
        delete_image(f"{to}@{bundle['web'].digest}", session=session)


def test_a_mistyped_pattern_causes_a_warning(bundle, session, tmp_path):
    seen = []
    options = CopyOptions(selection=Selection(exclude=("*/typo",)))
    source = CopySource(bundle=str(bundle["outer"]))
    copy_to_tar(source, tmp_path / "x.tar", session=session, options=options, on_event=seen.append)
    warnings = [event.text for event in seen if isinstance(event, Warned)]
    assert warnings == ["the pattern '*/typo' matches none of the images to choose from"]


@pytest.mark.parametrize("act", [preview_copy, check_copy])
def test_a_named_image_is_nothing_to_choose_from(act, bundle, session):
    options = CopyOptions(selection=Selection(exclude=("x",)))
    with pytest.raises(errors.UsageError, match="what is named by --image"):
        act(CopySource(image=str(bundle["web"])), session=session, options=options)


def test_only_what_is_chosen_of_a_lock_is_checked(bundle, session, tmp_path):
    ImagesLock((LockedImage(bundle["web"]), LockedImage(bundle["db"]))).write(tmp_path / "images.yml")
    options = CopyOptions(selection=Selection(exclude=("*/db",)))
    reports = check_copy(CopySource(lock=tmp_path / "images.yml"), session=session, options=options)
    assert [str(report.repository) for report in reports] == [str(bundle["web"].repository)]


def test_the_first_entry_of_a_digest_counts_unless_another_is_chosen():
    one, two = (LockedImage(Reference.parse(f"a.io/{name}@sha256:{'ab' * 32}")) for name in ("xx", "yy"))
    lock = ImagesLock((one, two))
    assert distinct(lock) == (one,)
    assert distinct(lock, lambda image: image is two) == (two,)
