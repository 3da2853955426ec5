"""Events add up to what is done, what is left and what was reused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.cli.tally import Amount, Tally
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    PackAdvanced,
    PackStarted,
    Planned,
    StepsAdvanced,
    Warned,
)
from imgpkg.oci.descriptor import Digest

MB = 10**6
ONE, OTHER = (Digest("sha256", letter * 64) for letter in "ab")


EITHER = st.sampled_from((ONE, OTHER))
EVENTS = st.one_of(
    st.builds(Planned, st.integers(0, 3), st.integers(0, 5 * MB)),
    st.builds(BlobStarted, EITHER, st.integers(0, 3 * MB), st.just("push")),
    st.builds(BlobAdvanced, EITHER, st.integers(-3 * MB, 3 * MB)),
    st.builds(BlobFinished, EITHER, st.sampled_from(BlobOutcome), st.integers(0, 3 * MB)),
)


class Clock:
    """A clock that a test turns."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tally(clock):
    return Tally(clock=clock)


def feed(tally, *events):
    for event in events:
        tally.count(event)


def transferred(digest, size, outcome=BlobOutcome.MOVED, verb="push"):
    yield BlobStarted(digest, size, verb)
    if outcome is BlobOutcome.MOVED:
        yield BlobAdvanced(digest, size)
    yield BlobFinished(digest, outcome, size)


def moving(tally, clock, seconds, size, *, digest=ONE):
    """Transfer `size` bytes in each of `seconds`, and look twice a second."""
    for _ in range(seconds):
        for _ in range(2):
            clock.now += 0.5
            tally.count(BlobAdvanced(digest, size // 2))
            tally.progress()


class TestWhatIsShown:
    def test_steps_are_counted_while_there_is_no_plan(self, tally):
        feed(tally, StepsAdvanced("planning", 31, 118), Warned("ignored"))
        assert str(tally.progress()) == "planning: 31 of 118"

    def test_nothing_is_counted_before_something_is_known(self, tally, clock):
        feed(tally, StepsAdvanced("planning", 0, 0))
        assert str(tally.progress()) == "planning"
        clock.now += 12
        assert str(tally.progress()) == "planning: 12 s"

    def test_long_planning_shows_its_time(self, tally, clock):
        feed(tally, StepsAdvanced("planning", 1, 118))
        clock.now += 12
        assert str(tally.progress()) == "planning: 1 of 118, 12 s"

    def test_packing_comes_before_the_transfer_and_is_counted_apart(self, tally):
        feed(tally, PackStarted(8 * MB), PackAdvanced(3 * MB))
        assert str(tally.progress()) == "packing: 3.0 of 8.0 MB"
        feed(tally, Planned(2, 5 * MB), BlobStarted(ONE, 5 * MB, "push"), BlobAdvanced(ONE, MB))
        assert str(tally.progress()) == "sending: 1.0 of 5.0 MB, 0 of 2 blobs"

    def test_steps_during_a_transfer_are_not_shown(self, tally):
        feed(tally, Planned(1, MB), StepsAdvanced("asking the destination", 1, 2))
        assert tally.progress().activity == "copying"

    @pytest.mark.parametrize("outcome", BlobOutcome)
    def test_a_blob_that_is_done_counts_whole(self, tally, outcome):
        feed(tally, Planned(2, 4 * MB), *transferred(ONE, 3 * MB, outcome))
        shown = tally.progress()
        assert (shown.amount, shown.blobs, shown.fraction) == ("3.0 of 4.0 MB", "1 of 2 blobs", 0.75)
        assert tally.left == Amount(1, MB)

    def test_empty_blobs_have_no_bar(self, tally):
        feed(tally, Planned(2, 0), BlobStarted(ONE, 0, "pull"))
        assert (str(tally.progress()), tally.progress().fraction) == ("receiving: 0 of 2 blobs", None)

    def test_a_pull_whose_plan_may_grow_is_never_finishing(self, tally):
        feed(tally, Planned(1, MB), *transferred(ONE, MB, verb="pull"))
        assert str(tally.progress()) == "receiving: 1.0 of 1.0 MB, 1 of 1 blob"

    def test_when_all_blobs_are_there_it_is_finishing(self, tally):
        feed(tally, Planned(1, MB), *transferred(ONE, MB, verb="save"))
        assert str(tally.progress()) == "finishing: 1.0 of 1.0 MB, 1 of 1 blob"

    def test_work_without_a_plan_is_counted_as_it_begins(self, tally):
        for digest, size in ((ONE, 5), (OTHER, 7)):
            feed(tally, BlobStarted(digest, size, "push"))
        assert tally.left == Amount(2, 12)

    def test_one_blob_that_goes_to_two_places_counts_twice(self, tally):
        feed(tally, Planned(2, 2 * MB), *[BlobStarted(ONE, MB, "push")] * 2)
        feed(tally, BlobAdvanced(ONE, MB), BlobFinished(ONE, BlobOutcome.MOVED, MB))
        feed(tally, BlobAdvanced(ONE, MB // 2))
        assert (tally.progress().amount, tally.left) == ("1.5 of 2.0 MB", Amount(1, MB))
        feed(tally, BlobAdvanced(ONE, MB // 2), BlobFinished(ONE, BlobOutcome.MOVED, MB))
        assert (tally.progress().amount, tally.left) == ("2.0 of 2.0 MB", Amount())


class TestTheBar:
    def test_waits_at_its_place_when_a_blob_is_sent_again(self, tally):
        feed(tally, Planned(1, 4 * MB), BlobStarted(ONE, 4 * MB, "push"), BlobAdvanced(ONE, 3 * MB))
        assert tally.progress().fraction == 0.75
        feed(tally, BlobAdvanced(ONE, 0))
        assert (tally.progress().fraction, tally.progress().amount) == (0.75, "3.0 of 4.0 MB")

    def test_is_full_only_when_no_plan_follows(self, tally):
        feed(tally, Planned(1, MB, is_last=False), *transferred(ONE, MB, verb="pull"))
        assert (tally.progress().fraction, tally.progress().amount) == (0.5, "1.0 of 1.0 MB")
        feed(tally, Planned(1, MB, is_last=False), BlobAdvanced(ONE, MB // 2))
        assert (tally.progress().fraction, tally.progress().amount) == (0.625, "1.5 of 2.0 MB")
        feed(tally, BlobAdvanced(ONE, MB // 2), Planned(0, 0))
        assert (tally.progress().fraction, tally.progress().amount) == (1, "2.0 of 2.0 MB")

    @given(st.lists(EVENTS))
    def test_never_goes_back_and_never_beyond_its_end(self, events):
        tally, before = Tally(clock=Clock()), 0.0
        for event in events:
            tally.count(event)
            fraction = tally.progress().fraction or 0.0
            assert 0 <= fraction <= 1
            assert fraction >= before
            before = fraction


class TestTheRate:
    @pytest.fixture(autouse=True)
    def _started(self, tally):
        feed(tally, Planned(2, 100 * MB), BlobStarted(ONE, 100 * MB, "push"))

    def test_is_shown_with_the_time_left_when_it_can_be_known(self, tally, clock):
        moving(tally, clock, 1, 4 * MB)
        assert (tally.progress().speed, tally.progress().left) == ("", "")
        moving(tally, clock, 4, 4 * MB)
        assert (tally.progress().speed, tally.progress().left) == ("4.0 MB/s", "20 s left")

    def test_changes_slowly(self, tally, clock):
        moving(tally, clock, 10, 4 * MB)
        moving(tally, clock, 1, 8 * MB)
        assert tally.progress().speed == "4.8 MB/s"

    def test_follows_a_link_that_becomes_slow(self, tally, clock):
        moving(tally, clock, 10, 4 * MB)
        moving(tally, clock, 20, MB)
        assert tally.progress().speed == "1.0 MB/s"

    def test_gives_no_time_when_nothing_comes_and_then_says_so(self, tally, clock):
        moving(tally, clock, 5, 4 * MB)
        clock.now += 2
        assert (tally.progress().speed, tally.progress().left) == ("2.1 MB/s", "")
        clock.now += 10
        assert (tally.progress().speed, tally.progress().left) == ("nothing for 12 s", "")
        moving(tally, clock, 1, 4 * MB)
        assert tally.progress().speed.endswith("/s")

    def test_is_not_made_of_what_is_sent_again_which_is_not_nothing(self, tally, clock):
        moving(tally, clock, 5, 4 * MB)
        moving(tally, clock, 5, 0)
        assert tally.progress().speed == "1.1 MB/s"

    def test_is_gone_when_all_bytes_are_there(self, tally, clock):
        moving(tally, clock, 25, 4 * MB)
        assert (tally.progress().speed, tally.progress().left) == ("", "")


class TestEventsThatWereKept:
    """A log gets its first line when the command has worked for a while already."""

    def test_have_the_rate_of_that_time(self, clock):
        tally = Tally(90.0, clock)
        feed(tally, Planned(1, 100 * MB), BlobStarted(ONE, 100 * MB, "save"), BlobAdvanced(ONE, 40 * MB))
        assert str(tally.progress()) == "saving: 40.0 of 100.0 MB, 0 of 1 blob, 4.0 MB/s, 15 s left"

    def test_say_when_nothing_has_come(self, clock):
        tally = Tally(90.0, clock)
        feed(tally, Planned(1, 100 * MB), BlobStarted(ONE, 100 * MB, "save"))
        assert str(tally.progress()) == "saving: 0.0 of 100.0 MB, 0 of 1 blob, nothing for 10 s"

    def test_have_the_time_of_the_planning(self, clock):
        tally = Tally(90.0, clock)
        feed(tally, StepsAdvanced("planning", 31, 118))
        assert str(tally.progress()) == "planning: 31 of 118, 10 s"


class TestTheSummary:
    def test_says_what_was_sent_mounted_and_already_there(self, tally, clock):
        feed(tally, Planned(3, 5 * MB, 2, 7 * MB))
        for digest, size, outcome in ((ONE, MB, BlobOutcome.MOVED), (OTHER, 2 * MB, BlobOutcome.MOUNTED)):
            feed(tally, *transferred(digest, size, outcome))
        feed(tally, *transferred(ONE, 2 * MB, BlobOutcome.PRESENT))
        clock.now += 4
        assert tally.summary() == (
            "sent 1 blob, 1.0 MB in 4.0 s; mounted 1 blob, 2.0 MB; already there 3 blobs, 9.0 MB"
        )

    def test_says_that_there_was_nothing_to_do(self, tally):
        feed(tally, Planned(0, 0, 2, 7 * MB))
        assert tally.summary() == "nothing new; already there 2 blobs, 7.0 MB"

    def test_is_said_once(self, tally):
        feed(tally, Planned(0, 0, 2, 7 * MB))
        assert tally.summary()
        assert tally.summary() == ""

    def test_is_empty_where_nothing_was_transferred(self, tally):
        feed(tally, StepsAdvanced("reading", 3, 3))
        assert tally.summary() == ""

    def test_has_the_time_since_the_first_event(self, clock):
        tally = Tally(90.0, clock)
        feed(tally, *transferred(ONE, MB, verb="verify"))
        assert tally.summary() == "verified 1 blob, 1.0 MB in 10 s"
