"""What became of blobs is counted as it happened, also of those that no request was about."""

from __future__ import annotations

from tests.operations.making import make_bundle, make_image

import imgpkg
from imgpkg.events import (
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    Message,
    Planned,
    Transfer,
    TransferCounter,
)

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
    return BlobStarted(DIGEST, 7, "push"), BlobFinished(DIGEST, outcome)


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
