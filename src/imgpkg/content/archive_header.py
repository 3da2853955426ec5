"""Headers of the members of imgpkg's tar files: mode 0644, nobody's, dated 1970 (imgpkg-spec 3.5, 5.7)."""

from __future__ import annotations

BLOCK = 512
END = bytes(2 * BLOCK)

_MODE = 0o644
_LONGEST_NAME = 100
_LARGEST_SIZE = 0o77777777777


def member_header(name: str, size: int) -> bytes:
    """Return what stands before the content of a member: one USTAR block, or PAX records and a block.

    `name` is ASCII without a slash. PAX is for names over 100 characters and sizes over 8 GiB.
    """
    encoded = name.encode("ascii")
    records = []
    if len(encoded) > _LONGEST_NAME:
        records.append(("path", name))
    if size > _LARGEST_SIZE:
        records.append(("size", str(size)))
    if not records:
        return _block(encoded, size, b"0", _MODE, b"0000000\0")
    body = b"".join(_record(key, value) for key, value in records)
    extra = _block(f"PaxHeaders.0/{name}".encode("ascii"), len(body), b"x", 0, bytes(8))
    shown_size = 0 if size > _LARGEST_SIZE else size
    return extra + padded(body) + _block(encoded, shown_size, b"0", _MODE, b"0000000\0")


def padded(data: bytes) -> bytes:
    """Fill up to whole blocks with zeros."""
    return data + bytes(-len(data) % BLOCK)


def _block(name: bytes, size: int, kind: bytes, mode: int, device: bytes) -> bytes:
    start = b"%b%07o\0%07o\0%07o\0%011o\0%011o\0" % (_field(name), mode, 0, 0, size, 0)
    end = kind + bytes(100) + b"ustar\x0000" + bytes(64) + device + device + bytes(167)
    checksum = sum(start) + sum(end) + 8 * ord(" ")
    return start + b"%06o\0 " % checksum + end


def _field(name: bytes) -> bytes:
    return name[:_LONGEST_NAME].ljust(_LONGEST_NAME, b"\0")


def _record(key: str, value: str) -> bytes:
    """Encode `LENGTH KEY=VALUE` and a newline; the length counts its own digits."""
    rest = f" {key}={value}\n".encode("ascii")
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return str(length).encode("ascii") + rest
