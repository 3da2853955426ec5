"""Signatures of identities, verified by sigstore-python against a small sigstore, without a network."""

from __future__ import annotations

import base64
import datetime as dt
import json
import subprocess
import sys

import pytest
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.servers import signatures as made
from tests.servers.sigstore_service import Sigstore, new_key

from imgpkg.errors import InvalidSettings, LocalIOError, VerificationError
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.trust.attachment import Attachment, Candidate, SignatureForm
from imgpkg.trust.format import Statement
from imgpkg.trust.identity import SignerIdentity
from imgpkg.trust.judgement import SignatureOutcome, judge
from imgpkg.trust.key import PublicKey
from imgpkg.trust.keyless import verified_envelope
from imgpkg.trust.policy import Match, Requirement

pytest.importorskip("sigstore")

DIGEST = Digest.of(b"image")
BODY = made.statement(DIGEST, made.SIGN)
ISSUER = "https://token.actions.githubusercontent.com"
WORKFLOW = "https://github.com/team/app/.github/workflows/release.yml@refs/tags/v1"


@pytest.fixture(scope="module")
def sigstore():
    return Sigstore()


@pytest.fixture(scope="module")
def root(sigstore, tmp_path_factory):
    path = tmp_path_factory.mktemp("sigstore") / "trusted_root.json"
    path.write_text(sigstore.trusted_root())
    return path


def judged(bundle, *identities, keys=(), digest=DIGEST, **options):
    raw = json.dumps(bundle).encode()
    layer = Descriptor(made.BUNDLE, Digest.of(raw), len(raw))
    attachment = Attachment(Candidate(SignatureForm.BUNDLE, layer, "here"), raw)
    return judge(Requirement(tuple(keys), identities, **options), digest, [attachment])


@pytest.mark.parametrize("identity", [WORKFLOW, "releases@example.com"])
def test_a_signature_of_the_identity_is_accepted(sigstore, root, identity):
    bundle = sigstore.bundle(BODY, identity, ISSUER)
    signer = SignerIdentity(identity, ISSUER, root)
    assert verified_envelope(json.dumps(bundle).encode(), signer).payload == BODY
    judgement = judged(bundle, signer)
    assert (judgement.is_fulfilled, judgement.signers) == (True, (signer,))


def test_an_expression_may_name_many_identities(sigstore, root):
    bundle = sigstore.bundle(BODY, WORKFLOW, ISSUER)
    pattern = r"https://github\.com/team/.*@refs/tags/v[0-9]+"
    assert judged(bundle, SignerIdentity(pattern, ISSUER, root, is_identity_pattern=True)).is_fulfilled
    other = r"https://github\.com/other/.*"
    assert not judged(bundle, SignerIdentity(other, ISSUER, root, is_identity_pattern=True)).is_fulfilled


@pytest.mark.parametrize(
    ("identity", "issuer"),
    [("someone@example.com", ISSUER), (WORKFLOW, "https://accounts.example.com"), (WORKFLOW[:-1], ISSUER)],
)
def test_of_another_identity_or_issuer_it_is_refused(sigstore, root, identity, issuer):
    bundle = sigstore.bundle(BODY, WORKFLOW, ISSUER)
    judgement = judged(bundle, SignerIdentity(identity, issuer, root))
    assert not judgement.is_fulfilled
    assert f"it is signed by {WORKFLOW} of {ISSUER}" in judgement.reason


def test_of_another_digest_it_is_refused(sigstore, root):
    bundle = sigstore.bundle(BODY, WORKFLOW, ISSUER)
    judgement = judged(bundle, SignerIdentity(WORKFLOW, ISSUER, root), digest=Digest.of(b"other"))
    assert [found.outcome for found in judgement.findings] == [SignatureOutcome.OTHER_DIGEST]


def test_where_only_keys_are_accepted_it_is_refused(sigstore):
    key = PublicKey.parse(made.public_pem(new_key()), "cosign.pub")
    judgement = judged(sigstore.bundle(BODY, WORKFLOW, ISSUER), keys=[key])
    assert "by an identity, where only keys are accepted" in judgement.reason


def test_all_identities_have_to_sign_where_the_policy_says_so(sigstore, root):
    signers = [SignerIdentity(name, ISSUER, root) for name in (WORKFLOW, "releases@example.com")]
    judgement = judged(sigstore.bundle(BODY, WORKFLOW, ISSUER), *signers, match=Match.ALL)
    assert not judgement.is_fulfilled
    assert "no signature by releases@example.com of" in judgement.reason


def _changed_payload(bundle):
    other = made.statement(Digest.of(b"other"), made.SIGN)
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(other).decode()


def _changed_log_id(bundle):
    bundle["verificationMaterial"]["tlogEntries"][0]["logId"]["keyId"] = base64.b64encode(b"0" * 32).decode()


def _no_log(bundle):
    del bundle["verificationMaterial"]["tlogEntries"]


def _no_proof(bundle):
    del bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]


def _no_promise(bundle):
    del bundle["verificationMaterial"]["tlogEntries"][0]["inclusionPromise"]


def _other_time(bundle):
    bundle["verificationMaterial"]["tlogEntries"][0]["integratedTime"] = "1700000000"


def _no_certificate(bundle):
    bundle["verificationMaterial"]["certificate"] = {"rawBytes": "AAAA"}


@pytest.mark.parametrize(
    "damage",
    [_changed_payload, _changed_log_id, _no_log, _no_proof, _no_promise, _other_time, _no_certificate],
)
def test_a_damaged_bundle_is_refused(sigstore, root, damage):
    bundle = sigstore.bundle(BODY, WORKFLOW, ISSUER)
    damage(bundle)
    with pytest.raises(VerificationError):
        verified_envelope(json.dumps(bundle).encode(), SignerIdentity(WORKFLOW, ISSUER, root))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"is_logged": False}, "SCT"),
        ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "code signing"),
        ({"log": new_key()}, "."),
    ],
    ids=["certificate not logged", "certificate for something else", "another log"],
)
def test_a_certificate_or_log_that_is_not_trusted_is_refused(sigstore, root, options, why):
    bundle = sigstore.bundle(BODY, WORKFLOW, ISSUER, **options)
    with pytest.raises(VerificationError, match=why):
        verified_envelope(json.dumps(bundle).encode(), SignerIdentity(WORKFLOW, ISSUER, root))


@pytest.mark.parametrize("minutes", [-5, 15])
def test_a_signature_outside_of_the_time_of_its_certificate_is_refused(sigstore, root, minutes):
    time = sigstore.now + dt.timedelta(minutes=minutes)
    bundle = sigstore.bundle(BODY, WORKFLOW, ISSUER, logged_at=time)
    with pytest.raises(VerificationError, match="valid"):
        verified_envelope(json.dumps(bundle).encode(), SignerIdentity(WORKFLOW, ISSUER, root))


def test_a_certificate_that_has_expired_since_is_accepted(tmp_path):
    past = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=20)
    old = Sigstore(past.replace(microsecond=0))
    (tmp_path / "root.json").write_text(old.trusted_root())
    bundle = old.bundle(BODY, WORKFLOW, ISSUER)
    signer = SignerIdentity(WORKFLOW, ISSUER, tmp_path / "root.json")
    assert verified_envelope(json.dumps(bundle).encode(), signer).payload == BODY


def test_another_sigstore_is_not_trusted(root):
    bundle = Sigstore().bundle(BODY, WORKFLOW, ISSUER)
    with pytest.raises(VerificationError):
        verified_envelope(json.dumps(bundle).encode(), SignerIdentity(WORKFLOW, ISSUER, root))


def test_a_statement_of_ours_is_what_sigstore_verifies(sigstore, root):
    body = Statement(made.SIGN, (DIGEST,)).to_bytes()
    bundle = sigstore.bundle(body, WORKFLOW, ISSUER)
    assert judged(bundle, SignerIdentity(WORKFLOW, ISSUER, root)).is_fulfilled


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"mediaType":"x"}'])
def test_a_trusted_root_of_another_form_is_an_error(tmp_path, sigstore, text):
    (tmp_path / "root.json").write_text(text)
    bundle = json.dumps(sigstore.bundle(BODY, WORKFLOW, ISSUER)).encode()
    with pytest.raises(InvalidSettings, match="is no trusted root of sigstore"):
        verified_envelope(bundle, SignerIdentity(WORKFLOW, ISSUER, tmp_path / "root.json"))
    with pytest.raises(LocalIOError):
        verified_envelope(bundle, SignerIdentity(WORKFLOW, ISSUER, tmp_path / "missing.json"))


def test_without_sigstore_an_error_names_the_command_that_installs_it():
    program = (
        "import sys; sys.modules['sigstore'] = None\n"
        "from imgpkg.trust.keyless import require_sigstore\n"
        "from imgpkg.errors import UsageError\n"
        "try:\n    require_sigstore()\n"
        "except UsageError as error:\n    print(error, error.hints[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "is not installed" in done.stdout
    assert "pip install 'imgpkg-py[sigstore]'" in done.stdout


def test_no_network_is_used(sigstore, root, tmp_path):
    (tmp_path / "bundle").write_text(json.dumps(sigstore.bundle(BODY, WORKFLOW, ISSUER)))
    program = (
        "import sys\n"
        "def hook(name, arguments):\n"
        "    if name in ('socket.connect', 'socket.getaddrinfo'):\n"
        "        raise SystemExit(f'{name}{arguments}')\n"
        "sys.addaudithook(hook)\n"
        "from imgpkg.trust.identity import SignerIdentity\n"
        "from imgpkg.trust.keyless import verified_envelope\n"
        f"signer = SignerIdentity({WORKFLOW!r}, {ISSUER!r}, {str(root)!r})\n"
        "print(verified_envelope(open('bundle', 'rb').read(), signer).payload_type)\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "application/vnd.in-toto+json\n"
