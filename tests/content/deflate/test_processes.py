"""Processes encode chunks, end at once, and may fail without harm."""

from __future__ import annotations

import io
import os
import signal
import time

import pytest
from tests.content.deflate.streams import words

from imgpkg.content.deflate.chunk import Chunk, encode_chunk
from imgpkg.content.deflate.processes import Processes, receive, send, serve, usable_cores
from imgpkg.content.deflate.reference import BLOCK

# A second of work.
LONG = Chunk(words(3, 2000, 10 * BLOCK) * 6, 0)


def fields(chunk):
    return chunk.data, chunk.start.to_bytes(8, "little"), chunk.state


def is_running(pid):
    """Whether there is such a process, which may be a zombie."""
    return os.path.exists(f"/proc/{pid}")


def started(processes):
    """Wait for a process of `processes`; return its number."""
    while not (found := [process._started for process in processes._all if process._started]):
        time.sleep(0.01)
    return found[0].pid


@pytest.fixture
def processes():
    made = Processes(2)
    yield made
    made.end()


class TestFields:
    @pytest.mark.parametrize("sent", [(), (b"",), (b"abc", b"", bytes(100_000))])
    def test_are_received_as_they_were_sent(self, sent):
        pipe = io.BytesIO()
        send(pipe, *sent)
        send(pipe, b"next")
        pipe.seek(0)
        assert receive(pipe) == list(sent)
        assert receive(pipe) == [b"next"]

    @pytest.mark.parametrize("size", [0, 3, 8, 20, 24, 26])
    def test_that_are_cut_off_are_an_end(self, size):
        pipe = io.BytesIO()
        send(pipe, b"abc", b"")
        with pytest.raises(EOFError):
            receive(io.BytesIO(pipe.getvalue()[:size]))


class TestServing:
    def test_answers_one_chunk_after_the_other_until_there_are_no_more(self):
        chunks = [Chunk(bytes(BLOCK), 0), Chunk(words(0, 9, 9 * BLOCK), BLOCK)]
        given, printed = io.BytesIO(), io.BytesIO()
        for chunk in chunks:
            send(given, *fields(chunk))
        given.seek(0)
        serve(given, printed)
        printed.seek(0)
        for encoded in (encoded for chunk in chunks for encoded in encode_chunk(chunk)):
            assert receive(printed)[:2] == [encoded.before, encoded.after]


class TestProcesses:
    def test_encode_what_this_process_encodes(self, processes):
        chunks = [Chunk(os.urandom(20) + words(seed, 60, 2 * BLOCK), BLOCK) for seed in range(3)]
        futures = [processes.submit(chunk) for chunk in chunks]
        assert [future.result() for future in futures] == [list(encode_chunk(chunk)) for chunk in chunks]

    def test_that_are_killed_give_no_result_and_take_no_more_chunks(self):
        processes = Processes(1)
        future = processes.submit(LONG)
        os.kill(started(processes), signal.SIGKILL)
        assert future.result(60) is None
        assert processes.submit(Chunk(b"abc", 0)).result(60) is None
        processes.end()

    def test_end_in_the_middle_of_their_work(self):
        processes = Processes(1)
        processes.submit(LONG)
        waiting = processes.submit(LONG)
        pid = started(processes)
        processes.end()
        assert not is_running(pid)
        assert waiting.cancelled()

    @pytest.mark.parametrize("interpreter", ["/bin/cat", "", "/nowhere/python3"])
    def test_are_not_started_by_programs_that_are_no_interpreter(self, interpreter):
        processes = Processes(1, interpreter)
        assert processes.submit(Chunk(b"abc", 0)).result(60) is None
        processes.end()

    def test_are_eight_at_most_however_many_cores_there_are(self):
        processes = Processes(300)
        assert len(processes._all) == 8
        processes.end()

    def test_are_as_many_as_this_process_may_use_cores(self):
        assert usable_cores() == len(os.sched_getaffinity(0))
