"""What `--format json` writes, command by command: the examples of docs/json.md.

    IMGPKG_WRITE_PAGES=1 .venv/bin/python -m pytest tests/test_json_page.py

writes the page again. Addresses, times and folders of this machine are replaced.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A command line, what to say of it, and what standard input has."""

    line: str
    text: str = ""
    stdin: str = ""
    code: int = 0
    is_shown: bool = True


HOST = "registry.example.com"
INSIDE = "registry.inside.example"
EXAMPLES = (
    Example(f"imgpkg push -i {HOST}/team/config:v1 -f config --format json"),
    Example(f"imgpkg push -b {HOST}/team/bundle:v1 -f bundle --format json", is_shown=False),
    Example(f"imgpkg pull -b {HOST}/team/bundle:v1 -o out --format json"),
    Example(f"imgpkg copy -b {HOST}/team/bundle:v1 --to-repo {INSIDE}/team/bundle --format json"),
    Example(
        f"imgpkg copy -i {HOST}/team/config:v1 --to-repo {INSIDE}/team/config --dry-run --format json",
        "Nothing is copied with `--dry-run`, and there is a preview in the place of the result:",
    ),
    Example(f"imgpkg describe -b {HOST}/team/bundle:v1 --format json"),
    Example(f"imgpkg tag list -i {HOST}/team/config --digests --format json"),
    Example(f"imgpkg tag resolve -i {HOST}/team/config:v1 --format json"),
    Example(
        f"imgpkg tag resolve -i {HOST}/team/config:v2 --format json",
        "A command that fails has an error, and the fields that it knows:",
        code=3,
    ),
    Example("imgpkg lock -f manifests --format json"),
    Example(f"imgpkg inventory {HOST}/team/config --format json"),
    Example(f"imgpkg verify {HOST}/team/config:v1 --format json"),
    Example(f"imgpkg auth check {HOST}/team/config:v1 --format json"),
    Example(f"imgpkg auth explain {HOST}/team/config --format json"),
    Example(
        f"imgpkg auth login {HOST} -u robot --password-stdin --check=false --format json", stdin="a password"
    ),
    Example("imgpkg auth list --format json"),
    Example(f"imgpkg auth logout {HOST} --format json"),
    Example(f"imgpkg tag delete {HOST}/team/config:v1 --format json"),
    Example(f"imgpkg prune {HOST}/team/bundle --keep v1 --format json"),
    Example(f"imgpkg delete {HOST}/team/bundle:v1 --format json"),
    Example("imgpkg version --format json"),
    Example("imgpkg completion fish --format json"),
    Example("imgpkg help version --format json"),
)
_HEAD = """\
# The JSON of each command

`--format json` writes one document to standard output, whatever happens. [Scripting](scripting.md) says how
to use it. Each command has a [JSON Schema](https://json-schema.org) (draft 2020-12) in `docs/json`,
which describes every field; below is what the commands print. Fields are added over time, and neither renamed
nor removed before 2.0.

All documents have `command`, `ok`, `exitCode`, `warnings` and `seconds`. With `ok` false there is an
[`error`](json/error.json).
"""


def page(shown):
    """Return the page; `shown` are pairs of an example and the document that it has written."""
    parts, seen = [_HEAD], None
    for example, document in shown:
        if not example.is_shown:
            continue
        command = document["command"]
        if command != seen:
            parts.append(f"## {command}\n\nSchema: [{schema_of(command)}](json/{schema_of(command)})\n")
        seen = command
        if example.text:
            parts.append(f"{example.text}\n")
        parts.append(f"```console\n$ {example.line}\n```\n")
        parts.append(f"```json\n{json.dumps(document, indent=2)}\n```\n")
    rest = ("auth token", "registry serve")
    parts.append("## Others\n")
    parts.append(
        "".join(
            f"- `imgpkg {name} --format json`: [{schema_of(name)}](json/{schema_of(name)})\n" for name in rest
        )
    )
    return "\n".join(parts)


def schema_of(command):
    """Return the file name of the schema of a command."""
    return f"{command.replace(' ', '-')}.json"


class Places:
    """The registries of the tests, the home folder, and what stands for them on the page."""

    def __init__(self, outside, inside, home):
        self._names = {outside: HOST, inside: INSIDE}
        self._home = home
        self._digests = {}

    def real(self, text):
        """Return a command line with real registries."""
        for address, name in self._names.items():
            text = text.replace(name, address)
        return text

    def printed(self, document):
        """Return a document with the names of the page, and without what differs from run to run."""
        text = json.dumps(document)
        for address, name in self._names.items():
            text = text.replace(f"http://{address}", f"https://{name}").replace(address, name)
        text = text.replace(str(self._home), "/home/me")
        text = re.sub(r"/run/(?:user|containers)/\d+", "/run/user/1000", text)
        # The digest of a bundle is that of a file in which the address of a registry is.
        text = re.sub(r"[0-9a-f]{64}", lambda match: self._digest(match[0]), text)
        text = re.sub(r'"clockSkewSeconds": -?\d', '"clockSkewSeconds": 0', text)
        return self._steady(json.loads(text))

    def _digest(self, found):
        number = self._digests.setdefault(found, len(self._digests))
        return hashlib.sha256(bytes([number])).hexdigest()

    def _steady(self, read):
        read["seconds"] = 0.25
        if read["command"] == "version":
            read |= {"python": "3.13.1", "encoder": "C"}
        for key in ("script", "help"):
            if key in read:
                read[key] = f"{read[key][:50]}..."
        return _with_even_sizes(read)


def _with_even_sizes(part, key=""):
    """Return a document with the same size for all that is compressed."""
    if isinstance(part, dict):
        even = {name: _with_even_sizes(value, name) for name, value in part.items()}
        # In the order of the real digests it would differ from run to run.
        return dict(sorted(even.items())) if all(":" in name for name in even) else even
    if isinstance(part, list):
        return [_with_even_sizes(each) for each in part]
    is_size = isinstance(part, int) and part > 100 and key != "status"
    return 512 if is_size else part
