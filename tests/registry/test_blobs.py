"""Blobs: whether they exist, and their bytes, also over connections that break."""

from __future__ import annotations

import dataclasses
import io
import shutil

import pytest
from tests.registry.scripted import Bench, Said, Source, TokenRegistry, Wire, www

from imgpkg.auth.keychain import Credential
from imgpkg.errors import (
    ChallengeError,
    ConnectionFailed,
    ConnectionTimedOut,
    NotFound,
    RegistryError,
    VerificationError,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository

A = Repository.parse("r.example/a/b")
DATA = bytes(range(256)) * 40
BLOB = Descriptor(media.OCI_LAYER, Digest.of(DATA), len(DATA))
PATH = f"/v2/a/b/blobs/{BLOB.digest}"
SIZED = {"Content-Length": len(DATA)}


def bench(*answers, retry_count=3, **options):
    waiting = list(answers)
    return Bench(Wire(lambda asked: waiting.pop(0)), retry_count=retry_count, **options)


def read(made, blob=BLOB, *, size=1000, **options):
    with made.client.blob(A, blob, **options) as stream:
        blocks = []
        while block := stream.read(size):
            blocks.append(block)
    made.transport.assert_all_closed()
    return b"".join(blocks)


def ranges(made):
    return [asked.headers.get("Range", "") for asked in made.transport.asked]


def part(offset, cut=None, **headers):
    headers = {"Content-Range": f"bytes {offset}-{len(DATA) - 1}/{len(DATA)}", **headers}
    return Said(206, DATA[offset:], headers, cut=cut)


class TestAskingWhetherOneIsThere:
    def test_takes_one_head_each_time(self):
        made = bench(Said(200), Said(404))
        assert made.client.has_blob(A, BLOB.digest)
        assert not made.client.has_blob(A, BLOB.digest)
        assert made.transport.lines == [f"HEAD https://r.example{PATH}"] * 2
        made.transport.assert_all_closed()

    @pytest.mark.parametrize("status", [404, 405])
    def test_takes_these_answers_for_no(self, status):
        made = bench(Said(status), Said(200))
        assert not made.client.has_blob(A, BLOB.digest)
        assert made.client.has_blob(A, BLOB.digest)

    @pytest.mark.parametrize("status", [400, 401, 403, 406, 451, 501])
    def test_takes_a_refused_question_for_no(self, status):
        made = Bench(Wire(lambda asked: Said(status)), retry_count=3)
        assert not made.client.has_blob(A, BLOB.digest)
        assert made.clock.slept == []
        made.transport.assert_all_closed()

    @pytest.mark.parametrize("status", [408, 429, 500, 503])
    def test_reports_that_the_registry_is_out_of_order(self, status):
        with pytest.raises(RegistryError, match="HEAD responses have no body"):
            bench(*[Said(status)] * 3).client.has_blob(A, BLOB.digest)

    def test_is_asked_with_the_login_before_a_refusal_counts(self):
        def handle(asked):
            if not asked.authorization:
                return Said(401, headers=www('Basic realm="r"'))
            return Said(200)

        made = Bench(Wire(handle), Source(Credential("u", "p")))
        assert made.client.has_blob(A, BLOB.digest)


class TestReading:
    def test_takes_no_notice_of_a_length_that_no_blob_can_have(self):
        assert read(bench(Said(200, DATA, {"Content-Length": "9" * 5000}))) == DATA

    def test_gives_verified_bytes(self):
        made = bench(Said(200, DATA, SIZED))
        assert read(made) == DATA
        (asked,) = made.transport.asked
        assert asked.path == PATH
        assert "Accept" not in asked.headers

    def test_gives_an_empty_blob(self):
        assert read(bench(Said(200)), Descriptor(media.OCI_LAYER, Digest.of(b""), 0)) == b""

    def test_refuses_other_bytes_of_the_right_length(self):
        wrong = DATA[:-1] + b"?"
        with pytest.raises(
            VerificationError, match="error verifying sha256 checksum after reading 10240 bytes"
        ):
            read(bench(Said(200, wrong, SIZED)))

    def test_refuses_a_longer_blob(self):
        with pytest.raises(VerificationError, match="error verifying size"):
            read(bench(Said(200, DATA * 2)), size=len(DATA) + 1)

    def test_refuses_another_content_length_at_once(self):
        made = bench(Said(200, DATA, {"Content-Length": 7}))
        with pytest.raises(VerificationError) as caught:
            read(made)
        assert str(caught.value) == (
            f"GET https://r.example{PATH}: Content-Length header 7 does not match expected size {len(DATA)}"
        )
        made.transport.assert_all_closed()

    def test_gives_the_connection_back_when_the_reader_stops(self):
        made = bench(Said(200, DATA, SIZED))
        with made.client.blob(A, BLOB) as stream:
            stream.read(10)
        made.transport.assert_all_closed()

    def test_gives_the_connection_back_once_when_the_stream_is_closed(self):
        made = bench(Said(200, DATA, SIZED))
        with made.client.blob(A, BLOB) as stream, stream as file:
            assert file.read(9) == DATA[:9]
            file.close()
            made.transport.assert_all_closed()
        assert stream.closed
        with pytest.raises(ValueError, match="closed"):
            stream.read()
        # A count below zero would let more readers in than there are connections.
        assert not any(made.client._blobs._readers._counts.values())

    def test_is_a_file_of_the_standard_library(self):
        made = bench(Said(200, DATA, SIZED))
        copied = io.BytesIO()
        with made.client.blob(A, BLOB) as stream, io.BufferedReader(stream) as buffered:
            shutil.copyfileobj(buffered, copied)
        assert copied.getvalue() == DATA
        made.transport.assert_all_closed()

    def test_uses_data_in_the_descriptor(self):
        made = bench()
        blob = dataclasses.replace(BLOB, data=DATA)
        assert read(made, blob) == DATA
        assert made.transport.asked == []

    @pytest.mark.parametrize("data", [b"", b"short", DATA[:-1] + b"?"])
    def test_asks_the_registry_when_data_in_the_descriptor_is_wrong(self, data):
        assert read(bench(Said(200, DATA, SIZED)), dataclasses.replace(BLOB, data=data)) == DATA

    def test_reports_what_is_not_there(self):
        with pytest.raises(NotFound, match=r"^GET "):
            read(bench(Said(404)))

    def test_repeats_a_temporary_failure_to_open(self):
        made = bench(ConnectionTimedOut, Said(503), Said(200, DATA, SIZED))
        assert read(made) == DATA


class TestResuming:
    def test_goes_on_where_the_bytes_ended(self):
        made = bench(Said(200, DATA, SIZED, cut=3000), part(3000, cut=2500), part(5500))
        assert read(made) == DATA
        assert ranges(made) == ["", "bytes=3000-", "bytes=5500-"]

    def test_skips_where_the_server_ignores_the_range(self):
        made = bench(Said(200, DATA, SIZED, cut=3000), Said(200, DATA, SIZED))
        assert read(made) == DATA

    def test_skips_again_when_that_breaks_off_too(self):
        whole = Said(200, DATA, SIZED)
        made = bench(
            Said(200, DATA, SIZED, cut=3000), Said(200, DATA, SIZED, cut=100), Said(200, DATA[:50]), whole
        )
        assert read(made) == DATA

    def test_notices_a_body_that_ends_early_without_an_error(self):
        made = bench(Said(200, DATA[:3000]), part(3000))
        assert read(made) == DATA
        assert ranges(made) == ["", "bytes=3000-"]

    def test_gives_up_when_nothing_more_comes(self):
        made = bench(Said(200, DATA, cut=3000), part(3000, cut=0), part(3000, cut=0))
        with pytest.raises(ConnectionFailed, match="unexpected EOF"):
            read(made)
        made.transport.assert_all_closed()

    def test_gives_up_on_a_blob_that_is_too_short(self):
        made = bench(Said(200, DATA[:100]), Said(200, DATA[:100]), retry_count=2)
        with pytest.raises(ConnectionFailed, match=rf'^Get "https://r\.example{PATH}": unexpected EOF$'):
            read(made)

    def test_may_break_as_often_as_it_goes_on(self):
        cuts = [part(offset, cut=1000) for offset in range(1000, 10_000, 1000)]
        made = bench(Said(200, DATA, SIZED, cut=1000), *cuts, part(10_000), retry_count=2)
        assert read(made) == DATA

    @pytest.mark.parametrize("status", [400, 416, 501])
    def test_asks_for_a_range_with_an_end_where_one_without_is_refused(self, status):
        made = bench(Said(200, DATA, SIZED, cut=3000), Said(status), part(3000))
        assert read(made) == DATA
        assert ranges(made) == ["", "bytes=3000-", f"bytes=3000-{len(DATA) - 1}"]

    @pytest.mark.parametrize("status", [400, 416, 501])
    def test_starts_again_and_skips_where_every_range_is_refused(self, status):
        made = bench(Said(200, DATA, SIZED, cut=3000), Said(status), Said(status), Said(200, DATA, SIZED))
        assert read(made) == DATA
        assert ranges(made) == ["", "bytes=3000-", f"bytes=3000-{len(DATA) - 1}", ""]

    def test_reports_why_the_blob_cannot_be_had_any_more(self):
        made = bench(Said(200, DATA, SIZED, cut=3000), Said(416), Said(416), Said(404))
        with pytest.raises(NotFound, match=r"^GET .*404"):
            read(made)
        made.transport.assert_all_closed()

    @pytest.mark.parametrize(
        "wrong",
        [
            {"Content-Range": "bytes 2000-10239/10240"},
            {"Content-Range": ""},
            {"Content-Range": "bytes 3000-10239/10240", "Content-Length": len(DATA)},
            {"Content-Range": "bytes 3000-10239/10240", "Content-Encoding": "gzip"},
        ],
    )
    def test_starts_again_where_the_part_is_another_one(self, wrong):
        parts = [Said(206, DATA[2000:], wrong), Said(206, DATA[2000:], wrong)]
        made = bench(Said(200, DATA, SIZED, cut=3000), *parts, Said(200, DATA, SIZED))
        assert read(made) == DATA
        assert ranges(made)[-1] == ""

    def test_takes_a_part_that_is_shorter_than_asked_for_and_goes_on(self):
        short = Said(206, DATA[3000:5000], {"Content-Range": "bytes 3000-4999/10240", "Content-Length": 2000})
        made = bench(Said(200, DATA, SIZED, cut=3000), short, part(5000))
        assert read(made) == DATA
        assert ranges(made) == ["", "bytes=3000-", "bytes=5000-"]

    def test_does_not_ask_for_what_is_behind_the_end(self):
        made = bench(Said(200, DATA, cut=len(DATA)))
        assert read(made) == DATA
        assert ranges(made) == [""]

    def test_verifies_the_whole_over_all_parts(self):
        changed = DATA[3000:-1] + b"?"
        made = bench(
            Said(200, DATA, SIZED, cut=3000), Said(206, changed, {"Content-Range": "bytes 3000-10239/10240"})
        )
        with pytest.raises(VerificationError, match="checksum"):
            read(made)

    def test_does_not_ask_for_a_part_before_something_came(self):
        made = bench(Said(200, DATA, SIZED, cut=0), Said(200, DATA, SIZED))
        assert read(made) == DATA
        assert ranges(made) == ["", ""]

    def test_a_credential_that_ended_in_the_middle_is_renewed(self):
        registry, answers = TokenRegistry(), [Said(200, DATA, SIZED, cut=3000), part(3000)]
        registry.content = lambda asked: answers.pop(0)
        made = Bench(Wire(registry), Source(Credential("u", "p")), retry_count=3)
        with made.client.blob(A, BLOB) as stream:
            data = stream.read(3000)
            registry.tokens = {"spare": set()}
            while block := stream.read(3000):
                data += block
        assert data == DATA
        assert made.transport.asked[-1].authorization == "Bearer T2"


class TestForeignUrls:
    """CVE-2020-15157: what a manifest names must never see a credential."""

    FOREIGN = dataclasses.replace(BLOB, urls=("https://one.example/x?k=1", "https://two.example/y"))
    TOKEN = Credential(registry_token="RTOK")

    def bench(self, handle, **options):
        return Bench(Wire(handle), Source(self.TOKEN), **options)

    def test_are_not_asked_by_default(self):
        made = self.bench(lambda asked: Said(404))
        with pytest.raises(NotFound):
            read(made, self.FOREIGN)
        assert {asked.host for asked in made.transport.asked} == {"r.example"}

    def test_are_not_asked_when_the_registry_has_the_blob(self):
        made = self.bench(lambda asked: Said(200, DATA, SIZED))
        assert read(made, self.FOREIGN, use_urls=True) == DATA
        assert [asked.host for asked in made.transport.asked] == ["r.example"]

    def test_are_asked_in_their_order_without_a_credential(self):
        def handle(asked):
            return Said(200, DATA, SIZED) if asked.host == "two.example" else Said(404)

        made = self.bench(handle)
        assert read(made, self.FOREIGN, use_urls=True) == DATA
        assert [(asked.host, asked.authorization) for asked in made.transport.asked] == [
            ("r.example", "Bearer RTOK"),
            ("one.example", ""),
            ("two.example", ""),
        ]
        assert "Imgpkg-Session-Id" not in made.transport.asked[-1].headers

    def test_that_ask_for_a_login_get_none_even_as_the_registry_itself(self):
        blob = dataclasses.replace(BLOB, urls=("https://one.example/x", "https://r.example/own"))
        challenge = www('Basic realm="x"', 'Bearer realm="https://one.example/token"')
        made = self.bench(lambda asked: Said(404) if asked.path == PATH else Said(401, headers=challenge))
        with pytest.raises(NotFound):
            read(made, blob, use_urls=True)
        assert [asked.authorization for asked in made.transport.asked] == ["Bearer RTOK", "", ""]
        assert made.transport.asked[-1].path == "/own"
        made.transport.assert_all_closed()

    def test_are_resumed_where_they_are(self):
        answers = [Said(404), Said(200, DATA, SIZED, cut=3000), part(3000)]
        made = self.bench(lambda asked: answers.pop(0), retry_count=2)
        assert read(made, self.FOREIGN, use_urls=True) == DATA
        assert [asked.host for asked in made.transport.asked] == ["r.example", "one.example", "one.example"]

    def test_may_redirect_ten_times(self):
        count = iter(range(100))

        def handle(asked):
            if asked.host == "r.example":
                return Said(404)
            return Said(302, headers={"Location": f"/hop{next(count)}"})

        made = self.bench(handle)
        with pytest.raises(NotFound):
            read(made, dataclasses.replace(BLOB, urls=("https://one.example/x",)), use_urls=True)
        assert len(made.transport.asked) == 12
        made.transport.assert_all_closed()

    def test_are_read_after_a_redirect(self):
        def handle(asked):
            if asked.host == "one.example":
                return Said(302, headers={"Location": "https://three.example/z"})
            return Said(200, DATA, SIZED) if asked.host == "three.example" else Said(404)

        assert read(self.bench(handle), self.FOREIGN, use_urls=True) == DATA

    @pytest.mark.parametrize(
        "url",
        [
            "http://169.254.169.254/x",
            "http://localhost/x",
            "file:///etc/passwd",
            "x",
            "https://one.example/a b",
        ],
    )
    def test_that_lead_to_local_places_are_not_asked(self, url):
        made = self.bench(lambda asked: Said(404))
        with pytest.raises((NotFound, ChallengeError)):
            read(made, dataclasses.replace(BLOB, urls=(url,)), use_urls=True)
        assert len(made.transport.asked) == 1

    def test_a_redirect_without_a_target_is_a_failure(self):
        made = self.bench(lambda asked: Said(404 if asked.host == "r.example" else 302))
        with pytest.raises(NotFound):
            read(made, self.FOREIGN, use_urls=True)
