"""Nothing that others wrote is obeyed by a terminal, or looks like a line of ours."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tarfile
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.auth.programs import write_helper
from tests.servers.images import make_image, upload
from tests.servers.raw import RawServer

from imgpkg.cli.output import TextOutput
from imgpkg.cli.progress import Reporter
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.errors import ImgpkgError, doing, printable
from imgpkg.events import Message, Warned

# Title and colour of a terminal, bell, C1, a backspace, directions, line breaks, and a line like one of ours.
HOSTILE = "owned\x1b]0;x\x07\x9b31m\x08\u202eb\u2066c\u200fd\u2028e\x85f\x7fg\x0bh\r\nhint: forged"
BIDI = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})


def obeyed(text):
    """List the characters that a terminal would obey, or that break or reorder a line."""
    return [
        character
        for character in text
        if unicodedata.category(character) in ("Cc", "Zl", "Zp")
        or unicodedata.bidirectional(character) in BIDI
        or character in "\u061c\u200e\u200f\ufeff"
    ]


def assert_harmless(said):
    assert "owned" in said, "nothing of it was shown, so nothing is proved"
    assert set(obeyed(said)) <= {"\n"}
    assert [line for line in said.splitlines() if line.startswith("hint: forged")] == []


@pytest.fixture
def harmless(run):
    """Run, with every kind of output, and look at both streams."""

    def ran(*words):
        for shown in ("--tty", "--debug", "--color"):
            done = run(*words, shown)
            assert_harmless(done.out + done.err)

    return ran


@contextlib.contextmanager
def answering(status, body, headers=(("Content-Type", "application/json"),)):
    answer = Fault(answer=ServerResponse(status, headers, body))
    with serve(faults=lambda request: None if request.path == "/v2/" else answer) as server:
        yield f"{server.address}/a/b"


def errors(message):
    return json.dumps(
        {"errors": [{"code": message, "message": message, "detail": {message: [message]}}]}
    ).encode()


class TestARegistry:
    @pytest.mark.parametrize(
        "body", [errors(HOSTILE), HOSTILE.encode(), HOSTILE.encode("latin-1", "replace")]
    )
    @pytest.mark.parametrize("status", [403, 404, 418])
    def test_says_why_it_refuses(self, harmless, status, body):
        with answering(status, body) as image:
            harmless("tag", "list", "-i", image)
            harmless("pull", "-i", image, "-o", "out")

    def test_lists_tags(self, run):
        with answering(200, json.dumps({"name": "a/b", "tags": [HOSTILE]}).encode()) as image:
            done = run("tag", "list", "-i", image, "--tty")
        assert "unprintable" in done.err
        assert set(obeyed(done.out + done.err)) <= {"\n"}

    def test_gives_a_manifest(self, harmless):
        document = {"schemaVersion": 2, "mediaType": HOSTILE, "layers": [{"size": 1, "digest": HOSTILE}]}
        types = (("Content-Type", "application/vnd.oci.image.manifest.v1+json"),)
        with answering(
            200, json.dumps({**document, "config": {"size": 1, "digest": HOSTILE}}).encode(), types
        ) as image:
            harmless("pull", "-i", image, "-o", "out")

    def test_sends_headers(self, run):
        def talk(conversation):
            while conversation.receive_head() is not None:
                headers = [
                    ("WWW-Authenticate", 'Owned\x1b[2J realm="owned\x9b\x07"'),
                    ("X-Owned", "owned\x1b]0;x\x07"),
                ]
                conversation.respond(b"", status="401 owned\x1b[2J", headers=headers)

        with RawServer(talk) as server:
            done = run("tag", "list", "-i", f"{server.address}/a/b", "--debug")
        assert_harmless(done.err.replace("Owned", "owned"))
        assert done.out == ""


def layer_with(name):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize("name", [f"../{HOSTILE}", f"a/{'b' * 5000}{HOSTILE}", f"{HOSTILE}/{'x' * 300}"])
def test_names_in_layers(harmless, embedded_registry, tmp_path, name):
    image = make_image([layer_with(name)])
    upload(image, embedded_registry.address, "hostile/names")
    harmless(
        "pull", "-i", f"{embedded_registry.address}/hostile/names@{image.digest}", "-o", tmp_path / "out"
    )


class TestFiles:
    def test_that_are_packed(self, run, tmp_path, repository):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / HOSTILE).write_text("")
        done = run("push", "-i", repository, "-f", tmp_path / "in", "--tty")
        assert done.code == 0
        assert_harmless(done.out)

    def test_that_are_listed_for_programs_have_their_own_names(self, run, tmp_path, repository):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / HOSTILE).write_text("")
        lines = json.loads(run("push", "-i", repository, "-f", tmp_path / "in", "--json").out)["Lines"]
        assert f"file: {HOSTILE}\n" in lines

    def test_that_are_missing(self, harmless, tmp_path, repository):
        harmless("push", "-i", repository, "-f", tmp_path / HOSTILE)
        harmless("pull", "--lock", tmp_path / HOSTILE, "-o", tmp_path / "out")
        harmless("copy", "--tar", tmp_path / HOSTILE, "--to-repo", repository)

    def test_that_hold_locks(self, harmless, tmp_path):
        reference = {"image": HOSTILE, "annotations": {HOSTILE: HOSTILE}}
        for document in (
            {"images": [reference]},
            {"images": [], HOSTILE: 1},
            {"kind": HOSTILE},
            {"images": [{HOSTILE: HOSTILE}]},
        ):
            head = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock"}
            (tmp_path / "lock.yml").write_text(json.dumps({**head, **document}))
            harmless("copy", "--lock", tmp_path / "lock.yml", "--to-tar", tmp_path / "x.tar")

    def test_that_set_a_key_twice(self, run, tmp_path):
        (tmp_path / "lock.yml").write_text(
            f"{json.dumps(HOSTILE)}: 1\n{json.dumps(HOSTILE)}: 2\nkind: a\nkind: b\n"
        )
        done = run("pull", "--lock", tmp_path / "lock.yml", "-o", tmp_path / "out")
        assert_harmless(done.err)
        assert '\n  line 4: key "kind" already set in map\n' in done.err


def test_references_and_flags(harmless):
    harmless("tag", "list", "-i", HOSTILE)
    harmless("pull", "-b", f"a.example/{HOSTILE}", "-o", "out")
    harmless("copy", "-i", "a.example/ab", "--to-repo", f"a.example/{HOSTILE}")
    harmless("auth", "explain", HOSTILE)


@pytest.mark.parametrize(
    "words", [[HOSTILE], ["push", HOSTILE], ["push", f"--{HOSTILE}"], ["push", f"-{HOSTILE}"]]
)
def test_arguments(run, words):
    assert_harmless(run(*words).err)


@pytest.mark.parametrize("flag", ["--registry-retry-count", "--registry-response-header-timeout", "--tty"])
def test_values_of_flags(run, flag):
    assert_harmless(run("tag", "list", "-i", "a.example/ab", f"{flag}={HOSTILE}").err)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("IMGPKG_ACTIVE_KEYCHAINS", HOSTILE),
        ("REGISTRY_AUTH_FILE", f"/{HOSTILE}"),
        (
            "DOCKER_AUTH_CONFIG",
            json.dumps({"auths": {f"127.0.0.1:1/{HOSTILE}": {"auth": "x"}, "127.0.0.1:2": {}}}),
        ),
        ("DOCKER_AUTH_CONFIG", json.dumps({"credHelpers": {"127.0.0.1:1": HOSTILE}})),
        (
            "DOCKER_AUTH_CONFIG",
            json.dumps({"auths": {"127.0.0.1:1": {"username": HOSTILE, "password": "x"}}}),
        ),
        (f"IMGPKG_REGISTRY_{HOSTILE}", "x"),
        (f"IMGPKG_REGISTRY_USERNAME_{HOSTILE}", "x"),
        ("IMGPKG_USERNAME", HOSTILE.replace(":", "")),
    ],
)
def test_the_environment(run, monkeypatch, variable, value):
    monkeypatch.setenv("IMGPKG_PASSWORD", "x")
    monkeypatch.setenv(variable, value)
    for words in (["auth", "explain", "127.0.0.1:1/a/b"], ["tag", "list", "-i", "127.0.0.1:1/a/b"]):
        done = run(*words, "--registry-retry-count=1", "--tty")
        said = done.out + done.err
        assert set(obeyed(said)) <= {"\n"}
        if words[0] == "auth":
            assert_harmless(said)


def test_credential_helpers(run, monkeypatch, tmp_path):
    (tmp_path / "said").write_text(HOSTILE)
    helper = write_helper(tmp_path / "bin", "a", f'cat "{tmp_path}/said"; exit 1')
    # A word that is not worth another try.
    (tmp_path / "said").write_text(f"no credentials username {HOSTILE}")
    monkeypatch.setenv("PATH", f"{helper.folder}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", '{"credHelpers": {"127.0.0.1:1": "a"}}')
    assert_harmless(run("tag", "list", "-i", "127.0.0.1:1/a/b").err)


def test_annotations_of_a_bundle(run, folder, repository, image):
    annotated = {"image": run("tag", "resolve", "-i", image).out, "annotations": {HOSTILE: HOSTILE}}
    (folder / ".imgpkg").mkdir()
    lock = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock", "images": [annotated]}
    (folder / ".imgpkg" / "images.yml").write_text(json.dumps(lock))
    assert run("push", "-b", f"{repository}:bundle", "-f", folder).code == 0
    for words in ([], ["--tty"]):
        done = run("describe", "-b", f"{repository}:bundle", *words)
        assert done.code == 0
        assert_harmless(done.out)
    document = json.loads(run("describe", "-b", f"{repository}:bundle", "-o", "json").out)
    (listed,) = document["content"]["images"].values()
    assert listed["annotations"] == {HOSTILE: HOSTILE}


ANY = st.text(max_size=30) | st.text(HOSTILE, max_size=30)


class TestProperties:
    @given(ANY)
    def test_printable_text_is_one_line_that_no_terminal_obeys(self, text):
        assert obeyed(printable(text)) == []
        assert len(printable(text).splitlines()) <= 1

    @given(ANY)
    def test_what_is_printable_stays_as_it_is(self, text):
        assert printable(printable(text)) == printable(text)

    @given(st.binary(max_size=20))
    def test_bytes_of_file_names_stay(self, data):
        name = os.fsdecode(data)
        escaped = [character for character in name if 0xDC80 <= ord(character) <= 0xDCFF]
        assert [character for character in printable(name) if 0xDC80 <= ord(character) <= 0xDCFF] == escaped

    @given(ANY, ANY, ANY, ANY)
    def test_an_error_has_no_lines_but_its_own(self, message, context, hint, line):
        error = ImgpkgError(message, hints=(hint,), lines=(line, line))
        with contextlib.suppress(ImgpkgError), doing(context):
            raise error
        assert set(obeyed(str(error))) <= {"\n"}
        assert str(error).count("\n") == 2
        assert obeyed("".join(error.hints)) == []
        assert error.message == message

    @given(ANY)
    def test_events_are_one_line_each(self, text):
        out, err = io.StringIO(), io.StringIO()
        output = TextOutput(out, err, terminal=True, color=False, columns=())
        reporter = Reporter(output, err, shows_log=True, draws=False)
        reporter(Message(f"file: {text}!\n"))
        reporter(Warned(text))
        assert set(obeyed(out.getvalue() + err.getvalue())) <= {"\n"}
        assert (out.getvalue().count("\n"), err.getvalue().count("\n")) == (1, 1)
