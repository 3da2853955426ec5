"""The pages of the library: which public name is on which page. The text is that of the docstrings."""

from __future__ import annotations

import inspect
from enum import Enum
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple

import imgpkg
from imgpkg import aio, testing
from imgpkg.testing import strategies

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = "reference/library"


class Page(NamedTuple):
    """The names that come from these modules; the longest beginning that fits a module decides."""

    file: str
    title: str
    introduction: str
    modules: tuple[str, ...]


PAGES = (
    Page(
        "session",
        "Sessions and settings",
        "A session has the connections, the tokens and the credentials of all operations that use it.",
        ("session", "settings", "deadline", "deprecation"),
    ),
    Page(
        "credentials",
        "Credentials",
        "Which credential a repository gets, whether a registry accepts it, and logins that are stored.",
        ("auth", "operations.check", "operations.copy.access", "operations.login"),
    ),
    Page(
        "push-pull",
        "Push and pull",
        "Folders that become images and bundles, and the way back; files of any kind.",
        ("operations.artifact", "operations.bundle_pull", "operations.pull", "operations.push"),
    ),
    Page(
        "images",
        "Images and their files",
        "Configurations of images, one image of an index, and the files in its layers.",
        ("bundle.image", "content", "oci.config", "operations.files", "operations.images"),
    ),
    Page(
        "copy",
        "Copy",
        "Images and bundles from anywhere to anywhere, with all that they name.",
        ("operations.copy", "bundle.placement", "bundle.placement_file", "bundle.selection"),
    ),
    Page(
        "bundles",
        "Bundles, locks and descriptions",
        "What a bundle contains, and the files that name images by digest.",
        # And whatever fits no other page.
        ("",),
    ),
    Page(
        "verification",
        "Verification, signatures and inventories",
        "Whether every byte is there, who has signed it, and what a file or a repository has.",
        (
            "bundle.inventory",
            "bundle.policy_file",
            "operations.integrity",
            "operations.inventory",
            "operations.signing",
            "operations.verification",
            "trust",
        ),
    ),
    Page(
        "tags",
        "Tags, repositories and deletion",
        "Tags and their versions, the repositories of a registry, and what may be deleted from them.",
        (
            "oci.tag_version",
            "operations.catalog",
            "operations.delete",
            "operations.prune",
            "operations.referrers",
            "operations.retag",
            "operations.tag",
        ),
    ),
    Page(
        "registries",
        "References, manifests and registries",
        "The values of the OCI specifications, and the client that sends single requests.",
        ("oci", "registry"),
    ),
    Page("events", "Events", "What a long operation reports while it runs.", ("events", "transport")),
)
_BESIDE_ERRORS = ("Diagnostic", "Refusal", "RefusalKind", "printable")
ADAPTORS, COROUTINES, ERRORS, TESTING = (
    f"{FOLDER}/{name}.md" for name in ("adaptors", "coroutines", "errors", "testing")
)


def names() -> dict[str, tuple[str, ...]]:
    """Return the names on each page by its place, in the order of the navigation, the adaptors left out."""
    found: dict[str, list[str]] = {f"{FOLDER}/{page.file}.md": [] for page in PAGES}
    for name in imgpkg.__all__:
        if name not in ("__version__", "errors") and not _is_error(name):
            found[_place_of(name)].append(f"imgpkg.{name}")
    listed = {place: tuple(sorted(each, key=_order)) for place, each in found.items()}
    return listed | {ERRORS: _error_names()}


def _error_names() -> tuple[str, ...]:
    """Return the public names of `imgpkg.errors`, in the order of their definition."""
    errors = import_module("imgpkg.errors")
    shown = [name for name, value in vars(errors).items() if inspect.isclass(value) and _is_own(name, value)]
    return tuple(
        f"imgpkg.errors.{name}" for name in [*shown, "Diagnostic", "Refusal", "RefusalKind", "printable"]
    )


def pages() -> dict[str, str]:
    """Return the Markdown of all pages by their places, in the order of the navigation."""
    listed = names()
    made = {
        place: _page(page.title, page.introduction, listed[place])
        for page in PAGES
        for place in [f"{FOLDER}/{page.file}.md"]
    }
    made[ERRORS] = _page("Errors", _errors(), listed[ERRORS])
    made[ADAPTORS] = _page(
        "Other HTTP clients",
        "Objects for the `auth=` of requests and httpx. See [the page of the library]"
        "(../../library.md#other-http-clients).",
        ("imgpkg.adaptors.requests.RegistryAuth", "imgpkg.adaptors.httpx.RegistryAuth"),
    )
    made[COROUTINES] = _page(
        "Coroutines",
        "The verbs of the library for asyncio. See [the page of the library](../../library.md#coroutines).",
        tuple(f"imgpkg.aio.{name}" for name in sorted(aio.__all__, key=_order_of_coroutines)),
    )
    made[TESTING] = _page(
        "Tests of other programs",
        "A registry for tests, what can go wrong with it, small images, and values for property tests. See "
        "[the page about tests]"
        "(../../testing.md).",
        _testing_names(),
    )
    return made


def _testing_names() -> tuple[str, ...]:
    """Return the public names of `imgpkg.testing`, and those of its modules."""
    found: list[str] = []
    for name in testing.__all__:
        value = getattr(testing, name)
        own = _functions(value) if inspect.ismodule(value) else [""]
        found += [f"imgpkg.testing.{name}{each}" for each in own]
    # Not among the names of the package, which needs no hypothesis.
    return (*found, *(f"imgpkg.testing.strategies{each}" for each in _functions(strategies)))


def _functions(module: ModuleType) -> list[str]:
    return [
        f".{name}"
        for name, value in vars(module).items()
        if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
    ]


def _is_error(name: str) -> bool:
    """Return whether the public name is an exception, which is on the page of errors."""
    value = getattr(imgpkg, name)
    return inspect.isclass(value) and issubclass(value, imgpkg.ImgpkgError)


def titles() -> dict[str, str]:
    """Return the title of each page by its place, in the order of the navigation."""
    return {place: text.partition("\n# ")[2].partition("\n")[0] for place, text in pages().items()}


def _page(title: str, introduction: str, listed: tuple[str, ...]) -> str:
    entries = "\n\n".join(map(_entry, listed))
    return f"---\nsearch:\n  boost: 1.5\n---\n\n# {title}\n\n{introduction}\n\n{entries}\n"


def _entry(name: str) -> str:
    """Return what mkdocstrings replaces by the docstring; below it the members of an enumeration."""
    value = getattr(imgpkg, name.removeprefix("imgpkg."), None)
    if not (inspect.isclass(value) and issubclass(value, Enum)):
        return f"::: {name}"
    members = "\n".join(f"- `{value.__name__}.{member.name}`: `{member.value!r}`" for member in value)
    return f"::: {name}\n\nMembers:\n\n{members}"


def _errors() -> str:
    """Return the docstring of the module, with its tree as it is drawn."""
    first, tree, *rest = inspect.getdoc(import_module("imgpkg.errors")).split("\n\n")
    return "\n\n".join([first, f"```text\n{tree}\n```", *rest])


def _place_of(name: str) -> str:
    # An alias of types does not say where it is defined.
    home = imgpkg._HOMES[name]  # noqa: SLF001 - the table of the package itself
    fitting = [
        (len(module), page.file)
        for page in PAGES
        for module in page.modules
        if not module or f"{home}.".startswith(f"{module}.")
    ]
    return f"{FOLDER}/{max(fitting)[1]}.md"


def _order(name: str) -> tuple[bool, str]:
    """Functions first, as the verbs of the page; then classes."""
    return inspect.isclass(getattr(imgpkg, name.removeprefix("imgpkg."))), name


def _order_of_coroutines(name: str) -> tuple[bool, str]:
    return inspect.isclass(getattr(aio, name)), name


def _is_own(name: str, value: type) -> bool:
    return issubclass(value, Exception) and value.__module__ == "imgpkg.errors" and not name.startswith("_")
