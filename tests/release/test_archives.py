"""The archives of a release: equal in every build, whole, and usable where they are installed."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import BytesParser

import pytest
from tools import release

import imgpkg

pytestmark = pytest.mark.slow


def altered(wheel, path, leave_out):
    """Write a wheel without the members whose names end like this."""
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            if not name.endswith(leave_out):
                new.writestr(name, old.read(name))
    return path


def metadata_of(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return BytesParser().parsebytes(archive.read(name))


def test_are_the_same_in_two_builds(built):
    """The fixture has compared them; a file with the time of its build would differ."""
    sources, wheel = built
    assert sources.name == f"imgpkg_py-{imgpkg.__version__}.tar.gz"
    with zipfile.ZipFile(wheel) as archive:
        assert len({member.date_time for member in archive.infolist()}) == 1
    with tarfile.open(sources) as archive:
        members = archive.getmembers()
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert {oct(member.mode) for member in members} == {"0o644", "0o755"}
    assert len({member.mtime for member in members}) == 1


def test_are_for_every_python_from_the_oldest_on(built):
    _, wheel = built
    assert wheel.name.startswith(f"imgpkg_py-{imgpkg.__version__}-cp310-abi3-")
    release.check_wheel(wheel)


@pytest.mark.parametrize("part", ["_deflate.abi3.so", "imgpkg-py.cdx.json"])
def test_a_wheel_without_its_parts_is_refused(built, tmp_path, part):
    with pytest.raises(ValueError, match="not enough values"):
        release.check_wheel(altered(built[1], tmp_path / built[1].name, part))


def test_have_every_file_of_the_repository(built):
    release.check_sources(built[0])


def test_sources_with_a_file_too_few_are_refused(built, tmp_path):
    path = tmp_path / built[0].name
    with tarfile.open(built[0]) as old, tarfile.open(path, "w:gz") as new:
        for member in old:
            if not member.name.endswith("/docs/releasing.md"):
                new.addfile(member, old.extractfile(member))
    with pytest.raises(release.Failed, match=r"lacks \['docs/releasing.md'\]"):
        release.check_sources(path)


def test_are_accepted_by_an_index(built):
    release.check_page(list(built))


def test_have_a_page_whose_links_lead_somewhere(built):
    """The page as the index shows it: links within it have their heading, all others an address."""
    # Of the extra `release`, which the other tests of the suite are run without.
    from readme_renderer import markdown

    page = markdown.render(metadata_of(built[1]).get_payload())
    headings = set(re.findall(r'\bid="([^"]+)"', page))
    assert {"user-content-imgpkg-for-python", "user-content-install"} <= headings
    targets = re.findall(r'\b(?:href|src)="([^"]+)"', page)
    inside = {target.removeprefix("#") for target in targets if target.startswith("#")}
    assert inside <= headings
    assert [target for target in targets if not target.startswith(("#", "https://"))] == []


def test_name_their_contents(built):
    with zipfile.ZipFile(built[1]) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".cdx.json"))
        bill = json.loads(archive.read(name))
    assert bill["metadata"]["component"]["purl"] == f"pkg:pypi/imgpkg-py@{imgpkg.__version__}"
    required = {
        line.split(";")[0] for line in metadata_of(built[1]).get_all("Requires-Dist") if "extra" not in line
    }
    names = {component["name"] for component in bill["components"]}
    assert len(names) == len(required)
    assert "cryptography" in names


def test_work_where_they_are_installed(installed):
    done = subprocess.run(
        [sys.executable, release.ROOT / "tools/smoke.py", installed / "imgpkg/bin"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deflate encoder: C" in done.stdout


def test_sources_can_be_installed_without_a_compiler(built, tmp_path):
    shutil.unpack_archive(built[0], tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    words = ["-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--no-cache-dir"]
    done = subprocess.run(
        [sys.executable, *words, "--target", tmp_path / "target", folder],
        env={"CC": "false", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = subprocess.run(
        [sys.executable, "-m", "imgpkg", "version", "--verbose", "--tty"],
        env={"PYTHONPATH": str(tmp_path / "target")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "deflate encoder: pure Python" in shown.stdout


def test_sources_have_what_their_tests_need(built, tmp_path):
    """Pages, examples and tools are read by these tests; the code is that of the archive, too."""
    shutil.unpack_archive(built[0], tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    # Links and the navigation: every page and what it leads to. A release is tested with all tests.
    pages = ("test_links_lead_somewhere", "test_the_site_shows_every_page_and_no_other")
    paths = ["tests/oci/test_manifest.py", *(f"tests/test_docs.py::{name}" for name in pages)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--no-cov",
            "-m",
            "not slow",
            *paths,
        ],
        cwd=folder,
        env={"PYTHONPATH": str(folder / "src"), "PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert " passed" in done.stdout


def test_every_platform_is_built(tmp_path):
    names = []
    for platform, machines in (("linux", "x86_64,aarch64"), ("macos", "x86_64,arm64")):
        words = ["--print-build-identifiers", "--platform", platform, "--archs", machines]
        done = subprocess.run(
            [release.tool("cibuildwheel"), *words, release.ROOT], capture_output=True, text=True, check=True
        )
        names += done.stdout.split()
    assert sorted(names) == [
        "cp310-macosx_arm64",
        "cp310-macosx_x86_64",
        "cp310-manylinux_aarch64",
        "cp310-manylinux_x86_64",
        "cp310-musllinux_aarch64",
        "cp310-musllinux_x86_64",
    ]


def test_are_not_for_the_public_without_an_address():
    with pytest.raises(release.Failed, match=r"\[project.urls\]"):
        release.check_publishable()
