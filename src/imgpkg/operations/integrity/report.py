"""The report of a verification: what was read, and every defect that was found."""

from __future__ import annotations

from enum import Enum

from imgpkg.dataclass import dataclass
from imgpkg.errors import ArchiveError, Forbidden, ImgpkgError, NotFound, Unauthorized, VerificationError
from imgpkg.oci.descriptor import Digest
from imgpkg.oci.reference import Reference


class DefectKind(Enum):
    """What is wrong with a piece of content.

    DAMAGED bytes have another digest or size, MISSING content is named and not there, INVALID content has its
    digest and cannot be read as what it should be, UNREADABLE content was not returned by the registry or
    the disk.
    """

    DAMAGED = "damaged"
    MISSING = "missing"
    INVALID = "invalid"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Defect:
    """One finding: `subject` is a digest, a digest reference or the name of a file.

    `named_by` are the references of the manifests and bundles that name it, empty for what nothing names.
    """

    kind: DefectKind
    subject: str
    reason: str
    named_by: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MissingLayer:
    """A non-distributable layer that is not there, as it need not be, and the images that name it."""

    digest: Digest
    named_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IntegrityReport:
    """The result of a verification of `subject`, a file, folder or reference.

    `manifests` and `blobs` were read and have their digests or are among the `defects`; `size` is the number
    of bytes of the blobs. `roots` are the images that were asked for, or that the file lists. `left_out` are
    non-distributable layers, and `relied_on` blobs that a file says are at its destination already.
    `unreferenced` blobs were read too, although nothing names them; `dangling` are attachments whose image is
    not there, which harms nobody.
    """

    subject: str
    roots: tuple[Reference, ...] = ()
    manifests: int = 0
    blobs: int = 0
    size: int = 0
    defects: tuple[Defect, ...] = ()
    left_out: tuple[MissingLayer, ...] = ()
    relied_on: tuple[Digest, ...] = ()
    unreferenced: tuple[Digest, ...] = ()
    dangling: tuple[str, ...] = ()

    @property
    def is_ok(self) -> bool:
        """True if there is no defect."""
        return not self.defects


def defect_of(error: ImgpkgError, subject: str, named_by: tuple[str, ...] = ()) -> Defect:
    """Return the finding for the error with which `subject` was read."""
    return Defect(_kind(error), subject, str(error).partition("\n")[0], named_by)


def _kind(error: ImgpkgError) -> DefectKind:
    if isinstance(error, VerificationError):
        return DefectKind.DAMAGED
    if isinstance(error, ArchiveError | NotFound):
        return DefectKind.MISSING
    # Documents that cannot be parsed are values of their own errors, which are ValueErrors too.
    is_document = isinstance(error, ValueError)
    is_refused = isinstance(error, Unauthorized | Forbidden)
    return DefectKind.INVALID if is_document and not is_refused else DefectKind.UNREADABLE
