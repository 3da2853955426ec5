"""A copy into pieces goes the whole way: written, resumed, described, pulled, served and imported."""

from __future__ import annotations

import pytest
from tests.operations.conftest import read_tree
from tests.operations.making import make_image, thirty

import imgpkg
from imgpkg import errors
from imgpkg.operations.image_store import open_images

SIZE = 10_000


@pytest.fixture
def source(embedded_registry, session, tmp_path):
    bundle = thirty(session, embedded_registry.address, tmp_path / "thirty", count=12)
    return imgpkg.CopySource(bundle=str(bundle))


@pytest.fixture
def split(source, session, tmp_path):
    """A bundle in pieces; return the path of the whole, which does not exist."""
    path = tmp_path / "media" / "bundle.tar"
    path.parent.mkdir()
    imgpkg.copy_to_tar(source, path, session=session, options=imgpkg.CopyOptions(split=SIZE))
    return path


def pieces(path):
    return sorted(path.parent.glob(f"{path.name}.[0-9]*"))


def test_the_pieces_are_the_file_of_a_copy_into_one(source, split, session, tmp_path):
    imgpkg.copy_to_tar(source, tmp_path / "one.tar", session=session)
    assert b"".join(each.read_bytes() for each in pieces(split)) == (tmp_path / "one.tar").read_bytes()
    assert len(pieces(split)) > 2
    assert not split.exists()


def test_a_bundle_in_pieces_is_described_pulled_and_copied(
    source, split, session, another_registry, tmp_path
):
    described = imgpkg.describe(session=session, tar=split)
    assert described == imgpkg.describe(session=session, tar=pieces(split)[1])
    assert len(described.images) == 12
    imgpkg.pull(tmp_path / "out", session=session, tar=split)
    imgpkg.pull(tmp_path / "registry", session=session, bundle=source.bundle)
    assert read_tree(tmp_path / "out") == read_tree(tmp_path / "registry")
    to = f"{another_registry.address}/split/whole"
    result = imgpkg.copy_to_repository(imgpkg.CopySource(tar=pieces(split)[0]), to, session=session)
    assert imgpkg.verify(bundle=str(result.bundle.destination), session=session).is_ok
    assert imgpkg.verify(tar=split, session=session).is_ok


@pytest.mark.parametrize("harm", ["damaged", "swapped", "missing", "truncated"])
def test_nothing_is_written_from_pieces_that_are_not_whole(split, session, another_registry, tmp_path, harm):
    first, second, *_, last = pieces(split)
    named = last
    if harm == "damaged":
        data = last.read_bytes()
        last.write_bytes(data[:-1] + b"x")
    elif harm == "swapped":
        named = second
        one, two = first.read_bytes(), second.read_bytes()
        first.write_bytes(two)
        second.write_bytes(one)
    elif harm == "missing":
        last.unlink()
    else:
        last.write_bytes(last.read_bytes()[:-1])
    before = len(another_registry.requests)
    to = f"{another_registry.address}/split/{harm}"
    with pytest.raises(errors.ArchiveError, match=named.name):
        imgpkg.copy_to_repository(imgpkg.CopySource(tar=split), to, session=session)
    with pytest.raises(errors.ArchiveError, match=named.name):
        imgpkg.copy_to_layout(imgpkg.CopySource(tar=split), tmp_path / "layout", session=session)
    writes = [
        request for request in another_registry.requests[before:] if request.method not in ("GET", "HEAD")
    ]
    assert writes == []
    assert not (tmp_path / "layout").exists()


def test_a_damaged_piece_is_a_defect_of_the_file(split, session):
    last = pieces(split)[-1]
    last.write_bytes(last.read_bytes()[:-1] + b"x")
    defects = imgpkg.verify(tar=split, session=session).defects
    assert any(f"{last.name} is damaged" in defect.reason for defect in defects)


def test_blobs_in_several_pieces_are_served(embedded_registry, session, tmp_path):
    image = make_image(session, f"{embedded_registry.address}/split/one", ["a layer of more than 100 bytes"])
    path = tmp_path / "small.tar"
    options = imgpkg.CopyOptions(split=100)
    imgpkg.copy_to_tar(imgpkg.CopySource(image=str(image)), path, session=session, options=options)
    with open_images(tar=path) as store:
        blobs = store.blobs
    for blob in (blob for blob in blobs if len(blob.parts) > 1):
        read = b""
        for path, extent in blob.parts:
            with open(path, "rb") as file:
                file.seek(extent.offset)
                read += file.read(extent.size)
        assert imgpkg.Digest.of(read) == blob.descriptor.digest
        return
    pytest.fail("no blob is in two pieces")


@pytest.mark.parametrize("to", [{"to_repo": "localhost:1/a"}, {"to_layout": "folder"}])
def test_only_a_tar_file_is_split(session, to):
    source = imgpkg.CopySource(image="localhost:1/a")
    with pytest.raises(errors.UsageError, match="--split can only be used when copying to tar"):
        imgpkg.copy(source, session=session, options=imgpkg.CopyOptions(split=5), **to)
