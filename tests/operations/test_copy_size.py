"""Copies of many images: requests at the floor, and memory for a hundred thousand."""

from __future__ import annotations

import functools

import pytest
from benchmarks.plan_size import PARTS, measured

FEW, IMAGES = 100, 1000
# Kilobytes for each image: what a gigabyte has for each of a hundred thousand. With so few it is measured
# with an error of a tenth, and with their configurations, which are kept of ten thousand and no more.
MOST = 10.0
# A stream of batches has as many images in memory as there are here.
PLANNED = [
    pytest.param(part, way, id=way)
    for part, ways in PARTS.items()
    for way in ways
    if not way.startswith("copy --stream-plan") or "=false" in way
]


@functools.cache
def sizes(part):
    """Return what each command of a part took, for a few images and for many."""
    return {
        (size.way, size.images): size for images in (FEW, IMAGES) for size in measured(images, PARTS[part])
    }


def requests(part, way):
    return sizes(part)[way, IMAGES].requests


@pytest.mark.slow
@pytest.mark.parametrize(("part", "way"), PLANNED)
def test_memory_grows_by_less_than_what_a_gigabyte_has_for_100000(part, way):
    few, many = sizes(part)[way, FEW], sizes(part)[way, IMAGES]
    grown = (many.spent.peak - few.spent.peak) * (1 << 20) / (many.images - few.images)
    assert grown / 1000 < MOST


@pytest.mark.slow
def test_a_preview_reads_manifests_and_configurations():
    """These say that no image of the lock is a bundle."""
    planned = requests("in one registry", "copy --dry-run")
    assert (planned["GET manifests"], planned["GET blobs"]) == (IMAGES, IMAGES)
    assert sum(planned.values()) <= 2 * IMAGES + 5


@pytest.mark.slow
def test_a_plan_says_that_there_is_no_bundle_and_its_shards_read_no_manifest():
    run = requests("by a plan", "copy --plan")
    assert (run["GET manifests"], run.get("GET blobs", 0)) == (IMAGES, 0)
    assert requests("by a plan", "copy --plan --shard 3/16") == {"POST blobs": IMAGES // 4}


@pytest.mark.slow
@pytest.mark.parametrize("way", PARTS["in one registry"][1:])
def test_each_blob_is_mounted_once(way):
    mounted = requests("in one registry", way)
    assert (mounted["GET manifests"], mounted["GET blobs"]) == (IMAGES, IMAGES)
    assert (mounted["POST blobs"], mounted["PUT manifests"]) == (4 * IMAGES, IMAGES)
    assert sum(mounted.values()) <= 7 * IMAGES + 5


@pytest.mark.slow
@pytest.mark.parametrize("part", list(PARTS)[2:])
def test_each_blob_is_moved_once_and_a_configuration_is_kept_until_then(part):
    moved = requests(part, *PARTS[part])
    assert (moved["GET manifests"], moved["GET blobs"]) == (IMAGES, 4 * IMAGES)
    assert [moved[f"{verb} blobs"] for verb in ("POST", "PUT")] == [4 * IMAGES] * 2
    assert moved["PUT manifests"] == IMAGES
    assert sum(moved.values()) <= 14 * IMAGES + 5
