"""Links from names in running text to the pages of the reference: commands, flags, variables, public names.

The documents have no such links, since the pages exist in the site alone.
"""

from __future__ import annotations

import re
from html import escape, unescape
from typing import TYPE_CHECKING

from tools.documentation import command_pages, library_pages
from tools.documentation.command_sheets import sheets

from imgpkg.cli.commands import COMMANDS, locate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# Links, headings and blocks of code stay as they are.
_CLOSED = re.compile(r"(<(a|pre|h[1-6]|summary|dt|script|style)\b.*?</\2>)", re.DOTALL)
_PIECE = re.compile(r"<code>([^<]+)</code>|<[^>]+>|([^<]+)")
_SET = re.compile(r"(IMGPKG_REGISTRY_[A-Z_]+)_[0-9a-z]+")
# A public name, perhaps with a member after it and what it is called with.
_NAME = re.compile(r"(imgpkg\.)?(errors\.)?([A-Za-z_]+)(?:\.[a-z_]+)?(?:\(.*\))?")
VARIABLES = "variables.md"


class Reference:
    """The pages of the reference by the names that they explain."""

    def __init__(self, variables: str) -> None:
        """Take the text of the page of variables."""
        self._pages = {sheet.command.path: command_pages.place_of(sheet) for sheet in sheets()}
        self._names = {
            name.removeprefix("imgpkg."): f"{place}#{name}"
            for place, listed in library_pages.names().items()
            for name in listed
        }
        errors = {name.removeprefix("errors.") for name in self._names if name.startswith("errors.")}
        # In text without marks, only names that are no words of English.
        self._bare = {name for name in errors if re.fullmatch(r"(?:[A-Z][a-z]+){2,}", name)}
        self._variables = set(re.findall(r"`([A-Z][A-Za-z_]{5,})`", variables))

    def target(self, code: str, *, has_short_names: bool) -> str:
        """Return the place, with an anchor, that explains `code`; empty if none does.

        With `has_short_names`, names of the library count without `imgpkg.` too, but for functions, many of
        which are words or the names of commands.
        """
        found = self._of_command(code) or self._of_variable(code)
        return found or self._of_name(code, has_short_names=has_short_names)

    def bare(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield the parts of a text, each with the place that explains it, or none."""
        for part in re.split(rf"\b({'|'.join(sorted(self._bare))})\b", text):
            yield part, self._names[f"errors.{part}"] if part in self._bare else ""

    def _of_command(self, code: str) -> str:
        words = code.split()
        own = words[:1] == ["imgpkg"]
        command, rest = locate(words[1:] if own else words)
        if not command.path:
            return self._of_flag(code)
        if not own and len(command.path) == 1 and not [word for word in rest if word.startswith("--")]:
            return ""
        flags = {f"--{flag.name}" for flag in command.all_flags if not flag.hidden}
        named = [word.partition("=")[0] for word in rest if word.partition("=")[0] in flags]
        return self._pages[command.path] + (f"#{named[0]}" if len(named) == 1 else "")

    def _of_flag(self, code: str) -> str:
        """Return the place of a flag that one command alone has."""
        name = code.partition("=")[0].partition(" ")[0].removeprefix("--")
        if not code.startswith("--"):
            return ""
        owners = [
            command
            for command in COMMANDS
            if name in {flag.name for flag in command.flags if not flag.hidden}
        ]
        return f"{self._pages[owners[0].path]}#--{name}" if len(owners) == 1 else ""

    def _of_variable(self, code: str) -> str:
        name = code.removeprefix("$").partition("=")[0]
        is_of_a_set = bool(found := _SET.fullmatch(name)) and f"{found[1]}_x" in self._variables
        return VARIABLES if name in self._variables or is_of_a_set else ""

    def _of_name(self, code: str, *, has_short_names: bool) -> str:
        found = _NAME.fullmatch(code)
        if not found:
            return ""
        package, module, name = found.groups()
        if not package and not (has_short_names and name[0].isupper()):
            return ""
        return self._names.get(f"{module or ''}{name}", "") or self._names.get(f"errors.{name}", "")


def with_links(html: str, reference: Reference, relative: Mapping[str, str], *, is_of_library: bool) -> str:
    """Return the content of a page with links at names; `relative` has the address of each page from here.

    On a page of the library names are short, and those of errors are not marked as code.
    """

    def linked(text: str, place: str) -> str:
        page, _, anchor = place.partition("#")
        if page not in relative:
            return text
        href = escape(f"{relative[page]}#{anchor}" if anchor else relative[page])
        return f'<a class="name" href="{href}">{text}</a>'

    def replaced(found: re.Match[str]) -> str:
        code, text = found.groups()
        if code:
            return linked(found[0], reference.target(unescape(code), has_short_names=is_of_library))
        if text and is_of_library:
            return "".join(linked(part, place) for part, place in reference.bare(text))
        return found[0]

    # Every third part is a closed element, and the next one the name of its tag.
    parts = _CLOSED.split(html)
    shown = [_PIECE.sub(replaced, part) if number % 3 == 0 else part for number, part in enumerate(parts)]
    return "".join(part for number, part in enumerate(shown) if number % 3 != 2)  # noqa: PLR2004
