"""Random repositories: nothing that is needed is ever deleted, and everything else is."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given, settings, strategies
from tests.operations.making import put_blob, put_manifest

import imgpkg
from imgpkg.embedded.routes import Features
from imgpkg.embedded.server import serve
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.prune.graph import Graph, GraphNode
from imgpkg.operations.prune.plan import make_plan
from imgpkg.operations.prune.rules import Keep

PLACE = Repository.parse("registry.example.com/team/app")
SUFFIXES = (".imgpkg", ".image-locations.imgpkg", ".image-places.imgpkg", ".sig", ".att", ".sbom")
PEOPLE = ("v1", "v1.1", "v2", "main", "latest")


def digest_of(number):
    return Digest.of(str(number).encode())


@strategies.composite
def graphs(draw):
    """Draw nodes that refer to those after them (content) and to any (referrers), and tags of each form."""
    count = draw(strategies.integers(1, 12))
    numbers = strategies.integers(0, count + 1)
    nodes = []
    for number in range(count):
        # What is contained is hashed before: it has a higher number here. Some of it is not there.
        parts = strategies.lists(strategies.integers(number + 1, count + 2), max_size=3, unique=True)
        nodes.append(
            GraphNode(
                digest_of(number),
                draw(strategies.sampled_from((media.OCI_MANIFEST, media.OCI_INDEX))),
                1,
                tuple(map(digest_of, draw(parts))),
                tuple(map(digest_of, draw(parts))),
                draw(strategies.none() | strategies.integers(number + 1, count + 2).map(digest_of)),
                tuple(map(digest_of, draw(strategies.lists(numbers, max_size=2, unique=True)))),
            )
        )
    tags = draw(strategies.dictionaries(strategies.sampled_from(PEOPLE), strategies.integers(0, count - 1)))
    for about, suffix, named in draw(
        strategies.lists(
            strategies.tuples(numbers, strategies.sampled_from(SUFFIXES), strategies.integers(0, count - 1)),
            max_size=8,
        )
    ):
        tags[f"sha256-{digest_of(about).hex}{suffix}"] = named
    return Graph(nodes, {tag: digest_of(number) for tag, number in tags.items()})


def needed(graph, roots):
    """Say again, in another way, what must stay: as long as something is found, look at every pair."""
    kept = set(roots)
    while True:
        found = set()
        for other in graph.nodes.values():
            if other.digest in kept:
                continue
            for digest in kept:
                node = graph.nodes[digest]
                belongs = (
                    other.digest in (*node.children, *node.images, *node.referrers)
                    or other.subject == digest
                    or node.subject == other.digest
                    or any(
                        tag.partition(".")[0] == f"sha256-{digest.hex}" for tag in graph.tags_of(other.digest)
                    )
                )
                if belongs:
                    found.add(other.digest)
        if not found:
            return kept
        kept |= found


@given(graphs(), strategies.data())
def test_of_any_graph_exactly_what_is_needed_stays(graph, data):
    count = len(graph.nodes)
    chosen = data.draw(strategies.sets(strategies.integers(0, count - 1), min_size=1))
    plan = make_plan(PLACE, graph, Keep(digests=tuple(map(digest_of, chosen))))
    kept = {manifest.digest for manifest in plan.kept}
    removed = [manifest.digest for manifest in plan.removed]
    assert kept == needed(graph, map(digest_of, chosen))
    assert sorted((*kept, *removed)) == sorted(graph.nodes)
    assert all(manifest.tags == graph.tags_of(manifest.digest) for manifest in (*plan.kept, *plan.removed))
    assert all(str(manifest.reason) for manifest in (*plan.kept, *plan.removed))


@given(graphs(), strategies.data())
def test_of_any_graph_no_more_goes_than_what_may(graph, data):
    numbers = strategies.integers(0, len(graph.nodes) - 1)
    keep, may_go = (
        digest_of(data.draw(numbers)),
        frozenset(map(digest_of, data.draw(strategies.sets(numbers)))),
    )
    plan = make_plan(PLACE, graph, Keep(digests=(keep,)), may_go)
    would_go = graph.nodes.keys() - needed(graph, [keep])
    stays = needed(graph, {keep} | (would_go - may_go))
    assert {manifest.digest for manifest in plan.removed} == graph.nodes.keys() - stays
    assert {manifest.digest for manifest in plan.kept} == stays


@given(graphs(), strategies.data())
def test_of_any_graph_nothing_goes_before_what_contains_it(graph, data):
    keep = digest_of(data.draw(strategies.integers(0, len(graph.nodes) - 1)))
    plan = make_plan(PLACE, graph, Keep(digests=(keep,)))
    gone = set()
    going = {manifest.digest for manifest in plan.removed}
    for manifest in plan.removed:
        assert gone >= set(manifest.after)
        for node in graph.nodes.values():
            if manifest.digest in (*node.children, *node.images) and node.digest in going:
                assert node.digest in manifest.after
        gone.add(manifest.digest)
    assert gone == going


@pytest.fixture(scope="module", params=[True, False], ids=["with the API", "without the API"])
def places(request):
    """Return new repositories, of a registry with or without the API of referrers."""
    with serve(features=Features(referrers=request.param)) as server:
        yield lambda: Repository.parse(f"{server.address}/p/{uuid.uuid4().hex}")


def build(session, place, shapes):
    """Put the manifests that are described; return their references, in the same order."""
    made = []
    for number, (is_index, parts, subject, names) in enumerate(shapes):
        references = [made[part % len(made)] for part in parts] if made else []
        entries = []
        for reference in dict.fromkeys(references):
            found = session.client.manifest(reference)
            entries.append(
                {"mediaType": found.media_type, "digest": str(found.digest), "size": found.descriptor.size}
            )
        document = {"schemaVersion": 2, "annotations": {"number": str(number)}}
        if is_index:
            # Otherwise it would be taken for an index of referrers under such a tag.
            document |= {"mediaType": media.OCI_INDEX, "manifests": entries}
        else:
            config = put_blob(session, place, b"{}", media.OCI_CONFIG)
            document |= {"mediaType": media.OCI_MANIFEST, "config": config, "layers": []}
        if subject is not None and entries:
            document["subject"] = entries[subject % len(entries)]
        tags = [name if isinstance(name, str) else derived(made, *name) for name in names]
        first, *others = [*filter(None, tags), ""]
        made.append(put_manifest(session, place, document, first))
        for name in filter(None, others):
            put_manifest(session, place, document, name)
    return made


def derived(made, number, suffix):
    return f"sha256-{made[number % len(made)].digest.hex}{suffix}" if made else ""


NAMES = strategies.sampled_from(PEOPLE) | strategies.tuples(
    strategies.integers(0, 9), strategies.sampled_from(SUFFIXES)
)
SHAPES = strategies.lists(
    strategies.tuples(
        strategies.booleans(),
        strategies.lists(strategies.integers(0, 9), max_size=3),
        strategies.none() | strategies.integers(0, 2),
        strategies.lists(NAMES, max_size=2),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=20)
@given(shapes=SHAPES, keep=strategies.integers(0, 9))
def test_of_any_repository_exactly_what_is_needed_stays(places, shapes, keep):
    place = places()
    with imgpkg.Session(imgpkg.Settings(concurrency=2)) as session:
        made = build(session, place, shapes)
        root = made[keep % len(made)]
        before = everything(session, place, made)
        plan = imgpkg.prune_plan(place, session=session, keep=[str(root)])
        assert imgpkg.prune(plan, session=session).is_ok
        kept = needed(before, [root.digest])
        left = {digest for digest in before.nodes if session.client.exists(place.digest(digest)) is not None}
        visible = needed(before, before.tags.values()) | kept
        assert left == kept | (before.nodes.keys() - visible)
        for digest in kept:
            session.client.manifest(place.digest(digest))
        assert set(session.client.tags(place)) == {
            tag for tag, digest in before.tags.items() if digest in kept
        }


def everything(session, place, made):
    """Read all manifests and tags with the client, without the code under test."""
    tags = {tag: session.client.resolve(place.tag(tag)).digest for tag in session.client.tags(place)}
    digests = dict.fromkeys([*(reference.digest for reference in made), *tags.values()])
    nodes = []
    for digest in digests:
        manifest = session.client.manifest(place.digest(digest))
        document = json.loads(manifest.raw)
        subject = document.get("subject")
        nodes.append(
            GraphNode(
                digest,
                manifest.media_type,
                children=tuple(Digest.parse(entry["digest"]) for entry in document.get("manifests", ())),
                subject=None if subject is None else Digest.parse(subject["digest"]),
            )
        )
    return Graph(nodes, tags)
