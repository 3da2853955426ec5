"""Time the start of commands against a Python program that speaks https and does nothing; print Markdown.

    .venv/bin/python benchmarks/startup.py [--runs N] [--only WORD] [--counts] [--against PATH] [--source SRC]

The floor is `python -c "import http.client, ssl, json"`. Each round runs the floor and then every command, so
that a busy moment of the machine meets all of them; the numbers are medians of CPU time (user and system),
and its smallest values, which noise changes least. The registries run in a process of their own. `--against`
names an executable with the same command line, `--source` the `src` of another checkout to compare with.
`--counts` prints what is loaded in place of times: modules, compiled patterns, classes, collections.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLOOR = "import http.client, ssl, json"

_REGISTRIES = """
import json, signal, sys
from imgpkg.embedded.server import serve
import trustme
folder = sys.argv[1]
ca = trustme.CA()
ca.cert_pem.write_to_path(folder + "/ca.pem")
pair = ca.issue_cert("127.0.0.1")
pair.private_key_and_cert_chain_pem.write_to_path(folder + "/pair.pem")
with serve(keep_requests=0) as plain, serve(keep_requests=0, tls=(folder + "/pair.pem",) * 2) as safe:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(json.dumps([plain.address, safe.address]), flush=True)
    signal.pause()
"""

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


def environment(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


@contextlib.contextmanager
def registries(work: Path):
    """Run one registry on http and one on https in a process; yield their addresses."""
    script = _REGISTRIES
    process = subprocess.Popen([sys.executable, "-c", script, str(work)], stdout=subprocess.PIPE, text=True)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate()


def commands(work: Path, plain: str, safe: str) -> dict[str, list[str]]:
    """Return the command lines by name, after what they read has been pushed."""
    files, bundle = work / "files", work / "bundle"
    files.mkdir()
    for number in range(3):
        (files / f"{number}.yml").write_text(f"number: {number}\n" * 100)
    (bundle / ".imgpkg").mkdir(parents=True)
    (bundle / "config.yml").write_text("a: 1\n")
    trust = ["--registry-ca-cert-path", str(work / "ca.pem")]
    for address, more in ((plain, []), (safe, trust)):
        _run([*_imgpkg(), "push", "-i", f"{address}/team/app:v1", "-f", str(files), *more])
    lock = {"apiVersion": "imgpkg.carvel.dev/v1alpha1", "kind": "ImagesLock"}
    pushed = [*_imgpkg(), "tag", "resolve", "-i", f"{plain}/team/app:v1"]
    digest = _run(pushed).split("@")[1].split()[0]
    images = [{"image": f"{plain}/team/app@{digest}"}]
    (bundle / ".imgpkg" / "images.yml").write_text(json.dumps({**lock, "images": images}))
    _run([*_imgpkg(), "push", "-b", f"{plain}/team/bundle:v1", "-f", str(bundle)])
    image, bundled, out = f"{plain}/team/app:v1", f"{plain}/team/bundle:v1", str(work / "out")
    return {
        "version": ["version"],
        "push --help": ["push", "--help"],
        "completion bash": ["completion", "bash"],
        "tag resolve": ["tag", "resolve", "-i", image],
        "tag resolve, https": ["tag", "resolve", "-i", f"{safe}/team/app:v1", *trust],
        "tag list": ["tag", "list", "-i", f"{plain}/team/app"],
        "push of 3 files": ["push", "-i", f"{plain}/team/new", "-f", str(files)],
        "push of 3 files, https": ["push", "-i", f"{safe}/team/new", "-f", str(files), *trust],
        "describe -b": ["describe", "-b", bundled],
        "pull -i": ["pull", "-i", image, "-o", out],
        "pull -b": ["pull", "-b", bundled, "-o", out],
        "copy -i": ["copy", "-i", image, "--to-repo", f"{plain}/team/copy"],
        "copy -b --to-tar": ["copy", "-b", bundled, "--to-tar", str(work / "out.tar")],
        "copy --tar": ["copy", "--tar", str(work / "in.tar"), "--to-repo", f"{plain}/team/from-tar"],
        "auth explain": ["auth", "explain", image],
    }


def _imgpkg() -> list[str]:
    return [str(Path(sys.executable).with_name("imgpkg"))]


def _run(argv: list[str], **options) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, **options).stdout


def cpu(argv: list[str], env: dict[str, str], given: str = "") -> float:
    """Run a command; return its user and system seconds."""
    read, write = os.pipe()
    os.write(write, given.encode())
    os.close(write)
    null = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, read, 0), (os.POSIX_SPAWN_DUP2, null, 1)]
    pid = os.posix_spawn(argv[0], argv, env, file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    os.close(read)
    os.close(null)
    if os.waitstatus_to_exitcode(status):
        sys.exit(f"{' '.join(argv)} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def times(options: argparse.Namespace, table: dict[str, list[str]], work: Path) -> None:
    env = environment(work)
    helper = {**env, "IMGPKG_REGISTRY_HOSTNAME_0": "r.example.com"}
    helper |= {"IMGPKG_REGISTRY_USERNAME_0": "me", "IMGPKG_REGISTRY_PASSWORD_0": "secret"}
    rows = {name: ([*_imgpkg(), *words], env, "") for name, words in table.items()}
    get = [str(Path(sys.executable).with_name("docker-credential-imgpkg")), "get"]
    rows["docker-credential-imgpkg get"] = (get, helper, "r.example.com")
    programs = {"": rows}
    if options.source:
        moved = {"PYTHONPATH": options.source}
        programs["before"] = {n: (argv, {**e, **moved}, given) for n, (argv, e, given) in rows.items()}
    if options.against:
        other = {name: ([options.against, *words], env, "") for name, words in table.items()}
        programs[Path(options.against).name] = other
    spent: dict[tuple[str, str], list[float]] = {}
    floor = []
    for _ in range(options.runs):
        floor.append(cpu([sys.executable, "-c", FLOOR], env))
        for program, each in programs.items():
            for name, (argv, chosen, given) in each.items():
                if options.only in name:
                    spent.setdefault((program, name), []).append(cpu(argv, chosen, given))
    print(f"floor: median {_ms(statistics.median(floor))}, least {_ms(min(floor))}\n")
    print("| command | CPU ms | x floor | least ms | x floor |", end="")
    print("".join(f" {name} ms | ratio |" for name in programs if name))
    print("|---|" + "--:|" * (2 + 2 * len(programs)))
    for name in rows:
        if ("", name) not in spent:
            continue
        ours = spent["", name]
        line = [name, _ms(statistics.median(ours)), _x(statistics.median(ours) / statistics.median(floor))]
        line += [_ms(min(ours)), _x(min(ours) / min(floor))]
        for program in filter(None, programs):
            theirs = spent.get((program, name))
            ratio = theirs and statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
            line += [_ms(statistics.median(theirs)), _x(ratio)] if theirs else ["", ""]
        print(f"| {' | '.join(line)} |")


def counts(options: argparse.Namespace, table: dict[str, list[str]], work: Path) -> None:
    print("| command | our modules | others | patterns | generated classes | collections |")
    print("|---|--:|--:|--:|--:|--:|")
    for name, words in table.items():
        if options.only not in name:
            continue
        loaded = counted("plain", words, environment(work))[1]
        _, _, patterns, classes, collections = counted("details", words, environment(work))
        ours = [module for module in loaded if module.partition(".")[0] == "imgpkg"]
        numbers = (len(ours), len(loaded) - len(ours), len(patterns), len(classes), collections)
        print(f"| {name} | {' | '.join(map(str, numbers))} |")
        if options.verbose:
            others = sorted(set(loaded) - set(ours))
            print(*(f"  {part}" for part in (ours, others, patterns, classes)), sep="\n")


def counted(mode: str, words: list[str], env: dict[str, str]) -> list:
    argv = [sys.executable, "-c", _COUNTER, mode, "imgpkg.cli.main:main", *words]
    return json.loads(_run(argv, env=env))


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.0f}"


def _x(ratio: float) -> str:
    return f"{ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--only", default="", help="commands whose name has this word")
    parser.add_argument("--against", help="an executable with the same command line")
    parser.add_argument("--source", help="the `src` of another checkout")
    parser.add_argument("--counts", action="store_true", help="count what is loaded, measure no time")
    parser.add_argument("--verbose", action="store_true", help="name what is counted")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, registries(Path(folder)) as (plain, safe):
        work = Path(folder)
        table = commands(work, plain, safe)
        _run([*_imgpkg(), *table["copy -b --to-tar"][:-1], str(work / "in.tar")])
        (counts if options.counts else times)(options, table, work)


if __name__ == "__main__":
    main()
