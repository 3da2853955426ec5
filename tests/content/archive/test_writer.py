"""A tar file appears when it is whole; what was copied before an interruption is not copied again."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.content.archives import item, layers, never, opener, parsed, write, writer
from tests.content.steps import before
from tests.servers.images import make_image

from imgpkg.content.archive.reader import Archive
from imgpkg.content.temporary import new_file
from imgpkg.errors import ArchiveError, LocalIOError, UnpackError, VerificationError

IMAGES = [make_image([bytes([number]) * 3000 * number, b"shared" * 100]) for number in range(1, 6)]
BLOBS = layers(*IMAGES)
EXTRA = make_image([b"extra" * 500])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.tar"


@pytest.fixture
def whole(tmp_path):
    """The bytes that the file must have in the end."""
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole" / "a.tar", *IMAGES)
    return (tmp_path / "whole" / "a.tar").read_bytes()


def interrupted(path, count):
    """Write the first `count` blobs, then fail."""
    with writer(path, *IMAGES) as target:
        for blob, data in BLOBS[:count]:
            target.write(blob, opener(data))
        raise UnpackError("the network is gone")


def files(folder):
    return sorted(each.name for each in folder.iterdir() if each.is_file())


class TestWriting:
    def test_the_file_appears_when_all_of_it_is_there(self, path):
        with writer(path, *IMAGES) as target:
            for blob, data in BLOBS:
                assert not target.has(blob)
                target.write(blob, opener(data))
                assert target.has(blob)
                assert files(path.parent) == ["a.tar.partial"]
        assert files(path.parent) == ["a.tar"]
        with Archive(str(path)) as archive:
            archive.verify(blob for blob, _ in BLOBS)

    def test_a_blob_is_read_once(self, path):
        with writer(path, *IMAGES) as target:
            for blob, data in BLOBS:
                target.write(blob, opener(data))
                target.write(blob, never)

    def test_what_has_no_place_in_the_file_is_not_asked_for(self, path):
        blob, _ = layers(EXTRA)[0]
        with writer(path) as target:
            assert target.has(blob)
            target.write(blob, never)

    def test_a_blob_that_was_never_written_is_an_error_and_no_file(self, path):
        blob, data = BLOBS[0]
        with pytest.raises(ArchiveError, match="not found in tar"), writer(path, *IMAGES) as target:
            target.write(blob, opener(data))
        assert files(path.parent) == ["a.tar.partial"]

    @pytest.mark.parametrize(
        "wrong",
        [lambda data: data[:-1], lambda data: data + b"x", lambda data: b"\xff" + data[1:], lambda _: b""],
        ids=["short", "long", "other", "nothing"],
    )
    def test_wrong_bytes_are_refused_and_may_be_written_again(self, path, wrong, whole):
        blob, data = BLOBS[0]
        bad = wrong(data)
        with writer(path, *IMAGES) as target:
            with pytest.raises(VerificationError):
                target.write(blob, opener(bad))
            assert not target.has(blob)
            for each, right in BLOBS:
                target.write(each, opener(right))
        assert path.read_bytes() == whole

    def test_the_mode_is_what_the_umask_leaves(self, path):
        before = os.umask(0o027)
        try:
            write(path, EXTRA)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o7777 == 0o640

    def test_a_link_keeps_leading_to_the_file(self, path):
        link = path.parent / "link.tar"
        link.symlink_to("a.tar")
        write(link, EXTRA)
        assert link.is_symlink()
        with Archive(str(path)) as archive:
            assert archive.items == (item(EXTRA),)

    def test_only_its_own_manifests_can_be_published(self, path):
        with writer(path, make_image([])) as target:
            target.publish(parsed(make_image([])), ["v1"])
            with pytest.raises(ArchiveError, match="is not among the images"):
                target.publish(parsed(EXTRA), [])

    def test_outside_its_block_nothing_can_be_written(self, path):
        blob, data = BLOBS[0]
        target = writer(path, *IMAGES)
        assert target.held == frozenset()
        assert not target.has(blob)
        with pytest.raises(ArchiveError, match="is not being written"):
            target.write(blob, opener(data))
        target.__exit__(None, None, None)
        assert files(path.parent) == []

    def test_devices_and_folders_are_left_alone(self, tmp_path):
        with pytest.raises(LocalIOError, match="not a regular file"):
            write("/dev/null", EXTRA)
        with pytest.raises(
            LocalIOError, match=rf"^Creating file '{tmp_path}': open {tmp_path}: is a directory$"
        ):
            write(tmp_path, EXTRA)
        assert files(tmp_path) == []

    def test_a_missing_folder_is_named(self, tmp_path):
        with pytest.raises(LocalIOError, match=r"^Creating file '(.*)': open \1: no such file or directory$"):
            write(tmp_path / "nowhere" / "a.tar", EXTRA)

    def test_two_copies_into_one_file_do_not_mix(self, path):
        with writer(path, EXTRA) as target:
            for resume in (False, True):
                with pytest.raises(LocalIOError, match="another copy is writing it"):
                    write(path, *IMAGES, resume=resume)
            for blob, data in layers(EXTRA):
                target.write(blob, opener(data))
        with Archive(str(path)) as archive:
            assert archive.items == (item(EXTRA),)


@pytest.fixture
def full_disk():
    """Let no file grow beyond 2000 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


class TestNoRoom:
    @pytest.mark.parametrize("resume", [False, True])
    def test_a_file_that_does_not_fit_is_noticed_at_once_and_nothing_stays(self, path, full_disk, resume):
        with pytest.raises(LocalIOError, match=rf"^write {path}\.partial: file too large$"):
            write(path, *IMAGES, resume=resume)
        assert files(path.parent) == []

    def test_an_old_partial_file_stays_when_a_new_one_does_not_fit(self, path, whole, request):
        path.with_name("a.tar.partial").write_bytes(whole[:1500])
        request.getfixturevalue("full_disk")
        with pytest.raises(LocalIOError, match="file too large"):
            write(path, *IMAGES, resume=True)
        assert files(path.parent) == ["a.tar.partial"]
        assert path.with_name("a.tar.partial").read_bytes() == whole[:1500]


class TestFailing:
    def test_the_old_file_stays_as_it_was(self, path):
        path.write_bytes(b"precious")
        with pytest.raises(UnpackError):
            interrupted(path, 2)
        assert path.read_bytes() == b"precious"

    def test_a_partial_file_with_a_blob_stays_and_the_error_has_the_next_command(self, path):
        with pytest.raises(UnpackError) as caught:
            interrupted(path, 1)
        assert files(path.parent) == ["a.tar.partial"]
        assert caught.value.hints == (f"With --resume the copy goes on from {path}.partial.",)

    def test_a_partial_file_without_a_blob_goes(self, path):
        with pytest.raises(UnpackError) as caught:
            interrupted(path, 0)
        assert files(path.parent) == []
        assert caught.value.hints == ()

    def test_without_resume_everything_is_written_again(self, path, whole):
        with pytest.raises(UnpackError):
            interrupted(path, 3)
        assert len(write(path, *IMAGES)) == len(BLOBS)
        assert path.read_bytes() == whole


class TestResuming:
    def test_nothing_to_resume_is_fine(self, path, whole):
        assert len(write(path, *IMAGES, resume=True)) == len(BLOBS)
        assert path.read_bytes() == whole

    def test_a_whole_file_is_reused_whole(self, path, whole):
        write(path, *IMAGES)
        assert write(path, *IMAGES, resume=True) == []
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("count", range(1, len(BLOBS) + 1))
    def test_every_blob_of_a_partial_file_is_reused(self, path, whole, count):
        with pytest.raises(UnpackError):
            interrupted(path, count)
        assert write(path, *IMAGES, resume=True) == [blob.digest for blob, _ in BLOBS[count:]]
        assert path.read_bytes() == whole
        assert files(path.parent) == ["a.tar"]

    def test_a_corrupt_blob_is_written_again(self, path, whole):
        write(path, *IMAGES)
        path.write_bytes(whole.replace(b"shared", b"SHARED", 1))
        assert len(write(path, *IMAGES, resume=True)) == 1
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("place", ["a.tar", "a.tar.partial"])
    def test_what_is_left_of_a_truncated_file_is_reused(self, path, whole, place):
        path.with_name(place).write_bytes(whole[: len(whole) * 2 // 3])
        written = write(path, *IMAGES, resume=True)
        assert 0 < len(written) < len(BLOBS)
        assert path.read_bytes() == whole
        assert files(path.parent) == ["a.tar"]

    def test_blobs_come_from_the_file_and_the_partial_file_together(self, path, whole):
        write(path, IMAGES[0])
        with pytest.raises(UnpackError):
            interrupted(path, 3)
        written = write(path, *IMAGES, resume=True)
        there = {blob.digest for blob, _ in layers(IMAGES[0])} | {blob.digest for blob, _ in BLOBS[:3]}
        assert written == [blob.digest for blob, _ in BLOBS if blob.digest not in there]
        assert path.read_bytes() == whole

    def test_the_blobs_of_another_selection_are_reused(self, path, whole):
        with pytest.raises(UnpackError):
            interrupted(path, 4)
        left = write(path, *IMAGES[:3], EXTRA, resume=True)
        assert {blob.digest for blob, _ in layers(EXTRA)} <= set(left)
        assert not {blob.digest for blob, _ in BLOBS[:4]} & set(left)
        assert write(path, *IMAGES, resume=True) == [
            blob.digest
            for blob, _ in BLOBS
            if blob.digest not in {each.digest for each, _ in layers(*IMAGES[:3])}
        ]
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("size", [0, 100, 600])
    @pytest.mark.parametrize("resume", [False, True])
    def test_a_partial_file_of_a_copy_that_was_killed_at_once_is_written_again(
        self, path, whole, size, resume
    ):
        path.with_name("a.tar.partial").write_bytes(whole[:size])
        assert len(write(path, *IMAGES, resume=resume)) == len(BLOBS)
        assert path.read_bytes() == whole
        assert files(path.parent) == ["a.tar"]

    @pytest.mark.parametrize(
        ("data", "text"),
        [
            (b"short", "unexpected EOF"),
            (b"x" * 2000, "archive/tar: invalid tar header"),
            (bytes(1024), "file manifest.json not found in tar .*"),
        ],
    )
    def test_a_file_that_is_no_tar_is_an_error_and_stays(self, path, data, text):
        path.write_bytes(data)
        with pytest.raises(ArchiveError, match=rf"^Reading previously created tar '{path}': {text}$"):
            write(path, *IMAGES, resume=True)
        assert path.read_bytes() == data
        assert files(path.parent) == ["a.tar"]

    def test_a_process_killed_in_the_middle_can_be_resumed(self, path, whole):
        program = (
            "import sys, time\n"
            "from tests.content.archive.test_writer import BLOBS, IMAGES, opener, writer\n"
            "with writer(sys.argv[1], *IMAGES) as target:\n"
            "    for blob, data in BLOBS[:3]:\n"
            "        target.write(blob, opener(data))\n"
            "    print('ready', flush=True)\n"
            "    time.sleep(60)\n"
        )
        child = subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        with child:
            assert child.stdout.readline() == b"ready\n"
            child.send_signal(signal.SIGKILL)
            child.wait(30)
        assert write(path, *IMAGES, resume=True) == [blob.digest for blob, _ in BLOBS[3:]]
        assert path.read_bytes() == whole


@pytest.mark.parametrize("resume", [False, True], ids=["anew", "resumed"])
class TestWhatLiesWhereThePartialFileWillBe:
    @pytest.fixture
    def place(self, path):
        return path.with_name("a.tar.partial")

    def refused(self, path, resume):
        with pytest.raises(LocalIOError) as caught:
            write(path, *IMAGES, resume=resume)
        text = "not a partial tar file of imgpkg, which this copy would write"
        assert str(caught.value) == f"Creating file '{path}': open {path}.partial: {text}"
        assert caught.value.hints == ("Move it away, or copy to a file of another name.",)
        assert not path.exists()

    @pytest.mark.parametrize("target", ["precious", "missing", "a.tar.partial", "/dev/null"])
    def test_a_link_is_not_followed(self, path, place, resume, target):
        path.with_name("precious").write_bytes(b"precious")
        place.symlink_to(target)
        self.refused(path, resume)
        assert place.is_symlink()
        assert path.with_name("precious").read_bytes() == b"precious"
        assert not path.with_name("missing").exists()

    def test_a_second_name_of_another_file_is_not_written_to(self, path, place, resume, whole):
        other = path.with_name("other")
        other.write_bytes(whole[:1500])
        os.link(other, place)
        self.refused(path, resume)
        assert other.read_bytes() == whole[:1500]

    @pytest.mark.parametrize("data", [b"x", b"precious" * 1000, bytes(5000)])
    def test_a_file_that_no_copy_made_stays(self, path, place, resume, data):
        place.write_bytes(data)
        self.refused(path, resume)
        assert place.read_bytes() == data

    def test_a_folder_or_pipe_is_refused_at_once(self, path, place, resume):
        place.mkdir()
        self.refused(path, resume)
        place.rmdir()
        os.mkfifo(place)
        self.refused(path, resume)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
    def test_a_file_that_another_user_may_still_write_to_is_read_and_replaced(
        self, path, place, resume, whole
    ):
        with pytest.raises(UnpackError):
            interrupted(path, 3)
        os.chown(place, 65534, 65534)
        with place.open("r+b") as theirs:
            written = write(path, *IMAGES, resume=resume)
            theirs.write(b"changed afterwards")
        assert written == [blob.digest for blob, _ in BLOBS[3 if resume else 0 :]]
        assert path.read_bytes() == whole
        assert path.stat().st_uid == 0

    def test_what_a_killed_process_left_beside_it_goes_and_what_a_living_one_has_stays(
        self, path, resume, whole
    ):
        partial = str(path.with_name("a.tar.partial"))
        left, descriptor = new_file(partial, 0o600)
        os.close(descriptor)
        held, descriptor = new_file(partial, 0o600)
        write(path, *IMAGES, resume=resume)
        os.close(descriptor)
        assert files(path.parent) == sorted([os.path.basename(held), "a.tar"])
        assert left != held


def test_a_partial_file_that_is_finished_by_another_copy_just_now_is_none_any_more(path, whole):
    path.with_name("a.tar.partial").write_bytes(whole[:1500])
    finish = lambda *_: os.rename(path.with_name("a.tar.partial"), path)  # noqa: E731
    # The first file that is opened is a new one, which cannot be made; the second is the old one.
    with before(2, finish, events=("open",)):
        assert len(write(path, *IMAGES)) == len(BLOBS)
    assert path.read_bytes() == whole


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a file of somebody else")
def test_a_partial_file_that_may_not_be_opened_is_an_error(whole):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        place = Path(folder, "a.tar.partial")
        place.write_bytes(whole[:1500])
        place.chmod(0o600)
        os.seteuid(65534)
        try:
            with pytest.raises(LocalIOError, match=r"open .*/a\.tar: permission denied$"):
                write(Path(folder, "a.tar"), *IMAGES)
        finally:
            os.seteuid(0)


class TestItsName:
    @pytest.mark.parametrize("named", ["sub/../a.tar", "./a.tar", "sub/up/a.tar", "sub/../link"])
    def test_is_resolved_once(self, path, named, monkeypatch, tmp_path, whole):
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "up").symlink_to("..")
        (tmp_path / "link").symlink_to("sub/../a.tar")
        monkeypatch.chdir(tmp_path)
        with writer(named, *IMAGES) as target:
            monkeypatch.chdir(tmp_path / "whole")
            (tmp_path / "sub" / "up").unlink()
            for blob, data in BLOBS:
                target.write(blob, opener(data))
        assert path.read_bytes() == whole

    def test_in_a_removed_working_directory_is_an_error_with_the_reason(self, tmp_path, monkeypatch):
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(LocalIOError, match=r"^Creating file 'a.tar': getwd: no such file") as caught:
            write("a.tar", EXTRA)
        assert "was removed" in caught.value.hints[0]
        write(tmp_path / "a.tar", EXTRA)

    def test_with_a_slash_at_its_end_is_that_of_a_folder(self, path):
        with pytest.raises(LocalIOError, match=r"a.tar/: is a directory$"):
            write(f"{path}/", EXTRA)
