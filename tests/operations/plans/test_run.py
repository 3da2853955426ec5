"""Plans of copies that are run: what arrives is what the copy itself brings, byte for byte."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from tests.operations.making import make_bundle, make_image, make_index, put_blob, thirty
from tests.servers import signatures as made
from tests.servers.faults import always, first, refusing
from tests.servers.fixtures import PASSWORD, USERNAME

import imgpkg
from imgpkg import errors
from imgpkg.bundle.lock import ImagesLock, LockedImage
from imgpkg.bundle.placement import KeptNames, MapRule, Placement
from imgpkg.embedded.server import serve
from imgpkg.events import TransferCounter, Warned
from imgpkg.oci import media
from imgpkg.oci.platform import parse_platforms
from imgpkg.oci.reference import Repository
from imgpkg.operations.copy.copy import copy_to_repository
from imgpkg.operations.copy.preview import preview_copy
from imgpkg.operations.copy.values import CopyOptions, CopySource
from imgpkg.operations.plans.reader import read_plan
from imgpkg.operations.plans.run import run_plan
from imgpkg.operations.plans.shard import Shard

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def bundle(embedded_registry, session, tmp_path):
    return CopySource(bundle=str(thirty(session, embedded_registry.address, tmp_path / "b", count=3)))


def content(session, result):
    """Return all that is in the repositories of a result: each tag with the bytes that it names."""
    places = {one.destination.repository for one in result.images}
    return {
        str(place): {tag: session.client.manifest(place.tag(tag)).raw for tag in session.client.tags(place)}
        for place in places
    }


def planned(source, to, session, tmp_path, options=None):
    """Write the plan of a copy; return its file."""
    path = tmp_path / "plan.jsonl"
    preview_copy(source, to, session=session, options=options or CopyOptions(), plan_output=path)
    return path


def both_ways(source, open_session, tmp_path, options=None, *, shards=()):
    """Copy to the same address twice, directly and by a plan; return both: result, content, lock, count."""
    options, port, done = options or CopyOptions(), 0, []
    for is_planned in (False, True):
        # At the same address, which is in records and locks.
        with serve(port=port) as there:
            to, port = f"{there.address}/to/all", int(there.address.rpartition(":")[2])
            session, counter, lock = open_session(), TransferCounter(), tmp_path / f"lock{len(done)}.yml"
            if is_planned:
                plan = planned(source, to, session, tmp_path, options)
                for shard in shards:
                    run_plan(plan, session=open_session(), shard=shard, on_event=counter)
                result = run_plan(plan, session=open_session(), lock_output=lock, on_event=counter)
            else:
                result = copy_to_repository(
                    source, to, session=session, options=options, lock_output=lock, on_event=counter
                )
            done.append((result, content(session, result), lock.read_bytes(), counter.total))
    return done


class TestWhatArrives:
    @pytest.mark.parametrize("shards", [(), ("1/3", "3/3", "2/3")], ids=["none", "all"])
    def test_is_what_the_copy_brings(self, shards, bundle, open_session, tmp_path):
        direct, plan = both_ways(bundle, open_session, tmp_path, shards=shards)
        assert plan[:3] == direct[:3]
        assert (plan[3].moved, plan[3].moved_size) == (direct[3].moved, direct[3].moved_size)

    def test_has_nested_bundles_indexes_and_tags(self, nested, session, open_session, tmp_path):
        tagged = str(nested.repository.tag("v1"))
        source = CopySource(bundle=tagged)
        direct, plan = both_ways(
            source, open_session, tmp_path, CopyOptions(to_tags=("stable", "latest"), repo_based_tags=True)
        )
        assert plan[:3] == direct[:3]
        assert {"v1", "stable", "latest"} <= plan[1].popitem()[1].keys()

    def test_has_the_lock_of_a_lock_with_annotations(
        self, embedded_registry, session, open_session, tmp_path
    ):
        at = embedded_registry.address
        images = [make_image(session, f"{at}/locked/{n}", [f"locked{n}"]) for n in (3, 1, 2)]
        lock = ImagesLock(tuple(LockedImage(image, {"at": str(image)}) for image in images))
        lock.write(tmp_path / "images.yml")
        direct, plan = both_ways(CopySource(lock=tmp_path / "images.yml"), open_session, tmp_path)
        assert plan[:3] == direct[:3]

    def test_has_several_sources_in_several_repositories(
        self, embedded_registry, session, open_session, tmp_path
    ):
        at = embedded_registry.address
        images = {make_image(session, f"{at}/several/{n}", ["shared", str(n)]): {} for n in range(4)}
        inner = make_bundle(session, f"{at}/several/bundle:v1", images, tmp_path / "several")
        source = CopySource(bundles=[str(inner)], images=[str(image) for image in images])
        options = CopyOptions(placement=Placement(keep=KeptNames.PATHS))
        direct, plan = both_ways(source, open_session, tmp_path, options, shards=("2/2", "1/2"))
        assert len(plan[1]) == 5
        assert plan[:3] == direct[:3]
        # A blob of several repositories is sent once, also where a shard moves it.
        assert plan[3].moved == direct[3].moved
        assert plan[3].mounted >= direct[3].mounted > 0

    def test_has_all_of_a_blob_for_a_registry_in_one_shard(self, embedded_registry, session, tmp_path):
        at = embedded_registry.address
        images = [str(make_image(session, f"{at}/two/app{n}", ["in all", f"two {n}"])) for n in range(6)]
        with serve() as first, serve() as second:
            # To one and the other by turns.
            rules = [
                MapRule(f"{at}/two/app{n}", f"{(first, second)[n % 2].address}/to/app{n}") for n in range(6)
            ]
            options = CopyOptions(placement=Placement(tuple(rules)))
            plan = planned(CopySource(images=images), f"{first.address}/to", session, tmp_path, options)
        shards = {}
        for number in (1, 2, 3):
            for blob in Shard(number, 3).of(read_plan(plan).blobs()):
                shards.setdefault((blob.descriptor.digest, blob.destination.registry), []).append(number)
        assert max(map(len, shards.values())) == 3
        assert all(len(set(numbers)) == 1 for numbers in shards.values())

    def test_has_indexes_that_were_cut(self, embedded_registry, session, open_session, tmp_path):
        where = f"{embedded_registry.address}/cut/app"
        children = {
            platform: make_image(session, where, [platform]) for platform in ("linux/amd64", "linux/arm64")
        }
        index = make_index(session, where, children)
        whole = make_bundle(session, f"{where}-bundle:v1", {index: {}}, tmp_path / "cut")
        options = CopyOptions(platforms=parse_platforms(["linux/arm64"]))
        direct, plan = both_ways(CopySource(bundle=str(whole)), open_session, tmp_path, options)
        assert plan[:3] == direct[:3]
        assert [one.cut is None for one in plan[0].images] == [True, False]

    @pytest.mark.slow
    def test_has_what_is_attached(self, embedded_registry, session, open_session, tmp_path):
        image = make_image(session, f"{embedded_registry.address}/signed/app", ["signed"])
        key = made.MAKERS["p256"]()
        made.put_signature(session, image, key)
        direct, plan = both_ways(
            CopySource(image=str(image)), open_session, tmp_path, CopyOptions(attachments=True)
        )
        assert len(plan[0].images) > 1
        assert plan[:3] == direct[:3]

    def test_leaves_out_layers_that_must_not_be_distributed(
        self, embedded_registry, session, open_session, tmp_path
    ):
        where = f"{embedded_registry.address}/windows/app"
        repository = Repository.parse(where)
        foreign = {
            **put_blob(session, repository, b"foreign", media.DOCKER_FOREIGN_LAYER),
            "urls": ["https://layers.example.com/foreign"],
        }
        config = put_blob(session, repository, b"{}", media.DOCKER_CONFIG)
        image = make_image(session, where, ["own"], config=config, layers=[foreign])
        direct, plan = both_ways(CopySource(image=str(image)), open_session, tmp_path)
        assert plan == direct
        assert [left.layer.urls for left in plan[0].left_out] == [("https://layers.example.com/foreign",)]

    def test_may_be_nothing(self, open_session, tmp_path):
        (tmp_path / "empty.yml").write_text(
            "apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages: []\n"
        )
        with serve() as there:
            session = open_session()
            plan = planned(
                CopySource(lock=tmp_path / "empty.yml"), f"{there.address}/to/none", session, tmp_path
            )
            assert run_plan(plan, session=session, shard="1/2").images == ()
            result = run_plan(plan, session=session, lock_output=tmp_path / "lock.yml")
        assert (result.images, ImagesLock.parse((tmp_path / "lock.yml").read_bytes()).images) == ((), ())


class TestARun:
    def test_warns_before_a_login_of_flags_goes_to_another_registry_than_the_destination(
        self, embedded_registry, session, open_session, tmp_path
    ):
        at = embedded_registry.address
        image = make_image(session, f"{at}/placed/app", ["placed"])
        with serve() as home, serve() as other:
            options = CopyOptions(placement=Placement((MapRule(f"{at}/placed", f"{other.address}/x"),)))
            plan = planned(CopySource(image=str(image)), f"{home.address}/to", session, tmp_path, options)
            for shard in ("1/1", ""):
                told = []
                with_login = open_session(username="me", password="secret", on_event=told.append)
                run_plan(plan, session=with_login, source_session=session, shard=shard)
                assert [other.address in one.text for one in told if isinstance(one, Warned)] == [True]

    def test_moves_nothing_that_is_there(self, bundle, another_registry, session, tmp_path):
        plan = planned(bundle, f"{another_registry.address}/again/b", session, tmp_path)
        for is_again in (False, True):
            counter = TransferCounter()
            run_plan(plan, session=session, on_event=counter)
            assert (counter.total.moved == 0) is is_again

    def test_asks_for_the_small_blobs_that_shards_have_moved(self, bundle, session, tmp_path):
        with serve() as there:
            plan = planned(bundle, f"{there.address}/shards/b", session, tmp_path)
            run_plan(plan, session=session, shard="1/1")
            before = len(there.requests)
            run_plan(plan, session=session)
            sent = [request for request in there.requests[before:] if request.method in ("PUT", "POST")]
        # The blobs of the record are made by the run itself.
        assert sum("/blobs/" in request.path for request in sent if request.method == "PUT") == 2

    def test_of_a_shard_writes_no_tag_and_no_manifest(self, bundle, session, tmp_path):
        with serve() as there:
            plan = planned(bundle, f"{there.address}/shards/b", session, tmp_path)
            result = run_plan(plan, session=session, shard="1/1")
            written = [request.path for request in there.requests if request.method == "PUT"]
        assert result.images == ()
        assert written
        assert not any("/manifests/" in path for path in written)

    def test_of_the_same_registry_mounts(self, bundle, embedded_registry, session, tmp_path):
        to = f"{embedded_registry.address}/mounted/{tmp_path.name.replace('_', '-').lower()}x"
        counter = TransferCounter()
        plan = planned(bundle, to, session, tmp_path)
        run_plan(plan, session=session, shard="1/1", on_event=counter)
        assert (counter.total.moved, counter.total.mounted > 0) == (0, True)

    def test_goes_on_after_a_failure(self, bundle, session, open_session, tmp_path):
        with serve(faults=first(1, refusing(500), method="PUT", path="/blobs/")) as there:
            plan = planned(bundle, f"{there.address}/broken/b", session, tmp_path)
            once = open_session(retry_count=1)
            with pytest.raises(errors.RegistryError):
                run_plan(plan, session=once, shard="1/1")
            assert run_plan(plan, session=once).bundle is not None

    @pytest.mark.slow
    @pytest.mark.parametrize("shard", ["", "1/1"])
    def test_takes_an_executor(self, shard, bundle, open_session, tmp_path):
        with serve() as there, ProcessPoolExecutor(2, SPAWN) as processes:
            session, counter = open_session(), TransferCounter()
            plan = planned(bundle, f"{there.address}/executor/b", session, tmp_path)
            run_plan(plan, session=session, shard=shard, executor=processes, on_event=counter)
        assert counter.total.moved == read_plan(plan).end().blobs

    def test_ends_when_its_session_is_stopped(self, bundle, open_session, tmp_path):
        session = open_session()

        def stop(request):
            if request.method == "PUT":
                session.stop()

        with serve(on_request=stop) as there:
            plan = planned(bundle, f"{there.address}/stopped/b", open_session(), tmp_path)
            with pytest.raises(errors.Cancelled):
                run_plan(plan, session=session, shard="1/1")

    def test_reads_with_one_session_and_writes_with_the_other(
        self, embedded_login, session, open_session, tmp_path
    ):
        reader = open_session(username=USERNAME, password=PASSWORD)
        image = make_image(reader, f"{embedded_login.address}/sides/app", ["sides"])
        with serve() as there:
            plan = tmp_path / "plan.jsonl"
            source, to = CopySource(image=str(image)), f"{there.address}/sides/app"
            preview_copy(source, to, session=session, source_session=reader, plan_output=plan)
            assert PASSWORD not in plan.read_text()
            run_plan(plan, session=session, source_session=reader, shard="1/1")
            done = run_plan(plan, session=session, source_session=reader)
            assert not any("authorization" in request.headers for request in there.requests)
        assert [one.source for one in done.images] == [image]

    @pytest.mark.parametrize("shard", ["", "1/1"])
    def test_warns_before_a_login_of_flags_goes_where_only_the_plan_leads(
        self, shard, bundle, another_registry, session, open_session, tmp_path
    ):
        plan = planned(bundle, f"{another_registry.address}/warned/b", session, tmp_path)
        told = []
        with_login = open_session(username="me", password="secret", on_event=told.append)
        run_plan(plan, session=with_login, shard=shard)
        assert [plan.name in one.text for one in told if isinstance(one, Warned)] == [True]


class TestARunRefuses:
    @pytest.mark.parametrize(
        "options",
        [CopyOptions(platforms=parse_platforms(["linux/arm64"])), CopyOptions(to_tags=("v2",))],
        ids=["platforms", "tags"],
    )
    def test_options_that_the_plan_has(self, options, session, tmp_path):
        with pytest.raises(errors.UsageError, match="when it is made"):
            run_plan(tmp_path / "plan", session=session, options=options)

    def test_a_lock_of_a_shard(self, session, tmp_path):
        with pytest.raises(errors.UsageError, match="no lock file"):
            run_plan(tmp_path / "plan", session=session, shard="1/2", lock_output=tmp_path / "lock")

    def test_a_manifest_that_has_gone(self, embedded_registry, session, tmp_path):
        with serve() as source, serve() as there:
            image = make_image(session, f"{source.address}/gone/app", ["gone"])
            plan = planned(CopySource(image=str(image)), f"{there.address}/gone", session, tmp_path)
            session.client.delete_manifest(image.repository, image.digest)
            with pytest.raises(errors.NotFound) as raised:
                run_plan(plan, session=session)
        assert "make the plan again" in raised.value.hints[-1]

    def test_a_blob_that_has_gone_from_the_source(self, session, open_session, tmp_path):
        faults = []
        with serve(faults=lambda request: faults[0](request) if faults else None) as source, serve() as there:
            image = make_image(session, f"{source.address}/gone/blob", ["gone"])
            plan = planned(CopySource(image=str(image)), f"{there.address}/gone", session, tmp_path)
            faults.append(always(refusing(404), path="/blobs/"))
            with pytest.raises(errors.NotFound) as raised:
                run_plan(plan, session=open_session(), shard="1/1")
        assert f"when {plan} was written: make the plan again" in raised.value.hints[-1]


@pytest.fixture(scope="module")
def text(embedded_registry, another_registry, tmp_path_factory):
    """A plan."""
    folder = tmp_path_factory.mktemp("lies")
    with imgpkg.Session(imgpkg.Settings()) as session:
        bundle = thirty(session, embedded_registry.address, folder / "b", count=1)
        source = CopySource(bundle=str(bundle))
        return planned(source, f"{another_registry.address}/lies/b", session, folder).read_text()


@pytest.fixture
def lines(text):
    """The lines of a plan, which tests change."""
    return [json.loads(line) for line in text.splitlines()]


def changed(lines, kind, **fields):
    """Change the last line of a kind; return its number."""
    number = max(number for number, line in enumerate(lines, 1) if line["kind"] == kind)
    lines[number - 1].update(fields)
    return number


OTHER = "sha256:" + "0" * 64
LIES = {
    "a blob of another size": ("blob", {"size": 1}),
    "another type of a blob": ("blob", {"mediaType": "text/plain"}),
    "a blob that no manifest names": ("blob", {"digest": OTHER}),
    "another repository to read a blob from": ("blob", {"source": "evil.example.com/app"}),
    "another repository for a blob": ("blob", {"destination": "evil.example.com/app"}),
    "a manifest of another size": ("manifest", {"size": 1}),
    "another type of a manifest": ("manifest", {"mediaType": media.OCI_MANIFEST}),
    "another tag for a manifest": ("manifest", {"destinations": ["registry.example.com/app:v1"]}),
    "an image that was not planned": ("image", {"source": f"registry.example.com/app@{OTHER}"}),
    "another upload tag": ("image", {"destinations": ["registry.example.com/app:v1"]}),
    "a record of another bundle": ("record", {"bundle": OTHER}),
    "a record for another repository": ("record", {"destination": "registry.example.com/app"}),
    "a root that is not copied": (
        "plan",
        {"rootBundle": {"image": f"registry.example.com/app@{OTHER}", "tag": ""}},
    ),
}


class TestLies:
    @pytest.mark.parametrize("case", LIES)
    def test_are_found_before_anything_is_written(self, case, lines, another_registry, session, tmp_path):
        kind, fields = LIES[case]
        changed(lines, kind, **fields)
        sums = [line for line in lines if line["kind"] == "blob"]
        changed(lines, "end", bytes=sum(line["size"] for line in sums))
        path = tmp_path / "lies.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        before = len(another_registry.server.requests)
        with pytest.raises(errors.InvalidDocument, match=r"lies\.jsonl: line \d+: ") as raised:
            run_plan(path, session=session)
        assert raised.value.line > 0
        sent = another_registry.server.requests[before:]
        assert {request.method for request in sent} <= {"GET", "HEAD"}

    @pytest.mark.parametrize(
        ("case", "message"),
        [
            ("an image twice", "an image is listed twice"),
            ("a manifest twice", "it is listed twice"),
            ("an entry of a lock that is not copied", "is not among the images"),
            ("a record of images that are not copied", "about images that are not copied"),
            ("a record with another place", "names places where nothing is copied to"),
            ("a record with the place of another image", "is another image"),
            ("a line too few", "it is not as the manifests say"),
        ],
    )
    def test_about_several_lines_are_found(self, case, message, lines, session, tmp_path):
        kinds = [line["kind"] for line in lines]
        image, manifest = lines[kinds.index("image")], lines[kinds.index("manifest")]
        record, blob = lines[kinds.index("record")], lines[kinds.index("blob")]
        named, other = record["images"][0], f"registry.example.com/app@{OTHER}"
        if case == "an image twice":
            lines.insert(kinds.index("image"), image)
        elif case == "a manifest twice":
            lines.insert(kinds.index("manifest"), manifest)
        elif case == "an entry of a lock that is not copied":
            lines.insert(kinds.index("image"), {"kind": "locked", "image": other, "annotations": {}})
        elif case == "a record of images that are not copied":
            record["images"] = [{"image": other, "isBundle": False}]
        elif case == "a record with another place":
            named["location"] = f"registry.example.com/app@{named['image'].rpartition('@')[2]}"
        elif case == "a record with the place of another image":
            named["location"] = other
        else:
            lines.remove(blob)
        blobs = [line["size"] for line in lines if line["kind"] == "blob"]
        counts = {f"{kind}s": sum(line["kind"] == kind for line in lines) for kind in ("manifest", "image")}
        changed(lines, "end", blobs=len(blobs), bytes=sum(blobs), **counts)
        path = tmp_path / "lies.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        with pytest.raises(errors.InvalidDocument, match=message):
            run_plan(path, session=session)

    def test_about_what_an_index_lists_are_found(self, embedded_registry, session, tmp_path):
        where = f"{embedded_registry.address}/lies/index"
        index = make_index(session, where, {"linux/amd64": make_image(session, where, ["amd64"])})
        plan = planned(CopySource(image=str(index)), f"{embedded_registry.address}/to/x", session, tmp_path)
        lines = [json.loads(line) for line in plan.read_text().splitlines()]
        del lines[[line["kind"] for line in lines].index("manifest")]
        changed(lines, "end", manifests=1)
        plan.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        with pytest.raises(errors.InvalidDocument, match="which is not before it"):
            run_plan(plan, session=session)

    def test_about_the_digest_of_a_blob_move_nothing(self, lines, another_registry, session, tmp_path):
        """A shard reads no manifests; the bytes must be those of the digest nevertheless."""
        lines[:] = [line for line in lines if line["kind"] in ("plan", "blob", "end")]
        del lines[2:-1]
        changed(lines, "blob", size=1)
        changed(lines, "end", blobs=1, bytes=1, manifests=0, images=0)
        path = tmp_path / "lies.jsonl"
        path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        with pytest.raises(errors.VerificationError):
            run_plan(path, session=session, shard="1/1")
        where = Repository.parse(lines[1]["destination"])
        assert not session.client.has_blob(where, imgpkg.Digest.parse(lines[1]["digest"]))
