"""Manifests: resolved, read, written."""

from __future__ import annotations

import json

import pytest
from tests.registry.scripted import Bench, Said, Wire

from imgpkg.errors import (
    ConnectionTimedOut,
    Forbidden,
    InvalidManifest,
    NotFound,
    RegistryError,
    Unauthorized,
    VerificationError,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository

A = Repository.parse("r.example/a/b")
CONFIG = {"mediaType": media.OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2}
RAW = json.dumps(
    {"schemaVersion": 2, "mediaType": media.OCI_MANIFEST, "config": CONFIG, "layers": []}
).encode()
DIGEST = Digest.of(RAW)
TYPED = {"Content-Type": media.OCI_MANIFEST}
HEAD = {**TYPED, "Docker-Content-Digest": str(DIGEST), "Content-Length": str(len(RAW))}
TAG, BY_DIGEST = A.tag("v1"), A.digest(DIGEST)


def bench(*answers, **options):
    waiting = list(answers)
    return Bench(Wire(lambda asked: waiting.pop(0)), **options)


def methods(made):
    made.transport.assert_all_closed()
    return [asked.method for asked in made.transport.asked]


class TestAskingWhetherOneIsThere:
    def test_takes_one_head(self):
        made = bench(Said(headers=HEAD))
        found = made.client.resolve(TAG)
        assert (found.digest, found.size, found.media_type) == (DIGEST, len(RAW), media.OCI_MANIFEST)
        (asked,) = made.transport.asked
        assert asked.line == "HEAD https://r.example/v2/a/b/manifests/v1"
        assert asked.headers["Accept"] == ",".join(media.MANIFEST_ACCEPT)

    @pytest.mark.parametrize(
        "missing",
        [
            {"Docker-Content-Digest": ""},
            {"Docker-Content-Digest": "sha256:short"},
            {"Content-Type": ""},
            {"Content-Length": ""},
            {"Content-Length": "-1"},
            {"Content-Length": "²"},
            {"Content-Length": "9" * 5000},
        ],
    )
    def test_reads_the_manifest_when_head_does_not_say_all(self, missing):
        made = bench(Said(headers={**HEAD, **missing}), Said(200, RAW, TYPED))
        assert made.client.resolve(TAG).digest == DIGEST
        assert methods(made) == ["HEAD", "GET"]

    @pytest.mark.parametrize("status", [405, 500, 503, 400])
    def test_reads_the_manifest_when_head_is_refused(self, status):
        made = bench(Said(status), Said(200, RAW, TYPED))
        assert made.client.exists(TAG).digest == DIGEST
        assert methods(made) == ["HEAD", "GET"]

    @pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Forbidden)])
    def test_asks_with_get_why_it_was_turned_away(self, status, kind):
        body = b'{"errors":[{"code":"DENIED","message":"not you"}]}'
        made = bench(Said(status), Said(status, body), *[Said(status, body)] * 2)
        with pytest.raises(kind, match=r": GET .*: DENIED: not you$"):
            made.client.exists(TAG)
        made.transport.assert_all_closed()

    def test_takes_404_for_an_answer(self):
        made = bench(Said(404))
        assert made.client.exists(TAG) is None
        assert methods(made) == ["HEAD"]

    def test_reports_the_registry_s_reason_when_it_must_be_there(self):
        body = b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown","detail":{"Tag":"v1"}}]}'
        made = bench(Said(404), Said(404, body))
        with pytest.raises(NotFound) as caught:
            made.client.resolve(TAG)
        expected = (
            "GET https://r.example/v2/a/b/manifests/v1: MANIFEST_UNKNOWN: manifest unknown; map[Tag:v1]"
        )
        assert str(caught.value) == expected
        # A traceback has one error, and not that of HEAD before it.
        assert caught.value.__context__ is None

    def test_repeats_what_is_temporary(self):
        made = bench(
            Said(429, headers={"Retry-After": "9"}), ConnectionTimedOut, Said(headers=HEAD), retry_count=3
        )
        assert made.client.resolve(TAG).digest == DIGEST
        assert made.clock.slept[0] == 9.0
        warning, second = made.warnings
        assert warning.startswith("HEAD https://r.example/v2/a/b/manifests/v1: unexpected status code 429 ")
        assert warning.endswith("; trying again in 9 s (attempt 2 of 3)")
        assert second.endswith("; trying again now (attempt 3 of 3)")

    def test_refuses_another_digest_than_asked_for(self):
        other = Digest.of(b"other")
        made = bench(Said(headers={**HEAD, "Docker-Content-Digest": str(other)}))
        with pytest.raises(VerificationError) as caught:
            made.client.exists(BY_DIGEST)
        assert str(caught.value) == (
            f'manifest digest: "{other}" does not match requested digest: "{DIGEST}" for "{BY_DIGEST}"'
        )

    def test_is_done_each_time_for_what_was_there_may_be_deleted(self):
        made = bench(Said(headers=HEAD), Said(headers=HEAD), Said(404))
        assert made.client.resolve(TAG) == made.client.exists(BY_DIGEST)
        assert made.client.exists(BY_DIGEST) is None
        assert methods(made) == ["HEAD"] * 3


class TestReading:
    def test_returns_the_bytes_as_they_came(self):
        made = bench(Said(200, RAW, TYPED))
        manifest = made.client.manifest(TAG)
        assert (manifest.raw, manifest.digest, manifest.media_type) == (RAW, DIGEST, media.OCI_MANIFEST)
        assert methods(made) == ["GET"]

    def test_verifies_what_was_asked_for_by_digest(self):
        made = bench(Said(200, RAW + b" ", {**TYPED, "Docker-Content-Digest": str(DIGEST)}))
        with pytest.raises(
            VerificationError, match=f'does not match requested digest: "{DIGEST}" for "r.example'
        ):
            made.client.manifest(BY_DIGEST)

    def test_believes_its_own_sum_and_not_the_registry_s(self):
        made = bench(Said(200, RAW, {**TYPED, "Docker-Content-Digest": str(Digest.of(b"lie"))}))
        assert made.client.manifest(TAG).digest == DIGEST

    @pytest.mark.parametrize("kind", ["", "application/json", "text/plain; charset=utf-8"])
    def test_reads_the_media_type_in_the_document_when_the_header_says_none_of_ours(self, kind):
        assert (
            bench(Said(200, RAW, {"Content-Type": kind})).client.manifest(TAG).media_type
            == media.OCI_MANIFEST
        )

    def test_takes_the_registry_s_digest_of_signed_schema_1(self):
        payload = Digest.of(b"payload")
        headers = {"Content-Type": media.DOCKER_SCHEMA_1_SIGNED, "Docker-Content-Digest": str(payload)}
        made = bench(Said(200, b'{"schemaVersion":1}', headers))
        assert made.client.manifest(A.digest(payload)).digest == payload
        del headers["Docker-Content-Digest"]
        made = bench(Said(200, b'{"schemaVersion":1}', headers))
        assert made.client.manifest(TAG).digest == Digest.of(b'{"schemaVersion":1}')

    def test_refuses_what_is_too_large(self, monkeypatch):
        monkeypatch.setattr("imgpkg.registry.client.MAX_MANIFEST", 1 << 20)
        made = bench(Said(200, b" " * ((1 << 20) + 1), TYPED))
        with pytest.raises(InvalidManifest, match="is larger than 1 MiB"):
            made.client.manifest(TAG)

    def test_begins_again_when_the_connection_breaks(self):
        made = bench(Said(200, RAW, TYPED, cut=5), Said(200, RAW, TYPED), retry_count=2)
        assert made.client.manifest(TAG).raw == RAW
        assert methods(made) == ["GET", "GET"]

    def test_does_not_repeat_what_will_not_change(self):
        made = bench(Said(404), retry_count=5)
        with pytest.raises(NotFound):
            made.client.manifest(TAG)


class TestWriting:
    MANIFEST = Manifest.parse(RAW, media.OCI_MANIFEST)

    @pytest.mark.parametrize("status", [200, 201, 202])
    def test_puts_the_bytes_as_they_are(self, status):
        made = bench(Said(status, headers={"Docker-Content-Digest": str(DIGEST)}))
        made.client.push_manifest(TAG, self.MANIFEST)
        (asked,) = made.transport.asked
        assert (asked.method, asked.path, asked.body) == ("PUT", "/v2/a/b/manifests/v1", RAW)
        assert asked.headers["Content-Type"] == media.OCI_MANIFEST

    @pytest.mark.parametrize("said", ["", "nonsense", "sha512:" + "0" * 128])
    def test_does_not_mind_a_registry_that_names_no_comparable_digest(self, said):
        bench(Said(201, headers={"Docker-Content-Digest": said})).client.push_manifest(TAG, self.MANIFEST)

    def test_refuses_a_registry_that_stored_something_else(self):
        made = bench(Said(201, headers={"Docker-Content-Digest": str(Digest.of(b"x"))}))
        with pytest.raises(VerificationError, match="the registry stored digest"):
            made.client.push_manifest(TAG, self.MANIFEST)

    def test_does_not_compare_signed_schema_1(self):
        manifest = Manifest.parse(b'{"schemaVersion":1}', media.DOCKER_SCHEMA_1_SIGNED)
        made = bench(Said(201, headers={"Docker-Content-Digest": str(Digest.of(b"x"))}))
        made.client.push_manifest(TAG, manifest)

    def test_is_done_each_time(self):
        made = bench(Said(201), Said(201))
        made.client.push_manifest(BY_DIGEST, self.MANIFEST)
        made.client.push_manifest(BY_DIGEST, self.MANIFEST)
        assert [asked.path for asked in made.transport.asked] == [f"/v2/a/b/manifests/{DIGEST}"] * 2

    def test_repeats_temporary_failures_and_codes(self):
        busy = {"errors": [{"code": "BLOB_UPLOAD_INVALID", "message": "later"}]}
        made = bench(Said(503), Said(400, busy), Said(201), retry_count=5)
        made.client.push_manifest(TAG, self.MANIFEST)
        assert [asked.body for asked in made.transport.asked] == [RAW] * 3
        assert [text.rpartition("; ")[2] for text in made.warnings] == [
            "trying again now (attempt 2 of 5)",
            "trying again now (attempt 3 of 5)",
        ]

    @pytest.mark.parametrize("status", [204, 400, 409, 500])
    def test_reports_other_answers(self, status):
        with pytest.raises(RegistryError, match=f"^PUT .*: unexpected status code {status} "):
            bench(Said(status)).client.push_manifest(TAG, self.MANIFEST)


@pytest.mark.parametrize(
    ("body", "what"),
    [(b"<!doctype html>", "a web page came back"), (b"\n", "an empty answer came back"), (b"no", "not JSON")],
)
def test_what_is_no_manifest_is_named(body, what):
    made = bench(Said(200, body))
    with pytest.raises(InvalidManifest, match=f"^GET https://r.example/v2/.*: {what}"):
        made.client.manifest(TAG)
