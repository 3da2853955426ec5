"""Compress text-like data with one encoder: `python -m benchmarks.deflate c|python|zlib KILOBYTES`."""

from __future__ import annotations

import random
import sys
import zlib

from imgpkg.content.deflate.gzip import FastEncoder
from imgpkg.content.deflate.reference import ReferenceEncoder

ENCODERS = {"c": FastEncoder, "python": ReferenceEncoder, "zlib": lambda: zlib.compressobj(1)}


def text_words(chance: random.Random) -> list[bytes]:
    """Return words that text-like data is made of."""
    letters = b"abcdefghijklmnopqrstuvwxyz"
    return [bytes(chance.choices(letters, k=chance.randint(2, 10))) for _ in range(4000)]


def main() -> None:
    name, kilobytes = sys.argv[1:]
    if ENCODERS[name] is None:
        sys.exit("the C extension is not built")
    chance = random.Random(7)
    text = b" ".join(chance.choices(text_words(chance), k=1 << 16))
    encoder = ENCODERS[name]()
    for start in range(0, int(kilobytes) << 10, len(text)):
        encoder.compress(text[: (int(kilobytes) << 10) - start])


if __name__ == "__main__":
    main()
