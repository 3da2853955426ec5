"""Repositories that are tidied: what stays, what goes, in which order, and what others do meanwhile."""

from __future__ import annotations

import json
import pickle
import subprocess
import time
import uuid
from types import SimpleNamespace

import pytest
from tests.operations.making import (
    make_bundle,
    make_image,
    make_index,
    put_blob,
    put_manifest,
)
from tests.servers.docker import docker_registry_process

import imgpkg
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.errors import InUse, InvalidManifest, NotFound, Unauthorized, UsageError
from imgpkg.oci import media
from imgpkg.operations.prune.prune import PruneOutcome
from imgpkg.operations.prune.rules import ReasonKind
from imgpkg.session import Session

NOTHING = imgpkg.Digest.of(b"nothing")
SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"


@pytest.fixture(scope="module")
def without_api():
    """The small registry without the API of referrers, and without deletion of tags."""
    with serve(features=Features(referrers=False, delete_tags=False)) as server:
        yield server


@pytest.fixture(params=["embedded_registry", "docker_registry", "without_api"])
def place(request):
    """A new repository in each kind of registry."""
    return imgpkg.Repository.parse(f"{request.getfixturevalue(request.param).address}/p/{uuid.uuid4().hex}")


@pytest.fixture
def small(embedded_registry):
    """A new repository of the small registry."""
    return imgpkg.Repository.parse(f"{embedded_registry.address}/p/{uuid.uuid4().hex}")


def image(session, place, name, **more):
    return make_image(session, str(place), [name], **more)


def tag(session, reference, *names):
    for name in names:
        session.client.push_manifest(reference.repository.tag(name), session.client.manifest(reference))


def attach(session, reference, suffix, text="signature"):
    """Put what cosign attaches to an image; return its reference."""
    place, digest = reference.repository, reference.digest
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": put_blob(session, place, b"{}", media.OCI_CONFIG),
        "layers": [put_blob(session, place, f"{text} {digest}".encode(), SIMPLE_SIGNING)],
    }
    return put_manifest(session, place, document, f"sha256-{digest.hex}{suffix}")


def refer(session, reference, name, *, tag=""):
    """Put an artifact whose subject is an image; return its reference."""
    place = reference.repository
    found = session.client.manifest(reference)
    document = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "artifactType": "application/x-sbom",
        "config": put_blob(session, place, b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [put_blob(session, place, name.encode(), "application/x-sbom")],
        "subject": {
            "mediaType": found.media_type,
            "digest": str(found.digest),
            "size": found.descriptor.size,
        },
    }
    return put_manifest(session, place, document, tag)


def plan_of(session, place, *keep, **options):
    return imgpkg.prune_plan(str(place), session=session, keep=keep, **options)


def digests(manifests):
    return [manifest.digest for manifest in manifests]


def tags(session, place):
    return sorted(session.client.tags(place))


def is_there(session, reference):
    return session.client.exists(reference) is not None


@pytest.fixture
def whole(session, place, tmp_path):
    """A release with everything that belongs to it, an older one, and an image that is in both bundles."""
    source = imgpkg.Repository.parse(f"{place}-source")
    shared, old, new = (image(session, source, name) for name in ("shared", "old", "new"))
    inner = make_bundle(session, f"{source}:inner", {new: {}}, tmp_path / "inner")
    made = {}
    for version, images in {"v1": (shared, old), "v2": (shared, inner)}.items():
        root = make_bundle(session, f"{source}:{version}", {key: {} for key in images}, tmp_path / version)
        imgpkg.copy(imgpkg.CopySource(bundle=f"{source}:{version}"), to_repo=str(place), session=session)
        made[version] = place.digest(root.digest)
    here = {"shared": shared, "old": old, "new": new, "inner": inner}
    for name, reference in here.items():
        made[name] = place.digest(reference.digest)
    for name, suffix in {"sig": ".sig", "att": ".att", "sbom": ".sbom"}.items():
        made[f"new {name}"] = attach(session, made["new"], suffix, name)
        made[f"old {name}"] = attach(session, made["old"], suffix, name)
    made["new referrer"] = refer(session, made["new"], "of new")
    made["old referrer"] = refer(session, made["old"], "of old")
    made["deep referrer"] = refer(session, made["new referrer"], "of the referrer")
    return SimpleNamespace(**{key.replace(" ", "_"): value for key, value in made.items()})


class TestARelease:
    def test_stays_with_all_that_belongs_to_it(self, session, place, whole):
        before = {name: is_there(session, reference) for name, reference in vars(whole).items()}
        assert all(before.values())
        plan = plan_of(session, place, "v2")
        result = imgpkg.prune(plan, session=session)
        assert result.is_ok
        left = {name for name, reference in vars(whole).items() if is_there(session, reference)}
        assert left == {
            "v2",
            "shared",
            "new",
            "inner",
            "new_sig",
            "new_att",
            "new_sbom",
            "new_referrer",
            "deep_referrer",
        }
        # The bundle can still be pulled with everything that it names, from here.
        bundle = imgpkg.read_bundle(f"{place}:v2", session=session)
        assert all(
            member.reference.repository == place for each in bundle.bundles() for member in each.members
        )
        assert all(each.locations is not None for each in bundle.bundles())
        assert not any(whole.old.digest.hex in name for name in tags(session, place))

    def test_is_listed_with_reasons(self, session, place, whole):
        plan = plan_of(session, place, "v2")
        why = {manifest.digest: str(manifest.reason) for manifest in (*plan.kept, *plan.removed)}
        assert why[whole.v2.digest] == "is kept by name: v2"
        assert why[whole.inner.digest] == "is named by the bundle v2"
        assert why[whole.new.digest] == f"is named by the bundle {whole.inner.digest}"
        assert why[whole.new_sig.digest] == f"is attached to {whole.new.digest}"
        assert why[whole.deep_referrer.digest].split()[0] in ("refers", "is")
        assert why[whole.v1.digest] == "matches no rule"
        assert why[whole.old.digest] == "is named by the bundle v1"
        assert why[whole.old_att.digest] == f"is attached to {whole.old.digest}"

    def test_is_never_incomplete_while_another_is_deleted(self, session, place, whole):
        order = digests(plan_of(session, place, "v2").removed)
        for first, then in (("v1", "old"), ("old", "old_sig"), ("old", "old_sbom"), ("old", "old_referrer")):
            assert order.index(getattr(whole, first).digest) < order.index(getattr(whole, then).digest)

    def test_is_kept_by_its_lock(self, session, place, whole, tmp_path):
        imgpkg.pull(tmp_path / "out", bundle=f"{place}:v2", recursive=True, session=session)
        lock = tmp_path / "out/.imgpkg/images.yml"
        plan = plan_of(session, place, keep_locks=[lock])
        kept = digests(plan.kept)
        assert {whole.shared.digest, whole.inner.digest, whole.new.digest, whole.new_sig.digest} <= set(kept)
        assert whole.v2.digest in digests(plan.removed)
        reasons = {manifest.digest: manifest.reason for manifest in plan.kept}
        assert reasons[whole.shared.digest] == imgpkg.Reason(ReasonKind.LOCK, str(lock))
        bundle_lock = imgpkg.BundleLock(place.digest(whole.v2.digest), "v2")
        assert whole.v2.digest in digests(plan_of(session, place, keep_locks=[bundle_lock]).kept)

    def test_leaves_nothing_to_do_for_another_run(self, session, place, whole):
        imgpkg.prune(plan_of(session, place, "v2"), session=session)
        plan = plan_of(session, place, "v2")
        assert plan.removed == ()
        assert imgpkg.prune(plan, session=session).manifests == ()


class TestTags:
    def test_that_people_chose_are_kept_by_patterns(self, session, place):
        made = {name: image(session, place, name, tag=name) for name in ("v1.0", "v1.1", "v2.0", "nightly")}
        plan = plan_of(session, place, "v1.*", "v[2-9]*")
        assert {each.tags for each in plan.kept} == {("v1.0",), ("v1.1",), ("v2.0",)}
        assert [each.tags for each in plan.removed] == [("nightly",)]
        assert imgpkg.prune(plan, session=session).is_ok
        assert tags(session, place) == ["v1.0", "v1.1", "v2.0"]
        assert not is_there(session, made["nightly"])

    def test_of_an_image_that_stays_all_stay(self, session, place):
        made = image(session, place, "one", tag="v1")
        tag(session, made, "latest", "candidate")
        plan = plan_of(session, place, "v1")
        assert [each.tags for each in plan.kept] == [("candidate", "latest", "v1")]
        assert plan.removed == ()

    def test_of_imgpkg_and_cosign_are_not_meant_by_patterns(self, session, place):
        made, gone = image(session, place, "one", tag="v1"), image(session, place, "two")
        tag(session, gone, f"sha256-{gone.digest.hex}.imgpkg", f"team-app-sha256-{gone.digest.hex}.imgpkg")
        attach(session, gone, ".sig")
        orphan = attach(session, place.digest(NOTHING), ".att")
        plan = plan_of(session, place, "*")
        assert digests(plan.kept) == [made.digest]
        reasons = {each.digest: str(each.reason) for each in plan.removed}
        assert reasons[gone.digest] == "matches no rule"
        assert reasons[orphan.digest] == f"belongs to what is not there: {NOTHING}"
        assert imgpkg.prune(plan, session=session).is_ok
        assert tags(session, place) == ["v1"]

    def test_of_programs_are_kept_when_they_are_written_out(self, session, place):
        image(session, place, "one", tag="v1")
        orphan = attach(session, place.digest(NOTHING), ".att")
        plan = plan_of(session, place, "v1", f"sha256-{NOTHING.hex}.att")
        assert orphan.digest in digests(plan.kept)

    def test_of_a_later_imgpkg_are_kept(self, session, place):
        image(session, place, "one", tag="v1")
        later = image(session, place, "two", tag="sha256-later.imgpkg")
        plan = plan_of(session, place, "v1")
        assert later.digest in digests(plan.kept)
        assert plan.removed == ()

    def test_that_are_a_hash_of_something_else_are_tags_of_people(self, session, place):
        child = image(session, place, "one")
        index = make_index(session, str(place), {"linux/amd64": child}, tag=f"sha256-{NOTHING.hex}")
        plain = image(session, place, "two", tag=f"sha256-{'a' * 64}")
        plan = plan_of(session, place, "sha256-*")
        assert set(digests(plan.kept)) == {child.digest, index.digest, plain.digest}

    @pytest.mark.parametrize(
        ("count", "kept"),
        [
            (1, {"v10", "10.0.0"}),
            (2, {"v10", "10.0.0", "v9.1"}),
            (3, {"v10", "10.0.0", "v9.1", "v9.0.0"}),
            (4, {"v10", "10.0.0", "v9.1", "v9.0.0", "v9.0.0-rc.11"}),
            (5, {"v10", "10.0.0", "v9.1", "v9.0.0", "v9.0.0-rc.11", "v9.0.0-rc.2"}),
        ],
    )
    def test_with_the_newest_versions_are_counted_by_image(self, session, small, count, kept):
        for name in ("v9.0.0-rc.2", "v9.0.0-rc.11", "v9.0.0", "v9.1", "latest", "main-2"):
            image(session, small, name, tag=name)
        tag(session, image(session, small, "ten", tag="v10"), "10.0.0")
        plan = plan_of(session, small, keep_newest=count)
        assert {name for each in plan.kept for name in each.tags} == kept


class TestIndexes:
    def test_stay_with_their_children_and_share_them(self, session, place):
        shared, only = image(session, place, "shared"), image(session, place, "only")
        make_index(session, str(place), {"linux/amd64": shared}, tag="v2")
        old = make_index(session, str(place), {"linux/amd64": shared, "linux/arm64": only}, tag="v1")
        plan = plan_of(session, place, "v2")
        assert digests(plan.removed) == [old.digest, only.digest]
        assert plan.removed[1].after == (old.digest,)
        assert str(plan.removed[1].reason) == "is part of v1"
        assert imgpkg.prune(plan, session=session).is_ok
        assert (is_there(session, shared), is_there(session, only)) == (True, False)

    def test_without_some_children_stay_as_they_are(self, session, place):
        child = image(session, place, "one")
        document = {
            "schemaVersion": 2,
            "mediaType": media.OCI_INDEX,
            "manifests": [{"mediaType": media.OCI_MANIFEST, "digest": str(child.digest), "size": 1}],
        }
        index = put_manifest(session, place, document, "v1")
        session.client.delete_manifest(place, child.digest)
        image(session, place, "two", tag="old")
        plan = plan_of(session, place, "v1")
        assert digests(plan.kept) == [index.digest]
        assert len(plan.removed) == 1

    def test_keep_entries_of_a_kind_that_is_not_known_yet(self, session, small):
        future = image(session, small, "future", tag="old")
        raw = session.client.manifest(future).raw
        entry = put_blob(session, small, raw, "application/vnd.example.future+json")
        document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [entry]}
        put_manifest(session, small, document, "v1")
        plan = plan_of(session, small, "v1")
        assert future.digest in digests(plan.kept)
        assert plan.removed == ()


class TestSubjects:
    @pytest.mark.parametrize("kind", [media.OCI_ARTIFACT, media.ORAS_ARTIFACT])
    def test_keep_artifacts_of_the_older_kinds(self, session, small, kind):
        subject = image(session, small, "one", tag="v1")
        about = {"mediaType": media.OCI_MANIFEST, "digest": str(subject.digest), "size": 5}
        made = put_manifest(session, small, {"mediaType": kind, "blobs": [], "subject": about}, "sbom")
        alone = put_manifest(session, small, {"mediaType": kind, "blobs": []}, "alone")
        plan = plan_of(session, small, "v1")
        assert digests(plan.kept) == [subject.digest, made.digest]
        assert digests(plan.removed) == [alone.digest]

    def test_of_an_artifact_that_is_kept_stay(self, session, place):
        subject, other = image(session, place, "one", tag="v1"), image(session, place, "two", tag="v2")
        artifact = refer(session, subject, "sbom", tag="sbom")
        plan = plan_of(session, place, "sbom")
        assert {artifact.digest, subject.digest} <= set(digests(plan.kept))
        assert other.digest in digests(plan.removed)

    def test_take_what_refers_to_them_with_them(self, session, place):
        subject = image(session, place, "one", tag="v1")
        artifact = refer(session, subject, "sbom")
        image(session, place, "two", tag="v2")
        plan = plan_of(session, place, "v2")
        assert artifact.digest in digests(plan.removed)
        assert imgpkg.prune(plan, session=session).is_ok
        assert tags(session, place) == ["v2"]
        assert not is_there(session, artifact)


class TestSizes:
    def test_are_those_of_images_and_of_what_only_they_need(self, session, small):
        kept = make_image(session, str(small), ["shared", "kept"], tag="v2")
        gone = make_image(session, str(small), ["shared", "gone"], tag="v1")
        plan = plan_of(session, small, "v2")
        (manifest,) = plan.removed
        there, here = session.client.manifest(gone), session.client.manifest(kept)
        whole = there.descriptor.size + sum(part.size for part in there.blobs())
        assert manifest.size == whole
        common = {part.digest for part in here.blobs()}
        assert plan.size == whole - sum(part.size for part in there.blobs() if part.digest in common)


class TestRules:
    @pytest.fixture
    def one(self, session, small):
        return image(session, small, "one", tag="v1")

    @pytest.mark.parametrize("options", [{}, {"keep_newest": 0}, {"keep_locks": ()}])
    def test_there_is_at_least_one(self, session, small, one, options):
        with pytest.raises(UsageError, match="everything would be deleted"):
            plan_of(session, small, **options)

    @pytest.mark.parametrize("keep", ["x*", "[a-b]?"])
    def test_that_keep_nothing_are_a_mistake(self, session, small, one, keep):
        with pytest.raises(UsageError, match="everything would be deleted"):
            plan_of(session, small, keep)

    def test_that_match_nothing_are_noted(self, session, small, one):
        plan = plan_of(session, small, "x*", "v1")
        assert plan.notes == ("--keep x* matches no tag",)

    @pytest.mark.parametrize("keep", ["v2", str(NOTHING), f"@{NOTHING}"])
    def test_that_are_written_out_must_be_there(self, session, small, one, keep):
        with pytest.raises(UsageError, match="there is no such"):
            plan_of(session, small, "v*", keep)

    @pytest.mark.parametrize(
        ("keep", "why"),
        [
            ("", "neither a pattern for tags nor a digest"),
            ("a b", "neither a pattern for tags nor a digest"),
            ("sha256:short", "invalid checksum"),
            ("@sha1:5", "unsupported digest"),
            ("registry.example.com/other:v1", "is not in the repository"),
            (f"registry.example.com/other@{NOTHING}", "is not in the repository"),
            ("registry.example.com/UPPER:v1", "repository can only contain"),
        ],
    )
    def test_that_are_none_are_refused(self, session, small, keep, why):
        with pytest.raises(UsageError, match=why):
            plan_of(session, small, keep)

    @pytest.mark.parametrize("form", ["{1}", "@{1}", "{0}@{1}", "{0}:v1@{1}", "{0}:v1", "v1"])
    def test_name_an_image_in_many_ways(self, session, small, one, form):
        other = image(session, small, "two", tag="v2")
        plan = plan_of(session, small, form.format(small, one.digest))
        assert (digests(plan.kept), digests(plan.removed)) == ([one.digest], [other.digest])

    def test_of_a_number_are_not_negative(self, session, small):
        with pytest.raises(UsageError, match="--keep-newest"):
            plan_of(session, small, keep_newest=-1)

    def test_of_a_digest_find_what_has_no_tag(self, session, small, one):
        untagged = image(session, small, "untagged")
        plan = plan_of(session, small, str(untagged.digest))
        assert (digests(plan.kept), digests(plan.removed)) == ([untagged.digest], [one.digest])

    def test_of_a_lock_note_what_is_elsewhere(self, session, small, one):
        elsewhere = imgpkg.LockedImage(imgpkg.Repository.parse("r.example/other").digest(NOTHING))
        lock = imgpkg.ImagesLock((imgpkg.LockedImage(one), elsewhere))
        plan = plan_of(session, small, keep_locks=[lock])
        assert digests(plan.kept) == [one.digest]
        assert plan.notes == ("1 of 2 images of a lock are not in here",)

    @pytest.mark.parametrize("name", ["{0}:v1", "{0}@{1}", ""])
    def test_are_for_a_repository(self, session, small, one, name):
        with pytest.raises(imgpkg.errors.InvalidReference):
            imgpkg.prune_plan(name.format(small, one.digest), session=session, keep=["v1"])

    def test_for_a_repository_that_is_not_there_are_an_error(self, session, small):
        with pytest.raises(NotFound):
            plan_of(session, small, "v1")


class TestDamage:
    @pytest.fixture
    def damaged(self, session, place, tmp_path):
        """A bundle without its layer."""
        bundle = make_bundle(session, f"{place}:bundle", {}, tmp_path / "bundle")
        (layer,) = session.client.manifest(bundle).layers
        session.client.delete_blob(place, layer.digest)
        return bundle

    def test_of_what_stays_ends_everything(self, session, place, damaged):
        image(session, place, "one", tag="old")
        with pytest.raises(InvalidManifest, match="it is not known what it needs") as caught:
            plan_of(session, place, "bundle")
        assert "bundle in" in str(caught.value)
        assert tags(session, place)[0] == "bundle"

    def test_of_what_goes_is_noted(self, session, place, damaged):
        image(session, place, "one", tag="v1")
        plan = plan_of(session, place, "v1")
        assert digests(plan.removed) == [damaged.digest]
        assert plan.notes[0].startswith("what bundle leads to stays")
        assert imgpkg.prune(plan, session=session).is_ok

    def test_of_a_manifest_is_like_that_of_its_bundle(self, session):
        def faults(request):
            is_read = request.method == "GET" and request.path.endswith(broken)
            headers = (("Content-Type", media.OCI_MANIFEST),)
            return Fault(answer=ServerResponse(200, headers, b"{broken")) if is_read else None

        broken = "/manifests/broken"
        with serve(faults=faults) as server:
            place = imgpkg.Repository.parse(f"{server.address}/a/b")
            image(session, place, "one", tag="v1")
            gone = image(session, place, "two", tag="broken")
            with pytest.raises(
                InvalidManifest, match=r"broken in .* stays, and it is not known what it needs"
            ):
                plan_of(session, place, "broken")
            plan = plan_of(session, place, "v1")
            assert digests(plan.removed) == [gone.digest]
            assert plan.notes[0].startswith("what broken leads to stays, as it could not be read")
            assert imgpkg.prune(plan, session=session).is_ok
            assert tags(session, place) == ["v1"]

    def test_without_an_end_is_an_error(self, session, small):
        index = image(session, small, "one")
        for number in range(129):
            index = make_index(session, str(small), {"linux/amd64": index}, tag="v1" if number == 128 else "")
        with pytest.raises(InvalidManifest, match="more than 128 deep"):
            plan_of(session, small, "v1")

    def test_tags_that_name_nothing_are_listed(self, session):
        def faults(request):
            is_read = request.method in ("GET", "HEAD") and request.path.endswith("/manifests/broken")
            return Fault(answer=ServerResponse(404)) if is_read else None

        with serve(faults=faults) as server:
            place = imgpkg.Repository.parse(f"{server.address}/a/b")
            tag(session, image(session, place, "one", tag="v1"), "broken")
            assert plan_of(session, place, "v1").dangling == ("broken",)


class TestMeanwhile:
    """What other clients do between the plan and the deletion, and during it."""

    def test_a_new_tag_before_the_start_is_an_error(self, session, place):
        image(session, place, "one", tag="v1")
        gone = image(session, place, "two", tag="v2")
        plan = plan_of(session, place, "v1")
        tag(session, gone, "new")
        with pytest.raises(InUse, match="has changed since the plan was made; nothing more is deleted: new"):
            imgpkg.prune(plan, session=session)
        assert tags(session, place) == ["new", "v1", "v2"]

    def test_a_kept_tag_that_was_moved_to_what_should_go_is_an_error(self, session, place):
        image(session, place, "one", tag="v1")
        gone = image(session, place, "two", tag="v2")
        plan = plan_of(session, place, "v1")
        tag(session, gone, "v1")
        with pytest.raises(InUse, match=": v1"):
            imgpkg.prune(plan, session=session)
        assert is_there(session, gone)

    def test_a_tag_that_should_go_and_was_written_again_stays(self, session, place):
        image(session, place, "one", tag="v1")
        gone, other = image(session, place, "two", tag="v2"), image(session, place, "three", tag="v3")
        plan = plan_of(session, place, "v1")
        again = image(session, place, "two, again", tag="v2")
        result = imgpkg.prune(plan, session=session)
        assert not result.is_ok
        found = {each.manifest.digest: (each.outcome, each.text) for each in result.manifests}
        assert found[gone.digest] == (PruneOutcome.CHANGED, "the tag v2 was changed meanwhile")
        assert found[other.digest] == (PruneOutcome.DELETED, "")
        assert is_there(session, again)
        assert tags(session, place) == ["v1", "v2"]

    def test_what_somebody_else_has_deleted_is_no_failure(self, session, place):
        image(session, place, "one", tag="v1")
        gone = image(session, place, "two", tag="v2")
        plan = plan_of(session, place, "v1")
        session.client.delete_manifest(place, gone.digest)
        result = imgpkg.prune(plan, session=session)
        assert [each.outcome for each in result.manifests] == [PruneOutcome.ABSENT]
        assert result.is_ok

    def test_a_new_tag_during_the_work_ends_it(self, open_session, small):
        session, other = open_session(concurrency=1), Session()
        image(session, small, "one", tag="v0")
        made = [image(session, small, f"image {number}", tag=f"x{number}") for number in range(12)]
        plan = plan_of(session, small, "v*")
        seen = []

        def interfere(pruned):
            seen.append(pruned)
            if len(seen) == 1:
                tag(other, place_of(plan.removed[-1]), "v-new")
                # Longer than the pause between two looks.
                time.sleep(1.1)

        def place_of(manifest):
            return small.digest(manifest.digest)

        with other:
            result = imgpkg.prune(plan, session=session, on_result=interfere)
        assert "has changed since the plan was made; nothing more is deleted: v-new" in result.problem
        assert any("Make the plan again" in hint for hint in result.hints)
        outcomes = [each.outcome for each in result.manifests]
        assert outcomes[:4] == [PruneOutcome.DELETED] * 4
        assert set(outcomes[4:]) == {PruneOutcome.NOT_TRIED}
        assert is_there(session, small.digest(plan.removed[-1].digest))
        assert len(made) == len(result.manifests) == len(seen)

    def test_a_new_tag_after_the_last_deletion_is_told(self, open_session, small):
        session, other = open_session(concurrency=1), Session()
        image(session, small, "one", tag="v0")
        image(session, small, "two", tag="x")

        def interfere(_):
            image(other, small, "three", tag="late")

        with other:
            result = imgpkg.prune(plan_of(session, small, "v*"), session=session, on_result=interfere)
        assert [each.outcome for each in result.manifests] == [PruneOutcome.DELETED]
        assert not result.is_ok
        assert "late" in result.problem


class TestFailures:
    def faulty(self, is_refused, status=500, **features):
        def faults(request):
            is_faulty = request.method == "DELETE" and is_refused(request.path)
            return Fault(answer=ServerResponse(status)) if is_faulty else None

        return serve(faults=faults, features=Features(**features))

    def test_keep_what_depends_on_it_and_nothing_else(self, open_session):
        session = open_session(retry_count=1)
        refused = []
        with self.faulty(lambda path: path.endswith(tuple(refused))) as server:
            place = imgpkg.Repository.parse(f"{server.address}/a/b")
            image(session, place, "kept", tag="v1")
            child, other = image(session, place, "child"), image(session, place, "other", tag="other")
            index = make_index(session, str(place), {"linux/amd64": child}, tag="old")
            plan = plan_of(session, place, "v1")
            refused += [index.digest.hex, "old"]
            result = imgpkg.prune(plan, session=session)
            found = {each.manifest.digest: each for each in result.manifests}
            assert found[index.digest].outcome is PruneOutcome.FAILED
            assert "status code 500" in found[index.digest].text
            assert found[child.digest].outcome is PruneOutcome.CHANGED
            assert found[child.digest].text == f"{index.digest}, which needs it, is still there"
            assert found[other.digest].outcome is PruneOutcome.DELETED
            assert is_there(session, child)
            assert not result.is_ok
            refused.clear()
            assert imgpkg.prune(plan_of(session, place, "v1"), session=session).is_ok
            assert tags(session, place) == ["v1"]

    def test_of_a_manifest_with_tags_are_tried_again_without_them(self, open_session):
        """Some registries delete a manifest only when it has no tag left."""
        session = open_session(retry_count=1)
        holder = {}

        def is_refused(path):
            reference = path.rpartition("/")[2]
            return reference == str(holder.get("digest")) and "old" in tags(session, holder["place"])

        with self.faulty(is_refused, status=409) as server:
            place = imgpkg.Repository.parse(f"{server.address}/a/b")
            image(session, place, "kept", tag="v1")
            gone = image(session, place, "old", tag="old")
            holder.update(place=place, digest=gone.digest)
            result = imgpkg.prune(plan_of(session, place, "v1"), session=session)
            assert result.is_ok
            assert not is_there(session, gone)

    def test_of_a_manifest_with_tags_leave_them_where_tags_cannot_go_alone(self, open_session):
        session = open_session(retry_count=1)
        with self.faulty(lambda path: "sha256:" in path, status=409, delete_tags=False) as server:
            place = imgpkg.Repository.parse(f"{server.address}/a/b")
            image(session, place, "kept", tag="v1")
            image(session, place, "old", tag="old")
            result = imgpkg.prune(plan_of(session, place, "v1"), session=session)
            assert [each.outcome for each in result.manifests] == [PruneOutcome.FAILED]
            assert "status code 409" in result.manifests[0].text
            assert tags(session, place) == ["old", "v1"]

    def test_of_the_look_at_the_tags_end_the_work_with_a_result(self, open_session):
        session, is_down, seen = open_session(retry_count=1, concurrency=2), [], []

        def faults(request):
            is_looked_at = request.method in ("GET", "HEAD") and "/manifests/v" in request.path
            return Fault(answer=ServerResponse(503)) if is_looked_at and is_down else None

        def fail(pruned):
            seen.append(pruned)
            is_down.append(True)
            # Longer than the pause between two looks.
            time.sleep(1.1)

        with serve(faults=faults) as server:
            place = imgpkg.Repository.parse(f"{server.address}/a/b")
            for number in range(3):
                image(session, place, f"kept {number}", tag=f"v{number}")
            for number in range(12):
                image(session, place, str(number), tag=f"x{number}")
            result = imgpkg.prune(plan_of(session, place, "v*"), session=session, on_result=fail)
        outcomes = [each.outcome for each in result.manifests]
        assert outcomes == [PruneOutcome.DELETED] * 8 + [PruneOutcome.NOT_TRIED] * 4
        assert "status code 503" in result.problem
        assert len(seen) == 12

    def test_that_would_be_the_same_for_all_end_the_work(
        self, docker_registry_without_deletion, open_session
    ):
        session = open_session(concurrency=1)
        place = imgpkg.Repository.parse(f"{docker_registry_without_deletion.address}/p/{uuid.uuid4().hex}")
        for number in range(5):
            image(session, place, str(number), tag=f"v{number}")
        result = imgpkg.prune(plan_of(session, place, "v0"), session=session)
        outcomes = [each.outcome for each in result.manifests]
        assert outcomes == [PruneOutcome.FAILED, *[PruneOutcome.NOT_TRIED] * 3]
        assert "UNSUPPORTED" in result.problem
        assert any("storage.delete.enabled" in hint for hint in result.hints)
        assert len(tags(session, place)) == 5


class TestLogins:
    @pytest.mark.parametrize("kind", ["docker_registry_token", "docker_registry_htpasswd", "embedded_token"])
    def test_are_used_for_reading_and_deleting(self, kind, request, open_session):
        registry = request.getfixturevalue(kind)
        session = open_session(username=registry.username, password=registry.password)
        place = imgpkg.Repository.parse(f"{registry.address}/p/{uuid.uuid4().hex}")
        image(session, place, "one", tag="v1")
        image(session, place, "two", tag="v2")
        with pytest.raises(Unauthorized):
            plan_of(open_session(), place, "v1")
        assert imgpkg.prune(plan_of(session, place, "v1"), session=session).is_ok
        assert tags(session, place) == ["v1"]

    def test_with_a_token_service_take_one_token_for_reads_and_one_for_deletions(
        self, docker_registry_token, open_session
    ):
        session = open_session(
            username=docker_registry_token.username, password=docker_registry_token.password
        )
        place = imgpkg.Repository.parse(f"{docker_registry_token.address}/p/{uuid.uuid4().hex}")
        for number in range(10):
            image(session, place, str(number), tag=f"v{number}")
        fresh = open_session(username=docker_registry_token.username, password=docker_registry_token.password)
        before = len(docker_registry_token.requests)
        assert imgpkg.prune(plan_of(fresh, place, "v0"), session=fresh).is_ok
        asked = [request.scopes for request in docker_registry_token.requests[before:]]
        assert asked == [
            (f"repository:{place.path}:pull",),
            (f"repository:{place.path}:delete,pull",),
        ]


def test_reading_takes_a_request_for_each_tag_and_each_other_manifest(
    reverse_proxy, docker_registry, session
):
    proxy = reverse_proxy(docker_registry.address)
    place = imgpkg.Repository.parse(f"{proxy.address}/p/{uuid.uuid4().hex}")
    for number in range(20):
        # Of two layers: no bundle.
        make_image(session, str(place), [f"{number}", "two"], tag=f"v{number}")
    children = [make_image(session, str(place), [f"c{number}", "two"]) for number in range(2)]
    make_index(session, str(place), {"linux/amd64": children[0], "linux/arm64": children[1]}, tag="index")
    with imgpkg.Session(imgpkg.Settings(concurrency=1)) as fresh:
        before = len(proxy.requests)
        imgpkg.prune_plan(place, session=fresh, keep=["index"])
        asked = proxy.requests[before:]
    lists = [request for request in asked if "/tags/list" in request.path]
    referrers = [request for request in asked if "/referrers/" in request.path]
    manifests = [request for request in asked if "/manifests/" in request.path]
    # docker-registry has no API of referrers, which is asked for once.
    assert (len(lists), len(referrers), len(manifests)) == (1, 1, 21 + 2)
    assert len(asked) == 25


def test_a_plan_is_never_made_from_a_mirror(embedded_registry, another_registry, open_session, tmp_path):
    place = imgpkg.Repository.parse(f"{embedded_registry.address}/p/{uuid.uuid4().hex}")
    conf = tmp_path / "registries.conf"
    conf.write_text(
        f'[[registry]]\nlocation = "{embedded_registry.address}"\n'
        f'[[registry.mirror]]\nlocation = "{another_registry.address}"\ninsecure = true\n'
    )
    session = open_session(registries_conf=conf)
    for name in ("v1", "v2"):
        image(open_session(), place, name, tag=name)
    before = len(another_registry.requests)
    assert imgpkg.prune(plan_of(session, place, "v1"), session=session).is_ok
    assert len(another_registry.requests) == before
    assert tags(session, place) == ["v1"]


def test_the_garbage_collection_of_docker_registry_frees_the_space_and_nothing_else(session, tmp_path):
    with docker_registry_process(tmp_path) as address:
        place = imgpkg.Repository.parse(f"{address}/a/b")
        child, gone = image(session, place, "child"), image(session, place, "gone")
        make_index(session, str(place), {"linux/amd64": child}, tag="v2")
        make_index(session, str(place), {"linux/amd64": child, "linux/arm64": gone}, tag="v1")
        attach(session, child, ".sig")
        (kept, freed) = (session.client.manifest(reference).layers for reference in (child, gone))
        assert imgpkg.prune(plan_of(session, place, "v2"), session=session).is_ok
        config = str(tmp_path / "config.json")
        subprocess.run(["docker-registry", "garbage-collect", config], check=True, capture_output=True)
        assert [session.client.has_blob(place, layer.digest) for layer in freed] == [False]
        imgpkg.copy(
            imgpkg.CopySource(image=f"{place}:v2"), to_layout=str(tmp_path / "whole"), session=session
        )
        assert [(tmp_path / "whole/blobs/sha256" / layer.digest.hex).exists() for layer in kept] == [True]


def test_a_plan_survives_as_a_document(session, small):
    image(session, small, "one", tag="v1")
    image(session, small, "two", tag="v2")
    plan = plan_of(session, small, "v1")
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert hash(plan) == hash(pickle.loads(pickle.dumps(plan)))
    assert json.dumps([str(manifest.reason) for manifest in plan.removed]) == '["matches no rule"]'
