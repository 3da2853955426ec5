"""What the strategies make is valid, varied, and read back as it was."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
from hypothesis import Phase, find, given, settings

import imgpkg
from imgpkg.oci import media
from imgpkg.testing import strategies

# Each of these makes dozens of values.
FEW = settings(max_examples=20)
ONE = settings(max_examples=1, phases=[Phase.generate])


def test_without_hypothesis_the_extra_that_installs_it_is_named():
    program = (
        "import sys; sys.modules['hypothesis'] = None\n"
        "try: import imgpkg.testing.strategies\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "imgpkg.testing.strategies needs hypothesis: pip install 'imgpkg-py[testing]'\n"


@FEW
@given(strategies.references())
def test_a_reference_is_read_by_the_rules_of_both_docker_and_go(reference):
    text = str(reference)
    assert imgpkg.Reference.parse(text) == imgpkg.Reference.parse_docker(text) == reference


@FEW
@given(strategies.digests())
def test_a_digest_is_read_back(digest):
    assert imgpkg.Digest.parse(str(digest)) == digest


@FEW
@given(strategies.digests("sha512"))
def test_a_digest_has_the_algorithm_that_was_asked_for(digest):
    assert digest.algorithm == "sha512"


@FEW
@given(strategies.platforms())
def test_a_platform_is_read_back(platform):
    assert imgpkg.Platform.parse(str(platform)) == platform


@FEW
@given(strategies.manifests())
def test_a_manifest_is_read_back(manifest):
    assert manifest.is_image
    assert imgpkg.Manifest.parse(manifest.raw, manifest.media_type, manifest.digest) == manifest


@FEW
@given(strategies.indexes())
def test_an_index_is_read_back(index):
    assert index.is_index
    assert imgpkg.Manifest.parse(index.raw, index.media_type, index.digest) == index


@FEW
@given(strategies.descriptors())
def test_a_descriptor_is_that_of_a_blob(descriptor):
    assert not descriptor.is_manifest
    assert hash(descriptor) == hash(descriptor)


PUBLIC = {
    name: strategy
    for name, strategy in inspect.getmembers(strategies, inspect.isfunction)
    if name[0] != "_" and strategy.__module__ == strategies.__name__
}


@pytest.mark.parametrize("strategy", PUBLIC.values(), ids=PUBLIC)
def test_each_makes_something(strategy):
    assert find(strategy(), lambda made: made is not None, settings=ONE) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        (strategies.references(), lambda one: one.tag is None),
        (strategies.repositories(), lambda one: one.path.startswith("library/")),
        (strategies.manifests(), lambda one: one.media_type == media.DOCKER_MANIFEST),
        (strategies.manifests(), lambda one: one.subject is not None),
        (strategies.indexes(), lambda one: any(entry.platform for entry in one.manifests)),
    ],
    ids=["digests", "official images", "docker", "subjects", "platforms"],
)
def test_every_kind_is_among_them(strategy, wanted):
    # Found and not made small, which takes a thousand times as long.
    assert wanted(find(strategy, wanted, settings=settings(phases=[Phase.generate])))
