"""`tag delete` and `delete` as people and scripts see them."""

from __future__ import annotations

import json
import uuid

import pytest

pytestmark = pytest.mark.measured


@pytest.fixture
def pushed(run, folder, repository):
    """A repository with one image under three tags, and another image; return its name and the digest."""
    for name in ("v1", "v1.0", "stable"):
        assert run("push", "-i", f"{repository}:{name}", "-f", folder).code == 0
    (folder / "b.txt").write_text("two\n")
    assert run("push", "-i", f"{repository}:v2", "-f", folder).code == 0
    digest = run("tag", "resolve", "-i", f"{repository}:v1").out.partition("@")[2]
    return repository, digest


@pytest.fixture
def stiff(run, folder, docker_registry):
    """The same at a registry that deletes no tags."""
    where = f"{docker_registry.address}/tidying/{uuid.uuid4().hex}"
    for name in ("v1", "v1.0"):
        assert run("push", "-i", f"{where}:{name}", "-f", folder).code == 0
    return where, run("tag", "resolve", "-i", f"{where}:v1").out.partition("@")[2]


def tags(run, where):
    return run("tag", "list", "-i", where).out.split()


class TestTagDelete:
    def test_says_what_the_tag_named(self, run, pushed):
        where, digest = pushed
        done = run("tag", "delete", "-i", f"{where}:v1")
        assert (done.code, done.err) == (0, "")
        assert done.out == f"Deleted the tag {where}:v1, which named {digest}\n"
        assert tags(run, where) == ["stable", "v1.0", "v2"]

    def test_takes_several_by_flag_and_as_words(self, run, pushed):
        where, _ = pushed
        done = run("tag", "rm", f"{where}:v1", "-i", f"{where}:v2,{where}:v1", "-i", f"{where}:nosuch")
        assert (done.code, done.out.count("Deleted the tag")) == (0, 2)
        assert f"{where}:nosuch was not there\n" in done.out
        assert tags(run, where) == ["stable", "v1.0"]

    def test_writes_json(self, run, pushed):
        where, digest = pushed
        done = run("tag", "delete", "-i", f"{where}:v1", "-i", f"{where}:nosuch", "--json")
        assert json.loads(done.out) == {
            "ok": True,
            "deletions": [
                {"reference": f"{where}:v1", "result": "tag deleted", "digest": digest, "tags": ["v1"]},
                {"reference": f"{where}:nosuch", "result": "not there", "digest": None, "tags": []},
            ],
        }

    def test_needs_a_reference(self, refused):
        assert refused("tag", "delete") == "requires at least 1 arg(s), only received 0: a reference"

    @pytest.mark.parametrize("wrong", ["{0}", "{0}@{1}"])
    def test_deletes_nothing_when_one_reference_is_no_tag(self, run, pushed, wrong):
        where, digest = pushed
        done = run("tag", "delete", "-i", wrong.format(where, digest), "-i", f"{where}:nosuch")
        assert (done.code, done.out) == (2, "")
        assert len(tags(run, where)) == 4

    def test_says_what_a_registry_cannot_do_and_what_can_be_done(self, run, stiff):
        where, digest = stiff
        done = run("tag", "delete", "-i", f"{where}:v1")
        assert (done.code, done.out) == (1, "")
        first, second, *_ = done.err.splitlines()
        assert f"did not delete the tag v1 of {where}: DELETE " in first
        assert "--with-image" in second
        done = run("tag", "delete", "-i", f"{where}:v1", "--with-image")
        assert f"{digest} has other tags, which would go with it: v1.0\n" in done.err
        assert tags(run, where) == ["v1", "v1.0"]
        done = run("tag", "delete", "-i", f"{where}:v1", "-i", f"{where}:v1.0", "--with-image")
        assert (done.code, done.out) == (0, f"Deleted {where}@{digest} and its tags v1, v1.0\n")
        assert tags(run, where) == []

    def test_goes_on_after_a_failure_and_counts_them(self, run, pushed, stiff):
        (where, _), (other, _) = pushed, stiff
        words = ("-i", f"{other}:v1", "-i", f"{where}:v1", "-i", f"{other}:v1.0")
        done = run("tag", "delete", *words)
        assert done.code == 1
        assert done.out.startswith(f"Deleted the tag {where}:v1")
        assert done.err.startswith("imgpkg: Error: 2 of 3 could not be deleted\nthe registry ")
        assert done.err.count("hint: With --with-image") == 1
        document = json.loads(run("tag", "delete", *words, "--json").out)
        assert document["ok"] is False
        assert [each["result"] for each in document["deletions"]] == ["failed", "not there", "failed"]
        assert "did not delete the tag" in document["deletions"][0]["error"]


class TestDelete:
    def test_names_the_tags_that_go(self, run, pushed):
        where, digest = pushed
        done = run("delete", f"{where}:v1")
        assert (done.code, done.out) == (1, "")
        assert f"{where}:v1 was not deleted: {digest} has other tags" in done.err
        assert "hint: Name them too, or `imgpkg delete --all-tags`" in done.err
        done = run("delete", "-i", f"{where}:v1", "--all-tags")
        assert (done.code, done.err) == (0, "")
        assert done.out == f"Deleted {where}@{digest} and its tags stable, v1, v1.0\n"
        assert tags(run, where) == ["v2"]

    def test_all_tags_may_be_named_instead(self, run, pushed):
        where, digest = pushed
        done = run("delete", f"{where}:v1", f"{where}:v1.0", f"{where}:stable", "--json")
        assert json.loads(done.out) == {
            "ok": True,
            "deletions": [
                {
                    "reference": f"{where}:v1",
                    "result": "image deleted",
                    "digest": digest,
                    "tags": [f"{digest.replace(':', '-')}.imgpkg", "stable", "v1", "v1.0"],
                }
            ],
        }

    def test_an_image_without_a_tag(self, run, pushed):
        where, digest = pushed
        run("tag", "delete", f"{where}:v1", f"{where}:v1.0", f"{where}:stable")
        done = run("delete", f"{where}@{digest}")
        assert done.out == f"Deleted {where}@{digest}, which had no tag\n"

    def test_latest_is_not_meant_without_being_written(self, refused, pushed):
        where, _ = pushed
        assert refused("delete", where).startswith(f"{where} names neither a tag nor a digest")

    def test_words_of_the_registry_are_in_the_error(self, run, folder, docker_registry_without_deletion):
        where = f"{docker_registry_without_deletion.address}/tidying/kept"
        run("push", "-i", f"{where}:v1", "-f", folder)
        done = run("delete", f"{where}:v1", "--json")
        assert done.code == 1
        (failed,) = json.loads(done.out)["deletions"]
        assert "UNSUPPORTED: The operation is unsupported" in failed["error"]
        assert any("REGISTRY_STORAGE_DELETE_ENABLED=true" in hint for hint in failed["hints"])


def test_a_served_registry_can_refuse_deletions(started, run, folder):
    process = started("registry", "serve", "--address", "127.0.0.1:0", "--delete=false")
    where = f"{process.stdout.readline().decode().split('//')[1].strip()}/a/b"
    assert run("push", "-i", f"{where}:v1", "-f", folder).code == 0
    for words in (["tag", "delete"], ["delete"]):
        done = run(*words, f"{where}:v1")
        assert done.code == 1
        assert "UNSUPPORTED: this registry deletes nothing" in done.err
    assert tags(run, where) == ["v1"]
