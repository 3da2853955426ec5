"""The library as a user types it: checked by mypy, never run."""

from __future__ import annotations

import asyncio
import contextlib
import io
import shutil
import tarfile
import threading
from collections.abc import Mapping
from pathlib import Path

import httpx
import requests

import imgpkg
import imgpkg.adaptors.httpx
import imgpkg.adaptors.requests
import imgpkg.aio
from imgpkg.testing import (
    Account,
    Fault,
    Features,
    ReceivedRequest,
    RegistryServer,
    SampleImage,
    ServeRegistry,
    ServerRequest,
    faults,
    make_image,
    make_index,
    serve,
)


def push_and_pull(session: imgpkg.Session) -> imgpkg.Reference:
    pushed: imgpkg.PushResult = imgpkg.push(["config"], image="host/a/b", labels={"k": "v"}, session=session)
    pulled: imgpkg.PullResult = imgpkg.pull("out", image=str(pushed.reference), session=session)
    return pulled.reference


def paths(session: imgpkg.Session) -> imgpkg.Settings:
    imgpkg.push(Path("config"), image="host/a/b", exclusions=[Path(".git")], session=session)
    imgpkg.push([Path("config"), "more"], image="host/a/b", session=session)
    imgpkg.copy(imgpkg.CopySource(tar=Path("in.tar")), to_tar=Path("out.tar"), session=session)
    imgpkg.copy_to_layout(imgpkg.CopySource(lock=Path("lock.yml")), Path("layout"), session=session)
    files: tuple[str, ...] = session.settings.authorities
    return imgpkg.Settings(ca_cert_paths=Path("ca.pem"), environ={"A": files[0]})


def artifacts(session: imgpkg.Session) -> list[str]:
    data = imgpkg.ArtifactFile(b"{}", title="a.json", media_type="application/json", annotations={"k": "v"})
    pushed: imgpkg.ArtifactPushResult = imgpkg.push_artifact(
        ["a", Path("b"), data], image="host/a/b:v1", artifact_type="a/b", config=data, session=session
    )
    imgpkg.push_artifact(Path("b"), image="host/a/b", subject=pushed.reference, session=session)
    imgpkg.push_artifact(b"b", image="host/a/b", subject=pushed.manifest.digest, session=session)
    imgpkg.push_artifact({"b": b"b"}, image="host/a/b", config=b"{}", session=session)
    imgpkg.push_artifact({"b": Path("b")}, image="host/a/b", config="c.json", session=session)
    imgpkg.push_artifact(data, image="host/a/b", subject=pushed.manifest.descriptor, session=session)
    pulled: imgpkg.ArtifactPullResult = imgpkg.pull_artifact(Path("out"), image="host/a/b", session=session)
    built: imgpkg.Manifest = imgpkg.Manifest.build(None, pushed.manifest.layers, artifact_type="a/b")
    imgpkg.Manifest.build_index([built.descriptor, imgpkg.Descriptor.of(b"", "a/b")], annotations={})
    return [file.path for file in pulled.files]


def tags(session: imgpkg.Session) -> list[str]:
    listed: imgpkg.TagList = imgpkg.list_tags("host/a/b", digests=True, session=session)
    return [tag.name for tag in listed.tags if tag.digest is not None]


def newest(session: imgpkg.Session) -> list[imgpkg.TagVersion]:
    listed = imgpkg.list_tags("host/a/b", match="v*", where=str.isascii, newest=3, session=session)
    found = [imgpkg.TagVersion.parse(tag.name) for tag in listed.tags]
    versions: list[imgpkg.TagVersion] = sorted(each for each in found if each is not None)
    return [each for each in versions if each.numbers >= (1, 2) and not each.prerelease]


def repositories(session: imgpkg.Session) -> list[str]:
    found: imgpkg.Catalog = imgpkg.catalog("host:5000", match="team/*", where=str.isascii, session=session)
    paths = [repository.path for repository in found.repositories]
    return [*paths, *found.others, *session.client.catalog(found.registry)]


def attached(session: imgpkg.Session) -> list[str]:
    kind = "application/spdx+json"
    made: imgpkg.ArtifactPushResult = imgpkg.attach(
        {"sbom.json": b"{}"}, image="host/a/b:v1", artifact_type=kind, session=session
    )
    found: imgpkg.ReferrerList = imgpkg.referrers("host/a/b:v1", artifact_type=kind, session=session)
    imgpkg.referrers("host/a/b:v1", artifact_type=[kind, "c/d"], session=session)
    same: list[imgpkg.Referrer] = [one for one in found.referrers if one.reference == made.reference]
    return [one.annotations["k"] for one in same if one.artifact_type and one.descriptor.size]


def deleted_unasked(session: imgpkg.Session) -> bool:
    manifest: imgpkg.Deleted = imgpkg.delete_manifest("host/a/b:v1", timeout=5, session=session)
    print(manifest.outcome is imgpkg.DeletionOutcome.IMAGE)
    return imgpkg.delete_blob(f"host/a/b@sha256:{'0' * 64}", session=session)


def retagged(session: imgpkg.Session) -> list[imgpkg.Digest]:
    made: imgpkg.Retagged = imgpkg.retag("host/a/b:v1", "stable", session=session)
    imgpkg.retag(str(made.reference), ["v2", "v3"], overwrite=False, session=session)
    return list(made.replaced.values())


def settings(environ: Mapping[str, str]) -> imgpkg.Settings:
    return imgpkg.Settings(login=imgpkg.Login(username="u", password="p"), environ=environ, insecure=True)


def copied(session: imgpkg.Session) -> imgpkg.CopyResult:
    source = imgpkg.CopySource(bundle="host/a/bundle")
    preview: imgpkg.CopyPreview = imgpkg.preview_copy(source, "host/b/bundle", session=session)
    missing: list[imgpkg.PreviewedImage] = [image for image in preview.images if not image.is_there]
    left: tuple[imgpkg.LeftOut, ...] = preview.left_out
    print(preview.size, missing, left)
    return imgpkg.copy_to_repository(
        source, "host/b/bundle", options=imgpkg.CopyOptions(cosign_signatures=True), session=session
    )


def copied_with_two_sessions(session: imgpkg.Session) -> imgpkg.CopyResult:
    settings = imgpkg.Settings.from_environment(side=imgpkg.Side.FROM, side_login=imgpkg.Login("me", "p"))
    with imgpkg.Session(settings) as reader:
        source = imgpkg.CopySource(bundle="host/a/bundle")
        imgpkg.preview_copy(source, "host/b/bundle", session=session, source_session=reader)
        imgpkg.copy_to_repository(source, "host/b/bundle", session=session, source_session=reader)
        return imgpkg.copy(source, to_repo="host/b/bundle", session=session, source_session=reader)


def copied_by_a_cluster(session: imgpkg.Session) -> imgpkg.CopyResult:
    source = imgpkg.CopySource(bundle="host/a/bundle")
    with imgpkg.dask_executor("tls://scheduler:8786", timeout=60.0, threads=2) as executor:
        given: imgpkg.BlobExecutor = executor
        return imgpkg.copy(source, to_repo="host/b/bundle", session=session, executor=given)


def signatures(session: imgpkg.Session) -> list[imgpkg.ImageInfo]:
    images = imgpkg.describe("host/a/bundle", session=session).images
    return [image for image in images if image.image_type is imgpkg.ImageType.SIGNATURE]


def why(session: imgpkg.Session) -> str:
    decision: imgpkg.Decision = imgpkg.explain("host/a/b", session=session)
    return decision.explain()


class MySource:
    """A source of one's own is any class of this shape."""

    @property
    def name(self) -> str:
        return "mine"

    def lookup(self, repository: imgpkg.Repository) -> imgpkg.Finding:
        return imgpkg.Finding(self.name, imgpkg.Outcome.NO_MATCH, f"nothing for {repository}")


source: imgpkg.CredentialSource = MySource()
keychain = imgpkg.Keychain([source])


def inside(session: imgpkg.Session) -> list[tuple[str, bool]]:
    bundle: imgpkg.Bundle = imgpkg.read_bundle("host/a/bundle", session=session)
    return [(str(member.reference), member.bundle is not None) for member in bundle.members]


def every_destination(session: imgpkg.Session) -> imgpkg.CopyResult:
    def watch(event: imgpkg.Event) -> None:
        if isinstance(event, imgpkg.BlobAdvanced) and event.count > 1 << 30:
            raise imgpkg.errors.Cancelled

    source = imgpkg.CopySource(lock="bundle.lock.yml")
    return imgpkg.copy(source, session=session, to_tar="bundle.tar", resume=True, on_event=watch)


def fetched(session: imgpkg.Session, text: str) -> int:
    reference = imgpkg.Reference.parse(text)
    manifest: imgpkg.Manifest = session.client.manifest(reference)
    layer: imgpkg.Descriptor = manifest.layers[0]
    with session.client.blob(reference.repository, layer) as stream:
        blob: imgpkg.Readable = stream
        return len(blob.read(1 << 20))


def counted(session: imgpkg.Session) -> float | None:
    counter = imgpkg.ProgressCounter(imgpkg.EventLogger(logger="mine"))
    imgpkg.pull("out", image="host/a/b", session=session, on_event=counter)
    now: imgpkg.Progress = counter.progress
    moved: int = counter.transfer.moved_size
    print(now.stage is imgpkg.ProgressStage.TRANSFER, now.done - moved)
    return now.fraction


def finished(event: imgpkg.Event) -> bool:
    return isinstance(event, imgpkg.BlobFinished) and event.outcome is imgpkg.BlobOutcome.MOUNTED


def places(session: imgpkg.Session) -> tuple[imgpkg.ImagesLockStatus | None, imgpkg.FoundLocations | None]:
    pulled = imgpkg.pull(Path("out"), lock=Path("bundle.lock.yml"), session=session)
    bundle = imgpkg.read_bundle("host/a/bundle", session=session)
    image: imgpkg.Image = bundle.image
    config: imgpkg.ImageConfig = image.config
    print(config.labels, imgpkg.__version__)
    return pulled.images_lock, bundle.locations


def options() -> imgpkg.Settings:
    imgpkg.Settings.from_environment(concurency=3)  # type: ignore[call-arg]
    imgpkg.NoSuchName  # type: ignore[attr-defined]  # noqa: B018
    return imgpkg.Settings.from_environment(login=imgpkg.Login("u", "p"), retry_count=3)


def locks() -> str:
    lock = imgpkg.read_lock(Path("images.yml"))
    lock.write(Path("copy.yml"), Path("shown.yml"))
    if isinstance(lock, imgpkg.BundleLock):
        return lock.tag
    return ", ".join(str(image.reference) for image in lock.images)


def signed(session: imgpkg.Session, repository: imgpkg.Repository) -> Mapping[str, str]:
    authorization: imgpkg.Authorization = session.authorization(repository, ("pull", "push"))
    ends_at: float | None = session.authorization("host/a/b", refused=authorization).expires_at
    print(ends_at, authorization.registry_url)
    return authorization.headers


def with_requests(session: imgpkg.Session) -> int:
    auth = imgpkg.adaptors.requests.RegistryAuth(session, "registry.example.com")
    return requests.get("https://registry.example.com/v2/", auth=auth, timeout=5).status_code


async def with_httpx(session: imgpkg.Session) -> int:
    auth = imgpkg.adaptors.httpx.RegistryAuth(session, "registry.example.com")
    async with httpx.AsyncClient(auth=auth) as client:
        return (await client.get("https://registry.example.com/v2/")).status_code


def locked(session: imgpkg.Session) -> tuple[imgpkg.DocumentFile, ...]:
    file = imgpkg.DocumentFile("standard input", b"image: a/b")
    result: imgpkg.LockResult = imgpkg.lock_images([Path("config"), "more", file], session=session)
    imgpkg.lock_images(
        Path("config"), images=["a/b"], output=Path("images.yml"), strict=True, session=session
    )
    places: list[imgpkg.Position] = [place for image in result.images for place in image.places]
    skipped: list[str] = [one.reason for one in result.skipped]
    print(places, skipped)
    written: imgpkg.RewriteResult = imgpkg.rewrite_images([file], result.lock, paths=["spec.image"])
    return written.files


def files_of_the_standard_library(session: imgpkg.Session, blob: imgpkg.Descriptor) -> list[str]:
    repository = imgpkg.Repository.parse("host/a/b")
    with session.client.blob(repository, blob) as stream, open("layer.tar", "wb") as file:
        shutil.copyfileobj(stream, file)
    with session.client.blob(repository, blob) as stream, io.BufferedReader(stream) as buffered:
        print(buffered.peek(2), buffered.readline())
    with session.client.blob(repository, blob) as stream, io.TextIOWrapper(stream) as text:
        print(text.readlines())
    with session.client.blob(repository, blob) as stream, tarfile.open(fileobj=stream, mode="r|*") as tar:
        return [member.name for member in tar]


def configured(session: imgpkg.Session) -> list[str]:
    image: imgpkg.Image = imgpkg.read_image("host/a/b", session=session, platform="linux/arm64")
    config: imgpkg.ImageConfig = image.config
    platform: imgpkg.Platform | None = config.platform
    check: imgpkg.Healthcheck | None = config.healthcheck
    print(platform, check and check.interval, config.env["PATH"], config.created and config.created.year)
    steps: tuple[imgpkg.HistoryEntry, ...] = config.history
    return [step.created_by for step in steps if not step.empty_layer]


def files_of_an_image(session: imgpkg.Session, image: imgpkg.Image) -> bytes:
    with imgpkg.open_files(image, session=session) as files:
        found: imgpkg.ImageFile = files.find("etc/os-release")
        every: list[str] = [file.path for file in files if file.kind is imgpkg.FileKind.FILE]
        content: imgpkg.Readable = files.open(found)
        print("etc/hosts" in files, found in files)
        print(every, content.read(), files.read(Path("etc/hosts"), max_size=1 << 20), files.image.config)
    with contextlib.closing(imgpkg.iter_files("host/a/b", session=session, layout="layout")) as walk:
        for file, stream in walk:
            print(file.size, stream.read1())
    return imgpkg.read_file("host/a/b", "etc/os-release", session=session, platform=imgpkg.Platform("a", "b"))


def fixtures(registry: RegistryServer, serve_registry: ServeRegistry) -> tuple[ReceivedRequest, ...]:
    image: SampleImage = make_image({"a": b"b"}, b"layer", labels={"k": "v"}, annotations={"k": "v"})
    reference: str = registry.add("team/app:v1", make_index(image, make_image(platform="linux/arm64/v8")))
    registry.fail(faults.stalled(1.5, after=10), times=None, method="GET", path="/blobs/")
    with serve_registry(login=("u", "p"), features=Features(delete=False)) as other:
        with other.session(retry_count=1) as session, serve(tls=True, accounts=[Account("u", "p")]):
            imgpkg.resolve(reference, session=session)
        left: bytes | None = other.manifest("a/b:v1")
        print(left, other.variables, other.settings().retry_count, other.ca_file)
    return registry.requests


def choosing(request: ServerRequest) -> Fault | None:
    return faults.too_many_requests(0.5) if "x-test" in request.headers else None


def chosen() -> RegistryServer:
    serve(tsl=True)  # type: ignore[call-arg]
    return serve(faults=faults.any_of(choosing, faults.first(2, Fault(hang_up=True))))


def limited(settings: imgpkg.Settings, token: imgpkg.CancelToken) -> str:
    with imgpkg.Session(settings, timeout=60) as session, imgpkg.limits(timeout=5, cancel=token) as block:
        threading.Timer(1, block.cancel).start()
        try:
            imgpkg.resolve("host/a/b", session=session, timeout=float("inf"), cancel=token.child())
            imgpkg.pull("out", image="host/a/b", session=session, timeout=None, cancel=None)
        except imgpkg.errors.TimedOut as error:
            late: TimeoutError = error
            spent: float = error.spent
            print(late, spent, error.seconds)
            return error.waited_for
    imgpkg.resolve("host/a/b", session=session, timeout="5")  # type: ignore[arg-type]
    return str(imgpkg.CancelToken(token, block).is_cancelled)


def plans(session: imgpkg.Session) -> imgpkg.CopyResult:
    source = imgpkg.CopySource(image="host/a/b")
    imgpkg.preview_copy(source, "host/c/d", session=session, plan_output="plan.jsonl")
    plan: imgpkg.CopyPlan = imgpkg.read_plan("plan.jsonl")
    sizes: list[int] = [blob.descriptor.size for blob in plan.blobs() if blob.mount_from is None]
    for number, line in plan.lines():
        if isinstance(line, imgpkg.PlanImage):
            print(number, line.tag, line.source.digest, sum(sizes), plan.end().blob_size)
    imgpkg.run_plan(plan, session=session, shard=3)  # type: ignore[arg-type]
    return imgpkg.run_plan("plan.jsonl", session=session, shard="1/2")


async def coroutines(session: imgpkg.aio.Session) -> list[str]:
    reference: imgpkg.Reference = await imgpkg.aio.resolve("host/a/b:v1", session=session, timeout=5)
    listed: imgpkg.TagList = await imgpkg.aio.list_tags("host/a/b", digests=True, session=session)
    manifest: imgpkg.Manifest = await session.client.primary.manifest(reference)
    async with session.client.blob(reference.repository, manifest.layers[0]) as stream:
        blocks: list[bytes] = [block async for block in stream]
    async for file, content in imgpkg.aio.iter_files("host/a/b", session=session):
        print(file.path, len(await content.read()), len(blocks))
    async with imgpkg.aio.open_files("host/a/b", session=session) as files, files.open("etc/passwd") as found:
        print(await found.read(5))
    await imgpkg.aio.resolve("host/a/b", session=session.blocking)  # type: ignore[arg-type]
    return [tag.name for tag in listed.tags]


async def progress(settings: imgpkg.Settings) -> imgpkg.CopyResult:
    async with imgpkg.aio.Session(settings, timeout=600) as session:
        source = imgpkg.CopySource(image="host/a/b")
        async with imgpkg.aio.progress(imgpkg.aio.copy, source, to_tar="b.tar", session=session) as running:
            counts: list[int] = [
                event.count async for event in running if isinstance(event, imgpkg.BlobAdvanced)
            ]
            print(sum(counts))
            return await running


async def piped(
    session: imgpkg.aio.Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> imgpkg.CopyResult:
    await imgpkg.aio.copy_to_stream(imgpkg.CopySource(image="host/a/b"), writer, session=session)
    return await imgpkg.aio.copy_from_stream(reader, "host/c/d", session=session)
