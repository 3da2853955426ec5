"""A bar is drawn from the events of each verb alone: it never goes back, and is full at the end."""

from __future__ import annotations

import asyncio
import io
import os
import threading
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operations.making import make_bundle, make_image

import imgpkg
import imgpkg.aio
from imgpkg import errors
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.events import (
    SHORTEST_PAUSE,
    Advance,
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    BlobTransfer,
    PackAdvanced,
    PackStarted,
    Planned,
    StepsAdvanced,
)
from imgpkg.progress import Progress, ProgressCounter, ProgressStage

MB = 1 << 20
DIGESTS = [imgpkg.Digest.of(text) for text in (b"a", b"b")]


class PlainBar:
    """What docs/events.md tells: two sums, and no more than the events."""

    def __init__(self):
        self.total = self.done = 0
        self.shown = []

    def __call__(self, event):
        if isinstance(event, Planned):
            self.total += event.size
        elif isinstance(event, BlobAdvanced):
            assert event.count >= 0
            self.done += event.count
        elif isinstance(event, BlobFinished) and event.outcome is not BlobOutcome.MOVED:
            self.done += event.size
        self.shown.append((self.done, self.total))


class Watcher:
    """A hook that keeps all events, and draws both bars after each of them."""

    def __init__(self):
        self.plain, self.counter = PlainBar(), ProgressCounter()
        self.events, self.shown = [], []
        self.lock = threading.Lock()

    def __call__(self, event):
        with self.lock:
            self.events.append(event)
            self.plain(event)
            self.counter(event)
            self.shown.append(self.counter.progress)

    def check(self):
        """Prove the bars of a verb that has succeeded."""
        for before, after in pairwise(self.shown):
            if (before.stage, before.activity) == (after.stage, after.activity):
                assert before.done <= after.done
                assert before.total <= after.total
                assert (before.fraction or 0) <= (after.fraction or 0)
            if before.stage is ProgressStage.PACKING is not after.stage:
                assert before.fraction == 1
        last = self.shown[-1]
        assert (last.stage, last.fraction) == (ProgressStage.TRANSFER, 1.0)
        assert (last.done, last.blobs) == (last.total, last.total_blobs)
        self.check_plain()
        self.check_blobs()

    def check_plain(self):
        assert all(done <= total for done, total in self.plain.shown)
        assert self.plain.shown[-1] == (self.plain.total, self.plain.total)
        plans = [event.is_last for event in self.events if isinstance(event, Planned)]
        assert plans == [False] * (len(plans) - 1) + [True]
        full = [shown.fraction == 1 for shown in self.shown if shown.stage is ProgressStage.TRANSFER]
        assert full == sorted(full)

    def check_blobs(self):
        """All bytes of a blob are reported between its start and its end, and none of one not sent."""
        started = [(event.digest, event.size) for event in self.events if isinstance(event, BlobStarted)]
        finished = [event for event in self.events if isinstance(event, BlobFinished)]
        assert sorted(started, key=str) == sorted(((event.digest, event.size) for event in finished), key=str)
        moved = {event.digest: 0 for event in finished}
        for event in self.events:
            if isinstance(event, BlobAdvanced):
                moved[event.digest] += event.count
            elif isinstance(event, BlobFinished) and event.outcome is BlobOutcome.MOVED:
                moved[event.digest] -= event.size
        assert set(moved.values()) <= {0}


@pytest.fixture
def watch():
    return Watcher()


@pytest.fixture
def place(embedded_registry, request):
    return f"{embedded_registry.address}/bars/{request.node.name.partition('[')[0].removeprefix('test_')}"


@pytest.fixture
def files(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "small").write_text("x")
    (tmp_path / "in" / "large").write_bytes(os.urandom(3 * MB))
    return [tmp_path / "in"]


@pytest.fixture
def image(place, session, files):
    return str(imgpkg.push(files, image=place, session=session).reference)


@pytest.fixture
def nested(place, session, tmp_path):
    """A bundle with two images that names a bundle, which names another one, and one that both name."""
    images = {make_image(session, f"{place}-{letter}", [letter, "shared"]): {} for letter in "ab"}
    deep = make_bundle(session, f"{place}-deep", {}, tmp_path / "deep", files={"a": "1" * 9000})
    middle = make_bundle(session, f"{place}-middle", {deep: {}}, tmp_path / "middle")
    lock = {middle: {}, deep: {}, **images}
    make_bundle(session, f"{place}:v1", lock, tmp_path / "outer")
    return f"{place}:v1"


class TestTheBarOf:
    def test_push(self, place, session, files, watch):
        imgpkg.push(files, image=place, session=session, on_event=watch)
        watch.check()
        assert {shown.stage for shown in watch.shown} >= {ProgressStage.PACKING, ProgressStage.TRANSFER}

    def test_a_push_of_what_is_there(self, place, session, files, watch):
        imgpkg.push(files, image=place, session=session)
        imgpkg.push(files, image=place, session=session, on_event=watch)
        watch.check()
        assert watch.counter.transfer.present == 2

    @pytest.mark.parametrize("kind", ["to_tar", "to_layout"])
    def test_a_push_to_a_file(self, place, session, files, watch, tmp_path, kind):
        imgpkg.push(files, image=place, session=session, on_event=watch, **{kind: tmp_path / "out"})
        watch.check()

    def test_pull(self, image, session, watch, tmp_path):
        imgpkg.pull(tmp_path / "out", image=image, session=session, on_event=watch)
        watch.check()

    @pytest.mark.parametrize("recursive", [False, True])
    def test_a_pull_of_a_bundle(self, nested, session, watch, tmp_path, recursive):
        imgpkg.pull(tmp_path / "out", bundle=nested, recursive=recursive, session=session, on_event=watch)
        watch.check()
        assert watch.counter.progress.total_blobs == (3 if recursive else 1)

    def test_copies_to_a_repository_that_send_mount_and_find(self, nested, place, another_registry, session):
        for to in (f"{another_registry.address}/bars/copy", f"{place}-beside"):
            for _ in range(2):
                watch = Watcher()
                source = imgpkg.CopySource(bundle=nested)
                imgpkg.copy(source, to_repo=to, session=session, on_event=watch)
                watch.check()

    def test_copies_to_files_and_from_them(self, nested, image, place, session, tmp_path):
        source = imgpkg.CopySource(bundle=nested)
        made = {"to_tar": tmp_path / "a.tar", "to_layout": tmp_path / "layout"}
        for kind, path in made.items():
            for again in (False, True):
                watch = Watcher()
                options = {"resume": again} if kind == "to_tar" else {}
                imgpkg.copy(source, session=session, on_event=watch, **{kind: path}, **options)
                watch.check()
        for taken in (imgpkg.CopySource(tar=made["to_tar"]), imgpkg.CopySource(layout=made["to_layout"])):
            watch = Watcher()
            imgpkg.copy(taken, to_repo=f"{place}-from-file", session=session, on_event=watch)
            watch.check()
            watch = Watcher()
            imgpkg.pull(tmp_path / "out", tar=taken.tar, layout=taken.layout, session=session, on_event=watch)
            watch.check()

    def test_copies_through_a_stream(self, nested, place, session):
        stream, watch = io.BytesIO(), Watcher()
        imgpkg.copy_to_stream(imgpkg.CopySource(bundle=nested), stream, session=session, on_event=watch)
        watch.check()
        stream.seek(0)
        watch = Watcher()
        imgpkg.copy_from_stream(stream, f"{place}-streamed", session=session, on_event=watch)
        watch.check()

    def test_verify(self, nested, session, watch):
        assert imgpkg.verify(bundle=nested, session=session, on_event=watch).is_ok
        watch.check()

    def test_verify_of_what_is_damaged(self, image, session, tmp_path, watch):
        path = tmp_path / "a.tar"
        imgpkg.copy_to_tar(imgpkg.CopySource(image=image), path, session=session)
        with path.open("r+b") as file:
            file.seek(2 * MB)
            file.write(b"wrong")
        assert not imgpkg.verify(tar=path, session=session, on_event=watch).is_ok
        watch.check()

    def test_an_artifact(self, place, session, files, tmp_path):
        push, again, pull = Watcher(), Watcher(), Watcher()
        for watch in (push, again):
            named = [*files, tmp_path / "in" / "small"]
            imgpkg.push_artifact(named, image=f"{place}:v1", session=session, on_event=watch)
        imgpkg.pull_artifact(tmp_path / "out", image=f"{place}:v1", session=session, on_event=pull)
        for watch in (push, again, pull):
            watch.check()

    def test_a_verb_in_a_task(self, nested, tmp_path, watch):
        async def pull():
            async with imgpkg.aio.Session() as session:
                begun = imgpkg.aio.progress(
                    imgpkg.aio.pull, tmp_path / "out", bundle=nested, recursive=True, session=session
                )
                async with begun as running:
                    async for event in running:
                        watch(event)

        asyncio.run(pull())
        watch.check()

    def test_an_upload_that_is_sent_again(self, files, watch):
        """What had been sent when it broke off counts once, and the registry has none of it twice."""
        left = [Fault(hang_up=True), Fault(cut_request_after=2 * MB), Fault(answer=ServerResponse(503))]

        def break_off(request):
            return left.pop() if left and request.method == "PUT" and "uploads" in request.path else None

        with serve(faults=break_off) as server, imgpkg.Session() as session:
            imgpkg.push(files, image=f"{server.address}/bars/again", session=session, on_event=watch)
        assert left == []
        watch.check()

    def test_a_single_blob_without_a_plan(self, place, session, watch):
        blob = imgpkg.Descriptor("application/octet-stream", imgpkg.Digest.of(b"abc"), 3)
        where = imgpkg.Repository.parse(place)
        session.client.push_blob(where, blob, lambda: io.BytesIO(b"abc"), on_event=watch)
        assert watch.shown[-1] == Progress(ProgressStage.TRANSFER, "push", 3, 3, 1, 1, 1.0)


def test_what_fails_is_not_full(image, session, watch, tmp_path):
    def stop(event):
        watch(event)
        if isinstance(event, BlobAdvanced):
            raise errors.Cancelled

    with pytest.raises(errors.Cancelled):
        imgpkg.pull(tmp_path / "out", image=image, session=session, on_event=stop)
    assert watch.shown[-1].blobs < watch.shown[-1].total_blobs


def test_steps_are_counted_and_have_no_fraction_since_more_may_come():
    counter = ProgressCounter()
    assert counter.progress == Progress()
    counter(StepsAdvanced("planning", 1, 2))
    assert counter.progress == Progress(ProgressStage.COUNTING, "planning", 1, 2)
    counter(PackStarted(2))
    counter(PackAdvanced(1))
    counter(StepsAdvanced("planning", 2, 2))
    assert counter.progress == Progress(ProgressStage.PACKING, "pack", 1, 2, fraction=0.5)


def test_all_events_are_passed_on():
    seen = []
    events = [imgpkg.Message("a"), Planned(1, 2), PackStarted(1), imgpkg.Warned("b")]
    for event in events:
        ProgressCounter(seen.append)(event)
    assert seen == events


SIZES = st.integers(0, 5)
EVENTS = st.one_of(
    st.builds(Planned, SIZES, SIZES, is_last=st.booleans(), share=st.floats(0, 0.99)),
    st.builds(BlobStarted, st.sampled_from(DIGESTS), SIZES, st.just("push")),
    st.builds(BlobAdvanced, st.sampled_from(DIGESTS), SIZES),
    st.builds(BlobFinished, st.sampled_from(DIGESTS), st.sampled_from(BlobOutcome), SIZES),
)


@given(st.lists(EVENTS))
def test_whatever_comes_the_bar_never_goes_back_and_never_beyond_its_end(events):
    counter, before = ProgressCounter(), 0.0
    for event in events:
        counter(event)
        now = counter.progress
        assert before <= (now.fraction or 0.0) <= 1
        assert now.done <= now.total
        before = now.fraction or 0.0


PLANS = st.lists(st.lists(st.integers(0, 1000), max_size=3), min_size=1, max_size=6)


@given(PLANS)
def test_plans_of_many_levels_fill_one_bar(plans):
    counter, before = ProgressCounter(), 0.0
    for number, sizes in enumerate(plans):
        is_last = number == len(plans) - 1
        counter(Planned(len(sizes), sum(sizes), is_last=is_last))
        for size in sizes:
            transfer = BlobTransfer(imgpkg.Descriptor("", DIGESTS[0], size), "pull", counter)
            transfer.advance.add(size // 2)
            transfer.finish(BlobOutcome.MOVED)
        assert before <= counter.progress.fraction
        assert (counter.progress.fraction == 1) == is_last
        before = counter.progress.fraction


def test_a_bar_is_filled_by_the_share_that_is_planned():
    counter, fractions = ProgressCounter(), []
    for share, is_last in ((0.25, False), (0.75, False), (1.0, True)):
        counter(Planned(2, 100, is_last=is_last, share=share))
        for digest in DIGESTS[:2]:
            counter(BlobFinished(digest, BlobOutcome.MOUNTED, 50))
            fractions.append(counter.progress.fraction)
        assert counter.progress.grows is not is_last
    assert fractions == [0.125, 0.25, 0.5, 0.75, 0.875, 1.0]


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class TestHowOften:
    def test_ten_gigabytes_are_reported_some_hundred_times(self):
        counts, clock, block = [], Clock(), 1 << 18
        advance = Advance(10_000 * block * 4, counts.append, clock)
        for _ in range(40_000):
            # 100 MB a second.
            clock.now += block / 100e6
            advance.add(block)
        assert sum(counts) == 10_000 * block * 4
        assert len(counts) <= clock.now / SHORTEST_PAUSE + 1

    def test_a_small_blob_is_reported_once(self):
        counts = []
        advance = Advance(3, counts.append, Clock())
        for _ in range(3):
            advance.add(1)
        advance.end()
        assert counts == [3]

    @given(st.lists(st.one_of(st.integers(1, 9), st.none()), max_size=30), st.integers(0, 40))
    def test_no_byte_is_reported_twice_wherever_it_starts_again(self, steps, size):
        counts, clock = [], Clock()
        advance = Advance(size, counts.append, clock)
        farthest = position = 0
        for step in steps:
            clock.now += 0.06
            if step is None:
                position = 0
                advance.restart()
            else:
                position += step
                advance.add(step)
            farthest = max(farthest, position)
            assert all(count >= 0 for count in counts)
            assert sum(counts) <= min(farthest, size)
        advance.end()
        assert sum(counts) == size
        advance.close()
        advance.add(1)
        assert sum(counts) == size

    def test_what_is_repeated_shows_that_it_goes_on(self):
        counts, clock = [], Clock()
        advance = Advance(100, counts.append, clock)
        for _ in range(4):
            clock.now += 0.2
            advance.add(10)
        advance.restart()
        for _ in range(4):
            clock.now += 0.2
            advance.add(10)
        assert counts == [10, 10, 10, 10, 0, 0, 0, 0]

    def test_many_tags_are_counted_in_few_steps(self, place, session, files):
        steps = []
        image = imgpkg.push(files, image=f"{place}:v0", session=session).reference
        manifest = session.client.manifest(image)
        for number in range(60):
            session.client.push_manifest(image.repository.tag(f"t{number}"), manifest)
        imgpkg.list_tags(place, digests=True, session=session, on_event=steps.append)
        assert len(steps) < 30
        assert steps[-1].done == steps[-1].total >= 60
