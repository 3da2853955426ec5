"""Read the files of an image without unpacking it: one of them, or all, from as few layers as decide."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import imgpkg
from imgpkg.bundle.image import Image, artifact_type, fetch_image
from imgpkg.cancellation import limit_of
from imgpkg.content.filesystem import FileKind, Filesystem, ImageFile
from imgpkg.content.layer_files import Allowance, LayerFiles
from imgpkg.deadline import StepLimits
from imgpkg.errors import NotInImage, UnpackError, doing
from imgpkg.events import BlobOutcome, BlobTransfer, Hook, Observation, has_logging, has_tracing, silent
from imgpkg.oci import media
from imgpkg.oci.descriptor import Readable
from imgpkg.oci.platform import as_platform
from imgpkg.oci.reference import parse_any
from imgpkg.operations.images import choose_image
from imgpkg.session import Session, as_session, operation
from imgpkg.values import StrPath

if TYPE_CHECKING:
    from collections.abc import Callable

    from imgpkg.oci.descriptor import ByteStream, Descriptor
    from imgpkg.operations.image_store import ImageReader

# Bytes. Of a file that is returned as a whole.
_LARGEST = 64 << 20


class ImageFiles:
    """The files of one `image`, as a container sees them: upper layers replace and hide what is below them.

    Iterating yields what there is as `ImageFile` values, layer by layer from the topmost one, and within a
    layer in its order; directories and links are among them. `in` takes a path. A layer is fetched when it
    is needed first, as a whole into a temporary file without a name, and nothing of it is used before its
    digest is verified. Paths are with or without a `/` in front; links are followed inside of the image. What
    a layer names below a link of a layer under it is in a directory that hides the link, as with overlayfs.
    For one thread at a time. Methods raise NotInImage, UnpackError, VerificationError, LocalIOError,
    TransportError or RegistryError.
    """

    def __init__(self, image: imgpkg.Image, files: Filesystem) -> None:
        self.image = image
        self._files = files

    def find(self, path: StrPath, *, follow: bool = True) -> ImageFile:
        """Return what is at `path`, or with `follow` where a symbolic link there leads; raise NotInImage."""
        with doing(f"Reading files of {self.image.reference}"):
            return self._files.find(os.fspath(path), follow=follow)

    def open(self, file: ImageFile | StrPath) -> Readable:
        """Open a file as a binary stream; raise NotInImage, or UsageError for a directory or a device.

        Several may be open at once. Those of one layer are read fastest in the order of the layer.
        """
        with doing(f"Reading files of {self.image.reference}"):
            return self._files.open(_path(file))

    def read(self, file: ImageFile | StrPath, *, max_size: int = _LARGEST) -> bytes:
        """Return the content of a file; raise UnpackError if it has more than `max_size` bytes."""
        with self.open(file) as stream:
            data = stream.read(max_size + 1)
        if len(data) > max_size:
            raise UnpackError(
                f"'{_path(file)}' of {self.image.reference} has more than {max_size} bytes",
                hints=("Allow more with max_size, or read it in parts with open.",),
            )
        return data

    def __contains__(self, file: ImageFile | StrPath) -> bool:
        """Return whether there is something at a path, or where a symbolic link there leads."""
        try:
            self.find(_path(file))
        except NotInImage:
            return False
        return True

    def __iter__(self) -> Iterator[ImageFile]:
        with doing(f"Reading files of {self.image.reference}"):
            yield from self._files.walk()


def _path(file: ImageFile | StrPath) -> str:
    return file.path if isinstance(file, ImageFile) else os.fspath(file)


@contextmanager
def open_files(
    image: imgpkg.Image | str,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Iterator[ImageFiles]:
    """Open the files of an image; on leaving, the copies of its layers are removed.

    `image` is a reference, or an image that was read before, with which nothing is requested but layers.
    `platform`, `tar`, `layout` and the errors are those of `read_image`. `on_event` receives BlobStarted,
    BlobAdvanced and BlobFinished of each layer that is fetched. `timeout` and `cancel` limit all that is done
    in the context: see `imgpkg.limits`.
    """
    with (
        as_session(session, "open_files").limits("open_files", timeout, cancel),
        _watched("open_files", on_event) as watch,
        _opened(session, image, platform, (tar, layout), watch) as (chosen, files),
    ):
        yield ImageFiles(chosen, files)


@operation
def read_file(
    image: imgpkg.Image | str,
    path: StrPath,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    max_size: int = _LARGEST,
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> bytes:
    """Return the content of one file of an image, such as `etc/os-release`, in at most `max_size` bytes.

    The layers are fetched from the topmost one on, down to the one that decides, which is verified before.
    Links are followed inside of the image. The other parameters are those of `open_files`. Raises
    NotInImage if there is no such file, UsageError if it is a directory, UnpackError if it is larger, and
    what `read_image` raises.
    """
    with open_files(
        image, session=session, platform=platform, tar=tar, layout=layout, on_event=on_event
    ) as files:
        return files.read(path, max_size=max_size)


def iter_files(
    image: imgpkg.Image | str,
    *,
    session: Session,
    platform: imgpkg.Platform | str | None = None,
    tar: StrPath = "",
    layout: StrPath = "",
    on_event: Hook = silent,
    timeout: float | None = None,
    cancel: imgpkg.CancelToken | None = None,
) -> Generator[tuple[ImageFile, Readable], None, None]:
    """Yield all files, directories and links of an image, each with its content, which need not be read.

    They come layer by layer from the topmost one, without what upper layers have replaced or removed. What
    is no file has an empty content, and each content is closed when the next one is asked for. A layer is
    fetched when it is reached, and the copy of the one before it is removed. End or close the generator to
    remove the last one. `timeout` is for all of it, from the first item to the end, and the time in which the
    program looks at an item counts. The parameters and errors are those of `open_files`.
    """
    seconds = limit_of(timeout, as_session(session, "iter_files").timeout)
    limits = StepLimits(session.cancellation, seconds, cancel, what="iter_files")
    with _watched("iter_files", on_event) as watch:
        for file, open_ in limits.of_each(_contents(session, image, platform, (tar, layout), watch)):
            with LateContent(file.path, open_, limits) as content:
                yield file, content


def _contents(
    session: Session,
    image: imgpkg.Image | str,
    platform: imgpkg.Platform | str | None,
    places: tuple[StrPath, StrPath],
    watch: Observation,
) -> Generator[tuple[ImageFile, Callable[[], Readable | BytesIO]], None, None]:
    with (
        _opened(session, image, platform, places, watch) as (chosen, files),
        doing(f"Reading files of {chosen.reference}"),
    ):
        for file, open_ in files.contents():
            yield file, open_ if file.kind is FileKind.FILE else BytesIO


@contextmanager
def _watched(name: str, on_event: Hook) -> Iterator[Observation]:
    """Return a context in which programs can watch an operation that lasts, as they do a function."""
    if not (has_tracing() or has_logging(name)):
        yield Observation(on_event)
        return
    from imgpkg.observation.observer import observed_context

    with observed_context(name, on_event) as watch:
        yield watch


class LateContent(Readable):
    """The content of a file that is opened when it is read for the first time; each read is a step."""

    def __init__(self, path: str, open_: Callable[[], Readable | BytesIO], limits: StepLimits) -> None:
        self._opened: Readable | BytesIO | None = None
        self._path = path
        self._open = open_
        self._limits = limits

    @property
    def name(self) -> str:
        """The path in the image."""
        return self._path

    def close(self) -> None:
        """Close the content; nothing can be read any more."""
        opened, self._opened = self._opened, None
        super().close()
        if opened is not None:
            opened.close()

    def _fill(self, view: memoryview) -> int:
        with self._limits.step():
            if self._opened is None:
                self._opened = self._open()
            return self._opened.readinto(view)


@contextmanager
def _opened(
    session: Session,
    image: imgpkg.Image | str,
    platform: imgpkg.Platform | str | None,
    places: tuple[StrPath, StrPath],
    watch: Observation,
) -> Iterator[tuple[Image, Filesystem]]:
    """Open the files of an image that is in a registry, or in the tar file or layout of `places`."""
    (tar, layout), wanted = places, as_platform(platform)
    if tar or layout:
        from imgpkg.operations.image_store import open_images

        with open_images(tar=tar, layout=layout) as store:
            found = choose_image(store, image if isinstance(image, Image) else store.find(image), wanted)
            with _filesystem(store, found, watch) as files:
                yield found, files
    else:
        client = session.client
        with watch.part():
            found = image if isinstance(image, Image) else fetch_image(client, parse_any(image))
            found = choose_image(client, found, wanted)
        with _filesystem(client, found, watch) as files:
            yield found, files


@contextmanager
def _filesystem(images: ImageReader, image: Image, watch: Observation) -> Iterator[Filesystem]:
    def fetch(layer: Descriptor, allowance: Allowance) -> LayerFiles:
        transfer = BlobTransfer(layer, "pull", watch.hook)
        with (
            watch.part(),
            doing(f"Reading layer {layer.digest}"),
            images.blob(image.reference.repository, layer) as stream,
        ):
            fetched = _parsed(transfer.counted(stream), layer, allowance, image)
        transfer.finish(BlobOutcome.MOVED)
        return fetched

    files = Filesystem(image.manifest.layers, fetch)
    try:
        yield files
    finally:
        files.close()


def _parsed(stream: ByteStream, layer: Descriptor, allowance: Allowance, image: Image) -> LayerFiles:
    try:
        return LayerFiles(stream, layer, allowance)
    except UnpackError as error:
        # ORAS gives every file the type of a layer.
        if layer.media_type in media.LAYERS and not artifact_type(image.manifest):
            raise
        # Tried before: layers of other types often are tar files, such as those of Helm.
        raise UnpackError(
            f"a blob of type '{layer.media_type}' is no layer of files: {error}",
            hints=("Content that is no file system is read with session.client.blob.",),
        ) from error
