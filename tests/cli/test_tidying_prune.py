"""`prune` as people and scripts see it, and what is left when it is killed."""

from __future__ import annotations

import json
import signal
import threading
import uuid

import pytest
from tests.cli.running import start
from tests.operations.making import make_bundle, make_image, make_index

import imgpkg
from imgpkg.embedded.server import serve
from imgpkg.oci.reference import Repository


@pytest.fixture
def place(embedded_registry, session):
    """A repository with a release, an older one that shares a layer with it, and an index."""
    where = f"{embedded_registry.address}/prune/{uuid.uuid4().hex}"
    made = {
        "new": make_image(session, where, ["shared", "new"], tag="v2"),
        "old": make_image(session, where, ["shared", "old"], tag="v1"),
        "child": make_image(session, where, ["child", "two"]),
    }
    made["index"] = make_index(session, where, {"linux/amd64": made["child"]}, tag="pr-7")
    session.client.push_manifest(Repository.parse(where).tag("v1.0"), session.client.manifest(made["old"]))
    return where, {name: str(reference.digest) for name, reference in made.items()}


def tags(run, where):
    return run("tag", "list", "-i", where, "--imgpkg-internal-tags").out.split()


class TestTheList:
    def test_has_a_row_for_each_manifest_and_deletes_nothing(self, run, place):
        where, made = place
        done = run("prune", where, "--keep", "v2")
        assert (done.code, done.err) == (0, "")
        rows, _, text = done.out.partition("\n\n")
        cells = [tuple(cell.strip() for cell in row.split("\t"))[:4] for row in rows.splitlines()]
        assert cells == [
            (made["new"], "v2", "keep", "is kept by name: v2"),
            (made["index"], "pr-7", "delete", "matches no rule"),
            (made["child"], "-", "delete", "is part of pr-7"),
            (made["old"], "v1, v1.0", "delete", "matches no rule"),
        ]
        assert text.startswith(f"Would delete 3 of 4 manifests from {where}, with 3 tags and ")
        assert " that is stored for them alone. Run again with --yes to delete them.\n" in text
        assert "garbage collection" in text
        assert tags(run, where) == ["pr-7", "v1", "v1.0", "v2"]

    def test_has_short_names_for_tags_that_are_made_from_digests(self, run, folder, repository):
        assert run("push", "-i", f"{repository}:v1", "-f", folder).code == 0
        digest = run("tag", "resolve", "-i", f"{repository}:v1").out.partition("@")[2]
        done = run("prune", repository, "--keep", "v1", "--column", "tags")
        short = digest.removeprefix("sha256:")[:12]
        assert done.out.startswith(f"v1, sha256-{short}….imgpkg\t\n")

    def test_has_columns(self, run, place):
        where, _ = place
        done = run("prune", "-i", where, "--keep", "v*", "--column", "tags", "--column", "action")
        assert done.out.splitlines()[:2] == ["v1, v1.0\tkeep\t", "v2      \tkeep\t"]

    def test_is_a_document_for_programs(self, run, place):
        where, made = place
        document = json.loads(run("prune", where, "--keep", "v2", "--keep", "x*", "--json").out)
        assert document["repository"] == where
        assert document["notes"] == ["--keep x* matches no tag"]
        assert [entry["image"] for entry in document["keep"]] == [f"{where}@{made['new']}"]
        index, child, old = document["delete"]
        assert (child["why"], child["about"]) == ("is part of", "pr-7")
        assert (index["about"], old["tags"]) == (None, ["v1", "v1.0"])
        assert document["size"] < sum(entry["size"] for entry in document["delete"])
        assert document["danglingTags"] == []
        assert "results" not in document

    def test_is_short_when_there_is_nothing_to_do(self, run, place):
        where, _ = place
        done = run("prune", where, "--keep", "*")
        assert f"Would delete 0 of 4 manifests from {where}, with 0 tags and 0 bytes " in done.out
        assert "--yes" not in done.out

    def test_notes_what_may_be_a_mistake(self, run, place):
        where, _ = place
        assert "Note: --keep v3* matches no tag\n" in run("prune", where, "--keep", "v3*,v2").out


class TestTheDeletion:
    @pytest.mark.parametrize("yes", ["--yes", "-y"])
    def test_has_a_line_for_each_manifest(self, run, place, yes):
        where, made = place
        done = run("prune", where, "--keep", "v2", yes)
        assert (done.code, done.err) == (0, "")
        *lines, last, unseen = done.out.splitlines()
        assert set(lines) == {
            f"Deleted {where}@{made['index']} (pr-7)",
            f"Deleted {where}@{made['child']}",
            f"Deleted {where}@{made['old']} (v1, v1.0)",
        }
        assert last.startswith(f"Deleted 3 of 4 manifests from {where}, with 3 tags and ")
        assert "garbage collection" in unseen
        assert tags(run, where) == ["v2"]

    def test_is_a_document_for_programs(self, run, place):
        where, made = place
        document = json.loads(run("prune", where, "--keep-newest", 1, "--yes", "--json").out)
        assert (document["ok"], document["problem"]) == (True, None)
        assert {entry["result"] for entry in document["results"]} == {"deleted"}
        assert [entry["image"] for entry in document["keep"]] == [f"{where}@{made['new']}"]
        assert tags(run, where) == ["v2"]

    def test_keeps_what_a_lock_names(self, run, place, tmp_path):
        where, made = place
        lock = tmp_path / "images.yml"
        lock.write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n"
            f"- image: {where}@{made['old']}\n"
        )
        assert run("prune", where, "--keep-lock", lock, "--yes").code == 0
        assert tags(run, where) == ["v1", "v1.0"]

    def test_deletes_no_more_than_an_earlier_list_has(self, run, place, session, tmp_path):
        where, made = place
        path = tmp_path / "list.json"
        path.write_text(run("prune", where, "--keep", "v2", "--json").out)
        new = make_image(session, where, ["pushed", "meanwhile"], tag="hotfix")
        # It needs what was listed before.
        child = Repository.parse(where).digest(imgpkg.Digest.parse(made["child"]))
        index = make_index(session, where, {"linux/arm64": child}, tag="pr-8")
        words = ("prune", where, "--keep", "v2", "--only-listed", path)
        document = json.loads(run(*words, "--json").out)
        why = {entry["image"].partition("@")[2]: entry["why"] for entry in document["keep"]}
        assert why[str(new.digest)] == "is not in the list of what may go"
        assert why[made["child"]] == "is part of"
        assert run(*words, "--yes").code == 0
        assert tags(run, where) == ["hotfix", "pr-8", "v2"]
        assert session.client.exists(child) is not None
        assert index.digest == session.client.resolve(index).digest

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("", "this is not what `imgpkg prune --json` writes"),
            ("[]", "this is not what `imgpkg prune --json` writes"),
            ('{"repository": "r.example/other", "delete": [{}]}', "this is not what"),
            ('{"repository": "r.example/other", "delete": [{"image": "x"}]}', "this is not what"),
            (
                '{"repository": "r.example/other", "delete": []}',
                "this is a list for r.example/other, and not",
            ),
            (None, "no such file or directory"),
        ],
    )
    def test_refuses_another_file_as_a_list(self, refused, tmp_path, text, why):
        path = tmp_path / "list.json"
        if text is not None:
            path.write_text(text)
        assert why in refused("prune", "r.example/app", "--keep", "v1", "--only-listed", path)

    def test_says_what_a_registry_cannot_do(self, run, docker_registry_without_deletion, session):
        where = f"{docker_registry_without_deletion.address}/prune/{uuid.uuid4().hex}"
        for name in ("v1", "v2", "v3"):
            make_image(session, where, [name], tag=name)
        done = run("prune", where, "--keep", "v1", "--yes", "--concurrency", 1)
        assert done.code == 1
        assert "FAILED " in done.out
        assert "Not tried: " in done.out
        assert "imgpkg: Error: 2 of 2 manifests not deleted: the registry " in done.err.replace("\n  ", " ")
        assert "hint: Its operator may have to switch deletion on" in done.err
        document = json.loads(run("prune", where, "--keep", "v1", "--yes", "--json").out)
        assert document["ok"] is False
        assert "UNSUPPORTED" in document["problem"]
        assert tags(run, where) == ["v1", "v2", "v3"]

    def test_says_what_others_have_changed(self, run, session):
        def watch(record):
            # The first look at what is kept comes after the plan, and before the first deletion.
            if record.method == "HEAD" and record.path.endswith("/v2") and not done.is_set():
                done.set()
                make_image(other, where, ["again"], tag="v1")

        done, other = threading.Event(), imgpkg.Session()
        with serve(on_request=watch) as server, other:
            where = f"{server.address}/a/b"
            old = make_image(session, where, ["one"], tag="v1")
            make_image(session, where, ["two"], tag="v2")
            ended = run("prune", where, "--keep", "v2", "--yes")
            assert ended.code == 1
            assert ended.out == f"Kept {old} (v1): the tag v1 was changed meanwhile\n\n"
            assert ended.err.startswith(
                "imgpkg: Error: 1 of 1 manifest not deleted\nhint: Run the command again"
            )
            assert tags(run, where) == ["v1", "v2"]
            assert run("prune", where, "--keep", "v2", "--yes").code == 0
            assert tags(run, where) == ["v2"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "accepts 1 arg(s), received 0: a repository"),
        (["r.example/app", "r.example/web"], "accepts 1 arg(s), received 2: a repository"),
        (["r.example/app", "-i", "r.example/web"], "accepts 1 arg(s), received 2: a repository"),
        (["r.example/app"], "nothing says what to keep, and everything would be deleted"),
        (["r.example/app", "--yes"], "nothing says what to keep, and everything would be deleted"),
        (["r.example/app", "--keep", ""], "nothing says what to keep, and everything would be deleted"),
        (["r.example/app:v1", "--keep", "x"], "repository can only contain"),
        (["r.example/app", "--keep-newest", "-1"], "Expected --keep-newest to be >= 0, but was -1"),
        (["r.example/app", "--keep-lock", "nosuch.yml"], "no such file"),
    ],
)
def test_a_mistake_ends_the_command_before_the_first_request(refused, words, why):
    assert why in refused("prune", *words)


class TestAKill:
    @pytest.fixture
    def build(self, session, tmp_path):
        def built(server):
            where, source = f"{server.address}/prune/killed", f"{server.address}/prune/source"
            shared = make_image(session, source, ["shared"])
            for version in ("v1", "v2", "v3"):
                own = make_image(session, source, [version])
                index = make_index(session, source, {"linux/amd64": own, "linux/arm64": shared})
                make_bundle(session, f"{source}:{version}", {index: {}, shared: {}}, tmp_path / version)
                bundle = imgpkg.CopySource(bundle=f"{source}:{version}")
                imgpkg.copy(bundle, to_repo=where, session=session)
            return where

        return built

    @pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
    def test_leaves_what_is_kept_whole_and_the_rest_to_another_run(
        self, run, session, build, count, tmp_path
    ):
        reached, deletions = threading.Event(), []

        def watch(record):
            if record.method == "DELETE":
                deletions.append(record)
                if len(deletions) == count:
                    reached.set()
                    # Nothing else is answered before the process is dead.
                    dead.wait(30)

        dead = threading.Event()
        with serve(on_request=watch) as server:
            where = build(server)
            process = start("prune", where, "--keep", "v3", "--yes", "--concurrency", 1)
            assert reached.wait(60)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=30)
            dead.set()
            place = Repository.parse(where)
            # Whatever still has a tag is whole.
            for tag in set(tags(run, where)) & {"v1", "v2", "v3"}:
                self.check_whole(session, place, tag)
            assert "v3" in tags(run, where)
            deletions.clear()
            done = run("prune", where, "--keep", "v3", "--yes")
            assert (done.code, done.err) == (0, "")
            self.check_whole(session, place, "v3")
            left = [name for name in tags(run, where) if not name.endswith(".imgpkg")]
            assert left == ["v3"]
            again = run("prune", where, "--keep", "v3", "--yes", "--json")
            assert json.loads(again.out)["delete"] == []

    def check_whole(self, session, place, tag):
        bundle = imgpkg.read_bundle(f"{place}:{tag}", session=session)
        for member in bundle.members:
            assert member.reference.repository == place
            for child in session.client.manifest(place.digest(member.reference.digest)).children:
                assert session.client.exists(place.digest(child.digest)) is not None
