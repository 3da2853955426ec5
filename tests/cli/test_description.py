"""The command `describe` as a picture: from a registry, a tar file, a layout; with all that is attached."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET

import pytest

FORMS = ("svg", "dot", "html")


@pytest.fixture
def bundle(run, image, repository, folder, tmp_path):
    """A bundle of one image, which has a signature."""
    digest = run("tag", "resolve", "-i", image).out.split()[0]
    made = tmp_path / "bundle"
    (made / ".imgpkg").mkdir(parents=True)
    (made / ".imgpkg" / "images.yml").write_text(
        f"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: {digest}\n"
    )
    tag = f"sha256-{digest.partition('@sha256:')[2]}.sig"
    assert run("push", "-i", f"{image}:{tag}", "-f", folder / "a.txt").code == 0
    assert run("push", "-b", f"{repository}-drawn", "-f", made).code == 0
    return f"{repository}-drawn"


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_has_everything_and_can_be_read(run, bundle, form):
    done = run("describe", "-b", bundle, "-o", form)
    assert (done.code, done.err) == (0, "")
    assert "signature" in done.out
    assert f"{bundle}@sha256:" in done.out
    if form == "svg":
        ET.fromstring(done.out)
    elif form == "dot":
        subprocess.run(["dot", "-Tcanon"], input=done.out, text=True, check=True, stdout=subprocess.DEVNULL)
    else:
        assert done.out.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_of_a_file_is_made_without_a_registry(run, bundle, form, tmp_path):
    assert run("copy", "-b", bundle, "--to-tar", tmp_path / "b.tar", "--attachments").code == 0
    assert run("copy", "--tar", tmp_path / "b.tar", "--to-oci-layout", tmp_path / "l").code == 0
    tar = run("describe", "--tar", tmp_path / "b.tar", "-o", form)
    layout = run("describe", "--from-oci-layout", tmp_path / "l", "-o", form)
    assert (tar.code, layout.code) == (0, 0)
    assert "signature" in tar.out
    assert tar.out == layout.out


def test_attachments_can_be_left_out(run, bundle):
    flags = ("--attachments=false", "--cosign-artifacts=false")
    assert "signature" not in run("describe", "-b", bundle, "-o", "svg", *flags).out


def test_a_picture_is_a_block_of_the_document_for_programs(run, bundle):
    document = json.loads(run("describe", "-b", bundle, "-o", "dot", "--json").out)
    assert document["Blocks"][0].startswith("digraph bundle {")
