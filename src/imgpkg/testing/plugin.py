"""The pytest plugin: fixtures of registries, each of them empty, on a port of its own, for one test.

pytest loads it in every run of a project where imgpkg is installed. Until a fixture is used, it imports
nothing but pytest.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, ParamSpec

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from imgpkg.testing.registry import RegistryServer, ServeRegistry

P = ParamSpec("P")

_LOGIN = ("testuser", "testpassword")
# Of each registry, in the report of a test that fails.
_MAX_SHOWN = 200


@pytest.fixture
def serve_registry(request: pytest.FixtureRequest) -> Iterator[ServeRegistry]:
    """Start registries with the options of `imgpkg.testing.serve`; they are stopped after the test.

    If the test fails, its report shows the requests that each of them has received.
    """
    from imgpkg.testing.registry import serve

    with contextlib.ExitStack() as stack:
        yield _until_closed(serve, stack, request.node)


@pytest.fixture
def registry(serve_registry: ServeRegistry) -> RegistryServer:
    """Start a registry that is open to all."""
    return serve_registry()


@pytest.fixture
def registry_with_login(serve_registry: ServeRegistry) -> RegistryServer:
    """Start a registry that wants its `username` and `password` with each request."""
    return serve_registry(login=_LOGIN)


@pytest.fixture
def registry_with_tokens(serve_registry: ServeRegistry) -> RegistryServer:
    """Start a registry with a token service, which gives tokens for its `username` and `password`."""
    return serve_registry(login=_LOGIN, token_service=True)


@pytest.fixture
def registry_over_tls(serve_registry: ServeRegistry) -> RegistryServer:
    """Start a registry that is open to all, over TLS; `ca_file` is the authority to trust."""
    return serve_registry(tls=True)


def _until_closed(
    serve: Callable[P, RegistryServer], stack: contextlib.ExitStack, node: pytest.Item
) -> Callable[P, RegistryServer]:
    def started(*words: P.args, **options: P.kwargs) -> RegistryServer:
        registry = stack.enter_context(serve(*words, **options))
        stack.callback(_report, node, registry)
        return registry

    return started


def _report(node: pytest.Item, registry: RegistryServer) -> None:
    """Add the requests to the report of the test, which pytest shows if the test fails."""
    received = registry.requests
    left_out = [f"... {len(received) - _MAX_SHOWN} before"] if len(received) > _MAX_SHOWN else []
    lines = [*left_out, *map(str, received[-_MAX_SHOWN:])]
    if received:
        node.add_report_section("teardown", f"requests to {registry.url}", "\n".join(lines))
