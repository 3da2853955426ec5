"""The fixtures of the plugin: in our own suite it is no plugin, but these names."""

from __future__ import annotations

from imgpkg.testing.plugin import (  # noqa: F401 - fixtures are used by their names
    registry,
    registry_over_tls,
    registry_with_login,
    registry_with_tokens,
    serve_registry,
)
