"""Draw the pictures of docs/pictures.md: the bundle of examples/shop, made without a registry.

make pictures
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
import tempfile
from pathlib import Path

import imgpkg

ROOT = Path(__file__).parent.parent
SHOP = ROOT / "examples" / "shop"
REGISTRY = "registry.example.com/shop"
PICTURES = {"shop.svg": imgpkg.draw_svg, "shop.dot": imgpkg.draw_dot, "shop.html": imgpkg.draw_page}
# What the documents of each bundle name, and the bundles in it; inner ones first.
BUNDLES = {
    "database-bundle:v16": ("database", ("backup:3", "database:16", "exporter:0.9")),
    "shop:v1": ("config", ("api:2.1", "queue:7", "web:1.4", "worker:2.1", "database-bundle:v16")),
}


def made_shop(folder: Path) -> imgpkg.BundlePart:
    """Make the example bundle and all its images in a layout below `folder`; return what it is made of."""
    layout = folder / "layout"
    runpy.run_path(str(SHOP / "make_shop.py"))["write_images"](layout)
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    digests = {name(entry): str(entry["digest"]) for entry in entries}
    with imgpkg.Session() as session:
        for bundle, (documents, names) in BUNDLES.items():
            files = folder / documents
            shutil.copytree(SHOP / documents, files / "config")
            (files / ".imgpkg").mkdir()
            images = tuple(locked(named, digests[named]) for named in names)
            imgpkg.ImagesLock(images).write(files / ".imgpkg" / "images.yml")
            made = imgpkg.push([str(files)], bundle=f"{REGISTRY}/{bundle}", session=session, to_layout=layout)
            digests[bundle] = str(made.reference.digest)
        return imgpkg.break_down(f"{REGISTRY}/{bundle}", layout=layout, session=session)


def name(entry: dict[str, dict[str, str]]) -> str:
    """Return the last part of the repository, and the tag, of an entry in the index of a layout."""
    notes = entry["annotations"]
    repository = notes["dev.carvel.imgpkg.copy.source"].partition("@")[0].rpartition("/")[2]
    return f"{repository}:{notes.get('org.opencontainers.image.ref.name', '')}"


def locked(named: str, digest: str) -> imgpkg.LockedImage:
    """Return the entry of an images lock, as `imgpkg lock` writes it."""
    reference = imgpkg.Reference.parse(f"{REGISTRY}/{named.partition(':')[0]}@{digest}")
    return imgpkg.LockedImage(reference, {"kbld.carvel.dev/id": f"{REGISTRY}/{named}"})


def drawn() -> dict[str, str]:
    """Return the text of each picture."""
    with tempfile.TemporaryDirectory() as folder:
        root = made_shop(Path(folder))
    return {file: draw(root) for file, draw in PICTURES.items()}


def main() -> int:
    """Write all pictures into docs/images."""
    for file, text in drawn().items():
        (ROOT / "docs" / "images" / file).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
