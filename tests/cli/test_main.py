"""Starting and ending: what is imported when, and how interruptions and closed streams are taken."""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from tests.auth.programs import write_helper
from tests.servers.raw import RawServer

from imgpkg.cli import commands
from imgpkg.cli.commands import Command
from imgpkg.cli.main import format_error, main
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.errors import UsageError

pytestmark = pytest.mark.measured

HEAVY = ("urllib3", "yaml", "ssl", "rich", "google", "botocore", "azure", "click", "isal", "backports")
CLOUDS = ("google", "botocore", "azure", "jwt", "cryptography")
_SECONDS = 60
# The layer of a push without files.
EMPTY_LAYER = "sha256:89732bc7504122601f40269fc9ddfb70982e633ea9caf641ae45736f2846b004"


def imported(*words):
    """Run the command and return the top-level modules that were loaded by its end."""
    program = (
        "import sys\n"
        "from imgpkg.cli.main import main\n"
        f"code = main({list(words)!r})\n"
        "sys.stderr.write('\\n'.join({name.partition('.')[0] for name in sys.modules}))\n"
        "sys.exit(code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=_SECONDS
    )
    return set(done.stderr.splitlines())


@pytest.mark.parametrize(
    "words",
    [
        ["version"],
        ["--version"],
        ["version", "--json"],
        ["help"],
        ["push", "--help"],
        ["completion", "bash"],
        ["__completeNoDesc", "push", "--l"],
    ],
    ids=" ".join,
)
def test_nothing_heavy_is_imported_where_nothing_is_done(words):
    assert not imported(*words) & set(HEAVY)


def test_help_loads_the_table_and_the_parser_alone():
    program = (
        "import sys\n"
        "from imgpkg.cli.main import main\n"
        "main(['push', '--help'])\n"
        "sys.stderr.write('\\n'.join(sorted(name for name in sys.modules if name.startswith('imgpkg'))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=_SECONDS
    )
    names = ("arguments", "auth_commands", "command", "commands", "help", "main", "tidying_commands")
    rooms = [f"imgpkg.cli.{name}" for name in names]
    assert done.stderr.splitlines() == [
        "imgpkg",
        "imgpkg.cli",
        *rooms,
        "imgpkg.dataclass",
        "imgpkg.errors",
        "imgpkg.expression",
    ]


@pytest.mark.parametrize(
    "words", [["tag", "list", "-i", "IMAGE"], ["auth", "explain", "IMAGE"]], ids=" ".join
)
def test_no_cloud_is_imported_where_no_keychain_is_active(image, words):
    assert not imported(*(word.replace("IMAGE", image) for word in words)) & {*CLOUDS, "rich", "yaml"}


def test_pushing_an_image_reads_no_yaml(folder, repository):
    assert "yaml" not in imported("push", "-i", repository, "-f", str(folder))


def test_the_package_runs_as_a_module(program):
    done = program("version")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("imgpkg version ")


@pytest.fixture
def unwritten(monkeypatch):
    """Find modules as Python does: the loader that pytest has for plugins, and so for us, gives no code."""
    own = [finder for finder in sys.meta_path if type(finder).__name__ != "AssertionRewritingHook"]
    monkeypatch.setattr(sys, "meta_path", own)


@pytest.mark.usefixtures("unwritten")
def test_the_module_ends_with_the_code_of_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["imgpkg", "version", "--bogus"])
    before = signal.getsignal(signal.SIGINT)
    try:
        with pytest.raises(SystemExit) as end:
            runpy.run_module("imgpkg", run_name="__main__")
    finally:
        signal.signal(signal.SIGINT, before)
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("imgpkg: Error: unknown flag: --bogus\n")


@pytest.mark.usefixtures("unwritten")
def test_importing_the_module_runs_nothing(capsys):
    runpy.run_module("imgpkg.__main__", run_name="imgpkg.__main__")
    assert capsys.readouterr() == ("", "")


def test_an_interruption_while_the_interpreter_ends_prints_nothing():
    program = (
        "import atexit, signal, sys\n"
        "from imgpkg.cli.main import main\n"
        "atexit.register(signal.raise_signal, signal.SIGINT)\n"
        "sys.exit(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program, "version"], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
    assert done.stdout.startswith(b"imgpkg version ")


@pytest.mark.parametrize("words", [["--debug"], []])
def test_an_interruption_ends_with_130_and_one_line(started, hanging, words):
    process = started("tag", "list", "-i", f"{hanging.address}/a/b", *words)
    hanging.wait()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=_SECONDS)
    assert (process.returncode, out) == (130, b"")
    assert err.endswith(b"imgpkg: Error: interrupted\n")
    assert b"Traceback" not in err


def test_an_interrupted_pull_leaves_the_old_output(started, hanging, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    process = started("pull", "-i", f"{hanging.address}/a/b", "-o", tmp_path / "out")
    hanging.wait()
    process.send_signal(signal.SIGINT)
    assert process.wait(_SECONDS) == 130
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_pull_that_is_stopped_while_it_unpacks_leaves_the_old_output_alone(started, tmp_path, number, code):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")
    unpacking = threading.Event()

    def delayed(request):
        if request.method == "GET" and EMPTY_LAYER in request.path:
            unpacking.set()
            return Fault(delay=_SECONDS)
        return None

    with serve(faults=delayed) as server:
        assert main(["push", "-i", f"{server.address}/a/b"]) == 0
        process = started("pull", "-i", f"{server.address}/a/b", "-o", tmp_path / "out")
        assert unpacking.wait(_SECONDS)
        process.send_signal(number)
        err = process.communicate(timeout=_SECONDS)[1]
    assert (process.returncode, err) == (code, b"imgpkg: Error: interrupted\n")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "old"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_worker_that_waits_for_a_credential_helper_blocks_no_other_thread(
    started, repository, tmp_path, monkeypatch, number, code
):
    running = tmp_path / "running"
    helper = write_helper(tmp_path / "bin", "slow", f'echo > "{running}"; exec sleep 300')
    monkeypatch.setenv("PATH", f"{helper.folder}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", '{"credHelpers": {"registry.example": "slow"}}')
    images = {"images": [{"image": f"registry.example/a/b@sha256:{'0' * 64}"}]}
    lock = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock", **images}
    (tmp_path / "images.yml").write_text(json.dumps(lock))
    process = started("copy", "--lock", tmp_path / "images.yml", "--to-repo", repository)
    while not running.exists() and process.poll() is None:
        time.sleep(0.01)
    sent = time.monotonic()
    process.send_signal(number)
    err = process.communicate(timeout=_SECONDS)[1]
    assert (process.returncode, err) == (code, b"imgpkg: Error: interrupted\n")
    assert time.monotonic() - sent < _SECONDS / 2


def test_a_command_in_another_thread_leaves_signals_alone():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["version"])))
    thread.start()
    thread.join(_SECONDS)
    assert codes == [0]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.fixture
def run_failing(run, monkeypatch):
    """Run a command more than the table has, which raises this error."""

    def ran(error, *flags):
        def fail(_context):
            raise error

        command = Command(("failing",), "Fail", handler="failing.run")
        monkeypatch.setitem(sys.modules, "imgpkg.cli.failing", SimpleNamespace(run=fail))
        monkeypatch.setattr(commands, "COMMANDS", (*commands.COMMANDS, command))
        return run("failing", *flags)

    return ran


def test_an_interruption_anywhere_is_reported_in_one_line(run_failing):
    done = run_failing(KeyboardInterrupt())
    assert (done.code, done.out, done.err) == (130, "", "imgpkg: Error: interrupted\n")


@pytest.mark.parametrize(
    "words", [["help"], ["--help"], ["version"], ["tag", "list", "-i", "IMAGE"]], ids=" ".join
)
def test_a_reader_that_has_gone_is_no_reason_to_complain(started, image, words):
    reader, writer = os.pipe()
    os.close(reader)
    process = started(*(word.replace("IMAGE", image) for word in words), stdout=writer)
    os.close(writer)
    assert process.communicate(timeout=_SECONDS)[1] == b""
    assert process.returncode == 1


@pytest.mark.parametrize("words", [["help"], ["--help"], ["version"], ["version", "--json"]], ids=" ".join)
def test_a_full_disk_is_reported_in_one_line(started, words):
    with open("/dev/full", "wb") as full:
        process = started(*words, stdout=full)
        err = process.communicate(timeout=_SECONDS)[1]
    assert (process.returncode, err) == (7, b"imgpkg: Error: no space left on device\n")


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_do_no_harm(tmp_path, closed):
    script = f'exec "$0" -m imgpkg version --tty {closed}'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_closed_standard_input_is_an_empty_password(tmp_path):
    words = "auth explain r.example.com/a --registry-username me --registry-password-stdin"
    script = f'exec "$0" -m imgpkg {words} <&-'
    done = subprocess.run(
        ["sh", "-c", script, sys.executable], capture_output=True, text=True, check=False, timeout=_SECONDS
    )
    assert done.returncode == 2
    assert "password" in done.stderr
    assert "internal error" not in done.stderr


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(28, "No space left on device"), "no space left on device"),
        (PermissionError(13, "Permission denied", "/x"), "permission denied: /x"),
        (OSError("odd"), "odd"),
        (ZeroDivisionError("by zero"), "internal error:\n  ZeroDivisionError: by zero"),
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (MemoryError(), "out of memory"),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_an_unexpected_error_is_a_message_and_with_debug_a_traceback(run_failing, error, text, debug):
    done = run_failing(error, f"--debug={str(debug).lower()}")
    assert done.code == (7 if isinstance(error, OSError) else 1)
    assert f"imgpkg: Error: {text}\n" in done.err
    assert ("Traceback" in done.err) is debug
    assert ("hint: this is a defect of imgpkg" in done.err) is isinstance(error, ZeroDivisionError)
    is_limit = isinstance(error, (RuntimeError, MemoryError))
    assert ("hint: A limit of memory or threads is reached" in done.err) is is_limit


def test_an_error_with_a_hint_gives_it_on_a_line_of_its_own(run_failing):
    done = run_failing(UsageError("This: Failed", hints=("do that", "or this")))
    assert done.err == "imgpkg: Error: This:\n  Failed\nhint: do that\nhint: or this\n"


class TestErrorText:
    @pytest.mark.parametrize(
        ("text", "laid"),
        [
            ("a", "a"),
            ("", ""),
            ("Reading: Parsing: Unknown (known: A)", "Reading:\n  Parsing:\n    Unknown (known: A)"),
            ("a: b: 1: 'c': \"d\"", "a: b: 1: 'c': \"d\""),
            ("a (b: C): D", "a (b: C):\n  D"),
            ("a [b: C {d: E} f: G]: H", "a [b: C {d: E} f: G]:\n  H"),
            ("a (b: C]: D", "a (b: C]:\n  D"),
            ("a)b: C", "a)b:\n  C"),
            ("a (b: C", "a (b: C"),
            ("x ...|y: Z (|... w: V", "x ...|y: Z (|... w:\n  V"),
            ("x ...|y: Z", "x ...|y: Z"),
            ("x: A...|", "x:\n  A...|"),
            ("One: Two\nthree: Four", "One:\n  Two\nthree: Four"),
            ("a: Éa", "a: Éa"),
            ("a:  B", "a:  B"),
            ("a: ", "a: "),
        ],
    )
    def test_lines_are_cut_before_capitals_outside_of_brackets(self, text, laid):
        assert format_error(text) == laid

    def test_a_text_of_others_is_not_indented_for_ever(self):
        laid = format_error("a" + ": A" * 5000)
        assert laid.startswith("a:\n  A:\n    A:\n")
        assert max(map(len, laid.split("\n"))) == 42

    def test_no_login_in_an_address_is_shown(self):
        assert format_error("a 'https://u:p@h/x' b") == "a 'https://REDACTED@h/x' b"

    def test_registry_errors_in_full(self, refused, image):
        repository = image.partition("/")[2]
        assert refused("tag", "resolve", "-i", f"{image}-none:nosuch").startswith(
            f"GET http://{image.partition('/')[0]}/v2/{repository}-none/manifests/nosuch: MANIFEST_UNKNOWN: "
        )

    def test_percent_signs_are_taken_as_they_are(self, refused):
        assert "%d%s" in refused("tag", "resolve", "-i", "registry.example.com/%d%s")

    def test_a_missing_file_is_reported_in_the_words_of_the_original(self, reason, tmp_path):
        text = reason("pull", "--lock", "a)b", "-o", tmp_path / "out")
        assert text.endswith("open a)b: no such file or directory")

    def test_what_to_do_next_follows_on_lines_of_its_own(self, run, embedded_login):
        done = run("tag", "list", "-i", f"{embedded_login.address}/a/b")
        assert done.code == 4
        assert "\nhint: " in done.err or "401" in done.err


class Hanging:
    """A registry that takes requests and answers none before it is let go."""

    def __init__(self, address, requests):
        self.address = address
        self._requests = requests

    def wait(self):
        end = time.monotonic() + _SECONDS
        while not self._requests and time.monotonic() < end:
            time.sleep(0.01)
        assert self._requests


@pytest.fixture
def hanging():
    """A registry whose answers take longer than any test waits."""
    requests = []

    def delayed(request):
        requests.append(request)
        return Fault(delay=_SECONDS)

    with serve(faults=delayed) as server:
        yield Hanging(server.address, requests)


def test_a_file_name_that_is_no_text_is_printed_byte_by_byte(started):
    process = started("push", "-i", "localhost:1/a/b", "-f", os.fsdecode(b"no\xff"))
    err = process.communicate(timeout=_SECONDS)[1]
    assert err.startswith(b"imgpkg: Error: lstat no\xff: no such file or directory\n")


@pytest.mark.parametrize("words", [[], ["--tty"], ["--json"]])
def test_tags_that_are_no_text_are_an_error_in_one_line(started, words):
    def answers(conversation):
        while conversation.receive():
            conversation.respond(rb'{"tags": ["a\ud800b"]}')

    with RawServer(answers) as server:
        process = started("tag", "list", "-i", f"{server.address}/a/b", *words)
        out, err = process.communicate(timeout=_SECONDS)
    assert (process.returncode, bool(out)) == (6, "--json" in words)
    assert err.startswith(b"imgpkg: Error: GET http://")
    assert b"Traceback" not in err


def test_streams_that_are_no_files_are_written_to_as_well():
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        assert main(["version", "--json"]) == 0
        assert main(["version", "--bogus"]) == 2
    assert out.getvalue().startswith("{")
    assert err.getvalue().startswith("imgpkg: Error: unknown flag: --bogus\n")


class TestExitCodes:
    """They tell scripts what to do next; a variable brings back the one of the original."""

    def test_tell_apart_what_went_wrong(self, run, image, embedded_login, tmp_path):
        private = f"{embedded_login.address}/a/b"
        ended = {
            2: ["tag", "resolve", "-i", "UPPER/x"],
            3: ["tag", "resolve", "-i", f"{image}:nosuch"],
            4: ["tag", "resolve", "-i", private],
            5: ["tag", "resolve", "-i", "127.0.0.1:1/a/b", "--registry-retry-count=1"],
            7: ["verify", tmp_path / "nosuch.tar"],
        }
        assert {code: run(*words).code for code, words in ended.items()} == {code: code for code in ended}

    def test_are_those_of_the_original_where_a_variable_says_so(self, run, image, monkeypatch):
        monkeypatch.setenv("IMGPKG_EXIT_CODES", "original")
        assert run("version").code == 0
        for words in (["version", "--bogus"], ["tag", "resolve", "-i", f"{image}:nosuch"], ["copy"]):
            assert run(*words).code == 1
        document = json.loads(run("tag", "resolve", "-i", f"{image}:nosuch", "--format=json").out)
        assert (document["exitCode"], document["error"]["kind"]) == (1, "notFound")

    def test_of_a_variable_with_another_value_is_that_of_a_mistake(self, run, monkeypatch):
        monkeypatch.setenv("IMGPKG_EXIT_CODES", "0")
        done = run("version")
        assert (done.code, done.out) == (2, "")
        assert "IMGPKG_EXIT_CODES can only be 'original'" in done.err
