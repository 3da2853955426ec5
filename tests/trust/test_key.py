"""Keys in PEM: which of them verify and sign, and what is said of the others."""

from __future__ import annotations

import pickle
import subprocess

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, rsa, x25519
from tests.servers import signatures as made

from imgpkg.errors import ImgpkgError, InvalidSettings, LocalIOError
from imgpkg.trust.key import PublicKey, SigningKey

KEYS = {name: make() for name, make in made.MAKERS.items()}
KINDS = {
    "p256": "ECDSA P-256",
    "p384": "ECDSA P-384",
    "p521": "ECDSA P-521",
    "ed25519": "Ed25519",
    "rsa": "RSA 2048",
}
PASSWORD = b"hunter2 of the key"


@pytest.mark.parametrize("name", KEYS)
class TestEachKind:
    def test_verifies_its_signatures_and_no_others(self, name):
        key = PublicKey.parse(made.public_pem(KEYS[name]), "k")
        signature = made.signature_of(KEYS[name], b"message")
        assert key.kind == KINDS[name]
        assert key.verifies(signature, b"message")
        assert not key.verifies(signature, b"another")
        assert not key.verifies(signature[:-1], b"message")
        assert not key.verifies(b"", b"message")
        assert not any(
            key.verifies(made.signature_of(other, b"message"), b"message")
            for kind, other in KEYS.items()
            if kind != name
        )

    def test_signs_what_it_verifies(self, name):
        key = SigningKey.parse(made.private_pem(KEYS[name]), "k")
        assert key.public == PublicKey.parse(made.public_pem(KEYS[name]), "other name")
        for of_curve in (True, False):
            assert key.public.verifies(key.sign(b"message", of_curve=of_curve), b"message")

    def test_is_read_with_its_password_alone(self, name):
        pem = made.private_pem(KEYS[name], PASSWORD)
        assert SigningKey.parse(pem, "k", password=PASSWORD).public.kind == KINDS[name]
        for password, why in ((None, "there is no password for it"), (b"wrong", "the password is wrong")):
            with pytest.raises(InvalidSettings, match=why) as caught:
                SigningKey.parse(pem, "k", password=password)
            assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__)

    def test_of_openssl_is_read(self, name, tmp_path):
        path = tmp_path / "key.pem"
        algorithm = {"p256": "EC", "p384": "EC", "p521": "EC", "ed25519": "ED25519", "rsa": "RSA"}[name]
        curve = {"p256": "P-256", "p384": "P-384", "p521": "P-521"}.get(name)
        option = ["-pkeyopt", f"ec_paramgen_curve:{curve}"] if curve else []
        made_by = ["openssl", "genpkey", "-algorithm", algorithm, *option, "-out", str(path)]
        subprocess.run(made_by, check=True, capture_output=True)
        public = subprocess.run(
            ["openssl", "pkey", "-in", str(path), "-pubout"], check=True, capture_output=True
        ).stdout
        assert SigningKey.read(path).public == PublicKey.parse(public, "pub")

    def test_needs_no_private_key_to_verify(self, name):
        with pytest.raises(InvalidSettings, match="is a private key; give the public key"):
            PublicKey.parse(made.private_pem(KEYS[name]), "k")
        with pytest.raises(InvalidSettings, match="no private key"):
            SigningKey.parse(made.public_pem(KEYS[name]), "k")


@pytest.mark.parametrize(("name", "own"), [("p384", hashes.SHA384), ("p521", hashes.SHA512)])
def test_larger_curves_have_two_hashes(name, own):
    private = KEYS[name]
    key = PublicKey.parse(made.public_pem(private), "k")
    for kind in (own, hashes.SHA256):
        assert key.verifies(made.signature_of(private, b"m", kind), b"m")
    assert not key.verifies(made.signature_of(private, b"m", hashes.SHA1), b"m")
    signing = SigningKey.parse(made.private_pem(private), "k")
    private.public_key().verify(signing.sign(b"m", of_curve=True), b"m", ec.ECDSA(own()))
    private.public_key().verify(signing.sign(b"m"), b"m", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    "scheme", [padding.PSS(padding.MGF1(hashes.SHA256()), 32), padding.PKCS1v15()], ids=["pss", "sha1"]
)
def test_other_schemes_of_rsa_are_none(scheme):
    kind = hashes.SHA1() if isinstance(scheme, padding.PKCS1v15) else hashes.SHA256()
    key = PublicKey.parse(made.public_pem(KEYS["rsa"]), "k")
    assert not key.verifies(KEYS["rsa"].sign(b"m", scheme, kind), b"m")


@pytest.mark.parametrize(
    ("private", "why"),
    [
        (rsa.generate_private_key(65537, 1024), "an RSA key of 1024 bits; 2048 to 16384 are accepted"),
        (ec.generate_private_key(ec.SECP256K1()), "of a kind that signs no images"),
        (x25519.X25519PrivateKey.generate(), "of a kind that signs no images"),
        (dsa.generate_private_key(1024), "of a kind that signs no images"),
    ],
    ids=["rsa", "curve", "exchange", "dsa"],
)
def test_weak_and_strange_keys_are_refused(private, why):
    with pytest.raises(InvalidSettings, match=why):
        PublicKey.parse(made.public_pem(private), "k")
    with pytest.raises(InvalidSettings, match=why):
        SigningKey.parse(made.private_pem(private), "k")


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "no block of PEM"),
        (b"cosign.pub", "no block of PEM"),
        (made.public_pem(KEYS["p256"]) * 2, "2 blocks of PEM"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no public key in PEM"),
        (b"-----BEGIN PUBLIC KEY-----\n", "no public key in PEM"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is a certificate"),
        (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n", "is a private key"),
    ],
)
def test_other_files_are_no_public_keys(pem, why):
    with pytest.raises(InvalidSettings, match=why):
        PublicKey.parse(pem, "k")


@pytest.mark.parametrize("label", ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"])
def test_the_private_key_of_cosign_is_refused_with_a_way_out(label):
    pem = f"-----BEGIN {label}-----\neyJrZGYiOnt9fQ==\n-----END {label}-----\n".encode()
    with pytest.raises(InvalidSettings, match="encrypted form of cosign") as caught:
        SigningKey.parse(pem, "cosign.key", password=b"")
    assert "cosign import-key-pair" in caught.value.hints[0]


def test_a_damaged_private_key_is_refused():
    with pytest.raises(InvalidSettings, match="damaged"):
        SigningKey.parse(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "k")


def test_parameters_before_a_key_are_no_second_key():
    legacy = KEYS["p256"].private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert SigningKey.parse(legacy, "k").public == SigningKey.parse(parameters + legacy, "k").public


class TestSources:
    def test_are_files_and_variables(self, tmp_path):
        path, pem = tmp_path / "cosign.pub", made.public_pem(KEYS["p256"])
        path.write_bytes(pem)
        by_name = PublicKey.read("env://KEY", {"KEY": pem.decode()})
        assert PublicKey.read(path) == by_name
        assert (str(PublicKey.read(path)), str(by_name)) == (str(path), "env://KEY")
        assert by_name.fingerprint.startswith("sha256:")

    @pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
    def test_that_are_not_set_are_errors(self, environ):
        with pytest.raises(InvalidSettings, match="env://KEY: the variable is not set"):
            PublicKey.read("env://KEY", environ)

    def test_that_are_missing_or_too_large_are_errors(self, tmp_path):
        with pytest.raises(LocalIOError):
            PublicKey.read(tmp_path / "missing")
        (tmp_path / "large").write_bytes(made.public_pem(KEYS["p256"]) + b"\n" * 70_000)
        with pytest.raises(InvalidSettings, match="is no key"):
            PublicKey.read(tmp_path / "large")


def test_a_private_key_shows_and_gives_away_nothing():
    key = SigningKey.parse(made.private_pem(KEYS["p256"]), "k")
    assert repr(key) == "SigningKey(public=PublicKey(name='k'))"
    with pytest.raises(TypeError, match="stays in its process"):
        pickle.dumps(key)


def test_a_key_that_is_none_cannot_be_made():
    with pytest.raises(ImgpkgError):
        PublicKey(b"no key")
