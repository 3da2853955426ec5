"""The encoder in Python uses several processes, and its bytes do not show it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from tests.content.deflate.streams import words

from imgpkg.content.deflate._deflate import FastEncoder
from imgpkg.content.deflate.gzip import open_writer
from imgpkg.content.deflate.portable import CHUNK, PortableEncoder
from imgpkg.content.deflate.reference import BLOCK

PACKER = """
import time
from imgpkg.content.deflate.portable import CHUNK, PortableEncoder
encoder = PortableEncoder(2)
encoder.compress(bytes(CHUNK + 1))
while not (started := [process._started for process in encoder._processes._all if process._started]):
    time.sleep(0.01)
print(*(process.pid for process in started), flush=True)
while True:
    encoder.compress(bytes(1 << 20))
"""


def deflated(encoder, data):
    pieces = [data[start : start + (1 << 20)] for start in range(0, len(data), 1 << 20)]
    return b"".join([*map(encoder.compress, pieces), encoder.finish()])


def pids(encoder):
    """Wait for the first process of `encoder`, which a thread starts; return the numbers of all."""
    while not (started := [process._started for process in encoder._processes._all if process._started]):
        time.sleep(0.01)
    return [process.pid for process in started]


def are_gone(found):
    """Wait until no process of `found` is left but zombies, whose parent was killed."""
    until = time.monotonic() + 20
    while any(map(is_alive, found)):
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class TestSeveralProcesses:
    @pytest.mark.parametrize("number", [40, 3000], ids=["states that fit", "states that do not"])
    def test_write_the_bytes_of_one(self, number):
        data = os.urandom(9 * BLOCK) + words(1, number, CHUNK - 7 * BLOCK) + bytes(100)
        assert deflated(PortableEncoder(2), data) == deflated(FastEncoder(), data)

    @pytest.mark.slow
    def test_write_the_bytes_of_one_for_ten_megabytes(self):
        data = words(5, 900, 4 << 20) + bytes(3 << 20) + os.urandom(1 << 20) + words(6, 5000, 2 << 20)
        assert deflated(PortableEncoder(3), data) == deflated(FastEncoder(), data)

    def test_are_not_started_for_a_single_chunk(self):
        encoder = PortableEncoder(2)
        encoder.compress(bytes(CHUNK))
        assert encoder._processes is None
        assert encoder.compress(b"") + encoder.finish() == deflated(FastEncoder(), bytes(CHUNK))

    def test_that_die_are_replaced_by_this_one(self):
        data = bytes(2 * CHUNK) + words(2, 40, BLOCK)
        encoder = PortableEncoder(2)
        begun = encoder.compress(data)
        for pid in pids(encoder):
            os.kill(pid, signal.SIGKILL)
        assert begun + encoder.finish() == deflated(FastEncoder(), data)

    def test_end_with_the_stream(self):
        encoder = PortableEncoder(2)
        encoder.compress(bytes(CHUNK + 1))
        found = pids(encoder)
        encoder.finish()
        assert not any(map(is_alive, found))

    def test_end_when_the_stream_is_given_up(self):
        with open_writer(Sink(), lambda: PortableEncoder(2)) as writer:
            writer.write(bytes(CHUNK + 1))
            found = pids(writer._encoder)
        assert not any(map(is_alive, found))

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_end_with_the_program(self, number):
        with subprocess.Popen(
            [sys.executable, "-c", PACKER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            found = [int(pid) for pid in program.stdout.readline().split()]
            os.kill(program.pid, number)
            program.wait(60)
        assert found
        assert are_gone(found)


class Sink:
    def write(self, data):
        pass
