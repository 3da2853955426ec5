"""A copy through a pipe: the bytes of the file in their order, and nothing visible that has not verified."""

from __future__ import annotations

import contextlib
import io
import resource
import tarfile
import uuid

import pytest
from tests.operations.making import make_image, thirty
from tests.servers.docker import docker_registry_process

import imgpkg
from imgpkg import errors
from imgpkg.events import BlobAdvanced, Planned
from imgpkg.operations.copy.plan import TransferPlan
from imgpkg.operations.copy.stream import KeptBlobs
from imgpkg.operations.image_store import open_images


@pytest.fixture
def source(embedded_registry, session, tmp_path):
    bundle = thirty(session, embedded_registry.address, tmp_path / "thirty", count=6)
    tag = f"sha256-{bundle.digest.hex}.sig"
    make_image(session, str(bundle.repository), ["signature"], tag=tag)
    return imgpkg.CopySource(bundle=f"{bundle.repository}:v1")


@pytest.fixture
def data(source, session, tmp_path):
    path = tmp_path / "file.tar"
    options = imgpkg.CopyOptions(cosign_signatures=True)
    imgpkg.copy_to_tar(source, path, session=session, options=options)
    return path.read_bytes()


@pytest.fixture(params=["another_registry", "docker_registry"])
def to(request):
    return f"{request.getfixturevalue(request.param).address}/stream/{uuid.uuid4().hex}"


class Drops(io.BytesIO):
    """A stream that returns a few bytes at a time, as pipes do."""

    def read(self, size, /):
        return super().read(min(size, 777))


def receive(stream, to, session, **options):
    return imgpkg.copy_from_stream(stream, to, session=session, **options)


@contextlib.contextmanager
def files_of_at_most(size):
    """As on a full disk: what is written beyond is an error of the system."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_without_room_for_the_layer_of_a_bundle_is_named():
    blob = imgpkg.Descriptor("a/b", imgpkg.Digest.of(bytes(9000)), 9000)
    with contextlib.ExitStack() as stack, files_of_at_most(1000):
        kept = KeptBlobs(TransferPlan((), {}))
        with pytest.raises(errors.LocalIOError, match=r"write temporary file in .*: file too large"):
            kept.keep(stack, blob, io.BytesIO(bytes(9000)))


class TestOut:
    def test_the_bytes_are_those_of_the_file(self, source, data, session):
        stream, seen = io.BytesIO(), []
        options = imgpkg.CopyOptions(cosign_signatures=True)
        result = imgpkg.copy_to_stream(source, stream, session=session, options=options, on_event=seen.append)
        assert stream.getvalue() == data
        assert result.bundle is not None
        (planned,) = [event for event in seen if isinstance(event, Planned)]
        assert sum(event.count for event in seen if isinstance(event, BlobAdvanced)) == planned.size

    def test_a_blob_that_does_not_verify_leaves_the_stream_without_an_end(
        self, embedded_registry, session, tmp_path
    ):
        stream = io.BytesIO()
        with docker_registry_process(tmp_path) as address:
            image = make_image(session, f"{address}/stream/damaged", ["x", "y"])
            layer = session.client.manifest(image).layers[0]
            (stored,) = tmp_path.rglob(f"{layer.digest.hex}/data")
            stored.write_bytes(bytes(layer.size))
            with pytest.raises(errors.VerificationError):
                imgpkg.copy_to_stream(imgpkg.CopySource(image=str(image)), stream, session=session)
        with pytest.raises(errors.ArchiveError):
            receive(io.BytesIO(stream.getvalue()), f"{embedded_registry.address}/stream/broken", session)

    def test_a_writer_that_fails_ends_the_copy(self, source, session):
        class Full:
            def write(self, data):
                raise errors.LocalIOError("write standard output: broken pipe")

        with pytest.raises(errors.LocalIOError, match="broken pipe"):
            imgpkg.copy_to_stream(source, Full(), session=session)

    def test_pieces_have_no_stream(self, source, session):
        with pytest.raises(errors.UsageError, match="--split"):
            imgpkg.copy_to_stream(source, io.BytesIO(), session=session, options=imgpkg.CopyOptions(split=5))


class TestIn:
    def test_everything_arrives_as_from_the_file(self, data, to, session, tmp_path):
        result = receive(Drops(data), to, session, lock_output=tmp_path / "lock.yml")
        again = imgpkg.copy_to_repository(
            imgpkg.CopySource(tar=tmp_path / "file.tar"), f"{to}-file", session=session
        )
        assert [each.destination.digest for each in result.images] == [
            each.destination.digest for each in again.images
        ]
        report = imgpkg.verify(bundle=f"{to}:v1", session=session)
        assert report.defects == ()
        assert report.manifests == imgpkg.verify(bundle=f"{to}-file:v1", session=session).manifests
        assert str(result.bundle.destination.digest) in (tmp_path / "lock.yml").read_text()
        bundle = imgpkg.read_bundle(f"{to}:v1", session=session)
        assert bundle.locations is not None
        # A second time everything is there.
        assert receive(io.BytesIO(data), to, session).images == result.images

    def test_the_stream_is_read_to_its_end(self, data, to, session):
        stream = io.BytesIO(data + bytes(5000))
        receive(stream, to, session)
        assert stream.read() == b""

    @pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.7, 0.95])
    def test_a_truncated_stream_is_an_error_and_no_tag(self, data, to, session, part):
        cut = data[: int(len(data) * part)]
        with pytest.raises(errors.ArchiveError):
            receive(io.BytesIO(cut), to, session)
        assert session.client.exists(imgpkg.Reference.parse(f"{to}:v1")) is None

    def test_a_stream_without_its_last_member_names_it(self, data, to, session):
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            last = archive.getmembers()[-1]
        with pytest.raises(errors.ArchiveError, match=f"file {last.name} not found in tar") as caught:
            receive(io.BytesIO(data[: last.offset]), to, session)
        assert "ended early" in caught.value.hints[0]
        assert session.client.exists(imgpkg.Reference.parse(f"{to}:v1")) is None

    def test_a_damaged_blob_is_an_error_and_no_tag(self, data, to, session, tmp_path):
        with open_images(tar=tmp_path / "file.tar") as store:
            extents = sorted(extent.offset + extent.size for blob in store.blobs for _, extent in blob.parts)
        for end in (extents[0], extents[-1]):
            damaged = bytearray(data)
            damaged[end - 1] ^= 1
            with pytest.raises(errors.ImgpkgError):
                receive(io.BytesIO(damaged), to, session)
            assert session.client.exists(imgpkg.Reference.parse(f"{to}:v1")) is None

    def test_a_manifest_that_comes_later_is_an_error_with_a_way_out(self, data, to, session):
        moved = io.BytesIO()
        with (
            tarfile.open(fileobj=io.BytesIO(data)) as old,
            tarfile.open(fileobj=moved, mode="w") as new,
        ):
            first, *others = old.getmembers()
            for member in (*others, first):
                new.addfile(member, old.extractfile(member))
        with pytest.raises(errors.ArchiveError, match=r"manifest\.json is not the first one") as caught:
            receive(io.BytesIO(moved.getvalue()), to, session)
        assert "Save the stream to a file" in caught.value.hints[0]

    def test_members_in_another_order_with_other_names_for_the_folder_arrive(self, data, to, session):
        moved = io.BytesIO()
        with (
            tarfile.open(fileobj=io.BytesIO(data)) as old,
            tarfile.open(fileobj=moved, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            first, *others = old.getmembers()
            for member in (first, *reversed(others)):
                content = old.extractfile(member)
                member.name = f"./{member.name}"
                new.addfile(member, content)
            folder = tarfile.TarInfo("more")
            folder.type = tarfile.DIRTYPE
            new.addfile(folder)
        receive(io.BytesIO(moved.getvalue()), to, session)
        assert imgpkg.verify(bundle=f"{to}:v1", session=session).is_ok

    @pytest.mark.parametrize("text", [b"\x1f\x8b" + bytes(600), b"text" * 300])
    def test_what_is_no_tar_is_an_error_with_a_hint(self, to, session, text):
        with pytest.raises(errors.ArchiveError, match="reading a tar file from a stream") as caught:
            receive(io.BytesIO(text), to, session)
        assert "gunzip" in caught.value.hints[0]

    def test_signatures_cannot_be_verified_in_time(self, data, to, session):
        policy = imgpkg.Policy(())
        with pytest.raises(errors.UsageError, match="before a copy of a file only"):
            receive(io.BytesIO(data), to, session, options=imgpkg.CopyOptions(policy=policy))

    def test_what_has_passed_cannot_be_left_out(self, data, to, session):
        options = imgpkg.CopyOptions(selection=imgpkg.Selection(exclude=("x",)))
        with pytest.raises(errors.UsageError, match="chosen from a file only"):
            receive(io.BytesIO(data), to, session, options=options)

    def test_blobs_pass_once_and_go_into_one_repository(self, data, to, session):
        options = imgpkg.CopyOptions(placement=imgpkg.Placement(keep=imgpkg.KeptNames.PATHS))
        with pytest.raises(errors.UsageError, match="several repositories from a file only"):
            receive(io.BytesIO(data), to, session, options=options)

    def test_layers_that_were_left_out_have_to_be_at_the_destination(
        self, embedded_registry, another_registry, session
    ):
        kind = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
        where = f"{embedded_registry.address}/stream/windows"
        image = make_image(session, where, ["base"], layer_type=kind, tag="v1")
        stream = io.BytesIO()
        imgpkg.copy_to_stream(imgpkg.CopySource(image=f"{where}:v1"), stream, session=session)
        to = f"{another_registry.address}/stream/{uuid.uuid4().hex}"
        result = receive(io.BytesIO(stream.getvalue()), to, session)
        assert [left.layer for left in result.left_out] == list(session.client.manifest(image).layers)
        options = imgpkg.CopyOptions(include_non_distributable_layers=True)
        with pytest.raises(errors.ArchiveError, match="not found in tar"):
            receive(io.BytesIO(stream.getvalue()), f"{to}-all", session, options=options)
