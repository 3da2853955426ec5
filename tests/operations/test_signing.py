"""What a push signs is verified, by us and by the public formats read with `cryptography` alone."""

from __future__ import annotations

import base64
import itertools
import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from tests.operations.making import make_image, make_index
from tests.servers import signatures as made

from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.errors import InvalidManifest, Untrusted
from imgpkg.oci.reference import Reference
from imgpkg.operations.copy.copy import copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.pull import pull
from imgpkg.operations.push import push
from imgpkg.operations.verification import verify_signatures
from imgpkg.trust.key import SigningKey
from imgpkg.trust.policy import Policy

_numbers = itertools.count()


@pytest.fixture(params=["embedded_registry", "docker_registry"])
def place(request):
    return f"{request.getfixturevalue(request.param).address}/signed{next(_numbers)}/app"


@pytest.fixture
def files(write_tree):
    return [write_tree({"app.yml": "replicas: 1\n"})]


def key_of(kind="p256", name="cosign.key"):
    private = made.MAKERS[kind]()
    return private, SigningKey.parse(made.private_pem(private), name)


@pytest.mark.parametrize("form", ["tag", "bundle"])
@pytest.mark.parametrize("kind", made.MAKERS)
def test_what_is_signed_is_verified(place, files, session, form, kind):
    _, key = key_of(kind)
    pushed = push(files, image=f"{place}:v1", sign_key=key, sign_format=form, session=session)
    verified = verify_signatures(f"{place}:v1", policy=Policy.signed_by([key.public]), session=session)
    assert (verified.reference, verified.signers) == (pushed.reference, ("cosign.key",))
    _, other = key_of(kind)
    with pytest.raises(Untrusted, match="1 is by another key"):
        verify_signatures(f"{place}:v1", policy=Policy.signed_by([other.public]), session=session)


def test_a_signature_under_the_tag_has_the_form_of_cosign(place, files, session):
    private, key = key_of()
    pushed = push(files, image=f"{place}:v1", sign_key=key, session=session)
    tag = pushed.reference.repository.tag(f"sha256-{pushed.reference.digest.hex}.sig")
    manifest = session.client.manifest(tag)
    assert manifest.digest == pushed.signature.digest
    assert manifest.media_type == made.OCI_MANIFEST
    (layer,) = manifest.layers
    assert layer.media_type == made.SIMPLE_SIGNING
    with session.client.blob(tag.repository, layer) as stream:
        body = stream.read(1 << 20)
    assert body == made.payload(pushed.reference.digest, place)
    signature = base64.b64decode(layer.annotations["dev.cosignproject.cosign/signature"], validate=True)
    private.public_key().verify(signature, body, ec.ECDSA(hashes.SHA256()))
    with session.client.blob(tag.repository, manifest.config) as stream:
        config = json.loads(stream.read(1 << 20))
    assert config["rootfs"] == {"type": "layers", "diff_ids": [str(layer.digest)]}


def test_a_bundle_has_the_form_of_cosign(place, files, session):
    private, key = key_of("p384")
    pushed = push(files, image=f"{place}:v1", sign_key=key, sign_format="bundle", session=session)
    reference = pushed.reference
    (found,) = session.client.referrers(reference.repository, reference.digest)
    assert (found.digest, found.artifact_type) == (pushed.signature.digest, made.BUNDLE)
    manifest = session.client.manifest(pushed.signature)
    assert manifest.subject.digest == reference.digest
    assert dict(manifest.annotations) == {
        "dev.sigstore.bundle.content": "dsse-envelope",
        "dev.sigstore.bundle.predicateType": made.SIGN,
    }
    with session.client.blob(reference.repository, manifest.layers[0]) as stream:
        bundle = json.loads(stream.read(1 << 20))
    envelope = bundle["dsseEnvelope"]
    body = base64.b64decode(envelope["payload"])
    assert json.loads(body)["subject"] == [{"digest": {"sha256": reference.digest.hex}}]
    signature = base64.b64decode(envelope["signatures"][0]["sig"])
    message = made.pae(envelope["payloadType"], body)
    private.public_key().verify(signature, message, ec.ECDSA(hashes.SHA384()))
    assert bundle["verificationMaterial"]["publicKey"]["hint"] == envelope["signatures"][0]["keyid"]


@pytest.mark.parametrize("form", ["tag", "bundle"])
def test_a_second_push_signs_nothing_again(place, files, session, form):
    _, key = key_of()
    options = {"sign_key": key, "sign_format": form, "session": session}
    first = push(files, image=f"{place}:v1", **options)
    assert push(files, image=f"{place}:v2", **options) == type(first)(first.reference, "v2", first.signature)


def test_a_signature_that_is_listed_and_gone_is_made_again(files, session):
    _, key = key_of()
    with serve(features=Features(referrers=False)) as server:
        options = {"image": f"{server.address}/app:v1", "sign_key": key, "sign_format": "bundle"}
        gone = push(files, session=session, **options).signature
        assert session.client.delete_manifest(gone.repository, gone.digest)
        assert session.client.exists(push(files, session=session, **options).signature)


@pytest.mark.parametrize("form", ["tag", "bundle"])
def test_several_keys_sign_one_image(place, files, session, form):
    keys = [key_of(name=f"{n}.key")[1] for n in range(3)]
    for key in keys:
        push(files, image=f"{place}:v1", sign_key=key, sign_format=form, session=session)
    for key in keys:
        policy = Policy.signed_by([key.public])
        assert verify_signatures(f"{place}:v1", policy=policy, session=session).signers == (str(key.public),)


def test_signatures_of_others_stay_as_they_were(place, files, session):
    other, _ = key_of()
    _, key = key_of()
    image = push(files, image=f"{place}:v1", session=session).reference
    made.put_signature(session, image, other, optional={"by": "another program"})
    before = json.loads(session.client.manifest(_tag(image)).raw)["layers"]
    push(files, image=f"{place}:v1", sign_key=key, session=session)
    after = json.loads(session.client.manifest(_tag(image)).raw)["layers"]
    assert after[:-1] == before
    assert len(after) == 2


def _tag(image):
    return image.repository.tag(f"sha256-{image.digest.hex}.sig")


def test_a_tag_that_holds_something_else_is_kept(place, files, session):
    _, key = key_of()
    image = push(files, image=f"{place}:v1", session=session).reference
    make_index(session, place, {"linux/amd64": image}, tag=str(_tag(image).tag))
    before = session.client.manifest(_tag(image)).digest
    with pytest.raises(InvalidManifest, match="holds no signatures"):
        push(files, image=f"{place}:v1", sign_key=key, session=session)
    assert session.client.manifest(_tag(image)).digest == before


@pytest.mark.parametrize("form", ["tag", "bundle"])
def test_the_signature_is_there_before_the_tag(embedded_registry, files, session, form):
    place = f"{embedded_registry.address}/signed{next(_numbers)}"
    _, key = key_of()
    count = len(embedded_registry.requests)
    pushed = push(files, image=f"{place}:v1", sign_key=key, sign_format=form, session=session)
    paths = [one.path for one in embedded_registry.requests[count:] if one.method == "PUT"]
    last = [path for path in paths if "/manifests/" in path]
    name = str(pushed.signature.digest) if form == "bundle" else f"sha256-{pushed.reference.digest.hex}.sig"
    at = next(n for n, path in enumerate(last) if path.endswith(name))
    assert at < next(n for n, path in enumerate(last) if path.endswith("/v1"))


def test_images_are_signed_at_the_same_time(place, write_tree, session):
    _, key = key_of()
    trees = [write_tree({"n": str(n)}) for n in range(4)]
    with ThreadPoolExecutor(4) as threads:
        pushed = list(
            threads.map(
                lambda n: push([trees[n]], image=f"{place}:v{n}", sign_key=key, session=session), range(4)
            )
        )
    for one in pushed:
        assert verify_signatures(str(one.reference), policy=Policy.signed_by([key.public]), session=session)


def test_an_unsigned_push_signs_nothing(place, files, session):
    pushed = push(files, image=f"{place}:v1", session=session)
    assert pushed.signature is None
    assert session.client.exists(_tag(Reference.parse(str(pushed.reference)))) is None
    assert make_image(session, place)


@pytest.mark.parametrize("form", ["tag", "bundle"])
@pytest.mark.parametrize("kind", ["tar", "layout"])
def test_what_is_written_to_a_file_is_signed_in_it(place, files, session, tmp_path, kind, form):
    _, key = key_of()
    _, other = key_of()
    path = tmp_path / "x"
    options = {f"to_{kind}": path, "sign_key": key, "sign_format": form, "session": session}
    pushed = push(files, image=f"{place}:v1", **options)
    pull(tmp_path / "out", policy=Policy.signed_by([key.public]), session=session, **{kind: path})
    assert (tmp_path / "out/app.yml").read_text() == "replicas: 1\n"
    source = CopySource(**{kind: path})
    with pytest.raises(Untrusted, match="1 is by another key"):
        copy(source, to_repo=place, options=_accepting(other), session=session)
    copy(source, to_repo=place, options=_accepting(key), session=session)
    # There it is what a push would have made.
    verified = verify_signatures(f"{place}:v1", policy=Policy.signed_by([key.public]), session=session)
    assert verified.reference == pushed.reference
    assert session.client.exists(pushed.signature)


def _accepting(key):
    return CopyOptions(policy=Policy.signed_by([key.public]))
