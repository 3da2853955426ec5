"""Every regular expression of the package takes time in proportion to the text, whatever the text is.

Work is counted in steps of a backtracking engine, see `engine`. A pattern that can be slow is so for a text
of the form `start pump pump … pump rest`: somewhere in the pattern a pump leads back to the same place in two
ways (Weber and Seidl, "On the degree of ambiguity of finite automata", 1991), or a search begins at each one.
Starts, pumps and rests are made from the pattern itself; the steps for n, 2n and 3n pumps must lie on a
straight line.
"""

from __future__ import annotations

import ast
import importlib
import itertools
import re
import sys
from pathlib import Path

import pytest
from tests.properties.engine import Endless, Pattern, Work, growth, meant, op, parser

import imgpkg
from imgpkg.expression import Late

pytestmark = pytest.mark.slow

SOURCE = Path(imgpkg.__file__).parent
MODULES = sorted(
    ".".join(("imgpkg", *path.relative_to(SOURCE).with_suffix("").parts))
    for path in SOURCE.rglob("*.py")
    if "import re\n" in path.read_text() or "import expression\n" in path.read_text()
)
# Where all others are compiled, and those of users.
COMPILES = {"imgpkg.expression", "imgpkg.testing.faults"}
PUMPS = 12
OUTSIDER = "\x01"
# What was in the package once, or nearly, and is slow.
SLOW = [
    ("search", r'"(?:[^"\\]|\\.)*"'),
    ("fullmatch", r"([a-z]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*"),
    ("search", r"<([^>]*)>"),
    ("search", r"BEGIN.*?END"),
    ("search", r"[ \t]+$"),
    ("fullmatch", r"(?:[a-z]+-?)*:"),
    ("match", r"\s*,?\s*;"),
    ("fullmatch", r"(?:a|b|ab)*c"),
]


def patterns():
    """Yield (name, how it is used, pattern) for each of them, as compiled in the modules."""
    for name in MODULES:
        module = importlib.import_module(name)
        tree = ast.parse(Path(module.__file__).read_text())
        for variable, value in vars(module).items():
            if isinstance(value, Late):
                value = re.compile(value.pattern, value.given_flags)  # noqa: PLW2901 - the same, compiled
            if isinstance(value, re.Pattern):
                yield f"{name}.{variable}", uses(tree, variable), value


def uses(tree, variable):
    """Tell whether a pattern is only ever tried at one place, or looked for everywhere."""
    methods = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable:
            methods.add(node.attr)
    named = sum(isinstance(node, ast.Name) and node.id == variable for node in ast.walk(tree))
    is_handed_on = named > 1 + sum(
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == variable
        for node in ast.walk(tree)
    )
    if is_handed_on or methods - {"match", "fullmatch", "pattern"}:
        return ("search",)
    return tuple(sorted(methods & {"match", "fullmatch"}))


def letters(tree):
    """List a character for each thing that the pattern tells apart."""
    found = {}
    for kind, value in tree:
        if kind in (op.LITERAL, op.NOT_LITERAL):
            found[chr(value)] = None
        elif kind is op.IN:
            found.update(dict.fromkeys(examples(value)))
        else:
            for inner in inside(kind, value):
                found.update(dict.fromkeys(letters(inner)))
    return list(found)


def examples(parts):
    for kind, value in parts:
        if kind is op.LITERAL:
            yield chr(value)
        elif kind is op.RANGE:
            yield chr(value[0])
        elif kind is op.CATEGORY:
            yield {"SPACE": " ", "DIGIT": "0", "WORD": "a"}[str(value).rpartition("_")[2]]


def inside(kind, value):
    """List the parts of a part."""
    if kind is op.BRANCH:
        return value[1]
    if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
        return [value[2]]
    if kind is op.SUBPATTERN:
        return [value[3]]
    return [value[1]] if kind in (op.ASSERT, op.ASSERT_NOT) else []


def shortest(tree, alphabet):
    """Return a short text that the tree matches."""
    text = ""
    for kind, value in tree:
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            text += shortest(value[2], alphabet) * value[0]
        elif kind is op.BRANCH:
            text += shortest(value[1][0], alphabet)
        elif kind is op.SUBPATTERN:
            text += shortest(value[3], alphabet)
        elif kind in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            is_meant = meant(kind, value, re.DOTALL)
            text += next(letter for letter in alphabet if is_meant(ord(letter)))
    return text


def repeats(tree, alphabet, before=""):
    """Yield (what comes before, what is repeated) for each repeat in the pattern."""
    for index, (kind, value) in enumerate(tree):
        start = before + shortest(tree[:index], alphabet)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[1] > 1:
            yield start, shortest(value[2], alphabet)
        for inner in inside(kind, value):
            yield from repeats(inner, alphabet, start)


def attacks(source, flags):
    """Return each (start, pump, rest) for a pattern."""
    tree = parser.parse(source, flags)
    known = letters(tree)
    alphabet = list(dict.fromkeys([*known, *"a0 ~\n", OUTSIDER]))
    found = list(repeats(tree, alphabet))
    starts = dict.fromkeys(["", *(start for start, _ in found)])
    pairs = itertools.permutations(alphabet[:7], 2)
    pumps = [*alphabet, *map("".join, pairs), *(body for _, body in found), *starts]
    pumps += [start + letter for start in starts for letter in alphabet[:6]]
    rests = dict.fromkeys(["", OUTSIDER, "\n"])
    return itertools.product(starts, dict.fromkeys(filter(None, pumps)), rests)


def steps(pattern, use, text):
    before = Work.steps
    given = text.encode("latin-1", "replace") if isinstance(pattern.pattern, bytes) else text
    if use == "search":
        for _ in pattern.finditer(given):
            pass
    else:
        getattr(pattern, use)(given)
    return Work.steps - before


def slow_text(source, flags, use):
    """Return a text for which the work grows faster than the text; None when there is none."""
    pattern = Pattern(source, flags)
    for start, pump, rest in attacks(source, flags):
        try:
            counts = [steps(pattern, use, start + pump * (PUMPS * times) + rest) for times in (1, 2, 3)]
        except Endless:
            return f"{start!r} + {pump!r} * n + {rest!r}: endless"
        if growth(counts) > 2 * PUMPS:
            return f"{start!r} + {pump!r} * n + {rest!r}: {counts}"
    return None


@pytest.mark.parametrize(("name", "use", "pattern"), list(patterns()), ids=lambda value: str(value)[:60])
def test_a_pattern_needs_linear_work(name, use, pattern):
    for each in use:
        assert slow_text(pattern.pattern, pattern.flags & ~re.UNICODE, each) is None


@pytest.mark.parametrize(("use", "source"), SLOW)
def test_a_pattern_that_is_slow_is_found_out(use, source):
    assert slow_text(source, re.DOTALL, use)


@pytest.mark.parametrize(("name", "use", "pattern"), list(patterns()), ids=lambda value: str(value)[:60])
def test_the_counting_engine_finds_what_re_finds(name, use, pattern):
    flags = pattern.flags & ~re.UNICODE
    counted = Pattern(pattern.pattern, flags)
    for start, pump, rest in attacks(pattern.pattern, flags):
        text = start + pump * 3 + rest
        if isinstance(pattern.pattern, bytes):
            text = text.encode("latin-1", "replace")
        for method in ("match", "fullmatch", "search"):
            ours, theirs = getattr(counted, method)(text), getattr(pattern, method)(text)
            assert (ours is None) == (theirs is None), (method, text)
            if ours is not None:
                assert (ours.span(), ours.groups()) == (theirs.span(), theirs.groups()), (method, text)


@pytest.mark.parametrize("name", MODULES)
def test_patterns_are_at_the_top_of_a_module_where_they_are_found(name):
    tree = ast.parse(Path(sys.modules.get(name, importlib.import_module(name)).__file__).read_text())
    top = [
        call for statement in tree.body if isinstance(statement, ast.Assign) for call in ast.walk(statement)
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id == "expression" and name not in COMPILES:
            assert node in top, f"{name}:{node.lineno}: expression"
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "re":
            is_name = node.attr in ("Pattern", "Match", "escape", "error") or node.attr.isupper()
            is_compiled = node.attr == "compile" and (node in top or name in COMPILES)
            assert is_name or is_compiled, f"{name}:{node.lineno}: re.{node.attr}"
