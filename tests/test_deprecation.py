"""A program that uses a deprecated name works, and is told once for each place what to do."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import warnings

import pytest

import imgpkg
from imgpkg.deprecation import warn_of

# The first two lines of each program; the table is empty while nothing is deprecated.
ROW = """import imgpkg
imgpkg._DEPRECATED["find_tag"] = ("imgpkg.operations.tag.resolve", "2.0.0", "use imgpkg.resolve")
"""
TEXT = (
    "ImgpkgDeprecationWarning: imgpkg.find_tag is deprecated, and imgpkg 2.0.0 will not have it: "
    "use imgpkg.resolve"
)


@pytest.fixture
def told(tmp_path):
    """Run a program, and return what it prints and the places where it was warned."""

    def run(program, *options, library=""):
        (tmp_path / "library.py").write_text(library)
        (tmp_path / "program.py").write_text(ROW + program)
        words = [sys.executable, *options, str(tmp_path / "program.py")]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        places = [line.partition(": ") for line in done.stderr.splitlines() if TEXT in line]
        assert all(text == TEXT for _, _, text in places)
        return done.stdout, [place.removeprefix(f"{tmp_path}/") for place, _, _ in places]

    return run


def test_a_name_is_what_it_was_and_each_place_is_told_once(told):
    program = "for _ in range(3):\n    print(imgpkg.find_tag is imgpkg.resolve)\nimgpkg.find_tag\n"
    assert told(program) == ("True\n" * 3, ["program.py:4", "program.py:5"])


def test_an_import_of_the_name_is_one_place(told):
    program = "from imgpkg import find_tag\nprint(find_tag is imgpkg.resolve)\n"
    assert told(program, "-W", "always") == ("True\n", ["program.py:3"])


def test_a_library_is_told_only_where_it_is_asked_for(told):
    library = "import imgpkg\ndef find(): return imgpkg.find_tag\n"
    program = "import library\nprint(library.find() is imgpkg.resolve)\n"
    assert told(program, library=library) == ("True\n", [])
    assert told(program, "-W", "default", library=library) == ("True\n", ["library.py:2"])


def test_it_can_be_an_error(told):
    program = "import warnings; warnings.simplefilter('error', imgpkg.ImgpkgDeprecationWarning)\n"
    printed, _ = told(
        program + "try:\n    imgpkg.find_tag\nexcept DeprecationWarning as error:\n    print(error.removal)\n"
    )
    assert printed == "2.0.0\n"


def test_it_is_not_among_the_names_that_are_offered(told):
    assert told("print('find_tag' in dir(imgpkg), 'find_tag' in imgpkg.__all__)\n") == ("False False\n", [])


def with_deprecated_parameter(*, depth=None):
    if depth is not None:
        warn_of("The parameter `depth` of `walk`", "2.0.0", "leave it out")


def test_a_parameter_is_warned_of_where_it_is_given():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with_deprecated_parameter()
        with_deprecated_parameter(depth=1)
    (warning,) = caught
    assert warning.filename == __file__
    assert warning.message.name == "The parameter `depth` of `walk`"
    assert warning.message.instead == "leave it out"


def test_a_warning_is_pickled_and_copied_whole():
    warning = imgpkg.ImgpkgDeprecationWarning("imgpkg.find_tag", "2.0.0", "use imgpkg.resolve")
    for twin in (copy.copy(warning), pickle.loads(pickle.dumps(warning))):
        assert (str(twin), twin.name, twin.removal) == (str(warning), "imgpkg.find_tag", "2.0.0")
