"""`--progress`: events as JSON lines on standard error, and none at all."""

from __future__ import annotations

import io
import json

import pytest
from tests.operations.making import make_image

import imgpkg
from imgpkg.cli import reporting
from imgpkg.cli.output import TextOutput
from imgpkg.cli.reporting import LineReporter, QuietReporter
from imgpkg.events import (
    BlobAdvanced,
    BlobFinished,
    BlobOutcome,
    BlobStarted,
    Message,
    PackAdvanced,
    PackStarted,
    Planned,
    StepsAdvanced,
    Warned,
)

DIGEST = imgpkg.Digest.of(b"")


def test_each_line_of_standard_error_is_an_event(run, session, repository, tmp_path):
    image = make_image(session, repository, ["one", "two"])
    done = run("copy", "-i", image, "--to-tar", tmp_path / "a.tar", "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines()]
    assert (done.code, done.out) == (0, "")
    names = [event["event"] for event in events]
    assert names.count("blobStarted") == names.count("blobFinished") == 2
    (planned,) = (event for event in events if event["event"] == "planned")
    assert (planned["blobs"], planned["presentBlobs"]) == (2, 0)
    moved = [event["movedBytes"] for event in events if event["event"] == "advanced"]
    assert moved[-1] == planned["bytes"]
    assert all(event["seconds"] >= 0 for event in events)


def test_a_push_tells_how_much_it_packs(run, folder, repository):
    events = map(
        json.loads,
        run("push", "-i", repository, "-f", folder, "--progress=json").err.splitlines(),
    )
    assert [event["bytes"] for event in events if event["event"] == "packing"] == [4]


def test_an_error_is_text_after_the_events(run, folder):
    done = run("push", "-i", "127.0.0.1:1/a/b", "-f", folder, "--progress=json", "--registry-retry-count=1")
    *lines, _hint = done.err.splitlines()
    assert next(line for line in lines if not line.startswith("{")).startswith("imgpkg: Error: ")


def test_it_goes_with_the_document(run, image, repository):
    done = run("copy", "-i", image, "--to-repo", repository, "--progress=json", "--format=json")
    assert json.loads(done.out)["blobs"]["mounted"] == 2
    assert all(json.loads(line)["event"] for line in done.err.splitlines())


def test_warnings_are_events_once_each(run, image, monkeypatch):
    monkeypatch.setenv("IMGPKG_ENABLE_IAAS_AUTH", "true")
    (line,) = run("tag", "list", "-i", image, "--progress=json").err.splitlines()
    assert json.loads(line)["event"] == "warning"


def test_another_form_is_an_error(refused, image):
    assert "--progress can only have" in refused("tag", "list", "-i", image, "--progress", "bar")


def test_bytes_are_summed_up_between_two_lines():
    err = io.StringIO()
    output = TextOutput(io.StringIO(), err, terminal=False, color=False, columns=())
    reporter = LineReporter(output, err)
    for event in (
        PackStarted(10),
        *[PackAdvanced(1)] * 10,
        Planned(1, 5),
        BlobStarted(DIGEST, 5, "push"),
        *[BlobAdvanced(DIGEST, 1)] * 5,
        BlobFinished(DIGEST, BlobOutcome.MOVED, 5),
        Message("a\n"),
        Warned("b"),
        Warned("b"),
    ):
        reporter(event)
    reporter.trace("x")
    reporter.trace("y\n")
    reporter.close()
    *lines, first, second = err.getvalue().splitlines()
    assert (first, second) == ("x", "y")
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events if event["event"] != "advanced"] == [
        "packing",
        "planned",
        "blobStarted",
        "blobFinished",
        "message",
        "warning",
    ]
    by_name = {event["event"]: event for event in events}
    assert by_name["planned"]["isLast"] is True
    assert (by_name["blobFinished"]["bytes"], by_name["blobFinished"]["outcome"]) == (5, "moved")
    # One at the end of the blob, and perhaps one where this machine was slow.
    assert 1 <= len(lines) - 6 <= 1 + 15 * reporting._SECONDS
    assert events[-4] == {"event": "advanced", "packedBytes": 10, "movedBytes": 5} | {
        "seconds": events[-4]["seconds"]
    }


@pytest.mark.parametrize("outcome", BlobOutcome)
def test_every_outcome_has_a_word(outcome):
    assert reporting._OUTCOMES[outcome] == outcome.name.lower()


@pytest.mark.parametrize("kind", [LineReporter, QuietReporter])
def test_what_only_a_display_does_is_left_out(kind):
    out, err = io.StringIO(), io.StringIO()
    reporter = kind(TextOutput(out, err, terminal=False, color=False, columns=()), err)
    reporter.block("a result\n")
    reporter.trace("a request")
    reporter.close()
    reporter.end(is_complete=False)
    assert (out.getvalue(), err.getvalue(), reporter.left()) == ("a result\n", "a request\n", "")


def test_steps_are_told_at_the_end_of_each_level():
    err = io.StringIO()
    reporter = LineReporter(TextOutput(io.StringIO(), err, terminal=False, color=False, columns=()), err)
    for done in (1, 2, 3):
        reporter(StepsAdvanced("planning", done, 3))
    *_, last = map(json.loads, err.getvalue().splitlines())
    assert {**last, "seconds": 0} == {
        "event": "steps",
        "seconds": 0,
        "activity": "planning",
        "done": 3,
        "total": 3,
    }
