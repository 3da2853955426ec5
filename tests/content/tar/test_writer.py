"""Headers of tar members are Go's, byte for byte, and other tar programs read them."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg.content.tar.writer import END, FILE, FOLDER, LINK, member_header, padded

GO_FOLDER = 1 << 31
FIELDS = (
    *("name", "mode", "uid", "gid", "size", "mtime", "checksum", "type", "linkname"),
    *("magic", "uname", "gname", "major", "minor", "prefix", "rest"),
)


def fields(block):
    """Take the fields of a 512-byte block apart, by the offsets of the format."""
    assert len(block) == 512
    ends = (100, 108, 116, 124, 136, 148, 156, 157, 257, 265, 297, 329, 337, 345, 500, 512)
    return {name: block[start:end] for name, start, end in zip(FIELDS, (0, *ends), ends, strict=False)}


def blocks(header):
    assert len(header) % 512 == 0
    return [header[start : start + 512] for start in range(0, len(header), 512)]


def text(field):
    assert field == field.rstrip(b"\0").ljust(len(field), b"\0")
    return field.rstrip(b"\0")


def read(header, content=b""):
    """Read one member with the standard library."""
    archive = io.BytesIO(header + padded(content) + END)
    with tarfile.open(fileobj=archive, encoding="utf-8", errors="surrogateescape") as tar:
        (member,) = tar.getmembers()
        extracted = tar.extractfile(member)
        return member, extracted.read() if extracted is not None else b""


def check_sum(block):
    expected = sum(block[:148]) + 8 * 32 + sum(block[156:])
    assert block[148:156] == b"%06o\0 " % expected


class TestEveryHeader:
    @pytest.mark.parametrize(
        ("name", "kind", "mode", "size", "checksum"),
        [
            (b".", FOLDER, 0o700, 0, b"007251\0 "),
            (b".imgpkg", FOLDER, 0o700, 0, b"010450\0 "),
            (b".imgpkg/images.yml", FILE, 0o600, 56, b"012516\0 "),
            (b"config", FOLDER, 0o700, 0, b"010361\0 "),
            (b"config/app.yml", FILE, 0o600, 11, b"011737\0 "),
            (b"empty", FOLDER, 0o700, 0, b"010252\0 "),
            (b"run.sh", FILE, 0o700, 18, b"010330\0 "),
        ],
    )
    def test_is_the_recorded_one(self, name, kind, mode, size, checksum):
        found = fields(member_header(name, size, mode=mode, kind=kind))
        assert found == {
            "name": name.ljust(100, b"\0"),
            "mode": b"%07o\0" % mode,
            "uid": b"0000000\0",
            "gid": b"0000000\0",
            "size": b"%011o\0" % size,
            "mtime": b"00000000000\0",
            "checksum": checksum,
            "type": kind,
            "linkname": bytes(100),
            "magic": b"ustar\x0000",
            "uname": bytes(32),
            "gname": bytes(32),
            "major": b"0000000\0",
            "minor": b"0000000\0",
            "prefix": bytes(155),
            "rest": bytes(12),
        }

    @pytest.mark.parametrize("mode", [0o644, GO_FOLDER | 0o755])
    @pytest.mark.parametrize(
        "name", [b"a", b"d/" * 60 + b"x" * 99, "ü".encode() * 80, b"\xff\xfe" * 70, b"y" * 300]
    )
    def test_has_a_right_checksum_in_every_block_of_its_own(self, name, mode):
        header = blocks(member_header(name, 7, mode=mode))
        check_sum(header[0])
        check_sum(header[-1])

    def test_is_a_file_s_with_common_permissions_by_default(self):
        member, _ = read(member_header(b"a", 0))
        assert (member.type, member.mode) == (tarfile.REGTYPE, 0o644)


class TestUSTAR:
    def test_takes_names_of_100_bytes_whole(self):
        (block,) = blocks(member_header(b"n" * 100, 0))
        assert fields(block)["name"] == b"n" * 100

    @pytest.mark.parametrize(
        ("prefix", "last"),
        [
            (b"p" * 155, b"n" * 100),
            (b"p" * 155, b"n"),
            (b"p", b"n" * 100),
            (b"a/b/" * 30 + b"c", b"n" * 3),
        ],
    )
    def test_parts_longer_names_at_the_last_slash_that_fits(self, prefix, last):
        name = prefix + b"/" + last
        (block,) = blocks(member_header(name, 0))
        found = fields(block)
        assert (text(found["prefix"]), text(found["name"])) == (prefix, last)
        assert found["magic"] == b"ustar\x0000"
        assert read(block)[0].name == name.decode()

    def test_does_not_part_names_that_fit(self):
        found = fields(member_header(b"a/" * 49 + b"b", 0))
        assert text(found["prefix"]) == b""

    @pytest.mark.parametrize("size", [0, 1, 0o77777777777])
    def test_takes_sizes_below_8_gib(self, size):
        (block,) = blocks(member_header(b"big", size))
        assert fields(block)["size"] == b"%011o\0" % size

    def test_takes_modes_of_seven_octal_digits(self):
        (block,) = blocks(member_header(b"sticky", 0, mode=1 << 20 | 0o777))
        assert fields(block)["mode"] == b"4000777\0"
        assert fields(block)["magic"] == b"ustar\x0000"


class TestPAX:
    @pytest.mark.parametrize(
        "name",
        [
            b"n" * 101,
            b"/" + b"n" * 100,
            b"p" * 156 + b"/" + b"n",
            b"p/" + b"n" * 101,
            b"p" * 100 + b"/",
            "grün.txt".encode(),
            "d/日本語".encode(),
            b"bad \xff name",
            b"\xff",
        ],
    )
    def test_says_names_that_ustar_cannot(self, name):
        extra, body, block = blocks(member_header(name, 3, mode=0o600))
        record = b"%d path=%b\n" % (len(text(body)), name)
        assert text(body) == record
        head = fields(extra)
        assert (head["type"], head["magic"]) == (b"x", b"ustar\x0000")
        assert (head["mode"], head["mtime"]) == (b"0000000\0", b"00000000000\0")
        assert (head["uid"], head["gid"]) == (b"0000000\0", b"0000000\0")
        assert (head["major"], head["minor"]) == (bytes(8), bytes(8))
        assert head["size"] == b"%011o\0" % len(record)
        last = fields(block)
        assert (last["type"], last["magic"], last["prefix"]) == (b"0", b"ustar\x0000", bytes(155))
        assert (last["mode"], last["size"]) == (b"0000600\0", b"00000000003\0")
        assert (last["major"], last["minor"]) == (b"0000000\0", b"0000000\0")
        # The standard library ends names at the slash, which the original keeps.
        assert read(extra + body + block, b"abc")[0].name == name.decode(errors="surrogateescape").rstrip("/")

    @pytest.mark.parametrize(
        ("name", "shown", "cut"),
        [
            ("grün.txt", b"PaxHeaders.0/grn.txt", b"grn.txt"),
            ("d/e/grün.txt", b"d/e/PaxHeaders.0/grn.txt", b"d/e/grn.txt"),
            ("日本語", b"PaxHeaders.0", b""),
            ("n" * 120, b"PaxHeaders.0/" + b"n" * 87, b"n" * 100),
            ("d" * 120 + "/ü", b"d" * 100, b"d" * 100),
            ("d" * 99 + "/ü" + "x" * 9, b"d" * 99, b"d" * 99),
            ("d" * 99 + "/" + "x" * 120, b"d" * 99, b"d" * 99),
            ("d" * 86 + "/" + "ü" * 120, b"d" * 86 + b"/PaxHeaders.0", b"d" * 86 + b"/"),
            ("d" * 97 + "/日/本/x語", b"d" * 97, b"d" * 97 + b"\0//"),
            ("d" * 98 + "/日/x", b"d" * 98, b"d" * 98 + b"\0/"),
        ],
    )
    def test_shows_old_readers_what_is_left_of_a_name(self, name, shown, cut):
        header = blocks(member_header(name.encode(), 0))
        assert text(fields(header[0])["name"]) == shown
        assert text(fields(header[-1])["name"]) == cut

    def test_drops_invalid_bytes_from_what_it_shows(self):
        extra, _, block = blocks(member_header(b"d/\xff\xfea", 0))
        assert text(fields(extra)["name"]) == b"d/PaxHeaders.0/a"
        assert text(fields(block)["name"]) == b"d/a"

    @pytest.mark.parametrize("length", [*range(86, 96), *range(984, 996)])
    def test_counts_the_digits_of_a_record_too(self, length):
        """Around 100 and 1000 the number of digits changes what it counts."""
        name = ("ü" + "n" * (length - 2)).encode()
        header = blocks(member_header(name, 0))
        record = text(b"".join(header[1:-1]))
        digits, _ = record.split(b" ", 1)
        assert int(digits) == len(record) == int(fields(header[0])["size"][:-1], 8)
        assert record.endswith(b" path=" + name + b"\n")

    @pytest.mark.parametrize("size", [0o100000000000, 10**12])
    def test_says_sizes_from_8_gib_on(self, size):
        extra, body, block = blocks(member_header(b"big", size))
        assert text(body) == b"%d size=%d\n" % (len(text(body)), size)
        assert text(fields(extra)["name"]) == b"PaxHeaders.0/big"
        assert fields(block)["size"] == b"00000000000\0"
        assert tarfile.TarFile(fileobj=io.BytesIO(extra + body + block)).next().size == size

    def test_says_name_and_size_in_the_order_of_their_keys(self):
        _, body, _ = blocks(member_header("größe".encode(), 1 << 40))
        first, second = text(body).splitlines()
        assert first.endswith(b" path=" + "größe".encode())
        assert second.endswith(b" size=1099511627776")

    def test_needs_no_parted_name_when_the_size_is_said(self):
        name = b"p" * 50 + b"/" + b"n" * 90
        header = blocks(member_header(name, 1 << 40))
        assert b"path=" + name in b"".join(header)
        assert text(fields(header[-1])["prefix"]) == b""


class TestGNU:
    @pytest.mark.parametrize(
        ("mode", "written"),
        [
            (GO_FOLDER | 0o755, "80000000800001ed"),
            (GO_FOLDER | 1 << 22 | 1 << 20 | 0o777, "80000000805001ff"),
            (1 << 23 | 0o755, "80000000008001ed"),
            (1 << 22 | 0o755, "80000000004001ed"),
            (0o10000000, "8000000000200000"),
        ],
    )
    def test_says_modes_that_octal_cannot(self, mode, written):
        (block,) = blocks(member_header(b"d", 0, mode=mode, kind=FOLDER))
        found = fields(block)
        assert found["mode"].hex() == written
        assert found["magic"].hex() == "7573746172202000"
        assert (found["major"], found["minor"]) == (b"0000000\0", b"0000000\0")
        assert read(block)[0].mode == mode

    def test_says_large_sizes_in_base_256_too(self):
        (block,) = blocks(member_header(b"f", 1 << 40, mode=1 << 23))
        assert fields(block)["size"].hex() == "800000000000010000000000"

    @pytest.mark.parametrize("name", [b"ascii", "ü".encode() * 50, b"\xff\xfe", b"n" * 100])
    def test_takes_any_name_of_100_bytes_as_it_is(self, name):
        (block,) = blocks(member_header(name, 0, mode=GO_FOLDER, kind=FOLDER))
        assert text(fields(block)["name"]) == name

    @pytest.mark.parametrize("name", [b"n" * 101, b"d/" * 90 + b"x", "ü".encode() * 51, b"p" * 600])
    def test_puts_a_long_link_before_longer_names(self, name):
        link, *body, block = blocks(member_header(name, 0, mode=GO_FOLDER, kind=FOLDER))
        head = fields(link)
        assert text(head["name"]) == b"././@LongLink"
        assert (head["type"], head["magic"]) == (b"L", b"ustar  \0")
        assert (head["mode"], head["size"]) == (b"0000000\0", b"%011o\0" % (len(name) + 1))
        assert (head["major"], head["minor"]) == (bytes(8), bytes(8))
        assert b"".join(body) == padded(name + b"\0")
        assert text(fields(block)["name"]) == name[:100].rstrip(b"/")
        assert text(fields(block)["prefix"]) == b""
        assert read(link + b"".join(body) + block)[0].name == name.decode()


parts = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=60)
# A name that is only dots or ends in a slash never comes out of a walk.
names = st.one_of(
    st.lists(parts, min_size=1, max_size=8).map(lambda parts: "/".join(parts).encode()),
    st.lists(st.text("abc.-", min_size=1, max_size=99), min_size=1, max_size=6).map(
        lambda p: "/".join(p).encode()
    ),
    st.lists(st.binary(min_size=1, max_size=80).map(lambda b: b.translate(None, b"/\0") or b"x")).map(
        lambda parts: b"/".join([*parts, b"end"])
    ),
)
modes = st.one_of(st.integers(0, 0o777), st.integers(0, 0o777).map(lambda mode: mode | GO_FOLDER))


@given(names, modes, st.binary(max_size=600))
def test_the_standard_library_reads_the_same_name_mode_and_content(name, mode, content):
    member, found = read(member_header(name, len(content), mode=mode), content)
    assert member.name.encode("utf-8", "surrogateescape") == name
    assert (member.mode, member.size, found) == (mode, len(content), content)
    assert (member.uid, member.gid, member.mtime) == (0, 0, 0)


@given(names, modes)
def test_a_folder_is_one_for_the_standard_library(name, mode):
    member, _ = read(member_header(name, 0, mode=mode, kind=FOLDER))
    assert member.isdir()
    assert member.name.encode("utf-8", "surrogateescape") == name


@given(st.binary(max_size=2000))
def test_padding_fills_blocks_with_zeros_and_adds_none_to_whole_ones(data):
    whole = padded(data)
    assert len(whole) % 512 == 0
    assert whole[: len(data)] == data
    assert whole[len(data) :] == bytes(len(whole) - len(data))
    assert len(whole) - len(data) < 512


class TestALink:
    @pytest.mark.parametrize(
        ("name", "target", "count"),
        [
            (b"a", b"../b", 1),
            (b"a", b"t" * 100, 1),
            (b"p" * 100 + b"/n", b"t", 1),
            (b"a", b"t" * 101, 3),
            (b"a", "grün".encode(), 3),
            (b"n" * 101, b"t", 3),
            (b"n" * 101, b"t" * 500, 4),
        ],
    )
    def test_is_read_by_the_standard_library(self, name, target, count):
        header = member_header(name, 0, kind=LINK, link=target)
        assert len(blocks(header)) == count
        with tarfile.open(fileobj=io.BytesIO(header + END)) as tar:
            (member,) = tar.getmembers()
        assert (member.issym(), member.name, member.linkname) == (True, name.decode(), target.decode())

    def test_has_no_part_in_other_headers(self):
        assert text(fields(member_header(b"a", 0))["linkname"]) == b""
