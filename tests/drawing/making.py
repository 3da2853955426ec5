"""Parts of bundles for pictures, made without a registry."""

from __future__ import annotations

from imgpkg.dataclass import replace
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.operations.breakdown import BundlePart, PartKind

HOST = "registry.example.com"
# What registries, locks and manifests could say to break out of a picture.
HOSTILE = (
    "</title></svg><script>alert(1)</script><img src=x onerror='alert(2)'>\"&amp;\x00\x1b\u202e\ud800]]>-->"
)


def blob(name, size, media_type=media.OCI_LAYER):
    return Descriptor(media_type, Digest.of(name.encode()), size)


def part(kind, name, layers=(), *parts, **more):
    """Make a part; layers are pairs of a name and a size, and the same name is the same layer."""
    digest = Digest.of(f"{kind}{name}".encode())
    repository = f"{HOST}/{name}"
    fields = {
        "origin": f"{repository}@{digest}",
        "digest": digest,
        "manifest": Descriptor(media.OCI_MANIFEST, digest, 500),
        "config": blob(f"config of {name}", 100, media.OCI_CONFIG),
        "layers": tuple(blob(*layer) for layer in layers),
        "parts": parts,
    }
    return BundlePart(kind, f"{repository}@{digest}", **{**fields, **more})


def image(name, *layers, parts=(), **more):
    return part(PartKind.IMAGE, name, layers, *parts, **more)


def bundle(name, *parts, **more):
    return part(PartKind.BUNDLE, name, [(f"files of {name}", 2000)], *parts, **more)


def shop():
    """A bundle with a nested one, an index, shared layers, attachments, and one that may not be read."""
    signature = part(PartKind.SIGNATURE, "shop/worker", [("signature", 300)])
    bill = part(PartKind.REFERRER, "shop/api", [("bill", 900)], artifact_type="application/spdx+json")
    platforms = [
        part(
            PartKind.PLATFORM, "shop/api-amd", [("base", 5_000_000), ("api", 70_000)], platform="linux/amd64"
        ),
        part(
            PartKind.PLATFORM, "shop/api-arm", [("arm", 4_000_000), ("api", 70_000)], platform="linux/arm64"
        ),
    ]
    index = image("shop/api", parts=(*platforms, bill), config=None)
    worker = image("shop/worker", ("base", 5_000_000), ("worker", 600_000), parts=(signature,))
    refused = BundlePart(PartKind.SIGNATURE, f"{HOST}/shop/web:sha256-0.sig", problem="access denied")
    inner = bundle("shop/database", image("shop/postgres", ("base", 5_000_000), ("db", 9_000_000)))
    return bundle("shop/shop", inner, index, worker, refused)


def hostile():
    """A bundle in which every text from outside is hostile."""
    notes = {HOSTILE: HOSTILE, "kbld.carvel.dev/id": HOSTILE}
    inside = (
        part(PartKind.REFERRER, "a", [("x", 5)], artifact_type=HOSTILE, annotations=notes),
        part(PartKind.PLATFORM, "b", [("x", 5), ("y", 7)], platform=HOSTILE, annotations=notes),
        BundlePart(PartKind.SIGNATURE, HOSTILE, problem=HOSTILE),
    )
    odd = Descriptor(HOSTILE, Digest.of(b"odd"), 9)
    shown = replace(image("c", parts=inside, annotations=notes, origin=HOSTILE), manifest=odd, layers=(odd,))
    return bundle("d", shown, annotations=notes, origin=HOSTILE)


def wide(count, layers=4):
    """A bundle of many images with long names; each layer but the last is in several of them."""
    long = "a-team-with-a-long-name/a-product-with-a-long-name/component"
    return bundle(
        f"{long}/bundle",
        *(
            image(
                f"{long}-{at}",
                *(
                    (f"shared {at % (level + 2)} {level}", 10_000_000 * (level + 1))
                    for level in range(layers)
                ),
                (f"own {at}", 1_000_000 + at),
            )
            for at in range(count)
        ),
    )


def deep(levels):
    """A bundle in a bundle in a bundle, each with an image of its own and a shared one."""
    found = bundle(f"level{levels}", image("shared", ("base", 1000)))
    for level in reversed(range(levels)):
        found = bundle(f"level{level}", found, image(f"app{level}", ("base", 1000), (f"app{level}", 200)))
    return found
