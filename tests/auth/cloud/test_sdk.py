"""What surrounds a call of an SDK: its environment, its silence, its deadline, its reasons."""

from __future__ import annotations

import logging
import os
import threading
import warnings

import pytest

from imgpkg.auth.cloud import sdk
from imgpkg.errors import CredentialError


def test_the_environment_is_the_given_one_during_the_call_and_the_old_one_after(monkeypatch):
    monkeypatch.setenv("KEPT", "before")
    monkeypatch.setenv("GONE", "before")
    monkeypatch.setenv("SAME", "always")
    before = dict(os.environ)
    given = {"KEPT": "during", "NEW": "x", "SAME": "always"}
    assert sdk.call(given, lambda: dict(os.environ)) == given
    assert dict(os.environ) == before


def test_the_environment_comes_back_after_a_failure(monkeypatch):
    monkeypatch.setenv("KEPT", "before")
    with pytest.raises(CredentialError, match=r"^boom$"):
        sdk.call({}, lambda: (_ for _ in ()).throw(RuntimeError("boom")))
    assert os.environ["KEPT"] == "before"


def test_what_other_threads_change_meanwhile_stays(monkeypatch):
    monkeypatch.setenv("KEPT", "before")
    monkeypatch.setenv("GONE", "before")
    monkeypatch.setenv("NEW", "before")
    monkeypatch.delenv("NEW")

    def meanwhile():
        os.environ["NEW"] = "theirs"
        del os.environ["GONE"]

    sdk.call({"KEPT": "during", "GONE": "before"}, meanwhile)
    assert os.environ["KEPT"] == "before"
    assert os.environ["NEW"] == "theirs"
    assert "GONE" not in os.environ


def test_two_calls_never_overlap():
    running, most, gate = [], [], threading.Barrier(4)

    def work():
        running.append(1)
        most.append(len(running))
        running.pop()

    def one():
        gate.wait()
        sdk.call({}, work)

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "name", ["botocore", "botocore.new.logger", "azure.identity", "google.auth", "msal.x"]
)
def test_loggers_of_sdks_are_silent_during_the_call_and_as_before_after(name, caplog):
    logger = logging.getLogger("botocore.parsers") if name == "botocore" else None
    if logger:
        logger.setLevel(logging.DEBUG)
    caplog.set_level(logging.DEBUG)

    def work():
        logging.getLogger(name).critical("Response body: secret")
        logging.getLogger("botocore.parsers").error("secret")
        logging.getLogger("another").error("fine")

    sdk.call({}, work)
    assert [record.getMessage() for record in caplog.records] == ["fine"]
    assert logging.getLogger(name).level == logging.NOTSET
    if logger:
        assert logger.level == logging.DEBUG
        logger.setLevel(logging.NOTSET)


def test_warnings_of_sdks_are_dropped():
    sdk.call({}, lambda: warnings.warn("this Python is old", FutureWarning, stacklevel=1))


def test_work_that_does_not_end_is_left_alone_after_the_deadline():
    stop = threading.Event()
    with pytest.raises(CredentialError, match=r"^no answer within 0\.05 s$"):
        sdk.call({}, lambda: stop.wait(30), deadline=0.05)
    stop.set()


def test_a_credential_error_passes_as_it_is():
    failure = CredentialError("the reason")

    def fail():
        raise failure

    with pytest.raises(CredentialError) as caught:
        sdk.call({}, fail)
    assert caught.value is failure


def test_an_error_carries_nothing_of_its_cause():
    with pytest.raises(CredentialError) as caught:
        sdk.call({}, lambda: {}["secret"])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError(), "ValueError"),
        (ValueError("two\n lines\tof text "), "two lines of text"),
        (ValueError("the text", {"access_token": "ya29.x"}), "the text"),
        (OSError(2, "gone"), "[Errno 2] gone"),
        (ValueError("secret is hunter2 and hunter2x"), "secret is … and …"),
        (ValueError("Bearer eyJhbGciOiJSUzI1NiJ9.e30.sig was refused"), "Bearer … was refused"),
        (ValueError("got ya29.abc-DEF_1 back"), "got … back"),
        (ValueError("{'access_token': 'opaque', 'x': 1}"), "{'access_token…', 'x': 1}"),
        (ValueError("assertion=abc.def&x=1"), "assertion…&x=1"),
        (ValueError("x-amz-security-token:opaque x-amz-target:y"), "x-amz-security-token… x-amz-target:y"),
        (ValueError("x" * 2001), "x" * 2000 + "…"),
    ],
)
def test_a_reason_is_one_line_without_secrets(error, expected):
    environ = {"AZURE_CLIENT_SECRET": "hunter2", "AWS_SECRET_ACCESS_KEY": "hunter2x", "MSI_SECRET": ""}
    text = sdk.reason(error, environ)
    assert "opaque" not in text
    assert "abc.def" not in text
    assert text == expected
