"""Copies that move what is planned before the rest is: what arrives is what a whole plan brings."""

from __future__ import annotations

import contextlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.operations.making import make_bundle, make_image, make_index, put_manifest
from tests.servers.faults import always, refusing

from imgpkg import errors
from imgpkg.bundle.image import signature_tag
from imgpkg.bundle.lock import BundleLock, ImagesLock, LockedImage
from imgpkg.bundle.placement import KeptNames, Placement
from imgpkg.bundle.selection import Selection
from imgpkg.embedded.server import serve
from imgpkg.events import BlobFinished, Planned, TransferCounter, Warned
from imgpkg.oci import media
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.platform import parse_platforms
from imgpkg.oci.reference import Reference, Repository
from imgpkg.operations.copy.batch_run import BatchedCopy
from imgpkg.operations.copy.collection import read_source_lock
from imgpkg.operations.copy.copy import check_destination, copy_to_repository
from imgpkg.operations.copy.lockfile import LockOutput
from imgpkg.operations.copy.source import IsLarge, SizeWatch, streams
from imgpkg.operations.copy.values import CopyOptions, CopySource, Log
from imgpkg.operations.transfer.dispatch import ClusterExecutor
from imgpkg.progress import ProgressCounter
from imgpkg.session import Session
from imgpkg.settings import Settings
from imgpkg.trust.policy import Policy

FOREIGN = media.OCI_RESTRICTED_LAYER_GZIP


@pytest.fixture
def address(embedded_registry):
    return embedded_registry.address


@pytest.fixture
def images(address, session):
    """Ten images, all of which share a layer; the first is signed in two repositories, in different ways."""
    found = [make_image(session, f"{address}/batches/app{n}", ["shared", f"own {n}"]) for n in range(10)]
    for name in ("app0", "other"):
        signed = make_image(session, f"{address}/batches/{name}", ["shared", "own 0"])
        make_image(session, str(signed.repository), [f"signature {name}"], tag=signature_tag(signed.digest))
        found.append(signed)
    return list(dict.fromkeys(found))


@pytest.fixture
def index(address, session):
    place = f"{address}/batches/index"
    parts = {name: make_image(session, place, [name]) for name in ("linux/amd64", "linux/arm64")}
    found = make_index(session, place, parts)
    subject = {"mediaType": media.OCI_INDEX, "digest": str(found.digest), "size": 1}
    make_image(session, place, ["a referrer"], subject=subject)
    return found


@pytest.fixture
def everything(address, session, images, index, tmp_path):
    """Bundles, a lock, and an image with a tag, several of which name the same images."""
    place = f"{address}/batches"
    foreign = make_image(session, f"{place}/foreign", ["not to be passed on"], layer_type=FOREIGN)
    inner = make_bundle(session, f"{place}/inner:v1", {one: {} for one in images[:5]}, tmp_path / "in")
    named = {inner: {"a": "b"}, index: {}, images[7]: {}, foreign: {}}
    make_bundle(session, f"{place}/outer:v2", named, tmp_path / "out")
    make_image(session, f"{place}/named", ["named"], tag="v7")
    ImagesLock(tuple(LockedImage(one, {"n": str(one)}) for one in images)).write(tmp_path / "images.yml")
    BundleLock(inner, "from-lock").write(tmp_path / "bundle.yml")
    return CopySource(
        bundles=[f"{place}/outer:v2", f"{place}/inner:v1"],
        images=[f"{place}/named:v7"],
        locks=[tmp_path / "images.yml", tmp_path / "bundle.yml"],
    )


def content(session, registry):
    """Return all tags of all repositories of a registry, with the bytes that they name."""
    found = {}
    for name in session.client.catalog(registry.address):
        repository = Repository.parse(f"{registry.address}/{name}")
        for tag in session.client.tags(repository):
            found[name, tag] = session.client.manifest(repository.tag(tag)).raw
    return found


def lock_of(folder, *references):
    """Write a lock of images; return the source."""
    ImagesLock(tuple(map(LockedImage, references))).write(folder / "lock.yml")
    return CopySource(lock=folder / "lock.yml")


def batched(source, to, session, *, size=3, on_event=lambda _: None, **options):
    locks = {part.lock: read_source_lock(part.lock) for part in source.parts if part.lock}
    return BatchedCopy(
        source, Repository.parse(to), session, session, CopyOptions(**options), Log(on_event), locks, size
    )


def in_batches(source, to, session, *, executor=None, lock="", **more):
    collected, result = batched(source, to, session, **more).run(executor)
    if lock:
        LockOutput.checked(source, lock).write(collected, result)
    return result


def whole(source, to, session, *, size, on_event, lock, **options):
    """Copy by a whole plan; the size of a batch has no meaning."""
    return copy_to_repository(
        source, to, session=session, on_event=on_event, lock_output=lock, options=CopyOptions(**options)
    )


class TestWhatArrives:
    @pytest.mark.parametrize(
        ("size", "options"),
        [
            (1, {}),
            (100, {"repo_based_tags": True}),
            (3, {"cosign_signatures": True, "referrers": True}),
            (3, {"attachments": True, "include_non_distributable_layers": True}),
            (2, {"platforms": parse_platforms(["linux/arm64"])}),
            (4, {"selection": Selection(exclude=["*app3*"])}),
        ],
        ids=str,
    )
    def test_is_what_a_whole_plan_brings(self, everything, open_session, size, options, tmp_path):
        found, port = [], 0
        for copying in (whole, in_batches):
            # At the same address, which records may have.
            with serve(port=port) as there:
                port, count = there.port, TransferCounter()
                out = tmp_path / f"{len(found)}.yml"
                result = copying(
                    everything,
                    f"{there.address}/to/all",
                    open_session(),
                    size=size,
                    on_event=count,
                    lock=out,
                    **options,
                )
                found.append((content(open_session(), there), result, count.total, out.read_text()))
        assert found[0] == found[1]

    @pytest.mark.parametrize("tags", [("new", "v2"), ("latest",)])
    def test_has_the_tags_of_the_user(self, everything, address, open_session, tags):
        source = CopySource(bundle=f"{address}/batches/outer:v2")
        with serve() as one, serve() as other:
            options = CopyOptions(to_tags=tags)
            plain = copy_to_repository(source, f"{one.address}/to/b", session=open_session(), options=options)
            brought = in_batches(source, f"{other.address}/to/b", open_session(), to_tags=tags)
            assert content(open_session(), one) == content(open_session(), other)
        assert [each.tag for each in brought.images] == [each.tag for each in plain.images]
        assert brought.bundle.tag == plain.bundle.tag

    def test_is_not_left_out_if_another_source_names_it(
        self, images, address, another_registry, open_session, tmp_path
    ):
        """One bundle names it where it is chosen, another one and a lock where it is not."""
        *_, chosen = images
        named = next(one for one in images if one.digest == chosen.digest)
        bundles = [f"{address}/left/b:one", f"{address}/left/b:two"]
        for bundle, image in zip(bundles, (named, chosen), strict=True):
            make_bundle(open_session(), bundle, {image: {}, images[1]: {}}, tmp_path / bundle[-3:])
        lock_of(tmp_path, named, images[2])
        source = CopySource(bundles=bundles, locks=[tmp_path / "lock.yml"])
        options = {"selection": Selection(exclude=["*/app0@*", "*/app2@*"])}
        to = f"{another_registry.address}/left/all"
        plain = copy_to_repository(source, to, session=open_session(), options=CopyOptions(**options))
        result = in_batches(source, to, open_session(), **options)
        assert [one.reference for one in result.unselected] == [images[2]]
        assert result.unselected == plain.unselected

    def test_from_a_bundle_that_was_copied_is_the_same(self, everything, address, open_session, tmp_path):
        """Its record says which images are no bundles: they are read once, and not before."""
        source = CopySource(bundle=f"{address}/batches/outer:v2")
        with serve() as first, serve() as one, serve() as other:
            near = copy_to_repository(source, f"{first.address}/near", session=open_session()).bundle
            source = CopySource(bundle=str(near.destination))
            copy_to_repository(source, f"{one.address}/to/b", session=open_session())
            in_batches(source, f"{other.address}/to/b", open_session())
            assert content(open_session(), one) == content(open_session(), other)

    def test_is_there_already_the_second_time(self, everything, another_registry, open_session):
        to = f"{another_registry.address}/twice/b"
        in_batches(everything, to, open_session())
        before = len(another_registry.requests)
        count = TransferCounter()
        in_batches(everything, to, open_session(), on_event=count)
        assert {each.method for each in another_registry.requests[before:]} <= {"GET", "HEAD"}
        assert count.total.moved == 0

    def test_is_brought_by_an_executor_too(self, everything, another_registry, open_session):
        to = f"{another_registry.address}/executor/b"
        with ThreadPoolExecutor(3) as pool:
            result = in_batches(everything, to, open_session(), executor=pool)
        session = open_session()
        for copied in result.images:
            assert session.client.manifest(copied.destination).digest == copied.destination.digest


def said(source, to, session, **options):
    """Copy, an image a batch, and as a whole; return the warnings of both."""
    both = []
    for copying in (in_batches, whole):
        events = []
        copying(source, to, session, size=1, on_event=events.append, lock="", **options)
        both.append([event.text for event in events if isinstance(event, Warned)])
    return both


class TestWhatIsSaid:
    def test_of_what_stays_comes_once_from_one_list_of_tags(
        self, images, address, another_registry, open_session, tmp_path, embedded_registry
    ):
        session = open_session()
        found = [make_image(session, f"{address}/said/app", [f"said {n}"]) for n in range(3)]
        for one in found:
            tag = signature_tag(one.digest).replace(".sig", ".att")
            make_image(session, f"{address}/said/app", ["attestation"], tag=tag)
        before = len(embedded_registry.requests)
        source, to = lock_of(tmp_path, *found), f"{another_registry.address}/said/b"
        in_parts, at_once = said(source, to, session, cosign_signatures=True)
        line = "3 images have attestations that are left behind (hint: --attachments takes them along)"
        assert in_parts == at_once == [line]
        lists = [one for one in embedded_registry.requests[before:] if one.path.endswith("/tags/list")]
        assert len(lists) == 2

    def test_is_not_that_something_stays_which_another_batch_brings(
        self, address, another_registry, open_session, tmp_path
    ):
        session, place = open_session(), f"{address}/said/index"
        part = make_image(session, place, ["part"])
        index = make_index(session, place, {"linux/amd64": part})
        make_image(session, place, ["signature"], tag=signature_tag(part.digest))
        to = f"{another_registry.address}/said/c"
        assert said(lock_of(tmp_path, index, part), to, session, cosign_signatures=True) == [[], []]

    def test_of_an_index_that_is_cut_comes_once(self, address, another_registry, open_session, tmp_path):
        session, found = open_session(), []
        for number in range(2):
            place = f"{address}/said/cut{number}"
            parts = {name: make_image(session, place, [name]) for name in ("linux/amd64", "linux/arm64")}
            found.append(
                make_index(session, place, {**parts, "linux/s390x": make_image(session, place, [place])})
            )
            make_image(session, place, ["signature"], tag=signature_tag(found[-1].digest))
        options = {"platforms": parse_platforms(["linux/arm64"]), "cosign_signatures": True}
        to = f"{another_registry.address}/said/d"
        in_parts, at_once = said(lock_of(tmp_path, *found), to, session, **options)
        assert in_parts == at_once
        assert in_parts[0].startswith("2 indexes with signatures")
        assert len(in_parts) == 1

    def test_of_refused_questions_comes_once(self, another_registry, open_session, tmp_path):
        session = open_session()

        def refuse(request):
            if "/referrers/" in request.path or request.path.endswith((".sig", ".att", ".sbom")):
                return refusing(403, "DENIED")
            return None

        with serve(faults=refuse) as source:
            found = [make_image(session, f"{source.address}/app", [f"denied {n}"]) for n in range(2)]
            to = f"{another_registry.address}/said/e"
            in_parts, at_once = said(lock_of(tmp_path, *found), to, session, attachments=True)
        assert in_parts == at_once
        assert in_parts[0].startswith("8 questions for what is attached were refused (403)")
        assert len(in_parts) == 1


class OneWorker(ClusterExecutor):
    """A cluster of one worker, which is this process."""

    room = 4

    def __init__(self, pool):
        self._pool = pool

    def submit(self, act, /, *arguments, **options):
        return self._pool.submit(act, *arguments, **options)

    def ask(self, act, /, *arguments, **options):
        return {"worker 1": act(*arguments, **options)}

    def serving(self, _run, _tell):
        return contextlib.nullcontext()


def test_a_worker_without_a_login_is_named_once_for_each_registry(embedded_registry, session, tmp_path):
    with serve() as other, serve() as there, ThreadPoolExecutor(2) as pool:
        places = [embedded_registry.address, other.address]
        found = [
            make_image(session, f"{place}/logins/app", [f"{place} {n}"]) for place in places for n in (1, 2)
        ]
        logins = {
            f"IMGPKG_REGISTRY_{name}_{n}": value
            for n, place in enumerate((*places, there.address))
            for name, value in (("HOSTNAME", place), ("USERNAME", "u"), ("PASSWORD", "p"))
        }
        warned = []

        def note(event):
            if isinstance(event, Warned):
                warned.append(event.text)

        with Session(Settings(environ=logins)) as own:
            to = f"{there.address}/to/b"
            in_batches(lock_of(tmp_path, *found), to, own, size=2, executor=OneWorker(pool), on_event=note)
    named = [text.partition("no credential found for ")[2].partition(";")[0] for text in warned]
    assert sorted(named) == sorted([to, *(f"{place}/logins/app" for place in places)])


class TestTheOrder:
    def test_blobs_arrive_before_the_last_manifest_is_read(self, open_session, tmp_path):
        """There are more images than may be planned before the first of them is written."""
        session, seen = open_session(), []

        def note(request):
            seen.append((request.method, request.path))

        with serve(faults=note) as source, serve(faults=note) as there:
            found = [make_image(session, f"{source.address}/app", [f"order {n}"]) for n in range(30)]
            seen.clear()
            in_batches(lock_of(tmp_path, *found), f"{there.address}/to/b", session, size=1)
        first_write = next(n for n, (method, _) in enumerate(seen) if method == "PUT")
        reads = [n for n, (method, path) in enumerate(seen) if method == "GET" and "/manifests/" in path]
        assert len(reads) == 30
        assert first_write < reads[-1]

    def test_bars_grow_with_what_is_known(self, everything, another_registry, open_session):
        events, bar = [], ProgressCounter()
        fractions = []

        def on_event(event):
            bar(event)
            events.append(event)
            fractions.append(bar.progress.fraction or 0.0)

        in_batches(everything, f"{another_registry.address}/bars/b", open_session(), on_event=on_event)
        plans = [event for event in events if isinstance(event, Planned)]
        assert len(plans) > 3
        assert [plan.is_last for plan in plans] == [False] * (len(plans) - 1) + [True]
        assert all(0.0 < plan.share < 1.0 for plan in plans[:-1])
        assert sorted(fractions) == fractions
        assert fractions[-1] == 1.0


class TestTrouble:
    def test_an_error_of_the_source_is_the_error_of_the_copy(
        self, images, another_registry, open_session, tmp_path
    ):
        gone = Reference.parse(f"{images[0].repository}@sha256:{'0' * 64}")
        source = lock_of(tmp_path, *images, gone)
        with pytest.raises(errors.NotFound, match="0000"):
            in_batches(source, f"{another_registry.address}/trouble/a", open_session(), size=1)

    def test_a_bundle_in_a_lock_is_refused(
        self, everything, address, another_registry, open_session, tmp_path
    ):
        found = open_session().client.resolve(Reference.parse(f"{address}/batches/inner:v1"))
        source = lock_of(tmp_path, Reference.parse(f"{address}/batches/inner@{found.digest}"))
        with pytest.raises(errors.IsABundle, match="Images Lock"):
            in_batches(source, f"{another_registry.address}/trouble/b", open_session())

    @pytest.mark.parametrize(("method", "path"), [("PUT", "/manifests/"), ("POST", "/blobs/uploads/")])
    def test_an_error_of_the_destination_ends_everything(self, images, open_session, method, path, tmp_path):
        refuse = always(refusing(403, "DENIED"), path=path, method=method)
        with serve(faults=refuse) as there, pytest.raises(errors.Forbidden):
            in_batches(lock_of(tmp_path, *images), f"{there.address}/to/c", open_session(), size=1)
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("imgpkg-worker")]

    def test_two_images_with_one_tag_are_refused_before_anything_is_written(
        self, address, another_registry, open_session
    ):
        session = open_session()
        names = [f"{address}/tagged/{name}:same" for name in ("a", "b")]
        for name in names:
            make_image(session, name.removesuffix(":same"), [name], tag="same")
        before = len(another_registry.requests)
        with pytest.raises(errors.UsageError, match="one image for the tag 'same'"):
            in_batches(CopySource(images=names), f"{another_registry.address}/tagged/b", session)
        assert {each.method for each in another_registry.requests[before:]} <= {"GET"}

    def test_what_was_stopped_goes_on(self, images, another_registry, open_session, tmp_path):
        source, to = lock_of(tmp_path, *images), f"{another_registry.address}/stopped/b"
        session = open_session()

        def stop(event):
            if isinstance(event, BlobFinished):
                session.stop()

        with pytest.raises(errors.Cancelled):
            in_batches(source, to, session, size=1, on_event=stop)
        session = open_session()
        result = in_batches(source, to, session, size=1)
        assert len(result.images) == len(images)
        for copied in result.images:
            assert session.client.manifest(copied.destination).digest == copied.source.digest

    def test_a_session_needs_a_connection(self, images, another_registry, open_session, tmp_path):
        with pytest.raises(errors.UsageError, match="--concurrency"):
            in_batches(lock_of(tmp_path, *images), "127.0.0.1:1/a/b", open_session(concurrency=0))


@pytest.fixture(scope="module")
def locks():
    digests = (f"sha256:{number:064x}" for number in range(10_001))
    references = [Reference.parse(f"registry.example.com/app@{digest}") for digest in digests]
    small, large = (ImagesLock(tuple(map(LockedImage, references[:count]))) for count in (10_000, 10_001))
    return {"small": small, "large": large, "bundle": BundleLock(references[0])}


class TestTheChoice:
    @pytest.mark.parametrize(
        ("source", "options", "streamed"),
        [
            ({"lock": "small"}, {}, False),
            ({"lock": "large"}, {}, True),
            ({"lock": "large"}, {"stream_plan": False}, False),
            ({"lock": "small"}, {"stream_plan": True}, True),
            ({"bundle": "b"}, {"stream_plan": True, "to_tags": ("v1",)}, True),
            ({"lock": "bundle"}, {"stream_plan": True, "to_tags": ("v1",)}, True),
            ({"lock": "large"}, {"placement": Placement(keep=KeptNames.PATHS)}, False),
            ({"lock": "large"}, {"policy": Policy(())}, False),
            ({"lock": "large"}, {"to_tags": ("v1",)}, False),
        ],
        ids=str,
    )
    def test_follows_from_the_size_and_the_options(self, locks, source, options, streamed):
        source = CopySource(**source)
        read = {part.lock: locks[part.lock] for part in source.parts if part.lock}
        assert streams(source, read, CopyOptions(**options)) is streamed

    @pytest.mark.parametrize(
        "options",
        [{"placement": Placement(keep=KeptNames.PATHS)}, {"policy": Policy(())}, {"to_tags": ("v1",)}],
        ids=str,
    )
    def test_of_what_cannot_be_is_refused(self, locks, options):
        with pytest.raises(errors.UsageError, match="Flag --stream-plan cannot be used with --"):
            streams(CopySource(lock="small"), locks, CopyOptions(**options, stream_plan=True))

    @pytest.mark.parametrize(
        ("counts", "options", "streamed"),
        [
            ([10_000], {}, False),
            ([10_001], {}, True),
            ([1_000, 10_001], {}, True),
            # Too much would be read again.
            ([1_100, 10_001], {}, False),
            ([1_100, 10_001, 200_000], {}, True),
            ([10_001], {"stream_plan": False}, False),
            ([10_001], {"policy": Policy(())}, False),
            ([10_001], {"to_tags": ("v1",)}, True),
        ],
        ids=str,
    )
    def test_is_made_again_when_a_bundle_turns_out_to_be_large(self, counts, options, streamed):
        watch = SizeWatch(CopySource(bundle="b"), {}, CopyOptions(**options))
        with pytest.raises(IsLarge) if streamed else contextlib.nullcontext():
            for count in counts:
                watch.expect(count)

    @pytest.mark.parametrize("to", [{"to_tar": "a.tar"}, {"to_layout": "folder"}])
    def test_is_none_for_files(self, to):
        places = {"to_repo": "", "to_tar": "", "to_layout": "", **to}
        with pytest.raises(errors.UsageError, match="from registries to a repository"):
            check_destination(CopySource(lock="l"), **places, options=CopyOptions(stream_plan=True))

    def test_is_made_by_the_option(self, images, another_registry, open_session, tmp_path):
        plans = []

        def on_event(event):
            if isinstance(event, Planned):
                plans.append(event)

        result = copy_to_repository(
            lock_of(tmp_path, *images),
            f"{another_registry.address}/option/b",
            session=open_session(),
            options=CopyOptions(stream_plan=True),
            on_event=on_event,
            lock_output=tmp_path / "out.yml",
        )
        assert len(plans) == 2
        assert len(result.images) == len(ImagesLock.from_path(tmp_path / "out.yml").images) == len(images)


@pytest.mark.unmeasured
def test_a_bundle_of_many_images_is_copied_in_batches(session, tmp_path):
    """What comes after the first batch waits until an image has arrived, and is then found to be missing."""
    arrived = threading.Event()

    def at_source(request):
        if "/manifests/sha256:00000000" in request.path:
            arrived.wait(20)

    def at_destination(request):
        if request.method == "PUT" and "/manifests/" in request.path:
            arrived.set()

    with serve(faults=at_source) as source, serve(faults=at_destination) as there:
        place = Repository.parse(f"{source.address}/many/app")
        whole = json.loads(session.client.manifest(make_image(session, str(place))).raw)
        images = [put_manifest(session, place, {**whole, "annotations": {"n": str(n)}}) for n in range(300)]
        images += [place.digest(Digest.parse(f"sha256:{number:064x}")) for number in range(9_701)]
        make_bundle(session, f"{source.address}/many/b:v1", {image: {} for image in images}, tmp_path / "b")
        bundle = CopySource(bundle=f"{source.address}/many/b:v1")
        with pytest.raises(errors.NotFound):
            copy_to_repository(bundle, f"{there.address}/many/b", session=session)
    assert arrived.is_set()
