"""What a dry run and `auth explain` print, for people and for programs."""

from __future__ import annotations

import json

from imgpkg.auth.keychain import Credential, Decision, Finding, Outcome
from imgpkg.cli import rendering
from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.plan import LeftOut
from imgpkg.operations.copy.preview import CopyPreview, PreviewedImage
from imgpkg.operations.jsonform.copies import previewed
from imgpkg.operations.jsonform.credentials import decided

APP = Repository.parse("registry.example/team/app")
IMAGE, LAYER = APP.digest(Digest.of(b"image")), Descriptor("x", Digest.of(b"layer"), 4096)
LOGIN = Credential("ci", "very-secret-word")
FOUND = Finding("environment", Outcome.MATCHED, "IMGPKG_REGISTRY_HOSTNAME_0 matches", "set _0", LOGIN)
DECISION = Decision(APP, LOGIN, (FOUND,))
PREVIEW = CopyPreview(
    (PreviewedImage(IMAGE, "v1", 1, 2, 2_000_000), PreviewedImage(IMAGE, "", 3, 1, 1, is_there=True)),
    blobs=3,
    size=2_000_001,
    mountable=1,
    mountable_size=1,
    credentials=(DECISION,),
    left_out=(LeftOut(IMAGE, LAYER),),
)


def test_people_read_totals_images_and_credentials():
    assert (
        "".join(rendering.preview_text(PREVIEW, "inside.example/apps"))
        == f"""\
Would copy 1 image to inside.example/apps, 3 blobs with 2.0 MB
  besides 1 image already there
  of which 1 blob with 1 byte can be mounted within the registry

Images:
  {IMAGE} as v1: 1 manifest, 2 blobs, 2.0 MB
  {IMAGE}: 3 manifests, 1 blob, 1 byte, already there

Non-distributable layers that stay behind:
  {LAYER.digest} 4.1 kB of {IMAGE}

Credentials:
  credential for {APP} from environment: set _0 (user 'ci')
"""
    )


def test_people_read_where_each_image_goes_if_there_are_several_places():
    images = tuple(
        PreviewedImage(
            IMAGE, "", 1, 1, 1, destination=Repository.parse(f"inside.example/{name}").digest(IMAGE.digest)
        )
        for name in ("one", "two")
    )
    text = "".join(rendering.preview_text(CopyPreview(images, 1, 1, 0, 0, ()), "inside.example/apps"))
    assert f"{IMAGE} to inside.example/one: 1 manifest" in text
    assert f"{IMAGE} to inside.example/two: 1 manifest" in text
    one = "".join(rendering.preview_text(CopyPreview(images[:1], 1, 1, 0, 0, ()), "inside.example/one"))
    assert " to inside.example/one:" not in one


def test_a_copy_of_nothing_is_short():
    nothing = CopyPreview((), 0, 0, 0, 0, ())
    assert (
        "".join(rendering.preview_text(nothing, "x.tar"))
        == "Would copy 0 images to x.tar, 0 blobs with 0 bytes\n\nImages:\n"
    )


def test_programs_read_the_same():
    document = json.loads(json.dumps(previewed(PREVIEW)))
    assert document["images"][0] == {
        "image": str(IMAGE),
        "tag": "v1",
        "manifests": 1,
        "blobs": 2,
        "size": 2_000_000,
        "alreadyThere": False,
        "attached": None,
        "destination": None,
        "platforms": None,
    }
    assert document["leftOut"] == [{"image": str(IMAGE), "layer": str(LAYER.digest), "size": 4096}]
    assert (document["mountableBlobs"], document["mountableSize"]) == (1, 1)
    assert document["credentials"] == [decided(DECISION)]


def test_a_decision_names_its_source_and_no_secret():
    document = decided(DECISION)
    assert document["source"] == "environment"
    assert document["credential"] == {"kind": "login", "username": "ci", "expiresAt": None}
    assert LOGIN.password not in json.dumps(document)


def test_a_decision_without_a_winner_is_nothing():
    finding = Finding("flags", Outcome.NOT_APPLICABLE, "no flag is given")
    document = decided(Decision(APP, Credential(), (finding,)))
    assert (document["source"], document["origin"]) == (None, None)
    assert document["trail"] == [
        {"source": "flags", "outcome": "not applicable", "detail": "no flag is given"}
    ]
