"""The image references of Kubernetes documents, Helm values and kustomizations."""

from __future__ import annotations

import json

import pytest
import yaml

from imgpkg.bundle.kubernetes import Occurrence, SkippedImage, find_references
from imgpkg.bundle.yaml_text import MarkedText
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository

DIGEST = Digest.of(b"")
OTHER = Digest.of(b"other")
INSIDE = Repository.parse("inside.example/apps/bundle").digest(DIGEST)


def search(text, **options):
    marked = MarkedText(text.encode(), "some.yml")
    return marked, find_references(marked, **options)


def references(text, **options):
    return [one.text for one in search(text, **options)[1] if isinstance(one, Occurrence)]


def reasons(text):
    return [
        (f"{one.place.line}:{one.place.column}", one.text, one.reason)
        for one in search(text)[1]
        if isinstance(one, SkippedImage)
    ]


def rewritten(text, target=None):
    """Rewrite every reference to `target`, or to a digest in its own repository."""
    marked, found = search(text)
    edits = [
        edit
        for one in found
        if isinstance(one, Occurrence)
        for edit in one.form.edits(
            marked, target or one.reference.repository.digest(DIGEST), keeps_name=target is None
        )
    ]
    return marked.replaced(edits).decode()


POD = {
    "initContainers": [{"name": "i", "image": "a/init:1"}],
    "containers": [{"name": "c", "image": "a/one:1"}, {"name": "d", "image": "a/two:1"}],
    "ephemeralContainers": [{"name": "e", "image": "a/debug:1"}],
    "volumes": [{"name": "v", "image": {"reference": "a/volume:1", "pullPolicy": "Always"}}],
}
ALL = ["a/init:1", "a/one:1", "a/two:1", "a/debug:1", "a/volume:1"]
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": POD}
WORKLOADS = [
    {"apiVersion": "v1", "kind": "Pod", "spec": POD},
    {"apiVersion": "v1", "kind": "PodTemplate", "template": TEMPLATE},
    {"apiVersion": "v1", "kind": "ReplicationController", "spec": {"template": TEMPLATE}},
    *(
        {"apiVersion": "apps/v1", "kind": kind, "spec": {"template": TEMPLATE}}
        for kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
    ),
    {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": TEMPLATE}},
    {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": TEMPLATE}}},
    },
    {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "spec": {"template": TEMPLATE},
        "status": {"image": "a/of-the-past:1"},
    },
]


@pytest.mark.parametrize("workload", WORKLOADS, ids=lambda workload: workload["kind"])
class TestAWorkload:
    @pytest.mark.parametrize(
        "written",
        [yaml.safe_dump, json.dumps, lambda value: yaml.safe_dump(value, default_flow_style=True)],
        ids=["block", "json", "flow"],
    )
    def test_has_the_images_of_its_pods(self, workload, written):
        assert sorted(references(written(workload))) == sorted(ALL)

    def test_has_them_in_a_list_too(self, workload):
        listed = {"apiVersion": "v1", "kind": "List", "items": [workload, workload]}
        assert sorted(references(json.dumps(listed))) == sorted(ALL * 2)

    def test_gets_digests_and_stays_the_same_otherwise(self, workload):
        text = yaml.safe_dump(workload)
        after = rewritten(text)
        expected = text
        for name in ALL:
            expected = expected.replace(name, f"{name[:-2]}@{DIGEST}")
        # The status stays.
        assert after == expected


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("spec: {image: a/b}", ["a/b"]),
        ("{kind: X, apiVersion: v1, spec: {engine: {image: a/b:1}}}", ["a/b:1"]),
        ("image: a/b@" + str(DIGEST), [f"a/b@{DIGEST}"]),
        ("image: a/b:1@" + str(DIGEST), [f"a/b:1@{DIGEST}"]),
        ("properties: {image: {type: string, description: the image}}", []),
        ("required: [image]", []),
        ("scanners: {image: true}", []),
        ("image: [a/b]", []),
        ("images: [a/b]", []),
        ("images: a/b", []),
        ("images: [{image: a/b}]", ["a/b"]),
        ("image: {name: a/b}", []),
        ("status: {image: a/b}", ["a/b"]),
        ("{apiVersion: v1, kind: X, status: {image: a/b}}", []),
        ("? {a: b}\n: image\n", []),
        ("", []),
        ("just text", []),
        ("[{image: a/b}, {image: a/c}]", ["a/b", "a/c"]),
    ],
)
def test_of_any_document(text, found):
    assert references(text) == found


@pytest.mark.parametrize(
    ("text", "found", "after"),
    [
        ("image: {repository: a/b, tag: v1}", "a/b:v1", "image: {repository: a/b, tag: v1@DIGEST}"),
        ("image: {repository: a/b, tag: 1.27}", "a/b:1.27", "image: {repository: a/b, tag: 1.27@DIGEST}"),
        (
            "image: {repository: a/b, tag: 'v1@OTHER'}",
            "a/b:v1@OTHER",
            "image: {repository: a/b, tag: 'v1@DIGEST'}",
        ),
        (
            "image:\n  registry: r.io\n  repository: a/b\n  tag: v1\n  digest: ''\n",
            "r.io/a/b:v1",
            'image:\n  registry: r.io\n  repository: a/b\n  tag: v1\n  digest: "DIGEST"\n',
        ),
        (
            "image:\n  registry:\n  repository: a/b\n  tag:\n  digest: OTHER # pinned\n",
            "a/b@OTHER",
            "image:\n  registry:\n  repository: a/b\n  tag:\n  digest: DIGEST # pinned\n",
        ),
        (
            "image: {repository: a/b, tag: v1, sha: }",
            "a/b:v1",
            "image: {repository: a/b, tag: v1, sha: HEX }",
        ),
        ("image: {repository: a/b, sha: OHEX}", "a/b@OTHER", "image: {repository: a/b, sha: HEX}"),
        ("image: {name: a/b, tag: v1}", "a/b:v1", "image: {name: a/b, tag: v1@DIGEST}"),
        (
            "{registry: r.io, image: a/b, tag: v1}",
            "r.io/a/b:v1",
            "{registry: r.io, image: a/b, tag: v1@DIGEST}",
        ),
        ("{image: a/b, tag: v1, digest: ''}", "a/b:v1", '{image: a/b, tag: v1, digest: "DIGEST"}'),
        ("{image: a/b:v2, tag: v1}", "a/b:v2", "{image: a/b@DIGEST, tag: v1}"),
        ("image: {image: a/b, tag: v1}", "a/b:v1", "image: {image: a/b, tag: v1@DIGEST}"),
        ("- name: a/b\n  tag: x\nimages: x".replace("\nimages: x", ""), None, None),
        ("images:\n- name: a/b\n  newTag: v1\n", "a/b:v1", "images:\n- name: a/b\n  digest: DIGEST\n"),
        (
            "images: [{name: x, newName: a/b, newTag: '1'}]",
            "a/b:1",
            "images: [{name: x, newName: a/b, digest: 'DIGEST'}]",
        ),
        ("images: [{name: x, newName: a/b, digest: OTHER, newTag: '1'}]", "a/b@OTHER", None),
    ],
)
def test_in_parts(text, found, after):
    def placed(one):
        for name, value in {"DIGEST": DIGEST, "OTHER": OTHER, "OHEX": OTHER.hex, "HEX": DIGEST.hex}.items():
            one = one.replace(name, str(value))
        return one

    assert references(placed(text)) == ([placed(found)] if found else [])
    if after is not None:
        assert rewritten(placed(text)) == placed(after)


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("image: nginx # old", "image: inside.example/apps/bundle@DIGEST # old"),
        (
            "image: {repository: a/b, tag: v1}",
            "image: {repository: inside.example/apps/bundle, tag: v1@DIGEST}",
        ),
        (
            "image: {registry: r.io, repository: a/b, tag: v1}",
            "image: {registry: inside.example, repository: apps/bundle, tag: v1@DIGEST}",
        ),
        (
            "image: {registry: '', repository: a/b, tag: v1}",
            "image: {registry: '', repository: inside.example/apps/bundle, tag: v1@DIGEST}",
        ),
        (
            "images:\n  - name: nginx\n    newTag: '1.27' # c\n",
            "images:\n  - name: nginx\n    newName: inside.example/apps/bundle\n    digest: 'DIGEST' # c\n",
        ),
        (
            "images:\n- digest: DIGEST\n  name: nginx\n",
            "images:\n- newName: inside.example/apps/bundle\n  digest: DIGEST\n  name: nginx\n",
        ),
        (
            "images:\r\n- name: nginx\r\n  newTag: v1\r\n",
            "images:\r\n- name: nginx\r\n  newName: inside.example/apps/bundle\r\n  digest: DIGEST\r\n",
        ),
        (
            '{"images": [{"name": "nginx", "newTag": "1"}]}',
            '{"images": [{"name": "nginx", "newName": "inside.example/apps/bundle", "digest": "DIGEST"}]}',
        ),
        (
            "images: [{name: nginx, newName: a/b, newTag: v1}]",
            "images: [{name: nginx, newName: inside.example/apps/bundle, digest: DIGEST}]",
        ),
    ],
)
def test_get_another_repository(text, after):
    text, after = (one.replace("DIGEST", str(DIGEST)) for one in (text, after))
    assert rewritten(text, INSIDE) == after
    # What was written is what is found.
    assert {one.reference for one in search(after)[1]} == {INSIDE}
    assert rewritten(after, INSIDE) == after


@pytest.mark.parametrize(
    ("text", "place", "shown", "reason"),
    [
        ('image: "{{ .Values.image }}"', "1:9", "{{ .Values.image }}", "is a template"),
        ("image: {{ .Values.image }}", "1:8", "{{ .Values.image }}", "is a template"),
        ("a:\n- image: {{ .V.i | quote }} # c", "2:10", "{{ .V.i | quote }}", "is a template"),
        ("image: a/b:{{tag}}", "1:8", "a/b:{{tag}}", "is a template"),
        ("image: $(IMAGE)", "1:8", "$(IMAGE)", "has a variable in it"),
        ("image: a/b:${TAG}", "1:8", "a/b:${TAG}", "has a variable in it"),
        ("image: $IMAGE", "1:8", "$IMAGE", "has a variable in it"),
        ("image:\n", "1:7", "", "is empty"),
        ("image: ''\n", "1:8", "", "is empty"),
        ("image: ' '\n", "1:9", " ", "is empty"),
        ("image: ~\n", "1:8", "~", "is empty"),
        ("image: {repository: '', tag: v1}", "1:21", ":v1", "is empty"),
        (
            "image: {repository: a/b, tag: ''}",
            "1:21",
            "a/b",
            "has no tag and no digest here: the chart has a default of its own",
        ),
        (
            "image: {repository: a/b, tag: 1.10}",
            "1:21",
            "a/b:1.10",
            "has 1.10, which is the number 1.1: put it in quotes",
        ),
        (
            "image: {repository: a/b, tag: 20240101}",
            "1:21",
            "a/b:20240101",
            "has 20240101, which is the number 2.02401e+07: put it in quotes",
        ),
        (
            "image: {repository: a/b, tag: yes}",
            "1:21",
            "a/b:yes",
            "has yes, which is no text: put it in quotes",
        ),
        (
            "images: [{name: a/b, newTag: 1.10}]",
            "1:30",
            "a/b:1.10",
            "has 1.10, which is the number 1.1: put it in quotes",
        ),
        ("images: [{name: a/b, newTag: }]", None, "a/b:", "is empty"),
        ("image: 1.27", "1:8", "1.27", "is a number"),
        ('{"image": NaN}', "1:11", "NaN", "is a number"),
        (
            "image: {repository: a/b, tag: .nan}",
            "1:21",
            "a/b:.nan",
            "has .nan, which is the number NaN: put it in quotes",
        ),
        (
            '{"image": {"repository": "a/b", "tag": NaN}}',
            "1:27",
            "a/b:NaN",
            "has NaN, which is the number NaN: put it in quotes",
        ),
        (
            "images: [{name: a/b, newTag: .inf}]",
            "1:30",
            "a/b:.inf",
            "has .inf, which is the number +Inf: put it in quotes",
        ),
        (
            "images: [{name: web, newName: a/b}]",
            "1:31",
            "a/b",
            "has no newTag and no digest here: the tag is that of another document",
        ),
        (f"image: {'a' * 5000}", "1:8", "a" * 5000, "is no image reference (it has 5000 characters)"),
        ("image: https://u:s3cret@r.io/a", "1:8", "r.io/a", None),
        ("image: UPPER/case", "1:8", "UPPER/case", None),
        (
            "image: a/b@md5:1",
            "1:8",
            "a/b@md5:1",
            "is no image reference (unsupported digest algorithm: md5:1)",
        ),
    ],
)
def test_that_are_none_are_told_with_their_place(text, place, shown, reason):
    ((at, found, told),) = reasons(text)
    assert place in (None, at)
    assert (found, told) == (shown, told if reason is None else reason)
    assert reason or told.startswith("is no image reference (")
    assert "s3cret" not in told


def test_of_many_documents_are_all_found():
    """Also where the nodes of one are in the memory of another."""
    text = "".join(f"---\nspec: {{containers: [{{image: a/b:{n}}}]}}\n" for n in range(500))
    assert references(text) == [f"a/b:{n}" for n in range(500)]


class TestAliases:
    def test_are_replaced_and_what_they_name_is_not(self):
        text = "x: &i a/b:1\nlabel: *i\nimage: *i\n"
        assert references(text) == ["a/b:1"]
        assert rewritten(text) == f"x: &i a/b:1\nlabel: *i\nimage: a/b@{DIGEST}\n"

    def test_of_a_container_are_followed_once(self):
        text = "x: &c {image: a/b:1}\ncontainers: [*c, *c]\n"
        assert references(text) == ["a/b:1"]
        assert rewritten(text) == text.replace(":1", f"@{DIGEST}")

    def test_of_values_are_followed(self):
        text = "x: &i {repository: a/b, tag: v1}\none: {image: *i}\ntwo: {image: {<<: *i, tag: v2}}\n"
        assert references(text) == ["a/b:v1", "a/b:v2"]
        after = rewritten(text)
        assert after == text.replace("v1", f"v1@{DIGEST}").replace("v2", f"v2@{DIGEST}")
        assert references(rewritten(text, INSIDE)) == [f"{INSIDE.repository}:v{n}@{DIGEST}" for n in (1, 2)]

    def test_cost_nothing_however_often_they_are_repeated(self):
        lines = ["a0: &a0 {image: a/b:1}", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 50))]
        assert references("\n".join(lines)) == ["a/b:1"]


class TestALock:
    LOCK = (
        "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n"
        f"images:\n- image: a/b:1\n- image: a/c@{DIGEST}\n"
    )

    def test_has_only_its_tags_found(self):
        assert references(self.LOCK) == ["a/b:1"]

    def test_is_left_out_where_no_locks_are_wanted(self):
        assert references(self.LOCK, locks=False) == []

    @pytest.mark.parametrize("images", ["", "images: x", "images: [x, {a: b}, {image: [c]}]"])
    def test_may_have_anything_in_it(self, images):
        assert references(f"apiVersion: imgpkg.carvel.dev/v1alpha1\n{images}") == []
