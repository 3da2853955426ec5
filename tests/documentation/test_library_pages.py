"""Every public name is on one page of the library, and names in running text lead to their pages."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest
from tools.documentation.code_links import Reference, with_links
from tools.documentation.library_pages import names, pages, titles

import imgpkg.aio
import imgpkg.testing

PROJECT = Path(__file__).parent.parent.parent
REFERENCE = Reference((PROJECT / "docs/variables.md").read_text())
COMMANDS, LIBRARY = "reference/commands", "reference/library"


def test_every_public_name_is_on_one_page():
    listed = [name.removeprefix("imgpkg.") for each in names().values() for name in each]
    errors = {name for name in imgpkg.__all__ if f"errors.{name}" in listed}
    assert sorted(name for name in listed if not name.startswith("errors.")) == sorted(
        set(imgpkg.__all__) - {"__version__", "errors"} - errors
    )
    assert all(issubclass(getattr(imgpkg, name), Exception) for name in errors)


def test_every_exception_is_on_the_page_of_errors():
    listed = {name.rpartition(".")[2] for name in names()[f"{LIBRARY}/errors.md"]}
    tree = {
        name
        for name, value in vars(imgpkg.errors).items()
        if isinstance(value, type) and issubclass(value, imgpkg.ImgpkgError) and not name.startswith("_")
    }
    assert len(tree) > 30
    assert tree - listed == set()


def test_a_page_has_an_entry_for_each_of_its_names():
    for place, text in pages().items():
        entries = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
        assert place.endswith(("adaptors.md", "coroutines.md", "testing.md")) or entries == list(
            names()[place]
        )
    assert list(titles()) == list(pages())
    assert all(titles().values())


def test_each_coroutine_has_an_entry():
    entries = re.findall(r"^::: imgpkg.aio.(\S+)$", pages()[f"{LIBRARY}/coroutines.md"], re.MULTILINE)
    assert sorted(entries) == sorted(imgpkg.aio.__all__)
    assert {"copy", "Session", "RegistryClient"} <= set(entries)


def test_the_registry_for_tests_has_an_entry_for_each_of_its_names():
    entries = re.findall(r"^::: imgpkg.testing.(\S+)$", pages()[f"{LIBRARY}/testing.md"], re.MULTILINE)
    assert {entry.partition(".")[0] for entry in entries} == {*imgpkg.testing.__all__, "strategies"}
    assert {"serve", "RegistryServer", "faults.stalled", "strategies.manifests"} <= set(entries)


def test_enumerations_have_their_members():
    text = "\n".join(pages().values())
    enums = [each for each in map(imgpkg.__getattribute__, imgpkg.__all__) if isinstance(each, type)]
    for value in [each for each in enums if issubclass(each, Enum)]:
        for member in value:
            assert f"- `{value.__name__}.{member.name}`: `{member.value!r}`" in text


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("imgpkg copy", f"{COMMANDS}/copy.md"),
        ("imgpkg auth explain REFERENCE...", f"{COMMANDS}/auth-explain.md"),
        ("imgpkg copy --to-tar -", f"{COMMANDS}/copy.md#--to-tar"),
        ("imgpkg copy --tar x --to-repo y", f"{COMMANDS}/copy.md"),
        ("copy --attachments", f"{COMMANDS}/copy.md#--attachments"),
        ("auth login", f"{COMMANDS}/auth-login.md"),
        ("--keep-newest 3", f"{COMMANDS}/prune.md#--keep-newest"),
        ("--password-stdin", ""),
        ("--registry-token", ""),
        ("--file-exclude-defaults", ""),
        ("copy", ""),
        ("imgpkg", ""),
        ("imgpkg.copy", f"{LIBRARY}/copy.md#imgpkg.copy"),
        ("imgpkg.copy_to_tar(source, path)", f"{LIBRARY}/copy.md#imgpkg.copy_to_tar"),
        ("imgpkg.nosuch", ""),
        ("imgpkg.ImgpkgError", f"{LIBRARY}/errors.md#imgpkg.errors.ImgpkgError"),
        ("imgpkg.errors.NotFound", f"{LIBRARY}/errors.md#imgpkg.errors.NotFound"),
        ("IMGPKG_USERNAME", "variables.md"),
        ("$IMGPKG_REGISTRY_PASSWORD_0", "variables.md"),
        ("IMGPKG_REGISTRY_NOSUCH_0", ""),
        ("DOCKER_CONFIG", "variables.md"),
        ("ImagesLock", ""),
        ("", ""),
    ],
)
def test_code_leads_to_the_page_that_explains_it(code, place):
    assert REFERENCE.target(code, has_short_names=False) == place


@pytest.mark.parametrize(
    ("code", "place"),
    [
        ("Session.stop", f"{LIBRARY}/session.md#imgpkg.Session"),
        ("Settings()", f"{LIBRARY}/session.md#imgpkg.Settings"),
        ("errors.NotFound", f"{LIBRARY}/errors.md#imgpkg.errors.NotFound"),
        ("NotFound", f"{LIBRARY}/errors.md#imgpkg.errors.NotFound"),
        ("copy", ""),
        ("None", ""),
    ],
)
def test_names_of_the_library_are_short_on_its_pages(code, place):
    assert REFERENCE.target(code, has_short_names=True) == place


def linked(html, *, is_of_library=False):
    pages = {f"{COMMANDS}/copy.md": "copy.html", f"{LIBRARY}/errors.md": "e.html"}
    return with_links(html, REFERENCE, pages, is_of_library=is_of_library)


def test_links_are_made_in_running_text_alone():
    copy = "<code>imgpkg copy</code>"
    link = f'<a class="name" href="copy.html">{copy}</a>'
    for closed in ("<a href='x'>{}</a>", "<pre>{}</pre>", "<h2 id='x'>a {} b</h2>", "<dt>{}</dt>"):
        assert linked(closed.format(copy)) == closed.format(copy)
    assert (
        linked(f"<p>{copy}</p><pre>{copy}</pre><td>{copy}</td>")
        == f"<p>{link}</p><pre>{copy}</pre><td>{link}</td>"
    )


def test_a_page_that_is_not_in_the_site_is_not_linked_to():
    assert linked("<code>imgpkg push</code>") == "<code>imgpkg push</code>"


def test_errors_in_plain_text_are_names_in_docstrings_only():
    text = "<p>Raises InvalidReference or &lt;Cancelled&gt;.</p>"
    assert linked(text) == text
    link = '<a class="name" href="e.html#imgpkg.errors.InvalidReference">InvalidReference</a>'
    assert linked(text, is_of_library=True) == text.replace("InvalidReference", link)
