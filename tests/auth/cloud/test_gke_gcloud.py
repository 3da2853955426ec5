"""The gcloud command as a program on PATH: what it is asked, what it may answer, and that it ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from imgpkg.auth.cloud.gke import access_token
from imgpkg.errors import CredentialError

GOOD = """echo '{"credential": {"access_token": "ya29.x", "token_expiry": "2030-01-02T03:04:05Z"}}'"""


def program(folder, body, *, mode=0o755, interpreter="#!/bin/sh"):
    path = folder / "gcloud"
    path.write_text(f"{interpreter}\n{body}\n")
    path.chmod(mode)
    return {"PATH": f"{folder}:/usr/bin:/bin"}


def test_its_answer_is_a_token_and_the_end_of_it(tmp_path):
    assert access_token(program(tmp_path, GOOD)) == ("ya29.x", 1893553445.0)


def test_it_runs_in_the_given_environment_without_input(tmp_path):
    body = f"""read line || echo "$CLOUDSDK_CONFIG:$line" > {tmp_path}/seen\n{GOOD}"""
    access_token({**program(tmp_path, body), "CLOUDSDK_CONFIG": "/config"})
    assert (tmp_path / "seen").read_text() == "/config:\n"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("echo secret-text", "printed no access token"),
        ("echo '[]'", "printed no access token"),
        ("echo '{}'", "printed no access token"),
        ("""echo '{"credential": null}'""", "printed no access token"),
        (
            """echo '{"credential": {"access_token": "secret", "token_expiry": "soon"}}'""",
            "printed no access",
        ),
        (
            """echo '{"credential": {"access_token": 5, "token_expiry": "2030-01-02T03:04:05Z"}}'""",
            "printed no",
        ),
        (
            """echo '{"credential": {"access_token": "", "token_expiry": "2030-01-02T03:04:05Z"}}'""",
            "printed no",
        ),
        ("echo secret; exit 3", "gcloud ended with status 3"),
        ("kill -9 $$", "gcloud ended with status -9"),
    ],
)
def test_any_other_answer_is_an_error_that_shows_none_of_it(body, why, tmp_path):
    with pytest.raises(CredentialError, match=why) as caught:
        access_token(program(tmp_path, body))
    assert "secret" not in str(caught.value)
    assert caught.value.__context__ is None


def test_one_that_cannot_be_run_is_an_error(tmp_path):
    with pytest.raises(CredentialError, match="no such file or directory"):
        access_token(program(tmp_path, GOOD, interpreter="#!/nowhere/sh"))


@pytest.mark.parametrize("path", ["", ".", "bin:.", None])
def test_one_in_the_current_folder_is_never_run(path, tmp_path, monkeypatch):
    program(tmp_path, f"touch {tmp_path}/ran; {GOOD}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CredentialError, match="there is no gcloud on PATH"):
        access_token({} if path is None else {"PATH": path})
    assert not (tmp_path / "ran").exists()


def test_one_that_hangs_is_ended_with_everything_it_started(tmp_path):
    body = f"sleep 300 & echo $! > {tmp_path}/child; wait"
    with pytest.raises(CredentialError, match=r"no answer within 0\.5 s"):
        access_token(program(tmp_path, body), deadline=0.5)
    assert_ended(int((tmp_path / "child").read_text()))


def test_one_that_is_interrupted_is_ended(tmp_path):
    body = f"echo $$ > {tmp_path}/pid.new; mv {tmp_path}/pid.new {tmp_path}/pid; sleep 300"

    def interrupt():
        for _ in range(600):
            if (tmp_path / "pid").exists():
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        access_token(program(tmp_path, body))
    thread.join()
    assert_ended(int((tmp_path / "pid").read_text()))


def assert_ended(pid):
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.05)
    raise AssertionError(f"{pid} still runs")


def test_an_answer_without_a_bottom_is_an_error(tmp_path):
    (tmp_path / "deep").write_text("[" * 100_000)
    with pytest.raises(CredentialError, match="printed no access token"):
        access_token(program(tmp_path, f"cat {tmp_path}/deep"))


def test_its_end_is_the_end_of_its_answer_whoever_holds_its_output(tmp_path):
    body = f"sleep 300 & echo $! > {tmp_path}/child; {GOOD}"
    try:
        assert access_token(program(tmp_path, body), deadline=20.0) == ("ya29.x", 1893553445.0)
    finally:
        os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_one_with_an_environment_that_no_program_can_have_is_an_error(tmp_path):
    with pytest.raises(CredentialError, match="invalid argument"):
        access_token({**program(tmp_path, GOOD), "A": "nul\0"})
