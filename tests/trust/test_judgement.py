"""The one sentence that says why a signature does not count."""

from __future__ import annotations

import json

import pytest
from tests.servers import signatures as made

from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.trust.attachment import Attachment, Candidate, SignatureForm
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.judgement import judge
from imgpkg.trust.key import PublicKey
from imgpkg.trust.policy import Match, Requirement

DIGEST = Digest.of(b"image")
PRIVATE = {name: made.MAKERS["p256"]() for name in ("a.pub", "b.pub", "c.pub")}
KEYS = {name: PublicKey.parse(made.public_pem(key), name) for name, key in PRIVATE.items()}


def signature(name, digest=DIGEST, **notes):
    body, kind, annotations = made.signed_layer(PRIVATE[name], made.payload(digest))
    layer = Descriptor(kind, Digest.of(body), len(body), {**annotations, **notes})
    return Attachment(Candidate(SignatureForm.SIMPLE_SIGNING, layer, "here"), body)


def reason(attachments, names, **options):
    judgement = judge(Requirement(tuple(KEYS[name] for name in names), **options), DIGEST, attachments)
    assert not judgement.is_fulfilled
    return judgement.reason


def test_of_one_key():
    assert reason([], ["a.pub"]) == "no signature by a.pub: it has no signature"
    assert reason([signature("b.pub")], ["a.pub"]) == "no signature by a.pub: 1 is by another key"


def test_of_any_of_several_keys():
    text = reason(
        [signature("c.pub"), signature("c.pub"), signature("a.pub", Digest.of(b"x"))], KEYS.keys() - {"c.pub"}
    )
    names = ", ".join(KEYS.keys() - {"c.pub"})
    assert text == (
        f"no signature by any of the 2 keys {names}: 2 are by another key, "
        f"1 is of another digest ({Digest.of(b'x')})"
    )


def test_of_all_keys():
    assert reason([signature("b.pub")], ["a.pub", "b.pub", "c.pub"], match=Match.ALL) == (
        "no signature by a.pub and c.pub: it has no signature"
    )


def test_keys_of_one_name_are_two_keys():
    other = PublicKey(KEYS["b.pub"].der, "a.pub")
    needed = Requirement((KEYS["a.pub"], other), match=Match.ALL)
    assert not judge(needed, DIGEST, [signature("a.pub")]).is_fulfilled
    assert judge(needed, DIGEST, [signature("a.pub"), signature("b.pub")]).is_fulfilled


def test_an_attestation_is_named_by_its_type():
    text = reason([signature("a.pub")], ["a.pub"], predicate_type=made.PROVENANCE)
    assert text == f"no attestation {made.PROVENANCE} by a.pub: 1 is of another type"


def test_a_certificate_beside_the_signature_of_a_key_does_no_harm():
    beside = signature("a.pub", **{"dev.sigstore.cosign/certificate": "PEM"})
    assert judge(Requirement((KEYS["a.pub"],)), DIGEST, [beside]).signers == (KEYS["a.pub"],)
    signer = SignerIdentity("me@example.com", "https://login.example.com", "root.json")
    both = Requirement((KEYS["a.pub"],), (signer,))
    assert judge(both, DIGEST, [beside]).signers == (KEYS["a.pub"],)


def test_the_older_form_of_keyless_signatures_is_refused():
    beside = signature("a.pub", **{"dev.sigstore.cosign/certificate": "PEM"})
    signer = SignerIdentity("me@example.com", "https://login.example.com", "root.json")
    judgement = judge(Requirement(identities=(signer,)), DIGEST, [beside])
    assert "the older form under a tag has no proof" in judgement.reason


@pytest.mark.parametrize("count", [1, 32])
def test_any_signature_of_an_envelope_counts(count):
    body = made.statement(DIGEST, made.PROVENANCE)
    document = made.envelope(PRIVATE["a.pub"], body)
    document["signatures"] = [*[{"sig": "AAAA"}] * (count - 1), *document["signatures"]]
    raw = json.dumps(document).encode()
    layer = Descriptor(made.ENVELOPE, Digest.of(raw), len(raw))
    attachment = Attachment(Candidate(SignatureForm.ENVELOPE, layer, "here"), raw)
    needed = Requirement((KEYS["a.pub"],), predicate_type=made.PROVENANCE)
    assert judge(needed, DIGEST, [attachment]).is_fulfilled
