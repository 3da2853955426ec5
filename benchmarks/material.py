"""What the commands of the rows read: folders, tar files, images, bundles; made when first needed."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.deflate import text_words
from tests.operations.making import make_bundle, make_image, put_blob, put_manifest

from imgpkg.oci import media
from imgpkg.oci.reference import Repository

if TYPE_CHECKING:
    from benchmarks.registries import Registry

    from imgpkg.session import Session

IMGPKG = str(Path(sys.executable).with_name("imgpkg"))
SKOPEO = ["skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"]
# Megabytes of the layers, which do not compress, of each image that is made of them.
IMAGES = {"one-120": [120], "three-200": [200, 200, 200], "one-300": [300], "three-small": [0, 0, 0]}
# Kilobytes of the files of each folder, and the largest of them.
FOLDERS = {"small": (4, 2), "kb-200": (200, 50), "mb-150": (150 << 10, 1 << 10)}
THIRTY = 30


class Material:
    """Everything is made once, in the folder `work`, or by way of `session` in the registry `source`."""

    def __init__(self, work: Path, source: Registry, session: Session, env: dict[str, str]) -> None:
        self._work = work
        self._source = source.address
        self._session = session
        self._env = env
        self._made: dict[tuple[str, str, str], str] = {}

    def place(self, kind: str, name: str, shown: str) -> str:
        """Return where `name` is in the form `kind`; commands have the address `shown` for the registry."""
        key = (kind, name, shown)
        if key not in self._made:
            self._made[key] = getattr(self, f"_{kind}")(name, shown)
        return self._made[key]

    def _folder(self, name: str, _shown: str) -> str:
        folder = self._work / name
        make_tree(folder, *(kilobytes << 10 for kilobytes in FOLDERS[name]))
        return str(folder)

    def _layer(self, name: str, shown: str) -> str:
        """Pack the folder into a tar file that is not compressed, for programs that pack none themselves."""
        path = self._work / f"{name}.layer.tar"
        with tarfile.open(path, "w") as tar:
            tar.add(self.place("folder", name, shown), ".")
        return str(path)

    def _image(self, name: str, shown: str) -> str:
        where = f"bench/{name}"
        if name in FOLDERS:
            words = ["push", "-i", f"{self._source}/{where}:v1", "-f", self.place("folder", name, shown)]
            self._run([IMGPKG, *words])
        else:
            layers = [
                one_file_layer(megabytes << 20, f"{name} {number}")
                for number, megabytes in enumerate(IMAGES[name])
            ]
            put_image(self._session, f"{self._source}/{where}", layers)
        return f"{shown}/{where}:v1"

    def _bundle(self, name: str, shown: str) -> str:
        """Make a bundle whose lock file names images at the address that commands use."""
        images = self._images(name)
        where = f"{self._source}/bundles/{name}-{shown.rpartition(':')[2]}"
        lock = {f"{shown}{image.removeprefix(self._source)}": {} for image in images}
        folder = self._work / f"bundle-{name}-{len(self._made)}"
        made = make_bundle(self._session, f"{where}:v1", lock, folder, files={"config.yml": "a: 1\n"})
        return str(made).replace(self._source, shown, 1)

    @functools.cache  # noqa: B019 - there is one, which lives as long as the program
    def _images(self, name: str) -> list[str]:
        if name != "thirty":
            return [self._run([IMGPKG, "tag", "resolve", "-i", self.place("image", name, self._source)])]
        return [
            str(make_image(self._session, f"{self._source}/app/image{n}", [f"{n}-one", f"{n}-two"], tag="v1"))
            for n in range(THIRTY)
        ]

    def _collocated(self, name: str, shown: str) -> str:
        """Copy the bundle with its images into one repository."""
        bundle = self.place("bundle", name, self._source)
        to = f"{self._source}/collocated/{name}"
        self._run([IMGPKG, "copy", "-b", bundle, "--to-repo", to])
        return f"{shown}/collocated/{name}@{bundle.partition('@')[2]}"

    def _tar(self, name: str, _shown: str) -> str:
        path = str(self._work / f"{name}.tar")
        if name == "small":
            source = ["-b", self.place("bundle", name, self._source)]
        else:
            source = ["-i", self.place("image", name, self._source)]
        self._run([IMGPKG, "copy", *source, "--to-tar", path])
        return path

    def _oci(self, name: str, _shown: str) -> str:
        path = str(self._work / f"{name}.oci.tar")
        self._run([*SKOPEO, f"docker://{self.place('image', name, self._source)}", f"oci-archive:{path}:v1"])
        return path

    def _dir(self, name: str, _shown: str) -> str:
        path = str(self._work / f"{name}.dir")
        self._run([*SKOPEO, f"docker://{self.place('image', name, self._source)}", f"dir:{path}"])
        return path

    def _sync(self, name: str, shown: str) -> str:
        """Write the file that names the images of a bundle for `skopeo sync`."""
        repositories = [image.partition("/")[2].partition("@")[0] for image in self._images(name)]
        path = self._work / f"{name}-{len(self._made)}.yml"
        listed = {repository: ["v1"] for repository in repositories}
        path.write_text(json.dumps({shown: {"tls-verify": False, "images": listed}}))
        return str(path)

    def _run(self, argv: list[str]) -> str:
        done = subprocess.run(argv, env=self._env, stdout=subprocess.PIPE, text=True, check=True)
        return done.stdout.strip()


def make_tree(folder: Path, size: int, largest: int) -> None:
    """Fill `folder` with `size` bytes: files of 1 KiB to `largest`, a tenth of them incompressible."""
    chance = random.Random(20)
    words = text_words(chance)
    number = 0
    while size > 0:
        length = min(size, int(2 ** chance.uniform(10, largest.bit_length() - 1)))
        path = folder / f"d{number % 40:02}" / f"f{number}.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        if chance.random() < 0.1:
            data = chance.randbytes(length)
        else:
            data = b" ".join(chance.choices(words, k=length // 6))[:length].ljust(length, b"\n")
        path.write_bytes(data)
        size -= length
        number += 1


def one_file_layer(size: int, seed: str) -> tuple[bytes, str]:
    """Return a gzip layer of one file of `size` bytes that do not compress, and the digest of its tar."""
    buffer = io.BytesIO()
    chance, block = random.Random(seed), 1 << 20
    data = b"".join(chance.randbytes(block) for _ in range(size // block)) or b"hardly anything"
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    # Stored blocks: what is in the layer would not get smaller, and these are made a hundred times as fast.
    packer = zlib.compressobj(0, wbits=31)
    content = buffer.getbuffer()
    return packer.compress(content) + packer.flush(), f"sha256:{hashlib.sha256(content).hexdigest()}"


def put_image(session: Session, where: str, layers: list[tuple[bytes, str]]) -> None:
    """Put an image of these layers, tagged v1."""
    repository = Repository.parse(where)
    rootfs = {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]}
    config = {"architecture": "amd64", "os": "linux", "rootfs": rootfs, "config": {}}
    document = {
        "schemaVersion": 2,
        "mediaType": media.DOCKER_MANIFEST,
        "config": put_blob(session, repository, json.dumps(config).encode(), media.DOCKER_CONFIG),
        "layers": [put_blob(session, repository, layer, media.DOCKER_LAYER) for layer, _ in layers],
    }
    put_manifest(session, repository, document, "v1")
