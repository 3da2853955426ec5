"""An expression is compiled when it is used, and then does what the pattern of `re` does."""

from __future__ import annotations

import copy
import pickle
import re
import subprocess
import sys

import pytest

from imgpkg.expression import expression

TEXT = "b1 a22 c"


@pytest.mark.parametrize(("source", "flags"), [(r"([A-Z])(\d+)", re.IGNORECASE), (r"(\w)", 0), (r"x*", 0)])
def test_every_method_is_that_of_the_pattern(source, flags):
    late, pattern = expression(source, flags), re.compile(source, flags)
    assert late.pattern == pattern.pattern
    assert (late.flags, late.groups) == (pattern.flags, pattern.groups)
    for _ in range(2):
        assert late.findall(TEXT) == pattern.findall(TEXT)
        assert late.sub("-", TEXT) == pattern.sub("-", TEXT)
        assert [found.span() for found in late.finditer(TEXT)] == [
            found.span() for found in pattern.finditer(TEXT)
        ]
        assert repr(late.search(TEXT)) == repr(pattern.search(TEXT))
        assert repr(late.match(TEXT, 1)) == repr(pattern.match(TEXT, 1))
        assert repr(late.fullmatch(TEXT)) == repr(pattern.fullmatch(TEXT))


def test_bytes_are_searched_with_bytes():
    assert expression(rb"\d").findall(b"a1b2") == [b"1", b"2"]


def test_an_unknown_attribute_is_none():
    with pytest.raises(AttributeError):
        expression("a").nosuch  # noqa: B018 - the look is the point


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda late: pickle.loads(pickle.dumps(late))])
def test_it_may_be_copied_before_it_is_used(twin):
    assert twin(expression("a+")).fullmatch("aa")


def test_nothing_is_compiled_before_the_first_use():
    program = (
        "import re, imgpkg.expression; compile, made = re.compile, []\n"
        "re.compile = lambda *given: made.append(given) or compile(*given)\n"
        "late = imgpkg.expression.expression('a+'); print(len(made)); "
        "late.match('a'); late.match('b'); print(len(made))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "1"]
