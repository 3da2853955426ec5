"""Shards: each blob is in exactly one, and all have about as many bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgpkg import errors
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.plans.lines import PlanBlob
from imgpkg.operations.plans.shard import Shard

SOURCE = Repository.parse("registry.example.com/app")
MIB = 1 << 20


def blobs_of(sizes, places=("to/a",)):
    """Return blobs in the order of a plan: each goes to all places, and is mounted in all but the first."""
    first = Repository.parse(f"registry.inside.example/{places[0]}")
    return [
        PlanBlob(
            Descriptor("text/plain", Digest("sha256", f"{number:064x}"), size),
            SOURCE,
            Repository.parse(f"registry.inside.example/{place}"),
            first if place != places[0] else None,
        )
        for number, size in enumerate(sorted(sizes, reverse=True))
        for place in places
    ]


SIZES = st.lists(st.integers(0, 100 * MIB), max_size=60)


class TestShards:
    @given(SIZES, st.integers(1, 20))
    def test_have_each_blob_once(self, sizes, count):
        blobs = blobs_of(sizes)
        found = [blob for number in range(1, count + 1) for blob in Shard(number, count).of(blobs)]
        assert sorted(blob.descriptor.digest for blob in found) == [blob.descriptor.digest for blob in blobs]

    @given(SIZES, st.integers(1, 20))
    def test_differ_by_no_more_than_the_largest_blob(self, sizes, count):
        blobs = blobs_of(sizes)
        sums = [
            sum(blob.descriptor.size for blob in Shard(number, count).of(blobs))
            for number in range(1, count + 1)
        ]
        # As if the requests for each blob were 256 KiB.
        room = max(sizes, default=0) + (len(sizes) + 1) * MIB // 4
        assert max(sums) - min(sums) <= room

    @given(SIZES, st.integers(1, 6))
    def test_keep_a_blob_and_what_is_mounted_from_it_together(self, sizes, count):
        blobs = blobs_of(sizes, ("to/a", "to/b", "to/c"))
        for number in range(1, count + 1):
            digests = [blob.descriptor.digest for blob in Shard(number, count).of(blobs)]
            assert all(digests.count(digest) == 3 for digest in digests)

    def test_share_many_small_blobs_beside_a_large_one(self):
        blobs = blobs_of([100 * MIB, *([1] * 1000)])
        counts = [sum(1 for _ in Shard(number, 4).of(blobs)) for number in (1, 2, 3, 4)]
        assert max(counts) < 400

    def test_that_are_more_than_blobs_may_be_empty(self):
        assert [len(list(Shard(number, 3).of(blobs_of([5])))) for number in (1, 2, 3)] == [1, 0, 0]


JOBS = [
    ("auto", {"CI_NODE_INDEX": "3", "CI_NODE_TOTAL": "16"}, "3/16"),
    ("auto/16", {"CI_NODE_INDEX": "16", "CI_NODE_TOTAL": "16"}, "16/16"),
    ("auto/4", {"CI_NODE_INDEX": "1"}, "1/4"),
    ("auto/16", {"JOB_COMPLETION_INDEX": "0"}, "1/16"),
    ("auto/16", {"JOB_COMPLETION_INDEX": "15"}, "16/16"),
    ("auto", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "0"}, "1/4"),
    ("auto", {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "4", "SLURM_ARRAY_TASK_MIN": "1"}, "4/4"),
    (
        "auto",
        {
            "SLURM_ARRAY_TASK_ID": "14",
            "SLURM_ARRAY_TASK_COUNT": "3",
            "SLURM_ARRAY_TASK_MIN": "10",
            "SLURM_ARRAY_TASK_STEP": "2",
        },
        "3/3",
    ),
    (
        "auto/16",
        {"SLURM_ARRAY_TASK_ID": "15", "SLURM_ARRAY_TASK_COUNT": "16", "SLURM_ARRAY_TASK_MIN": "0"},
        "16/16",
    ),
    # Two of sixteen tasks are run again.
    (
        "auto/16",
        {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3"},
        "7/16",
    ),
    ("3/16", {"CI_NODE_INDEX": "5", "CI_NODE_TOTAL": "8"}, "3/16"),
]
REFUSED = [
    ("", {}, "to be like 3/16"),
    ("0/3", {}, "from 1/3 to 3/3, but was 0/3"),
    ("4/3", {}, "from 1/3 to 3/3, but was 4/3"),
    ("1/0", {}, "from 1 to 10000 shards"),
    ("1/99999", {}, "from 1 to 10000 shards"),
    ("1", {}, "to be like 3/16"),
    ("-1/3", {}, "to be like 3/16"),
    ("1/3/", {}, "to be like 3/16"),
    ("\u0661/\u0663", {}, "to be like 3/16"),
    ("auto", {}, "there are none"),
    ("auto", {"JOB_COMPLETION_INDEX": "3"}, "how many jobs there are"),
    ("auto/2", {"JOB_COMPLETION_INDEX": "2"}, "from 1/2"),
    ("auto/2", {"JOB_COMPLETION_INDEX": "x"}, "JOB_COMPLETION_INDEX to be a number"),
    ("auto/16", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1"}, "from 1/16 to 16/16"),
    ("auto/8", {"CI_NODE_INDEX": "1", "CI_NODE_TOTAL": "16"}, "auto/16, as CI_NODE_TOTAL says"),
    ("auto/8", {"CI_NODE_INDEX": "1", "JOB_COMPLETION_INDEX": "1"}, "those of GitLab and Kubernetes"),
]


class TestTheNumberOfAShard:
    @pytest.mark.parametrize(("text", "environ", "shard"), JOBS)
    def test_is_given_or_that_of_the_job(self, text, environ, shard):
        assert str(Shard.parse(text, environ)) == shard

    @pytest.mark.parametrize(("text", "environ", "message"), REFUSED)
    def test_that_nobody_can_mean_is_refused(self, text, environ, message):
        with pytest.raises(errors.UsageError, match=message):
            Shard.parse(text, environ)
