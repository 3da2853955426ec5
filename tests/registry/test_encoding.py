"""Bodies with a Content-Encoding that was not requested, over real sockets (RFC 9110 section 8.4)."""

from __future__ import annotations

import gzip
import json
import random
import zlib

import pytest
from tests.registry.scripted import LOGIN, Bench, Said, Server, Source, TokenRegistry, Wire

from imgpkg.errors import (
    ConnectionFailed,
    InvalidManifest,
    NotFound,
    RegistryError,
    VerificationError,
)
from imgpkg.oci import media
from imgpkg.oci.descriptor import BLOCK, Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.registry import listing
from imgpkg.registry.encoding import decoded
from imgpkg.transport.message import Request

DATA = random.Random(1).randbytes(3000) + b"abc" * 5000
BLOB = Descriptor(media.OCI_LAYER, Digest.of(DATA), len(DATA))
RAW = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": {"mediaType": media.OCI_CONFIG, "digest": str(Digest.of(b"{}")), "size": 2},
        "layers": [],
    }
).encode()
MANIFEST = {"Content-Type": media.OCI_MANIFEST}
INDEX = {"Content-Type": media.OCI_INDEX}
BOMB = gzip.compress(bytes(64 << 20))


def packed(body, headers=(), *, encoding="gzip", cut=None, status=200):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Said(
        status, gzip.compress(body, mtime=0), {**dict(headers), "Content-Encoding": encoding}, cut=cut
    )


def where(server):
    return Repository.parse(f"{server.address}/a/b")


def read(client, server, blob=BLOB, size=1000, **options):
    with client.blob(where(server), blob, **options) as stream:
        return b"".join(iter(lambda: stream.read(size), b""))


def answers(*said):
    waiting = list(said)
    return lambda asked: waiting.pop(0)


def test_nothing_asks_for_an_encoding(client):
    with Server(lambda asked: Said(200, RAW, MANIFEST)) as server:
        client.manifest(where(server).tag("v1"))
        assert [asked.headers["Accept-Encoding"] for asked in server.asked] == ["identity"]


class TestDocuments:
    @pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP", "identity, gzip"])
    def test_are_decoded(self, client, encoding):
        with Server(lambda asked: packed(RAW, MANIFEST, encoding=encoding)) as server:
            found = client.manifest(where(server).digest(Digest.of(RAW)))
            assert found.raw == RAW

    def test_are_the_tags_too(self, client):
        with Server(lambda asked: packed({"tags": ["a", "b"]})) as server:
            assert list(client.tags(where(server))) == ["a", "b"]

    def test_are_the_referrers_too(self, client):
        listed = {"mediaType": media.OCI_MANIFEST, "digest": str(BLOB.digest), "size": 3}
        index = {"schemaVersion": 2, "manifests": [listed]}
        with Server(lambda asked: packed(index, INDEX)) as server:
            (found,) = client.referrers(where(server), Digest.of(b"subject"))
            assert found.digest == BLOB.digest

    def test_are_what_a_token_service_says_too(self):
        registry = TokenRegistry()

        def handle(asked):
            said = registry(asked)
            return packed(said.body, said.headers.pairs, status=said.status)

        registry.content = lambda asked: Said(200, {"tags": ["a"]})
        made = Bench(Wire(handle), Source(LOGIN))
        assert list(made.client.tags(Repository.parse("r.example/a/b"))) == ["a"]

    def test_are_what_a_registry_says_about_a_failure_too(self, client):
        body = {"errors": [{"code": "NAME_UNKNOWN", "message": "who is that"}]}
        with (
            Server(lambda asked: packed(body, status=404)) as server,
            pytest.raises(NotFound, match="NAME_UNKNOWN: who is that"),
        ):
            list(client.tags(where(server)))

    def test_have_no_known_size_when_only_their_head_was_seen(self, client):
        head = {**MANIFEST, "Docker-Content-Digest": str(Digest.of(RAW))}
        with Server(lambda asked: packed(RAW, head)) as server:
            assert client.resolve(where(server).tag("v1")).size == len(RAW)
            assert [asked.method for asked in server.asked] == ["HEAD", "GET"]

    def test_are_verified_after_decoding(self, client):
        with (
            Server(lambda asked: packed(RAW + b" ", MANIFEST)) as server,
            pytest.raises(VerificationError, match="does not match requested digest"),
        ):
            client.manifest(where(server).digest(Digest.of(RAW)))

    def test_are_refused_early_when_they_are_bombs(self, client, monkeypatch):
        monkeypatch.setattr("imgpkg.registry.client.MAX_MANIFEST", 1 << 20)
        monkeypatch.setattr(listing, "MAX_PAGE", 1 << 20)
        with Server(lambda asked: Said(200, BOMB, {**MANIFEST, "Content-Encoding": "gzip"})) as server:
            with pytest.raises(InvalidManifest, match="is larger than 1 MiB"):
                client.manifest(where(server).tag("v1"))
            with pytest.raises(RegistryError, match="the page is larger than 1 MiB"):
                list(client.tags(where(server)))


class TestEncodings:
    @pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "compress", "gzip, br", "gzip, gzip"])
    def test_that_are_unknown_here_are_named_with_the_address(self, client, encoding):
        with Server(lambda asked: packed(RAW, MANIFEST, encoding=encoding)) as server:
            with pytest.raises(RegistryError) as caught:
                client.manifest(where(server).tag("v1"))
            assert str(caught.value) == (
                f"GET {server.url}/v2/a/b/manifests/v1: the body came encoded as {encoding}, "
                "which was not asked for and is not supported"
            )
            assert "proxy" in caught.value.hints[0]
            assert len(server.asked) == 1

    def test_that_are_unknown_here_do_not_hide_what_the_status_says(self, client):
        with Server(lambda asked: packed(b"gone", encoding="br", status=404)) as server:
            with pytest.raises(NotFound, match=r"unexpected status code 404 Not Found$"):
                list(client.tags(where(server)))
            assert client.referrers(where(server), BLOB.digest) == ()

    @pytest.mark.parametrize("encoding", ["utf-8", "aws-chunked", "identity", "none", ""])
    def test_that_are_none_change_nothing(self, client, encoding):
        with Server(lambda asked: Said(200, RAW, {**MANIFEST, "Content-Encoding": encoding})) as server:
            assert client.manifest(where(server).tag("v1")).raw == RAW

    def test_that_a_proxy_has_undone_change_nothing(self, client):
        said = {**MANIFEST, "Content-Encoding": "gzip"}
        with Server(lambda asked: Said(200, RAW, said)) as server:
            assert client.manifest(where(server).tag("v1")).raw == RAW

    def test_that_are_damaged_are_reported(self, client):
        damaged = bytearray(gzip.compress(DATA, mtime=0))
        damaged[2000] ^= 0xFF
        with (
            Server(lambda asked: Said(200, bytes(damaged), {"Content-Encoding": "gzip"})) as server,
            pytest.raises(RegistryError, match=r"^GET .*: the body came as gzip, and is damaged: Error -3"),
        ):
            read(client, server)

    def test_that_end_too_early_are_a_broken_connection(self, client):
        short = gzip.compress(b'{"tags":[]}', mtime=0)[:-9]
        with Server(lambda asked: Said(200, short, {"Content-Encoding": "gzip"})) as server:
            with pytest.raises(ConnectionFailed, match="unexpected EOF"):
                list(client.tags(where(server)))
            assert len(server.asked) == 3

    @pytest.mark.parametrize(
        "empty", [gzip.compress(b"", mtime=0), b"\x1f\x8b\x08" + bytes(7)], ids=["members", "blocks"]
    )
    def test_that_go_on_without_any_content_come_to_an_end(self, client, empty):
        block = b"\0\0\0\xff\xff" if len(empty) == 10 else empty
        body = empty + block * ((3 << 20) // len(block))
        with (
            Server(lambda asked: Said(200, body, {"Content-Encoding": "gzip"})) as server,
            pytest.raises(RegistryError, match="it goes on without any content"),
        ):
            list(client.tags(where(server)))


class TestBlobs:
    @pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
    def test_are_decoded_whatever_the_reader_takes_at_a_time(self, client, size):
        with Server(lambda asked: packed(DATA)) as server:
            assert read(client, server, size=size) == DATA

    def test_may_come_in_several_members(self, client):
        body = b"".join(gzip.compress(DATA[start : start + 700]) for start in range(0, len(DATA), 700))
        with Server(lambda asked: Said(200, body, {"Content-Encoding": "gzip"})) as server:
            assert read(client, server) == DATA

    def test_may_be_empty(self, client):
        empty = Descriptor(media.OCI_LAYER, Digest.of(b""), 0)
        with Server(lambda asked: packed(b"")) as server:
            assert read(client, server, empty) == b""
        with Server(lambda asked: Said(200, b"", {"Content-Encoding": "gzip"})) as server:
            assert read(client, server, empty) == b""

    def test_that_are_gzip_themselves_are_decoded_once(self, client):
        layer = gzip.compress(DATA, mtime=0)
        blob = Descriptor(media.DOCKER_LAYER, Digest.of(layer), len(layer))
        with Server(lambda asked: packed(layer)) as server:
            assert read(client, server, blob) == layer

    def test_that_are_called_encoded_because_they_are_gzip_are_taken_as_they_are(self, client):
        layer = gzip.compress(DATA, mtime=0)
        blob = Descriptor(media.DOCKER_LAYER, Digest.of(layer), len(layer))
        with Server(lambda asked: Said(200, layer, {"Content-Encoding": "gzip"})) as server:
            assert read(client, server, blob) == layer

    def test_are_verified_after_decoding(self, client):
        with Server(lambda asked: packed(DATA[:-1] + b"?")) as server, pytest.raises(VerificationError):
            read(client, server)

    def test_that_are_bombs_are_refused_at_their_first_byte_too_many(self, client):
        with (
            Server(lambda asked: Said(200, BOMB, {"Content-Encoding": "gzip"})) as server,
            pytest.raises(VerificationError, match=f"got {BLOCK}, want {len(DATA)}"),
        ):
            read(client, server, size=1 << 20)

    def test_that_break_off_are_begun_again_and_skipped(self, client):
        with Server(answers(packed(DATA, cut=2000), packed(DATA, cut=2500), packed(DATA))) as server:
            assert read(client, server) == DATA
            assert [asked.headers.get("Range") for asked in server.asked] == [None] * 3

    def test_may_be_resumed_as_they_are_after_an_encoded_beginning(self, client):
        with Server(answers(packed(DATA, cut=2000), Said(200, DATA))) as server:
            assert read(client, server) == DATA

    def test_whose_rest_comes_encoded_are_begun_again(self, client):
        part = packed(DATA[1000:], {"Content-Range": f"bytes 1000-{len(DATA) - 1}/{len(DATA)}"}, status=206)
        with Server(answers(Said(200, DATA, cut=1000), part, part, packed(DATA))) as server:
            assert read(client, server) == DATA
            last = f"bytes=1000-{len(DATA) - 1}"
            ranges = [asked.headers.get("Range") for asked in server.asked]
            assert ranges == [None, "bytes=1000-", last, None]

    def test_at_the_addresses_of_a_manifest_are_decoded_too(self, client):
        with Server(lambda asked: Said(404) if asked.path.startswith("/v2/") else packed(DATA)) as server:
            blob = Descriptor(media.OCI_LAYER, BLOB.digest, BLOB.size, urls=(f"{server.url}/layer",))
            assert read(client, server, blob, use_urls=True) == DATA


class TestADecodedResponse:
    """The protocol of responses, where the client itself does not use all of it."""

    def response(self, data=DATA, **headers):
        said = Said(200, gzip.compress(data, mtime=0), {"Content-Encoding": "gzip", **headers})
        return said, decoded(Request("GET", "https://r.example/x?sig=secret"), said)

    def test_has_the_headers_but_for_the_size_of_the_encoded_body(self):
        _, response = self.response(**{"Content-Length": "7", "ETag": "x"})
        assert dict(response.headers) == {"Content-Encoding": "gzip", "ETag": "x"}
        assert len(response.headers) == 2
        assert response.headers.get("content-length") is None
        assert response.headers["etag"] == "x"
        assert response.header_list("ETag") == ["x"]

    def test_can_be_read_whole_and_not_at_all(self):
        _, response = self.response()
        assert response.read(0) == b""
        assert response.read() == DATA
        assert response.read() == response.read(5) == b""

    def test_is_closed_with_what_it_came_in(self):
        said, response = self.response()
        with response:
            response.read(10)
        assert said.closed

    def test_makes_no_more_than_is_read(self):
        _, response = self.response(bytes(1 << 20))
        assert [len(response.read(100_000)) for _ in range(11)] == [100_000] * 10 + [48_576]

    def test_shows_no_secret_of_its_address(self):
        said = Said(200, zlib.compress(DATA), {"Content-Encoding": "deflate"})
        response = decoded(Request("GET", "https://r.example/x?sig=secret"), said)
        with pytest.raises(RegistryError, match="sig=REDACTED"):
            response.read(1)
        assert said.closed
