"""Exceptions that few commands raise, loaded where one is named; `imgpkg.errors` has them all."""

from __future__ import annotations

from imgpkg.errors import ArchiveError, ImgpkgError


class MissingBase(ArchiveError):
    """A file was made without blobs that its destination should have, and does not; `digests` names them."""

    digests: tuple[str, ...] = ()


class NotInImage(ImgpkgError):
    """The image does not have the file, or a link does not lead to one."""


class ExecutorError(ImgpkgError):
    """The workers of a copy, or what gives them work, failed: no registry and no blob is the reason."""
