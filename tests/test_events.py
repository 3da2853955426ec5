"""What became of blobs is counted as it happened, also of those that no request was about."""

from __future__ import annotations

from itertools import pairwise

import pytest
from tests.operations.making import make_bundle, make_image

import imgpkg
from imgpkg.events import (
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    Message,
    Planned,
    StepsAdvanced,
    Transfer,
    TransferCounter,
)
from imgpkg.operations.workers import open_workers

DIGEST = imgpkg.Digest.of(b"")


def counts(work):
    """Return what the events of this work say of blobs: moved, mounted and present."""
    counter = TransferCounter()
    work(counter)
    total = counter.total
    for number, size in (
        (total.moved, total.moved_size),
        (total.mounted, total.mounted_size),
        (total.present, total.present_size),
    ):
        assert bool(number) == bool(size)
    return total.moved, total.mounted, total.present


def test_each_blob_counts_by_what_became_of_it():
    counter = TransferCounter()
    for event in (
        Planned(3, 30, 2, 20),
        *(event for outcome in BlobOutcome for event in finished(outcome)),
        Planned(0, 0, 1, 5),
    ):
        counter(event)
    assert counter.total == Transfer(1, 7, 1, 7, 4, 32)


def finished(outcome):
    return BlobStarted(DIGEST, 7, "push"), BlobFinished(DIGEST, outcome, 7)


def test_all_events_are_passed_on():
    seen = []
    counter = TransferCounter(seen.append)
    events = [Message("a"), Planned(1, 2), *finished(BlobOutcome.MOVED)]
    for event in events:
        counter(event)
    assert seen == events


def test_a_second_push_finds_everything_there(embedded_registry, session, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in/file").write_text("x")

    def push(on_event):
        image = f"{embedded_registry.address}/events/push"
        imgpkg.push([tmp_path / "in"], image=image, session=session, on_event=on_event)

    assert [counts(push), counts(push)] == [(2, 0, 0), (0, 0, 2)]


def test_a_copy_counts_what_it_sends_mounts_and_finds(embedded_registry, another_registry, session, tmp_path):
    here, there = embedded_registry.address, another_registry.address
    images = [make_image(session, f"{here}/events/app", [name, "shared"]) for name in ("one", "two")]
    lock = {image: {} for image in images}
    make_bundle(session, f"{here}/events/bundle:v1", lock, tmp_path / "bundle")
    source = imgpkg.CopySource(bundle=f"{here}/events/bundle:v1")

    def to(repository):
        return lambda on_event: imgpkg.copy(source, to_repo=repository, session=session, on_event=on_event)

    # Three layers and two configurations, and those of the bundle. A smaller copy asks for nothing.
    assert counts(to(f"{there}/events/copy")) == (7, 0, 0)
    assert counts(to(f"{there}/events/copy")) == (0, 0, 7)
    assert counts(to(f"{here}/events/beside")) == (0, 7, 0)


def test_a_copy_to_files_counts_what_they_have(embedded_registry, session, tmp_path):
    image = make_image(session, f"{embedded_registry.address}/events/file", ["one", "two"])
    source = imgpkg.CopySource(image=str(image))

    def to_tar(on_event):
        imgpkg.copy_to_tar(source, tmp_path / "a.tar", resume=True, session=session, on_event=on_event)

    def to_layout(on_event):
        imgpkg.copy_to_layout(source, tmp_path / "layout", session=session, on_event=on_event)

    # The configuration is in manifest.json.
    assert [counts(to_tar)[::2], counts(to_tar)[::2]] == [(2, 0), (0, 2)]
    assert [counts(to_layout)[::2], counts(to_layout)[::2]] == [(3, 0), (0, 3)]


def test_a_stream_counts_each_blob_once(embedded_registry, session, tmp_path):
    image = make_image(session, f"{embedded_registry.address}/events/stream", ["one", "two"])
    imgpkg.copy_to_tar(imgpkg.CopySource(image=str(image)), tmp_path / "a.tar", session=session)

    def copy(on_event):
        with (tmp_path / "a.tar").open("rb") as stream:
            imgpkg.copy_from_stream(
                stream, f"{embedded_registry.address}/events/from", session=session, on_event=on_event
            )

    assert counts(copy) == (3, 0, 0)
    # The configuration is too small to ask for it first.
    assert counts(copy) == (1, 0, 2)


WORK = {
    "describe": lambda place, **options: imgpkg.describe(f"{place}:v1", **options),
    "break_down": lambda place, **options: imgpkg.break_down(f"{place}:v1", **options),
    "inventory": imgpkg.inventory,
    "list_tags": lambda place, **options: imgpkg.list_tags(
        place, digests=True, imgpkg_internal_tags=True, **options
    ),
    "lock_images": lambda place, **options: imgpkg.lock_images(images=[f"{place}:v1"], **options),
    "prune_plan": lambda place, **options: imgpkg.prune_plan(place, keep=["v1"], **options),
    "verify": lambda place, **options: imgpkg.verify(bundle=f"{place}:v1", **options),
    "preview_copy": lambda place, **options: imgpkg.preview_copy(
        imgpkg.CopySource(bundle=f"{place}:v1"), f"{place}-copy", **options
    ),
    "copy_to_repository": lambda place, **options: imgpkg.copy_to_repository(
        imgpkg.CopySource(bundle=f"{place}:v1"), f"{place}-copied", **options
    ),
    "delete_image": lambda place, **options: imgpkg.delete_image(f"{place}:v1", all_tags=True, **options),
}


@pytest.mark.parametrize("name", WORK)
def test_work_without_totals_in_bytes_counts_its_steps(embedded_registry, session, tmp_path, name):
    place = f"{embedded_registry.address}/steps/{name}"
    images = {make_image(session, f"{place}-{letter}", [letter]): {} for letter in "ab"}
    make_bundle(session, f"{place}:v1", images, tmp_path / "bundle")
    steps = []

    def hear(event):
        if isinstance(event, StepsAdvanced):
            steps.append(event)

    WORK[name](place, session=session, on_event=hear)
    assert (steps[0].done, steps[0].total) == (0, 0)
    for before, after in pairwise(steps):
        assert after.done <= after.total
        assert before.activity != after.activity or before.done <= after.done
    # At the end of each activity, all that was known is done.
    ends = {step.activity: step for step in steps}
    assert all(step.done == step.total > 0 for step in ends.values())


def test_nothing_is_counted_of_what_fails(session):
    steps = []

    def act(number):
        if number:
            raise imgpkg.ImgpkgError("no")

    with open_workers(session, 1, steps.append, activity="reading") as workers:
        with pytest.raises(imgpkg.ImgpkgError):
            workers.map(act, [0, 1])
        workers.map(act, [])
        workers.counting("planning").map(act, [0])
    assert steps == [
        StepsAdvanced("reading", 0, 0),
        StepsAdvanced("reading", 0, 2),
        StepsAdvanced("planning", 0, 1),
        StepsAdvanced("planning", 1, 1),
    ]
