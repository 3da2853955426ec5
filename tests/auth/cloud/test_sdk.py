"""What surrounds a call of an SDK: its process, its environment, its silence, its deadline, its reasons."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tests.servers.cloud import AzureRegistry, Ecr, EntraId, GoogleMetadata, measured, serving
from tests.servers.raw import RawServer

import imgpkg
from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.ecr import EcrSource
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.keychain import Outcome
from imgpkg.auth.program import Programs
from imgpkg.cancellation import Cancellation
from imgpkg.errors import Cancelled, CredentialError
from imgpkg.oci.reference import Repository

pytestmark = pytest.mark.measured

HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
HERE = Repository(HOST, "team/app")
QUESTION = {"registry": {"account": "123456789012", "region": "eu-west-1"}, "now": 0.0, "api_seconds": 9.0}


def machine():
    return Machine(Absence(time.time), MetadataService(time.time, host="127.0.0.1", port=1))


def call(environ, *, keychain="ecr", question=QUESTION, programs=None, known=None, **options):
    environ = {**measured(), **environ}
    return sdk.call(
        keychain, question, environ, known or machine(), programs=programs or Programs(), **options
    )


def keys_from(folder, body):
    """Return an environment in which botocore runs a program for AWS credentials."""
    program = folder / "keys"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    (folder / ".aws").mkdir(exist_ok=True)
    (folder / ".aws" / "config").write_text(f"[default]\ncredential_process = {program}\n")
    return {"HOME": str(folder), "PATH": "/usr/bin:/bin", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture
def started():
    """List the processes that this one has started since the test began and not waited for."""
    before = set(children())
    return lambda: [child for child in children() if child not in before]


def children():
    """List the processes that this one has not waited for; servers of other tests may be among them."""
    found = []
    for task in Path("/proc/self/task").glob("*/children"):
        # Threads of servers come and go.
        with suppress(OSError):
            found += task.read_text().split()
    return found


def is_gone(pid):
    for _ in range(600):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def wait_for(path):
    for _ in range(3000):
        if path.exists() and path.read_text().strip():
            return path.read_text().strip()
        time.sleep(0.01)
    raise AssertionError(f"{path} was not written")


class Watcher:
    """Looks at the environment of the process all the time, in a thread of its own, as a program may."""

    def __init__(self):
        self.before = dict(os.environ)
        self.looks = 0
        self.differences = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def _watch(self):
        while not self._is_over.is_set():
            seen = dict(os.environ)
            self.looks += 1
            if seen != self.before:
                self.differences.append(seen)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exception):
        self._is_over.set()
        self._thread.join()


def test_two_sessions_with_secrets_of_their_own_ask_at_once_and_no_thread_sees_either(
    internet, tmp_path, started
):
    api = Ecr({"AKIDONE": "key-one", "AKIDTWO": "key-two"})
    internet.host("team.azurecr.io", AzureRegistry(tenant="tenant-id"))
    internet.host("login.one.example", EntraId("https://login.one.example", secret="azure-one"))
    internet.host("login.two.example", EntraId("https://login.two.example", secret="azure-two"))
    repositories = [f"{host}/team/app" for host in ("gcr.io", HOST, "team.azurecr.io")]
    found = {}

    def run(name, environ):
        settings = imgpkg.Settings(environ=environ, ca_cert_paths=(str(internet.ca_file),))
        with imgpkg.Session(settings) as session:
            found[name] = [imgpkg.explain(one, session=session) for one in repositories]

    def environ_of(name, place):
        (tmp_path / name).mkdir()
        return {
            **internet.environ,
            "HOME": str(tmp_path / name),
            "PATH": "",
            "IMGPKG_ACTIVE_KEYCHAINS": "gke,ecr,aks",
            "GCE_METADATA_HOST": place.address,
            "AWS_ACCESS_KEY_ID": f"AKID{name.upper()}",
            "AWS_SECRET_ACCESS_KEY": f"key-{name}",
            "AWS_ENDPOINT_URL_ECR": aws.url,
            "AZURE_TENANT_ID": "tenant-id",
            "AZURE_CLIENT_ID": "client-id",
            "AZURE_CLIENT_SECRET": f"azure-{name}",
            "AZURE_AUTHORITY_HOST": f"login.{name}.example",
        }

    with (
        serving(api) as aws,
        serving(GoogleMetadata("ya29.one")) as one,
        serving(GoogleMetadata("ya29.two")) as two,
        Watcher() as watcher,
    ):
        places = {"one": one, "two": two}
        threads = [
            threading.Thread(target=run, args=(name, environ_of(name, place)))
            for name, place in places.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for name in places:
        decisions = found[name]
        assert [one.winner and one.winner.source for one in decisions] == ["gke", "ecr", "aks"], decisions
        assert decisions[0].credential.password == f"ya29.{name}"
    assert {call.header("Authorization").split("/")[0][-7:] for call in api.calls} == {"AKIDONE", "AKIDTWO"}
    assert watcher.looks > 100
    assert watcher.differences == []
    assert started() == []


def test_the_process_has_the_given_environment_and_no_other(tmp_path, monkeypatch):
    monkeypatch.setenv("OURS", "of the program")
    body = f'env > {tmp_path}/seen; echo "{{}}"'
    environ = {**keys_from(tmp_path, body), "MINE": "ü \udcff", "PYTHONHOME": "/nowhere", "LC_ALL": "C.UTF-8"}
    with pytest.raises(CredentialError, match="process"):
        call(environ)
    seen = (tmp_path / "seen").read_bytes().splitlines()
    assert b"MINE=\xc3\xbc \xff" in seen
    assert b"PYTHONHOME=/nowhere" in seen
    added = {line.partition(b"=")[0].decode() for line in seen} - environ.keys() - measured().keys()
    assert added <= {"PWD", "OLDPWD", "SHLVL", "_"}


def test_nothing_is_imported_from_the_current_folder_or_from_where_a_variable_says(tmp_path, monkeypatch):
    for name in ("json", "botocore", "imgpkg"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    environ = {"PYTHONPATH": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    assert call(environ) is None
    assert not (tmp_path / "ran").exists()


def test_no_secret_is_on_the_command_line(tmp_path):
    body = f"cat /proc/$PPID/cmdline > {tmp_path}/line; echo '{{}}'"
    environ = {**keys_from(tmp_path, body), "AZURE_CLIENT_SECRET": "hunter2"}
    with pytest.raises(CredentialError):
        call(environ)
    line = (tmp_path / "line").read_bytes()
    assert b"imgpkg.auth.cloud.sdk" in line
    assert b"hunter2" not in line
    assert b"123456789012" not in line


def test_a_call_that_does_not_end_is_ended_after_its_deadline_with_all_that_it_started(tmp_path, started):
    environ = keys_from(tmp_path, f"echo $$ > {tmp_path}/pid; echo $PPID > {tmp_path}/parent; exec sleep 300")
    with pytest.raises(CredentialError, match=r"^no answer within 4 s$"):
        call(environ, deadline=4.0)
    assert is_gone(int(wait_for(tmp_path / "pid")))
    assert is_gone(int(wait_for(tmp_path / "parent")))
    assert started() == []


def test_a_session_that_is_stopped_ends_what_a_cloud_is_asked_with(tmp_path, started):
    environ = keys_from(tmp_path, f"echo $$ > {tmp_path}/pid; exec sleep 300")
    settings = imgpkg.Settings(environ={**measured(), **environ, "IMGPKG_ACTIVE_KEYCHAINS": "ecr"})
    raised = []

    def ask():
        with pytest.raises(Cancelled):
            imgpkg.explain(f"{HOST}/team/app", session=session)
        raised.append(time.monotonic())

    with imgpkg.Session(settings) as session:
        thread = threading.Thread(target=ask)
        thread.start()
        pid = int(wait_for(tmp_path / "pid"))
        stopped = time.monotonic()
        session.stop()
        thread.join()
    assert raised[0] - stopped < 2
    assert is_gone(pid)
    assert started() == []


def test_a_process_whose_program_was_killed_ends_by_itself(tmp_path):
    environ = keys_from(tmp_path, f"echo $PPID > {tmp_path}/parent; exec sleep 20")
    program = f"""
import time
from imgpkg.auth.cloud import sdk
from imgpkg.auth.cloud.metadata import Absence, Machine, MetadataService
from imgpkg.auth.program import Programs
machine = Machine(Absence(time.time), MetadataService(time.time))
sdk.call("ecr", {QUESTION!r}, {environ!r}, machine, programs=Programs(), deadline=3.0)
"""
    with subprocess.Popen([sys.executable, "-c", program]) as killed:
        pid = int(wait_for(tmp_path / "parent"))
        killed.send_signal(signal.SIGKILL)
    assert is_gone(pid)


def test_what_a_process_finds_out_about_the_machine_is_known_to_the_next(tmp_path):
    def silent(conversation):
        conversation.receive()
        conversation.pause()

    with RawServer(silent) as nobody:
        known = Machine(Absence(time.time), MetadataService(time.time, host="127.0.0.1", port=nobody.port))
        for _ in range(2):
            assert call({"HOME": str(tmp_path)}, known=known) is None
        assert nobody.connections == 1
    assert known.absence.is_known
    assert known.metadata.absence.is_known


def test_what_is_known_already_is_not_known_for_longer_by_being_recorded_again(clock):
    known = Machine(Absence(clock), MetadataService(clock))
    known.learn({**known.known(), "is_absent": True, "has_none": True})
    clock.now += 59
    known.learn(known.known())
    clock.now += 2
    assert (known.known()["is_absent"], known.known()["has_none"]) == (False, False)


def test_a_program_without_an_interpreter_says_that_it_cannot_ask(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/usr/sbin/server")
    environ = {**measured(), "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"}
    assert EcrSource(environ, print).lookup(Repository("public.ecr.aws", "a/b")).outcome is (
        Outcome.NOT_APPLICABLE
    )
    monkeypatch.setattr(sys, "exec_prefix", str(tmp_path))
    finding = EcrSource(environ, lambda _: None).lookup(HERE)
    assert finding.outcome is Outcome.FAILED
    assert "/usr/sbin/server is no Python interpreter that could be started" in finding.detail
    monkeypatch.setattr(sys, "executable", None)
    with pytest.raises(CredentialError, match="this program is no Python interpreter"):
        call(environ)


def test_an_interpreter_that_cannot_be_started_is_named(tmp_path, monkeypatch):
    broken = tmp_path / "python3"
    broken.write_text("#!/nowhere/python\n")
    broken.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(broken))
    with pytest.raises(CredentialError, match=rf"^{broken}: no such file or directory$"):
        call({})


def test_a_process_that_ends_without_an_answer_is_an_error(monkeypatch):
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(CredentialError, match=r"^the process of the SDK ended with status 1$"):
        call({})


def test_an_error_of_an_sdk_carries_nothing_of_its_cause(tmp_path):
    with pytest.raises(CredentialError) as caught:
        call({"HOME": str(tmp_path), "AWS_PROFILE": "nowhere"})
    assert str(caught.value) == "The config profile (nowhere) could not be found"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_what_the_process_prints_besides_its_answer_leads_nowhere(capfd):
    """An SDK may print, and so may a program that it starts."""
    program = (
        "import json, os, sys; from imgpkg.auth.cloud import sdk; "
        "told = json.load(sys.stdin); sdk.answer(told); os.write(1, b'noise'); print('more noise')"
    )
    told = {"keychain": "nosuch", "question": {}, "machine": machine().known(), "seconds": 9}
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps(told).encode(), capture_output=True, check=True
    )
    assert json.loads(done.stdout)["problem"] == "No module named 'imgpkg.auth.cloud.nosuch'"
    assert capfd.readouterr() == ("", "")


def test_work_in_a_thread_that_does_not_end_is_left_alone_after_the_deadline():
    stop = threading.Event()
    with pytest.raises(CredentialError, match=r"^asking: no answer within 0\.05 s$"):
        sdk.within(0.05, lambda: stop.wait(30), asking="asking: ")
    stop.set()


def test_work_in_a_thread_is_left_alone_when_the_work_is_stopped():
    stop, cancellation = threading.Event(), Cancellation()
    programs = Programs(cancellation)
    cancellation.cancel()
    with pytest.raises(Cancelled):
        sdk.within(30, lambda: stop.wait(30), programs=programs)
    stop.set()


def test_work_in_a_thread_raises_what_it_raises():
    failure = CredentialError("the reason")

    def fail():
        raise failure

    with pytest.raises(CredentialError) as caught:
        sdk.within(30, fail, programs=Programs())
    assert caught.value is failure


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
