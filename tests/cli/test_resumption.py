"""An interrupted copy to a tar file says what is left, and with which command it goes on."""

from __future__ import annotations

import io
import re
import shlex
import signal
from contextlib import ExitStack

import pytest
from tests.operations.making import make_image
from tests.servers.stalling import BODY, StallingProxy

from imgpkg.cli.arguments import Parser
from imgpkg.cli.commands import locate
from imgpkg.cli.context import Context
from imgpkg.cli.output import TextOutput
from imgpkg.cli.resumption import add_hints
from imgpkg.embedded.server import serve
from imgpkg.errors import ArchiveError
from imgpkg.events import BlobFinished, BlobOutcome, BlobStarted, Planned
from imgpkg.oci.descriptor import Digest

pytestmark = pytest.mark.measured

PASSWORD = "se cret"
START = "Not everything is there; to go on: "
DIGEST = Digest("sha256", "0" * 64)


@pytest.fixture(scope="module")
def server():
    with serve() as server:
        yield server


@pytest.fixture
def image(server, open_session):
    """An image with a small layer and a larger one, which comes first."""
    return make_image(open_session(), f"{server.address}/app/two", ["x" * 200_000, "small"])


@pytest.fixture
def stalled(server, image, open_session):
    """A proxy that stops in the middle of the larger layer."""
    client = open_session().client
    large = max(client.manifest(image).layers, key=lambda layer: layer.size)
    with StallingProxy(server.address, BODY, path=f"/blobs/{large.digest}") as proxy:
        yield proxy


@pytest.fixture
def words(stalled, image, server):
    """A copy with a login and with other flags."""
    login = ["--registry-username", "me", "--registry-password", PASSWORD]
    flags = [
        "--registry-verify-certs=false",
        "--registry-idle-timeout",
        "90s",
        "--to-tar",
        "a b.tar",
        "--tty",
    ]
    return ["copy", "-i", str(image).replace(server.address, stalled.address), *login, *flags]


def hint(text):
    (line,) = [line for line in text.splitlines() if "to go on" in line]
    return line


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
)
def test_a_signal_is_answered_with_the_command(started, stalled, words, tmp_path, number, code):
    process = started(*words, "--tty", cwd=tmp_path, environ={"PYTHONUNBUFFERED": "1"})
    assert stalled.stalled.wait(20)
    while b"done: file 'sha256" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == code
    line = hint(err.decode())
    left = r"hint: 1 blob, \S+ (kB|bytes) left; to go on, with --registry-password as before: imgpkg "
    assert re.match(left, line)
    assert PASSWORD not in line
    stalled.is_over = True
    command = shlex.split(line.partition("before: imgpkg ")[2])
    assert sorted(command) == sorted(word for word in (*words[:5], *words[7:], "--resume"))
    process = started(*command, "--registry-password", PASSWORD, cwd=tmp_path)
    assert process.wait(20) == 0
    assert (tmp_path / "a b.tar").exists()


def test_a_copy_by_a_plan_that_is_interrupted_goes_on_with_the_same_command(
    started, stalled, image, server, tmp_path
):
    source = str(image).replace(server.address, stalled.address)
    stalled.is_over = True
    plan = ["--dry-run", "--plan-output", "plan.jsonl"]
    made = started("copy", "-i", source, "--to-repo", f"{server.address}/planned/app", *plan, cwd=tmp_path)
    assert made.wait(20) == 0
    stalled.is_over = False
    process = started("copy", "--plan", "plan.jsonl", cwd=tmp_path)
    assert stalled.stalled.wait(20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "left; the same command goes on" in err.decode()


@pytest.fixture
def context(tmp_path, monkeypatch):
    """Return a context of a copy with these words; no session is opened."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def made(*words):
            command, rest = locate(["copy", *words])
            output = TextOutput(io.StringIO(), io.StringIO(), terminal=False, color=False, columns=())
            return stack.enter_context(Context(Parser(command.all_flags).parse(rest), output))

        yield made


def hints_of(context):
    error = ArchiveError("broken", hints=("first",))
    add_hints(context, error)
    return error.hints


class TestAnError:
    def test_has_the_command_as_its_last_hint(self, context, tmp_path):
        (tmp_path / "x.tar.partial").touch()
        first, hint = hints_of(context("-b", "u:secret@reg.example/a", "--to-tar", "x.tar", "--resume"))
        assert first == "first"
        assert (
            hint == "Not everything is there; to go on: imgpkg copy -b reg.example/a --to-tar x.tar --resume"
        )

    def test_has_what_is_left_of_the_plan(self, context, tmp_path):
        (tmp_path / "x.tar.001.partial").touch()
        made = context("-i", "reg.example/a", "--to-tar", "x.tar", "--split", "1GB", "--cosign-signatures")
        made.reporter(Planned(3, 5_000_000, 1, 7))
        made.reporter(BlobStarted(DIGEST, 1_000_000, "save"))
        made.reporter(BlobFinished(DIGEST, BlobOutcome.MOVED, 1_000_000))
        *_, hint = hints_of(made)
        assert hint.startswith("2 blobs, 4.0 MB left; to go on: imgpkg copy ")
        assert hint.endswith(" --resume")
        assert "--split 1GB" in hint
        assert "--cosign-signatures" in hint

    def test_is_left_alone_without_anything_to_go_on_with(self, context):
        assert hints_of(context("-b", "reg.example/a", "--to-tar", "x.tar")) == ("first",)

    def test_of_a_stream_is_left_alone(self, context, tmp_path):
        (tmp_path / "-.partial").touch()
        assert hints_of(context("-b", "reg.example/a", "--to-tar", "-")) == ("first",)


class TestAnInterruption:
    @pytest.mark.parametrize(
        "words",
        [("-i", "reg.example/a", "--to-repo", "reg.example/b"), ("--plan", "plan.jsonl", "--shard", "3/16")],
        ids=["images", "a plan"],
    )
    def test_of_a_copy_to_a_repository_says_that_the_same_command_goes_on(self, context, words):
        made = context(*words)
        made.reporter(Planned(3, 5_000_000))
        made.reporter(BlobFinished(DIGEST, BlobOutcome.MOVED, 1_000_000))
        interruption = KeyboardInterrupt()
        add_hints(made, interruption)
        (hint,) = interruption.args
        assert (
            hint == "2 blobs, 4.0 MB left; the same command goes on, and sends nothing again that has arrived"
        )

    def test_before_anything_is_planned_has_no_hint(self, context):
        interruption = KeyboardInterrupt()
        add_hints(context("-i", "reg.example/a", "--to-repo", "reg.example/b"), interruption)
        assert interruption.args == ()
