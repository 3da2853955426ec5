"""A layer's digest is that of its compressed bytes: all encoders write those of the original."""

from __future__ import annotations

import contextlib
import copy
import gzip
import io
import random
import subprocess
import sys
import threading
import zlib

import pytest

from imgpkg.content.deflate._deflate import FastEncoder as Fast
from imgpkg.content.deflate.gzip import encoder_name, open_writer, slowness
from imgpkg.content.deflate.portable import PortableEncoder as Portable
from imgpkg.content.deflate.reference import BLOCK
from imgpkg.content.deflate.reference import ReferenceEncoder as Reference

# Recorded from the original.
LAYER = bytes.fromhex(
    "1f8b08000000000004ffec96cf6ab43014c5b3f629f2f1ede34dac0abe41a1ebee5327d5e0bfa0a3e0db97642c0c0cb423d38416ef6f9361bc706f723c2732e2"
    "1f00801cc0ad70bb5a3e9f5908402e524e68ea7f3442e6e92c4702f0682f3bf9f5e6fe084c7795692aafd3da73d9a53f87a71450ff106cfac7ba93959ad8dab5"
    "3fdfd5ea9fddfadefdefc8af7edb3a2e529e11fab027efe1e0fe9746bfaa71d2435fd04b14b0528e8b6ad9492df1c2656b6ac9a346f7a7823ebb97e465289be8"
    "9ea3457e3fe5d0bf6bbff1ef7cbe33ff930cefff205cf48fa5317eb2df02005fe73f4f5ccd0601cef324c7fc0f41a3d6822eb29d1546fa11519d39af9e376e7d"
    "bd33ff452af0fb3f04e3dcb3a9f6dbe95bfd8570351b0438240960fe87e0ffbff84df7f15447aaac075a6bbc061004410ec147000000ffff7622d48500180000"
)

# On either side of every change of method, and of the block.
SIZES = (
    *(0, 1, 16, 17, 18, 127, 128, 129, 1000),
    *(65534, 65535, 65536, 65535 + 16, 65535 + 17),
    *(65535 + 127, 65535 + 128, 131070, 131071),
)


def noise(size, seed=1):
    return random.Random(seed).randbytes(size)


def text(size):
    return b"".join(b"line %d of the text\n" % (n * 7919 % 1000) for n in range(size // 17 + 1))[:size]


def zeros(size):
    return bytes(size)


def dirty(size):
    """Make bytes whose matches hardly pay: near the limits of stored and of literals only."""
    chosen = random.Random(2)
    data = bytearray()
    while len(data) < size:
        start = chosen.randrange(len(data)) if data else 0
        data += data[start : start + chosen.randrange(9)] + chosen.randbytes(chosen.randrange(40))
    return bytes(data[:size])


def mixture(size):
    """Change the kind of content within blocks and across their ends."""
    parts = [make(7000 + 4000 * n) for n in range(12) for make in (noise, text, zeros, dirty)]
    return b"".join(parts)[:size]


def far(size):
    """Repeat marks at the farthest distance that is in reach, and one byte farther, over block ends too."""
    repeated = [apart(distance, seed) for seed, distance in enumerate((32768, 32769, 32767, 32768, 32769))]
    return b"".join(repeated)[:size]


def apart(distance, seed=0):
    """Make bytes that end in a mark of 100 bytes which they had `distance` before."""
    mark = noise(100, seed)
    return mark + text(distance - len(mark)) + mark


ENCODERS = (Fast, Reference, Portable)
MAKERS = (noise, text, zeros, dirty, mixture, far)


def deflated(encoder, *parts):
    return b"".join([*(encoder.compress(part) for part in parts), encoder.finish()])


def cut(data, size):
    return [data[start : start + size] for start in range(0, len(data), size)]


def inflated(data):
    reader = zlib.decompressobj(-15)
    plain = reader.decompress(data)
    assert reader.eof
    assert reader.unused_data == b""
    return plain


class TestTheEncoders:
    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_write_the_recorded_layer(self, encoder):
        plain = gzip.decompress(LAYER)
        assert len(plain) == 6144
        assert deflated(encoder(), plain) == LAYER[10:-8]

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("size", SIZES)
    @pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
    def test_agree_on_bytes_that_anybody_can_inflate(self, make, size):
        data = make(size)
        compressed = deflated(Reference(), data)
        assert deflated(Fast(), data) == deflated(Portable(), data) == compressed
        assert inflated(compressed) == data

    @pytest.mark.slow
    @pytest.mark.parametrize("make", [zeros, text, dirty], ids=lambda make: make.__name__)
    def test_agree_at_every_small_size(self, make):
        data = make(700)
        for size in range(700):
            expected = deflated(Reference(), data[:size])
            assert deflated(Fast(), data[:size]) == deflated(Portable(), data[:size]) == expected, size

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("gap", range(40, 200, 7))
    def test_agree_where_matches_hardly_pay(self, gap):
        """About one byte of sixteen must be saved by matches, or the block is written without any."""
        chosen = random.Random(gap)
        parts = [bytes(chosen.choices(range(64), k=gap)) for _ in range(3000 // gap)]
        data = b"".join(part + part[2:10] for part in parts)
        assert deflated(Fast(), data) == deflated(Portable(), data) == deflated(Reference(), data)

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("make", [dirty, mixture, text], ids=lambda make: make.__name__)
    def test_agree_on_a_megabyte_and_more(self, make):
        data = make(1_200_000)
        compressed = deflated(Reference(), *cut(data, 300_001))
        assert deflated(Fast(), data) == deflated(Portable(), data) == compressed
        assert inflated(compressed) == data

    @pytest.mark.slow
    @pytest.mark.parametrize("encoder", ENCODERS)
    @pytest.mark.parametrize("size", [997, 65534, 65535, 65536, 131070, 131071, 200_000])
    def test_do_not_care_how_the_input_is_cut(self, encoder, size):
        data = mixture(300_000)
        whole = deflated(Fast(), data)
        assert deflated(encoder(), *cut(data, size)) == whole
        assert deflated(encoder(), b"", *cut(data, size), b"") == whole

    def test_do_not_care_for_single_bytes_either(self):
        data = mixture(70_000)
        whole = deflated(Fast(), data)
        assert [deflated(encoder(), *cut(data, 1)) == whole for encoder in ENCODERS] == [True] * 3

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_store_the_smallest_and_write_nothing_for_none(self, encoder):
        end = b"\x01\x00\x00\xff\xff"
        assert deflated(encoder()) == end
        assert deflated(encoder(), b"x" * 16) == b"\x00\x10\x00\xef\xff" + b"x" * 16 + end

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_use_literals_alone_below_128_bytes(self, encoder):
        """127 equal bytes are as many one-bit literals; from 128 on they are one literal and a match."""
        assert len(deflated(encoder(), b"x" * 127)) > 127 / 8
        assert len(deflated(encoder(), b"x" * 128)) < 128 / 8 + 10

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_store_blocks_of_noise(self, encoder):
        data = noise(2 * BLOCK)
        assert len(deflated(encoder(), data)) == len(data) + 3 * 5

    @pytest.mark.parametrize("encoder", ENCODERS)
    @pytest.mark.parametrize("start", [0, 10_000, BLOCK - 32768, BLOCK - 50])
    def test_look_back_32768_bytes_and_into_the_block_before(self, encoder, start):
        before = text(start)
        near, beyond = (len(deflated(encoder(), before + apart(far) + text(200))) for far in (32768, 32769))
        assert near + 90 < beyond

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_take_any_buffer(self, kind):
        data = text(1000)
        assert len({deflated(encoder(), kind(data)) for encoder in ENCODERS}) == 1

    @pytest.mark.parametrize("encoder", ENCODERS)
    def test_do_not_go_on_after_the_end(self, encoder):
        ended = encoder()
        ended.compress(b"abc")
        ended.finish()
        for use in (ended.finish, lambda: ended.compress(b"more")):
            with pytest.raises(ValueError, match="the encoder is finished"):
                use()

    @pytest.mark.parametrize("encoder", ENCODERS)
    @pytest.mark.parametrize("wrong", ["text", None, 3, 1.5])
    def test_take_nothing_but_bytes(self, encoder, wrong):
        used = encoder()
        with pytest.raises(TypeError):
            used.compress(wrong)
        assert deflated(used, b"abc") == deflated(encoder(), b"abc")


class TestTheFastEncoder:
    @pytest.mark.unmeasured
    @pytest.mark.parametrize("before", [-5, -4, -3, -2])
    def test_counts_positions_again_after_a_gibibyte(self, before):
        """A block of noise ends at a whole byte, from where on it does not matter where blocks stand."""
        blocks = (noise(BLOCK), *cut(text(4 * BLOCK), BLOCK))
        fresh, old, block = Fast(), Fast(), bytes(BLOCK)
        expected = [fresh.compress(block) for block in blocks]
        for _ in range((1 << 30) // BLOCK + before):
            old.compress(block)
        old.compress(blocks[0])
        assert [old.compress(block) for block in blocks[1:]] == expected[1:]

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Fast(1),
            lambda: Fast(level=1),
            lambda: object.__new__(Fast),
            lambda: type("Other", (Fast,), {}),
            lambda: copy.copy(Fast()),
        ],
    )
    def test_is_made_in_one_way(self, make):
        with pytest.raises(TypeError):
            make()

    def test_refuses_bytes_that_do_not_lie_together(self):
        with pytest.raises(BufferError):
            Fast().compress(memoryview(b"abcdef")[::2])

    def test_takes_whole_arguments(self):
        encoder = Fast()
        for use in (encoder.compress, lambda: encoder.compress(b"a", b"b"), lambda: encoder.finish(1)):
            with pytest.raises(TypeError):
                use()

    def test_lets_others_run_and_refuses_a_second_thread_meanwhile(self):
        """That the second thread is refused shows that it ran while the first was encoding."""
        data, encoder, result = text(1 << 20) * 64, Fast(), []

        def work():
            while not result:
                with contextlib.suppress(RuntimeError):
                    result.append(encoder.compress(data))

        thread = threading.Thread(target=work)
        thread.start()
        refusals = []
        while not result and not refusals:
            try:
                encoder.compress(b"")
            except RuntimeError as error:  # noqa: PERF203 - each attempt counts
                refusals.append(str(error))
        thread.join()
        assert refusals == ["the encoder is used by another thread"]
        assert result[0] + encoder.finish() == deflated(Fast(), data)

    def test_needs_a_fixed_amount_of_memory(self):
        growth, encoders = ran(
            """
            from imgpkg.content.deflate._deflate import FastEncoder

            def peak():
                with open("/proc/self/status") as status:
                    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))

            piece = bytes(range(256)) * 4096
            encoder = FastEncoder()
            encoder.compress(piece)
            before = peak()
            for _ in range(200):
                encoder.compress(piece)
            encoder.finish()
            print(peak() - before)
            for _ in range(500):
                FastEncoder().compress(piece[:1000])
            print(peak() - before)
            """
        )
        assert int(growth) < 4096
        assert int(encoders) < 8192


class Pipe(io.BytesIO):
    """Remembers how often it was written to."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, data):
        self.writes.append(len(data))
        return super().write(data)


class TestAGzipWriter:
    @pytest.mark.parametrize("encoder", [None, *ENCODERS])
    def test_writes_the_recorded_layer_and_leaves_the_sink_open(self, encoder):
        sink = io.BytesIO()
        writer = open_writer(sink, encoder)
        for part in cut(gzip.decompress(LAYER), 700):
            writer.write(part)
        writer.close()
        assert sink.getvalue() == LAYER

    def test_frames_nothing_as_the_original_does(self):
        sink = io.BytesIO()
        open_writer(sink).close()
        assert sink.getvalue().hex() == "1f8b08000000000004ff" + "010000ffff" + "00000000" + "00000000"

    def test_is_read_by_everybody_s_gzip(self):
        data, sink = mixture(300_000), io.BytesIO()
        writer = open_writer(sink)
        writer.write(data)
        writer.close()
        assert gzip.decompress(sink.getvalue()) == data

    def test_counts_the_length_modulo_4_gib(self):
        class Nothing:
            def compress(self, data, /):
                return b""

            def finish(self):
                return b"end"

        class Long(bytes):
            """No bytes that say they are many."""

            __slots__ = ()

            def __len__(self):
                return (1 << 32) + 5

        sink = io.BytesIO()
        writer = open_writer(sink, Nothing)
        writer.write(Long())
        writer.close()
        assert sink.getvalue()[10:] == b"end" + bytes(4) + b"\x05\0\0\0"

    def test_hands_on_what_is_certain_while_it_is_written(self):
        sink = Pipe()
        writer = open_writer(sink)
        for _ in range(20):
            writer.write(noise(BLOCK))
        assert sum(sink.writes) > 19 * BLOCK
        writer.close()


class TestTheChoiceOfTheEncoder:
    def test_is_the_fast_one_where_it_was_built(self):
        assert encoder_name() == "C"

    def test_is_the_portable_one_without_the_extension(self):
        (written, name) = ran(
            f"""
            import io, gzip, sys
            sys.modules["imgpkg.content.deflate._deflate"] = None
            from imgpkg.content.deflate.gzip import encoder_name, open_writer
            layer = bytes.fromhex("{LAYER.hex()}")
            sink = io.BytesIO()
            writer = open_writer(sink)
            writer.write(gzip.decompress(layer))
            writer.close()
            print(sink.getvalue() == layer)
            print(encoder_name())
            """
        )
        assert (written, name) == ("True", "pure Python")


def ran(program):
    lines = program.split("\n")
    indent = len(lines[1]) - len(lines[1].lstrip())
    code = "\n".join(line[indent:] for line in lines)
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return result.stdout.split("\n")[:-1]


class TestTheWarning:
    @pytest.mark.parametrize(
        ("sizes", "said"),
        [
            ([4 << 20, 1000], 0),
            ([(4 << 20) + 1, 5 << 20], 1),
        ],
        ids=["nothing that is quick", "once in each process"],
    )
    def test_says_that_the_extension_is_missing_and_how_to_get_it(self, tmp_path, sizes, said):
        """Only where the encoder was not chosen by the caller, who knows it."""
        lines = ran(
            f"""
            import os, sys
            sys.modules["imgpkg.content.deflate._deflate"] = None
            from imgpkg.content.deflate.reference import ReferenceEncoder
            from imgpkg.content.pack import pack_layer
            from imgpkg.events import Warned

            def say(event):
                if isinstance(event, Warned):
                    print(event.text)

            for encoder, sizes in ((ReferenceEncoder, [5 << 20]), (None, {sizes})):
                for size in sizes:
                    with open({str(tmp_path / "zeros")!r}, "wb") as file:
                        file.truncate(size)
                    with pack_layer([file.name], exclusions=(), on_event=say, encoder=encoder):
                        pass
            """
        )
        assert len(lines) == said
        assert all("imgpkg-py from a wheel" in line and "a C compiler" in line for line in lines)

    def test_is_not_needed_where_it_is_there(self):
        assert slowness(1 << 40) is None
