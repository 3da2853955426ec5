"""`--attachments` on the command line: what is printed, and what a killed command leaves."""

from __future__ import annotations

import json
import re
import threading

import pytest
from tests.operations.making import make_image

from imgpkg.bundle.image import sbom_tag
from imgpkg.embedded.message import Fault
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.oci import media
from imgpkg.oci.reference import Repository


@pytest.fixture
def attached(session, repository):
    """An image, the SBOM under cosign's tag, and a referrer without a configuration of its own type."""
    image = make_image(session, repository, ["image"])
    sbom = make_image(session, repository, ["sbom"], tag=sbom_tag(image.digest))
    found = session.client.manifest(image).descriptor
    subject = {"mediaType": found.media_type, "digest": str(found.digest), "size": found.size}
    report = make_image(session, repository, ["report"], subject=subject)
    return image, sbom, report


def test_a_preview_says_what_belongs_to_what(run, attached, repository):
    image, sbom, report = attached
    words = ("copy", "-i", image, "--to-repo", f"{repository}-copy", "--attachments", "--dry-run")
    lines = {line.split()[0].rstrip(":"): line for line in run(*words).out.splitlines() if "@sha256" in line}
    digest = str(image.digest)[: len("sha256:") + 12]
    assert f", sbom of {digest}" in lines[str(sbom)]
    assert f", referrer of {digest}" in lines[str(report)]
    assert " of " not in lines[str(image)]
    found = {entry["image"]: entry["attached"] for entry in json.loads(run(*words, "--json").out)["images"]}
    assert found == {
        str(image): None,
        str(sbom): {"kind": "sbom", "subject": str(image.digest), "artifactType": None},
        str(report): {
            "kind": "referrer",
            "subject": str(image.digest),
            "artifactType": media.DOCKER_CONFIG,
        },
    }


def test_a_copy_says_what_it_takes_along(run, session, attached, repository):
    image, *_ = attached
    done = run("copy", "-i", image, "--to-repo", f"{repository}-copy", "--attachments", "--tty")
    assert "copy | will export what is attached to them: 1 SBOM, 1 referrer\n" in done.out
    alone = make_image(session, repository, ["alone"])
    done = run("copy", "-i", alone, "--to-repo", f"{repository}-copy", "--attachments", "--tty")
    assert "copy | will export what is attached to them: nothing\n" in done.out


def test_signatures_alone_leave_the_rest_behind_aloud(run, attached, repository, tmp_path):
    image, *_ = attached
    done = run("copy", "-i", image, "--to-tar", tmp_path / "x.tar", "--cosign-signatures")
    line = "1 image has SBOMs that are left behind (hint: --attachments takes them along)"
    assert done.err == f"imgpkg: warning: {line}\n"
    done = run(
        "copy", "-i", image, "--to-tar", tmp_path / "y.tar", "--cosign-signatures", "--dry-run", "--tty"
    )
    assert done.err == f"imgpkg: warning: {line}\n"


class StopsAtTheList:
    """A registry without the API that does not answer when the list of referrers is written."""

    def __init__(self):
        self.reached = threading.Event()

    def __call__(self, request):
        if request.method != "PUT" or not re.search("/manifests/sha256-[0-9a-f]{64}$", request.path):
            return None
        if self.reached.is_set():
            return None
        self.reached.set()
        return Fault(delay=1.0, hang_up=True)


def test_a_killed_copy_is_completed_by_the_next(started, run, session, attached):
    image, _, report = attached
    faults = StopsAtTheList()
    with serve(features=Features(referrers=False), faults=faults) as server:
        to = f"{server.address}/inside/killed"
        words = ("copy", "-i", image, "--to-repo", to, "--attachments")
        process = started(*words)
        assert faults.reached.wait(30)
        process.kill()
        process.wait(30)
        place = Repository.parse(to)
        # It is there, and nothing lists it.
        assert session.client.exists(place.digest(report.digest))
        assert session.client.referrers(place, image.digest) == ()
        assert run(*words).code == 0
        assert [found.digest for found in session.client.referrers(place, image.digest)] == [report.digest]
