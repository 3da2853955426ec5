"""Deltas: what the destination has stays at home, and what it lacks is named before anything is written."""

from __future__ import annotations

import dataclasses
import json
import random
import shutil
import subprocess
import sys
import tarfile
from collections import Counter

import pytest
from tests.operations.making import make_bundle, make_image, make_index
from tests.servers.faults import always, refusing

import imgpkg
from imgpkg import errors
from imgpkg.content.archive.reader import Archive
from imgpkg.embedded.server import serve
from imgpkg.events import BlobStarted, Message
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy, copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.delta import BASES_LABEL
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.inventory import inventory
from imgpkg.operations.pull import pull


@pytest.fixture
def releases(embedded_registry, session, tmp_path):
    """Three releases of a bundle of an image and an index, with two layers of the image before each time."""
    address = embedded_registry.address
    made = []
    for number in (1, 2, 3):
        layers = ["common", *(f"of release {n}" for n in range(1, number + 1))]
        image = make_image(session, f"{address}/delta/app", layers)
        arm = make_image(session, f"{address}/delta/multi", ["arm", f"arm {number}"])
        index = make_index(session, f"{address}/delta/multi", {"linux/arm64": arm})
        where = f"{address}/delta/bundle:v{number}"
        folder = tmp_path / f"release{number}"
        made.append(make_bundle(session, where, {image: {}, index: {}}, folder, files={"r": str(number)}))
    return [CopySource(bundle=f"{bundle.repository}:v{n}") for n, bundle in enumerate(made, 1)]


@pytest.fixture(params=["tar", "layout"])
def store(request, session, tmp_path):
    """Copy a source into a file of a kind, since others; return the source that the file is."""

    def stored(source, name, *, since=(), **options):
        path = tmp_path / f"{name}.{request.param}"
        write = copy_to_tar if request.param == "tar" else copy_to_layout
        write(source, path, session=session, since=[_path(each) for each in since], **options)
        return CopySource(**{request.param: path})

    return stored


@pytest.fixture(params=["another_registry", "docker_registry"])
def inside(request, tmp_path):
    """A repository where nothing is yet, at each kind of registry."""
    return f"{request.getfixturevalue(request.param).address}/inside/{tmp_path.name.lower()}"


def _path(source):
    return source if isinstance(source, imgpkg.Inventory) else source.tar or source.layout


def held(source):
    """Return the digests of all blobs that a file itself has."""
    found = inventory(session=imgpkg.Session(), tar=source.tar, layout=source.layout)
    return found.blobs.keys() - {digest for base in found.bases for digest in base.blobs}


def app_layers(releases, session, number):
    """Return the layers of the image of a release."""
    return layers_at(releases[number - 1].bundle, session)


def layers_at(bundle, session):
    """Return the layers of the image that a bundle names beside an index."""
    members = imgpkg.read_bundle(bundle, session=session).members
    manifests = [session.client.manifest(member.reference) for member in members]
    (image,) = [manifest for manifest in manifests if manifest.is_image]
    return [str(layer.digest) for layer in image.layers]


class TestADelta:
    def test_has_only_what_is_new_and_brings_the_whole_bundle(
        self, releases, store, session, inside, tmp_path
    ):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        old = app_layers(releases, session, 1)
        new = app_layers(releases, session, 2)
        assert old[:2] == new[:2]
        assert held(second).isdisjoint(old)
        assert new[2] in held(second)
        for source in (first, second):
            copy_to_repository(source, inside, session=session)
        result = pull(tmp_path / "out", bundle=f"{inside}:v2", session=session)
        assert result.images_lock.is_updated
        assert (tmp_path / "out/r").read_text() == "2"
        inside_again = imgpkg.read_bundle(f"{inside}:v2", session=session)
        for member in inside_again.members:
            assert member.reference.repository == Repository.parse(inside)
        for digest in new:
            assert session.client.has_blob(Repository.parse(inside), imgpkg.Digest.parse(digest))

    def test_is_smaller_by_what_stays(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/delta/large"
        # Random letters, so that gzip does not make them small.
        large = "".join(chr(32 + (n * 7919 ^ n >> 3) % 90) for n in range(200_000))
        old = make_image(session, where, [large], tag="v1")
        new = make_image(session, where, [large, "small"], tag="v2")
        copy_to_tar(CopySource(image=str(old)), tmp_path / "old.tar", session=session)
        copy_to_tar(CopySource(image=str(new)), tmp_path / "full.tar", session=session)
        result = copy_to_tar(
            CopySource(image=str(new)), tmp_path / "new.tar", session=session, since=[tmp_path / "old.tar"]
        )
        sizes = {name: (tmp_path / name).stat().st_size for name in ("full.tar", "new.tar")}
        (base,) = result.bases
        (size,) = base.blobs.values()
        assert base.name == "old.tar"
        assert 0 <= sizes["full.tar"] - sizes["new.tar"] - size < 1024

    def test_without_anything_in_common_has_the_bytes_of_a_copy(self, releases, session, tmp_path):
        other = imgpkg.Inventory("other", blobs={str(imgpkg.Digest.of(b"other")): 5})
        copy_to_tar(releases[0], tmp_path / "full.tar", session=session)
        copy_to_tar(releases[0], tmp_path / "delta.tar", session=session, since=[other])
        assert (tmp_path / "delta.tar").read_bytes() == (tmp_path / "full.tar").read_bytes()

    def test_of_all_that_is_there_still_has_what_an_import_reads(self, releases, store, session, inside):
        first = store(releases[0], "r1")
        again = store(releases[0], "again", since=[first])
        bundle = imgpkg.read_bundle(releases[0].bundle, session=session)
        (layer,) = bundle.image.manifest.layers
        assert str(layer.digest) in held(again)
        with pytest.raises(errors.MissingBase):
            copy_to_repository(again, inside, session=session)
        copy_to_repository(first, inside, session=session)
        result = copy_to_repository(again, inside, session=session)
        assert result.bundle.destination.digest == bundle.image.manifest.digest

    def test_never_goes_without_a_blob_of_another_size(self, releases, session, tmp_path):
        copy_to_tar(releases[0], tmp_path / "full.tar", session=session)
        whole = inventory(session=session, tar=tmp_path / "full.tar")
        wrong = imgpkg.Inventory("wrong", blobs={digest: size + 1 for digest, size in whole.blobs.items()})
        result = copy_to_tar(releases[0], tmp_path / "delta.tar", session=session, since=[wrong])
        assert result.bases == ()

    def test_takes_signatures_and_attached_images_along(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/delta/signed"
        image = make_image(session, where, ["signed"], tag="v1")
        make_image(session, where, ["a signature"], tag=f"sha256-{image.digest.hex}.sig")
        manifest = session.client.manifest(image)
        subject = {"mediaType": manifest.media_type, "digest": str(image.digest), "size": len(manifest.raw)}
        make_image(session, where, ["an sbom"], subject=subject, artifactType="an/sbom")
        options = CopyOptions(cosign_signatures=True, referrers=True)
        copy_to_tar(CopySource(image=str(image)), tmp_path / "old.tar", session=session, options=options)
        result = copy_to_tar(
            CopySource(image=str(image)),
            tmp_path / "new.tar",
            session=session,
            options=options,
            since=[tmp_path / "old.tar"],
        )
        (base,) = result.bases
        assert list(base.blobs) == [str(layer.digest) for layer in manifest.layers]

    def test_names_its_bases_where_the_original_looks_for_nothing(self, releases, session, tmp_path):
        copy_to_tar(releases[0], tmp_path / "r1.tar", session=session)
        copy_to_tar(releases[1], tmp_path / "r2.tar", session=session, since=[tmp_path / "r1.tar"])
        with tarfile.open(tmp_path / "r2.tar") as tar:
            names = tar.getnames()
            items = json.load(tar.extractfile("manifest.json"))
        assert names[0] == "manifest.json"
        assert all(name.startswith("sha256-") for name in names[1:])
        labelled = [
            item for item in items if BASES_LABEL in ((item["Image"] or item["ImageIndex"])["Labels"] or {})
        ]
        assert len(labelled) == 2

    def test_leaves_the_blobs_of_an_inventory_at_home(self, releases, store, session, inside):
        copy_to_repository(store(releases[0], "r1"), inside, session=session)
        there = inventory(inside, session=session)
        second = store(releases[1], "r2", since=[imgpkg.Inventory.parse(there.to_bytes())])
        assert held(second).isdisjoint(app_layers(releases, session, 1))
        copy_to_repository(second, inside, session=session)
        assert layers_at(f"{inside}:v2", session) == app_layers(releases, session, 2)

    def test_says_what_it_goes_without(self, releases, session, tmp_path):
        copy_to_tar(releases[0], tmp_path / "r1.tar", session=session)
        seen = []
        options = {"session": session, "since": [tmp_path / "r1.tar"]}
        copy_to_tar(releases[1], tmp_path / "r2.tar", on_event=seen.append, **options)
        said = [event.text for event in seen if isinstance(event, Message)]
        (line,) = [text for text in said if "leaving out" in text]
        assert line.startswith("copy | leaving out 3 blobs with ")
        assert line.endswith(f" bytes that r1.tar ({releases[0].bundle}) has\n")
        found = describe(session=session, tar=tmp_path / "r2.tar")
        (base,) = found.bases
        assert (base.name, base.release, len(base.blobs)) == ("r1.tar", releases[0].bundle, 3)
        preview = preview_copy(releases[1], since=[tmp_path / "r1.tar"], session=session)
        assert preview.bases == found.bases
        assert preview.blobs == len(held(CopySource(tar=tmp_path / "r2.tar")))


class TestAChainOfThreeReleases:
    def test_arrives_release_by_release(self, releases, store, session, inside):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        third = store(releases[2], "r3", since=[second])
        for source in (first, second, third):
            copy_to_repository(source, inside, session=session)
        assert set(app_layers(releases, session, 3)) <= inventory(inside, session=session).blobs.keys()

    def test_with_one_lost_names_its_blobs_and_writes_nothing(self, releases, store, session, inside):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        third = store(releases[2], "r3", since=[second])
        copy_to_repository(first, inside, session=session)
        before = inventory(inside, session=session)
        with pytest.raises(errors.MissingBase) as caught:
            copy_to_repository(third, inside, session=session)
        lost = app_layers(releases, session, 2)[2]
        assert caught.value.digests == (lost,)
        lines = str(caught.value).split("\n")
        name = second.tar or second.layout
        assert "relies on 1 blob with " in lines[0]
        assert lines[0].endswith(f"that {inside} does not have; nothing was written")
        assert lines[1].startswith(f"  expected from {name.name} ({releases[1].bundle}): 1 blob with ")
        assert lines[2].startswith(f"    {lost}, needed by ")
        assert "/delta/app@sha256:" in lines[2]
        assert caught.value.hints[0].startswith(f"Copy {name.name} to {inside} first")
        assert inventory(inside, session=session) == before
        # The lost one is found again: nothing has to be made anew.
        copy_to_repository(second, inside, session=session)
        copy_to_repository(third, inside, session=session)

    def test_with_the_first_lost_names_the_first(self, releases, store, session, inside):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        third = store(releases[2], "r3", since=[second])
        with pytest.raises(errors.MissingBase) as caught:
            copy_to_repository(third, inside, session=session)
        text = str(caught.value)
        expected = {line.split("(")[0].strip() for line in text.split("\n") if "expected from" in line}
        assert expected == {f"expected from {_path(source).name}" for source in (first, second)}
        assert set(caught.value.digests) >= set(app_layers(releases, session, 2))

    def test_is_in_the_inventory_of_each_of_its_files(self, releases, store, session):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        found = inventory(session=session, tar=second.tar, layout=second.layout)
        whole = inventory(session=session, **_kind(store(releases[1], "full")))
        assert found.blobs == whole.blobs
        assert [base.name for base in found.bases] == [(first.tar or first.layout).name]


def _kind(source):
    return {"tar": source.tar} if source.tar else {"layout": source.layout}


class TestBlobsInAnotherRepository:
    @pytest.fixture
    def second(self, releases, store, session, inside):
        copy_to_repository(store(releases[0], "r1"), f"{inside}-old", session=session)
        return store(releases[1], "r2", since=[store(releases[0], "again")])

    def test_are_mounted_from_the_repository_of_the_inventory(self, releases, store, session, inside):
        copy_to_repository(store(releases[0], "r1"), f"{inside}-old", session=session)
        second = store(releases[1], "r2", since=[inventory(f"{inside}-old", session=session)])
        copy_to_repository(second, f"{inside}-new", session=session)
        assert (
            set(app_layers(releases, session, 2)) <= inventory(f"{inside}-new", session=session).blobs.keys()
        )

    def test_are_mounted_from_where_the_flag_names_them(self, second, releases, session, inside):
        with pytest.raises(errors.MissingBase) as caught:
            copy_to_repository(second, f"{inside}-new", session=session)
        assert "name it with --mount-from" in caught.value.hints[-1]
        options = CopyOptions(mount_from=(f"{inside}-nosuch", f"{inside}-old"))
        preview = preview_copy(second, f"{inside}-new", session=session, options=options)
        assert preview.mountable == 3
        copy_to_repository(second, f"{inside}-new", session=session, options=options)
        assert (
            set(app_layers(releases, session, 2)) <= inventory(f"{inside}-new", session=session).blobs.keys()
        )

    def test_of_another_registry_are_refused(self, second, session, inside):
        options = CopyOptions(mount_from=("registry.example.com/a/b",))
        with pytest.raises(errors.UsageError, match="Expected --mount-from to be in 127"):
            copy_to_repository(second, inside, session=session, options=options)

    def test_are_read_and_sent_where_the_registry_does_not_mount(self, releases, session, tmp_path):
        from imgpkg.embedded.routes import Features

        with serve(features=Features(mount=False)) as server:
            copy_to_tar(releases[0], tmp_path / "r1.tar", session=session)
            copy_to_repository(CopySource(tar=tmp_path / "r1.tar"), f"{server.address}/old", session=session)
            copy_to_tar(releases[1], tmp_path / "r2.tar", session=session, since=[tmp_path / "r1.tar"])
            options = CopyOptions(mount_from=(f"{server.address}/old",))
            to = f"{server.address}/new"
            copy_to_repository(CopySource(tar=tmp_path / "r2.tar"), to, session=session, options=options)
            assert set(app_layers(releases, session, 2)) <= inventory(to, session=session).blobs.keys()

    def test_that_are_hidden_count_as_missing(self, releases, session, tmp_path):
        copy_to_tar(releases[0], tmp_path / "r1.tar", session=session)
        copy_to_tar(releases[1], tmp_path / "r2.tar", session=session, since=[tmp_path / "r1.tar"])
        with serve(faults=always(refusing(500, "UNKNOWN"), path="/hidden/")) as server:
            options = CopyOptions(mount_from=(f"{server.address}/hidden/old",))
            quick = imgpkg.Session(imgpkg.Settings(retry_count=1))
            with quick, pytest.raises(errors.MissingBase):
                copy_to_repository(
                    CopySource(tar=tmp_path / "r2.tar"),
                    f"{server.address}/new",
                    session=quick,
                    options=options,
                )


class TestAFileOfADelta:
    def test_is_copied_into_a_layout_that_has_the_rest(self, releases, store, session, inside, tmp_path):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        with pytest.raises(errors.MissingBase, match="nothing was written"):
            copy_to_layout(second, tmp_path / "both", session=session)
        assert not (tmp_path / "both").exists()
        copy_to_layout(first, tmp_path / "both", session=session)
        result = copy_to_layout(second, tmp_path / "both", session=session)
        assert result.bases == ()
        index = (tmp_path / "both/index.json").read_text()
        assert BASES_LABEL not in index
        copy_to_repository(CopySource(layout=tmp_path / "both"), inside, session=session)
        assert layers_at(f"{inside}:v2", session) == app_layers(releases, session, 2)

    def test_says_of_a_layer_where_it_should_be(self, releases, store, session, tmp_path):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        pull(tmp_path / "out", session=session, **_kind(second))
        bundle = imgpkg.read_bundle(session=session, **_kind(second))
        image = next(m for m in bundle.members if "/app@" in str(m.locked.reference))
        with pytest.raises(errors.MissingBase, match="which was made without the blobs of r1"):
            pull(tmp_path / "image", image=str(image.locked.reference), session=session, **_kind(second))
        assert not (tmp_path / "image").exists()

    @pytest.mark.parametrize("text", ["{", "[]x", '["a"]', '[{"blobs":{"sha256:1":1}}]'])
    def test_with_a_damaged_label_is_refused(self, text, releases, session, tmp_path):
        copy_to_layout(releases[0], tmp_path / "r1", session=session)
        path = tmp_path / "r1/index.json"
        document = json.loads(path.read_text())
        document["manifests"][0]["annotations"][BASES_LABEL] = text
        path.write_text(json.dumps(document))
        with pytest.raises(errors.ArchiveError, match=f"the label {BASES_LABEL} of .* is damaged"):
            inventory(session=session, layout=tmp_path / "r1")

    def test_that_names_a_repository_which_is_none_asks_it_nothing(self, releases, session, tmp_path):
        whole = tmp_path / "whole.tar"
        copy_to_tar(releases[0], whole, session=session)
        found = inventory(session=session, tar=whole)
        odd = imgpkg.Inventory("\x1b[2J", "not a repository\n", blobs=found.blobs)
        copy_to_tar(releases[0], tmp_path / "odd.tar", session=session, since=[odd])
        with serve() as server, pytest.raises(errors.MissingBase) as caught:
            copy_to_repository(CopySource(tar=tmp_path / "odd.tar"), f"{server.address}/abc", session=session)
        assert not any(character in str(caught.value) + "".join(caught.value.hints) for character in "\x1b\r")
        assert {r.path.split("/")[2] for r in server.requests if "/blobs/" in r.path} == {"abc"}


def test_files_of_two_releases_are_served_whole(run_serving, releases, session, tmp_path):
    """The registry of several files has a blob in every repository that one of them has."""
    old, new = tmp_path / "r1.tar", tmp_path / "r2.tar"
    copy_to_tar(releases[0], old, session=session)
    copy_to_tar(releases[1], new, session=session, since=[old])
    address = run_serving("--tar", str(old), "--tar", str(new))
    bundle = f"{address}/delta/bundle:v2"
    assert layers_at(bundle, session) == app_layers(releases, session, 2)
    copy_to_tar(CopySource(bundle=bundle), tmp_path / "whole.tar", session=session)
    assert held(CopySource(tar=tmp_path / "whole.tar")) >= set(app_layers(releases, session, 2))


@pytest.fixture
def run_serving():
    """Start `imgpkg registry serve` with these words; return its address."""
    servers = []

    def serving(*words):
        argv = [sys.executable, "-m", "imgpkg", "registry", "serve", "--address", "127.0.0.1:0", *words]
        servers.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        return servers[-1].stdout.readline().split("http://")[1].strip()

    yield serving
    for server in servers:
        server.terminate()
        server.communicate(timeout=10)


class TestWhatIsRefused:
    def test_to_leave_out_what_is_written(self, releases, store, session):
        first = store(releases[0], "r1")
        with pytest.raises(errors.UsageError, match="Expected --since to be another file"):
            store(releases[1], "r1", since=[first])

    def test_in_a_copy_to_a_repository(self, releases, session):
        with pytest.raises(errors.UsageError, match="--since and --since-inventory can only be used"):
            copy(releases[0], to_repo="registry.example.com/a/b", since=["a.tar"], session=session)

    def test_places_to_mount_from_for_other_copies(self, releases, session, tmp_path):
        options = CopyOptions(mount_from=("registry.example.com/a/b",))
        with pytest.raises(errors.UsageError, match="--mount-from can only be used"):
            copy(releases[0], to_tar=tmp_path / "a.tar", options=options, session=session)

    def test_a_base_that_is_not_there_or_damaged(self, releases, session, tmp_path):
        with pytest.raises(errors.LocalIOError, match="nosuch"):
            copy_to_tar(releases[0], tmp_path / "a.tar", since=[tmp_path / "nosuch.tar"], session=session)
        (tmp_path / "cut.tar").write_bytes(b"x" * 700)
        with pytest.raises(errors.ArchiveError):
            copy_to_tar(releases[0], tmp_path / "a.tar", since=[tmp_path / "cut.tar"], session=session)
        assert not (tmp_path / "a.tar").exists()


# Kills itself at the nth event or blob, as a machine that is switched off would.
_KILLED = """
import os, signal, sys, imgpkg
left = int(sys.argv[1])
def watch(event):
    global left
    left -= 1
    if left <= 0:
        os.kill(os.getpid(), signal.SIGKILL)
with imgpkg.Session() as session:
    {call}
"""
_EXPORT = (
    "imgpkg.copy_to_tar(imgpkg.CopySource(bundle=sys.argv[2]), sys.argv[3], since=[sys.argv[4]], "
    "resume=True, session=session, on_event=watch)"
)
_IMPORT = (
    "imgpkg.copy_to_repository(imgpkg.CopySource(tar=sys.argv[2]), sys.argv[3], session=session, "
    "on_event=watch)"
)


def _until_done(call, *arguments):
    """Run it again and again, killed a little later each time; return how often it was killed."""
    for count in range(1, 200, 4):
        program = _KILLED.format(call=call)
        argv = [sys.executable, "-c", program, str(count), *map(str, arguments)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode == 0:
            return count // 4
        assert done.returncode == -9, done.stderr
        yield count
    pytest.fail("it never ended")


@pytest.mark.slow
def test_a_delta_is_whole_however_often_it_was_killed(releases, another_registry, session, tmp_path):
    paths = [tmp_path / f"r{n}.tar" for n in (1, 2)]
    copy_to_tar(releases[0], paths[0], session=session)
    copy_to_tar(releases[1], tmp_path / "expected.tar", session=session, since=[paths[0]])
    kills = 0
    for _ in _until_done(_EXPORT, releases[1].bundle, paths[1], paths[0]):
        kills += 1
        assert not paths[1].exists()
    assert kills > 2
    assert paths[1].read_bytes() == (tmp_path / "expected.tar").read_bytes()
    to = f"{another_registry.address}/killed/{tmp_path.name.lower()}"
    for path in paths:
        kills = 0
        for _ in _until_done(_IMPORT, path, to):
            kills += 1
        assert kills > 2
    assert layers_at(f"{to}:v2", session) == app_layers(releases, session, 2)


def test_an_interrupted_delta_goes_on_with_what_it_has(releases, session, tmp_path):
    old, new = tmp_path / "r1.tar", tmp_path / "r2.tar"
    copy_to_tar(releases[0], old, session=session)

    def stop(event):
        if isinstance(event, imgpkg.BlobFinished):
            raise errors.Cancelled

    with pytest.raises(errors.Cancelled):
        copy_to_tar(releases[1], new, session=session, since=[old], on_event=stop)
    started = []

    def watch(event):
        if isinstance(event, BlobStarted):
            started.append(str(event.digest))

    copy_to_tar(releases[1], new, session=session, since=[old], resume=True, on_event=watch)
    with Archive(str(new)) as archive:
        members = len(archive._members) - 1
    assert len(started) < members
    copy_to_tar(releases[1], tmp_path / "again.tar", session=session, since=[old])
    assert new.read_bytes() == (tmp_path / "again.tar").read_bytes()


def test_a_full_file_becomes_a_delta_with_resume(releases, session, tmp_path):
    old, new = tmp_path / "r1.tar", tmp_path / "r2.tar"
    copy_to_tar(releases[0], old, session=session)
    copy_to_tar(releases[1], new, session=session)
    shutil.copy(new, tmp_path / "full.tar")
    started = []
    copy_to_tar(
        releases[1],
        new,
        session=session,
        since=[old],
        resume=True,
        on_event=lambda event: started.append(event) if isinstance(event, BlobStarted) else None,
    )
    assert started == []
    assert new.stat().st_size < (tmp_path / "full.tar").stat().st_size


class TestSeveralRepositoriesInside:
    """A copy with --keep-names looks for a blob in each repository that gets it."""

    OPTIONS = CopyOptions(placement=imgpkg.Placement(keep=imgpkg.KeptNames.PATHS))

    def test_get_what_is_new(self, releases, store, session, inside):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        for source in (first, second):
            result = copy_to_repository(source, inside, session=session, options=self.OPTIONS)
        (app,) = [each for each in result.images if "/delta/app@" in str(each.source)]
        assert app.destination.repository.path.endswith("/delta/app")
        there = inventory(str(app.destination.repository), session=session).blobs
        assert set(app_layers(releases, session, 2)) <= there.keys()

    def test_name_what_each_lacks(self, releases, store, session, inside):
        second = store(releases[1], "r2", since=[store(releases[0], "r1")])
        with pytest.raises(errors.MissingBase) as caught:
            copy_to_repository(second, inside, session=session, options=self.OPTIONS)
        assert "/delta/app, " in str(caught.value)
        with pytest.raises(errors.MissingBase):
            preview_copy(second, inside, session=session, options=self.OPTIONS)

    def test_take_it_from_where_it_is(self, releases, store, session, inside):
        first = store(releases[0], "r1")
        second = store(releases[1], "r2", since=[first])
        copy_to_repository(first, f"{inside}/all", session=session)
        options = dataclasses.replace(self.OPTIONS, mount_from=(f"{inside}/all",))
        copy_to_repository(second, inside, session=session, options=options)


@pytest.mark.unmeasured
class TestTwoReleasesThatShareNineTenthsOfTheirBytes:
    @pytest.fixture
    def files(self, embedded_registry, session, tmp_path):
        """The two releases in whole files, the second one since the first, and the requests for that."""
        chance, address = random.Random(7), embedded_registry.address
        kept = {(n, layer): chance.randbytes(60_000).hex() for n in range(10) for layer in range(6)}
        for number in (1, 2):
            images = {}
            for n in range(10):
                new = random.Random(f"{n} {number}").randbytes(40_000).hex()
                texts = [*(kept[n, layer] for layer in range(6)), new]
                images[make_image(session, f"{address}/ninety/app{n}", texts)] = {}
            folder = tmp_path / f"b{number}"
            make_bundle(session, f"{address}/ninety/bundle:v{number}", images, folder)
        first, second = (CopySource(bundle=f"{address}/ninety/bundle:v{n}") for n in (1, 2))
        old, full, new = (tmp_path / name for name in ("v1.tar", "v2-full.tar", "v2.tar"))
        copy_to_tar(first, old, session=session)
        copy_to_tar(second, full, session=session)
        before = len(embedded_registry.requests)
        copy_to_tar(second, new, session=session, since=[old])
        return old, full, new, embedded_registry.requests[before:]

    def test_send_one_tenth(self, files):
        _, full, new, requests = files
        assert new.stat().st_size < full.stat().st_size * 0.115
        # Ten new layers and ten configurations; of the bundle its configuration, and its layer twice: for the
        # lock in it, and for the file.
        assert len([request for request in requests if "/blobs/" in request.path]) == 23

    def test_ask_once_for_each_blob_that_stays(
        self, files, another_registry, session, open_session, tmp_path
    ):
        old, full, new, _ = files
        sent = {}
        for name, path in {"full": full, "new": new}.items():
            to = f"{another_registry.address}/ninety/{tmp_path.name.lower()}-{name}"
            copy_to_repository(CopySource(tar=old), to, session=session)
            before = len(another_registry.requests)
            copy_to_repository(CopySource(tar=path), to, session=open_session())
            sent[name] = [r for r in another_registry.requests[before:] if "/blobs/" in r.path]
        assert len(sent["new"]) <= len(sent["full"]) + 5
        asked = Counter(request.path for request in sent["new"] if request.method == "HEAD")
        assert len(asked) >= 60
        assert max(asked.values()) == 1

    def test_are_listed_in_a_few_kilobytes(self, files, another_registry, session, tmp_path):
        old, *_ = files
        to = f"{another_registry.address}/ninety/{tmp_path.name.lower()}-listed"
        copy_to_repository(CopySource(tar=old), to, session=session)
        before = len(another_registry.requests)
        made = inventory(to, session=session)
        assert len(made.to_bytes()) < 10_000
        # The list of tags, eleven images and the record of locations.
        assert len(another_registry.requests) - before == 13
