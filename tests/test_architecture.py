"""The rules of docs/architecture.md as code: imports, sizes, names, and where tests are."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "imgpkg"
FILES = sorted(SOURCE.rglob("*.py"))

MAY_IMPORT = {
    # The public name of a type: looking it up loads it, and naming it does not.
    "errors": {"imgpkg"},
    "cancellation": {"errors"},
    "deadline": {"cancellation", "errors"},
    "locks": {"errors", "cancellation", "transport"},
    "dataclass": set(),
    "deprecation": set(),
    "expression": set(),
    "values": set(),
    "events": {"oci", "errors"},
    "progress": {"events"},
    "observation": {"events", "errors", "transport", "version"},
    "settings": {"values"},
    "version": set(),
    "oci": {"errors", "values"},
    "transport": {"errors", "cancellation", "version"},
    "auth": {"oci", "transport", "errors", "settings", "values", "cancellation", "locks"},
    "registry": {
        "oci",
        "transport",
        "auth",
        "errors",
        "events",
        "version",
        "cancellation",
        "locks",
        "values",
    },
    "content": {"oci", "registry", "errors", "events", "cancellation"},
    "trust": {"oci", "errors", "values"},
    "bundle": {
        # Types that are rarely needed.
        "imgpkg",
        "oci",
        "content",
        "registry",
        "trust",
        "errors",
        "events",
        "values",
    },
    "operations": {
        # Types of parameters that few programs give.
        "imgpkg",
        "bundle",
        "trust",
        "content",
        "registry",
        "oci",
        "session",
        "settings",
        "auth",
        "errors",
        "events",
        "cancellation",
        "deadline",
        "observation",
        "values",
        # Workers have the version of the process that gives them work.
        "version",
    },
    "session": {
        "observation",
        # The public name of a type: looking it up loads it, and naming it does not.
        "imgpkg",
        "settings",
        "oci",
        "auth",
        "transport",
        "registry",
        "errors",
        "events",
        "cancellation",
        "deadline",
        "locks",
    },
    "drawing": {"operations", "oci", "errors"},
    "embedded": {"oci", "errors", "version"},
    "adaptors": {"session", "registry", "auth", "transport", "errors"},
    "aio": {
        # The verbs, which are loaded in the threads that they block.
        "imgpkg",
        "session",
        "settings",
        "operations",
        "transport",
        "auth",
        "oci",
        "errors",
        "events",
        "cancellation",
        "values",
    },
    "testing": {"session", "settings", "embedded", "oci", "errors"},
}
# What every room may use.
EVERYWHERE = {"dataclass", "deprecation", "expression"}
ONE_HOME = {
    "yaml": "bundle",
    "subprocess": "auth content/deflate",
    "isal": "content",
    "backports": "content",
    "google": "auth/cloud",
    "botocore": "auth/cloud",
    "azure": "auth/cloud",
    "cryptography": "trust testing",
    "sigstore": "trust",
    "dask": "operations/cluster",
    "distributed": "operations/cluster",
    "requests": "adaptors",
    "httpx": "adaptors",
    "anyio": "adaptors",
    # Dask writes to it what it also raises, and a command lets it not.
    "logging": "observation cli",
    "opentelemetry": "observation",
    "pytest": "testing",
    "hypothesis": "testing",
}
# Documents that are not in the repository and not public.
OUTSIDE = {"auth-spec", "imgpkg-spec"}
# One class for each HTTP client, and for coroutines, so that a program changes only the module.
SAME_FOR_EACH_CLIENT = {"RegistryAuth", "Session", "RegistryClient", "ImageFiles", "Readable"}
# Modules of 50 lines or fewer that need no more: constants, and the entry point of `python -m imgpkg`.
SHORT = {"version.py", "oci/media.py", "__main__.py"}
# Tests of several modules of their folder together, or of none.
SEVERAL = {
    "auth/cloud": {"pull_through_the_command"},
    "cli": {"secrets", "start_up"},
    "embedded": {"servers_of_the_tests"},
    "operations": {
        "endless_nesting",
        "field_registries",
        "request_floors",
        "request_rounds",
        "wrong_passwords",
    },
}


# What is imported inside functions, where it is used: a command starts in the time that reading its modules
# takes. Each is imported at the top of a module in its own room only, or nowhere.
LATE = {
    "imgpkg.oci.config": "few commands look at more of a configuration than its labels",
    "imgpkg.oci.cut": "few copies have left platforms out",
    "imgpkg.oci.encoding": "manifests that are made, and JSON in Go's form",
    "imgpkg.oci.grammar": "references by Docker's rules, which no command reads",
    "imgpkg.oci.platform": "few copies choose platforms",
    "imgpkg.auth.cloud": "only where a keychain is active",
    "imgpkg.auth.diagnosis": "only to explain a decision, a refusal or a misspelt variable",
    "imgpkg.auth.pull_secret": "few credentials are in Kubernetes",
    "imgpkg.auth.secret_file": "few credentials are in files",
    "imgpkg.auth.inventory": "only the lists of logins",
    "imgpkg.auth.pattern": "the credential helper reads its question first",
    "imgpkg.bundle": "an image is no bundle",
    "imgpkg.cli": "a command needs its own modules, and help none of them",
    "imgpkg.content.deflate": "the encoder in Python, where the one in C is missing; its name, for `version`",
    "imgpkg.content.artifact_folder": "artifacts with folders",
    "imgpkg.content.archive": "copies to and from tar files",
    "imgpkg.content.image": "images that are made",
    "imgpkg.content.output": "few pushes write a file",
    "imgpkg.content.layout": "copies to and from layouts",
    "imgpkg.content.removal": "only where a folder is replaced",
    "imgpkg.content.pack": "layers that are packed",
    "imgpkg.deadline": "only programs have time limits and tokens",
    "imgpkg.drawing": "only pictures of bundles",
    "imgpkg.embedded": "only `registry serve`",
    "imgpkg.errors": "the words for what went wrong, once something has",
    "imgpkg.oci.correction": "references that are none",
    "imgpkg.oci.reference": "words of a command line that may be references",
    "imgpkg.observation": "only programs that use logging or OpenTelemetry",
    "imgpkg.operations": "one verb a command",
    "imgpkg.registry.auth.explainer": "only after a failure",
    "imgpkg.registry.catalog": "few programs list all repositories",
    "imgpkg.registry.deletion": "few commands delete anything",
    "imgpkg.registry.listing": "few commands list anything",
    "imgpkg.registry.pieces": "uploads where a proxy limits the size of a request",
    "imgpkg.registry.ranges": "blobs that are large",
    "imgpkg.registry.mirrors": "only where a registries.conf is read",
    "imgpkg.registry.repetition": "only after a failure that is tried again",
    "imgpkg.registry.remedy": "only after a failure",
    "imgpkg.registry.registriesconf": "only where a registries.conf is read",
    "imgpkg.registry.client": "whoever asks for credentials alone sends no request to a registry",
    "imgpkg.registry.base": "only to check a login and to print a token",
    "imgpkg.registry.signing": "programs that sign requests of other HTTP clients",
    "imgpkg.session": "commands without a registry",
    "imgpkg.settings": "commands without a registry",
    "imgpkg.testing": "a run of pytest may use no registry, and a registry no TLS",
    "imgpkg.trust": "only signatures of identities",
    "imgpkg.transport": "HTTP is loaded with the first request, the tracer for `--debug`",
    "imgpkg.version": "only `version`",
    "botocore": "keychain ecr",
    "google": "keychain gke",
    "isal": "layers that are compressed",
    "sigstore": "only signatures of identities",
    "yaml": "lock files",
    "backports": "layers compressed with zstd",
    "compression": "layers compressed with zstd",
    "base64": "inline blobs and binary YAML",
    "concurrent": "only layers of several pieces, archives, and SDKs of clouds",
    "glob": "only layouts that are written",
    "tempfile": "only layers that are packed, and what is kept of a cloud",
    "dataclasses": "only programs and SDKs of clouds look at the fields of values",
    "decimal": "numbers in errors of registries",
    "http": "the names of statuses, for errors; a metadata service",
    "hashlib": "what is read by its digest",
    "queue": "only work of several threads",
    "random": "requests that are sent again",
    "datetime": "times that people, clouds and certificates write",
    "email": "Retry-After with a date",
    "encodings": "host names beyond ASCII",
    "inspect": "only programs look at the fields of values",
    "ipaddress": "hosts that are addresses",
    "platform": "only `version`",
    "pwd": "no HOME in the environment",
    "logging": "only copies with a cluster",
    "selectors": "only programs",
    "shutil": "programs, and files that are kept when a folder is replaced",
    "signal": "only programs",
    "ssl": "only https",
    "subprocess": "only programs",
    "traceback": "only `--debug`",
}


class Module(NamedTuple):
    """What a file has; trees of all files would fill the memory."""

    # Pairs of (module, name, line, is_type_checking_only), and (module, line) inside functions.
    imports: tuple
    late_imports: tuple
    # Names, with lines and lengths.
    functions: tuple
    classes: tuple
    docstring: str | None
    text: str


@cache
def read(path):
    """Read a file once for all rules."""
    text = path.read_text()
    tree = ast.parse(text)
    nodes = list(ast.walk(tree))
    functions = [node for node in nodes if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    return Module(
        tuple(_imports(nodes)),
        tuple(_late_imports(functions)),
        tuple((node.name, node.lineno, node.end_lineno - node.lineno + 1) for node in functions),
        tuple(node.name for node in nodes if isinstance(node, ast.ClassDef)),
        ast.get_docstring(tree),
        text,
    )


def _imports(nodes):
    guarded = {
        id(node)
        for branch in nodes
        if isinstance(branch, ast.If) and getattr(branch.test, "id", "") == "TYPE_CHECKING"
        for node in ast.walk(branch)
    }
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, "", node.lineno, id(node) in guarded
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield node.module or "", alias.name, node.lineno, id(node) in guarded


def _late_imports(functions):
    for function in functions:
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                yield from ((name.name, node.lineno) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module, node.lineno


def room(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def breaches(rule):
    """Return what `rule` yields for each module, with its path."""
    return [f"{path.relative_to(SOURCE)}: {said}" for path in FILES for said in rule(path, read(path))]


class TestEachModule:
    """One test for each rule, not for each module: there are hundreds, and each is read once."""

    def test_imports_only_what_its_room_may(self):
        def rule(path, module):
            own = room(path)
            if own in ("cli", "__init__", "__main__"):
                return
            for imported, name, line, _ in module.imports:
                parts = imported.split(".")
                other = parts[1] if len(parts) > 1 else name or "imgpkg"
                if parts[0] == "imgpkg" and other not in {own, *EVERYWHERE, *MAY_IMPORT[own]}:
                    yield f"{line}: {own} must not import {other}"

        assert breaches(rule) == []

    def test_has_dataclasses_without_generated_code(self):
        def rule(path, module):
            names = {name for imported, name, *_ in module.imports if imported == "dataclasses"}
            # The small registry is not loaded by a command that has to start fast.
            if room(path) != "embedded" and path.name != "dataclass.py":
                yield from names - {"asdict"}

        assert breaches(rule) == []

    def test_imports_no_private_name_of_another_module(self):
        def rule(_path, module):
            for imported, name, line, _ in module.imports:
                is_private = name.startswith("_") and not name.startswith("__")
                if imported.startswith("imgpkg") and imported != "imgpkg.content" and is_private:
                    yield f"{line}: {imported}.{name} is private"

        assert breaches(rule) == []

    def test_imports_heavy_modules_only_in_their_one_home(self):
        def rule(path, module):
            where = path.relative_to(SOURCE).as_posix()
            for imported, _, line, _ in module.imports:
                homes = ONE_HOME.get(imported.split(".")[0], "").split()
                if homes and not any(where.startswith(f"{home}/") for home in homes):
                    yield f"{line}: {imported} lives in {homes}"

        assert breaches(rule) == []

    def test_imports_inside_functions_only_what_the_list_names(self):
        def rule(_path, module):
            for name, line in module.late_imports:
                if not any(f"{name}.".startswith(f"{late}.") for late in LATE):
                    yield f"{line}: {name}"

        assert breaches(rule) == []

    def test_fits_in_400_lines(self):
        assert [path for path in FILES if len(read(path).text.splitlines()) > 400] == []

    def test_has_no_function_over_45_lines(self):
        def rule(_path, module):
            for name, line, length in module.functions:
                if length > 45:
                    yield f"{line}: {name} has {length} lines"

        assert breaches(rule) == []

    def test_points_at_no_document_that_its_reader_cannot_open(self):
        assert breaches(lambda _, module: OUTSIDE & set(re.findall(r"[a-z]+-spec", module.text))) == []

    def test_says_in_a_docstring_what_lives_in_it(self):
        assert [path for path in FILES if not read(path).docstring] == []


def test_modules_import_each_other_without_a_cycle():
    graph = {}
    for path in FILES:
        name = "imgpkg." + ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        graph[name] = set()
        for module, imported, _, type_only in read(path).imports:
            if module.startswith("imgpkg") and not type_only:
                graph[name] |= {module, f"{module}.{imported}"}
    finished, walking = set(), []

    def walk(name):
        assert name not in walking, " → ".join([*walking, name])
        if name in finished:
            return
        walking.append(name)
        for other in sorted(graph[name] & graph.keys() - {name, "imgpkg"}):
            walk(other)
        finished.add(walking.pop())

    for name in sorted(graph):
        walk(name)


class TestTheTree:
    def test_uses_every_late_import_that_the_list_names(self):
        used = [f"{name}." for path in FILES for name, _ in read(path).late_imports]
        unused = [late for late in LATE if not any(name.startswith(f"{late}.") for name in used)]
        assert unused == []

    def test_has_at_most_365_modules(self):
        assert len(FILES) <= 365

    def test_has_at_most_10_short_modules(self):
        short = [
            path.relative_to(SOURCE).as_posix()
            for path in FILES
            if path.name != "__init__.py" and len(read(path).text.splitlines()) <= 50
        ]
        assert len(set(short) - SHORT) <= 10, short

    def test_has_one_class_of_each_name(self):
        """A name has one meaning, whether it is private or not."""
        homes = {}
        for path in FILES:
            for name in read(path).classes:
                homes.setdefault(name.lstrip("_"), []).append(path.relative_to(SOURCE).as_posix())
        several = {name: found for name, found in homes.items() if len(found) > 1}
        assert several.keys() - SAME_FOR_EACH_CLIENT == set(), several


def test_tests_point_at_no_document_that_their_reader_cannot_open():
    for path in TESTS.rglob("*.py"):
        if path != Path(__file__):
            assert not OUTSIDE & set(re.findall(r"[a-z]+-spec", path.read_text())), path


TEST_FOLDERS = sorted({path.parent for path in TESTS.rglob("test_*.py")} - {TESTS})


@pytest.mark.parametrize("folder", TEST_FOLDERS, ids=lambda folder: folder.relative_to(TESTS).as_posix())
def test_tests_are_named_after_the_modules_of_their_room(folder):
    room = folder.relative_to(TESTS)
    if not (SOURCE / room).is_dir():
        return
    modules = {path.stem for path in (SOURCE / room).iterdir()} - {"__init__", "__pycache__"}
    allowed = modules | SEVERAL.get(room.as_posix(), set()) | {room.name}
    for path in sorted(folder.glob("test_*.py")):
        name = path.stem.removeprefix("test_")
        named = [module for module in allowed if name == module or name.startswith(f"{module}_")]
        assert named, f"{path}: no module of {room} begins the name"


def test_the_architecture_page_names_only_files_that_exist():
    page = (TESTS.parent / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"[a-z_]+(?:/[a-z0-9_]+)*\.py", page))
    assert len(named) > 50
    for name in named:
        assert (SOURCE / name).is_file() or (TESTS.parent / name).is_file(), name
