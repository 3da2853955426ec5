"""Endpoints of blobs and uploads (distribution-spec, end-2, 4, 5, 6, 10, 11, 13, 14)."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from imgpkg.embedded.message import RequestRefused, ServerResponse
from imgpkg.embedded.storage import RepositoryName
from imgpkg.embedded.uploads import UploadIsBusy
from imgpkg.errors import InvalidReference, VerificationError
from imgpkg.oci.descriptor import Digest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from imgpkg.embedded.message import ServerRequest
    from imgpkg.embedded.routes import Features
    from imgpkg.embedded.storage import Contents, Storage, StoredContent
    from imgpkg.embedded.uploads import UploadSession

_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# The distribution specification writes `0-9`, RFC 9110 §14.4 `bytes 0-9/10`; clients send either.
_CONTENT_RANGE = re.compile(r"(?:bytes[ =])?([0-9]{1,18})-([0-9]{1,18})(?:/.*)?")


class BlobReads:
    """The endpoints that read blobs."""

    def __init__(self, contents: Contents) -> None:
        self._contents = contents

    def get(self, request: ServerRequest, name: RepositoryName, digest: Digest) -> ServerResponse:
        """Return a blob, or one range of it (RFC 9110 §14.2)."""
        stored = self._contents.blob(name, digest)
        if stored is None:
            raise _unknown_blob(digest)
        start, count = _part(request, stored)
        headers = (
            ("Content-Type", "application/octet-stream"),
            ("Docker-Content-Digest", str(digest)),
            ("Accept-Ranges", "bytes"),
            ("ETag", f'"{digest}"'),
        )
        body = stored.part(start, count)
        if count == stored.size:
            return ServerResponse(200, headers, body)
        content_range = ("Content-Range", f"bytes {start}-{start + count - 1}/{stored.size}")
        return ServerResponse(206, (*headers, content_range), body)


class BlobRoutes(BlobReads):
    """All endpoints of blobs and uploads of one storage."""

    def __init__(self, storage: Storage, features: Features) -> None:
        super().__init__(storage)
        self._storage = storage
        self._features = features

    def delete(self, _request: ServerRequest, name: RepositoryName, digest: Digest) -> ServerResponse:
        """Remove a blob from the repository."""
        # Deletion is optional (distribution-spec, "Deleting blobs"): 405 is its answer.
        if not self._features.delete:
            raise RequestRefused(405, "UNSUPPORTED", "this registry deletes nothing")
        if not self._storage.delete_blob(name, digest):
            raise _unknown_blob(digest)
        return ServerResponse(202)

    def start(self, request: ServerRequest, name: RepositoryName) -> ServerResponse:
        """Begin an upload, or complete it at once: by a mount, or with the whole blob as the body."""
        # A mount that is not possible is answered like any other start of an upload, so that the client sends
        # the blob (distribution-spec, "Mounting a blob from another repository").
        mounted = request.parameter("mount")
        if mounted is not None and self._mount(request, name, parse_digest(mounted)):
            return _created(name, parse_digest(mounted))
        text = request.parameter("digest")
        digest = None if text is None else parse_digest(text)
        upload = self._storage.uploads.start(name)
        if digest is None:
            return _progress(upload, 202)
        try:
            return self._complete(request, upload, digest)
        except BaseException:
            # No response has named this upload, so that no client can continue it.
            self._storage.uploads.end(upload)
            raise

    def status(self, _request: ServerRequest, name: RepositoryName, identifier: str) -> ServerResponse:
        """Return how many bytes of an upload were received."""
        return _progress(self._find(name, identifier), 204)

    def append(self, request: ServerRequest, name: RepositoryName, identifier: str) -> ServerResponse:
        """Append one chunk to an upload."""
        upload = self._find(name, identifier)
        with _writing(upload):
            _append(request, upload)
        return _progress(upload, 202)

    def finish(self, request: ServerRequest, name: RepositoryName, identifier: str) -> ServerResponse:
        """Append the last chunk of an upload, if there is one, and make it a blob."""
        upload = self._find(name, identifier)
        return self._complete(request, upload, parse_digest(request.parameter("digest") or ""))

    def cancel(self, _request: ServerRequest, name: RepositoryName, identifier: str) -> ServerResponse:
        """End an upload without a blob."""
        self._storage.uploads.end(self._find(name, identifier))
        return ServerResponse(204)

    def _mount(self, request: ServerRequest, name: RepositoryName, digest: Digest) -> bool:
        source = mount_source(request)
        return self._features.mount and source is not None and self._storage.mount(name, digest, source)

    def _find(self, name: RepositoryName, identifier: str) -> UploadSession:
        upload = self._storage.uploads.find(name, identifier)
        if upload is None:
            raise _unknown_upload()
        return upload

    def _complete(self, request: ServerRequest, upload: UploadSession, digest: Digest) -> ServerResponse:
        with _writing(upload):
            _append(request, upload)
            try:
                # The digest is checked before the blob becomes visible.
                self._storage.finish(upload, digest)
            except VerificationError as error:
                raise RequestRefused(400, "DIGEST_INVALID", str(error)) from error
        return _created(upload.repository, digest)


def mount_source(request: ServerRequest) -> RepositoryName | None:
    """Return the repository to mount a blob from; None if the request is not for a mount."""
    source = request.parameter("from")
    if source is None or request.parameter("mount") is None:
        return None
    try:
        return RepositoryName.parse(source)
    except InvalidReference as error:
        raise RequestRefused(400, "NAME_INVALID", str(error)) from error


def parse_digest(text: str) -> Digest:
    """Parse a digest of a request; raise RequestRefused with 400."""
    try:
        return Digest.parse(text)
    except InvalidReference as error:
        raise RequestRefused(400, "DIGEST_INVALID", f"provided digest is invalid: {text[:200]!r}") from error


def _unknown_blob(digest: Digest) -> RequestRefused:
    return RequestRefused(404, "BLOB_UNKNOWN", "blob unknown to registry", detail={"digest": str(digest)})


def _part(request: ServerRequest, stored: StoredContent) -> tuple[int, int]:
    # Several ranges, other units and a If-Range of another content are ignored (RFC 9110 §14.2, §13.1.5).
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    validator = request.headers.get("if-range", f'"{stored.digest}"')
    if found is None or not any(found.groups()) or validator != f'"{stored.digest}"':
        return 0, stored.size
    first, last = found.groups()
    # Without a first position, the other number is a count of bytes at the end of the blob.
    start = int(first) if first else max(0, stored.size - int(last))
    end = min(int(last), stored.size - 1) if first and last else stored.size - 1
    if first and last and int(last) < start:
        return 0, stored.size
    if start > end:
        headers = (("Content-Range", f"bytes */{stored.size}"),)
        raise RequestRefused(416, "SIZE_INVALID", "the range is outside of the blob", headers=headers)
    return start, end - start + 1


@contextlib.contextmanager
def _writing(upload: UploadSession) -> Iterator[None]:
    try:
        with upload.exclusive():
            yield
    except UploadIsBusy as error:
        raise _out_of_order(upload, str(error)) from error
    except FileNotFoundError as error:
        raise _unknown_upload() from error


def _append(request: ServerRequest, upload: UploadSession) -> None:
    _check_position(request, upload)
    upload.append(request.body)


def _unknown_upload() -> RequestRefused:
    return RequestRefused(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown to registry")


def _check_position(request: ServerRequest, upload: UploadSession) -> None:
    text = request.headers.get("content-range")
    if text is None:
        return
    found = _CONTENT_RANGE.fullmatch(text)
    if found is None:
        raise RequestRefused(400, "BLOB_UPLOAD_INVALID", "malformed Content-Range")
    first, last = int(found[1]), int(found[2])
    if first != upload.offset:
        raise _out_of_order(upload, f"the next byte must be {upload.offset}, not {first}")
    # If they differ, one is wrong; the digest would show the damage only at the end of the upload.
    length = request.headers.get("content-length")
    if length is not None and int(length) != last - first + 1:
        raise RequestRefused(400, "SIZE_INVALID", "Content-Range and Content-Length differ")


def _out_of_order(upload: UploadSession, message: str) -> RequestRefused:
    # With the Range and Location of a resumed upload: the client can continue from there.
    return RequestRefused(416, "BLOB_UPLOAD_INVALID", message, headers=_progress(upload, 416).headers)


def _progress(upload: UploadSession, status: int) -> ServerResponse:
    # `0-0` stands for no bytes as well as for one: the specification has no form for an empty range.
    headers = (
        ("Location", f"/v2/{upload.repository}/blobs/uploads/{upload.identifier}"),
        ("Range", f"0-{max(0, upload.offset - 1)}"),
        ("Docker-Upload-UUID", upload.identifier),
    )
    return ServerResponse(status, headers)


def _created(name: RepositoryName, digest: Digest) -> ServerResponse:
    return ServerResponse(
        201, (("Location", f"/v2/{name}/blobs/{digest}"), ("Docker-Content-Digest", str(digest)))
    )
