"""A layer is decompressed by what its first bytes say, in flat memory, and damage has a name."""

from __future__ import annotations

import gzip
import io
import struct
import sys
import tracemalloc

import pytest

from imgpkg.content.inflate import decompressed
from imgpkg.errors import UnpackError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"".join(b"line %d of a text that compresses\n" % number for number in range(20_000))
SKIPPABLE = struct.pack("<II", 0x184D2A50, 5) + b"abcde"


class Dripping:
    """A stream that gives one byte at a time, as a bad network does."""

    def __init__(self, data):
        self._inner = io.BytesIO(data)

    def read(self, size, /):
        return self._inner.read(min(size, 1))


def read_all(stream, size=1 << 20):
    return b"".join(iter(lambda: stream.read(size), b""))


WHOLE = {
    "plain": (TEXT, TEXT),
    "nothing": (b"", b""),
    "one byte": (b"x", b"x"),
    "the start of a magic": (b"\x28\xb5", b"\x28\xb5"),
    "gzip": (gzip.compress(TEXT), TEXT),
    "gzip of nothing": (gzip.compress(b""), b""),
    "two gzip members": (gzip.compress(TEXT) + gzip.compress(b"more"), TEXT + b"more"),
    "gzip padded with zeros": (gzip.compress(TEXT) + bytes(1000), TEXT),
    "gzip members with padding between": (gzip.compress(b"a") + bytes(7) + gzip.compress(b"b"), b"ab"),
    "zstd": (zstd.compress(TEXT), TEXT),
    "zstd of nothing": (zstd.compress(b""), b""),
    "two zstd frames": (zstd.compress(TEXT) + zstd.compress(b"more"), TEXT + b"more"),
    "zstd with a skippable frame after it": (zstd.compress(TEXT) + SKIPPABLE, TEXT),
    "zstd with a skippable frame before it": (SKIPPABLE + zstd.compress(TEXT), TEXT),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("size", [1 << 20, 1000, 1])
def test_every_form_gives_its_content_in_pieces_of_any_size(name, size):
    data, content = WHOLE[name]
    if size == 1:
        content = content[:2000]
        stream = decompressed(io.BytesIO(data))
        got = b"".join(stream.read(1) for _ in range(len(content)))
    else:
        got = read_all(decompressed(io.BytesIO(data)), size)
    assert got == content


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", WHOLE)
def test_a_stream_that_gives_single_bytes_is_understood_too(name):
    data, content = WHOLE[name]
    assert read_all(decompressed(Dripping(data))) == content


@pytest.mark.parametrize("name", WHOLE)
def test_no_piece_is_longer_than_asked_for(name):
    stream = decompressed(io.BytesIO(WHOLE[name][0]))
    assert all(len(piece) <= 999 for piece in iter(lambda: stream.read(999), b""))


@pytest.mark.parametrize("data", [gzip.compress(TEXT), zstd.compress(TEXT)], ids=["gzip", "zstd"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_data_that_ends_too_early_is_an_unexpected_end(data, kept):
    with pytest.raises(UnpackError, match=r"^unexpected EOF$"):
        read_all(decompressed(io.BytesIO(data[: int(len(data) * kept)])))


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (gzip.compress(TEXT)[:-8] + b"\1\2\3\4\5\6\7\x08", "gzip: invalid checksum"),
        (gzip.compress(TEXT)[:40] + b"\xff" * 500, "flate: corrupt input"),
        (b"\x1f\x8b\x09" + bytes(50), "flate: corrupt input"),
        (gzip.compress(TEXT) + b"alien bytes", "gzip: invalid header"),
        (gzip.compress(TEXT) + b"\0\0x", "gzip: invalid header"),
        (zstd.compress(TEXT)[:40] + b"\xff" * 5000, "zstd: "),
        (zstd.compress(TEXT) + b"alien bytes", "zstd: "),
    ],
)
def test_damage_is_named(data, text):
    with pytest.raises(UnpackError, match=f"^{text}"):
        read_all(decompressed(io.BytesIO(data)))


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_a_bomb_is_unpacked_in_flat_memory(kind):
    if kind == "gzip":
        bomb = gzip.compress(bytes(200 << 20), 1)
    else:
        compressor = zstd.ZstdCompressor()
        bomb = b"".join(compressor.compress(bytes(1 << 20)) for _ in range(200)) + compressor.flush()
    stream = decompressed(io.BytesIO(bomb))
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in iter(lambda: stream.read(1 << 20), b"")) == 200 << 20
        assert tracemalloc.get_traced_memory()[1] < 80 << 20
    finally:
        tracemalloc.stop()
