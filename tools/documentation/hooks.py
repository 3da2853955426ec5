"""What mkdocs calls while it builds the site: pages that are made of other sources, and the links of all."""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

ROOT = Path(__file__).parent.parent.parent
# mkdocs loads this file by its path; the modules beside it are imported by their names.
sys.path.insert(0, str(ROOT))

from tools.documentation import code_links, command_pages, flowcharts, library_pages, outside  # noqa: E402 - the path has to be known first

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

# The document of the repository that each page is made of.
_documents: dict[str, str] = {}


# Entries of the navigation that stand for pages which are made here.
_COMMANDS, _LIBRARY = "generated:commands", "generated:library"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages that are made here into the navigation, where it has a name for them."""
    every = command_pages.sheets()
    listed = [{sheet.command.full_name: command_pages.place_of(sheet)} for sheet in every]
    lists = {
        _COMMANDS: [*listed, {"docker-credential-imgpkg": command_pages.HELPER}],
        _LIBRARY: [{title: place} for place, title in library_pages.titles().items()],
    }
    config.nav = _filled(config.nav, lists)
    return config


def _filled(entry: object, lists: Mapping[str, object]) -> object:
    if isinstance(entry, list):
        return [_filled(each, lists) for each in entry]
    if isinstance(entry, dict):
        return {title: _filled(each, lists) for title, each in entry.items()}
    return lists.get(entry, entry) if isinstance(entry, str) else entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made of files outside of `docs/`: those of the navigation, and all linked ones."""
    _documents.clear()
    wanted = [path for path in outside.PAGES if (ROOT / path).exists()]
    for file in files.documentation_pages():
        _documents[file.src_uri] = f"docs/{file.src_uri}"
        wanted += outside.targets(file.content_string, f"docs/{file.src_uri}")
    for place, text in (command_pages.pages() | library_pages.pages()).items():
        files.append(File.generated(config, place, content=text))
    while wanted:
        path = wanted.pop()
        place = outside.site_page(path)
        if place in files.src_uris:
            continue
        if not place.endswith(".md"):
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
            continue
        text = outside.page_of(path)
        files.append(File.generated(config, place, content=text))
        if path.endswith(".md"):
            _documents[place] = path
            wanted += outside.targets(text, path)
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Draw flowcharts, and let links to files outside of `docs/` lead to the pages that are made of them."""
    place = page.file.src_uri
    if place == code_links.VARIABLES:
        # Whoever searches for a variable wants this page, as for commands theirs.
        page.meta["search"] = {"boost": 2}
    if place not in _documents:
        return markdown
    markdown = flowcharts.drawn(markdown)
    return outside.with_links_of_the_site(markdown, _documents[place], place)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Make links of the names of commands, flags, variables and of the library in running text."""
    place = page.file.src_uri
    # Files that are shown as they are, and the history, whose names may be gone.
    if place.startswith("files/") or place == outside.PAGES["CHANGELOG.md"]:
        return html
    is_of_library = place.startswith(library_pages.FOLDER)
    addresses = {
        file.src_uri: file.url_relative_to(page.file) for file in files if file.src_uri.endswith(".md")
    }
    # No page leads to itself, but within the long ones of the library.
    if not is_of_library:
        addresses.pop(place, None)
    return code_links.with_links(
        html, _reference(), addresses, is_of_library=is_of_library or place == "library.md"
    )


@lru_cache
def _reference() -> code_links.Reference:
    return code_links.Reference((ROOT / "docs" / code_links.VARIABLES).read_text(encoding="utf-8"))
