"""What a command loads until it ends: modules, compiled patterns, generated classes, collections of garbage.

    .venv/bin/python -m tests.cli.loading tag resolve -i registry.example.com/team/app:v1

prints their names and the number of collections.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# What is loaded by a command. The counters are in place before the first module of the command is.
_COUNTER = """
import sys
bare = set(sys.modules)
patterns, classes, collections = [], [], []
if sys.argv[1] == "details":
    import dataclasses, gc, re, traceback
    try:
        import re._compiler as compiler
    except ImportError:
        import sre_compile as compiler
    bare_compile, bare_class = compiler.compile, dataclasses._process_class
    def compile(p, flags=0):
        patterns.append(p)
        return bare_compile(p, flags)
    def process(cls, *rest):
        classes.append(cls.__module__ + "." + cls.__qualname__)
        return bare_class(cls, *rest)
    compiler.compile, dataclasses._process_class = compile, process
    gc.callbacks.append(lambda phase, info: collections.append(phase) if phase == "start" else None)
import io, importlib
module, _, name = sys.argv[2].partition(":")
words = sys.argv[3:]
real, sys.stdout = sys.stdout, io.TextIOWrapper(io.BytesIO())
code = getattr(importlib.import_module(module), name)(words)
loaded = sorted(set(sys.modules) - bare)
import json
sys.stdout = real
json.dump([code, loaded, [str(p) for p in patterns], classes, len(collections)], real)
"""


def environment(home):
    """Return the environment of a command with the folder `home`."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


def counted(mode, words, env):
    """Run a command; return its code, modules and, for "details", patterns, classes and collections."""
    argv = [sys.executable, "-c", _COUNTER, mode, "imgpkg.cli.main:main", *words]
    return json.loads(subprocess.run(argv, env=env, check=True, capture_output=True, text=True).stdout)


def main():
    """Print what the command in the arguments loads."""
    with tempfile.TemporaryDirectory() as home:
        env = environment(Path(home))
        modules = counted("plain", sys.argv[1:], env)[1]
        code, _, patterns, classes, collections = counted("details", sys.argv[1:], env)
    ours = [module for module in modules if module.partition(".")[0] == "imgpkg"]
    others = sorted(set(modules) - set(ours))
    for title, names in (("ours", ours), ("others", others), ("patterns", patterns), ("classes", classes)):
        print(f"{len(names)} {title}", *names, sep="\n  ")
    print(f"{collections} collections, code {code}")


if __name__ == "__main__":
    main()
