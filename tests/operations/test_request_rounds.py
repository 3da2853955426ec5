"""How many times an operation waits for answers: within a tenth of what its requests need, five at a time.

Each registry answers in rounds, so that no test here depends on the speed of the machine.
"""

from __future__ import annotations

import math

import pytest
from tests.operations.making import make_bundle, make_image, thirty
from tests.servers.lockstep import Lockstep

from imgpkg.embedded.server import serve
from imgpkg.operations.copy.copy import copy_to_repository, copy_to_tar
from imgpkg.operations.copy.values import CopySource
from imgpkg.operations.describe import describe
from imgpkg.operations.pull import pull
from imgpkg.session import Session
from imgpkg.settings import Settings

pytestmark = pytest.mark.unmeasured

CONNECTIONS = 5


@pytest.fixture(scope="module")
def steps():
    return Lockstep(CONNECTIONS)


@pytest.fixture(scope="module")
def here(steps):
    with serve(faults=steps.of("here")) as server:
        yield server.address


@pytest.fixture(scope="module")
def there(steps):
    with serve(faults=steps.of("there")) as server:
        yield server.address


@pytest.fixture(scope="module")
def bundle(here, tmp_path_factory):
    """Thirty images of two layers, each in a repository of its own."""
    with Session(Settings(concurrency=CONNECTIONS)) as session:
        return thirty(session, here, tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture(scope="module")
def hosted(bundle, there):
    """The same bundle beside its images, with a record that says so."""
    with Session(Settings(concurrency=CONNECTIONS)) as session:
        copy_to_repository(CopySource(bundle=str(bundle)), f"{there}/hosted/thirty", session=session)
    return f"{there}/hosted/thirty@{bundle.digest}"


@pytest.fixture
def run(steps, open_session):
    """Run an operation; return how many rounds its requests need at least."""

    def run(operation, *arguments, quiet=0.1, **options):
        with steps.counting(quiet):
            operation(*arguments, session=open_session(concurrency=CONNECTIONS), **options)
        return math.ceil(steps.count / CONNECTIONS)

    return run


def place_of(steps, *words):
    """Return the number of the last round with a request that has all `words`."""
    having = [any(all(word in request for word in words) for request in held) for held in steps.rounds]
    return len(having) - 1 - having[::-1].index(True)


class TestACopyOfThirtyImages:
    def test_within_a_registry(self, run, steps, here, bundle):
        floor = run(copy_to_repository, CopySource(bundle=str(bundle)), f"{here}/copy/all")
        assert steps.count >= 200
        assert len(steps.rounds) <= 1.1 * floor

    def test_to_another_registry(self, run, steps, there, bundle):
        floor = run(copy_to_repository, CopySource(bundle=str(bundle)), f"{there}/copy/all")
        assert steps.count >= 350
        # Both links are used at once.
        assert len(steps.rounds) <= 0.95 * floor
        # The bundle alone; its documents beside its configuration; the tags beside the first images.
        assert [len(held) for held in steps.rounds[:2]] == [1, 3]
        assert place_of(steps, "/v2/copy/all/tags/list") < 10
        # Blobs, then manifests, and last the record that promises all images.
        last = len(steps.rounds) - 1
        assert place_of(steps, "/copy/all/blobs/") < last
        assert place_of(steps, "PUT", f"{bundle.digest.hex}.imgpkg") < last
        assert place_of(steps, "PUT", f"{bundle.digest.hex}.image-locations.imgpkg") == last

    def test_of_which_there_is_nothing_to_do(self, run, steps, bundle, hosted):
        floor = run(copy_to_repository, CopySource(bundle=str(bundle)), hosted.partition("@")[0])
        assert len(steps.rounds) <= 1.15 * floor

    def test_into_a_tar_file_and_out_of_it(self, run, steps, there, bundle, tmp_path):
        floor = run(copy_to_tar, CopySource(bundle=str(bundle)), tmp_path / "all.tar")
        assert len(steps.rounds) <= 1.1 * floor
        floor = run(copy_to_repository, CopySource(tar=str(tmp_path / "all.tar")), f"{there}/copy/tar")
        assert len(steps.rounds) <= 1.1 * floor


def test_a_description_of_thirty_images(run, steps, bundle):
    floor = run(describe, str(bundle))
    assert len(steps.rounds) <= 1.2 * floor


class TestAPullOfABundle:
    def test_waits_three_times(self, run, steps, hosted, tmp_path):
        run(pull, tmp_path / "out", bundle=hosted, quiet=0.8)
        # The manifest; the configuration and the record; their layers.
        assert [len(held) for held in steps.rounds] == [1, 2, 2]

    def test_without_a_record_looks_for_its_images_at_once(self, run, steps, here, open_session, tmp_path):
        session = open_session()
        images = {make_image(session, f"{here}/moved/all", [f"{n}"]): {} for n in range(11)}
        moved = make_bundle(session, f"{here}/moved/all", images, tmp_path / "b")
        run(pull, tmp_path / "out", bundle=str(moved), quiet=0.8)
        # One image alone: mostly it is not there, and then no other one is asked for.
        # The second record is asked for beside the layer.
        assert [len(held) for held in steps.rounds] == [1, 2, 2, 1, 5, 5]
