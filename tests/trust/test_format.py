"""The public formats, byte by byte, and what is refused of them."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.servers import signatures as made

from imgpkg.errors import VerificationError
from imgpkg.oci.descriptor import Digest
from imgpkg.trust.format import (
    Envelope,
    SigstoreBundle,
    SimpleSigning,
    Statement,
    bundle_bytes,
    key_hint,
    pae,
)

DIGEST = Digest.of(b"image")
LONG = Digest("sha512", hashlib.sha512(b"image").hexdigest())
KEY = made.MAKERS["p256"]()


def changed(raw, *path, to=None):
    """Return the JSON `raw` with the value at `path` replaced, or removed for None."""
    document = json.loads(raw)
    at = document
    for key in path[:-1]:
        at = at[key]
    if to is None:
        del at[path[-1]]
    else:
        at[path[-1]] = to
    return json.dumps(document).encode()


class TestSimpleSigning:
    def test_has_the_bytes_of_cosign(self):
        assert SimpleSigning(DIGEST, "registry.example.com/team/app").to_bytes() == made.payload(DIGEST)
        wanted = made.payload(DIGEST, "r/a", {"k": "v"})
        assert SimpleSigning(DIGEST, "r/a", {"k": "v"}).to_bytes() == wanted

    @given(st.dictionaries(st.text(), st.text()))
    def test_is_read_as_it_was_written(self, notes):
        for digest in (DIGEST, LONG):
            payload = SimpleSigning(digest, "r/a", notes)
            assert SimpleSigning.parse(payload.to_bytes()) == payload

    @pytest.mark.parametrize(
        ("path", "value", "why"),
        [
            (("critical",), None, "no object critical"),
            (("critical", "type"), None, "no text type"),
            (("critical", "type"), "cosign container image attestation", "of the type"),
            (("critical", "image"), None, "no object image"),
            (("critical", "image", "docker-manifest-digest"), None, "no text docker-manifest-digest"),
            (("critical", "image", "docker-manifest-digest"), "sha1:00", "names no digest"),
            (("critical", "image", "Docker-manifest-digest"), str(LONG), "where docker-manifest-digest"),
            (("critical", "identity"), None, "no object identity"),
            (("critical", "identity", "docker-reference"), 5, "no text docker-reference"),
        ],
    )
    def test_of_another_form_is_refused(self, path, value, why):
        with pytest.raises(VerificationError, match=why):
            SimpleSigning.parse(changed(made.payload(DIGEST), *path, to=value))


class TestPreAuthenticationEncoding:
    def test_is_that_of_the_specification(self):
        assert pae("http://example.com/HelloWorld", b"hello world") == (
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        )

    @given(st.text(), st.binary())
    def test_counts_bytes(self, kind, body):
        assert pae(kind, body) == made.pae(kind, body).replace(
            f" {len(kind)} ".encode(), f" {len(kind.encode())} ".encode(), 1
        )

    @given(st.text(), st.binary(), st.text(), st.binary())
    def test_of_two_messages_is_never_the_same(self, kind, body, other_kind, other_body):
        is_same = pae(kind, body) == pae(other_kind, other_body)
        assert is_same == ((kind, body) == (other_kind, other_body))


class TestAnEnvelope:
    RAW = json.dumps(made.envelope(KEY, made.statement(DIGEST, made.PROVENANCE))).encode()

    def test_is_read(self):
        envelope = Envelope.parse(self.RAW)
        assert Statement.parse(envelope.payload).predicate_type == made.PROVENANCE
        assert len(envelope.signatures) == 1
        assert Envelope.of(envelope.document()) == envelope

    @pytest.mark.parametrize(
        ("path", "value", "why"),
        [
            (("payload",), None, "no text payload"),
            (("payload",), "AAA", "no base64"),
            (("payloadType",), None, "no text payloadType"),
            (("signatures",), None, "no list of objects signatures"),
            (("signatures",), ["a"], "no list of objects signatures"),
            (("signatures",), [{}], "no text sig"),
            (("signatures",), [{"sig": "AAAA"}] * 33, "33 signatures; at most 32"),
            (("payloadtype",), "x", "where payloadType is expected"),
        ],
    )
    def test_of_another_form_is_refused(self, path, value, why):
        with pytest.raises(VerificationError, match=why):
            Envelope.parse(changed(self.RAW, *path, to=value))


class TestAStatement:
    @pytest.mark.parametrize("kind", ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"])
    def test_names_digests(self, kind):
        statement = Statement.parse(made.statement(DIGEST, "a:b", kind=kind, annotations={"k": "v", "n": 5}))
        assert (statement.digests, dict(statement.annotations)) == ((DIGEST,), {"k": "v"})

    def test_may_have_many_subjects_and_algorithms(self):
        subjects = [
            {"digest": {"sha256": DIGEST.hex, "sha512": LONG.hex, "sha1": "0"}, "annotations": {"k": "v"}},
            {"name": "only", "digest": {"gitCommit": "0"}},
        ]
        raw = changed(made.statement(DIGEST, "a:b"), "subject", to=subjects)
        statement = Statement.parse(raw)
        assert statement.digests == (DIGEST, LONG)
        assert not statement.annotations

    def test_that_is_written_is_read(self):
        for digest in (DIGEST, LONG):
            statement = Statement(made.SIGN, (digest,))
            assert Statement.parse(statement.to_bytes()) == statement

    @pytest.mark.parametrize(
        ("path", "value", "why"),
        [
            (("_type",), "https://in-toto.io/Statement/v2", "unknown type"),
            (("_type",), None, "no text _type"),
            (("subject",), [], "no subject"),
            (("subject",), None, "no list of objects subject"),
            (("subject",), [{}], "no object digest"),
            (("subject",), [{"digest": {"sha256": "abc"}}], "names no digest"),
            (("subject",), [{"digest": {"sha256": DIGEST.hex.upper().replace("0", "A")}}], "names no digest"),
            (("subject",), [{"digest": {}}] * 10_001, "at most 10000"),
            (("predicateType",), None, "no text predicateType"),
        ],
    )
    def test_of_another_form_is_refused(self, path, value, why):
        with pytest.raises(VerificationError, match=why):
            Statement.parse(changed(made.statement(DIGEST, "a:b"), *path, to=value))


class TestASigstoreBundle:
    RAW = json.dumps(made.bundle(KEY, made.statement(DIGEST, made.SIGN))).encode()

    @pytest.mark.parametrize(
        "media_type",
        [
            made.BUNDLE,
            *(f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}" for minor in (1, 2, 3)),
        ],
    )
    def test_of_every_version_is_read(self, media_type):
        bundle = SigstoreBundle.parse(changed(self.RAW, "mediaType", to=media_type))
        assert not bundle.is_keyless
        assert Statement.parse(bundle.envelope.payload).digests == (DIGEST,)

    def test_in_the_names_of_protocol_buffers_is_read(self):
        document = json.loads(self.RAW)
        envelope = document.pop("dsseEnvelope")
        envelope["payload_type"] = envelope.pop("payloadType")
        snakes = {
            "media_type": document["mediaType"],
            "verification_material": {"public_key": {"hint": "x"}},
            "dsse_envelope": envelope,
        }
        assert SigstoreBundle.parse(json.dumps(snakes).encode()) == SigstoreBundle.parse(self.RAW)

    @pytest.mark.parametrize(
        "material",
        [{"certificate": {"rawBytes": "AAAA"}}, {"x509CertificateChain": {}}, {"x509_certificate_chain": {}}],
    )
    def test_with_a_certificate_is_keyless(self, material):
        assert SigstoreBundle.parse(changed(self.RAW, "verificationMaterial", to=material)).is_keyless

    @pytest.mark.parametrize(
        ("path", "value", "why"),
        [
            (("mediaType",), "application/vnd.dev.sigstore.bundle.v9+json", "unknown type"),
            (("mediaType",), None, "no text mediaType"),
            (("media_type",), made.BUNDLE, "mediaType and media_type"),
            (("dsseEnvelope",), None, "has no envelope"),
            (("dsse_envelope",), {}, "dsseEnvelope and dsse_envelope"),
            (("dsseEnvelope", "signatures"), [], "has 0 signatures"),
            (("dsseEnvelope", "signatures"), [{"sig": "AAAA"}] * 2, "has 2 signatures"),
            (("verificationMaterial",), None, "no object verificationMaterial"),
            (("verificationMaterial",), {}, "neither a key nor a certificate, or both"),
            (("verificationMaterial", "certificate"), {}, "neither a key nor a certificate, or both"),
        ],
    )
    def test_of_another_form_is_refused(self, path, value, why):
        with pytest.raises(VerificationError, match=why):
            SigstoreBundle.parse(changed(self.RAW, *path, to=value))

    def test_that_is_written_is_the_one_of_cosign(self):
        body = Statement(made.SIGN, (DIGEST,)).to_bytes()
        der = made.public_pem(KEY).split(b"-----")[2].replace(b"\n", b"")
        hint = key_hint(base64.b64decode(der))
        raw = bundle_bytes(Envelope("application/vnd.in-toto+json", body, (b"sig",)), hint)
        wanted = made.bundle(KEY, body, signer=lambda *_: b"sig")
        assert json.loads(raw)["verificationMaterial"] == wanted["verificationMaterial"]
        assert json.loads(raw)["dsseEnvelope"]["signatures"] == [
            {"sig": base64.b64encode(b"sig").decode(), "keyid": hint}
        ]
        assert SigstoreBundle.parse(raw).envelope.payload == body
