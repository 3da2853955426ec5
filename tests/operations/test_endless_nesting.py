"""What a hostile registry may make up: indexes in indexes and bundles in bundles without end."""

from __future__ import annotations

import json

import pytest
from tests.operations.making import make_bundle, make_image, put_manifest

from imgpkg import errors
from imgpkg.cli import rendering
from imgpkg.embedded.message import Fault, ServerResponse
from imgpkg.embedded.server import serve
from imgpkg.oci import media
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_layout, copy_to_repository, copy_to_tar
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.describe import describe, read_bundle
from imgpkg.operations.jsonform.descriptions import described
from imgpkg.operations.pull import pull
from imgpkg.session import Session

pytestmark = pytest.mark.unmeasured


def make_nested(session, where, depth, *, times=1, **more):
    """Put an index in an index and so on, each naming the one before `times` times."""
    repository = Repository.parse(where)
    reference = make_image(session, where, ["deep inside"], **more)
    for _ in range(depth):
        found = session.client.manifest(reference)
        child = {"mediaType": found.media_type, "digest": str(found.digest), "size": len(found.raw)}
        entries = [{**child, "annotations": {"n": str(number)}} for number in range(times)]
        document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}
        reference = put_manifest(session, repository, document)
    return reference


@pytest.fixture
def doubled(embedded_registry, session):
    """An index that lists its image a million times, in twenty manifests."""
    return make_nested(session, f"{embedded_registry.address}/endless/doubled", 20, times=2)


class TestAnIndexThatListsTheSameAgainAndAgain:
    def test_is_copied_for_what_is_in_it(self, doubled, another_registry, session):
        before = len(another_registry.requests)
        to = f"{another_registry.address}/endless/doubled"
        copy_to_repository(CopySource(image=str(doubled)), to, session=session)
        assert len(another_registry.requests) - before < 40

    def test_finds_no_place_in_a_tar_file(self, doubled, session, tmp_path):
        with pytest.raises(errors.ArchiveError, match="lists more than 100000 manifests"):
            copy_to_tar(CopySource(image=str(doubled)), tmp_path / "x.tar", session=session)

    def test_finds_no_place_in_a_tar_file_that_could_not_be_read(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/endless/large"
        large = make_nested(session, where, 10, times=2, annotations={"long": "x" * 2_000_000})
        with pytest.raises(errors.ArchiveError, match=r"more than manifest\.json of a tar file can hold"):
            copy_to_tar(CopySource(image=str(large)), tmp_path / "x.tar", session=session)

    def test_goes_to_a_layout_and_back(self, doubled, another_registry, session, tmp_path):
        copy_to_layout(CopySource(image=str(doubled)), tmp_path / "layout", session=session)
        to = f"{another_registry.address}/endless/back"
        result = copy_to_repository(CopySource(layout=str(tmp_path / "layout")), to, session=session)
        assert [copied.destination.digest for copied in result.images] == [doubled.digest]


def test_an_index_that_goes_too_deep_is_refused(embedded_registry, another_registry, session):
    index = make_nested(session, f"{embedded_registry.address}/endless/deep", 40)
    with pytest.raises(errors.InvalidManifest, match="nested more than 32 deep"):
        copy_to_repository(
            CopySource(image=str(index)), f"{another_registry.address}/endless/deep", session=session
        )


def test_an_index_that_is_listed_at_the_top_and_in_the_deep_is_refused(embedded_registry, session, tmp_path):
    """Reading it level by level takes two levels only, for all are listed at the top."""
    where = f"{embedded_registry.address}/endless/known"
    chain = [make_nested(session, where, depth) for depth in range(40)]
    entries = [
        {"mediaType": found.media_type, "digest": str(found.digest), "size": len(found.raw)}
        for found in map(session.client.manifest, chain)
    ]
    document = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": entries}
    index = put_manifest(session, Repository.parse(where), document)
    with pytest.raises(errors.InvalidManifest, match="nested more than 32 deep"):
        copy_to_tar(CopySource(image=str(index)), tmp_path / "x.tar", session=session)


def test_bundles_that_go_too_deep_are_refused(embedded_registry, session, tmp_path):
    address = embedded_registry.address
    bundle = make_bundle(session, f"{address}/endless/b0", {}, tmp_path / "0")
    for number in range(1, 70):
        inside = {bundle: {}}
        bundle = make_bundle(session, f"{address}/endless/b{number}", inside, tmp_path / str(number))
    with pytest.raises(errors.InvalidLock, match="nested more than 64 deep"):
        describe(str(bundle), session=session)
    with pytest.raises(errors.InvalidLock, match="nested more than 64 deep"):
        pull(tmp_path / "out", bundle=str(bundle), recursive=True, session=session)


def test_bundles_that_are_named_at_the_top_and_in_the_deep_are_refused(embedded_registry, session, tmp_path):
    """Reading them level by level takes two levels only, for all are named at the top."""
    where = f"{embedded_registry.address}/endless/all"
    chain = [make_bundle(session, where, {}, tmp_path / "0")]
    for number in range(1, 70):
        chain.append(make_bundle(session, where, {chain[-1]: {}}, tmp_path / str(number)))
    top = make_bundle(session, where, {bundle: {} for bundle in chain}, tmp_path / "top")
    with pytest.raises(errors.InvalidLock, match="nested more than 64 deep"):
        read_bundle(str(top), session=session)


def test_attachments_to_attachments_without_end_are_refused(another_registry, session):
    """Each digest that is requested has a new referrer."""
    made = {}

    def attached(request):
        name, _, digest = request.path.removeprefix("/v2/").partition("/referrers/")
        if not digest:
            return None
        if digest not in made:
            made[digest] = None
            where = f"{server.address}/{name}"
            found = make_image(session, where, [digest])
            manifest = session.client.manifest(found)
            made[digest] = {
                "mediaType": media.OCI_MANIFEST,
                "digest": str(found.digest),
                "size": len(manifest.raw),
            }
        index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": [made[digest]]}
        return Fault(
            answer=ServerResponse(200, (("Content-Type", media.OCI_INDEX),), json.dumps(index).encode())
        )

    with serve(faults=attached) as server:
        image = make_image(session, f"{server.address}/endless/attached")
        to = f"{another_registry.address}/endless/attached"
        with pytest.raises(errors.InvalidManifest, match="more than 32 manifests are attached one to the"):
            copy_to_repository(
                CopySource(image=str(image)), to, session=session, options=CopyOptions(referrers=True)
            )


def entries_in(description):
    """Count the entries of a description, as printing does."""
    below = sum(1 + entries_in(inner) for inner in description.bundles)
    return below + len(description.images)


def opened_in(description):
    """Name the bundles whose content is listed."""
    names = set() if description.is_repeated else {description.digest}
    return names.union(*(opened_in(inner) for inner in description.bundles))


def results_in(result):
    return 1 + sum(results_in(nested) for nested in result.nested)


@pytest.fixture(scope="module")
def make_chain(embedded_registry, tmp_path_factory):
    def made(name, levels, width):
        with Session() as session:
            where, below = f"{embedded_registry.address}/diamonds/{name}", {}
            for level in range(levels):
                folders = [tmp_path_factory.mktemp(name) for _ in range(width)]
                below = {
                    make_bundle(session, where, below, folder, files={"f": f"{level} {number}"}): {}
                    for number, folder in enumerate(folders)
                }
            return make_bundle(session, where, below, tmp_path_factory.mktemp(name))

    return made


@pytest.fixture(scope="module")
def forty_one(make_chain):
    return make_chain("forty-one", 20, 2)


@pytest.fixture(scope="module")
def two_hundred(make_chain):
    return make_chain("two-hundred", 50, 4)


@pytest.mark.slow
class TestBundlesNestedLikeAChainOfDiamonds:
    """Each bundle of a level names every one of the next: the ways to the last are too many to follow."""

    @pytest.mark.parametrize(("name", "count"), [("forty_one", 41), ("two_hundred", 201)])
    def test_are_described_with_each_of_them_once_at_least(self, name, count, request, session):
        found = describe(str(request.getfixturevalue(name)), session=session)
        assert len(opened_in(found)) == count
        assert entries_in(found) <= 10_000 + 4 * count
        assert len(repr(found)) < 10_000_000

    def test_are_printed_in_every_form(self, forty_one, session):
        found = describe(str(forty_one), session=session)
        lines = 10_000 + 2 * 41
        assert sum("- Image: " in line for line in rendering.description_text(found, layers=True)) <= lines
        assert sum(1 for _ in rendering.description_tree(found)) <= lines + 1
        assert rendering.description_yaml(found).count("origin: ") <= lines + 1
        assert json.dumps(described(found)).count('"origin": ') <= lines + 1
        assert '"repeated": true' in json.dumps(described(found))

    def test_are_repeated_whole_while_they_are_few(self, make_chain, session):
        found = describe(str(make_chain("few", 10, 2)), session=session)
        # What the original lists: 2 + 4 + ... + 1024.
        assert entries_in(found) == 2046
        assert len(opened_in(found)) == 21
        first, second = found.bundles
        assert first.bundles == second.bundles

    def test_are_copied_and_pulled_for_what_is_in_them(
        self, forty_one, another_registry, open_session, tmp_path
    ):
        chain = forty_one
        source, to = CopySource(bundle=str(chain)), f"{another_registry.address}/diamonds/copy"
        count = len(copy_to_repository(source, to, session=open_session()).images)
        assert len(preview_copy(source, to, session=open_session()).images) == count
        copy_to_tar(source, tmp_path / "x.tar", session=open_session())
        again = copy_to_repository(CopySource(tar=tmp_path / "x.tar"), f"{to}/tar", session=open_session())
        assert len(again.images) == count
        copy_to_layout(source, tmp_path / "oci", session=open_session())
        again = copy_to_repository(CopySource(layout=tmp_path / "oci"), f"{to}/oci", session=open_session())
        assert len(again.images) == count
        assert len(repr(read_bundle(str(chain), session=open_session()))) < 1_000_000
        pulled = pull(tmp_path / "out", bundle=f"{to}@{chain.digest}", recursive=True, session=open_session())
        assert count == 1 + len(list((tmp_path / "out/.imgpkg/bundles").iterdir())) == 41
        assert results_in(pulled) <= 10_000 + 4 * count
