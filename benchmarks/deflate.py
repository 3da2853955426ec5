"""Compress with one encoder: `python -m benchmarks.deflate ENCODER KILOBYTES [MATERIAL]`.

Encoders: c, portable (all cores), one-core (the same without processes), readable, zlib (level 1).
Material: text (random words; the default), source (the modules of the package), binary (libraries),
zeros, noise.
"""

from __future__ import annotations

import random
import sys
import sysconfig
import zlib
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.content.deflate.gzip import FastEncoder
from imgpkg.content.deflate.portable import PortableEncoder
from imgpkg.content.deflate.reference import ReferenceEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

PIECE = 1 << 20


class Zlib:
    """The fastest level of zlib."""

    def __init__(self) -> None:
        self._encoder = zlib.compressobj(1)
        self.compress, self.finish = self._encoder.compress, self._encoder.flush


ENCODERS = {
    "c": FastEncoder,
    "portable": PortableEncoder,
    "one-core": partial(PortableEncoder, 1),
    "readable": ReferenceEncoder,
    "zlib": Zlib,
}


def text_words(chance: random.Random) -> list[bytes]:
    """Return words that text-like data is made of."""
    letters = b"abcdefghijklmnopqrstuvwxyz"
    return [bytes(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(4000)]


def text() -> bytes:
    """Return random words."""
    chance = random.Random(7)
    return b" ".join(chance.choices(text_words(chance), k=1 << 16))


def source() -> bytes:
    """Return the modules of the package, one after the other."""
    modules = sorted(Path(imgpkg.__file__).parent.rglob("*.py"))
    return b"".join(module.read_bytes() for module in modules)


def binary() -> bytes:
    """Return the libraries of the interpreter, one after the other."""
    folder = sysconfig.get_config_var("DESTSHARED")
    libraries = sorted(Path(folder).glob("*.so"))
    if not libraries:
        sys.exit(f"no libraries in {folder}")
    return b"".join(library.read_bytes() for library in libraries)


MATERIALS: dict[str, Callable[[], bytes]] = {
    "text": text,
    "source": source,
    "binary": binary,
    "zeros": lambda: bytes(PIECE),
    "noise": lambda: random.Random(7).randbytes(4 * PIECE),
}


def main() -> None:
    name, kilobytes, *material = sys.argv[1:]
    if ENCODERS[name] is None:
        sys.exit("the C extension is not built")
    data = MATERIALS[material[0] if material else "text"]()
    encoder = ENCODERS[name]()
    left = int(kilobytes) << 10
    while left:
        for start in range(0, min(left, len(data)), PIECE):
            piece = data[start : min(start + PIECE, left)]
            encoder.compress(piece)
        left -= min(left, len(data))
    encoder.finish()


if __name__ == "__main__":
    main()
