"""Which layers may be signatures, and what they say before anybody has verified them."""

from __future__ import annotations

import json

import pytest
from tests.servers import signatures as made

from imgpkg.errors import VerificationError
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.trust.attachment import (
    Attachment,
    Candidate,
    SignatureForm,
    candidates,
    may_be_signature,
)

DIGEST = Digest.of(b"image")
KEY = made.MAKERS["p256"]()


def manifest(*layers, **notes):
    described = [
        {"mediaType": kind, "size": 5, "digest": str(DIGEST), "annotations": annotations}
        for kind, annotations in layers
    ]
    config = {"mediaType": made.OCI_CONFIG, "size": 2, "digest": str(Digest.of(b"{}"))}
    document = {"schemaVersion": 2, "config": config, "layers": described, "annotations": notes}
    return Manifest.parse(json.dumps(document).encode(), made.OCI_MANIFEST)


def forms(found, wanted=("",)):
    return [candidate.form.name for candidate in candidates(found, "here", wanted)]


PREDICATE = {"predicateType": made.PROVENANCE}


@pytest.mark.parametrize(
    ("layers", "wanted", "found"),
    [
        ([(made.SIMPLE_SIGNING, {})], [""], ["SIMPLE_SIGNING"]),
        ([(made.SIMPLE_SIGNING, {})], [made.PROVENANCE], []),
        ([(made.SIMPLE_SIGNING, {})] * 3 + [("text/plain", {})], [""], ["SIMPLE_SIGNING"] * 3),
        ([(made.ENVELOPE, {})], [""], ["ENVELOPE"]),
        ([(made.ENVELOPE, PREDICATE)], [""], []),
        ([(made.ENVELOPE, PREDICATE)], [made.PROVENANCE], ["ENVELOPE"]),
        ([(made.BUNDLE, {})], [""], ["BUNDLE"]),
        ([("application/vnd.dev.sigstore.bundle+json;version=0.2", {})], [""], ["BUNDLE"]),
        ([(made.BUNDLE, {}), (made.BUNDLE, {})], [""], []),
        ([(made.BUNDLE, {}), (made.SIMPLE_SIGNING, {})], [""], []),
        ([], [""], []),
    ],
)
def test_layers_that_may_be_signatures(layers, wanted, found):
    assert forms(manifest(*layers), wanted) == found


def test_the_claim_of_a_referrer_is_in_its_manifest():
    claim = {"dev.sigstore.bundle.predicateType": made.PROVENANCE}
    assert forms(manifest((made.BUNDLE, {}), **claim)) == []
    assert forms(manifest((made.BUNDLE, {}), **claim), ["", made.PROVENANCE]) == ["BUNDLE"]
    claim = {"dev.sigstore.bundle.predicateType": made.SIGN}
    assert forms(manifest((made.BUNDLE, {}), **claim)) == ["BUNDLE"]


@pytest.mark.parametrize(
    ("artifact_type", "is_possible"),
    [
        ("", True),
        (made.BUNDLE, True),
        ("application/vnd.dev.cosign.artifact.sig.v1+json", True),
        ("application/vnd.cncf.notary.signature", False),
        ("application/spdx+json", False),
    ],
)
def test_types_of_referrers(artifact_type, is_possible):
    assert may_be_signature(artifact_type) is is_possible


@pytest.mark.parametrize("form", SignatureForm)
def test_sizes_have_a_limit(form):
    layer = Descriptor("any", DIGEST, 1 << 20)
    Candidate(form, layer, "here").check_size()
    with pytest.raises(VerificationError, match=r"here: a .* bytes; at most"):
        Candidate(form, Descriptor("any", DIGEST, (64 << 20) + 1), "here").check_size()


def test_another_payload_in_an_envelope_is_no_statement():
    raw = json.dumps(made.envelope(KEY, made.statement(DIGEST, "a:b"), kind="text/plain")).encode()
    candidate = Candidate(SignatureForm.ENVELOPE, Descriptor(made.ENVELOPE, DIGEST, len(raw)), "here")
    with pytest.raises(VerificationError, match="of the type 'text/plain'"):
        Attachment(candidate, raw).open()


@pytest.mark.parametrize("annotation", [None, "", "no base64!"])
def test_a_signature_that_is_missing_or_unreadable_verifies_nothing(annotation):
    notes = {} if annotation is None else {"dev.cosignproject.cosign/signature": annotation}
    layer = Descriptor(made.SIMPLE_SIGNING, DIGEST, 5, notes)
    attachment = Attachment(Candidate(SignatureForm.SIMPLE_SIGNING, layer, "here"), made.payload(DIGEST))
    if annotation == "no base64!":
        with pytest.raises(VerificationError, match="is no base64"):
            attachment.open()
    else:
        assert attachment.open().signatures == (b"",)
