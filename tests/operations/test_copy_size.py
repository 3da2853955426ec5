"""Copies of thousands of images: requests at the floor, and memory for a hundred thousand."""

from __future__ import annotations

import pytest
from benchmarks.plan_size import measured

IMAGES = 5000
# Kilobytes for each image, of which a hundred thousand must fit in a gigabyte; and the configuration, which
# is kept of ten thousand images and no more.
MOST = 10 + 2.1


@pytest.fixture(scope="module")
def sizes():
    """What each command took, for a few images and for many."""
    return {(size.way, size.images): size for images in (200, IMAGES) for size in measured(images)}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["copy --dry-run", "copy --dry-run --plan-output", "copy --plan", "copy"])
def test_memory_grows_by_less_than_what_a_gigabyte_has_for_100000(way, sizes):
    few, many = sizes[way, 200], sizes[way, IMAGES]
    grown = (many.spent.peak - few.spent.peak) * (1 << 20) / (many.images - few.images)
    assert grown / 1000 < MOST


@pytest.mark.slow
def test_each_manifest_is_read_once_and_nothing_twice(sizes):
    planned = sizes["copy --dry-run", IMAGES].requests
    # The configurations say that no image of the lock is a bundle.
    assert (planned["GET manifests"], planned["GET blobs"]) == (IMAGES, IMAGES)
    assert sum(planned.values()) <= 2 * IMAGES + 5
    copied = sizes["copy", IMAGES].requests
    assert (copied["GET manifests"], copied["GET blobs"]) == (IMAGES, IMAGES)
    assert (copied["POST blobs"], copied["PUT manifests"]) == (4 * IMAGES, IMAGES)
    assert sum(copied.values()) <= 7 * IMAGES + 5
    run = sizes["copy --plan", IMAGES].requests
    # The plan says that there is no bundle.
    assert (run["GET manifests"], run.get("GET blobs", 0)) == (IMAGES, 0)
