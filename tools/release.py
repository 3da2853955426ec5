"""Build a release, prove it, and leave it in `dist`: `python tools/release.py --help`.

What is released is the commit that is checked out, never a file that is not in it. Everything is built twice,
in folders with other names and under other settings, and both must be the same bit for bit. docs/releasing.md
has the process of which this is a step.
"""

from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
OLDEST = (3, 10)
# Other settings of a machine on which the same bytes must come out.
OTHER_MACHINE = {"TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7", "LC_ALL": "C", "COLUMNS": "40"}
# Files of the repository that are for the repository alone.
NOT_SHIPPED: frozenset[str] = frozenset()
NOT_IN_GIT = re.compile(r"(PKG-INFO|setup\.cfg|src/imgpkg_py\.egg-info/.*)")


class Failed(Exception):
    """A release that must not be published, and why."""


def say(text: str) -> None:
    """Print the heading of a step."""
    print(f"== {text}", flush=True)


def run(*words: str, cwd: Path = ROOT, env: dict[str, str] | None = None, quiet: bool = True) -> str:
    """Run a program; return what it printed, or raise Failed with it."""
    done = subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Failed(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout or ''}")
    return done.stdout or ""


def tool(name: str) -> str:
    """Return the path of a program that the extra `release` has installed beside this Python."""
    path = os.path.join(os.path.dirname(sys.executable), name)
    if not os.path.exists(path):
        raise Failed(f"{name} is missing: pip install -e '.[release]'")
    return path


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def export(folder: Path) -> None:
    """Write the files of the commit that is checked out into a new folder."""
    folder.mkdir(parents=True)
    archive = folder.parent / f"{folder.name}.tar"
    # The umask that git uses for archives is its own, not that of the user.
    run("git", "-c", "tar.umask=0022", "archive", "--format=tar", f"--output={archive}", "HEAD")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="fully_trusted")
    archive.unlink()


def build(sources: Path, folder: Path, environment: dict[str, str]) -> list[Path]:
    """Build the archive of the sources, and from it the wheel; return both."""
    epoch = run("git", "log", "-1", "--format=%ct").strip()
    settings = {**environment, "SOURCE_DATE_EPOCH": epoch}
    if sys.platform == "linux":
        # Python's own would add the folder in which that Python was built.
        settings["LDSHARED"] = f"{os.environ.get('CC', 'cc')} -shared"
    made = folder / "made"
    run(
        sys.executable, "-m", "build", "--no-isolation", "--outdir", str(made), ".", cwd=sources, env=settings
    )
    (wheel,) = made.glob("*.whl")
    if sys.platform == "linux":
        # Only a wheel that names the oldest C library is accepted by an index.
        path = {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
        run(tool("auditwheel"), "repair", "--wheel-dir", str(made), str(wheel), env={**settings, **path})
        wheel.unlink()
    return sorted(made.iterdir())


def build_twice(work: Path) -> list[Path]:
    """Return what was built, after a second build had the same bytes."""
    say("build twice")
    built = []
    for name, environment in (("one", {}), ("another-folder", OTHER_MACHINE)):
        sources = work / name / "sources"
        export(sources)
        old = os.umask(0o022)
        try:
            built.append(build(sources, work / name, environment))
        finally:
            os.umask(old)
    first, second = ({path.name: digest(path) for path in paths} for paths in built)
    if first != second:
        raise Failed(f"two builds differ: {first} and {second}")
    for name, value in first.items():
        print(f"{value}  {name}")
    return built[0]


def check_sources(path: Path) -> None:
    """Check that the archive has every file of the repository, and no other."""
    say("compare the archive of the sources with the repository")
    with tarfile.open(path) as tar:
        packed = {one.name.partition("/")[2] for one in tar if not one.isdir()}
    known = set(run("git", "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0")) - {""}
    missing = sorted(known - packed - NOT_SHIPPED)
    alien = sorted(name for name in packed - known if not NOT_IN_GIT.fullmatch(name))
    if missing or alien:
        raise Failed(f"the archive lacks {missing} and has {alien}; see MANIFEST.in")
    print(f"{len(packed)} files")


def check_wheel(path: Path) -> None:
    """Check that the wheel has the extension, its SBOM, and no traces of the machine."""
    say("check the wheel")
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (extension,) = (name for name in names if name.endswith(".abi3.so"))
        content = wheel.read(extension)
        (bill,) = (name for name in names if name.endswith(".dist-info/sboms/imgpkg-py.cdx.json"))
        json.loads(wheel.read(bill))
    for trace in {str(ROOT), os.path.expanduser("~"), sys.base_prefix} - {"/", "/usr"}:
        if trace.encode() in content:
            raise Failed(f"{extension} contains the path {trace}")
    run(tool("abi3audit"), "--strict", str(path))
    run(tool("check-wheel-contents"), str(path))
    if sys.platform == "linux":
        shown = run(tool("auditwheel"), "show", str(path))
        print(" ".join(shown.split())[:120])


def check_page(paths: list[Path]) -> None:
    """Check that the package index accepts the archives and can show the page."""
    say("twine check --strict")
    run(tool("twine"), "check", "--strict", *map(str, paths))


def pythons() -> dict[tuple[int, int], str]:
    """Return every Python of this machine from the oldest on, one for each minor version."""
    folders = [
        *os.environ.get("PATH", "").split(os.pathsep),
        *glob.glob(os.path.expanduser("~/.pyenv/versions/*/bin")),
    ]
    found: dict[tuple[int, int], str] = {}
    for folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "python3.[0-9]*"))):
            named = re.fullmatch(r"python3\.(\d+)", os.path.basename(path))
            version = (3, int(named[1])) if named else (0, 0)
            if version < OLDEST or version in found:
                continue
            # A shim of a version manager, or a Debian without venv, cannot make an environment.
            works = subprocess.run([path, "-c", "import ensurepip, venv"], capture_output=True, check=False)
            if works.returncode == 0:
                found[version] = path
    return dict(sorted(found.items()))


def environment(python: str, folder: Path) -> Path:
    """Make an environment that is empty, and return its interpreter."""
    run(python, "-m", "venv", str(folder))
    return folder / "bin/python"


def pip(python: Path, *words: str, env: dict[str, str] | None = None) -> None:
    """Install with the pip of an environment."""
    run(str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", *words, cwd=Path("/"), env=env)


def install_everywhere(wheel: Path, versions: dict[tuple[int, int], str], work: Path) -> Path:
    """Install the wheel into an environment of each Python and use it; return the last environment."""
    folder = work
    for version, python in versions.items():
        name = ".".join(map(str, version))
        say(f"install the wheel with Python {name} and use it")
        folder = work / f"wheel-{name}"
        inside = environment(python, folder)
        pip(inside, "install", str(wheel))
        pip(inside, "check")
        print(run(str(inside), str(ROOT / "tools/smoke.py"), str(folder / "bin"), cwd=work), end="")
    return folder


def install_sources(sources: Path, python: str, work: Path) -> None:
    """Build from the archive of the sources with a compiler and without one, and use both."""
    for name, compiler, encoder in (("a compiler", {}, "C"), ("no compiler", {"CC": "false"}, "pure Python")):
        say(f"install from the sources with {name} and use it")
        folder = work / name.replace(" ", "-")
        inside = environment(python, folder)
        # pip would use the wheel that it built before, with the compiler.
        pip(inside, "install", "--no-cache-dir", str(sources), env=compiler)
        shown = run(str(folder / "bin/imgpkg"), "version", "--verbose", "--tty")
        if f"deflate encoder: {encoder}" not in shown:
            raise Failed(f"expected the encoder {encoder}: {shown}")
        print(run(str(inside), str(ROOT / "tools/smoke.py"), str(folder / "bin"), cwd=work), end="")


def test_sources(sources: Path, tests: str, work: Path) -> None:
    """Run tests of the unpacked archive, in an environment of its own."""
    say(f"unpack the sources and run the tests: {tests}")
    with tarfile.open(sources) as tar:
        tar.extractall(work / "unpacked", filter="data")
    (folder,) = (work / "unpacked").iterdir()
    if tests == "all":
        run("make", "test", cwd=folder, quiet=False)
        return
    inside = environment(sys.executable, folder / ".venv")
    pip(inside, "install", "-e", f"{folder}[test]")
    words = ["-m", "pytest", "-q", "-n", "2", "-m", "not slow", *tests.split()]
    run(str(inside), *words, cwd=folder, quiet=False)


def write_bill(installed: Path, path: Path) -> None:
    """Write the CycloneDX document of a whole installation: every package of it, with its version."""
    say("write the SBOM of an installation")
    run(str(installed / "bin/python"), "-m", "pip", "--quiet", "uninstall", "--yes", "pip", "setuptools")
    words = ["environment", "--output-reproducible", "--spec-version", "1.6", "--of", "JSON", "-o", str(path)]
    project = ["--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application"]
    run(tool("cyclonedx-py"), *words, *project, str(installed / "bin/python"))
    bill = json.loads(path.read_text("utf-8"))
    print(f"{len(bill['components'])} packages")


def check_tree() -> None:
    """Refuse to release what is not committed."""
    if changed := run("git", "status", "--porcelain").strip():
        raise Failed(f"these files are not committed, and would not be in the release:\n{changed}")


def check_publishable() -> None:
    """Refuse what is not ready for the public: an address, a section of the CHANGELOG, a tag."""
    version = (ROOT / "src/imgpkg/version.py").read_text("utf-8").split('"')[-2]
    # Its own process, since the module of that name belongs to the build.
    program = "import setup; print(setup.source_address(open('pyproject.toml').read()))"
    if not run(sys.executable, "-c", program, env={"PYTHONPATH": str(ROOT)}).strip():
        raise Failed("[project.urls] of pyproject.toml still has a reserved name; give the project's address")
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    if not re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        raise Failed(f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`")
    tags = run("git", "tag", "--points-at", "HEAD").split()
    if f"v{version}" not in tags:
        raise Failed(f"the commit has no tag v{version}, but {tags}")


def release(asked: argparse.Namespace, work: Path) -> None:
    """Do all steps, and put the result into the folder that was asked for."""
    if asked.publishable:
        check_publishable()
    if not asked.dirty:
        check_tree()
    built = build_twice(work)
    (wheel,) = (path for path in built if path.suffix == ".whl")
    (sources,) = (path for path in built if path.suffix == ".gz")
    check_page(built)
    check_sources(sources)
    check_wheel(wheel)
    versions = pythons()
    if asked.python:
        versions = {version: versions[version] for version in asked.python}
    installed = install_everywhere(wheel, versions, work)
    install_sources(sources, list(versions.values())[-1], work)
    if asked.tests != "none":
        test_sources(sources, asked.tests, work)
    asked.to.mkdir(parents=True, exist_ok=True)
    bill = asked.to / f"{sources.name.removesuffix('.tar.gz')}.cdx.json"
    write_bill(installed, bill)
    for path in built:
        shutil.copy(path, asked.to / path.name)
    sums = [f"{digest(path)}  {path.name}" for path in (asked.to / path.name for path in [*built, bill])]
    (asked.to / "SHA256SUMS").write_text("\n".join(sums) + "\n")
    names = ", ".join(".".join(map(str, one)) for one in versions)
    say(f"{asked.to} has the release, tried with Python {names}")


def minor(text: str) -> tuple[int, int]:
    """Read a version such as 3.12."""
    major, _, rest = text.partition(".")
    return int(major), int(rest)


def main() -> None:
    """Read the command line and release."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--to", type=Path, default=ROOT / "dist", help="where the result goes (default: dist)"
    )
    parser.add_argument("--tests", default="all", help="tests of the archive: all, none, or paths")
    parser.add_argument("--python", type=minor, action="append", help="a version such as 3.12; default: all")
    parser.add_argument("--dirty", action="store_true", help="build HEAD although files are not committed")
    parser.add_argument("--publishable", action="store_true", help="refuse what is not ready for the public")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="imgpkg-release-") as work:
        try:
            release(asked, Path(work))
        except Failed as failed:
            sys.exit(f"the release failed: {failed}")


if __name__ == "__main__":
    main()
