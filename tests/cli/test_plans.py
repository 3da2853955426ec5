"""`copy --plan`: the flags that fit a plan, and what the commands print."""

from __future__ import annotations

import json
import os

import jsonschema
import pytest
from tests.cli.test_document import READ, checked
from tests.operations.making import make_image

from imgpkg.oci.reference import Repository


@pytest.fixture
def plan(run, embedded_registry, another_registry, session, tmp_path):
    """Write a plan of an image with the tag `v1`; return its file."""
    image = make_image(session, f"{embedded_registry.address}/planned/app", ["one", "two"], tag="v1")
    path = tmp_path / "plan.jsonl"
    to = f"{another_registry.address}/planned/{tmp_path.name.replace('_', '-').lower()}x"
    words = ("--to-repo", to, "--dry-run", "--plan-output", path)
    done = run("copy", "-i", image.repository.tag("v1"), *words)
    assert done.code == 0, done.err
    return path


def test_each_line_is_as_its_schema_says(plan):
    lines = [json.loads(line) for line in plan.read_text().splitlines()]
    for line in lines:
        jsonschema.Draft202012Validator(READ["plan-line.json"]).validate(line)
    assert [line["kind"] for line in lines] == ["plan", *["blob"] * 3, "manifest", "image", "end"]


def test_a_pipe_gets_the_plan_and_stays(plan, run, tmp_path):
    """Of a device, such as /dev/stderr, a rename would leave a file to the whole machine."""
    header = json.loads(plan.read_text().splitlines()[0])
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    words = ("--to-repo", header["destination"], "--dry-run", "--plan-output", tmp_path / "pipe")
    assert run("copy", "-i", header["source"], *words).code == 0
    assert os.read(reader, 1 << 16) == plan.read_bytes()
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()


def test_shards_and_the_run_after_them_copy(plan, run, session, tmp_path):
    where = Repository.parse(json.loads(plan.read_text().splitlines()[0])["destination"])
    moved = []
    for number in (1, 2):
        done = run("copy", "--plan", plan, "--shard", f"{number}/2", "--format", "json")
        document = checked(json.loads(done.out), "copy")
        assert (done.code, document["shard"], document["images"]) == (0, f"{number}/2", [])
        moved.append(document["blobs"]["moved"])
    assert sum(moved) == 3
    lock = tmp_path / "lock.yml"
    done = run("copy", "--plan", plan, "--lock-output", lock, "--format", "json")
    document = checked(json.loads(done.out), "copy")
    assert (done.code, document["tags"], document["blobs"]["moved"]) == (0, ["v1"], 0)
    assert "v1" in session.client.tags(where)
    assert document["reference"] in lock.read_text()


def test_the_number_of_a_shard_may_be_that_of_a_job(plan, run, monkeypatch):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "1")
    done = run("copy", "--plan", plan, "--shard", "auto/2", "--format", "json")
    assert json.loads(done.out)["shard"] == "2/2"


PLAN = ("copy", "--plan", "plan.jsonl")
COPY = ("copy", "-i", "a.b/c")
MISTAKES = [
    (("copy", "--shard", "1/2"), "Flag --shard can only be used with --plan"),
    (("copy", "--plan", ""), "--plan names a file"),
    ((*PLAN, "-i", "a/b", "--to-repo", "c/d"), "Cannot use --image and --to-repo with --plan"),
    ((*PLAN, "--dry-run"), "Cannot use --dry-run with --plan"),
    ((*PLAN, "--platform", "linux/arm64"), "Cannot use --platform with --plan"),
    ((*PLAN, "--dask-send-credentials"), "--dask-send-credentials is only for copies with --dask"),
    ((*PLAN, "--stream-plan"), "Cannot use --stream-plan with --plan"),
    (
        (*COPY, "--to-repo", "d.e/f", "--stream-plan", "--dry-run"),
        "--stream-plan cannot be used with --dry-run",
    ),
    ((*COPY, "--to-tar", "x.tar", "--stream-plan"), "from registries to a repository"),
    ((*COPY, "--to-repo", "d.e/to", "--stream-plan", "--keep-names"), "cannot be used with --map"),
    ((*PLAN, "--shard", "3/2"), "Expected a shard from 1/2"),
    ((*PLAN, "--shard", ""), "to be like 3/16"),
    ((*PLAN, "--shard", "1/2", "--lock-output", "x"), "where there is no --shard"),
    (("copy", "-i", "a.b/c", "--to-repo", "d.e/f", "--plan-output", "x"), "only be used with --dry-run"),
    (
        ("copy", "-i", "a.b/c", "--to-tar", "x.tar", "--dry-run", "--plan-output", "x"),
        "from registries to a repository only",
    ),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_flags_that_do_not_fit_are_refused(words, message, run):
    done = run(*words)
    assert (done.code, message in done.err) == (2, True), done.err


def test_a_plan_that_is_damaged_names_its_line(run, tmp_path):
    (tmp_path / "plan.jsonl").write_text('{"kind":"plan"\n')
    done = run("copy", "--plan", tmp_path / "plan.jsonl", "--format", "json")
    assert (done.code, json.loads(done.out)["error"]["line"]) == (7, 1)
