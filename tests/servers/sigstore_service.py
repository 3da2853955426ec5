"""A small sigstore: an authority for certificates, a log for them, one for signatures, and the trusted root.

It signs as `cosign sign` and `cosign attest` of version 3 do without a key, after a login. Certificates and
entries have the forms of Fulcio (docs/certificate-specification.md) and Rekor (dsse 0.0.1).
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import struct

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from tests.servers.signatures import BUNDLE, base64_of, envelope, signature_of

ISSUER_OID = x509.ObjectIdentifier("1.3.6.1.4.1.57264.1.8")
SCT_OID = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)


def der_of(key):
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def key_id(key):
    return hashlib.sha256(der_of(key)).digest()


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def _octets(data):
    length = bytes([len(data)]) if len(data) < 128 else b"\x82" + struct.pack(">H", len(data))
    return b"\x04" + length + data


def _utf8(text):
    data = text.encode()
    return b"\x0c" + bytes([len(data)]) + data


class Sigstore:
    """One instance; `now` is the time at which it issues certificates and logs signatures."""

    def __init__(self, now=None):
        self.now = now or dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
        self.authority, self.ct_log, self.log = new_key(), new_key(), new_key()
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test authority")])
        self.root = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.authority.public_key())
            .serial_number(1)
            .not_valid_before(self.now - 1000 * HOUR)
            .not_valid_after(self.now + 1000 * HOUR)
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(self.authority.public_key()), critical=False
            )
            .sign(self.authority, hashes.SHA256())
        )

    def trusted_root(self):
        """Return `trusted_root.json`."""
        start = (self.now - 1000 * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [_log(self.log, "https://rekor.example.com", start)],
                "ctlogs": [_log(self.ct_log, "https://ct.example.com", start)],
                "certificateAuthorities": [
                    {
                        "subject": {"organization": "example", "commonName": "test authority"},
                        "uri": "https://fulcio.example.com",
                        "certChain": {
                            "certificates": [
                                {"rawBytes": base64_of(self.root.public_bytes(serialization.Encoding.DER))}
                            ]
                        },
                        "validFor": {"start": start},
                    }
                ],
                "timestampAuthorities": [],
            }
        )

    def certificate(self, key, identity, issuer, *, is_logged=True, usage=ExtendedKeyUsageOID.CODE_SIGNING):
        """Issue a certificate for ten minutes."""
        timestamp = int(self.now.timestamp() * 1000)
        name = x509.UniformResourceIdentifier(identity) if "://" in identity else x509.RFC822Name(identity)

        def built(scts):
            return (
                x509.CertificateBuilder()
                .subject_name(x509.Name([]))
                .issuer_name(self.root.subject)
                .public_key(key.public_key())
                .serial_number(7)
                .not_valid_before(self.now - MINUTE)
                .not_valid_after(self.now + 9 * MINUTE)
                .add_extension(_usage(digital_signature=True), critical=True)
                .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
                .add_extension(
                    x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key()), False
                )
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
                .add_extension(x509.SubjectAlternativeName([name]), critical=True)
                .add_extension(x509.UnrecognizedExtension(ISSUER_OID, _utf8(issuer)), critical=False)
                .add_extension(x509.UnrecognizedExtension(SCT_OID, _octets(scts)), critical=False)
                .sign(self.authority, hashes.SHA256())
            )

        # The log signs the certificate without its own signature in it (RFC 6962 section 3.2).
        tbs = built(_scts(key_id(self.ct_log), timestamp, b"none")).tbs_precertificate_bytes
        signed = struct.pack(">BBQH", 0, 0, timestamp, 1) + key_id(self.authority)
        signed += struct.pack(">I", len(tbs))[1:] + tbs + b"\0\0"
        log = self.ct_log if is_logged else new_key()
        return built(_scts(key_id(self.ct_log), timestamp, signature_of(log, signed)))

    def bundle(self, statement, identity, issuer, *, logged_at=None, log=None, **options):
        """Return the bundle of a statement that `identity` has signed after a login at `issuer`."""
        key = new_key()
        certificate = self.certificate(key, identity, issuer, **options)
        signed = envelope(key, statement)
        return {
            "mediaType": BUNDLE,
            "verificationMaterial": {
                "certificate": {"rawBytes": base64_of(certificate.public_bytes(serialization.Encoding.DER))},
                "tlogEntries": [self.entry(signed, certificate, logged_at or self.now, log or self.log)],
            },
            "dsseEnvelope": signed,
        }

    def entry(self, signed, certificate, logged_at, log):
        """Return the only entry of a log."""
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        payload = base64.b64decode(signed["payload"])
        body = _canonical(
            {
                "apiVersion": "0.0.1",
                "kind": "dsse",
                "spec": {
                    "envelopeHash": {"algorithm": "sha256", "value": hashlib.sha256(b"any").hexdigest()},
                    "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
                    "signatures": [{"signature": signed["signatures"][0]["sig"], "verifier": base64_of(pem)}],
                },
            }
        )
        time = int(logged_at.timestamp())
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"rekor.example.com - 1\n1\n{base64_of(root)}\n"
        note_signature = base64_of(key_id(log)[:4] + signature_of(log, note.encode()))
        promise = {
            "body": base64_of(body),
            "integratedTime": time,
            "logID": key_id(log).hex(),
            "logIndex": 0,
        }
        return {
            "logIndex": "0",
            "logId": {"keyId": base64_of(key_id(log))},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(time),
            "inclusionPromise": {"signedEntryTimestamp": base64_of(signature_of(log, _canonical(promise)))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": base64_of(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n\N{EM DASH} rekor.example.com {note_signature}\n"},
            },
            "canonicalizedBody": base64_of(body),
        }


def _usage(**given):
    names = [
        *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment"),
        *("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
    ]
    return x509.KeyUsage(**{**dict.fromkeys(names, False), **given})


def _log(key, url, start):
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": base64_of(der_of(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": start},
        },
        "logId": {"keyId": base64_of(key_id(key))},
    }


def _scts(log_id, timestamp, signature):
    """Return a list of one signed timestamp (RFC 6962 section 3.3): SHA-256 and ECDSA."""
    sct = struct.pack(">B32sQH", 0, log_id, timestamp, 0) + struct.pack(">BBH", 4, 3, len(signature))
    sct += signature
    return struct.pack(">HH", len(sct) + 2, len(sct)) + sct


def _canonical(document):
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
