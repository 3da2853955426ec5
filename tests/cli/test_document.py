"""`--format json`: one document of each command, as its schema says, also when the command fails."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from pathlib import Path

import jsonschema
import pytest
from referencing import Registry, Resource
from tests.operations.making import make_bundle, make_image
from tests.servers.fixtures import PASSWORD, USERNAME

import imgpkg
from imgpkg.cli import commands
from imgpkg.cli.document import DocumentOutput, is_document_wanted
from imgpkg.embedded.message import Fault
from imgpkg.embedded.server import serve
from imgpkg.events import BlobFinished, BlobOutcome, BlobStarted, Warned

SCHEMAS = Path(__file__).parent.parent.parent / "docs" / "json"


def closed(schema):
    """Return the schema, so that it allows no more than the fields that it names."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {key: closed(value) for key, value in schema.items() if key != "if"}
    if "type" in schema and "properties" in schema and schema.get("type") != "string":
        shut.setdefault("additionalProperties", False)
    return {**shut, **({"if": schema["if"]} if "if" in schema else {})}


READ = {path.name: closed(json.loads(path.read_text())) for path in sorted(SCHEMAS.glob("*.json"))}
REGISTRY = Registry().with_resources((name, Resource.from_contents(schema)) for name, schema in READ.items())


def checked(document, name):
    """Raise unless the document is one of the command `name`."""
    schema = {"$ref": f"{name.replace(' ', '-')}.json"}
    jsonschema.Draft202012Validator(schema, registry=REGISTRY).validate(document)
    return document


@pytest.fixture
def document(run):
    """Run a command with `--format json`; return its document, which is as its schema says."""

    def ran(*words, code=0, name="", **options):
        done = run(*words, "--format", "json", **options)
        read = json.loads(done.out)
        assert done.out.endswith("}\n")
        assert (done.code, read["exitCode"], read["ok"]) == (code, code, code == 0)
        return checked(read, name or read["command"])

    return ran


@pytest.fixture
def bundle(session, repository, tmp_path):
    """A bundle of two images."""
    images = {make_image(session, f"{repository}-app", [name]): {} for name in ("one", "two")}
    make_bundle(session, f"{repository}-bundle:v1", images, tmp_path / "bundle")
    return f"{repository}-bundle:v1"


def test_every_command_has_a_schema_and_no_other_thing_has():
    names = {"-".join(command.path) for command in commands.COMMANDS if command.handler}
    assert {path.stem for path in SCHEMAS.glob("*.json")} == {*names, "error", "plan-line"}


@pytest.mark.parametrize("name", READ)
def test_a_schema_is_one_and_describes_every_field(name):
    schema = json.loads((SCHEMAS / name).read_text())
    jsonschema.Draft202012Validator.check_schema(schema)

    def look(part):
        for key, value in part.items():
            if key == "properties":
                for field, described in value.items():
                    assert "description" in described or "$ref" in described or "const" in described, field
            if isinstance(value, dict):
                look(value)

    look(schema)


class TestOf:
    def test_push(self, document, folder, repository):
        pushed = document("push", "-i", f"{repository}:v1", "-f", folder)
        assert pushed["reference"] == f"{repository}@{pushed['digest']}"
        assert (pushed["tags"], pushed["blobs"]["moved"]) == (["v1"], 2)
        again = document("push", "-i", f"{repository}:v1", "-f", folder)
        assert again["blobs"] == {"moved": 0, "mounted": 0, "present": 2}
        assert again["bytes"]["present"] == pushed["bytes"]["moved"]

    def test_push_to_a_file(self, document, folder, repository, tmp_path):
        assert document("push", "-i", repository, "-f", folder, "--to-tar", tmp_path / "a.tar")["digest"]

    def test_pull(self, document, bundle, image, tmp_path):
        pulled = document("pull", "-i", image, "-o", tmp_path / "out")
        assert (pulled["isBundle"], pulled["imagesLock"], pulled["blobs"]["moved"]) == (False, None, 1)
        pulled = document("pull", "-b", bundle, "-o", tmp_path / "out", "-r")
        assert pulled["imagesLock"]["isUpdated"] is False
        assert pulled["nested"] == []

    def test_pull_of_nested_bundles(self, document, session, bundle, repository, tmp_path):
        inner = imgpkg.resolve(bundle, session=session)
        make_bundle(session, f"{repository}-outer:v1", {inner: {}}, tmp_path / "outer")
        pulled = document("pull", "-b", f"{repository}-outer:v1", "-o", tmp_path / "out", "-r")
        assert [below["reference"] for below in pulled["nested"]] == [str(inner)]

    def test_copy_of_a_bundle(self, document, bundle, repository, tmp_path):
        copied = document("copy", "-b", bundle, "--to-repo", f"{repository}-copy", "--to-tag", "stable")
        assert copied["reference"] == f"{repository}-copy@{copied['digest']}"
        assert copied["bundles"] == copied["references"] == [copied["reference"]]
        assert (len(copied["images"]), sorted(copied["tags"])) == (4, ["stable", "v1"])
        assert copied["blobs"]["mounted"] + copied["blobs"]["moved"] == 6
        tar = document("copy", "-b", bundle, "--to-tar", tmp_path / "a.tar")
        assert tar["digest"] == copied["digest"]

    def test_copy_of_several(self, document, bundle, image, repository):
        copied = document("copy", "-b", bundle, "-i", image, "--to-repo", f"{repository}-copy")
        assert (copied["reference"], copied["digest"], copied["tags"]) == (None, None, [])
        assert len(copied["references"]) == 2

    def test_copy_of_a_lock(self, document, bundle, repository, tmp_path):
        lock = tmp_path / "bundle/.imgpkg/images.yml"
        copied = document("copy", "--lock", lock, "--to-repo", f"{repository}-copy")
        assert [one.partition("@")[0] for one in copied["references"]] == [f"{repository}-copy"] * 2

    def test_what_a_copy_would_do(self, document, bundle, repository):
        previewed = document("copy", "-b", bundle, "--to-repo", f"{repository}-copy", "--dry-run", "--check")
        assert (previewed["dryRun"], previewed["preview"]["blobs"]) == (True, 6)
        assert all(check["ok"] for check in previewed["checks"])
        assert previewed["checks"]

    @pytest.mark.slow
    def test_a_copy_through_a_pipe(self, program, started, bundle, repository, tmp_path):
        with (tmp_path / "a.tar").open("wb") as tar:
            words = ("copy", "-b", bundle, "--to-tar", "-", "--digest-file", tmp_path / "digest")
            assert started(*words, stdout=tar).wait(60) == 0
        with (tmp_path / "a.tar").open("rb") as tar:
            process = started(
                *("copy", "--tar", "-", "--to-repo", f"{repository}-copy", "--format=json"), stdin=tar
            )
            copied = checked(json.loads(process.communicate(timeout=60)[0]), "copy")
        assert (tmp_path / "digest").read_text() == f"{copied['digest']}\n"

    def test_describe(self, document, bundle):
        described = document("describe", "-b", bundle)
        assert described["description"]["sha"] == described["digest"]
        assert len(described["description"]["content"]["images"]) == 2

    def test_tags(self, document, image):
        listed = document("tag", "list", "-i", image, "--digests")
        resolved = document("tag", "resolve", "-i", image)
        assert (listed["tags"], listed["digests"]) == (["latest"], {"latest": resolved["digest"]})
        assert document("tag", "list", "-i", image)["digests"] == {}

    def test_deletions(self, document, image):
        gone = document("tag", "delete", f"{image}:latest")
        assert [one["result"] for one in gone["deletions"]] == ["tag deleted"]
        assert document("delete", f"{image}:latest")["deletions"][0]["result"] == "not there"

    def test_prune(self, document, image, folder):
        (folder / "more").write_text("more")
        document("push", "-i", f"{image}:v1", "-f", folder)
        listed = document("prune", image, "--keep", "v1")
        assert (listed["dryRun"], len(listed["delete"]), listed["results"]) == (True, 1, [])
        done = document("prune", image, "--keep", "v1", "--yes")
        assert [one["result"] for one in done["results"]] == ["deleted"]

    def test_lock(self, document, image, tmp_path):
        (tmp_path / "pod.yml").write_text(f"kind: Pod\nspec:\n  containers:\n  - image: {image}:latest\n")
        locked = document("lock", "-f", tmp_path / "pod.yml")
        assert (locked["output"], len(locked["references"])) == (None, 1)
        assert "kind: ImagesLock" in locked["lock"]
        written = document("lock", "-f", tmp_path / "pod.yml", "-o", tmp_path / "images.yml")
        assert written["output"] == str(tmp_path / "images.yml")
        rewritten = document("lock", "-f", tmp_path / "pod.yml", "--rewrite")
        assert locked["references"][0] in rewritten["documents"][0]["text"]

    def test_inventory(self, document, image, tmp_path):
        listed = document("inventory", image)
        assert (listed["output"], len(listed["inventory"]["manifests"])) == (None, 1)
        assert document("inventory", image, "-o", tmp_path / "a")["output"] == str(tmp_path / "a")

    def test_verify(self, document, image, tmp_path):
        assert document("verify", image)["report"]["manifests"] == 1

    def test_auth(self, document, image, embedded_login, tmp_path):
        assert document("auth", "check", image)["checks"][0]["ok"]
        (explained,) = document("auth", "explain", image)["explanations"]
        assert (explained["source"], explained["error"]) == (None, None)
        where = (embedded_login.address, "--authfile", tmp_path / "auth.json")
        stored = document(*("auth", "login", *where, "-u", USERNAME, "--password-stdin"), stdin=PASSWORD)
        assert (stored["username"], stored["checked"]) == (USERNAME, True)
        assert document("auth", "list")["logins"] == []
        assert document("auth", "logout", *where)["removedKeys"] == [embedded_login.address]

    def test_auth_token(self, document, embedded_token, monkeypatch):
        monkeypatch.setenv("IMGPKG_USERNAME", USERNAME)
        monkeypatch.setenv("IMGPKG_PASSWORD", PASSWORD)
        assert document("auth", "token", f"{embedded_token.address}/a/b")["token"]

    def test_what_needs_no_registry(self, document):
        assert document("version")["encoder"]
        assert document("--version", name="version")["version"] == imgpkg.__version__
        assert document("completion", "bash")["shell"] == "bash"
        assert document("help", "push")["help"] == document("push", "--help", name="help")["help"]

    def test_a_registry_that_serves(self, started):
        process = started("registry", "serve", "--address", "127.0.0.1:0", "--format", "json")
        lines = iter(process.stdout.readline, b"}\n")
        served = checked(json.loads(b"".join(lines) + b"}"), "registry serve")
        assert served["url"] == f"http://{served['address']}"


class TestOfAFailure:
    def test_has_what_the_registry_said(self, document, image):
        error = document("tag", "resolve", "-i", f"{image}:nosuch", code=3)["error"]
        assert (error["class"], error["kind"], error["status"]) == ("NotFound", "notFound", 404)
        assert error["codes"] == ["MANIFEST_UNKNOWN"]
        assert (error["method"], error["diagnostics"][0]["code"]) == ("GET", "MANIFEST_UNKNOWN")
        assert error["url"].endswith("/manifests/nosuch")

    def test_has_the_trail_of_a_refused_credential(self, document, embedded_login, monkeypatch):
        monkeypatch.setenv("IMGPKG_USERNAME", "somebody")
        monkeypatch.setenv("IMGPKG_PASSWORD", "a-wrong-word")
        error = document("tag", "list", "-i", f"{embedded_login.address}/a/b", code=4)["error"]
        assert (error["class"], error["kind"], error["refusal"]["kind"]) == (
            "Unauthorized",
            "refused",
            "refused",
        )
        assert [(one["source"], one["outcome"]) for one in error["trail"]] == [
            ("environment", "no match"),
            ("flags", "matched"),
        ]
        assert "a-wrong-word" not in json.dumps(error)
        assert error["hints"]

    def test_has_the_trail_up_to_a_source_that_failed(self, document, monkeypatch):
        monkeypatch.setenv("DOCKER_AUTH_CONFIG", "{")
        error = document("tag", "list", "-i", "registry.example.com/a/b", code=4)["error"]
        assert error["class"] == "CredentialError"
        assert [one["source"] for one in error["trail"]] == ["environment", "flags"]

    @pytest.mark.parametrize(
        ("words", "text"),
        [
            (["push", "--bogus"], "unknown flag: --bogus"),
            (["push", "extra"], "command 'imgpkg push' does not accept extra arguments 'extra'"),
            (["pull", "-i", "a/b"], 'required flag(s) "output" not set'),
            (["lock"], "Expected --file or --image"),
            (["push", "-i"], None),
        ],
    )
    def test_is_written_for_words_that_are_none(self, run, words, text):
        done = run(*words, "--format", "json") if text else run("push", "--format", "json", "-i")
        read = checked(json.loads(done.out), words[0])
        assert read["error"]["kind"] == "usage"
        assert text in (None, read["error"]["message"])
        hints = [f"hint: {hint}" for hint in read["error"]["hints"]]
        assert done.err.splitlines() == [f"imgpkg: Error: {read['error']['message']}", *hints]

    @pytest.mark.parametrize("words", [[], ["tag"], ["nosuch"], ["tag", "nosuch"]])
    def test_of_no_command_is_an_error_alone(self, run, words):
        done = run(*words, "--format", "json")
        read = json.loads(done.out)
        assert (read["ok"], read["error"]["kind"]) == (False, "usage")
        assert done.err.startswith("imgpkg: Error: ")

    def test_keeps_the_report_that_says_why(self, document, image, tmp_path):
        tar = tmp_path / "a.tar"
        document("copy", "-i", image, "--to-tar", tar)
        data = bytearray(tar.read_bytes())
        at = data.index(b"\x1f\x8b")
        data[at + 20] ^= 1
        tar.write_bytes(data)
        failed = document("verify", tar, code=6)
        assert [defect["kind"] for defect in failed["report"]["defects"]] == ["damaged"]
        assert failed["error"]["message"].startswith("1 defect in")

    def test_keeps_the_checks(self, document, repository):
        failed = document("auth", "check", repository, code=3)
        assert failed["checks"][0]["steps"][-1]["result"] == "failed"

    def test_keeps_each_deletion(self, document, image):
        failed = document("delete", f"{image}:latest", "127.0.0.1:1/a/b:v1", code=5)
        assert [one["result"] for one in failed["deletions"]] == ["image deleted", "failed"]
        assert failed["deletions"][1]["error"]["class"] == "ConnectionFailed"

    def test_keeps_each_explanation(self, document):
        failed = document("auth", "explain", "a/b", "A/B", "C/D", code=2)
        assert [one["error"] is None for one in failed["explanations"]] == [True, False, False]
        assert len(failed["error"]["errors"]) == 2

    def test_has_each_reference_that_was_not_resolved(self, document, image):
        error = document("lock", "-i", f"{image}:no", "-i", f"{image}:neither", code=3)["error"]
        assert [one["kind"] for one in error["errors"]] == ["notFound"] * 2

    def test_has_the_place_in_a_document(self, document, tmp_path):
        (tmp_path / "a.yml").write_text("a: [\n")
        error = document("lock", "-f", tmp_path / "a.yml", code=7)["error"]
        assert (error["class"], error["line"]) == ("InvalidDocument", 2)

    def test_shows_no_login_of_an_address(self, run):
        done = run("tag", "list", "-i", "https://me:secret-word@registry.example.com/a", "--format=json")
        assert "secret-word" not in done.out + done.err

    def test_is_written_when_the_command_is_interrupted(self, started, tmp_path):
        seen = threading.Event()

        def delayed(_request):
            seen.set()
            return Fault(delay=60)

        with serve(faults=delayed) as server:
            process = started("tag", "list", "-i", f"{server.address}/a/b", "--format", "json")
            assert seen.wait(60)
            process.send_signal(signal.SIGTERM)
            out, err = process.communicate(timeout=60)
        read = checked(json.loads(out), "tag list")
        assert (read["exitCode"], read["error"]["kind"]) == (143, "interrupted")
        assert err == b"imgpkg: Error: interrupted\n"

    def test_is_written_when_the_disk_is_full(self, run, image, tmp_path):
        if not os.path.exists("/dev/full"):
            pytest.skip("no /dev/full")
        done = run("tag", "resolve", "-i", image, "--digest-file", "/dev/full", "--format=json")
        read = checked(json.loads(done.out), "tag resolve")
        assert read["error"]["class"] == "LocalIOError"


class TestAsking:
    def test_by_output_where_no_file_has_that_name(self, run, image):
        done = run("tag", "list", "-i", image, "--output", "json")
        assert checked(json.loads(done.out), "tag list")["tags"] == ["latest"]

    def test_pull_writes_to_the_folder_of_that_name(self, run, image, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        done = run("pull", "-i", image, "--output", "json")
        assert (done.out, os.listdir("json")) == ("", ["a.txt"])

    def test_before_the_command(self, run):
        assert json.loads(run("--format", "json", "version").out)["command"] == "version"

    @pytest.mark.parametrize("value", ["yaml", "", "JSON"])
    def test_for_another_form_is_an_error(self, refused, value):
        assert "--format can only have the values" in refused("version", f"--format={value}")

    def test_for_the_form_of_a_description_names_the_flag_for_it(self, run):
        assert "hint: For yaml, tree and pictures give -o.\n" in run("describe", "--output=yaml").err
        assert "pictures" not in run("version", "--output=yaml").err

    def test_for_json_takes_precedence_to_the_form_of_the_original(self, run):
        assert json.loads(run("version", "--json", "--format=json").out)["command"] == "version"
        assert "Blocks" in json.loads(run("version", "--json").out)

    def test_is_refused_where_standard_output_is_a_tar_file(self, refused, image):
        text = refused("copy", "-i", image, "--to-tar", "-", "--format", "text", "--json")
        assert text == "Cannot use --json with --to-tar -"

    @pytest.mark.parametrize(
        ("words", "wanted"),
        [
            (["--format", "json"], True),
            (["--x", "--output=json"], True),
            (["--format", "text"], False),
            (["json"], False),
        ],
    )
    def test_is_read_from_words_that_cannot_be_parsed(self, words, wanted):
        assert is_document_wanted(commands.PUSH, words) is wanted

    def test_of_pull_is_not_the_folder(self):
        assert not is_document_wanted(commands.PULL, ["--output", "json"])
        assert is_document_wanted(commands.PULL, ["--output", "json", "--format=json"])


def test_warnings_are_in_the_document_once_each_and_on_standard_error(run, image, monkeypatch):
    monkeypatch.setenv("IMGPKG_ENABLE_IAAS_AUTH", "true")
    done = run("tag", "list", "-i", image, "--format=json")
    (warning,) = json.loads(done.out)["warnings"]
    assert done.err == f"imgpkg: warning: {warning}\n"


def test_a_deprecated_flag_is_a_warning(run, folder, repository):
    done = run("push", "-i", repository, "-f", folder, "--file-exclude-defaults", "x", "--format=json")
    assert json.loads(done.out)["warnings"] == [done.err.removesuffix("\n")]


def test_the_document_is_ascii_and_written_once():
    out, err = io.StringIO(), io.StringIO()
    output = DocumentOutput(out, err, commands.PUSH)
    output.observe(Warned("\u202egnp\x1b\udcff"))
    output.observe(Warned("\u202egnp\x1b\udcff"))
    digest = imgpkg.Digest.of(b"")
    output.observe(BlobStarted(digest, 5, "push"))
    output.observe(BlobFinished(digest, BlobOutcome.MOVED, 5))
    output.result({"reference": "x"}, counts_blobs=True)
    output.finish()
    output.finish(1)
    assert out.getvalue().isascii()
    read = json.loads(out.getvalue())
    assert (len(read["warnings"]), read["blobs"]["moved"], read["bytes"]["moved"]) == (1, 1, 5)
    assert (read["exitCode"], err.getvalue()) == (0, "")
