"""The golden file: for each mistake the command as it is typed, and what it writes to standard error."""

from __future__ import annotations

from pathlib import Path

GOLDEN = Path(__file__).parent / "mistakes.txt"
_HEAD = """\
What imgpkg says about mistakes and trouble, on standard error: real commands, real servers on this machine.
Names stand for what differs from run to run: ports, folders, the day. `python -m tests.cli.mistakes` writes
this file anew. Read each of them as somebody who asks: what do I do now?
"""


def block(case, done):
    """Return the part of the file for one mistake."""
    variables = "".join(f"{name}={value} " for name, value in case.variables.items())
    return f"# {case.title}\n$ {variables}imgpkg {case.typed}\n{done.err}"


def written(runs):
    """Return the whole file."""
    return "\n".join([_HEAD, *(block(case, done) for case, done in runs)])


def blocks():
    """Return the parts of the file by their titles."""
    parts = GOLDEN.read_text().split("\n# ")[1:]
    return {part.partition("\n")[0]: f"# {part.rstrip()}\n" for part in parts}
