"""Signatures are verified before the first byte is written: from a registry, a tar file and a layout."""

from __future__ import annotations

import itertools
import json

import pytest
from tests.operations.making import make_bundle, make_image, make_index, put_blob, put_manifest
from tests.servers import signatures as made

from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.errors import Untrusted, VerificationError
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference
from imgpkg.operations.copy.copy import copy
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.pull import pull
from imgpkg.operations.verification import verify_signatures
from imgpkg.trust.key import PublicKey
from imgpkg.trust.policy import Match, Policy, PolicyRule, Requirement

KEY, OTHER = made.MAKERS["p256"](), made.MAKERS["p256"]()
TRUSTED = PublicKey.parse(made.public_pem(KEY), "cosign.pub")
STRANGER = PublicKey.parse(made.public_pem(OTHER), "other.pub")
POLICY = Policy.signed_by([TRUSTED])
WRITES = {"POST", "PUT", "PATCH", "DELETE"}
_numbers = itertools.count()


@pytest.fixture(params=["embedded_registry", "docker_registry"])
def place(request):
    """A repository of its own on each of two registries, as text."""
    registry = request.getfixturevalue(request.param)
    return f"{registry.address}/trust{next(_numbers)}"


@pytest.fixture
def fresh(embedded_registry):
    """A repository of its own."""
    return f"{embedded_registry.address}/trust{next(_numbers)}"


@pytest.fixture
def counted(reverse_proxy):
    """A destination behind a proxy that counts, in the registry of a repository."""

    def destination(place):
        host, _, path = place.partition("/")
        proxy = reverse_proxy(host)
        return proxy, f"{proxy.address}/{path}-inside"

    return destination


@pytest.fixture(params=["directly", "tar", "layout"])
def by(request, session, tmp_path):
    """Return a source that leads to what `source` names: itself, or a file made of it."""

    def carried(source):
        options = CopyOptions(cosign_signatures=True, referrers=True)
        if request.param == "tar":
            copy(source, to_tar=tmp_path / "x.tar", options=options, session=session)
            return CopySource(tar=tmp_path / "x.tar")
        if request.param == "layout":
            copy(source, to_layout=tmp_path / "x", options=options, session=session)
            return CopySource(layout=tmp_path / "x")
        return source

    return carried


def attempt(source, to, session, policy=POLICY, **options):
    return copy(source, to_repo=to, options=CopyOptions(policy=policy, **options), session=session)


def refused(source, counted, place, session, policy=POLICY, **options):
    """Check that a copy is refused before anything is written; return the error."""
    proxy, to = counted(place)
    with pytest.raises(VerificationError) as caught:
        attempt(source, to, session, policy, **options)
    assert [one for one in proxy.requests if one.method in WRITES] == []
    return caught.value


class TestAnImage:
    @pytest.mark.parametrize("put", [made.put_signature, made.put_bundle])
    def test_that_is_signed_arrives(self, place, by, counted, session, put):
        image = make_image(session, f"{place}/app")
        put(session, image, KEY)
        _, to = counted(place)
        result = attempt(by(CopySource(image=str(image))), to, session)
        (verified,) = result.verified
        assert (verified.reference.digest, verified.signers) == (image.digest, ("cosign.pub",))
        assert session.client.exists(Reference.parse(f"{to}@{image.digest}"))

    @pytest.mark.parametrize("put", [made.put_signature, made.put_bundle])
    def test_by_another_key_does_not(self, place, by, counted, session, put):
        image = make_image(session, f"{place}/app")
        put(session, image, OTHER)
        error = refused(by(CopySource(image=str(image))), counted, place, session)
        assert "no signature by cosign.pub: 1 is by another key" in str(error)
        assert f"@{image.digest}" in str(error)
        assert isinstance(error, Untrusted)

    def test_without_a_signature_does_not(self, place, by, counted, session):
        image = make_image(session, f"{place}/app")
        source = by(CopySource(image=str(image)))
        error = refused(source, counted, place, session)
        assert "no signature by cosign.pub: it has no signature" in str(error)
        assert ("--attachments" in " ".join(error.hints)) is (not source.image)

    def test_whose_signature_is_of_another_digest_does_not(self, place, by, counted, session):
        image, other = make_image(session, f"{place}/app"), Digest.of(b"other")
        made.put_layers(session, image, [made.signed_layer(KEY, made.payload(other))])
        body = made.statement(other, made.SIGN)
        made.put_referrer(session, image, json.dumps(made.bundle(KEY, body)).encode())
        error = refused(by(CopySource(image=str(image))), counted, place, session)
        assert f"2 are of another digest ({other})" in str(error)

    def test_whose_payload_was_changed_does_not(self, place, by, counted, session):
        image = make_image(session, f"{place}/app")
        signature = made.signature_of(KEY, made.payload(Digest.of(b"other")))
        layer = made.signed_layer(KEY, made.payload(image.digest), signature)
        made.put_layers(session, image, [layer])
        error = refused(by(CopySource(image=str(image))), counted, place, session)
        assert "1 is by another key" in str(error)

    def test_needs_any_of_several_signatures(self, place, by, counted, session):
        image = make_image(session, f"{place}/app")
        body = made.payload(image.digest)
        layers = [
            made.signed_layer(KEY, made.payload(Digest.of(b"old"))),
            made.signed_layer(OTHER, body),
            (body, made.SIMPLE_SIGNING, {}),
            (b"no JSON", made.SIMPLE_SIGNING, {"dev.cosignproject.cosign/signature": "AAAA"}),
        ]
        made.put_layers(session, image, layers)
        source = by(CopySource(image=str(image)))
        error = refused(source, counted, place, session)
        for part in ("1 is of another digest", "2 are by another key", "1 is not readable"):
            assert part in str(error)
        both = Policy.signed_by([TRUSTED, STRANGER])
        result = attempt(source, f"{place}-inside", session, both)
        assert result.verified[0].signers == ("other.pub",)

    def test_needs_all_keys_where_the_policy_says_so(self, place, by, counted, session):
        image = make_image(session, f"{place}/app")
        needed = Requirement((TRUSTED, STRANGER), match=Match.ALL)
        policy = Policy((PolicyRule(("**",), (needed,)),))
        made.put_bundle(session, image, KEY)
        error = refused(by(CopySource(image=str(image))), counted, place, session, policy)
        assert "no signature by other.pub: it has no signature" in str(error)
        made.put_signature(session, image, OTHER)
        result = attempt(by(CopySource(image=str(image))), f"{place}-inside", session, policy)
        assert result.verified[0].signers == ("cosign.pub", "other.pub")

    def test_of_several_platforms_is_signed_as_an_index(self, place, by, counted, session):
        child = make_image(session, f"{place}/app")
        index = make_index(session, f"{place}/app", {"linux/amd64": child})
        made.put_signature(session, child, KEY)
        source = by(CopySource(image=str(index)))
        assert "it has no signature" in str(refused(source, counted, place, session))
        made.put_signature(session, index, KEY)
        assert attempt(by(CopySource(image=str(index))), f"{place}-inside", session).verified

    def test_is_copied_by_the_digest_that_was_verified(self, fresh, session):
        image = make_image(session, f"{fresh}/app", ["signed"], tag="v1")
        made.put_signature(session, image, KEY)
        verified = verify_signatures(f"{fresh}/app:v1", policy=POLICY, session=session)
        make_image(session, f"{fresh}/app", ["moved"], tag="v1")
        assert verified.reference == image
        with pytest.raises(Untrusted):
            verify_signatures(f"{fresh}/app:v1", policy=POLICY, session=session)

    def test_with_a_signature_that_is_listed_and_gone_needs_another_one(self, session):
        with serve(features=Features(referrers=False)) as server:
            image = make_image(session, f"{server.address}/app")
            gone = made.put_bundle(session, image, KEY)
            assert session.client.delete_manifest(gone.repository, gone.digest)
            with pytest.raises(Untrusted, match="it has no signature"):
                verify_signatures(str(image), policy=POLICY, session=session)
            made.put_bundle(session, image, KEY, by="another time")
            verified = verify_signatures(str(image), policy=POLICY, session=session)
            assert verified.signers == ("cosign.pub",)


class TestAttestations:
    POLICY = Policy((PolicyRule(("**",), (Requirement((TRUSTED,), predicate_type=made.PROVENANCE),)),))

    @pytest.mark.parametrize("put", [made.put_attestation, made.put_bundle])
    def test_of_the_wanted_type_are_enough(self, place, session, put):
        image = make_image(session, f"{place}/app")
        put(session, image, KEY, made.PROVENANCE)
        result = attempt(CopySource(image=str(image)), f"{place}-inside", session, self.POLICY)
        assert result.verified[0].predicate_types == (made.PROVENANCE,)

    def test_travel_as_referrers(self, place, by, counted, session):
        image = make_image(session, f"{place}/app")
        made.put_bundle(session, image, KEY, made.PROVENANCE)
        source = by(CopySource(image=str(image)))
        assert attempt(source, f"{place}-inside", session, self.POLICY).verified
        other = Policy((PolicyRule(("**",), (Requirement((STRANGER,), predicate_type=made.PROVENANCE),)),))
        assert "1 is by another key" in str(refused(source, counted, place, session, other))

    @pytest.mark.parametrize(
        ("put", "kind", "key", "why"),
        [
            (made.put_attestation, "https://spdx.dev/Document", KEY, "it has no attestation"),
            (made.put_bundle, "https://spdx.dev/Document", KEY, "it has no attestation"),
            (made.put_bundle, made.SIGN, KEY, "it has no attestation"),
            (made.put_attestation, made.PROVENANCE, OTHER, "1 is by another key"),
        ],
    )
    def test_of_another_type_or_key_are_not(self, place, counted, session, put, kind, key, why):
        image = make_image(session, f"{place}/app")
        put(session, image, key, kind)
        source = CopySource(image=str(image))
        error = refused(source, counted, place, session, self.POLICY)
        assert f"no attestation {made.PROVENANCE} by cosign.pub: {why}" in str(error)

    def test_whose_annotation_lies_are_of_their_own_type(self, place, counted, session):
        image = make_image(session, f"{place}/app")
        body = made.statement(image.digest, "https://spdx.dev/Document")
        notes = {"dev.sigstore.bundle.predicateType": made.PROVENANCE}
        made.put_referrer(session, image, json.dumps(made.bundle(KEY, body)).encode(), **notes)
        error = refused(CopySource(image=str(image)), counted, place, session, self.POLICY)
        assert "1 is of another type (https://spdx.dev/Document)" in str(error)

    def test_are_no_signatures(self, place, counted, session):
        image = make_image(session, f"{place}/app")
        made.put_bundle(session, image, KEY, made.PROVENANCE)
        made.put_attestation(session, image, KEY)
        error = refused(CopySource(image=str(image)), counted, place, session)
        assert "it has no signature" in str(error)


class TestABundle:
    @pytest.fixture
    def nested(self, place, session, tmp_path):
        """A bundle in a bundle, with an image in each, none of them signed."""
        images = [make_image(session, f"{place}/{name}", [name]) for name in ("inner", "outer")]
        low = make_bundle(session, f"{place}/low:v1", {images[0]: {}}, tmp_path / "low")
        top = make_bundle(session, f"{place}/top:v1", {low: {}, images[1]: {}}, tmp_path / "top")
        return top, low, images

    @pytest.mark.parametrize("flag", ["bundle", "lock"])
    def test_covers_what_it_names_to_any_depth(self, place, by, session, nested, tmp_path, flag):
        made.put_signature(session, nested[0], KEY)
        lock = tmp_path / "lock.yml"
        lock.write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: BundleLock\n"
            f"bundle:\n  image: {nested[0]}\n  tag: v1\n"
        )
        source = CopySource(bundle=f"{place}/top:v1") if flag == "bundle" else CopySource(lock=lock)
        result = attempt(by(source), f"{place}-inside", session)
        assert [one.reference.digest for one in result.verified] == [nested[0].digest]
        assert len(result.images) >= 4

    def test_is_signed_itself(self, place, by, counted, session, nested):
        top, low, images = nested
        for image in (low, *images):
            made.put_signature(session, image, KEY)
        error = refused(by(CopySource(bundle=str(top))), counted, place, session)
        assert str(error).count("it has no signature") == 1
        assert str(top.digest) in str(error)

    def test_may_need_signatures_of_each_image(self, place, by, counted, session, nested):
        top, low, images = nested
        policy = Policy(POLICY.rules, checks_members=True)
        made.put_signature(session, top, KEY)
        made.put_signature(session, low, KEY)
        made.put_bundle(session, images[0], OTHER)
        error = refused(by(CopySource(bundle=str(top))), counted, place, session, policy)
        assert error.message == "2 images are not trusted"
        assert sorted(line.partition("@")[2][:71] for line in error.lines) == sorted(
            str(image.digest) for image in images
        )
        for image in images:
            made.put_signature(session, image, KEY)
        result = attempt(by(CopySource(bundle=str(top))), f"{place}-inside", session, policy)
        assert len(result.verified) == 4

    def test_is_verified_before_it_is_pulled(self, place, session, nested, tmp_path):
        top, low, _ = nested
        with pytest.raises(Untrusted):
            pull(tmp_path / "out", bundle=str(top), policy=POLICY, session=session)
        assert not (tmp_path / "out").exists()
        made.put_signature(session, top, KEY)
        pull(tmp_path / "out", bundle=str(top), recursive=True, policy=POLICY, session=session)
        each = Policy(POLICY.rules, checks_members=True)
        with pytest.raises(Untrusted, match=str(low.digest)):
            pull(tmp_path / "all", bundle=str(top), recursive=True, policy=each, session=session)
        assert not (tmp_path / "all").exists()

    def test_is_verified_before_it_is_pulled_from_a_file(self, place, session, nested, tmp_path):
        top, low, _ = nested
        each = Policy(POLICY.rules, checks_members=True)
        for signed, key in ((top, KEY), (low, OTHER)):
            made.put_signature(session, signed, key)
        options = CopyOptions(cosign_signatures=True)
        files = {"tar": tmp_path / "x.tar", "layout": tmp_path / "x"}
        for kind, path in files.items():
            source, to = CopySource(bundle=str(top)), {f"to_{kind}": path}
            copy(source, options=options, session=session, **to)
            out = tmp_path / f"out-{kind}"
            pull(out, recursive=True, policy=POLICY, session=session, **{kind: path})
            with pytest.raises(Untrusted, match="1 is by another key"):
                pull(f"{out}2", policy=Policy.signed_by([STRANGER]), session=session, **{kind: path})
            with pytest.raises(Untrusted, match=str(low.digest)):
                pull(f"{out}2", recursive=True, policy=each, session=session, **{kind: path})
            free = Policy((PolicyRule(("**",)),))
            with pytest.raises(Untrusted, match="which nothing proves there"):
                pull(f"{out}2", policy=free, session=session, **{kind: path})
            assert (out / ".imgpkg").is_dir()
            assert not (tmp_path / f"out-{kind}2").exists()

    def test_of_a_file_without_signatures_is_refused_with_a_hint(self, place, session, nested, tmp_path):
        made.put_signature(session, nested[0], KEY)
        copy(CopySource(bundle=str(nested[0])), to_tar=tmp_path / "x.tar", session=session)
        with pytest.raises(Untrusted, match="it has no signature") as caught:
            pull(tmp_path / "out", tar=tmp_path / "x.tar", policy=POLICY, session=session)
        assert "--attachments" in caught.value.hints[0]

    def test_may_list_what_refers_to_an_image_elsewhere(self, place, by, session, tmp_path):
        image = make_image(session, f"{place}/app")
        sbom = make_image(session, f"{place}/sbom", subject=_subject(session, image))
        bundle = make_bundle(session, f"{place}/b:v1", {sbom: {}}, tmp_path / "b")
        made.put_signature(session, bundle, KEY)
        assert attempt(by(CopySource(bundle=str(bundle))), f"{place}-inside", session).verified


def _subject(session, image):
    manifest = session.client.manifest(image)
    return {"mediaType": manifest.media_type, "size": len(manifest.raw), "digest": str(image.digest)}


class TestALock:
    def test_names_images_that_are_each_signed(self, place, by, counted, session, tmp_path):
        images = [make_image(session, f"{place}/{name}", [name]) for name in ("a", "b")]
        lock = tmp_path / "images.yml"
        lines = "".join(f"- image: {image}\n" for image in images)
        lock.write_text(f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n{lines}")
        made.put_signature(session, images[0], KEY)
        error = refused(by(CopySource(lock=lock)), counted, place, session)
        assert str(images[1].digest) in str(error)
        assert str(images[0].digest) not in str(error)
        made.put_bundle(session, images[1], KEY)
        result = attempt(by(CopySource(lock=lock)), f"{place}-inside", session)
        assert len(result.verified) == 2

    def test_does_not_make_an_image_an_attachment_of_another(self, fresh, counted, session, tmp_path):
        image = make_image(session, f"{fresh}/app")
        made.put_signature(session, image, KEY)
        other = make_image(session, f"{fresh}/app", ["evil"], subject=_subject(session, image))
        lock = tmp_path / "images.yml"
        lines = "".join(f"- image: {one}\n" for one in (image, other))
        lock.write_text(f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n{lines}")
        error = refused(CopySource(lock=lock), counted, fresh, session)
        assert str(other.digest) in str(error)


class TestSeveralSources:
    def test_are_each_signed(self, place, by, counted, session, tmp_path):
        images = [make_image(session, f"{place}/app{n}", [str(n)]) for n in range(3)]
        bundles = [
            make_bundle(session, f"{place}/b{n}:v{n}", {images[n]: {}}, tmp_path / f"b{n}") for n in range(2)
        ]
        source = CopySource(bundles=[f"{place}/b0:v0", f"{place}/b1:v1"], images=[str(images[2])])
        for signed in (bundles[0], images[2]):
            made.put_signature(session, signed, KEY)
        error = refused(by(source), counted, place, session)
        assert "it has no signature" in str(error)
        assert [str(one.digest) in str(error) for one in (*bundles, *images)] == [False, True] + [False] * 3
        made.put_bundle(session, bundles[1], KEY)
        result = attempt(by(source), f"{place}-inside", session)
        verified = {one.reference.digest for one in result.verified}
        assert verified == {bundles[0].digest, bundles[1].digest, images[2].digest}


class TestAFile:
    """Anybody may have changed it."""

    @pytest.fixture
    def layout(self, fresh, session, tmp_path):
        """A layout of a signed bundle, and a function that lists one more manifest in it."""
        image = make_image(session, f"{fresh}/app")
        bundle = make_bundle(session, f"{fresh}/b:v1", {image: {}}, tmp_path / "b")
        made.put_signature(session, bundle, KEY)
        source = CopySource(bundle=str(bundle))
        options = CopyOptions(cosign_signatures=True)
        copy(source, to_layout=tmp_path / "x", options=options, session=session)

        def listed(digest, **notes):
            index = json.loads((tmp_path / "x/index.json").read_text())
            size = (tmp_path / f"x/blobs/sha256/{digest.hex}").stat().st_size
            entry = {"mediaType": index["manifests"][0]["mediaType"], "digest": str(digest), "size": size}
            index["manifests"].append({**entry, "annotations": notes})
            (tmp_path / "x/index.json").write_text(json.dumps(index))
            return CopySource(layout=tmp_path / "x")

        return listed, image, fresh

    def add(self, layout, session, tmp_path, **more):
        evil = make_image(session, f"{layout[2]}/evil", ["evil"], **more)
        copy(CopySource(image=str(evil)), to_layout=tmp_path / "x", session=session)
        return evil

    def test_with_one_more_image_is_refused(self, layout, session, counted, tmp_path):
        evil = self.add(layout, session, tmp_path)
        error = refused(CopySource(layout=tmp_path / "x"), counted, layout[2], session)
        assert str(evil.digest) in str(error)

    def test_that_tags_an_image_of_the_bundle_is_refused(self, layout, session, counted):
        listed, image, fresh = layout
        source = listed(image.digest, **{"org.opencontainers.image.ref.name": "latest"})
        error = refused(source, counted, fresh, session)
        assert str(image.digest) in str(error)

    def test_that_calls_an_image_a_signature_of_nothing_is_refused(self, layout, session, counted, tmp_path):
        listed, _, fresh = layout
        evil = self.add(layout, session, tmp_path)
        tag = f"sha256-{'0' * 64}.sig"
        source = listed(evil.digest, **{"org.opencontainers.image.ref.name": tag})
        assert str(evil.digest) in str(refused(source, counted, fresh, session))

    def test_may_have_attachments_of_attachments(self, layout, session, tmp_path):
        _, image, fresh = layout
        sbom = self.add(layout, session, tmp_path, subject=_subject(session, image))
        signature = self.add(layout, session, tmp_path, subject=_subject(session, sbom), artifactType="x/y")
        assert signature != sbom
        assert attempt(CopySource(layout=tmp_path / "x"), f"{fresh}-inside", session).verified

    def test_names_an_image_and_proves_no_name(self, layout, session, counted, tmp_path):
        self.add(layout, session, tmp_path)
        free = PolicyRule((f"{layout[2]}/evil",), ())
        policy = Policy((free, *POLICY.rules))
        error = refused(CopySource(layout=tmp_path / "x"), counted, layout[2], session, policy)
        assert "which nothing proves there" in str(error)

    def test_with_a_damaged_signature_is_refused(self, layout, session, counted, tmp_path):
        for path in (tmp_path / "x/blobs/sha256").iterdir():
            if b"cosign container image signature" in path.read_bytes():
                path.write_bytes(path.read_bytes().replace(b"sha256", b"sha257"))
        error = refused(CopySource(layout=tmp_path / "x"), counted, layout[2], session)
        assert "checksum" in str(error)


class TestAPolicy:
    def test_has_rules_by_repository(self, place, counted, session):
        signed, plain = (make_image(session, f"{place}/{name}", [name]) for name in ("signed", "plain"))
        host = place.partition("/")[0]
        needed = Requirement((TRUSTED,))
        policy = Policy(
            (PolicyRule((f"{host}/*/plain",)), PolicyRule((f"{host}/*/signed", f"{host}/none/**"), (needed,)))
        )
        attempt(CopySource(image=str(plain)), f"{place}-inside", session, policy)
        error = refused(CopySource(image=str(signed)), counted, place, session, policy)
        assert "it has no signature" in str(error)
        other = make_image(session, f"{place}/third", ["third"])
        error = refused(CopySource(image=str(other)), counted, place, session, policy)
        assert f"no rule of the policy is for {place}/third" in str(error)

    def test_may_ask_for_the_name_and_the_claims_of_the_signer(self, place, by, counted, session):
        image = make_image(session, f"{place}/app")
        needed = Requirement((TRUSTED,), reference="registry.example.com/**", annotations={"release": "1.2"})
        policy = Policy((PolicyRule(("**",), (needed,)),))
        made.put_signature(session, image, KEY, reference="registry.other.example/app")
        error = refused(by(CopySource(image=str(image))), counted, place, session, policy)
        assert "1 is of an image of another name (registry.other.example/app)" in str(error)
        made.put_signature(session, image, KEY, optional={"release": "1.1", "n": 5})
        error = refused(by(CopySource(image=str(image))), counted, place, session, policy)
        assert "1 is without the annotations (release)" in str(error)
        made.put_signature(session, image, KEY, optional={"release": "1.2", "more": "text"})
        assert attempt(by(CopySource(image=str(image))), f"{place}-inside", session, policy).verified

    def test_may_ask_for_a_signature_and_an_attestation(self, place, counted, session):
        image = make_image(session, f"{place}/app")
        rule = PolicyRule(
            ("**",), (Requirement((TRUSTED,)), Requirement((STRANGER,), predicate_type=made.PROVENANCE))
        )
        made.put_signature(session, image, KEY)
        made.put_attestation(session, image, KEY)
        source, policy = CopySource(image=str(image)), Policy((rule,))
        error = refused(source, counted, place, session, policy)
        assert "attestation" in str(error)
        assert "no signature by cosign.pub" not in str(error)
        made.put_bundle(session, image, OTHER, made.PROVENANCE)
        verified = attempt(source, f"{place}-inside", session, policy).verified
        assert verified[0].signers == ("cosign.pub", "other.pub")


class TestHostileAttachments:
    def test_with_thousands_of_layers_are_refused(self, fresh, counted, session):
        image = make_image(session, f"{fresh}/app")
        layer = made.signed_layer(KEY, made.payload(image.digest))
        blob = {**put_blob(session, image.repository, layer[0], layer[1]), "annotations": layer[2]}
        config = put_blob(session, image.repository, b"{}", made.OCI_CONFIG)
        document = {"schemaVersion": 2, "mediaType": made.OCI_MANIFEST, "config": config}
        tag = f"sha256-{image.digest.hex}.sig"
        put_manifest(session, image.repository, {**document, "layers": [blob] * 5000}, tag)
        error = refused(CopySource(image=str(image)), counted, fresh, session)
        assert "has 5000 layers; at most 500 signatures are read" in str(error)

    def test_of_a_size_that_no_signature_has_are_refused_unread(self, fresh, counted, session):
        image = make_image(session, f"{fresh}/app")
        made.put_layers(session, image, [made.signed_layer(KEY, b" " * (2 << 20))])
        error = refused(CopySource(image=str(image)), counted, fresh, session)
        assert "a signature of 2097152 bytes; at most 1048576 are read" in str(error)

    def test_in_great_number_are_refused(self, fresh, counted, session):
        image = make_image(session, f"{fresh}/app")
        layer = made.signed_layer(KEY, made.payload(image.digest))
        made.put_layers(session, image, [layer] * 500)
        made.put_bundle(session, image, KEY)
        error = refused(CopySource(image=str(image)), counted, fresh, session)
        assert "more than 500 signatures" in str(error)

    def test_of_other_media_types_are_no_signatures(self, fresh, counted, session):
        image = make_image(session, f"{fresh}/app")
        body, _, notes = made.signed_layer(KEY, made.payload(image.digest))
        made.put_layers(session, image, [(body, "text/plain", notes)])
        made.put_referrer(session, image, b"{}", media_type="application/vnd.cncf.notary.signature")
        error = refused(CopySource(image=str(image)), counted, fresh, session)
        assert "it has no signature" in str(error)

    def test_with_a_key_twice_are_refused(self, fresh, counted, session):
        image = make_image(session, f"{fresh}/app")
        body = made.payload(image.digest).replace(b'"optional":null', b'"optional":null,"optional":{}')
        made.put_layers(session, image, [made.signed_layer(KEY, body)])
        error = refused(CopySource(image=str(image)), counted, fresh, session)
        assert "a key is repeated" in str(error)

    def test_that_are_an_index_hold_no_signature(self, fresh, counted, session):
        image = make_image(session, f"{fresh}/app")
        make_index(session, f"{fresh}/app", {"linux/amd64": image}, tag=f"sha256-{image.digest.hex}.sig")
        assert "it has no signature" in str(refused(CopySource(image=str(image)), counted, fresh, session))


def test_a_preview_is_refused_as_the_copy_would_be(fresh, session):
    image = make_image(session, f"{fresh}/app")
    options = CopyOptions(policy=POLICY)
    with pytest.raises(Untrusted):
        preview_copy(CopySource(image=str(image)), f"{fresh}-inside", options=options, session=session)


def test_a_file_is_not_made_of_what_is_not_signed(fresh, session, tmp_path):
    image = make_image(session, f"{fresh}/app")
    for to in ({"to_tar": tmp_path / "x.tar"}, {"to_layout": tmp_path / "x"}):
        with pytest.raises(Untrusted):
            copy(CopySource(image=str(image)), options=CopyOptions(policy=POLICY), session=session, **to)
    assert list(tmp_path.iterdir()) == []


def test_a_signature_under_the_tag_is_the_one_that_is_copied(fresh, session):
    image = make_image(session, f"{fresh}/app")
    signature = made.put_signature(session, image, KEY)
    result = attempt(CopySource(image=str(image)), f"{fresh}-inside", session, cosign_signatures=True)
    assert {one.destination.digest for one in result.images} == {image.digest, signature.digest}
