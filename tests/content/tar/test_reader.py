"""Every dialect of tar that tools write is read, and damage has the names that the original gives it."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile

import pytest
from tests.content.tars import file, folder, link, tar, unpack

from imgpkg import cancellation
from imgpkg.content.tar.reader import Pieces, TarEntry, read_entries
from imgpkg.errors import Cancelled, UnpackError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
INVALID = r"^archive/tar: invalid tar header$"
LONG = "d" * 70 + "/" + "e" * 70 + "/" + "f" * 70


def entries(data, piece=1 << 20):
    return list(read_entries(Pieces(io.BytesIO(data), piece)))


def header(name=b"a", *, kind=b"0", size=b"00000000000\0", mode=b"0000644\0", magic=b"ustar\x0000", tail=b""):
    """Write a header by hand, with a good checksum."""
    block = bytearray(512)
    block[0 : len(name)] = name
    block[100:108] = mode
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = magic
    block[345 : 345 + len(tail)] = tail
    return summed(block)


def summed(block, *, signed=False):
    block = bytearray(block)
    block[148:156] = b" " * 8
    total = sum(byte - 256 if signed and byte > 127 else byte for byte in block)
    block[148:156] = b"%06o\0 " % total
    return bytes(block)


END = bytes(1024)


@pytest.mark.parametrize("kind", FORMATS)
def test_each_format_of_the_standard_library_is_read(tmp_path, kind):
    members = [file("a", b"1" * 600), folder("d"), file("d/b", b""), file(LONG, b"3")]
    got = unpack(tmp_path / "out", tar(*members, kind=FORMATS[kind]))
    assert {name: data for name, data in got.items() if data is not None} == {
        "a": b"1" * 600,
        "d/b": b"",
        LONG: b"3",
    }


@pytest.mark.parametrize("kind", ["gnu", "pax"])
@pytest.mark.parametrize("name", ["x" * 200, "ü" * 60, "y" * 101, "z" * 100, "d/" + "w" * 250])
def test_long_and_foreign_names_are_read(tmp_path, kind, name):
    got = unpack(tmp_path / "out", tar(file(name, b"1"), kind=FORMATS[kind]))
    assert got[name] == b"1"


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize("kind", ["v7", "oldgnu", "gnu", "ustar", "posix"])
def test_each_format_of_gnu_tar_is_read(tmp_path, kind):
    source = tmp_path / "source"
    (source / "d" / "e").mkdir(parents=True)
    (source / "d" / "e" / "ff").write_bytes(b"content" * 1000)
    (source / "x").write_bytes(b"")
    (source / "link").symlink_to("x")
    command = ["tar", "-C", str(source), f"--format={kind}", "-cf", "-", "."]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    got = unpack(tmp_path / "out", data)
    assert got == {"d/": None, "d/e/": None, "d/e/ff": b"content" * 1000, "x": b""}


def test_global_headers_as_of_git_archive_are_skipped(tmp_path):
    data = tar(file("a", b"1"), pax_headers={"comment": "f" * 40})
    assert data[156:157] == b"g"
    assert unpack(tmp_path / "out", data) == {"a": b"1"}


def test_numbers_may_be_octal_with_spaces_or_base_256():
    assert entries(header(size=b"          7\0") + bytes(512) + END)[0].size == 7
    assert entries(header(size=b"\x80" + (7).to_bytes(11, "big")) + bytes(512) + END)[0].size == 7
    assert entries(header(mode=b"\xff" * 8) + END)[0].mode == -1
    assert entries(header(mode=b" 644  \0\0") + END)[0].mode == 0o644
    assert entries(header(mode=bytes(8)) + END)[0].mode == 0


def test_an_old_header_with_a_slash_at_the_end_of_its_name_is_a_folder():
    assert [entry.kind for entry in entries(header(b"d/", kind=b"\0", magic=bytes(8)) + END)] == [b"5"]
    assert [entry.kind for entry in entries(header(b"d", kind=b"\0", magic=bytes(8)) + END)] == [b"0"]


def test_the_prefix_counts_in_posix_headers_only():
    assert entries(header(tail=b"p/q") + END)[0].name == b"p/q/a"
    assert entries(header(tail=b"p/q", magic=b"ustar  \0") + END)[0].name == b"a"
    star = bytearray(header(tail=b"p" * 131 + b"00000000000 "))
    star[508:512] = b"tar\0"
    assert entries(summed(star) + END)[0].name == b"p" * 131 + b"/a"


def test_a_checksum_of_signed_bytes_is_good():
    assert entries(summed(header("ü".encode()), signed=True) + END)[0].name == "ü".encode()


@pytest.mark.parametrize("kind", ["gnu", "pax"])
@pytest.mark.parametrize("target", ["t", "t" * 100, "t" * 101, "t" * 300])
def test_a_link_says_where_it_leads(kind, target):
    members = [link("l", target), file("a"), link("m", "n")]
    found = entries(tar(*members, kind=FORMATS[kind]))
    assert [entry.link for entry in found] == [target.encode(), b"", b"n"]


def test_pax_records_say_size_owner_and_times():
    info, data = file("a", b"12345", pax_headers={"uid": "3000000000", "mtime": "-1.5", "gid": "7"})
    assert entries(tar((info, data)))[0] == TarEntry(
        b"a", b"0", 0o644, 5, 3_000_000_000, 7, -1_500_000_000, 0
    )
    record = b"10 size=5\n"
    big = header(b"x", kind=b"x", size=b"%011o\0" % len(record)) + record.ljust(512, b"\0")
    assert entries(big + header(size=b"00000000000\0") + bytes(512) + END)[0].size == 5


@pytest.mark.parametrize(
    "data",
    [b"", header() + END, header(), header() + bytes(512), header() + END + b"whatever follows", END],
    ids=["nothing", "two zero blocks", "no end", "one zero block", "bytes after the end", "only the end"],
)
def test_an_archive_ends_with_zeros_or_with_its_stream(data):
    assert len(entries(data)) == data.count(b"ustar")


@pytest.mark.parametrize(
    "data",
    [
        header()[:300],
        header() + bytes(100),
        header(size=b"00000001000\0") + bytes(511),
        header(size=b"\x80" + b"\0\0\0\0" + b"\x7f" + b"\xff" * 6) + bytes(5000),
        header(kind=b"x", size=b"00000001000\0") + bytes(30),
    ],
    ids=["header", "second header", "content", "enormous size", "record"],
)
def test_an_archive_cut_short_is_an_unexpected_end(data):
    with pytest.raises(UnpackError, match=r"^unexpected EOF$"):
        entries(data)


def pax(record):
    return header(b"x", kind=b"x", size=b"%011o\0" % len(record)) + record + bytes(-len(record) % 512)


INVALID_HEADERS = {
    "noise": b"\x07" * 512,
    "text": b"this is no tar at all".ljust(512, b"."),
    "bad checksum": header()[:148] + b"0000000\0" + header()[156:],
    "checksum that is no number": header()[:148] + b"garbage!" + header()[156:],
    "one zero block in the middle": bytes(512) + header(),
    "size that is no number": header(size=b"zzzzzzzzzzz\0"),
    "negative size": header(size=b"\xff" * 12),
    "size over 63 bits": header(size=b"\x80" + b"\xff" * 11),
    "huge record": header(kind=b"L", size=b"77777777777\0"),
    "pax without length": pax(b"path=x\n"),
    "pax length too long": pax(b"99 path=x\n"),
    "pax length too short": pax(b"3 path=x\n"),
    "pax length of zero": pax(b"0 path=x\n"),
    "pax length of many digits": pax(b"9" * 30 + b" path=x\n"),
    "pax without equals": pax(b"9 pathxx\n"),
    "pax without key": pax(b"6 =xy\n"),
    "pax path with nul": pax(b"12 path=a\0b\n"),
    "pax size that is no number": pax(b"12 size=abc\n") + header(),
    "pax size below zero": pax(b"11 size=-1\n") + header(),
    "pax size over 63 bits": pax(b"29 size=9999999999999999999\n") + header(),
    "pax time that is none": pax(b"13 mtime=now\n") + header(),
    "pax time beyond all files": pax(b"26 mtime=9999999999999999\n") + header(),
}


@pytest.mark.parametrize("name", INVALID_HEADERS)
def test_a_damaged_header_is_invalid(name):
    with pytest.raises(UnpackError, match=INVALID):
        entries(INVALID_HEADERS[name] + END)


def test_a_sparse_file_is_refused_not_unpacked_wrongly(tmp_path):
    sparse = file("s", b"1\n0\n1\n".ljust(512, b"\0") + b"x", pax_headers={"GNU.sparse.major": "1"})
    for data in (tar(sparse), header(b"s", kind=b"S") + END):
        with pytest.raises(UnpackError, match=r"^Unsupported tar entry type 'S' for file 's'$"):
            unpack(tmp_path / "out", data)


@pytest.mark.parametrize("piece", [1, 7, 512, 1000, 1 << 20])
def test_the_size_of_the_pieces_changes_nothing(piece):
    data = tar(*(file(f"f{number}", bytes(number * 100)) for number in range(12)), file("x" * 300, b"end"))
    assert entries(data, piece) == entries(data)


def test_no_more_is_read_when_the_work_has_ended():
    """A stream may go on for gigabytes without a wait, where a time limit would be seen."""
    pieces = Pieces(io.BytesIO(bytes(8192)), 512)
    with cancellation.current().scope() as scope:
        assert pieces.exactly(512) == bytes(512)
        scope.cancel()
        with pytest.raises(Cancelled, match=r"reading a tar file$"):
            pieces.skip(4096)
    assert pieces.position == 512
