"""Write tar headers in the bytes of Go's archive/tar: USTAR where the values fit, else PAX or GNU.

The owner is always 0 and the time 1970, so that a layer's digest depends on the files only.
"""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)
FILE, LINK, FOLDER = b"0", b"2", b"5"

_NAME, _PREFIX = 100, 155
# Octal digits that fit the fields of USTAR.
_LARGEST_MODE = 0o7777777
_LARGEST_SIZE = 0o77777777777
_POSIX, _GNU = b"ustar\x0000", b"ustar  \0"
_DEVICE = b"0000000\0"
_NO_DEVICE = bytes(8)
_SLASH = ord("/")


def member_header(
    name: bytes, size: int, *, mode: int = 0o644, kind: bytes = FILE, link: bytes = b""
) -> bytes:
    """Return the header blocks of a member: one block, or more for a long name or a large file.

    `size` is in bytes; a `mode` with more bits than USTAR has room for gives a GNU header. `link` is the
    target of a symbolic link.
    """
    # PAX has no record for the mode, but GNU's fields can hold larger numbers.
    if mode > _LARGEST_MODE:
        return _gnu(name, size, mode, kind)
    fits = name.isascii() and size <= _LARGEST_SIZE and not _needs_record(link)
    if fits and len(name) <= _NAME:
        return _block(name, size, kind, mode, link=link)
    prefix, last = _split(name)
    if fits and prefix:
        return _block(last, size, kind, mode, prefix=prefix, link=link)
    return _pax(name, size, mode, kind, link)


def padded(data: bytes) -> bytes:
    """Return `data` padded with zeros to whole blocks."""
    return data + padding(len(data))


def padding(size: int) -> bytes:
    """Return the zeros that follow `size` bytes of content, up to a whole block."""
    return bytes(-size % BLOCK)


def _split(name: bytes) -> tuple[bytes, bytes]:
    """Split a long name so that both parts fit the fields of USTAR; return an empty prefix if impossible."""
    slash = name.rfind(b"/", 0, _PREFIX + 1)
    prefix, last = name[: max(slash, 0)], name[slash + 1 :]
    return (prefix, last) if 0 < len(last) <= _NAME else (b"", name)


def _needs_record(text: bytes) -> bool:
    return len(text) > _NAME or not text.isascii()


def _pax(name: bytes, size: int, mode: int, kind: bytes, link: bytes) -> bytes:
    records = []
    if _needs_record(link):
        records.append((b"linkpath", link))
    if _needs_record(name):
        records.append((b"path", name))
    # Go writes zero into the field if the size is in a record.
    if size > _LARGEST_SIZE:
        records.append((b"size", b"%d" % size))
        size = 0
    body = b"".join(_record(key, value) for key, value in records)
    # Readers without PAX see the records as a file of this name.
    folder, slash, last = name.rpartition(b"/")
    shown = _ascii(folder + slash + b"PaxHeaders.0/" + last)[:_NAME].rstrip(b"/")
    extra = _block(shown, len(body), b"x", 0, device=_NO_DEVICE)
    return extra + padded(body) + _block(_ascii(name), size, kind, mode, link=_ascii(link))


def _record(key: bytes, value: bytes) -> bytes:
    """Return `LENGTH KEY=VALUE` and a newline; the length includes its own digits."""
    rest = b" %b=%b\n" % (key, value)
    length = len(rest) + len(str(len(rest)))
    return b"%d%b" % (len(rest) + len(str(length)), rest)


def _gnu(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    block = _block(name, size, kind, mode, magic=_GNU)
    if len(name) <= _NAME:
        return block
    body = name + b"\0"
    link = _block(b"././@LongLink", len(body), b"L", 0, magic=_GNU, device=_NO_DEVICE)
    return link + padded(body) + block


def _block(
    name: bytes,
    size: int,
    kind: bytes,
    mode: int,
    *,
    prefix: bytes = b"",
    magic: bytes = _POSIX,
    device: bytes = _DEVICE,
    link: bytes = b"",
) -> bytes:
    start = _name(name) + _number(mode, 8) + _number(0, 8) * 2 + _number(size, 12) + _number(0, 12)
    end = kind + link[:_NAME].ljust(_NAME, b"\0") + magic + bytes(64) + device * 2 + prefix.ljust(167, b"\0")
    # The checksum field counts as eight spaces.
    checksum = sum(start) + sum(end) + 8 * ord(" ")
    return start + b"%06o\0 " % checksum + end


def _name(name: bytes) -> bytes:
    """Return the name cut to the field, without a slash at the end, which old readers take for a folder.

    If there are several slashes, because characters between them were not ASCII, Go clears only the first.
    """
    field = bytearray(name[:_NAME].ljust(_NAME, b"\0"))
    if len(name) > _NAME and field[-1] == _SLASH:
        field[len(field.rstrip(b"/"))] = 0
    return bytes(field)


def _number(value: int, width: int) -> bytes:
    """Return octal digits and a NUL, or a GNU base-256 number if there are too many digits."""
    if value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + value.to_bytes(width - 1, "big")


def _ascii(name: bytes) -> bytes:
    return bytes(byte for byte in name if byte < 0x80)  # noqa: PLR2004 - the end of ASCII
