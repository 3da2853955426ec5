"""Everything attached: signatures, attestations, SBOMs, referrers; to any depth, by every way of a copy."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.operations.making import make_bundle, make_image, make_index, put_manifest
from tests.servers import signatures as made
from tests.servers.faults import always, refusing

from imgpkg import errors
from imgpkg.bundle.image import attestation_tag, cosign_tags, sbom_tag, signature_tag
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.events import Warned
from imgpkg.oci import media
from imgpkg.oci.reference import Repository
from imgpkg.operations.attachments import Attached, AttachmentKind
from imgpkg.operations.copy.copy import copy, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.description import ImageType
from imgpkg.operations.image_store import open_images
from imgpkg.trust.key import PublicKey
from imgpkg.trust.policy import Policy

ALL = CopyOptions(attachments=True)
SIGNATURES = CopyOptions(cosign_signatures=True)
KIND = AttachmentKind


@pytest.fixture(params=["with the API", "docker-registry"])
def registry(request):
    """The address of a registry that lists referrers, and of one whose clients have to."""
    name = "embedded_registry" if request.param == "with the API" else "docker_registry"
    return request.getfixturevalue(name).address


@pytest.fixture(params=["embedded_registry", "docker_registry"])
def inside(request):
    """The address of the registry to copy to."""
    return request.getfixturevalue(request.param).address


def descriptor(session, reference):
    found = session.client.manifest(reference).descriptor
    return {"mediaType": found.media_type, "digest": str(found.digest), "size": found.size}


def attach(session, image, tag_of, text, **more):
    """Attach something by one of cosign's tags."""
    return make_image(session, str(image.repository), [text], tag=tag_of(image.digest), **more)


def refer(session, image, text, kind="application/x-test"):
    """Attach something by its subject."""
    return make_image(
        session,
        str(image.repository),
        [text],
        subject=descriptor(session, image),
        mediaType=media.OCI_MANIFEST,
        artifactType=kind,
    )


def name_of(request):
    """Return a name for a repository of this test alone."""
    return re.sub("[^a-z0-9]+", "-", request.node.name.lower()).strip("-")


class Family:
    """An index of an image, and what is attached to both, to each in its way."""

    def __init__(self, session, where):
        self.child = make_image(session, where, ["child"])
        self.index = make_index(session, where, {"linux/amd64": self.child}, tag="v1")
        self.signature = attach(session, self.index, signature_tag, "signature")
        self.attestation = attach(session, self.index, attestation_tag, "attestation")
        self.sbom = attach(session, self.index, sbom_tag, "sbom")
        self.signature_of_sbom = attach(session, self.sbom, signature_tag, "signature of the sbom")
        self.signature_of_child = attach(session, self.child, signature_tag, "signature of the child")
        self.report = refer(session, self.child, "report")
        self.report_on_report = refer(session, self.report, "report on the report")
        self.signature_of_report = attach(session, self.report_on_report, signature_tag, "signature of it")

    def check(self, session, to):
        """Check that all of it is in the repository `to`, where everybody looks for it."""
        place = Repository.parse(to)
        for image, tag_of, expected in (
            (self.index, signature_tag, self.signature),
            (self.index, attestation_tag, self.attestation),
            (self.index, sbom_tag, self.sbom),
            (self.sbom, signature_tag, self.signature_of_sbom),
            (self.child, signature_tag, self.signature_of_child),
            (self.report_on_report, signature_tag, self.signature_of_report),
        ):
            assert session.client.resolve(place.tag(tag_of(image.digest))).digest == expected.digest
        for image, expected in ((self.child, self.report), (self.report, self.report_on_report)):
            found = session.client.referrers(place, image.digest)
            assert [entry.digest for entry in found] == [expected.digest]
            assert found[0].artifact_type == "application/x-test"

    def expected(self):
        """Return what is attached, as a copy reports it."""
        return {
            self.signature: Attached(KIND.SIGNATURE, self.index.digest),
            self.attestation: Attached(KIND.ATTESTATION, self.index.digest),
            self.sbom: Attached(KIND.SBOM, self.index.digest),
            self.signature_of_sbom: Attached(KIND.SIGNATURE, self.sbom.digest),
            self.signature_of_child: Attached(KIND.SIGNATURE, self.child.digest),
            self.report: Attached(KIND.REFERRER, self.child.digest, "application/x-test"),
            self.report_on_report: Attached(KIND.REFERRER, self.report.digest, "application/x-test"),
            self.signature_of_report: Attached(KIND.SIGNATURE, self.report_on_report.digest),
        }


@pytest.fixture
def family(session, registry, request):
    return Family(session, f"{registry}/attached/{name_of(request)}")


@pytest.fixture
def to(inside, request):
    return f"{inside}/inside/{name_of(request)}"


class TestACopyOfEverythingAttached:
    def test_from_registry_to_registry(self, family, session, to):
        result = copy_to_repository(CopySource(image=str(family.index)), to, session=session, options=ALL)
        family.check(session, to)
        assert {one.source: one.attached for one in result.images if one.attached} == family.expected()
        assert [one.source for one in result.images if not one.attached] == [family.index]

    @pytest.mark.parametrize("form", ["tar", "layout"])
    def test_through_a_file_without_the_source(self, form, session, open_session, to, tmp_path):
        path = str(tmp_path / "file")
        with serve() as server:
            family = Family(open_session(), f"{server.address}/attached/file")
            source = CopySource(image=str(family.index))
            copy(source, session=open_session(), options=ALL, **{f"to_{form}": path})
        result = copy_to_repository(CopySource(**{form: path}), to, session=session)
        family.check(session, to)
        kinds = {one.destination.digest: one.attached for one in result.images if one.attached}
        assert kinds == {place.digest: found for place, found in family.expected().items()}

    def test_leaves_no_doubt_which_image_a_file_was_made_of(self, family, session, tmp_path):
        path = str(tmp_path / "file.tar")
        copy_to_tar(CopySource(image=str(family.index)), path, session=session, options=ALL)
        with open_images(tar=path) as images:
            assert images.find().reference == family.index

    def test_of_a_bundle_and_its_images(self, session, registry, to, tmp_path):
        images = [make_image(session, f"{registry}/attached/app{n}", [f"{n}"]) for n in range(3)]
        bundle = make_bundle(
            session, f"{registry}/attached/b:v1", {image: {} for image in images}, tmp_path / "b"
        )
        attached = [attach(session, image, attestation_tag, f"of {image}") for image in (*images, bundle)]
        copy_to_repository(CopySource(bundle=str(bundle)), to, session=session, options=ALL)
        place = Repository.parse(to)
        found = [
            session.client.resolve(place.tag(attestation_tag(image.digest))).digest
            for image in (*images, bundle)
        ]
        assert found == [one.digest for one in attached]

    def test_with_a_tag_of_the_user(self, family, session, to):
        options = CopyOptions(attachments=True, to_tags=("stable",))
        copy_to_repository(CopySource(image=str(family.index)), to, session=session, options=options)
        assert session.client.resolve(Repository.parse(to).tag("stable")).digest == family.index.digest
        family.check(session, to)

    def test_again_writes_nothing(self, embedded_registry, another_registry, open_session):
        session = open_session()
        family = Family(session, f"{embedded_registry.address}/attached/again")
        to = f"{another_registry.address}/inside/again"
        source = CopySource(image=str(family.index))
        copy_to_repository(source, to, session=session, options=ALL)
        before = len(another_registry.requests)
        copy_to_repository(source, to, session=open_session(), options=ALL)
        assert {request.method for request in another_registry.requests[before:]} <= {"GET", "HEAD"}

    def test_is_named_in_the_preview(self, family, session, to):
        preview = preview_copy(CopySource(image=str(family.index)), to, session=session, options=ALL)
        found = {one.reference: one.attached for one in preview.images if one.attached}
        assert found == family.expected()

    def test_a_lock_names_no_attestations_and_referrers(self, family, session, to, tmp_path):
        lock = tmp_path / "lock.yml"
        source = CopySource(image=str(family.index))
        copy_to_repository(source, to, session=session, options=ALL, lock_output=str(lock))
        text = lock.read_text()
        assert str(family.index.digest) in text
        for one in (family.attestation, family.sbom, family.report):
            assert str(one.digest) not in text


class TestAPolicy:
    """What is attached to an image that is accepted comes along, whatever it is attached by."""

    @pytest.mark.parametrize("form", ["", "tar", "layout"])
    def test_accepts_what_belongs_to_a_signed_image(self, form, session, registry, to, tmp_path):
        family = Family(session, f"{registry}/attached/signed{form}")
        key = made.MAKERS["p256"]()
        made.put_signature(session, family.index, key)
        source, path = CopySource(image=str(family.index)), str(tmp_path / "file")
        if form:
            copy(source, session=session, options=ALL, **{f"to_{form}": path})
            source = CopySource(**{form: path})
        policy = Policy.signed_by([PublicKey.parse(made.public_pem(key), "release.pub")])
        options = CopyOptions(attachments=True, policy=policy)
        result = copy_to_repository(source, to, session=session, options=options)
        assert [one.signers for one in result.verified] == [("release.pub",)]
        # The signature itself is another one than at first.
        assert len([one for one in result.images if one.attached]) == len(family.expected())
        for one in (family.sbom, family.signature_of_report, family.report_on_report):
            assert session.client.exists(Repository.parse(to).digest(one.digest))

    @pytest.mark.parametrize("form", ["tar", "layout"])
    def test_refuses_what_is_attached_to_nothing_in_the_file(self, form, session, registry, to, tmp_path):
        where, key = f"{registry}/attached/loose{form}", made.MAKERS["p256"]()
        image = make_image(session, where, ["image"])
        made.put_signature(session, image, key)
        other = make_image(session, where, ["other"])
        loose = attach(session, other, sbom_tag, "sbom of another")
        path = str(tmp_path / "file")
        source = CopySource(images=(str(image), f"{where}:{sbom_tag(other.digest)}"))
        copy(source, session=session, options=ALL, **{f"to_{form}": path})
        policy = Policy.signed_by([PublicKey.parse(made.public_pem(key), "release.pub")])
        options = CopyOptions(policy=policy)
        with pytest.raises(errors.Untrusted, match=str(loose.digest)):
            copy_to_repository(CopySource(**{form: path}), to, session=session, options=options)


class TestSignaturesAlone:
    """`cosign_signatures` takes what it took, and says what else was seen."""

    def copied(self, session, image, to, options=SIGNATURES):
        events = []
        result = copy_to_repository(
            CopySource(image=str(image)), to, session=session, options=options, on_event=events.append
        )
        return result, [event.text for event in events if isinstance(event, Warned)]

    def test_says_what_is_left_behind(self, family, session, to):
        result, warned = self.copied(session, family.index, to)
        assert {one.source for one in result.images} == {family.index, family.signature}
        # Referrers have a tag only where the registry has no list of them.
        has_api = f"sha256-{family.child.digest.hex}" not in session.client.tags(family.child.repository)
        seen = (
            "signatures, attestations and SBOMs"
            if has_api
            else "signatures, attestations, SBOMs and referrers"
        )
        assert warned == [f"2 images have {seen} that are left behind (hint: --attachments takes them along)"]

    def test_says_nothing_where_nothing_is_left(self, session, registry, to):
        image = make_image(session, f"{registry}/attached/signed-only", ["image"])
        attach(session, image, signature_tag, "signature")
        attach(session, make_image(session, str(image.repository), ["another"]), sbom_tag, "another's")
        assert self.copied(session, image, to)[1] == []

    def test_leaves_no_referrers_behind_with_both_options(self, session, docker_registry, to):
        image = make_image(session, f"{docker_registry.address}/attached/both", ["image"])
        refer(session, image, "report")
        options = CopyOptions(cosign_signatures=True, referrers=True)
        assert self.copied(session, image, to, options)[1] == []

    def test_costs_a_list_of_tags_for_each_repository(
        self, embedded_registry, session, open_session, tmp_path
    ):
        where = f"{embedded_registry.address}/attached/costs"
        images = [make_image(session, where, [f"{n}"]) for n in range(10)]
        bundle = make_bundle(session, f"{where}:v1", {image: {} for image in images}, tmp_path / "b")
        costs = []
        for options in (CopyOptions(), SIGNATURES):
            before = len(embedded_registry.requests)
            path = str(tmp_path / f"{len(costs)}.tar")
            copy_to_tar(CopySource(bundle=str(bundle)), path, session=open_session(), options=options)
            costs.append(len(embedded_registry.requests) - before)
        assert costs[1] - costs[0] == len(images) + 1 + 1


class TestRequests:
    def test_each_image_is_asked_for_by_name_and_what_belongs_to_it_by_one_list(
        self, embedded_registry, open_session, tmp_path
    ):
        family = Family(open_session(), f"{embedded_registry.address}/attached/counted")
        before = len(embedded_registry.requests)
        copy_to_tar(
            CopySource(image=str(family.index)), str(tmp_path / "counted.tar"), session=open_session()
        )
        alone = embedded_registry.requests[before:]
        before = len(embedded_registry.requests)
        source = CopySource(image=str(family.index))
        copy_to_tar(source, str(tmp_path / "all.tar"), session=open_session(), options=ALL)
        seen = embedded_registry.requests[before:]
        attached = len(family.expected())
        lists = [request for request in seen if request.path.endswith("/tags/list")]
        referrers = [request for request in seen if "/referrers/" in request.path]
        assert len(lists) == 1
        assert len(referrers) == 2 + attached
        # A manifest, a configuration and a layer of each; nothing is asked for that is not there.
        assert len(seen) == len(alone) + len(lists) + len(referrers) + 3 * attached
        assert {request.status for request in seen} == {200}

    def test_an_image_with_nothing_attached(self, embedded_registry, open_session, tmp_path):
        image = make_image(open_session(), f"{embedded_registry.address}/attached/alone", ["alone"])
        costs = []
        for options in (CopyOptions(), ALL):
            before = len(embedded_registry.requests)
            path = str(tmp_path / f"{len(costs)}.tar")
            copy_to_tar(CopySource(image=str(image)), path, session=open_session(), options=options)
            costs.append(len(embedded_registry.requests) - before)
        # A list of tags, three tags and a list of referrers.
        assert costs[1] - costs[0] == 5
        assert (tmp_path / "0.tar").read_bytes() == (tmp_path / "1.tar").read_bytes()


class TestARegistryThatHides:
    def test_a_cache_lists_only_the_tags_that_it_has_fetched(self, session, to):
        hidden = always(
            Fault(answer=ServerResponse(200, body=b'{"name": "x", "tags": ["v1"]}')), path="/tags/list$"
        )
        with serve(faults=hidden) as server:
            family = Family(session, f"{server.address}/attached/cache")
            copy_to_repository(CopySource(image=str(family.index)), to, session=session, options=ALL)
        family.check(session, to)

    @pytest.mark.parametrize("status", [401, 403, 404, 405])
    def test_one_that_lists_no_tags(self, status, session, to):
        with serve(faults=always(refusing(status, "DENIED", "no"), path="/tags/list$")) as server:
            family = Family(session, f"{server.address}/attached/silent")
            copy_to_repository(CopySource(image=str(family.index)), to, session=session, options=ALL)
        family.check(session, to)

    def test_one_that_refuses_what_is_attached_is_reported_once(self, session, to):
        refused = always(refusing(403, "DENIED", "no"), path=r"\.(sig|att|sbom)$|/referrers/")
        events = []
        with serve(faults=refused) as server:
            image = make_image(session, f"{server.address}/attached/refused", ["image"])
            result = copy_to_repository(
                CopySource(image=str(image)), to, session=session, options=ALL, on_event=events.append
            )
        assert [one.source for one in result.images] == [image]
        (text,) = [event.text for event in events if isinstance(event, Warned)]
        assert text.startswith("4 questions for what is attached were refused (403), which counts as nothing")

    def test_one_that_wants_another_login_is_an_error(self, session, to):
        with serve(faults=always(refusing(401, "UNAUTHORIZED", "no"), path=r"\.att$")) as server:
            image = make_image(session, f"{server.address}/attached/guarded", ["image"])
            with pytest.raises(errors.Unauthorized, match=f"Fetching attestation for image '{image}': "):
                copy_to_repository(CopySource(image=str(image)), to, session=session, options=ALL)

    def test_more_tags_than_are_listed(self, session, to):
        tags = [f"t{number}" for number in range(5000)]
        many = Fault(answer=ServerResponse(200, body=json.dumps({"tags": tags}).encode()))
        with serve(faults=always(many, path="/tags/list$")) as server:
            family = Family(session, f"{server.address}/attached/many")
            copy_to_repository(CopySource(image=str(family.index)), to, session=session, options=ALL)
        family.check(session, to)


class TestTheListsOfReferrersAtTheDestination:
    """docker-registry has no referrers API: clients keep the lists under tags."""

    def test_keep_what_others_have_written(self, session, embedded_registry, docker_registry):
        image = make_image(session, f"{embedded_registry.address}/attached/merged", ["image"])
        ours = refer(session, image, "ours")
        there = make_image(session, f"{docker_registry.address}/inside/merged", ["image"])
        theirs = refer(session, there, "theirs")
        copy_to_repository(CopySource(image=str(image)), str(there.repository), session=session, options=ALL)
        found = {entry.digest for entry in session.client.referrers(there.repository, image.digest)}
        assert found == {ours.digest, theirs.digest}

    def test_have_what_a_killed_copy_has_not_listed(self, session, open_session, docker_registry, tmp_path):
        """After a kill between a manifest and its list, the manifest is there, and is not written again."""
        image = make_image(session, f"{docker_registry.address}/attached/killed", ["image"])
        report = refer(session, image, "report")
        to = f"{docker_registry.address}/inside/killed"
        source = CopySource(image=str(image))
        copy_to_repository(source, to, session=session, options=ALL)
        place = Repository.parse(to)
        empty = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
        put_manifest(session, place, empty, f"sha256-{image.digest.hex}")
        assert session.client.referrers(place, image.digest) == ()
        copy_to_repository(source, to, session=open_session(), options=ALL)
        assert [entry.digest for entry in session.client.referrers(place, image.digest)] == [report.digest]

    def test_have_what_two_copies_write_at_once(self, session, open_session, docker_registry):
        to = f"{docker_registry.address}/inside/two-writers"
        sources, expected = [], set()
        for side in range(2):
            image = make_image(session, f"{docker_registry.address}/attached/writer{side}", ["image"])
            expected |= {refer(session, image, f"{side} {number}").digest for number in range(5)}
            sources.append(CopySource(image=str(image)))
        with ThreadPoolExecutor(2) as threads:
            copies = [
                threads.submit(copy_to_repository, source, to, session=open_session(), options=ALL)
                for source in sources
            ]
            for done in copies:
                done.result()
        found = session.client.referrers(Repository.parse(to), image.digest)
        assert {entry.digest for entry in found} == expected

    def test_a_registry_that_keeps_no_list_is_reported(self, open_session, embedded_registry):
        warned = []
        session = open_session(on_event=warned.append)
        image = make_image(session, f"{embedded_registry.address}/attached/unlisted", ["image"])
        report = refer(session, image, "report")
        none = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": []}
        empty = ServerResponse(200, (("Content-Type", media.OCI_INDEX),), json.dumps(none).encode())
        events = []
        with serve(faults=always(Fault(answer=empty), path="/referrers/")) as server:
            to = f"{server.address}/inside/unlisted"
            source = CopySource(image=str(image))
            copy_to_repository(source, to, session=session, options=ALL, on_event=events.append)
        assert [event.text for event in events if isinstance(event, Warned)] == [
            f"{to}@{report.digest} was written, but is not listed as a referrer of {image.digest}"
        ]

    def test_that_may_not_be_read_are_believed_to_be_right(self, session, embedded_registry):
        image = make_image(session, f"{embedded_registry.address}/attached/unread", ["image"])
        refer(session, image, "report")
        with serve(faults=always(refusing(403, "DENIED", "no"), path="/referrers/")) as server:
            to = f"{server.address}/inside/unread"
            result = copy_to_repository(CopySource(image=str(image)), to, session=session, options=ALL)
        assert len(result.images) == 2


class TestADescription:
    def described(self, session, **where):
        found = describe(session=session, attachments=True, **where)
        return {(info.image_type, info.key): info for info in found.images}

    @pytest.fixture
    def bundle(self, family, session, tmp_path):
        where = f"{family.index.repository}"
        return make_bundle(session, f"{where}:bundle", {family.index: {"a": "b"}}, tmp_path / "bundle")

    def check(self, family, found, place):
        kinds = {KIND.SIGNATURE: "SIGNATURE", KIND.REFERRER: "REFERRER"}
        for reference, attached in family.expected().items():
            kind = ImageType[kinds.get(attached.kind, attached.kind.name)]
            info = found[kind, str(reference.digest)]
            assert info.image == f"{place}@{reference.digest}"
            assert len(info.layers) == 1
            if attached.kind is KIND.REFERRER:
                expected = {"artifactType": "application/x-test", "subject": str(attached.subject)}
                assert dict(info.annotations) == expected
            else:
                assert attached.subject.hex in info.annotations["tag"]

    def test_of_a_bundle(self, family, session, bundle):
        found = self.described(session, bundle=str(bundle))
        self.check(family, found, family.index.repository)
        # The image itself, and each attachment once.
        assert len(found) == 1 + len(family.expected())

    @pytest.mark.parametrize("form", ["tar", "layout"])
    def test_of_a_file(self, form, family, session, open_session, bundle, tmp_path):
        path = str(tmp_path / "file")
        copy(CopySource(bundle=str(bundle)), session=session, options=ALL, **{f"to_{form}": path})
        self.check(family, self.described(open_session(), **{form: path}), family.index.repository)

    def test_of_a_copied_bundle(self, family, session, bundle, to):
        copy_to_repository(CopySource(bundle=str(bundle)), to, session=session, options=ALL)
        self.check(family, self.described(session, bundle=f"{to}@{bundle.digest}"), to)

    def test_of_an_index_in_an_index(self, session, registry, tmp_path):
        where = f"{registry}/attached/nested"
        image = make_image(session, where, ["innermost"])
        inner = make_index(session, where, {"linux/amd64": image})
        outer = make_index(session, where, {"linux/amd64": inner})
        sbom = attach(session, image, sbom_tag, "sbom")
        bundle = make_bundle(session, f"{where}:v1", {outer: {}}, tmp_path / "b")
        assert (ImageType.SBOM, str(sbom.digest)) in self.described(session, bundle=str(bundle))

    def test_with_what_it_may_not_see(self, session, tmp_path):
        with serve(faults=always(refusing(403, "DENIED", "no"), path=r"\.att$")) as server:
            bundle = make_bundle(session, f"{server.address}/attached/denied", {}, tmp_path / "b")
            found = self.described(session, bundle=str(bundle))
        ((kind, key),) = found
        assert (kind, key) == (
            ImageType.ATTESTATION,
            f"{bundle.repository}:{attestation_tag(bundle.digest)}",
        )
        assert (found[kind, key].image, found[kind, key].error) == ("", "access denied")

    def test_in_a_circle_ends(self, session, registry, tmp_path):
        where = f"{registry}/attached/described-circle"
        bundle = make_bundle(session, f"{where}:v1", {}, tmp_path / "b")
        second = attach(session, bundle, signature_tag, "second")
        manifest = session.client.manifest(bundle)
        for tag in cosign_tags(second.digest):
            session.client.push_manifest(second.repository.tag(tag), manifest)
        found = describe(str(bundle), session=session, attachments=True).images
        assert sorted(info.key for info in found) == sorted([str(second.digest), *[str(bundle.digest)] * 3])


class TestWhatIsOdd:
    def test_an_index_under_a_signature_tag(self, session, registry, to):
        where = f"{registry}/attached/odd-index"
        image = make_image(session, where, ["image"])
        parts = [make_image(session, where, [f"signature {n}"]) for n in range(2)]
        signatures = make_index(
            session,
            where,
            {"linux/amd64": parts[0], "linux/arm64": parts[1]},
            tag=signature_tag(image.digest),
        )
        below = attach(session, parts[1], sbom_tag, "of a part")
        copy_to_repository(CopySource(image=str(image)), to, session=session, options=ALL)
        place = Repository.parse(to)
        assert session.client.manifest(place.tag(signature_tag(image.digest))).digest == signatures.digest
        assert session.client.resolve(place.tag(sbom_tag(parts[1].digest))).digest == below.digest

    def test_what_is_attached_in_a_circle_ends(self, session, registry, to):
        where = f"{registry}/attached/circle"
        first = make_image(session, where, ["first"])
        second = attach(session, first, signature_tag, "second")
        manifest = session.client.manifest(first)
        session.client.push_manifest(second.repository.tag(signature_tag(second.digest)), manifest)
        session.client.push_manifest(first.repository.tag(sbom_tag(first.digest)), manifest)
        copy_to_repository(CopySource(image=str(first)), to, session=session, options=ALL)
        place = Repository.parse(to)
        for image, other in ((first, second), (second, first)):
            assert session.client.resolve(place.tag(signature_tag(image.digest))).digest == other.digest

    @pytest.mark.parametrize(("length", "is_copied"), [(31, True), (32, False)])
    def test_a_chain_has_an_end(self, length, is_copied, session, embedded_registry, another_registry):
        first = last = make_image(session, f"{embedded_registry.address}/attached/chain{length}", ["0"])
        for number in range(length):
            last = attach(session, last, signature_tag, f"{number + 1}")
        to = f"{another_registry.address}/inside/chain{length}"
        if is_copied:
            copy_to_repository(CopySource(image=str(first)), to, session=session, options=ALL)
            assert session.client.exists(Repository.parse(to).digest(last.digest))
        else:
            with pytest.raises(errors.InvalidManifest, match="more than 32 manifests are attached"):
                copy_to_repository(CopySource(image=str(first)), to, session=session, options=ALL)

    @pytest.mark.parametrize("form", ["", "tar", "layout"])
    def test_two_signatures_of_one_image_in_two_repositories(
        self, form, registry, open_session, to, tmp_path
    ):
        warned = []
        session = open_session(on_event=warned.append)
        images = [make_image(session, f"{registry}/attached/twin{n}", ["same"]) for n in range(2)]
        signatures = [attach(session, image, signature_tag, f"{image}") for image in images]
        lock = tmp_path / "images.yml"
        lines = ["apiVersion: imgpkg.carvel.dev/v1alpha1", "kind: ImagesLock", "images:"]
        lock.write_text("\n".join([*lines, *(f"- image: {image}" for image in images)]) + "\n")
        events = []
        source, path = CopySource(lock=str(lock)), str(tmp_path / "file")
        if form:
            copy(source, session=session, options=ALL, on_event=events.append, **{f"to_{form}": path})
            source = CopySource(**{form: path})
        copy_to_repository(source, to, session=session, options=ALL, on_event=events.append)
        found = session.client.resolve(Repository.parse(to).tag(signature_tag(images[0].digest)))
        assert found.digest == signatures[0].digest
        (text,) = [event.text for event in events if isinstance(event, Warned)]
        assert text.startswith(f"{signatures[1]} does not get its tag sha256-{images[0].digest.hex}.sig, ")
        assert session.client.exists(Repository.parse(to).digest(signatures[1].digest))

    def test_a_referrer_that_is_gone_and_one_of_another_type(self, session, to):
        events = []
        with serve(features=Features(referrers=False), faults=ListsWhatIsNotThere()) as server:
            image = make_image(session, f"{server.address}/attached/gone", ["image"])
            copy_to_repository(
                CopySource(image=str(image)), to, session=session, options=ALL, on_event=events.append
            )
        texts = sorted(event.text for event in events if isinstance(event, Warned))
        assert [text.partition(" is left behind: ")[2] for text in texts] == [
            "it is listed, but does not exist",
            f"its type {media.ORAS_ARTIFACT} is not supported",
        ]


class ListsWhatIsNotThere:
    """A registry without the API, whose list under the referrers tag names what is not there."""

    def __call__(self, request):
        if not re.search("/manifests/sha256-[0-9a-f]{64}$", request.path):
            return None
        entries = [
            {"mediaType": kind, "digest": f"sha256:{digit * 64}", "size": 1}
            for kind, digit in ((media.OCI_MANIFEST, "1"), (media.ORAS_ARTIFACT, "2"))
        ]
        raw = json.dumps({"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}).encode()
        return Fault(answer=ServerResponse(200, (("Content-Type", media.OCI_INDEX),), raw))
