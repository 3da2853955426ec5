"""Work on many images takes a time that grows with their number, and not with its square."""

from __future__ import annotations

import io
import time

import pytest
from tests.operations.making import make_bundle

from imgpkg import pull
from imgpkg.bundle.image import Image
from imgpkg.bundle.locations import Location
from imgpkg.events import Warned
from imgpkg.oci import media
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.manifest import Manifest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.collection import Record
from imgpkg.operations.copy.plan import Item, Node, Places, RepositoryPlan, Root, plan_of
from imgpkg.operations.copy.repository import pack_record
from imgpkg.operations.copy.values import CopyOptions, Log, report_left_out


def digest(number):
    return Digest.of(str(number).encode())


def windows_image(number):
    """The root of an image with a layer that is left out."""
    config = Descriptor(media.OCI_CONFIG, digest(number), 10)
    layer = Descriptor("application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", digest(-number), 10)
    manifest = Manifest.build(config, [layer])
    reference = Repository.parse("from.example.com/app").digest(manifest.digest)
    return Root(Item(reference), Node(Image(reference, manifest)))


def test_layers_that_are_left_out_are_listed_with_their_images():
    plan = plan_of(tuple(map(windows_image, range(1500))), include_non_distributable=False)
    home = Repository.parse("to.example.com/app")
    events = []
    began = time.process_time()
    report_left_out(plan, CopyOptions(), Log(events.append), Places((RepositoryPlan(home, plan),)))
    assert time.process_time() - began < 2
    [warned] = [event.text for event in events if isinstance(event, Warned)]
    places = [line.rpartition(" ")[2] for line in warned.splitlines() if line.startswith(" - Image: ")]
    assert places == [str(home.digest(root.node.manifest.digest)) for root in plan.roots]


@pytest.mark.slow
def test_bundles_are_looked_for_among_the_images_of_a_bundle(embedded_registry, session, tmp_path):
    address = embedded_registry.address
    images = [f"{address}/many/app@{digest(number)}" for number in range(14_000)]
    bundle = make_bundle(session, f"{address}/many/bundle", {image: {} for image in images}, tmp_path / "b")
    # A copy has recorded that none of them is a bundle.
    record = pack_record(Record(bundle.digest, tuple(Location(image, is_bundle=False) for image in images)))
    for blob, content in (
        (record.layer.descriptor, record.layer.open),
        (record.image.config_descriptor, lambda: io.BytesIO(record.image.config)),
    ):
        session.client.push_blob(bundle.repository, blob, content)
    session.client.push_manifest(bundle.repository.tag(record.tag), record.image.manifest)
    spent = []
    for recursive in (False, True):
        began = time.process_time()
        pulled = pull(tmp_path / "out", bundle=str(bundle), session=session, recursive=recursive)
        spent.append(time.process_time() - began)
        assert pulled.images_lock.is_updated
    assert spent[1] < spent[0] + 2
