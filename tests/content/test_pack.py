"""Packing has the original's digests, names in errors what it cannot pack, and leaves no files."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import random
import resource
import socket
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager

import pytest

from imgpkg.content.deflate._deflate import FastEncoder as Fast
from imgpkg.content.deflate.reference import ReferenceEncoder as Reference
from imgpkg.content.image import build_image
from imgpkg.content.output import remove_tree
from imgpkg.content.pack import list_entries, pack_layer
from imgpkg.errors import Cancelled, ImgpkgError, LocalIOError, UsageError
from imgpkg.events import Message, PackAdvanced, PackStarted
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest

IMAGES = b"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
BUNDLE = {"dev.carvel.imgpkg.bundle": "true"}
GIT = (".git",)
NOTHING = "sha256:12798cbf035884be93b90ba6f2c6148aafe6b8cd64b58ceefcf46ca7327c5296"
EMPTY = "sha256:f13a810a247008e5afb49af331e0849182dea927390f3fde82443d600d57f1f5"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Work in an empty folder, with temporary files in one of their own."""
    monkeypatch.chdir(tmp_path)
    temporary = tmp_path.parent / f"{tmp_path.name}-temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert os.listdir(temporary) == []


def write(path, data=b"", mode=0o644):
    """Write a file, or make a folder when the path ends in a slash."""
    if os.path.dirname(path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
    if path.endswith("/"):
        os.chmod(path, mode)
        return
    with open(path, "wb") as file:
        file.write(data)
    os.chmod(path, mode)


def packed(*inputs, exclusions=GIT, **options):
    """Pack; return the layer and its compressed bytes."""
    with pack_layer(inputs, exclusions=exclusions, **options) as layer, layer.open() as file:
        return layer, b"".join(iter(file.read, b""))


def members(*inputs, **options):
    _, data = packed(*inputs, **options)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(data)), errors="surrogateescape") as tar:
        return tar.getmembers()


def names(*inputs, **options):
    return [member.name for member in members(*inputs, **options)]


def refusal(*inputs, error=LocalIOError, **options):
    with pytest.raises(ImgpkgError) as caught:
        packed(*inputs, **options)
    assert type(caught.value) is error
    return str(caught.value)


def example():
    """Make the tree whose layer was recorded from the original."""
    write("ex/.git/HEAD", b"ref: refs/heads/main\n")
    write("ex/.imgpkg/images.yml", IMAGES)
    write("ex/config/app.yml", b"key: value\n", 0o640)
    write("ex/empty/", mode=0o755)
    write("ex/run.sh", b"#!/bin/sh\necho hi\n", 0o755)


@pytest.mark.parametrize("encoder", [None, Fast, Reference])
class TestTheDigestsOfTheOriginal:
    def test_of_the_worked_example(self, encoder):
        example()
        layer, data = packed("ex", encoder=encoder)
        assert str(layer.diff_id) == "sha256:6dfd2f129e1a8452abcfaebe97aa74b13150d4ff95229c09ea0a440776339da7"
        assert len(gzip.decompress(data)) == 6144
        digest = "sha256:3634a461721cea1b4b94dc5181cf33da6a3f56b07ff9a102458e765a37718787"
        blob = layer.descriptor
        assert (str(blob.digest), blob.size, blob.media_type) == (digest, 320, media.DOCKER_LAYER)
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (digest.removeprefix("sha256:"), 320)
        image = build_image(layer, BUNDLE)
        config = "sha256:4b680c9051361a66fde74b0ec79cb57870d772a8e48fbbcdad6fed426d8853d5"
        assert (str(image.config_descriptor.digest), len(image.config)) == (config, 317)
        manifest = "sha256:c4ea14029e3d5ea62362d2061c218de504a736e17e21de4511ae1782a47da466"
        assert (str(image.manifest.digest), len(image.manifest.raw)) == (manifest, 423)

    def test_of_an_image_of_nothing(self, encoder):
        layer, data = packed(encoder=encoder)
        assert gzip.decompress(data) == bytes(1024)
        assert str(build_image(layer, {}).manifest.digest) == NOTHING

    def test_of_one_file_in_a_folder(self, encoder):
        write("d/a.txt", b"hi\n")
        layer, _ = packed("d", encoder=encoder)
        assert layer.diff_id.hex == "b7f387b9bded6e0cf6e97b0d375de2698ab0c88ed9343d77e79fd6961c4b99a2"
        assert layer.descriptor.size == 131
        assert (
            layer.descriptor.digest.hex == "b214504158fb41eb152744af0f077513240a778fb206bad061dbb205b17c1243"
        )
        expected = "sha256:fc14aaef6434fc0ca62be99d34665bfcd68196c7dbb83ba2cce0cdfa835273cb"
        assert str(build_image(layer, {}).manifest.digest) == expected

    def test_of_an_empty_folder(self, encoder):
        write("d/")
        layer, _ = packed("d", encoder=encoder)
        assert str(build_image(layer, {}).manifest.digest) == EMPTY

    def test_of_a_folder_whose_one_file_is_excluded(self, encoder):
        write("d/a.txt", b"hi\n")
        layer, _ = packed("d", encoder=encoder, exclusions=("a.txt",))
        assert str(build_image(layer, {}).manifest.digest) == EMPTY

    def test_of_a_file(self, encoder):
        write("a.txt", b"hi\n")
        layer, _ = packed("a.txt", encoder=encoder)
        expected = "sha256:f07a123274f082334bb626af2e992f8bf1681600dd6f094146fc201e335f1458"
        assert str(build_image(layer, {}).manifest.digest) == expected

    def test_of_a_small_bundle(self, encoder):
        write("b/.imgpkg/images.yml", IMAGES)
        write("b/config/c.yml", b"a\n")
        layer, _ = packed("b", encoder=encoder)
        expected = "sha256:fb9353a7fc3a8cf5239feb14bae6b5c4d2a27c6d1a5f490e5be5e5a986b854f6"
        assert str(build_image(layer, BUNDLE).manifest.digest) == expected

    def test_of_all_methods_of_the_encoder_are_one(self, encoder):
        """Both encoders, whole blocks and matches across them: a tar over several blocks of 64 KiB."""
        write("d/text", b"".join(b"line %d\n" % n for n in range(40_000)))
        write("d/noise", hashlib.shake_256(b"noise").digest(150_000))
        write("d/zeros", bytes(200_000))
        layer, data = packed("d", encoder=encoder)
        assert layer.diff_id.hex == hashlib.sha256(gzip.decompress(data)).hexdigest()
        assert layer.descriptor == packed("d")[0].descriptor


class TestAWalk:
    def test_sorts_names_of_a_folder_by_bytes_and_goes_into_folders_at_once(self):
        for name in ("b", "a/z", "a.txt", "a-b/x", "B", "é", "zz", "\U0001f600", "\uffee"):
            write(f"d/{name}")
        expected = ["B", "a", "a/z", "a-b", "a-b/x", "a.txt", "b", "zz", "é", "\uffee", "\U0001f600"]
        assert names("d") == [".", *expected]

    def test_takes_inputs_in_their_order_each_folder_with_an_entry_of_its_own(self):
        write("two/b")
        write("one/a")
        write("file.txt", b"x")
        assert names("two", "file.txt", "one/") == [".", "b", "file.txt", ".", "a"]

    def test_takes_paths_of_any_kind(self, tmp_path):
        write("d/a")
        assert names(tmp_path / "d") == [".", "a"]
        assert names(str(tmp_path / "d") + "//") == [".", "a"]

    def test_takes_the_current_folder(self):
        write("a/b")
        assert names(".") == [".", "a", "a/b"]

    def test_follows_a_link_to_a_file_and_keeps_the_name_of_the_link(self):
        write("target.sh", b"content", 0o755)
        os.symlink("target.sh", "link")
        (member,) = members("link")
        assert (member.name, member.size, member.mode) == ("link", 7, 0o700)
        assert member.isreg()

    def test_follows_a_link_to_a_folder_only_when_asked_by_a_slash(self):
        write("d/a")
        os.symlink("d", "lnk")
        assert names("lnk/") == [".", "a"]
        assert refusal("lnk") == "Adding file 'lnk' to tar: Expected file 'lnk' to be a regular file"

    def test_packs_what_is_behind_a_link_and_two_dots(self):
        """Text that leaves out `link/..` would name another file."""
        write("elsewhere/deep/")
        write("elsewhere/d/a", b"right")
        write("d/a", b"wrong file")
        os.symlink("elsewhere/deep", "link")
        _, data = packed("link/../d")
        assert b"right" in gzip.decompress(data)

    def test_keeps_names_that_are_no_utf_8(self):
        name = os.fsdecode(b"d/bad \xff name")
        write(name, b"x")
        events = []
        assert names("d", on_event=events.append) == [".", os.fsdecode(b"bad \xff name")]
        assert Message(f"file: {os.path.basename(name)}\n") in events

    def test_takes_long_names(self):
        long = "/".join(["n" * 90] * 6)
        write(f"d/{long}/{'ü' * 100}", b"x")
        assert names("d")[-1] == f"{long}/{'ü' * 100}"

    def test_takes_a_hard_link_for_a_file(self):
        write("d/a", b"x")
        os.link("d/a", "d/b")
        assert [member.isreg() for member in members("d")] == [False, True, True]


class TestExclusions:
    @pytest.mark.parametrize(
        ("exclusion", "left"),
        [
            (".git", [".", "x", "x/.git", "x/y", "x/y/z"]),
            ("x/y", [".", ".git", ".git/HEAD", "x", "x/.git"]),
            ("x", [".", ".git", ".git/HEAD"]),
            (".", []),
        ],
    )
    def test_equal_a_name_in_the_layer(self, exclusion, left):
        write("d/.git/HEAD")
        write("d/x/y/z")
        write("d/x/.git")
        assert names("d", exclusions=[exclusion]) == left

    @pytest.mark.parametrize("exclusion", ["x/y/", "./x/y", "y", "x/*", "d/x/y", "", "X/Y"])
    def test_are_no_patterns_and_no_other_spelling(self, exclusion):
        write("d/x/y")
        assert names("d", exclusions=[exclusion]) == [".", "x", "x/y"]

    def test_apply_to_file_inputs_by_base_name(self):
        write("d/a")
        write("b")
        assert names("d/a", "b", exclusions=["a"]) == ["b"]
        assert names("d/a", "b", exclusions=["d/a"]) == ["a", "b"]

    def test_apply_to_each_input(self):
        write("one/.git/x")
        write("two/.git/x")
        assert names("one", "two") == [".", "."]

    def test_spare_what_could_not_be_packed(self):
        os.makedirs("d/run")
        os.symlink("nowhere", "d/link")
        os.mkfifo("d/run/fifo")
        os.mkfifo("pipe")
        os.symlink("nowhere", "dangling")
        exclusions = ["link", "run/fifo", "pipe", "dangling"]
        assert names("d", "pipe", "dangling", exclusions=exclusions) == [".", "run"]


class TestModes:
    def test_are_the_owner_s_by_default(self):
        write("d/x", mode=0o4755)
        write("d/r", mode=0o444)
        write("d/none", mode=0o077)
        write("d/sub/", mode=0o1777)
        found = {member.name: member.mode for member in members("d")}
        assert found == {".": 0o700, "none": 0, "r": 0o400, "sub": 0o700, "x": 0o700}

    def test_of_files_are_kept_when_asked_in_go_s_numbers(self):
        for mode in (0o4755, 0o2755, 0o1644, 0o7777, 0o640):
            write(f"d/{mode:o}", mode=mode)
        found = {member.name: member.mode for member in members("d", preserve_permissions=True)}
        del found["."]
        assert found == {
            "4755": 1 << 23 | 0o755,
            "2755": 1 << 22 | 0o755,
            "1644": 1 << 20 | 0o644,
            "7777": 1 << 23 | 1 << 22 | 1 << 20 | 0o777,
            "640": 0o640,
        }

    def test_of_all_folders_are_their_input_s_when_kept(self):
        write("one/sub/", mode=0o700)
        write("two/sub2/a", b"", 0o600)
        os.chmod("one", 0o2751)
        os.chmod("two", 0o1777)
        found = [(member.name, member.mode) for member in members("one", "two", preserve_permissions=True)]
        first, second = 1 << 31 | 1 << 22 | 0o751, 1 << 31 | 1 << 20 | 0o777
        expected = [(".", first), ("sub", first), (".", second), ("sub2", second), ("sub2/a", 0o600)]
        assert found == expected

    def test_kept_by_folders_make_gnu_headers(self):
        write("d/", mode=0o755)
        _, data = packed("d", preserve_permissions=True)
        plain = gzip.decompress(data)
        assert plain[100:108].hex() == "80000000800001ed"
        assert plain[257:265] == b"ustar  \0"

    def test_of_an_input_link_are_its_target_s(self):
        write("d/", mode=0o750)
        os.symlink("d", "link")
        (member,) = members("link/", preserve_permissions=True)
        assert member.mode == 1 << 31 | 0o750


class TestWhatCannotBePacked:
    @pytest.mark.parametrize("path", ["nosuch", "no/such", "nosuch/", ""])
    def test_is_missing(self, path):
        assert refusal(path) == f"lstat {path}: no such file or directory"

    def test_is_a_file_with_a_slash(self):
        write("a.txt")
        assert refusal("a.txt/") == "lstat a.txt/: not a directory"

    def test_is_a_link_inside_a_folder(self):
        write("w4/sub/a")
        os.symlink("a", "w4/sub/lnk")
        expected = "Adding file 'w4' to tar: Expected file 'w4/sub/lnk' to be a regular file"
        assert refusal("w4") == expected
        assert refusal("./w4/") == expected.replace("'w4'", "'./w4/'")

    def test_is_a_pipe_which_nobody_waits_for(self):
        os.mkfifo("pipe")
        write("d/")
        os.mkfifo("d/pipe")
        assert refusal("pipe") == "Adding file 'pipe' to tar: Expected file 'pipe' to be a regular file"
        assert refusal("d") == "Adding file 'd' to tar: Expected file 'd/pipe' to be a regular file"

    def test_is_a_socket(self):
        write("d/")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("d/s")
            assert refusal("d") == "Adding file 'd' to tar: Expected file 'd/s' to be a regular file"

    def test_is_a_device(self):
        expected = "Adding file '/dev/null' to tar: Expected file '/dev/null' to be a regular file"
        assert refusal("/dev/null") == expected

    def test_is_a_dangling_link(self):
        os.symlink("nowhere", "link")
        assert refusal("link") == "Adding file 'link' to tar: stat link: no such file or directory"

    def test_is_found_before_anything_is_packed(self):
        write("d/a")
        os.symlink("a", "d/lnk")
        events = []
        refusal("d", on_event=events.append)
        assert events == []

    @pytest.mark.parametrize(
        ("path", "text"),
        [
            ("d/locked", "Adding file 'd' to tar: open d/locked: permission denied"),
            ("d", "Adding file 'd' to tar: open d: permission denied"),
            ("d/locked/a", "open d/locked/a: permission denied"),
        ],
    )
    def test_is_forbidden(self, path, text, monkeypatch):
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            monkeypatch.chdir(folder)
            monkeypatch.setattr(tempfile, "tempdir", folder)
            os.chmod(folder, 0o777)
            with somebody():
                write("d/locked/a", b"x")
                os.chmod(path, 0)
                try:
                    assert refusal("d") == text
                finally:
                    os.chmod(path, 0o700)
            assert os.listdir(folder) == ["d"]

    @pytest.mark.parametrize(
        ("inputs", "paths"),
        [
            (["w4/l1", "w4/l2"], "w4/l1/c, w4/l2/c"),
            (["w4/l2", "w4/l1"], "w4/l2/c, w4/l1/c"),
            (["w4/l1/c", "w4/l2/c", "w4/l3"], "w4/l1/c, w4/l2/c, w4/l3/c"),
            (["w4/l1", "w4/l3"], "w4/l1/a, w4/l3/a, w4/l1/c, w4/l3/c"),
            (["w4/l1/c", "w4/l1/c"], "w4/l1/c, w4/l1/c"),
            (["w4/l1", "./w4/l1/c"], "w4/l1/c, ./w4/l1/c"),
            (["w4/l4", "w4/l5"], "w4/l4/s/x, w4/l5/s/x"),
        ],
    )
    def test_has_one_name_twice(self, inputs, paths):
        for path in ("l1/c", "l2/c", "l3/c", "l1/a", "l3/a", "l4/s/x", "l5/s/x"):
            write(f"w4/{path}")
        assert refusal(*inputs, error=UsageError) == f"Found duplicate paths: {paths}"

    def test_is_a_folder_under_the_name_of_a_file(self):
        write("one/x/y")
        write("two/x")
        assert refusal("one", "two", error=UsageError) == "Found duplicate paths: one/x, two/x"

    def test_is_not_what_is_excluded_and_not_a_folder_of_two_inputs(self):
        write("one/config/a")
        write("two/config/b")
        write("one/.git/x")
        write("two/.git/x")
        assert names("one", "two") == [".", "config", "config/a", ".", "config", "config/b"]


@contextmanager
def somebody():
    """Be somebody whom permissions bind."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


class TestAFileThatChangesMeanwhile:
    @pytest.mark.parametrize(("size", "word"), [(1 << 20, "shorter"), ((8 << 20) + 1, "longer")])
    def test_is_refused_when_its_size_changes_while_it_is_read(self, size, word):
        write("a", bytes(8 << 20))

        class Meddling:
            """Changes the file when its first bytes arrive; most of them have not been read then."""

            def __init__(self):
                self._encoder = Fast()

            def compress(self, data):
                os.truncate("a", size)
                return self._encoder.compress(data)

            def finish(self):
                return self._encoder.finish()

        assert refusal("a", encoder=Meddling) == f"read a: the file became {word} while it was packed"

    @pytest.mark.parametrize(
        ("path", "word"), [("/sys/kernel/uevent_seqnum", "shorter"), ("/proc/self/status", "longer")]
    )
    def test_is_refused_when_it_does_not_have_the_size_it_said(self, path, word):
        assert refusal(path) == f"read {path}: the file became {word} while it was packed"

    @pytest.mark.parametrize(
        ("meddle", "text"),
        [
            (lambda: os.unlink("d/b"), "open d/b: no such file or directory"),
            (lambda: (os.unlink("d/b"), os.mkdir("d/b")), "open d/b: is a directory"),
        ],
    )
    def test_is_refused_when_it_went_away(self, meddle, text):
        write("d/a")
        write("d/b")
        assert refusal("d", on_event=before("file: b\n", meddle)) == text

    def test_is_packed_as_it_is_when_its_turn_comes(self):
        write("d/a")
        write("d/b", b"old")
        _, data = packed("d", on_event=before("file: b\n", lambda: write("d/b", b"newer")))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            assert tar.extractfile("b").read() == b"newer"


def before(line, act):
    """Make a hook that acts when this line is said: after the walk, before the file is opened."""

    def hook(event):
        if isinstance(event, Message) and event.text == line:
            act()

    return hook


class TestTheTemporaryFile:
    def test_is_there_until_the_block_ends_and_opens_from_the_start_each_time(self):
        write("a", b"x")
        with pack_layer(["a"], exclusions=()) as layer:
            assert os.listdir(tempfile.tempdir) == []
            with layer.open() as one, layer.open() as two:
                assert one.read(1) + one.read() == two.read()
        with pytest.raises(ValueError, match="closed"):
            layer.open()

    def test_is_gone_after_an_error_in_the_block(self):
        with pytest.raises(ZeroDivisionError), pack_layer([], exclusions=()):
            raise ZeroDivisionError
        assert os.listdir(tempfile.tempdir) == []

    @pytest.mark.parametrize("error", [Cancelled(), BrokenPipeError(32, "Broken pipe")])
    def test_is_gone_after_the_hook_raised_what_it_liked(self, error):
        write("a", b"x")

        def stop(event):
            raise error

        with pytest.raises(type(error)) as caught:
            packed("a", on_event=stop)
        assert caught.value is error
        assert os.listdir(tempfile.tempdir) == []

    def test_says_what_ran_out_when_no_file_can_be_opened(self, monkeypatch):
        # Nobody has looked for the folder yet, and looking for it needs a file.
        folder = tempfile.tempdir
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        with monkeypatch.context() as patch, tempfile.TemporaryFile() as highest:
            patch.setattr(tempfile, "tempdir", None)
            patch.setenv("TMPDIR", folder)
            unused = [os.dup(highest.fileno()) for _ in range(50)]
            for descriptor in unused:
                os.close(descriptor)
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(unused), before[1]))
            try:
                with pytest.raises(LocalIOError) as caught:
                    packed()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert str(caught.value) == "create temporary file: too many open files"
        assert "ulimit -n" in caught.value.hints[0]

    def test_needs_a_folder_that_can_be_found(self, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", None)
            patch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/no/such"])
            assert "no usable temporary directory found in ['/no/such']" in refusal().lower()

    def test_needs_a_folder(self, monkeypatch):
        with monkeypatch.context() as patch:
            patch.setattr(tempfile, "tempdir", "/no/such")
            assert refusal() == "create /no/such: no such file or directory"

    @pytest.mark.parametrize("size", [10, 300_000])
    def test_is_what_a_full_disk_is_blamed_on(self, size):
        write("noise", hashlib.shake_256(b"noise").digest(size))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (30, before[1]))
        try:
            text = refusal("noise")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert text == f"write temporary file in {tempfile.tempdir}: file too large"


class TestAnEvent:
    def test_reports_each_entry_before_its_content_is_read(self):
        example()
        events = []
        packed("ex", on_event=events.append)
        lines = ["dir: .", "dir: .imgpkg", "file: .imgpkg/images.yml", "dir: config", "file: config/app.yml"]
        told = [event for event in events if isinstance(event, Message)]
        assert told == [Message(f"{line}\n") for line in [*lines, "dir: empty", "file: run.sh"]]

    def test_reports_how_many_bytes_there_are_and_counts_them(self):
        write("d/a", bytes(3 << 20))
        write("d/b", b"12345")
        events = []
        packed("d", on_event=events.append)
        size = (3 << 20) + 5
        assert events[0] == PackStarted(size)
        assert sum(event.count for event in events if isinstance(event, PackAdvanced)) == size

    def test_can_be_stopped_inside_a_file(self):
        write("d/a", bytes(3 << 20))

        def stop(event):
            if isinstance(event, PackAdvanced):
                raise Cancelled

        with pytest.raises(Cancelled):
            packed("d", on_event=stop)


class TestALayer:
    def test_ends_members_at_whole_blocks(self):
        for size in (0, 1, 511, 512, 513, 1 << 20, (1 << 20) + 1):
            write(f"d/{size}", b"x" * size)
        _, data = packed("d")
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            found = {member.name: len(tar.extractfile(member).read()) for member in tar if member.isreg()}
        assert found == {name: int(name) for name in found}
        plain = gzip.decompress(data)
        assert plain[-1024:] == bytes(1024)
        assert len(plain) % 512 == 0

    @pytest.mark.parametrize(
        "size", [-4096, -3584, -1536, -1025, -1024, -512, -1, 0, 1, 513, 1 << 20, 5 << 19]
    )
    def test_has_all_bytes_in_their_order_wherever_the_pieces_of_memory_end(self, size):
        data = random.Random(size).randbytes((1 << 20) + size)
        write("a", data[:300])
        write("b", data)
        write("c", data[-700:])
        layer, compressed = packed("a", "b", "c")
        plain = gzip.decompress(compressed)
        with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
            assert [tar.extractfile(member).read() for member in tar] == [data[:300], data, data[-700:]]
        assert len(plain) == 3 * 512 + 512 + 1024 + len(data) + -len(data) % 512 + 1024
        assert (layer.diff_id, layer.descriptor.digest) == (Digest.of(plain), Digest.of(compressed))

    def test_is_the_same_wherever_its_files_are_and_whoever_has_them(self):
        example()
        first, _ = packed("ex")
        os.rename("ex", "other")
        os.utime("other/run.sh", (1, 1))
        assert packed("other")[0].descriptor == first.descriptor

    def test_is_packed_in_little_memory(self):
        """A file of 300 MiB; the process holds a few pieces of it."""
        with open("big", "wb") as file:
            file.truncate(300 << 20)
        program = (
            "import sys\n"
            "from imgpkg.content.pack import pack_layer\n"
            "def peak():\n"
            "    with open('/proc/self/status') as status:\n"
            "        return next(int(line.split()[1]) for line in status if line.startswith('VmHWM'))\n"
            "with pack_layer([], exclusions=()):\n"
            "    before = peak()\n"
            "with pack_layer(['big'], exclusions=()) as layer:\n"
            "    print(peak() - before, layer.descriptor.size)\n"
        )
        command = [sys.executable, "-c", program]
        result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        growth, size = map(int, result.stdout.split())
        assert size > 100_000
        assert growth < 16 * 1024


class TestAListOfEntries:
    def test_is_a_plan_without_any_packing(self):
        write("d/sub/a", mode=0o640)
        os.chmod("d", 0o750)
        root, sub, file = list_entries(["d"], ())
        assert [(entry.name, entry.path) for entry in (root, sub, file)] == [
            (".", "d"),
            ("sub", "d/sub"),
            ("sub/a", "d/sub/a"),
        ]
        assert [entry.is_folder for entry in (root, sub, file)] == [True, True, False]
        assert {entry.root_mode & 0o777 for entry in (root, sub, file)} == {0o750}
        assert file.mode & 0o777 == 0o640


def test_folders_of_any_depth_are_packed():
    deepest = "d"
    for _ in range(1500):
        os.mkdir(deepest)
        deepest += "/x"
    try:
        assert [entry.name for entry in list_entries(["d"], ())][-1] == "/".join(["x"] * 1499)
    finally:
        # What the standard library removes trees with does not go as deep.
        remove_tree("d")
