"""The command `imgpkg registry serve`."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from imgpkg.cli.context import read_password
from imgpkg.errors import UsageError
from imgpkg.events import Warned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from imgpkg.cli.arguments import Parsed
    from imgpkg.cli.context import Context
    from imgpkg.embedded.storage import Contents
    from imgpkg.oci.descriptor import Digest
    from imgpkg.operations.image_store import ImageStore


def run(context: Context) -> None:
    """Serve until SIGINT or SIGTERM; print the address as soon as it accepts connections."""
    from imgpkg.embedded.routes import Features
    from imgpkg.embedded.server import serve

    flags = context.flags
    host, port = _address(flags.text("address"))
    contents = _contents(context)
    server = serve(
        host,
        port,
        storage=contents,
        login=_login(flags),
        token_service=flags.is_on("token-service"),
        tls=_tls(flags),
        features=Features(delete=flags.is_on("delete")),
        # The records contain the credentials of requests, and only tests read them.
        keep_requests=0,
    )
    with _until_signal(), server:
        text = f"Serving a registry for demonstrations and tests at {server.url}\n"
        context.output.result({"url": server.url, "address": server.address})
        context.output.document(text, {"url": server.url, "address": server.address})
        # A script waits for this line before its first request.
        context.output.finish()
        server.wait()


def _contents(context: Context) -> Contents | None:
    """Return the storage, or the images of the files to serve; None for a storage in memory."""
    from imgpkg.embedded.storage import Storage

    flags = context.flags
    folder, tars, layouts = flags.text("storage"), flags.texts("tar"), flags.texts("from-oci-layout")
    if not tars and not layouts:
        return Storage(folder) if folder else None
    if folder:
        raise UsageError("Expected only one of --storage and --tar or --from-oci-layout")
    from imgpkg.operations.image_store import open_images

    with ExitStack() as stack:
        stores = [stack.enter_context(open_images(tar=path)) for path in tars]
        stores += [stack.enter_context(open_images(layout=path)) for path in layouts]
        # Only the places of the blobs are kept: a request opens the file again.
        return _images(stores, context)


def _images(stores: Sequence[ImageStore], context: Context) -> Contents:
    """Return the images of all files, in repositories without the names of the registries in front."""
    from imgpkg.embedded.images import GivenImages
    from imgpkg.embedded.message import FilePart
    from imgpkg.embedded.storage import RepositoryName, StoredContent, TagName

    tags: dict[RepositoryName, dict[TagName, Digest]] = {}
    for store in stores:
        for root in store.roots:
            tags.setdefault(RepositoryName.parse(root.node.image.reference.repository.path), {})
        for reference, digest in store.tags.items():
            served = tags[RepositoryName.parse(reference.repository.path)]
            if served.setdefault(TagName.parse(reference.tag or ""), digest) != digest:
                # Also two registries in one file may have the same repository.
                context.reporter(
                    Warned(f"{reference} is served by its digest {digest} only: another image has the tag")
                )
    manifests = [manifest for store in stores for manifest in store.manifests]
    blobs = [
        StoredContent(
            blob.descriptor.digest,
            "",
            blob.descriptor.size,
            parts=tuple(FilePart(path, extent.offset, extent.size) for path, extent in blob.parts),
            data=blob.data,
        )
        for store in stores
        for blob in store.blobs
    ]
    return GivenImages(tags, manifests, blobs)


class _Interrupted(Exception):
    """The process received SIGINT or SIGTERM."""


@contextmanager
def _until_signal() -> Iterator[None]:
    """End the block at SIGINT or SIGTERM, without an error.

    A script may send the signal as soon as it has read the address, which is before `Server.wait` handles it.
    """

    def end(_number: int, _frame: object) -> None:
        # Once: another one would break off what the first one has begun, the end of the server.
        for number in before:
            signal.signal(number, _ignore)
        raise _Interrupted

    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Interrupted:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: object) -> None:
    # Not SIG_IGN: Python complains about a signal that has come, but not been handled, when that is set.
    pass


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    # Six digits are more than any port has; int() takes quadratic time for many.
    if not colon or not port.isdecimal() or int(port[:6]) > 65535:  # noqa: PLR2004 - the largest port
        raise UsageError(f"Expected --address to be HOST:PORT, but was {text}")
    # An empty host must not open the registry to the network.
    return host.strip("[]") or "127.0.0.1", int(port)


def _login(flags: Parsed) -> tuple[str, str] | None:
    username, has_password = flags.text("username"), flags.is_on("password-stdin")
    if bool(username) != has_password:
        raise UsageError("Expected --username and --password-stdin together")
    return (username, read_password()) if username else None


def _tls(flags: Parsed) -> tuple[str, str] | None:
    certificate, key = flags.text("tls-cert"), flags.text("tls-key")
    if bool(certificate) != bool(key):
        raise UsageError("Expected --tls-cert and --tls-key together")
    return (certificate, key) if certificate else None
