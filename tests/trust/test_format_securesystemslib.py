"""Envelopes of another implementation, the one of in-toto and TUF, are read, and ours are read by it."""

from __future__ import annotations

import json

import pytest
from tests.servers import signatures as made

from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.trust.attachment import Attachment, Candidate, SignatureForm
from imgpkg.trust.format import PAYLOAD_TYPE, Envelope, Statement
from imgpkg.trust.judgement import judge
from imgpkg.trust.key import PublicKey, SigningKey
from imgpkg.trust.policy import Requirement

dsse = pytest.importorskip("securesystemslib.dsse")
signer = pytest.importorskip("securesystemslib.signer")

DIGEST = Digest.of(b"image")
# The schemes of both: securesystemslib has PSS for RSA.
KEYS = {name: made.MAKERS[name]() for name in ("p256", "ed25519")}


@pytest.mark.parametrize("name", KEYS)
def test_its_envelopes_are_verified(name):
    private = KEYS[name]
    envelope = dsse.Envelope(made.statement(DIGEST, made.PROVENANCE), PAYLOAD_TYPE, {})
    envelope.sign(signer.CryptoSigner(private))
    raw = json.dumps(envelope.to_dict()).encode()
    layer = Descriptor(made.ENVELOPE, Digest.of(raw), len(raw))
    attachment = Attachment(Candidate(SignatureForm.ENVELOPE, layer, "here"), raw)
    key = PublicKey.parse(made.public_pem(private), "cosign.pub")
    assert judge(Requirement((key,), predicate_type=made.PROVENANCE), DIGEST, [attachment]).is_fulfilled


@pytest.mark.parametrize("name", KEYS)
def test_it_verifies_our_envelopes(name):
    private = KEYS[name]
    key = SigningKey.parse(made.private_pem(private), "key")
    body = Statement(made.SIGN, (DIGEST,)).to_bytes()
    signed = Envelope(PAYLOAD_TYPE, body, (key.sign(Envelope(PAYLOAD_TYPE, body).message),))
    public = signer.SSlibKey.from_crypto(private.public_key())
    theirs = dsse.Envelope.from_dict(signed.document(public.keyid))
    assert theirs.verify([public], 1) == {public.keyid: public}
