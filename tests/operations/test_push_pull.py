"""A pushed folder is pulled unchanged, from any registry and with any login."""

from __future__ import annotations

import pytest
from tests.operations.conftest import read_tree
from tests.servers.faults import always

from imgpkg import errors, testing
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.events import BlobAdvanced, Message
from imgpkg.oci.reference import Reference
from imgpkg.operations.artifact.push import push_artifact
from imgpkg.operations.pull import pull
from imgpkg.operations.push import push

TREE = {
    "config/app.yml": "greeting: hello\n",
    "README.txt": "read me\n",
    "empty.txt": "",
    "big.bin": b"\0\1" * 70_000,
}


class TestPushOfAnImage:
    def test_comes_back_as_it_was(self, embedded_registry, session, write_tree, tmp_path):
        image = f"{embedded_registry.address}/team/config:v1"
        pushed = push([write_tree(TREE)], image=image, session=session)
        assert pushed.tag == "v1"
        pulled = pull(tmp_path / "out", image=image, session=session)
        assert pulled.reference == pushed.reference
        assert read_tree(tmp_path / "out") == {name: _bytes(text) for name, text in TREE.items()}

    def test_has_the_digest_that_the_original_gives_it(self, embedded_registry, session, write_tree):
        image = f"{embedded_registry.address}/spec/golden"
        pushed = push([write_tree({"a.txt": "hi\n"})], image=image, session=session)
        expected = "sha256:fc14aaef6434fc0ca62be99d34665bfcd68196c7dbb83ba2cce0cdfa835273cb"
        assert str(pushed.reference.digest) == expected

    def test_without_files_is_an_empty_image(self, embedded_registry, session):
        pushed = push([], image=f"{embedded_registry.address}/spec/none", session=session)
        expected = "sha256:12798cbf035884be93b90ba6f2c6148aafe6b8cd64b58ceefcf46ca7327c5296"
        assert str(pushed.reference.digest) == expected

    def test_leaves_the_tag_and_the_internal_tag(self, embedded_registry, session, write_tree):
        repository = Reference.parse(f"{embedded_registry.address}/team/tags:v1").repository
        pushed = push([write_tree(TREE)], image=f"{repository}:v1", session=session)
        internal = f"sha256-{pushed.reference.digest.hex}.imgpkg"
        assert sorted(session.client.tags(repository)) == sorted([internal, "v1"])

    def test_sends_nothing_twice(self, embedded_registry, open_session, write_tree):
        tree, image = write_tree(TREE), f"{embedded_registry.address}/team/twice:v1"
        push([tree], image=image, session=open_session())
        before = len(embedded_registry.requests)
        push([tree], image=image, session=open_session())
        again = [request.method for request in embedded_registry.requests[before:]]
        assert again == ["HEAD", "HEAD"]

    def test_of_something_new_costs_seven_requests_and_one_for_the_tag(
        self, embedded_registry, session, write_tree
    ):
        before = len(embedded_registry.requests)
        push([write_tree({"a": "small"})], image=f"{embedded_registry.address}/team/seven", session=session)
        asked = [(r.method, r.path.rpartition("/")[2]) for r in embedded_registry.requests[before:]]
        assert len(asked) <= 8
        assert asked.count(("HEAD", "latest")) == 1

    @pytest.mark.parametrize("is_there", [False, True], ids=["something new", "something that is there"])
    def test_does_not_believe_a_registry_that_keeps_nothing(self, session, write_tree, is_there):
        tree = write_tree(TREE)
        forgetful = always(Fault(answer=ServerResponse(201)), method="PUT", path="/manifests/v1")
        with serve(faults=forgetful) as server:
            image = f"{server.address}/team/forgotten"
            if is_there:
                push([tree], image=f"{image}:v0", session=session)
            with pytest.raises(errors.VerificationError, match=f"for {image}:v1 and does not have it"):
                push([tree], image=f"{image}:v1", session=session)

    def test_reports_which_entries_it_packs(self, embedded_registry, session, write_tree):
        seen = []
        image = f"{embedded_registry.address}/team/events"
        push([write_tree({"d/f": "x"})], image=image, session=session, on_event=seen.append)
        texts = [event.text for event in seen if isinstance(event, Message)]
        assert texts == ["dir: .\n", "dir: d\n", "file: d/f\n"]

    def test_stops_when_the_hook_says_so_and_publishes_nothing(self, embedded_registry, session, write_tree):
        def stop(event):
            if isinstance(event, BlobAdvanced):
                raise errors.Cancelled

        image = f"{embedded_registry.address}/team/cancelled"
        with pytest.raises(errors.Cancelled):
            push([write_tree(TREE)], image=image, session=session, on_event=stop)
        assert session.client.exists(Reference.parse(image)) is None

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            ({"image": "a/b", "bundle": "a/b"}, "Expected only one of image or bundle"),
            ({}, "Expected either image or bundle"),
            (
                {"image": "a/b", "lock_output": "x"},
                "Lock output is not compatible with image, use bundle for lock output",
            ),
            (
                {"image": "a/b", "labels": {"dev.carvel.imgpkg.bundle": "1"}},
                (
                    "label 'dev.carvel.imgpkg.bundle' is reserved and cannot be overriden. "
                    "Please use a different key"
                ),
            ),
        ],
    )
    def test_refuses_options_that_do_not_go_together(self, session, given, text):
        with pytest.raises(errors.UsageError) as caught:
            push([], session=session, **given)
        assert str(caught.value) == text

    def test_names_the_offending_part_of_a_reference(self, session):
        with pytest.raises(errors.InvalidReference, match=r"Parsing 'a/B': repository can only contain"):
            push([], image="a/B", session=session)


class TestPull:
    def test_costs_three_requests(self, embedded_registry, open_session, write_tree, tmp_path):
        image = f"{embedded_registry.address}/team/three:v1"
        push([write_tree({"a": "small"})], image=image, session=open_session())
        before = len(embedded_registry.requests)
        pull(tmp_path / "out", image=image, session=open_session())
        assert len(embedded_registry.requests) - before == 3

    def test_of_an_artifact_says_that_it_is_one(self, embedded_registry, session, tmp_path):
        name = f"{embedded_registry.address}/team/report:v1"
        kind = "application/vnd.example.report"
        pushed = push_artifact({"a.json": b"{}"}, image=name, artifact_type=kind, session=session)
        with pytest.raises(errors.UnpackError) as caught:
            pull(tmp_path / "out", image=name, session=session)
        (hint,) = caught.value.hints
        assert hint.startswith(f"{pushed.reference} is no image but an artifact of type {kind}: ")
        assert "imgpkg.pull_artifact" in hint

    def test_of_an_image_that_is_broken_says_nothing_of_artifacts(self, session, tmp_path):
        with testing.serve() as registry:
            name = registry.add("team/app:v1", testing.make_image(b"no tar file"))
            with pytest.raises(errors.UnpackError) as caught:
                pull(tmp_path / "out", image=name, session=session)
        assert caught.value.hints == ()

    def test_that_fails_leaves_the_old_folder_as_it_was(self, embedded_registry, session, tmp_path):
        out = tmp_path / "out"
        out.mkdir()
        (out / "kept").write_text("old")
        with pytest.raises(errors.NotFound):
            pull(out, image=f"{embedded_registry.address}/team/nowhere", session=session)
        assert read_tree(out) == {"kept": b"old"}
        assert [path.name for path in tmp_path.iterdir()] == ["out"]

    def test_replaces_the_old_folder(self, embedded_registry, session, write_tree, tmp_path):
        image = f"{embedded_registry.address}/team/replace"
        push([write_tree({"new": "new"})], image=image, session=session)
        out = tmp_path / "out"
        out.mkdir()
        (out / "old").write_text("old")
        pull(out, image=image, session=session)
        assert read_tree(out) == {"new": b"new"}

    @pytest.mark.parametrize(
        ("output", "given", "text"),
        [
            ("", {"image": "a/b"}, "Expected --output to be none empty"),
            ("/", {"image": "a/b"}, "Disallowed output directory (trying to avoid accidental deletion)"),
            (".", {"image": "a/b"}, "Disallowed output directory (trying to avoid accidental deletion)"),
            ("./", {"image": "a/b"}, "Disallowed output directory (trying to avoid accidental deletion)"),
            ("out", {"image": "a/b", "bundle": "a/b"}, "Expected only one of image, bundle, or lock"),
            ("out", {}, "Expected either image or bundle reference"),
            (
                "out",
                {"image": "a/b", "recursive": True},
                "Cannot use --recursive (-r) flag when pulling a bundle",
            ),
            (
                "out",
                {"bundle": "a/b", "image_is_bundle_check": False},
                "Cannot set --image-is-bundle-check while using -b flag",
            ),
        ],
    )
    def test_refuses_options_that_do_not_go_together(self, session, output, given, text):
        with pytest.raises(errors.UsageError) as caught:
            pull(output, session=session, **given)
        assert str(caught.value) == text


def _bytes(content):
    return content if isinstance(content, bytes) else content.encode()
