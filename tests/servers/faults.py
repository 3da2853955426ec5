"""The faults of `imgpkg.testing`, by the names that our tests have for them."""

from __future__ import annotations

from imgpkg.testing.faults import always, any_of, first, insufficient_scope
from imgpkg.testing.faults import refused as refusing

__all__ = ["always", "any_of", "first", "insufficient_scope", "refusing"]
