"""Request bodies that lie in files: the kernel sends them from there where nothing else must see them."""

from __future__ import annotations

import errno
import os
import random
import threading

import pytest
from tests.servers.raw import RawServer, answering

from imgpkg.errors import ConnectionTimedOut, LocalIOError
from imgpkg.transport.message import Body, Request
from imgpkg.transport.pool import Pool

READ = random.Random(7).randbytes(3_300_000)
# The same in no byte, so that the peer's bytes tell where they were taken from.
STORED = bytes(byte ^ 0xFF for byte in READ)
OFFSET = 512


class InFile:
    """A body that reads `READ`, and says that the bytes are in a file, which has `STORED`."""

    def __init__(self, path, *, when_read=lambda at: None):
        self.descriptor = os.open(path, os.O_RDONLY)
        self.at = 0
        self.when_read = when_read

    def file_position(self):
        return self.descriptor, OFFSET + self.at

    def readinto(self, buffer):
        self.when_read(self.at)
        data = READ[self.at : self.at + len(buffer)]
        buffer[: len(data)] = data
        self.at += len(data)
        return len(data)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        os.close(self.descriptor)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "stored"
    path.write_bytes(bytes(OFFSET) + STORED)
    return path


def put(pool, server, path, **options):
    body = Body(len(READ), lambda: InFile(path, **options))
    pool.send(Request("PUT", server.url, body=body)).close()
    return server.requests[-1].body


def test_without_tls_the_bytes_are_taken_from_the_file(path):
    with Pool() as pool, RawServer(answering()) as server:
        assert [put(pool, server, path) == STORED for _ in range(2)] == [True, True]


def test_with_tls_they_are_taken_from_memory(path, authority):
    with (
        Pool(ca_cert_paths=[authority.path]) as pool,
        RawServer(answering(), context=authority.context()) as server,
    ):
        assert put(pool, server, path) == READ


def test_what_the_file_has_lost_since_it_was_read_is_taken_from_memory(path):
    left = 1_500_000

    def cut_off(at):
        if at:
            os.truncate(path, OFFSET + left)

    with Pool() as pool, RawServer(answering()) as server:
        assert put(pool, server, path, when_read=cut_off) == STORED[:left] + READ[left:]


def test_a_file_that_the_kernel_cannot_send_is_sent_from_memory(tmp_path):
    # A folder stands for a file system without such an operation.
    with Pool() as pool, RawServer(answering()) as server:
        assert put(pool, server, tmp_path) == READ


def test_a_body_that_fails_in_the_middle_is_not_sent_to_its_end(path):
    def fail(at):
        if at > 2_000_000:
            raise OSError(errno.EIO, "Input/output error")

    received = []

    def count(conversation):
        conversation.receive_head()
        while data := conversation.sock.recv(1 << 16):
            received.append(len(data))

    with Pool() as pool, RawServer(count) as server, pytest.raises(LocalIOError):
        put(pool, server, path, when_read=fail)
    assert sum(received) < len(READ)


class TestASlowPeer:
    def test_takes_as_long_as_it_likes_while_it_takes_something(self, path):
        def talk(conversation):
            conversation.receive_head()
            left = len(READ)
            while left:
                threading.Event().wait(0.02)
                left -= len(conversation._file.read(min(left, 1 << 16)))
            conversation.respond()

        with Pool(idle_timeout=0.5) as pool, RawServer(talk) as server:
            body = Body(len(READ), lambda: InFile(path))
            with pool.send(Request("PUT", server.url, body=body)) as response:
                assert response.status == 200

    def test_that_stops_is_left_after_the_time_without_progress(self, path):
        def talk(conversation):
            conversation.receive_head()
            conversation._file.read(100_000)
            conversation.pause()

        with (
            Pool(idle_timeout=0.4) as pool,
            RawServer(talk) as server,
            pytest.raises(ConnectionTimedOut, match="write: i/o timeout"),
        ):
            pool.send(Request("PUT", server.url, body=Body(1 << 30, lambda: Endless(path))))


class Endless(InFile):
    """A body that sends the beginning of its file again and again."""

    def readinto(self, buffer):
        return len(buffer)
