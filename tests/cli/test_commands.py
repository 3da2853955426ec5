"""Every command with every flag and its default, and words that are none."""

from __future__ import annotations

import pytest

from imgpkg.cli.arguments import Parser
from imgpkg.cli.commands import COMMANDS, ROOT, find
from imgpkg.cli.context import Context
from imgpkg.errors import UsageError

GLOBAL = {
    "tty": (False, ""),
    "color": (True, ""),
    "json": (False, ""),
    "format": ("text", ""),
    "output": ("text", ""),
    "progress": ("auto", ""),
    "quiet": (False, "q"),
    "yes": (False, "y"),
    "column": ((), ""),
    "debug": (False, ""),
    "help": (False, "h"),
}
REGISTRY = {
    "registry-ca-cert-path": ((), ""),
    "registries-conf": ("", ""),
    "registry-client-cert": ("", ""),
    "registry-client-key": ("", ""),
    "registry-verify-certs": (True, ""),
    "registry-insecure": (False, ""),
    "registry-username": ("", ""),
    "registry-idle-timeout": (60.0, ""),
    "registry-password": ("", ""),
    "registry-token": ("", ""),
    "registry-anon": (False, ""),
    "registry-response-header-timeout": (30.0, ""),
    "registry-retry-count": (5, ""),
    "registry-password-file": ("", ""),
    "registry-password-stdin": (False, ""),
    "registry-token-file": ("", ""),
    "timeout": (0.0, ""),
}
BUNDLE, IMAGE = {"bundle": ("", "b")}, {"image": ("", "i")}
SIDES = {
    f"{side}-registry-{name}": default
    for side in ("from", "to")
    for name, default in {
        "anon": (False, ""),
        "ca-cert-path": ((), ""),
        "client-cert": ("", ""),
        "client-key": ("", ""),
        "insecure": (False, ""),
        "password": ("", ""),
        "password-file": ("", ""),
        "password-stdin": (False, ""),
        "token": ("", ""),
        "token-file": ("", ""),
        "username": ("", ""),
        # Where it is not given, --registry-verify-certs counts.
        "verify-certs": (False, ""),
    }.items()
}
# Without what gives a credential.
CREDENTIAL = {"anon", "password", "token", "username"}
NETWORK = {name: flag for name, flag in REGISTRY.items() if not CREDENTIAL & set(name.split("-"))}
VERIFY = {
    "verify-key": ((), ""),
    "verify-policy": ("", ""),
    "verify-identity": ("", ""),
    "verify-identity-regexp": ("", ""),
    "verify-issuer": ("", ""),
    "verify-issuer-regexp": ("", ""),
    "trusted-root": ("", ""),
}
FILES = {"tar": ("", ""), "from-oci-layout": ("", "")}
OWN = {
    "": {"version": (False, "v")},
    "push": {
        **BUNDLE,
        "digest-file": ("", ""),
        **IMAGE,
        **REGISTRY,
        "file": ((), "f"),
        "file-exclusion": ((".git",), ""),
        "file-exclude-defaults": ((".git",), ""),
        "preserve-permissions": (False, ""),
        "lock-output": ("", ""),
        "strict": (False, ""),
        "labels": ({}, "l"),
        "sign-key": ("", ""),
        "sign-format": ("tag", ""),
        "sign-password-file": ("", ""),
        "upload-chunk-size": ("", ""),
        "to-tar": ("", ""),
        "to-oci-layout": ("", ""),
    },
    "inventory": {
        **IMAGE,
        **REGISTRY,
        **FILES,
        "output": ("", "o"),
        "concurrency": (5, ""),
    },
    "lock": {
        **REGISTRY,
        "digest-file": ("", ""),
        "file": ((), "f"),
        "image": ((), "i"),
        "output": ("", "o"),
        "path": ((), ""),
        "exclude": ((), ""),
        "rewrite": (False, ""),
        "images-lock": ("", ""),
        "strict": (False, ""),
        "concurrency": (5, ""),
    },
    "pull": {
        **BUNDLE,
        "digest-file": ("", ""),
        **IMAGE,
        **REGISTRY,
        "output": ("", "o"),
        "recursive": (False, "r"),
        "lock": ("", ""),
        "image-is-bundle-check": (True, ""),
        **FILES,
        **VERIFY,
    },
    "copy": {
        **REGISTRY,
        "digest-file": ("", ""),
        "bundle": ((), "b"),
        "image": ((), "i"),
        "lock": ((), ""),
        "include": ((), ""),
        "platform": ((), ""),
        "exclude": ((), ""),
        "include-annotation": ((), ""),
        "exclude-annotation": ((), ""),
        "lock-output": ("", ""),
        "to-repo": ("", ""),
        "to-tag": ((), ""),
        "map": ((), ""),
        "map-file": ("", ""),
        "keep-names": (False, ""),
        "keep-hosts": (False, ""),
        "to-tar": ("", ""),
        "tar": ("", ""),
        "to-oci-layout": ("", ""),
        "from-oci-layout": ("", ""),
        "resume": (False, ""),
        "split": ("", ""),
        "since": ((), ""),
        "since-inventory": ((), ""),
        "mount-from": ((), ""),
        "dask": ("", ""),
        "dask-send-credentials": (False, ""),
        "dask-timeout": (30.0, ""),
        "concurrency": (5, ""),
        "upload-chunk-size": ("", ""),
        "include-non-distributable-layers": (False, ""),
        "repo-based-tags": (False, ""),
        "attachments": (False, ""),
        "cosign-signatures": (False, ""),
        "referrers": (False, ""),
        "dry-run": (False, ""),
        "check": (False, ""),
        "stream-plan": (False, ""),
        "plan-output": ("", ""),
        "plan": ("", ""),
        "shard": ("", ""),
        **VERIFY,
        **SIDES,
    },
    "describe": {
        **BUNDLE,
        **REGISTRY,
        "output-type": ("text", "o"),
        "layers": (True, ""),
        "attachments": (False, ""),
        "cosign-artifacts": (True, ""),
        "referrers": (False, ""),
        "concurrency": (5, ""),
        **FILES,
    },
    "delete": {"image": ((), "i"), "all-tags": (False, ""), "concurrency": (5, ""), **REGISTRY},
    "prune": {
        **IMAGE,
        **REGISTRY,
        "concurrency": (5, ""),
        "keep": ((), ""),
        "keep-lock": ((), ""),
        "keep-newest": (0, ""),
        "only-listed": ("", ""),
    },
    "tag": {},
    "tag delete": {"image": ((), "i"), "with-image": (False, ""), "concurrency": (5, ""), **REGISTRY},
    "tag list": {
        **IMAGE,
        **REGISTRY,
        **FILES,
        "digests": (False, ""),
        "imgpkg-internal-tags": (False, ""),
    },
    "tag resolve": {**IMAGE, **REGISTRY, "digest-file": ("", "")},
    "verify": {
        **BUNDLE,
        **IMAGE,
        **REGISTRY,
        "tar": ("", ""),
        "from-oci-layout": ("", ""),
        "concurrency": (5, ""),
    },
    "version": {"verbose": (False, "")},
    "completion": {},
    "help": {},
    "auth": {},
    "auth check": {**REGISTRY, "bundle": ("", "b"), "image": ("", "i"), "push": (False, "")},
    "auth explain": {**REGISTRY, "bundle": ("", "b"), "image": ("", "i")},
    "auth list": {},
    "auth login": {
        **NETWORK,
        "authfile": ("", ""),
        "check": (True, ""),
        "identity-token-stdin": (False, ""),
        "password": ("", "p"),
        "password-stdin": (False, ""),
        "username": ("", "u"),
    },
    "auth logout": {"authfile": ("", "")},
    "auth token": {**REGISTRY, "scope": ((), "")},
    "registry": {},
    "registry serve": {
        "address": ("127.0.0.1:5000", ""),
        "delete": (True, ""),
        "storage": ("", ""),
        "tar": ((), ""),
        "from-oci-layout": ((), ""),
        "username": ("", ""),
        "password-stdin": (False, ""),
        "token-service": (False, ""),
        "tls-cert": ("", ""),
        "tls-key": ("", ""),
    },
}


def named(path):
    command = ROOT
    for word in path.split():
        command = find(command.path, word)
    return command


def test_there_are_exactly_these_commands():
    assert {" ".join(command.path) for command in COMMANDS} == OWN.keys() - {""}


@pytest.mark.parametrize("path", OWN)
def test_a_command_has_exactly_these_flags_with_their_defaults_and_letters(path):
    flags = {flag.name: (flag.initial, flag.short) for flag in named(path).all_flags}
    assert flags == {**GLOBAL, **OWN[path]}


@pytest.mark.parametrize("path", OWN)
def test_every_flag_has_a_text_and_its_own_letter(path):
    flags = named(path).all_flags
    letters = [flag.short for flag in flags if flag.short]
    assert len(set(letters)) == len(letters)
    assert all(flag.usage for flag in flags)


@pytest.mark.parametrize("path", OWN)
def test_every_text_of_help_is_one_sentence_without_a_full_stop(path):
    command = named(path)
    for text in (command.short, *(flag.usage for flag in command.all_flags)):
        assert text[0].isupper()
        assert not text.endswith(".")
        assert ". " not in text


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["foo"], "command 'imgpkg' does not accept extra arguments 'foo'"),
        (["ver"], "command 'imgpkg' does not accept extra arguments 'ver'"),
        (["list"], "command 'imgpkg' does not accept extra arguments 'list'"),
        (["tag"], "Use one of available subcommands: delete, list, resolve"),
        (["tag", "foo"], "command 'imgpkg tag' does not accept extra arguments 'foo'"),
        (["tag", "tag"], "command 'imgpkg tag' does not accept extra arguments 'tag'"),
        (["auth"], "Use one of available subcommands: check, explain, list, login, logout, token"),
        (["registry"], "Use one of available subcommands: serve"),
        (["push", "extra"], "command 'imgpkg push' does not accept extra arguments 'extra'"),
        (["push", "one", "two"], "command 'imgpkg push' does not accept extra arguments 'one'"),
        (["pull", "-o", "x", "extra"], "command 'imgpkg pull' does not accept extra arguments 'extra'"),
        (["copy", "extra"], "command 'imgpkg copy' does not accept extra arguments 'extra'"),
        (["describe", "extra"], "command 'imgpkg describe' does not accept extra arguments 'extra'"),
        (["tag", "ls", "extra"], "command 'imgpkg tag list' does not accept extra arguments 'extra'"),
        (["tag", "resolve", "a"], "command 'imgpkg tag resolve' does not accept extra arguments 'a'"),
        (["version", "extra"], "command 'imgpkg version' does not accept extra arguments 'extra'"),
        (["registry", "serve", "a"], "command 'imgpkg registry serve' does not accept extra arguments 'a'"),
        (["pull"], 'required flag(s) "output" not set'),
        (["pull", "extra"], 'required flag(s) "output" not set'),
        (["pull", "--bogus"], "unknown flag: --bogus"),
        (["completion"], "accepts 1 arg(s), received 0"),
        (["completion", "foo"], 'invalid argument "foo" for "imgpkg completion"'),
        (["completion", "bash", "extra"], "accepts 1 arg(s), received 2"),
        (["auth", "check"], "requires at least 1 arg(s), only received 0: a reference or registry"),
        (["auth", "explain"], "requires at least 1 arg(s), only received 0: a reference or registry"),
        (["auth", "login"], "accepts 1 arg(s), received 0"),
        (["auth", "logout"], "accepts 1 arg(s), received 0"),
        (["auth", "token", "a", "b"], "accepts 1 arg(s), received 2"),
        (["auth", "list", "a"], "command 'imgpkg auth list' does not accept extra arguments 'a'"),
    ],
)
def test_words_that_mean_nothing_are_refused(reason, words, why):
    assert reason(*words) == why


def test_the_root_alone_shows_its_help_before_it_complains(run):
    done = run()
    assert done.code == 2
    assert done.out == run("help").out + "\n"
    assert done.err == "imgpkg: Error: Invalid command - see available commands/subcommands above\n"


@pytest.mark.parametrize("command", ["copy", "describe"])
@pytest.mark.parametrize("number", [0, -1])
def test_copying_needs_a_worker(refused, repository, command, number):
    words = ["--to-repo", f"{repository}-copy"] if command == "copy" else []
    text = refused(command, "-b", repository, *words, f"--concurrency={number}")
    assert text == f"Expected --concurrency to be >= 1, but was {number}"


@pytest.mark.parametrize("count", ["0", "-3", "1"])
def test_at_least_one_attempt_is_made(run, image, count):
    assert run("tag", "list", "-i", image, "--registry-retry-count", count).out == "latest\t\n"


@pytest.mark.parametrize("time", ["0", "-1s", "1h", "2562047h"])
def test_a_header_timeout_of_nothing_waits_for_ever(run, image, time):
    assert run("tag", "list", "-i", image, "--registry-response-header-timeout", time).code == 0


def test_push_and_pull_and_copy_and_describe_work_together(run, folder, repository, tmp_path):
    (folder / ".imgpkg").mkdir()
    lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
    (folder / ".imgpkg" / "images.yml").write_text(lock)
    pushed = run(
        "push", "-b", f"{repository}:v1", "-f", folder, "-l", "team=a", "--lock-output", tmp_path / "b"
    )
    assert (pushed.code, pushed.out, pushed.err) == (0, "", "")
    copied = run(
        "copy", "--lock", tmp_path / "b", "--to-repo", f"{repository}-copy", "--lock-output", tmp_path / "c"
    )
    assert (copied.code, copied.out, copied.err) == (0, "", "")
    pulled = run("pull", "-b", f"{repository}-copy:v1", "-o", tmp_path / "out", "-r")
    assert (pulled.code, pulled.out, pulled.err) == (0, "", "")
    assert (tmp_path / "out" / "a.txt").read_text() == "one\n"
    described = run("describe", "-b", f"{repository}-copy:v1")
    assert (described.code, described.err) == (0, "")
    assert f"{repository}-copy@sha256:" in described.out


@pytest.mark.parametrize("kind", ["text", "yaml", "json", "tree"])
@pytest.mark.parametrize("layers", ["--layers", "--layers=false"])
def test_a_bundle_is_described_in_each_form(run, folder, repository, kind, layers):
    (folder / ".imgpkg").mkdir()
    lock = "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
    (folder / ".imgpkg" / "images.yml").write_text(lock)
    run("push", "-b", repository, "-f", folder)
    done = run("describe", "-b", repository, "-o", kind, layers)
    assert (done.code, done.err) == (0, "")
    assert ("Bundle SHA: sha256:" if kind == "text" else f"{repository}@") in done.out


def test_a_form_of_description_that_is_none_is_refused(reason, repository):
    text = reason("describe", "-b", repository, "-o", "xml")
    assert text == "--output-type can only have the following values [text, yaml, json, tree, svg, dot, html]"


def test_a_copy_to_nowhere_is_refused_before_a_password_is_read(refused, repository):
    text = refused("copy", "-i", repository, "--registry-password-stdin")
    assert text.startswith("Expected either --to-")


@pytest.mark.parametrize("words", [["--to-repo", "COPY"], ["--to-tar", "x.tar"], ["--to-oci-layout", "x"]])
def test_a_dry_run_prints_what_would_be_copied_and_copies_nothing(run, image, tmp_path, monkeypatch, words):
    monkeypatch.chdir(tmp_path)
    words = [word.replace("COPY", f"{image}-copy") for word in words]
    before = sorted(tmp_path.iterdir())
    done = run("copy", "-i", image, *words, "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert image in done.out
    assert sorted(tmp_path.iterdir()) == before


def test_the_version_names_its_parts_when_asked(run):
    lines = run("version", "--verbose").out.splitlines()
    assert [line.partition(" ")[0] for line in lines] == ["imgpkg", "python", "deflate"]
    assert run("version").out == f"{lines[0]}\n"


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("0", 0), ("50MB", 50_000_000), ("512KiB", 524_288), ("1gb", 10**9), ("2mib", 2 << 20)],
)
def test_the_size_of_pieces_is_a_number_of_bytes_with_a_unit(text, size):
    command = named("push")
    flags = Parser(command.all_flags).parse([f"--upload-chunk-size={text}"])
    assert Context(flags, None).settings().upload_chunk_size == size


@pytest.mark.parametrize("text", ["MB", "5 MB", "-1", "1.5MB", "5XB", "٣", "5M"])
def test_any_other_size_of_pieces_is_refused(text):
    flags = Parser(named("copy").all_flags).parse([f"--upload-chunk-size={text}"])
    with pytest.raises(UsageError, match="is no size"):
        Context(flags, None).settings()
