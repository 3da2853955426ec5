"""Whoever configures `logging` gets records, with levels and without secrets; nobody else pays for it."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys

import pytest
from tests.operations.making import make_bundle, make_image
from tests.servers.fixtures import PASSWORD, USERNAME

import imgpkg
from imgpkg.embedded.server import serve
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

pytestmark = pytest.mark.usefixtures("written_log")

DIGEST = imgpkg.Digest.of(b"")
EVENTS = {
    Warned("careful\n"): [("WARNING", "careful\\n")],
    Message("file: a\nb\n"): [("INFO", "file: a\\nb")],
    Message("\ntwo\nlines\n", is_block=True): [("INFO", "two"), ("INFO", "lines")],
    Planned(2, 30): [("INFO", "planned: 2 blobs, 30 bytes")],
    Planned(0, 0, 1, 9): [("INFO", "planned: 0 blobs, 0 bytes; already there: 1 blob, 9 bytes")],
    PackStarted(7): [("INFO", "packing: 7 bytes")],
    StepsAdvanced("planning", 1, 2): [("DEBUG", "planning: 1 of 2")],
    BlobStarted(DIGEST, 7, "push"): [("DEBUG", f"push: {DIGEST}, 7 bytes")],
    BlobFinished(DIGEST, BlobOutcome.PRESENT, 7): [("DEBUG", f"already there: {DIGEST}, 7 bytes")],
    BlobAdvanced(DIGEST, 7): [],
    PackAdvanced(7): [],
}


@pytest.fixture
def log(caplog):
    """Return the records so far, of one logger or of all, as pairs of level and text."""
    caplog.set_level(logging.DEBUG, logger="imgpkg")

    def lines(name=""):
        records = (record for record in caplog.records if record.name.startswith("imgpkg"))
        return [(record.levelname, record.getMessage()) for record in records if name in ("", record.name)]

    return lines


class TestTheAdapter:
    @pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
    def test_writes_what_is_worth_a_record_and_passes_everything_on(self, log, event):
        seen = []
        imgpkg.EventLogger(seen.append)(event)
        assert log("imgpkg.events") == EVENTS[event]
        assert seen == [event]

    def test_gives_the_event_to_formatters(self, log, caplog):
        imgpkg.EventLogger(logger="imgpkg.mine")(Planned(1, 2))
        assert [record.imgpkg_event for record in caplog.records] == [Planned(1, 2)]

    def test_writes_nothing_below_the_level_of_its_logger(self, log, caplog):
        caplog.set_level(logging.WARNING, logger="imgpkg")
        logger = imgpkg.EventLogger()
        for event in EVENTS:
            logger(event)
        assert log() == [("WARNING", "careful\\n")]


class TestAnOperation:
    def test_says_what_it_does_and_how_it_ended(self, embedded_registry, session, tmp_path, log):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "file").write_text("x")
        seen = []
        image = f"{embedded_registry.address}/logs/push"
        imgpkg.push([tmp_path / "in"], image=image, session=session, on_event=seen.append)
        lines = log("imgpkg.push")
        assert lines[0] == ("DEBUG", "begins")
        assert ("INFO", "file: file") in lines
        assert lines[-1][0] == "INFO"
        assert re.match(r"done in \d+\.\d s: ", lines[-1][1])
        assert ": moved 2 blobs, " in lines[-1][1]
        assert {type(event) for event in seen} >= {Planned, Message, BlobFinished}

    def test_within_another_one_is_a_part_of_it(self, embedded_registry, session, tmp_path, log):
        image = make_image(session, f"{embedded_registry.address}/logs/copy")
        source = imgpkg.CopySource(image=str(image))
        imgpkg.copy(source, to_tar=tmp_path / "a.tar", session=session)
        assert [text for _, text in log("imgpkg.copy")].count("begins") == 1
        assert sum(text.startswith("planned:") for _, text in log()) == 1
        assert log("imgpkg.copy_to_tar") == []

    def test_that_has_a_logger_of_its_own_is_not_written_twice(
        self, embedded_registry, session, tmp_path, log
    ):
        image = str(make_image(session, f"{embedded_registry.address}/logs/own"))
        hook = imgpkg.EventLogger(logger="imgpkg.mine")
        imgpkg.pull(tmp_path / "out", image=image, session=session, on_event=hook)
        assert any(text.startswith("planned:") for _, text in log("imgpkg.mine"))
        assert [level for level, _ in log("imgpkg.pull")] == ["DEBUG", "INFO"]

    def test_that_lasts_says_when_it_ends(self, embedded_registry, session, log):
        image = str(make_image(session, f"{embedded_registry.address}/logs/files", ["lower", "upper"]))
        walk = imgpkg.iter_files(image, session=session)
        next(walk)
        started = [text for _, text in log("imgpkg.iter_files")]
        walk.close()
        *lines, (level, last) = log("imgpkg.iter_files")
        assert [text for _, text in lines] == started
        assert (started[0], started[1].partition(":")[0], level) == ("begins", "pull", "INFO")
        assert re.fullmatch(r"done in \d+\.\d s: moved 1 blob, \d+ bytes", last)

    def test_that_has_no_events_has_a_beginning_and_an_end(self, embedded_registry, session, log):
        image = make_image(session, f"{embedded_registry.address}/logs/resolve", tag="v1")
        imgpkg.resolve(f"{image.repository}:v1", session=session)
        assert [level for level, _ in log("imgpkg.resolve")] == ["DEBUG", "INFO"]

    def test_that_fails_says_so_by_the_class_alone(self, embedded_registry, session, log):
        with pytest.raises(imgpkg.errors.NotFound):
            imgpkg.resolve(f"{embedded_registry.address}/logs/nosuch:v1", session=session)
        (_, (level, text)) = log("imgpkg.resolve")
        assert (level, text.partition(" ")[0]) == ("INFO", "NotFound")

    def test_of_many_threads_is_written_whole(self, embedded_registry, session, tmp_path, log):
        place = f"{embedded_registry.address}/logs/threads"
        images = {make_image(session, f"{place}-{letter}", [letter]): {} for letter in "abcdef"}
        make_bundle(session, f"{place}:v1", images, tmp_path / "bundle")
        source = imgpkg.CopySource(bundle=f"{place}:v1")
        imgpkg.copy_to_repository(source, f"{place}-copy", session=session)
        started = [text for level, text in log("imgpkg.copy_to_repository") if text.startswith("push: ")]
        assert len(started) == len(set(started)) == 14


def test_warnings_of_a_session_are_records(log):
    settings = imgpkg.Settings(environ={"IMGPKG_ENABLE_IAAS_AUTH": "true"})
    with imgpkg.Session(settings) as session:
        imgpkg.explain("host/a/b", session=session)
    ((level, text),) = log("imgpkg.session")
    assert level == "WARNING"
    assert "IMGPKG_ENABLE_IAAS_AUTH" in text


class TestHeads:
    def test_are_records_with_the_level_debug(self, embedded_registry, log):
        with imgpkg.Session() as session, pytest.raises(imgpkg.errors.NotFound):
            imgpkg.resolve(f"{embedded_registry.address}/logs/nosuch:v1", session=session)
        # At first, it is looked whether there is TLS.
        lines = log("imgpkg.transport")[2:4]
        assert [level for level, _ in lines] == ["DEBUG", "DEBUG"]
        url = f"{embedded_registry.url}/v2/logs/nosuch/manifests/v1"
        assert lines[0][1].splitlines()[0] == f"--> HEAD {url}"
        assert lines[1][1].startswith(f"<-- 404 {url} (")

    def test_are_not_made_where_nobody_wants_them(self, embedded_registry, caplog):
        caplog.set_level(logging.INFO, logger="imgpkg")
        with imgpkg.Session() as session, pytest.raises(imgpkg.errors.NotFound):
            imgpkg.resolve(f"{embedded_registry.address}/logs/nosuch:v1", session=session)
        assert [record for record in caplog.records if record.name == "imgpkg.transport"] == []

    def test_come_in_addition_to_the_trace_of_a_program(self, embedded_registry, log):
        lines = []
        with imgpkg.Session(trace=lines.append) as session, pytest.raises(imgpkg.errors.NotFound):
            imgpkg.resolve(f"{embedded_registry.address}/logs/nosuch:v1", session=session)
        assert len(lines) == len(log("imgpkg.transport")) > 2


def test_no_record_has_a_secret(tmp_path, log, caplog):
    (tmp_path / "file").write_text("x")
    with serve(login=(USERNAME, PASSWORD), token_service=True) as server:
        settings = imgpkg.Settings(login=imgpkg.Login(username=USERNAME, password=PASSWORD))
        with imgpkg.Session(settings) as session:
            image = f"{server.address}/logs/secret"
            imgpkg.push([tmp_path / "file"], image=image, session=session)
            token = imgpkg.get_token(image, session=session).value
        wrong = imgpkg.Settings(login=imgpkg.Login(username=USERNAME, password="wrong-word"))
        with imgpkg.Session(wrong) as session, pytest.raises(imgpkg.errors.Unauthorized):
            imgpkg.resolve(image, session=session)
    text = caplog.text
    assert "<redacted>" in text
    assert [secret for secret in (PASSWORD, "wrong-word", token) if secret in text] == []


PROGRAM = """
import sys
{before}
import imgpkg
with imgpkg.Session() as session:
    try:
        imgpkg.resolve(sys.argv[1], session=session)
    except imgpkg.errors.NotFound:
        pass
print(sorted(name for name in sys.modules if name.startswith(("logging", "imgpkg.observation"))))
"""
BEFORE = {
    "": ([], []),
    "import logging": (["logging"], []),
    "import logging; logging.basicConfig(level='INFO')": (
        ["imgpkg.observation", "imgpkg.observation.logs", "imgpkg.observation.observer", "logging"],
        ["INFO:imgpkg.resolve:NotFound after T s"],
    ),
}


@pytest.mark.parametrize("before", BEFORE)
def test_a_program_without_handlers_loads_nothing_and_sees_nothing(embedded_registry, before):
    """Not even a warning, which `logging` would otherwise print by itself."""
    image = f"{embedded_registry.address}/logs/nosuch"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before), image],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    modules, lines = BEFORE[before]
    assert eval(done.stdout) == modules
    assert re.sub(r"[0-9.]+ s$", "T s", done.stderr, flags=re.MULTILINE).splitlines() == lines


def test_a_handler_for_one_part_gets_that_part(embedded_registry):
    logger, stream = logging.getLogger("imgpkg.transport"), io.StringIO()
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with imgpkg.Session() as session, pytest.raises(imgpkg.errors.NotFound):
            imgpkg.resolve(f"{embedded_registry.address}/logs/nosuch:v1", session=session)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    assert stream.getvalue().startswith("--> HEAD ")
