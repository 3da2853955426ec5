"""Copies of thousands of images: requests at the floor, and memory for a hundred thousand."""

from __future__ import annotations

import pytest
from benchmarks.plan_size import WAYS, measured

IMAGES = 1600
# Kilobytes for each image, half of what a gigabyte has for each of a hundred thousand; and the configuration,
# which is kept of ten thousand images and no more.
MOST = 5 + 2.1


@pytest.fixture(scope="module")
def sizes():
    """What each command took, for a few images and for many."""
    return {(size.way, size.images): size for images in (200, IMAGES) for size in measured(images)}


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
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
    run = sizes["copy --plan", IMAGES].requests
    # The plan says that there is no bundle.
    assert (run["GET manifests"], run.get("GET blobs", 0)) == (IMAGES, 0)
    # A shard reads no manifest, and asks for a mount where it would otherwise move.
    assert sizes["copy --plan --shard 3/16", IMAGES].requests == {"POST blobs": IMAGES // 4}


@pytest.mark.slow
@pytest.mark.parametrize("way", ["copy --stream-plan=false", "copy --stream-plan"])
def test_each_blob_is_mounted_or_moved_once(way, sizes):
    mounted = sizes[way, IMAGES].requests
    assert (mounted["GET manifests"], mounted["GET blobs"]) == (IMAGES, IMAGES)
    assert (mounted["POST blobs"], mounted["PUT manifests"]) == (4 * IMAGES, IMAGES)
    assert sum(mounted.values()) <= 7 * IMAGES + 5
    moved = sizes[f"{way}, to another registry", IMAGES].requests
    # A configuration is kept until it is sent.
    assert (moved["GET manifests"], moved["GET blobs"]) == (IMAGES, 4 * IMAGES)
    assert (moved["POST blobs"], moved["PUT blobs"], moved["PUT manifests"]) == (
        4 * IMAGES,
        4 * IMAGES,
        IMAGES,
    )
    assert sum(moved.values()) <= 14 * IMAGES + 5
