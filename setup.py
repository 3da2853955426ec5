"""What pyproject.toml cannot say: the C extension, the page of the index, the SBOM, and equal archives."""

from __future__ import annotations

import gzip
import json
import os
import re
import sys
import sysconfig
import tarfile
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from setuptools import Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
# The limited API of the oldest Python, so that one wheel serves this and all later ones of a platform.
LIMITED, TAG = ("Py_LIMITED_API", "0x030a0000"), "cp310"
# Interpreters without the GIL have no limited API; their wheels are for one version.
IS_LIMITED = not sysconfig.get_config_var("Py_GIL_DISABLED") and sys.implementation.name == "cpython"
# Names that never resolve (RFC 2606): what pyproject.toml has until the project has an address.
RESERVED = (".example", ".invalid", ".test", "example.com", "example.net", "example.org")
# The time of every file in the archives, unless SOURCE_DATE_EPOCH names one.
EPOCH = 1767225600

_IMAGE = re.compile(r"<picture>.*?</picture>\n?|<img\b[^>]*>\n?|!\[[^\]]*\]\([^)]*\)\n?", re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_SOURCE = re.compile(r'^Source\s*=\s*"([^"]+)"', re.MULTILINE)
_DIAGRAM = re.compile(r"```mermaid\n.*?```\n\n?", re.DOTALL)


def source_address(text: str) -> str:
    """Return the address in the text of pyproject.toml; empty while it is a reserved name."""
    found = _SOURCE.search(text)
    address = found[1] if found else ""
    host = urlsplit(address).hostname or ""
    return "" if host.endswith(RESERVED) else address.rstrip("/") + "/"


def page(text: str, address: str, version: str) -> str:
    """Return the README for a package index: without links and pictures that only work beside the files."""
    text = _DIAGRAM.sub("", text)
    files = urljoin(address, f"blob/v{version}/") if address else ""

    def link(found: re.Match[str]) -> str:
        if urlsplit(found[2]).scheme or found[2].startswith("#"):
            return found[0]
        return f"[{found[1]}]({urljoin(files, found[2])})" if files else found[1]

    return _LINK.sub(link, _IMAGE.sub("", text))


def bill(name: str, version: str, requirements: list[str]) -> str:
    """Return the CycloneDX document of a wheel: it contains this project alone, and requires these others."""
    names = sorted({re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0].lower() for line in requirements})
    own = f"pkg:pypi/{name}@{version}"
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": name,
                "version": version,
                "purl": own,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": [
            {
                "type": "library",
                "bom-ref": f"pkg:pypi/{one}",
                "name": one,
                "purl": f"pkg:pypi/{one}",
                "scope": "required",
            }
            for one in names
        ],
        "dependencies": [{"ref": own, "dependsOn": [f"pkg:pypi/{one}" for one in names]}],
    }
    return json.dumps(document, indent=2) + "\n"


def manual_pages(folder: str) -> list[str]:
    """Write the manual pages into `folder`, with the time of all files in archives; return their paths."""
    # Made from the table of commands, which needs nothing but the standard library.
    sys.path[:0] = [str(HERE), str(HERE / "src")]
    from tools.documentation.man_pages import write

    written = write(folder)
    epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))
    for path in written:
        os.utime(path, (epoch, epoch))
    return written


class Wheel(bdist_wheel):
    """Adds the manual pages, and writes the SBOM to the place that PEP 770 names."""

    def run(self) -> None:
        """Build the wheel."""
        # Not in the source archive, which has what they are made from.
        self.distribution.data_files = [("share/man/man1", manual_pages("build/man"))]
        super().run()

    def egg2dist(self, egginfo_path: str, distinfo_path: str) -> None:
        """Convert the metadata, and add the SBOM."""
        super().egg2dist(egginfo_path, distinfo_path)
        folder = Path(distinfo_path, "sboms")
        folder.mkdir()
        told = self.distribution
        required = [line for line in told.install_requires or [] if "extra ==" not in line]
        (folder / "imgpkg-py.cdx.json").write_text(
            bill(told.get_name(), told.get_version(), required), "utf-8"
        )


class Sources(sdist):
    """Writes the same archive for the same files: in order, with one time, one owner and two modes."""

    def make_archive(self, base_name: str, format: str, *_: object, base_dir: str, **__: object) -> str:  # type: ignore[override]  # noqa: A002
        """Write `base_name`.tar.gz of the folder `base_dir`."""
        if format != "gztar":
            raise ValueError(f"the archive is a gztar, not a {format}")
        folder, path = Path(base_dir), f"{base_name}.tar.gz"
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH", EPOCH))

        def even(member: tarfile.TarInfo) -> tarfile.TarInfo:
            member.uid = member.gid = 0
            member.uname = member.gname = ""
            member.mtime = epoch
            member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            return member

        with (
            open(path, "wb") as file,
            gzip.GzipFile("", "wb", fileobj=file, mtime=epoch) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for one in [folder, *sorted(folder.rglob("*"))]:
                tar.add(one, arcname=one.relative_to(folder.parent), recursive=False, filter=even)
        return path


def long_description() -> str:
    """Return the page of this version."""
    # Importing the package would need what it depends on.
    version = (HERE / "src/imgpkg/version.py").read_text("utf-8").split('"')[-2]
    address = source_address((HERE / "pyproject.toml").read_text("utf-8"))
    return page((HERE / "README.md").read_text("utf-8"), address, version)


if __name__ == "__main__":
    setup(
        long_description=long_description(),
        long_description_content_type="text/markdown",
        cmdclass={"bdist_wheel": Wheel, "sdist": Sources},
        options={"bdist_wheel": {"py_limited_api": TAG}} if IS_LIMITED else {},
        ext_modules=[
            # Without a compiler the installation succeeds and the pure-Python encoder is used.
            Extension(
                "imgpkg.content.deflate._deflate",
                ["src/imgpkg/content/deflate/_deflate.c"],
                define_macros=[LIMITED] if IS_LIMITED else [],
                # Without -g, which would write the folder of the build into the file.
                extra_compile_args=["-O3", "-g0", "-std=c99"],
                py_limited_api=IS_LIMITED,
                optional=True,
            ),
        ],
    )
