"""A unit of work, whose source and destination are two registries that nobody asks."""

from __future__ import annotations

from imgpkg.oci.descriptor import Descriptor, Digest
from imgpkg.oci.reference import Repository
from imgpkg.operations.transfer.unit import TransferUnit
from imgpkg.settings import Settings

SOURCE, DESTINATION = "from.example.com", "to.example.com"
UNIT = TransferUnit(
    "run",
    Descriptor("application/octet-stream", Digest.of(b"blob"), 4),
    Repository.parse(f"{SOURCE}/app"),
    Repository.parse(f"{DESTINATION}/app"),
    Settings(),
    Settings(),
)
