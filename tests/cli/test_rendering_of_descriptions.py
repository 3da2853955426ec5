"""The forms of `describe`: the original's text and YAML letter by letter, JSON, and a drawing."""

from __future__ import annotations

import json

import yaml

from imgpkg.cli import rendering
from imgpkg.oci.descriptor import Digest
from imgpkg.operations.description import Description, ImageInfo, ImageType
from imgpkg.operations.jsonform.descriptions import described

HERE = "localhost:5202/cs/outer"
ROOT, INNER, APP_A, APP_B, RECORD, SIG, LAYER = (Digest.of(name.encode()) for name in "rtabisl")


def image(digest, kind, origin="", **more):
    return ImageInfo(str(digest), f"{HERE}@{digest}", kind, origin or f"{HERE}@{digest}", **more)


A = image(APP_A, ImageType.IMAGE, f"localhost:5201/app/a@{APP_A}", annotations={"kbld.carvel.dev/id": "a:v1"})
B = image(APP_B, ImageType.IMAGE, f"localhost:5201/app/b@{APP_B}", annotations={"k": "100% sure", "a": "z"})
SIGNATURE = image(SIG, ImageType.SIGNATURE, annotations={"tag": f"sha256-{APP_A.hex}.sig"})
REFUSED = ImageInfo(f"{HERE}:sha256-{ROOT.hex}.sig", "", ImageType.SIGNATURE, error="access denied")
INTERNAL = image(RECORD, ImageType.INTERNAL)
NESTED = Description(
    INNER, f"{HERE}@{INNER}", f"localhost:5201/bundles/inner@{INNER}", images=(A, INTERNAL, SIGNATURE)
)
OUTER = Description(ROOT, f"{HERE}@{ROOT}", f"{HERE}@{ROOT}", bundles=(NESTED,), images=(B,))
EMPTY = Description(ROOT, f"{HERE}@{ROOT}", f"{HERE}@{ROOT}")


class TestText:
    def test_is_the_recorded_one(self):
        assert (
            "".join(rendering.description_text(OUTER, layers=False))
            == f"""\
Bundle SHA: {ROOT}

Images:
  - Image: {HERE}@{INNER}
    Type: Bundle
    Origin: localhost:5201/bundles/inner@{INNER}
    Images:
    - Image: {HERE}@{APP_A}
      Type: Image
      Origin: localhost:5201/app/a@{APP_A}
      Annotations:
        kbld.carvel.dev/id: a:v1
    - Image: {HERE}@{RECORD}
      Type: Internal
    - Image: {HERE}@{SIG}
      Type: Signature
      Annotations:
        tag: sha256-{APP_A.hex}.sig
  - Image: {HERE}@{APP_B}
    Type: Image
    Origin: localhost:5201/app/b@{APP_B}
    Annotations:
      a: z
      k: 100% sure
"""
        )

    def test_of_an_empty_bundle_ends_after_its_digest(self):
        assert "".join(rendering.description_text(EMPTY, layers=True)) == f"Bundle SHA: {ROOT}\n\n"

    def test_parts_bundles_of_one_level_by_an_empty_line(self):
        twice = Description(ROOT, "x", "x", bundles=(NESTED, NESTED))
        lines = list(rendering.description_text(twice, layers=False))
        assert lines.count("\n") == 2
        assert lines[lines.index("\n", 2) + 1].startswith("  - Image: ")

    def test_lists_layers_when_they_were_read(self):
        with_layers = image(APP_A, ImageType.IMAGE, layers=(LAYER,))
        lines = list(
            rendering.description_text(Description(ROOT, "x", "x", images=(with_layers,)), layers=True)
        )
        assert lines[-2:] == ["    Layers:\n", f"      - Digest: {LAYER}\n"]

    def test_says_why_a_signature_is_not_shown(self):
        lines = list(rendering.description_text(Description(ROOT, "x", "x", images=(REFUSED,)), layers=True))
        assert lines[3:] == ["  - Image: \n", "    Type: Signature\n", "    Error: access denied\n"]


class TestYAML:
    def test_of_an_empty_bundle_is_the_recorded_one(self):
        bundle = Description(ROOT, f"{HERE}@{ROOT}", f"{HERE}@{ROOT}", layers=(LAYER,))
        assert (
            rendering.description_yaml(bundle)
            == f"""\
sha: {ROOT}
content: {{}}
image: {HERE}@{ROOT}
layers:
- digest: {LAYER}
metadata: {{}}
origin: {HERE}@{ROOT}
"""
        )

    def test_shows_a_refused_signature_by_its_tag(self):
        text = rendering.description_yaml(Description(ROOT, "x", "x", images=(REFUSED,)))
        assert f"    {REFUSED.key}:\n      error: access denied\n      imageType: Signature\n" in text

    def test_has_the_content_of_the_json_form(self):
        assert yaml.safe_load(rendering.description_yaml(OUTER)) == json.loads(json.dumps(described(OUTER)))


class TestABundleThatIsOnlyNamedAgain:
    REPEATED = Description(INNER, f"{HERE}@{INNER}", f"{HERE}@{INNER}", layers=(LAYER,), is_repeated=True)
    WHOLE = Description(ROOT, "x", "x", bundles=(REPEATED,))

    def test_says_so_in_the_text(self):
        lines = list(rendering.description_text(self.WHOLE, layers=True))
        assert lines[-3:] == [
            "    Layers:\n",
            f"      - Digest: {LAYER}\n",
            "    Images: (listed above)\n",
        ]

    def test_says_so_in_yaml_and_json(self):
        text = rendering.description_yaml(self.WHOLE)
        assert yaml.safe_load(text)["content"]["bundles"][str(INNER)]["repeated"] is True
        assert yaml.safe_load(text) == json.loads(json.dumps(described(self.WHOLE)))

    def test_says_so_in_the_tree(self):
        assert (
            list(rendering.description_tree(self.WHOLE))[1]
            == f"└── Bundle {HERE}@{INNER.hex[:12]} (listed above)\n"
        )


def test_the_tree_draws_what_is_inside_what():
    unmoved = ImageInfo(str(SIG), f"other/x@{SIG}", ImageType.IMAGE, f"other/x@{SIG}")
    bundle = Description(ROOT, f"{HERE}@{ROOT}", "", bundles=(NESTED,), images=(B, unmoved, REFUSED))
    assert (
        "".join(rendering.description_tree(bundle))
        == f"""\
Bundle {HERE}@{ROOT.hex[:12]}
├── Bundle localhost:5201/bundles/inner@{INNER.hex[:12]} (copied here)
│   ├── Image localhost:5201/app/a@{APP_A.hex[:12]} (copied here)
│   ├── Internal {HERE}@{RECORD.hex[:12]}
│   └── Signature {HERE}@{SIG.hex[:12]}
├── Image localhost:5201/app/b@{APP_B.hex[:12]} (copied here)
├── Image other/x@{SIG.hex[:12]}
└── Signature {REFUSED.key} (access denied)
"""
    )
