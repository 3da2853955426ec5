"""The parts of the distribution specification that registries may leave out, or do differently."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Features:
    """What the registry offers; `page_size` is the most entries of a list in one answer, None for all."""

    mount: bool = True
    referrers: bool = True
    delete: bool = True
    catalog: bool = True
    page_size: int | None = None


ALL_FEATURES = Features()
