"""Files of the repository outside `docs/` that pages link to: each becomes a page of the site.

On a forge the links lead to the files. In the site a link to a document, a folder or a program leads to a
page that is made of it, so that nothing has to be fetched.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent.parent
# Documents with a place of their own in the navigation.
PAGES = {
    "README.md": "project/readme.md",
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "benchmarks/README.md": "project/benchmarks.md",
}
_PICTURES = frozenset({".svg", ".png", ".jpg", ".gif"})
_LANGUAGES = {
    ".c": "c",
    ".json": "json",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".yaml": "yaml",
    ".yml": "yaml",
}
# Of a folder that a page links to: what a reader wants to see, and no more of it than can be read.
_MOST_FILES, _MOST_BYTES = 30, 50_000
# Whoever searches wants the page that explains the file.
_UNSEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"
_FENCE = re.compile(r"^ *(`{3,}|~{3,})")
_TARGET = re.compile(r'(\]\(|\b(?:src|srcset|href)=")(?!https?:|mailto:|#|data:)([^)"#\s]*)((?:#[^)"\s]*)?)')


def site_page(path: str) -> str:
    """Return the place in the site, relative to its root, of the file or folder `path` of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in PAGES:
        return PAGES[path]
    # A site has no hidden pages.
    place = "/".join(["files", *(part.lstrip(".") for part in path.split("/"))])
    if (ROOT / path).is_dir():
        return f"{place}/index.md"
    return place if Path(path).suffix in {*_PICTURES, ".md"} else f"{place}.md"


def targets(text: str, path: str) -> Iterator[str]:
    """Yield the files of the repository outside `docs/` that the document `path` links to."""
    for line in _prose(text):
        for _, target, _ in _TARGET.findall(line):
            found = _resolved(path, target)
            if not found.startswith("docs/") and (ROOT / found).exists():
                yield found


def with_links_of_the_site(text: str, path: str, place: str) -> str:
    """Return the document `path`, whose page is at `place`, with links that lead to pages of the site."""

    def replaced(found: re.Match[str]) -> str:
        before, target, anchor = found.groups()
        file = _resolved(path, target)
        if not target or not (ROOT / file).exists():
            return found[0]
        to = posixpath.relpath(site_page(file), posixpath.dirname(place))
        # Attributes of HTML are not read as Markdown: they name the page as it is built.
        shown = re.sub(r"\.md$", ".html", to) if before.endswith('"') else to
        return f"{before}{shown}{anchor}"

    prose = {line: _TARGET.sub(replaced, line) for line in _prose(text)}
    inside = False
    lines = []
    for line in text.split("\n"):
        inside ^= bool(_FENCE.match(line))
        lines.append(line if inside else prose.get(line, line))
    return "\n".join(lines)


def page_of(path: str) -> str:
    """Return the Markdown of the page that is made of a file or folder of the repository."""
    file = ROOT / path
    if path.endswith(".md"):
        return file.read_text(encoding="utf-8")
    if file.is_dir():
        shown = [each for each in sorted(file.rglob("*")) if each.is_file()][:_MOST_FILES]
        parts = [f"## {each.relative_to(file).as_posix()}\n\n{_block(each)}" for each in shown]
    else:
        parts = [_block(file)]
    return "\n\n".join([_UNSEARCHED + f"# {path}", *parts]) + "\n"


def _block(file: Path) -> str:
    text = file.read_bytes()[:_MOST_BYTES].decode("utf-8", "replace").rstrip("\n")
    longest = max(map(len, re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{_LANGUAGES.get(file.suffix, 'text')}\n{text}\n{fence}"


def _resolved(path: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), target))


def _prose(text: str) -> Iterator[str]:
    """Yield the lines outside of code blocks."""
    inside = False
    for line in text.split("\n"):
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            yield line
