"""Blobs are written in order, from a thread of their own where a processor would be idle."""

from __future__ import annotations

import io
import random
import threading

import pytest

from imgpkg.content.store import Transfers
from imgpkg.errors import LocalIOError, VerificationError

DATA = random.Random(4).randbytes(12 << 20)
AT_ONCE, BEHIND = 1, 2


class Written:
    """What was written, and by which threads; `fail_at` is the number of bytes after which it fails."""

    def __init__(self, fail_at=None):
        self.data = bytearray()
        self.threads = []
        self.fail_at = fail_at

    def __call__(self, block):
        self.threads.append(threading.current_thread().name)
        if self.fail_at is not None and len(self.data) >= self.fail_at:
            raise LocalIOError("the disk is full")
        self.data += block


class Broken(io.BytesIO):
    """A stream that does not verify at its end."""

    def readinto(self, buffer, /):
        count = super().readinto(buffer)
        if not count:
            raise VerificationError("wrong")
        return count


def writers():
    return [thread for thread in threading.enumerate() if thread.name == "imgpkg-write"]


@pytest.mark.parametrize("processors", [AT_ONCE, BEHIND, 64])
@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 8 << 20, (8 << 20) + 1, len(DATA)])
def test_every_byte_is_written_once_and_in_order(processors, size):
    written = Written()
    Transfers(processors).write(io.BytesIO(DATA[:size]), written)
    assert written.data == DATA[:size]
    assert not writers()


def test_a_large_blob_is_written_while_the_next_block_is_received():
    read, written = threading.Event(), Written()

    class Watched(io.BytesIO):
        def readinto(self, buffer, /):
            if self.tell() == 10 << 20:
                read.set()
            return super().readinto(buffer)

    def write(block):
        # What comes later is read before this is written: by another thread.
        if len(written.data) == (10 << 20) - (1 << 18):
            assert read.wait(10)
        written(block)

    Transfers(BEHIND).write(Watched(DATA), write)
    assert written.data == DATA
    assert (written.threads[0], written.threads[-1]) == ("MainThread", "imgpkg-write")


@pytest.mark.parametrize(("processors", "size"), [(AT_ONCE, len(DATA)), (BEHIND, 4 << 20)])
def test_no_thread_is_used_for_a_small_blob_or_with_one_processor(processors, size):
    written = Written()
    Transfers(processors).write(io.BytesIO(DATA[:size]), written)
    assert set(written.threads) == {"MainThread"}


def test_no_thread_is_used_while_as_many_blobs_come_as_there_are_processors():
    transfers, inner, outer = Transfers(2), Written(), Written()

    def write(block):
        # The other one is complete within this block.
        if not outer.data:
            transfers.write(io.BytesIO(DATA), inner)
        outer(block)

    transfers.write(io.BytesIO(DATA), write)
    assert set(inner.threads) == {"MainThread"}
    assert set(outer.threads) == {"MainThread", "imgpkg-write"}
    assert inner.data == outer.data == DATA


@pytest.mark.parametrize("fail_at", [0, 9 << 20])
@pytest.mark.parametrize("processors", [AT_ONCE, BEHIND])
def test_a_failure_to_write_is_raised_and_ends_the_reading(processors, fail_at):
    source, written = io.BytesIO(DATA * 2), Written(fail_at)
    with pytest.raises(LocalIOError, match="the disk is full"):
        Transfers(processors).write(source, written)
    assert (len(written.data), written.data) == (fail_at, DATA[:fail_at])
    assert source.tell() <= fail_at + (2 << 20)
    assert not writers()


@pytest.mark.parametrize("processors", [AT_ONCE, BEHIND])
def test_a_failure_to_read_is_raised_when_all_before_it_is_written(processors):
    written = Written()
    with pytest.raises(VerificationError, match="wrong"):
        Transfers(processors).write(Broken(DATA), written)
    assert written.data == DATA
    assert not writers()
