"""The file of `--digest-file`, from which the next step of a script reads what was pushed or copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imgpkg.content.output import output_file
from imgpkg.content.temporary import written_file
from imgpkg.dataclass import dataclass
from imgpkg.errors import UsageError, doing, local_io

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgpkg.oci.reference import Reference

_WRITING = "Writing digest file"


@dataclass(frozen=True, slots=True)
class DigestFile:
    """A file that can be written: its absolute path, and the path as it was given."""

    path: str
    shown: str

    @classmethod
    def checked(cls, shown: str) -> DigestFile:
        """Return the file; raise LocalIOError if it cannot be written, UsageError if it has no name."""
        # An empty variable in a script: the next step would find an old file, or none.
        if not shown:
            raise UsageError("--digest-file is empty; leave it out if no file is to be written")
        with doing(_WRITING):
            return cls(output_file(shown), shown)

    def write(self, references: Iterable[Reference]) -> None:
        """Write the digest of each reference on a line of its own; raise LocalIOError."""
        digests = dict.fromkeys(str(reference.digest) for reference in references)
        data = "".join(f"{digest}\n" for digest in digests).encode()
        with doing(_WRITING), local_io("open", self.shown), written_file(self.path) as file:
            file.write(data)
